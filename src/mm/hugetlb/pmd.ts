// Entries of 2 MiB pages, and PMD tables that several processes share (mm/hugetlb.c huge_pte_alloc, huge_pmd_share, huge_pmd_unshare).
//
// A shared mapping that covers an aligned GiB of a file takes the PMD table of another mapping of the same GiB instead of making
// its own: the table then is linked by several PUD entries and counted once by each. Whoever wants to change entries for itself
// alone unlinks it first; the pages then are mapped by the others only, and the next fault shares or makes a table again. A
// secondary MMU must be told of a whole GiB for it: adjustRangeIfPmdSharingPossible widens sections.
//
// Sharing: i_mmap_rwsem read; unsharing: VMA lock and i_mmap_rwsem write; ptl of the PMD table inside. Kernel names also:
// want_pmd_share, page_table_shareable, huge_pmd_unshare_flush, hugetlb_unshare_pmds, adjust_range_if_pmd_sharing_possible.

import { PMD_SIZE, PUD_SIZE, VM_LOCKED, VM_MAYSHARE } from '../../abi/mman.ts';
import { MMU_NOTIFY_CLEAR, SITE_HUGETLB } from '../../abi/notifier.ts';
import { LEVEL_PUD, PTE_TABLE } from '../../abi/pte.ts';
import { assert } from '../../base/assert.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, entryWord, writeEntry } from '../../hw/pte.ts';
import type { NotifierRange } from '../../notifier/host.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_TABLE_UNLINKED } from '../../sched/points.ts';
import { pmdAlloc, pudAlloc } from '../fault/page-tables.ts';
import type { Kernel } from '../kernel.ts';
import { intervalNext } from '../rmap/interval.ts';
import { getPage, linearPageIndex, vmaAddress } from '../rmap/rmap.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { modPower } from '../vma/address.ts';
import { CLEARED_PMDS, type MmuGather } from '../zap/mmu-gather.ts';

/** huge_pte_offset: word of the PMD entry, or -1 when there is no PMD table. */
export function hugePteOffset(k: Kernel, mm: MmStruct, address: number): number {
  return pmdWord(k.memory, mm.pgd, vpnHi(address), vpnLo(address));
}

/** hugetlb_mask_last_page: the last huge page whose entry stands in the same PMD table. */
export function lastOfTable(address: number): number {
  return address - modPower(address, PUD_SIZE) + PUD_SIZE - PMD_SIZE;
}

/** vma_shareable: does the VMA cover the aligned GiB around the address, and share its pages? */
function isShareable(vma: VmArea, address: number): boolean {
  const start = address - modPower(address, PUD_SIZE);
  return (vma.flags & VM_MAYSHARE) !== 0 && vma.start <= start && start + PUD_SIZE <= vma.end;
}

/** Does the VMA cover any aligned GiB? */
function coversGiB(vma: VmArea): boolean {
  const first = Math.ceil(vma.start / PUD_SIZE) * PUD_SIZE;
  return (vma.flags & VM_MAYSHARE) !== 0 && first + PUD_SIZE <= vma.end;
}

/** adjust_range_if_pmd_sharing_possible: an operation on [range.start, range.end) may unshare tables of whole GiB. */
export function adjustRangeIfPmdSharingPossible(vma: VmArea, range: NotifierRange): void {
  if (!coversGiB(vma)) return;
  const first = Math.ceil(vma.start / PUD_SIZE) * PUD_SIZE;
  const last = vma.end - modPower(vma.end, PUD_SIZE);
  if (range.end <= first || range.start >= last) return;
  if (range.start > first) range.start -= modPower(range.start, PUD_SIZE);
  if (range.end < last) range.end = Math.ceil(range.end / PUD_SIZE) * PUD_SIZE;
}

/** huge_pte_alloc: word of the PMD entry, -1 when out of memory. The table may be another mapping's. */
export function* hugePteAlloc(k: Kernel, vma: VmArea, address: number): KernelPath<number> {
  const known = hugePteOffset(k, vma.mm, address);
  if (known >= 0) return known;
  if (isShareable(vma, address)) yield* hugePmdShare(k, vma, address);
  const table = yield* pmdAlloc(k, vma.mm, address);
  return table === 0 ? -1 : entryWord(table, vpnLo(address) >>> 9);
}

/** huge_pmd_share: links the PMD table of another VMA that maps the same GiB of the file at the same place in its GiB. */
function* hugePmdShare(k: Kernel, vma: VmArea, address: number): KernelPath<void> {
  const m = k.memory;
  const { mm } = vma;
  const pudTable = yield* pudAlloc(k, mm, address);
  if (pudTable === 0) return;
  const pud = entryWord(pudTable, vpnHi(address) & 511);
  const { mapping } = vma.file!.inode;
  if (k.sched.points || !mapping.iMmapRwsem.tryRead()) yield* mapping.iMmapRwsem.readLock();
  const index = linearPageIndex(vma, address);
  const from = findSharedTable(k, vma, address, index);
  if (from !== 0) {
    if (k.sched.points || !k.ptl.tryLock(from)) yield* k.ptl.lock(from);
    if ((entryLo(m, pud) | entryHi(m, pud)) === 0) {
      getPage(k, from);
      const base = address - modPower(address, PUD_SIZE);
      writeEntry(m, pud, (from << 12) | PTE_TABLE, 0, mm.id, base, LEVEL_PUD);
      mm.tablePages++;
    }
    k.ptl.unlock(from);
  }
  mapping.iMmapRwsem.readUnlock();
}

