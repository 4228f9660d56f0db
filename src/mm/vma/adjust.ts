// Changing the bounds of VMAs and removing those that a neighbour swallowed: __vma_adjust and vma_expand of mm/mmap.c
// (vma_prepare/vma_complete later). mmapLock held for write. Between beforeVmaResize and afterVmaResize the i_mmap lock (file)
// and the anon_vma lock are held for write, so that no rmap walker sees a half-moved VMA; a VMA that gives pages up leaves the
// interval trees after the one that takes them has grown.

import { E_VMA_ADD, E_VMA_REMOVE } from '../../abi/events.ts';
import { PMD_SIZE } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { chainInsert, chainRemove, intervalInsert, intervalRemove } from '../rmap/interval.ts';
import type { MmStruct, OpenFile, VmArea } from '../types.ts';

/** Announces a VMA (E_VMA_ADD, E_VMA_REMOVE). Callers test log.on first. */
export function noteVma(k: Kernel, type: number, vma: VmArea): void {
  k.memory.log.emit(type, vma.mm.id, vma.start, vma.end, 0, 0, vma.flags >>> 0, 0, 0, 0);
}

/** Can rmap find this VMA? Then its bounds change under locks. */
export function isInRmap(vma: VmArea): boolean {
  return vma.file !== null || vma.chain.length > 0;
}

/** Does a new boundary at `address` cut a 2 MiB block that the VMA covers? */
function cutsBlock(vma: VmArea, address: number): boolean {
  const block = Math.floor(address / PMD_SIZE) * PMD_SIZE;
  return address !== block && block >= vma.start && block + PMD_SIZE <= vma.end;
}

/** Must vma_adjust_trans_huge be called for these new bounds? Only a boundary that moves into the VMA can cut a block. */
export function cutsHugeBlock(vma: VmArea, start: number, end: number): boolean {
  return cutsBlock(vma, start) || cutsBlock(vma, end);
}

/** fput of a VMA's or descriptor's reference. The inode of a nameless file goes at the end of the system call. */
export function fput(k: Kernel, file: OpenFile): void {
  if (--file.refcount > 0) return;
  const inode = file.inode;
  if (--inode.users === 0 && inode.linkCount === 0) k.delayedFput.push(inode);
}

/** New bounds of a VMA in the tree; locks and rmap trees are the caller's. */
export function setBounds(k: Kernel, mm: MmStruct, vma: VmArea, start: number, end: number, pgoff: number): void {
  if (k.memory.log.on) noteVma(k, E_VMA_REMOVE, vma);
  vma.pgoff = pgoff;
  mm.vmas.resize(vma, start, end);
  if (k.memory.log.on) noteVma(k, E_VMA_ADD, vma);
}

/** Gives `vma` the bounds [start, end). `gone` and `gone2` lie inside them and leave; of `other`, a neighbour, the part
 *  inside them leaves (its own new bounds follow from that). `vma` gets the anon_vma of whatever it takes over,
 *  or of `source`, whose pages will move there (mremap). Returns `vma`, or null when out of memory (nothing changed). */
