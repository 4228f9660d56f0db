// Entries that are not present for the CPUs and give the page to a device (device-private, device-exclusive). Such an entry is a mapping for the
// device that it belongs to, and none for everybody else:
//
//   private     names a frame of the device's memory (E_DEV_MEMORY says whose)
//   exclusive   names a frame of RAM; whose it is says the driver that asked for it (E_DEV_EXCLUSIVE), and it is while the entry stands

import { EV_A, EV_C, EV_D, EV_MM, EV_PFN, EV_START } from '../abi/events.ts';
import {
  PTE_RW,
  SWP_DEVICE_EXCLUSIVE_READ,
  SWP_DEVICE_EXCLUSIVE_WRITE,
  SWP_DEVICE_READ,
  SWP_DEVICE_WRITE,
} from '../abi/pte.ts';
import type { Context } from './context.ts';
import { I15 } from './properties.ts';
import { isSwapLike, LOOKUP_LEAF, LOOKUP_NONE } from './shadow-tables.ts';
import { agentText, hex } from './text.ts';

interface DeviceMemory {
  readonly first: number;
  readonly end: number;
  readonly device: number;
}

export class DeviceEntries {
  readonly memory: DeviceMemory[] = [];
  /** Devices that asked for a page alone, by address space and page. */
  readonly #claims = new Map<number, Map<number, number>>();

  claim(mm: number, page: number, device: number): void {
    let pages = this.#claims.get(mm);
    if (pages === undefined) {
      pages = new Map();
      this.#claims.set(mm, pages);
    }
    pages.set(page, device);
  }

  withdraw(mm: number, page: number): void {
    this.#claims.get(mm)?.delete(page);
  }

  claimant(mm: number, page: number): number {
    return this.#claims.get(mm)?.get(page) ?? -1;
  }

  forget(mm: number): void {
    this.#claims.delete(mm);
  }

  /** Device whose memory the frame is in, -1 when none. */
  deviceOf(pfn: number): number {
    for (const m of this.memory) if (pfn >= m.first && pfn < m.end) return m.device;
    return -1;
  }
}

export function swapTypeOf(hi: number): number {
  return hi >>> 27;
}

/** Frame that a device-private or device-exclusive entry names, -1 for any other. */
export function deviceEntryFrame(lo: number, hi: number): number {
  if (!isSwapLike(lo, hi)) return -1;
  const type = swapTypeOf(hi);
  return type >= SWP_DEVICE_WRITE && type <= SWP_DEVICE_EXCLUSIVE_READ ? (~lo >>> 9) & 0xfffff : -1;
}

export function isExclusiveEntry(lo: number, hi: number): boolean {
  const type = swapTypeOf(hi);
  return isSwapLike(lo, hi) && (type === SWP_DEVICE_EXCLUSIVE_WRITE || type === SWP_DEVICE_EXCLUSIVE_READ);
}

export function isWritableDeviceEntry(hi: number): boolean {
  const type = swapTypeOf(hi);
  return type === SWP_DEVICE_WRITE || type === SWP_DEVICE_EXCLUSIVE_WRITE;
}

/** What the last look-up found, for the device: its frame, -1 when it may not use the page. `found` is the look-up's answer (a leaf, or
 *  nothing present). */
export function frameForDevice(c: Context, found: number, mm: number, va: number, device: number): number {
  if (found === LOOKUP_LEAF) return c.tables.frameOf(va);
  const { table, index, level, lo } = c.tables;
  if (found !== LOOKUP_NONE || level !== 0 || table === null) return -1;
  const hi = table.hi[index]!;
  const pfn = deviceEntryFrame(lo, hi);
  if (pfn < 0) return -1;
  const type = swapTypeOf(hi);
  const isPrivate = type === SWP_DEVICE_WRITE || type === SWP_DEVICE_READ;
  const owner = isPrivate ? c.deviceEntries.deviceOf(pfn) : c.deviceEntries.claimant(mm, va - (va % 4096));
  return owner === device ? pfn : -1;
}

/** May a store go through what the last look-up found, and frameForDevice allowed? */
export function mayStore(c: Context, found: number): boolean {
  if (found === LOOKUP_LEAF) return (c.tables.lo & PTE_RW) !== 0;
  return isWritableDeviceEntry(c.tables.table!.hi[c.tables.index]!);
}

/** E_DEV_MEMORY. */
export function onDeviceMemory(c: Context, r: Float64Array, at: number): void {
  const first = r[at + EV_PFN]!;
  const end = first + r[at + EV_A]!;
  const device = r[at + EV_D]!;
  if (!(end > first) || !c.frames.has(first) || !c.frames.has(end - 1)) {
    c.tally.malformed++;
    return;
  }
  const known = c.deviceEntries.memory.some((m) => m.first === first && m.end === end && m.device === device);
  if (!known) c.deviceEntries.memory.push({ first, end, device });
}

/** E_DEV_EXCLUSIVE. */
export function onDeviceExclusive(c: Context, r: Float64Array, at: number): void {
  const mm = r[at + EV_MM]!;
  const page = r[at + EV_START]!;
  if (c.objects !== null) c.objects.entry(mm, page, page + 1, true);
  if (r[at + EV_A] === 0) c.deviceEntries.withdraw(mm, page);
  else c.deviceEntries.claim(mm, page, r[at + EV_D]!);
}

/** E_DEV_ATOMIC: the page is the device's alone. */
export function onDeviceAtomic(c: Context, r: Float64Array, at: number): void {
  const mm = r[at + EV_MM]!;
  const va = r[at + EV_START]!;
  const page = va - (va % 4096);
  const device = r[at + EV_D]!;
  const pfn = r[at + EV_PFN]!;
  if (c.objects !== null) c.objects.entry(mm, page, page + 1, false);
  const found = c.tables.find(mm, page);
  if (found !== LOOKUP_LEAF && found !== LOOKUP_NONE) return;
  // A page in its own memory is always the device's alone.
  if (found === LOOKUP_NONE && frameForDevice(c, found, mm, page, device) === pfn) return;
  if (!c.finds(I15, null, mm, page, pfn)) return;
  const now = found === LOOKUP_LEAF ? 'the CPUs can use it too' : 'its entry gives it to nobody, or to somebody else';
  c.say(
    `${agentText(c, r[at + EV_C]!, device)} did an atomic operation on page ${hex(page)} (frame ${hex(pfn)}), but ${now}.`,
  );
}
