// From a page to the places that may map it (mm/rmap.c rmap_walk, mm/page_vma_mapped.c). The interval tree gives VMAs in order
// of page offset; whether the page is really mapped there is seen under the ptl. The rmap lock is held for read, so
// that VMAs neither leave nor move.

import { LEVEL_PTE, PTE_SPECIAL } from '../../abi/pte.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { Rwsem } from '../../sched/locks.ts';
import { pteOffset, pteTable } from '../fault/page-tables.ts';
import type { Kernel } from '../kernel.ts';
import { isZoneDevice, PG_ANON, PG_KSM } from '../page/pages.ts';
import { isDevicePrivate, swapPfn } from '../page/pfn-swap.ts';
import { pteFrame, ptePresent } from '../page/swapops.ts';
import type { AddressSpace, AnonVma, MmStruct, VmArea } from '../types.ts';
import { chainNext, intervalNext } from './interval.ts';

/** The lock of the page's rmap, or null when nothing can map it (truncated, never mapped), or when no single lock will do: a KSM page
 *  (rmapWalkKsm). */
export function rmapLockOf(k: Kernel, pfn: number): Rwsem | null {
  const mapping = k.pages.mapping[pfn]!;
  if (mapping === null || (k.pages.flags[pfn]! & PG_KSM) !== 0) return null;
  return (k.pages.flags[pfn]! & PG_ANON) !== 0 ? (mapping as AnonVma).root.lock : (mapping as AddressSpace).iMmapRwsem;
}

/** Position of the next VMA from `from` on whose range holds the page, or a part of it, or -1. rmap lock held. */
export function rmapNext(k: Kernel, pfn: number, from: number): number {
  const index = k.pages.index[pfn]!;
  const last = index + (1 << k.pages.order[pfn]!) - 1;
  const mapping = k.pages.mapping[pfn]!;
  return (k.pages.flags[pfn]! & PG_ANON) !== 0
    ? chainNext((mapping as AnonVma).chains, from, index, last)
    : intervalNext((mapping as AddressSpace).iMmap, from, index, last);
}

/** VMA at a position that rmapNext returned. */
export function rmapVma(k: Kernel, pfn: number, at: number): VmArea {
  const mapping = k.pages.mapping[pfn]!;
  return (k.pages.flags[pfn]! & PG_ANON) !== 0
    ? (mapping as AnonVma).chains[at]!.vma
    : (mapping as AddressSpace).iMmap[at]!;
}

/** page_vma_mapped_walk's first look, without the lock: word of the entry at `address` when it maps the page, else -1. Call again
 *  under the ptl (word >>> 10). */
export function mappedWord(k: Kernel, mm: MmStruct, address: number, pfn: number): number {
  const table = pteTable(k, mm, address);
  if (table === 0) return -1;
  const word = pteOffset(table, address);
  const lo = entryLo(k.memory, word);
  return ptePresent(lo) && (lo & PTE_SPECIAL) === 0 && pteFrame(lo) === pfn ? word : -1;
}

/** The same, where memory of a device counts too: its pages are mapped by entries that are not present. */
export function mappingWord(k: Kernel, mm: MmStruct, address: number, pfn: number): number {
  if (!isZoneDevice(k.pages, pfn)) return mappedWord(k, mm, address, pfn);
  const table = pteTable(k, mm, address);
  if (table === 0) return -1;
  const word = pteOffset(table, address);
  const lo = entryLo(k.memory, word);
  return !ptePresent(lo) && isDevicePrivate(entryHi(k.memory, word)) && swapPfn(lo) === pfn ? word : -1;
}

/** set_pte_at of a leaf. */
export function setEntry(k: Kernel, mm: MmStruct, word: number, lo: number, hi: number, address: number): void {
  writeEntry(k.memory, word, lo, hi, mm.id, address, LEVEL_PTE);
}
