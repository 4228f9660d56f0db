// Changing the bounds of VMAs and removing those that a neighbour swallowed: __vma_adjust and vma_expand of mm/mmap.c
// (vma_prepare/vma_complete later). mmapLock held for write. Around every change of start, end or pgoff of a VMA that
// rmap can find, its i_mmap lock (file) and anon_vma lock are held for write, so that no walker sees a half-moved VMA.

import { ENOMEM } from '../../abi/errno.ts';
import { E_VMA_ADD, E_VMA_REMOVE } from '../../abi/events.ts';
import { PMD_SIZE } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import type { AnonVma, MmStruct, OpenFile, VmArea } from '../types.ts';

/** Announces a VMA (E_VMA_ADD, E_VMA_REMOVE). Callers test log.on first. */
export function noteVma(k: Kernel, type: number, vma: VmArea): void {
  k.memory.log.emit(type, vma.mm.id, vma.start, vma.end, 0, 0, vma.flags >>> 0, 0, 0, 0);
}

/** Can rmap find this VMA? Then its bounds change under locks. */
export function isInRmap(vma: VmArea): boolean {
  return vma.file !== null || vma.chain.length > 0;
}

/** i_mmap_lock_write of the file and anon_vma_lock_write. */
export function* lockRmap(k: Kernel, file: OpenFile | null, anonVma: AnonVma | null): KernelPath<void> {
  if (file !== null) {
    const lock = file.inode.mapping.iMmapRwsem;
    if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  }
  if (anonVma !== null) {
    const lock = anonVma.lock;
    if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  }
}

export function unlockRmap(file: OpenFile | null, anonVma: AnonVma | null): void {
  if (anonVma !== null) anonVma.lock.writeUnlock();
  if (file !== null) file.inode.mapping.iMmapRwsem.writeUnlock();
}

/** Does a new boundary at `address` cut a 2 MiB block that the VMA covers? */
function cutsBlock(vma: VmArea, address: number): boolean {
  const block = Math.floor(address / PMD_SIZE) * PMD_SIZE;
  return address !== block && block >= vma.start && block + PMD_SIZE <= vma.end;
}

/** vma_adjust_trans_huge for new bounds: only a boundary that moves into the VMA can cut a block. */
export function* adjustTransHuge(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<void> {
  if (cutsBlock(vma, start) || cutsBlock(vma, end)) yield* k.fn.vmaAdjustTransHuge(k, vma, start, end);
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
 *  inside them leaves (its own new bounds follow from that). `vma` gets the anon_vma of whatever it takes over.
 *  Returns 0 or -ENOMEM (anon_vma chain; nothing changed). */
export function* vmaAdjust(
  k: Kernel,
  vma: VmArea,
  start: number,
  end: number,
  gone: VmArea | null,
  gone2: VmArea | null,
  other: VmArea | null,
): KernelPath<number> {
  const mm = vma.mm;
  if (vma.anonVma === null) {
    const exporter = gone?.anonVma ? gone : gone2?.anonVma ? gone2 : other?.anonVma ? other : null;
    if (exporter !== null) {
      vma.anonVma = exporter.anonVma;
      if (k.fn.anonVmaClone(k, vma, exporter) < 0) {
        vma.anonVma = null;
        return -ENOMEM;
      }
    }
  }
  let otherStart = 0;
  let otherEnd = 0;
  if (other !== null) {
    otherStart = other.start < start ? other.start : end;
    otherEnd = other.start < start ? start : other.end;
    yield* adjustTransHuge(k, other, otherStart, otherEnd);
  }
  const file = vma.file;
  const anonVma = vma.anonVma;
  yield* lockRmap(k, file, anonVma);
  if (isInRmap(vma)) k.fn.beforeVmaResize(k, vma);
  if (gone !== null) dropFromTree(k, mm, gone);
  if (gone2 !== null) dropFromTree(k, mm, gone2);
  if (other !== null) {
    if (isInRmap(other)) k.fn.beforeVmaResize(k, other);
    setBounds(k, mm, other, otherStart, otherEnd, other.pgoff + (otherStart - other.start) / 4096);
    if (isInRmap(other)) k.fn.afterVmaResize(k, other);
  }
  setBounds(k, mm, vma, start, end, vma.pgoff + (start - vma.start) / 4096);
  if (isInRmap(vma)) k.fn.afterVmaResize(k, vma);
  if (gone !== null && gone.chain.length > 0) k.fn.unlinkAnonVmas(k, gone);
  if (gone2 !== null && gone2.chain.length > 0) k.fn.unlinkAnonVmas(k, gone2);
  unlockRmap(file, anonVma);
  if (gone !== null && gone.file !== null) fput(k, gone.file);
  if (gone2 !== null && gone2.file !== null) fput(k, gone2.file);
  return 0;
}

function dropFromTree(k: Kernel, mm: MmStruct, vma: VmArea): void {
  if (k.memory.log.on) noteVma(k, E_VMA_REMOVE, vma);
  if (vma.file !== null) k.fn.unlinkFileVma(k, vma);
  mm.vmas.remove(vma);
}

/** Bounds of one VMA change, nobody else's: split and in-place growth. */
export function* vmaSetBounds(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<void> {
  const pgoff = vma.pgoff + (start - vma.start) / 4096;
  if (!isInRmap(vma)) {
    setBounds(k, vma.mm, vma, start, end, pgoff);
    return;
  }
  const { file, anonVma } = vma;
  yield* lockRmap(k, file, anonVma);
  k.fn.beforeVmaResize(k, vma);
  setBounds(k, vma.mm, vma, start, end, pgoff);
  k.fn.afterVmaResize(k, vma);
  unlockRmap(file, anonVma);
}
