// What devices and the IOMMU say to each other (PCI Express Base Specification, chapter 10; AMD I/O Virtualization Technology
// specification, peripheral page request log). A message is put into the receiver's queue; a thread of the receiver takes it.

import { TLB_4K } from '../hw/tlb.ts';
import { ACCESS_READ } from '../hw/walker.ts';

/** Device id of the IOMMU in events. */
export const IOMMU_ID = 0;

/** A Translation Request and the completion that answers it; each engine has one and uses it again. */
export class TranslationRequest {
  readonly endpoint: Endpoint;
  /** Number of the engine: the tag of the message. */
  readonly tag: number;
  pasid = 0;
  hi = 0;
  lo = 0;
  /** ACCESS_*: what is asked for. A request for a read has No Write: nothing is marked dirty for it. */
  access = ACCESS_READ;
  isAnswered = false;
  /** Completion: false = neither read nor write is granted. */
  isGranted = false;
  pfn = 0;
  /** Low 12 bits of the leaf, and TLB_NX: R, W and Exec of the completion. `size` is its S field. */
  flags = 0;
  size = TLB_4K;
  generation = 0;

  constructor(endpoint: Endpoint, tag: number) {
    this.endpoint = endpoint;
    this.tag = tag;
  }
}

/** What the IOMMU sends to a device. Each call puts a message into the device's queue; a thread of the device takes it. */
export interface Endpoint {
  readonly id: number;
  receiveCompletion(request: TranslationRequest): void;
  receiveInvalidate(pasid: number, start: number, end: number, itag: number): void;
  receivePrgResponse(prg: number, status: number): void;
  /** An ITag that is not outstanding, or -1 when all 32 are. */
  takeItag(): number;
}

/** An entry of the page request log. */
export interface PprEntry {
  readonly device: number;
  readonly pasid: number;
  readonly address: number;
  readonly isWrite: boolean;
  readonly isExec: boolean;
  /** The last message for its PASID: no page, no answer. */
  readonly isStop: boolean;
  /** PRG index, and whether it is the last request of its group. */
  readonly prg: number;
  readonly isLast: boolean;
}
