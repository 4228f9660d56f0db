// anon_vma and its chains (mm/rmap.c): which VMAs may map the anonymous pages of an anon_vma. A page points to one anon_vma;
// each VMA that may hold the page has a chain to it. Fork gives the child VMA chains to all of the parent's anon_vmas and one
// of its own, so that later pages of the child do not burden the parent's walks.
//
// Trees are guarded by the root's lock (write), vma.anonVma by mmapLock and that lock. Look up: anon_vma_prepare,
// find_mergeable_anon_vma, anon_vma_clone, anon_vma_fork, unlink_anon_vmas, vma_link, unlink_file_vma, __vma_adjust.

import { VM_ACCESS_FLAGS, VM_MAYWRITE, VM_SHARED, VM_SOFTDIRTY } from '../../abi/mman.ts';
import { OBJ_MM } from '../../base/footprint.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { type AnonVma, type AnonVmaChain, NO_CHAIN, type VmArea } from '../types.ts';
import { chainInsert, chainRemove, intervalInsert, intervalInsertAfter, intervalRemove } from './interval.ts';

/** In footprints, set apart from the rest of OBJ_MM. */
const ANON_VMAS = 2 ** 29;

function chainLink(vma: VmArea, anonVma: AnonVma): void {
  const chain: AnonVmaChain = { vma, anonVma };
  if (vma.chain === NO_CHAIN) vma.chain = [chain];
  else vma.chain.push(chain);
  chainInsert(anonVma.chains, chain);
}

/** anon_vma_compatible: two adjacent VMAs that differ in access rights only. */
function anonVmaCompatible(a: VmArea, b: VmArea): boolean {
  return (
    a.end === b.start &&
    a.file === b.file &&
    ((a.flags ^ b.flags) & ~(VM_ACCESS_FLAGS | VM_SOFTDIRTY)) === 0 &&
    b.pgoff === a.pgoff + (b.start - a.start) / 4096
  );
}

/** reusable_anon_vma: a VMA that fork has cloned does not share. */
function reusableAnonVma(old: VmArea, a: VmArea, b: VmArea): AnonVma | null {
  return anonVmaCompatible(a, b) && old.chain.length === 1 ? old.anonVma : null;
}

/** find_mergeable_anon_vma: the next VMA's is preferred. */
function findMergeableAnonVma(vma: VmArea): AnonVma | null {
  const next = vma.mm.vmas.next(vma);
  if (next !== null) {
    const found = reusableAnonVma(next, vma, next);
    if (found !== null) return found;
  }
  const prev = vma.mm.vmas.prev(vma);
  return prev === null ? null : reusableAnonVma(prev, prev, vma);
}

/** Tells the explorer's recorder that this step asks whether the VMA has an anon_vma, or gives it one: faults do so side by side. */
function noteAnonVma(k: Kernel, vma: VmArea, isWrite: boolean): void {
  const { footprint } = k.memory;
  if (footprint !== null) footprint.note(OBJ_MM, vma.mm.id + ANON_VMAS, isWrite);
}

/** Must a fault prepare an anon_vma first? mmapLock read. */
export function needsAnonVma(k: Kernel, vma: VmArea): boolean {
  noteAnonVma(k, vma, false);
  return vma.anonVma === null;
}

export function* anonVmaPrepare(k: Kernel, vma: VmArea): KernelPath<number> {
  noteAnonVma(k, vma, false);
  if (vma.anonVma !== null) return 0;
  let anonVma = findMergeableAnonVma(vma);
  if (anonVma === null) {
    anonVma = k.newAnonVma(null, null);
    anonVma.numChildren++; // its own parent
  }
  const lock = anonVma.root.lock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  // mmapLock is held for read only: another fault may have been first.
  if (vma.anonVma === null) {
    noteAnonVma(k, vma, true);
    vma.anonVma = anonVma;
    chainLink(vma, anonVma);
    anonVma.numActiveVmas++;
  }
  lock.writeUnlock();
  return 0;
}