/** Frame of a PMD table to share, or 0. */
function findSharedTable(k: Kernel, vma: VmArea, address: number, index: number): number {
  const list = vma.file!.inode.mapping.iMmap;
  for (let i = intervalNext(list, 0, index, index); i >= 0; i = intervalNext(list, i + 1, index, index)) {
    const other = list[i]!;
    if (other === vma) continue;
    const at = vmaAddress(other, index);
    const isSame = modPower(at, PUD_SIZE) === modPower(address, PUD_SIZE);
    if (!isSame || ((other.flags ^ vma.flags) & ~VM_LOCKED) !== 0 || !isShareable(other, at)) continue;
    const word = hugePteOffset(k, other.mm, at);
    if (word >= 0) return word >>> 10;
  }
  return 0;
}

/** Is the PMD table of this entry linked by more than one PUD entry? */
export function isSharedTable(k: Kernel, word: number): boolean {
  return k.pages.refcount[word >>> 10]! > 1;
}

export function hugePmdUnshare(k: Kernel, tlb: MmuGather, vma: VmArea, address: number, word: number): boolean {
  const table = word >>> 10;
  if ((vma.flags & VM_MAYSHARE) === 0 || !isSharedTable(k, word)) return false;
  const { mm } = vma;
  const m = k.memory;
  const pudTable = entryLo(m, entryWord(mm.pgd, vpnHi(address) >>> 9)) >>> 12;
  const pud = entryWord(pudTable, vpnHi(address) & 511);
  assert(entryLo(m, pud) >>> 12 === table, 'hugePmdUnshare: the entry stands in a table of this address space');
  const base = address - modPower(address, PUD_SIZE);
  writeEntry(m, pud, 0, 0, mm.id, base, LEVEL_PUD);
  mm.tablePages--;
  k.fn.putPage(k, table);
  tlb.addRange(base, base + PUD_SIZE, CLEARED_PMDS);
  tlb.unsharedTables = true;
  return true;
}

/** huge_pmd_unshare_flush: before the locks are dropped that keep the others from reusing the table. */
export function* hugePmdUnshareFlush(k: Kernel, tlb: MmuGather): KernelPath<void> {
  if (!tlb.unsharedTables) return;
  if (k.sched.points) yield P_TABLE_UNLINKED;
  yield* k.fn.tlbFlushMmuTlbonly(k, tlb);
}

/** hugetlb_unshare_pmds: every shared table of [start, end), both multiples of 1 GiB. Takes the locks. */
export function* hugetlbUnsharePmds(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<void> {
  if ((vma.flags & VM_MAYSHARE) === 0 || start >= end) return;
  const { mm } = vma;
  const tlb = k.fn.tlbGatherMmu(k, mm, false, SITE_HUGETLB);
  const range = mm.notifiers === null ? null : k.range(mm, start, end, MMU_NOTIFY_CLEAR, SITE_HUGETLB);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  yield* lockVmaAndMapping(k, vma);
  for (let address = start; address < end; address += PUD_SIZE) {
    const word = hugePteOffset(k, mm, address);
    if (word < 0) continue;
    const ptl = word >>> 10;
    if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
    k.fn.hugePmdUnshare(k, tlb, vma, address, word);
    k.ptl.unlock(ptl);
  }
  yield* hugePmdUnshareFlush(k, tlb);
  unlockVmaAndMapping(vma);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  yield* k.fn.tlbFinishMmu(k, tlb);
}

/** hugetlb_split: a VMA is about to end or begin at `address`; the GiB around it can be shared no longer. mmapLock write. */
export function* hugetlbSplit(k: Kernel, vma: VmArea, address: number): KernelPath<void> {
  const floor = address - modPower(address, PUD_SIZE);
  if (address !== floor && floor >= vma.start && floor + PUD_SIZE <= vma.end)
    yield* k.fn.hugetlbUnsharePmds(k, vma, floor, floor + PUD_SIZE);
}

/** hugetlb_vma_lock_write and i_mmap_lock_write. */
export function* lockVmaAndMapping(k: Kernel, vma: VmArea): KernelPath<void> {
  const lock = vma.hugetlb!.lock;
  if (lock !== null && (k.sched.points || !lock.tryWrite())) yield* lock.writeLock();
  const { iMmapRwsem } = vma.file!.inode.mapping;
  if (k.sched.points || !iMmapRwsem.tryWrite()) yield* iMmapRwsem.writeLock();
}

export function unlockVmaAndMapping(vma: VmArea): void {
  vma.file!.inode.mapping.iMmapRwsem.writeUnlock();
  vma.hugetlb!.lock?.writeUnlock();
}