export function* vmaAdjust(
  k: Kernel,
  vma: VmArea,
  start: number,
  end: number,
  gone: VmArea | null,
  gone2: VmArea | null,
  other: VmArea | null,
  source: VmArea | null,
): KernelPath<VmArea | null> {
  const mm = vma.mm;
  if (vma.anonVma === null) {
    const exporter = withAnonVma(gone) ?? withAnonVma(gone2) ?? withAnonVma(other) ?? withAnonVma(source);
    if (exporter !== null && (yield* takeAnonVma(k, vma, exporter)) < 0) return null;
  }
  if (isSticky(gone) || isSticky(gone2) || isSticky(other) || isSticky(source)) vma.maybeGuard = true;
  const otherStart = other !== null && other.start >= start ? end : (other?.start ?? 0);
  const otherEnd = other !== null && other.start >= start ? other.end : start;
  if (other !== null && cutsHugeBlock(other, otherStart, otherEnd))
    yield* k.fn.vmaAdjustTransHuge(k, other, otherStart, otherEnd);
  // `other` has the same file and anon_vma root as `vma`, if any: the locks of the one serve both.
  const isFound = isInRmap(vma);
  if (isFound) yield* k.fn.beforeVmaResize(k, vma);
  if (gone !== null) dropFromTree(k, mm, gone);
  if (gone2 !== null) dropFromTree(k, mm, gone2);
  if (other !== null) {
    leaveIntervals(other);
    setBounds(k, mm, other, otherStart, otherEnd, other.pgoff + (otherStart - other.start) / 4096);
    enterIntervals(other);
  }
  setBounds(k, mm, vma, start, end, vma.pgoff + (start - vma.start) / 4096);
  if (isFound) k.fn.afterVmaResize(k, vma);
  if (mm.notifiers !== null) announceMerged(k, vma, gone, gone2, other);
  if (gone !== null) yield* dropFromRmap(k, gone);
  if (gone2 !== null) yield* dropFromRmap(k, gone2);
  return vma;
}

function announceMerged(k: Kernel, vma: VmArea, gone: VmArea | null, gone2: VmArea | null, other: VmArea | null): void {
  if (gone !== null) k.design?.vmaMerged(vma, gone, true);
  if (gone2 !== null) k.design?.vmaMerged(vma, gone2, true);
  if (other !== null) k.design?.vmaMerged(vma, other, false);
}

/** Of a flag that the VMA which takes over must have too (VM_STICKY). */
function isSticky(vma: VmArea | null): boolean {
  return vma?.maybeGuard ?? false;
}

function withAnonVma(vma: VmArea | null): VmArea | null {
  return vma !== null && vma.anonVma !== null ? vma : null;
}

/** dup_anon_vma: `vma`, without one, gets the anon_vma of `from`. 0 or -ENOMEM. */
export function* takeAnonVma(k: Kernel, vma: VmArea, from: VmArea): KernelPath<number> {
  vma.anonVma = from.anonVma;
  const r = yield* k.fn.anonVmaClone(k, vma, from);
  if (r < 0) vma.anonVma = null;
  return r;
}

function leaveIntervals(vma: VmArea): void {
  if (vma.file !== null) intervalRemove(vma.file.inode.mapping.iMmap, vma);
  for (let i = 0; i < vma.chain.length; i++) chainRemove(vma.chain[i]!.anonVma.chains, vma.chain[i]!);
}

function enterIntervals(vma: VmArea): void {
  for (let i = 0; i < vma.chain.length; i++) chainInsert(vma.chain[i]!.anonVma.chains, vma.chain[i]!);
  if (vma.file !== null) intervalInsert(vma.file.inode.mapping.iMmap, vma);
}

function dropFromTree(k: Kernel, mm: MmStruct, vma: VmArea): void {
  if (k.memory.log.on) noteVma(k, E_VMA_REMOVE, vma);
  mm.vmas.remove(vma);
}

function* dropFromRmap(k: Kernel, vma: VmArea): KernelPath<void> {
  if (vma.chain.length > 0) yield* k.fn.unlinkAnonVmas(k, vma);
  if (vma.file === null) return;
  yield* k.fn.unlinkFileVma(k, vma);
  fput(k, vma.file);
}

/** Bounds of one VMA change, nobody else's: split and in-place growth. */
export function* vmaSetBounds(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<void> {
  const pgoff = vma.pgoff + (start - vma.start) / 4096;
  if (!isInRmap(vma)) {
    setBounds(k, vma.mm, vma, start, end, pgoff);
    return;
  }
  yield* k.fn.beforeVmaResize(k, vma);
  setBounds(k, vma.mm, vma, start, end, pgoff);
  k.fn.afterVmaResize(k, vma);
}