export function* anonVmaClone(k: Kernel, dst: VmArea, src: VmArea): KernelPath<number> {
  const chains = src.chain;
  if (chains.length > 0) {
    const lock = chains[0]!.anonVma.root.lock;
    if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
    for (let i = 0; i < chains.length; i++) {
      const anonVma = chains[i]!.anonVma;
      chainLink(dst, anonVma);
      // An anon_vma without a VMA of its own and with one child at most serves the new VMA: chains stay short when a
      // process forks again and again.
      if (dst.anonVma === null && src.anonVma !== null && anonVma.numChildren < 2 && anonVma.numActiveVmas === 0) {
        dst.anonVma = anonVma;
      }
    }
    lock.writeUnlock();
  }
  if (dst.anonVma !== null) dst.anonVma.numActiveVmas++;
  return 0;
}

export function* anonVmaFork(k: Kernel, vma: VmArea, parent: VmArea): KernelPath<number> {
  const above = parent.anonVma;
  if (above === null) return 0;
  vma.anonVma = null;
  yield* k.fn.anonVmaClone(k, vma, parent);
  if (vma.anonVma !== null) return 0;
  const anonVma = k.newAnonVma(above.root, above);
  anonVma.numActiveVmas++;
  vma.anonVma = anonVma;
  const lock = anonVma.root.lock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  chainLink(vma, anonVma);
  above.numChildren++;
  lock.writeUnlock();
  return 0;
}

export function* unlinkAnonVmas(k: Kernel, vma: VmArea): KernelPath<void> {
  const chains = vma.chain;
  if (chains.length === 0) return;
  const lock = chains[0]!.anonVma.root.lock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  for (let i = 0; i < chains.length; i++) {
    const chain = chains[i]!;
    chainRemove(chain.anonVma.chains, chain);
    if (chain.anonVma.chains.length === 0) chain.anonVma.parent.numChildren--;
  }
  vma.chain = NO_CHAIN;
  if (vma.anonVma !== null) {
    vma.anonVma.numActiveVmas--;
    vma.anonVma = null;
  }
  lock.writeUnlock();
}

function isWritableShared(vma: VmArea): boolean {
  return (vma.flags & (VM_SHARED | VM_MAYWRITE)) === (VM_SHARED | VM_MAYWRITE);
}

export function* linkFileVma(k: Kernel, vma: VmArea, parent: VmArea | null = null): KernelPath<void> {
  if (vma.file === null) return;
  const mapping = vma.file.inode.mapping;
  const lock = mapping.iMmapRwsem;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  if (isWritableShared(vma)) mapping.writableCount++;
  if (parent === null) intervalInsert(mapping.iMmap, vma);
  else intervalInsertAfter(mapping.iMmap, vma, parent);
  lock.writeUnlock();
}

export function* unlinkFileVma(k: Kernel, vma: VmArea): KernelPath<void> {
  if (vma.file === null) return;
  const mapping = vma.file.inode.mapping;
  const lock = mapping.iMmapRwsem;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  if (isWritableShared(vma)) mapping.writableCount--;
  intervalRemove(mapping.iMmap, vma);
  lock.writeUnlock();
}

export function* beforeVmaResize(k: Kernel, vma: VmArea): KernelPath<void> {
  if (vma.file !== null) {
    const lock = vma.file.inode.mapping.iMmapRwsem;
    if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
    intervalRemove(vma.file.inode.mapping.iMmap, vma);
  }
  if (vma.chain.length > 0) {
    const lock = vma.chain[0]!.anonVma.root.lock;
    if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
    for (let i = 0; i < vma.chain.length; i++) chainRemove(vma.chain[i]!.anonVma.chains, vma.chain[i]!);
  }
}

export function afterVmaResize(_k: Kernel, vma: VmArea): void {
  if (vma.chain.length > 0) {
    for (let i = 0; i < vma.chain.length; i++) chainInsert(vma.chain[i]!.anonVma.chains, vma.chain[i]!);
    vma.chain[0]!.anonVma.root.lock.writeUnlock();
  }
  if (vma.file !== null) {
    intervalInsert(vma.file.inode.mapping.iMmap, vma);
    vma.file.inode.mapping.iMmapRwsem.writeUnlock();
  }
}
