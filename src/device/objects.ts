// What hardware and its kernel side keep, as an explorer's objects (base/footprint, OBJ_DEVICE): small enough that steps which do not
// meet commute. Identity = owner << 24 | part << 16 | index.

import { type Footprint, OBJ_DEVICE } from '../base/footprint.ts';

/** Owner 0 is the IOMMU, 1 to 0x7e are devices by id; this is the kernel's side: driver and page-request handler. */
export const OWNER_KERNEL = 0x7f;

// Parts of the IOMMU. A Fifo takes two numbers: its messages, its two ends.
export const PART_GCR3 = 1; // [PASID]
export const PART_REQUESTS = 2;
export const PART_WALK_UNIT = 4; // [walker]
export const PART_PPR_LOG = 5;
export const PART_COMMANDS = 7;
export const PART_EXECUTING = 9;
export const PART_COMMAND_DONE = 10; // [number of the command]
export const PART_SEMAPHORE = 11; // [number stored]
export const PART_PPR_OVERFLOW = 12;

// Parts of a device.
export const PART_ENGINE = 1; // [engine] what it asks for, what it holds
export const PART_ANSWER = 2; // [engine] has its request been answered?
export const PART_STATE = 3;
export const PART_WRITES = 4;
export const PART_INVALIDATES = 5;
export const PART_ITAG = 7; // [ITag]; the last index: which is next
export const PART_PRI = 8;

// Parts of the kernel's side.
export const PART_WORKS = 1;
export const PART_GROUP = 3; // [device and PRG index]
export const PART_PASID = 4; // [PASID] is it bound?
export const PART_FAULTS = 5; // [PASID] page requests in flight
export const PART_PRQ_HEAD = 6; // what the interrupt thread has taken

/** Notes a touch of part `part`, `index` (taken modulo 65536) of `owner`. */
export function noteDevice(f: Footprint, owner: number, part: number, index: number, isWrite: boolean): void {
  f.note(OBJ_DEVICE, owner * 0x1000000 + part * 0x10000 + (index & 0xffff), isWrite);
}
