// ksmd (mm/ksm.c ksm_scan_thread, ksm_do_scan, scan_get_next_rmap_item): goes round through every page of every VM_MERGEABLE
// VMA of every registered mm, pagesToScan pages at a time. One round over all of them is a full scan, after which the
// unstable tree starts anew. ksm_thread_mutex held; mmapLock of the mm for read while its page tables are looked at.

import { VM_MERGEABLE } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_RECLAIM } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { PG_ANON } from '../page/pages.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { mmDrop } from '../vma/exit-mmap.ts';
import { calcChecksum } from './content.ts';
import { followMappedPage } from './follow.ts';
import { cmpAndMergePage } from './merge.ts';
import { removeRmapItemFromTree } from './stable-tree.ts';
import { type MmSlot, noteKsm, RmapItem } from './state.ts';
import { ksmTestExit } from './unstable-tree.ts';

/** get_next_rmap_item: the item of the address; items of addresses that were passed over go. */
function* nextRmapItem(k: Kernel, slot: MmSlot, mm: MmStruct, address: number): KernelPath<RmapItem> {
  const { ksm } = k;
  while (ksm.itemIndex < slot.items.length) {
    const item = slot.items[ksm.itemIndex]!;
    if (item.address === address) return item;
    if (item.address > address) break;
    yield* removeRmapItemFromTree(k, item);
    slot.items.splice(ksm.itemIndex, 1);
  }
  const item = new RmapItem(mm, address);
  slot.items.splice(ksm.itemIndex, 0, item);
  return item;
}

/** remove_trailing_rmap_items. */
function* removeTrailing(k: Kernel, slot: MmSlot): KernelPath<void> {
  while (slot.items.length > k.ksm.itemIndex) {
    yield* removeRmapItemFromTree(k, slot.items[k.ksm.itemIndex]!);
    slot.items.splice(k.ksm.itemIndex, 1);
  }
}

/** The next anonymous page of the VMA from ksm.address on: its frame, referenced, or 0. mmapLock held. */
function* nextPageOf(k: Kernel, vma: VmArea): KernelPath<number> {
  const { ksm } = k;
  if (ksm.address < vma.start) ksm.address = vma.start;
  if (vma.anonVma === null) ksm.address = vma.end;
  for (; ksm.address < vma.end && !ksmTestExit(vma.mm); ksm.address += 4096) {
    const pfn = yield* followMappedPage(k, vma.mm, ksm.address);
    if (pfn === 0) continue;
    if ((k.pages.flags[k.pages.head[pfn]! || pfn]! & PG_ANON) !== 0) return pfn;
    k.fn.putPage(k, pfn);
  }
  return 0;
}

/** A page to look at. */
interface Scanned {
  item: RmapItem;
  pfn: number;
}

/** The rest of the cursor's mm: the next page in it, or null when it is through. */
function* scanMm(k: Kernel, slot: MmSlot): KernelPath<Scanned | null> {
  const { ksm } = k;
  const mm = slot.mm!;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  const isGone = ksmTestExit(mm);
  for (let vma = isGone ? null : mm.vmas.find(ksm.address); vma !== null; vma = mm.vmas.next(vma)) {
    if ((vma.flags & VM_MERGEABLE) === 0) continue;
    const pfn = yield* nextPageOf(k, vma);
    if (pfn === 0) continue;
    const item = yield* nextRmapItem(k, slot, mm, ksm.address);
    ksm.itemIndex++;
    ksm.address += 4096;
    lock.readUnlock();
    return { item, pfn };
  }
  if (ksmTestExit(mm)) {
    ksm.address = 0;
    ksm.itemIndex = 0;
  }
  yield* removeTrailing(k, slot);
  ksm.cursor = ksm.nextSlot(slot);
  const isEmpty = ksm.address === 0;
  // Nothing to merge was found from its first page on: the mm leaves.
  if (isEmpty) ksm.removeSlot(slot);
  lock.readUnlock();
  if (isEmpty) mmDrop(k, mm);
  return null;
}

/** scan_get_next_rmap_item: null at the end of a full scan. */
function* scanGetNextRmapItem(k: Kernel): KernelPath<Scanned | null> {
  const { ksm } = k;
  noteKsm(k);
  if (ksm.isEmpty) return null;
  if (ksm.cursor === ksm.head) {
    ksm.unstable.clear();
    ksm.cursor = ksm.nextSlot(ksm.head);
    ksm.address = 0;
    ksm.itemIndex = 0;
  }
  for (;;) {
    const found = yield* scanMm(k, ksm.cursor);
    if (found !== null) return found;
    if (ksm.cursor === ksm.head) break;
    ksm.address = 0;
    ksm.itemIndex = 0;
  }
  ksm.seqnr++;
  ksm.fullScans++;
  return null;
}

/** ksm_do_scan: one round of `count` pages, which the end of a full scan cuts short. */
export function* ksmDoScan(k: Kernel, count: number): KernelPath<void> {
  const { mutex, zeroChecksum } = k.ksm;
  if (zeroChecksum === 0) k.ksm.zeroChecksum = calcChecksum(k.memory, k.zeroPfn);
  if (k.sched.points || !mutex.tryWrite()) yield* mutex.writeLock();
  for (let i = 0; i < count; i++) {
    if (i > 0 && k.sched.points) yield P_RECLAIM;
    const found = yield* scanGetNextRmapItem(k);
    if (found === null) break;
    yield* cmpAndMergePage(k, found.item, found.pfn);
    k.fn.putPage(k, found.pfn);
  }
  mutex.writeUnlock();
}

/** ksmd's rounds until `fullScans` more full scans are done; at once when there is nothing to scan. */
export function* ksmRun(k: Kernel, fullScans: number): KernelPath<void> {
  const { ksm } = k;
  const until = ksm.fullScans + fullScans;
  while (ksm.fullScans < until && !ksm.isEmpty) yield* k.fn.ksmDoScan(k, ksm.pagesToScan);
}

/** ksm_scan_thread: a round whenever KSM runs and an mm is registered. */
export function* ksmd(k: Kernel): KernelPath<void> {
  const { ksm } = k;
  const isWanted = (): boolean => {
    noteKsm(k);
    return ksm.run && !ksm.isEmpty;
  };
  for (;;) {
    yield* k.sched.waitUntil(isWanted, ksm.wait, 'ksmd: work');
    yield* k.fn.ksmDoScan(k, ksm.pagesToScan);
  }
}

/** A write to /sys/kernel/mm/ksm/run: 1 = scan, 0 = stop. */
export function setKsmRun(k: Kernel, run: boolean): void {
  k.ksm.run = run;
  if (run) k.ksm.wait.wakeAll(k.sched);
}
