// Merging of VMAs: is_mergeable_vma, can_vma_merge_before/after and the outcomes of vma_merge (mm/mmap.c; mm/vma.c later).
// mmapLock held for write.
//
//   area free (mmap, brk, mremap)              area inside VMA M (mprotect, madvise, mlock)
//   1  prev + area + next -> prev              6  all of M: prev + M + next -> prev
//   2  prev + area        -> prev              7  all of M: prev takes it     8  all of M: next takes it
//   3         area + next -> next              5  head of M: prev takes it    4  tail of M: next takes it

import { VM_HUGETLB, VM_SOFTDIRTY, VM_SPECIAL } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { isSamePolicy, type MemPolicy } from '../policy.ts';
import type { Profile } from '../profile.ts';
import type { AnonVma, OpenFile, VmArea } from '../types.ts';
import type { UserfaultfdCtx } from '../uffd/context.ts';
import { vmaAdjust } from './adjust.ts';

/** vm_ops->close exists: hugetlb and SysV shared memory. */
function hasClose(vma: VmArea): boolean {
  return (vma.flags & VM_HUGETLB) !== 0 || (vma.file?.inode.isSysv ?? false);
}

/** vm_file, also of a private mapping of /dev/zero. */
export function vmFile(vma: VmArea): OpenFile | null {
  return vma.file ?? vma.shownFile;
}

/** is_mergeable_vma: conditions 2 to 6. */
function isMergeableVma(
  profile: Profile,
  vma: VmArea,
  flags: number,
  file: OpenFile | null,
  policy: MemPolicy | null,
  uffd: UserfaultfdCtx | null,
  pkey: number,
): boolean {
  if (((vma.flags ^ flags) & ~VM_SOFTDIRTY) !== 0 || vmFile(vma) !== file || vma.name !== null) return false;
  if (vma.uffd !== uffd || vma.pkey !== pkey || !isSamePolicy(vma.policy, policy)) return false;
  return profile.mergeKeepsClosers || file === null || !hasClose(vma);
}

/** vma_is_fork_child: linked to anon_vmas of another address space. */
function isForkChild(vma: VmArea | null): boolean {
  return vma !== null && vma.anonVma !== null && vma.chain.length !== 1;
}

/** is_mergeable_anon_vma: may an area whose pages belong to `anonVma` (of VMA `source`, if it is one) join `target`? */
function isMergeableAnonVma(p: Profile, target: VmArea, anonVma: AnonVma | null, source: VmArea | null): boolean {
  const own = target.anonVma;
  if (own === anonVma) return true;
  if (!p.mergeForkedUnfaulted) return (own === null || anonVma === null) && target.chain.length === 1;
  if (own === null) return !isForkChild(source);
  return anonVma === null && !isForkChild(target);
}

/** are_anon_vmas_compatible: of prev and next, when both join. */
function areAnonVmasCompatible(a: VmArea, b: VmArea): boolean {
  return a.anonVma === b.anonVma || a.anonVma === null || b.anonVma === null;
}

/** can_vma_merge_after: an area that begins where `vma` ends. */
export function canMergeAfter(
  p: Profile,
  vma: VmArea,
  flags: number,
  anonVma: AnonVma | null,
  source: VmArea | null,
  file: OpenFile | null,
  pgoff: number,
  policy: MemPolicy | null = source === null ? null : source.policy,
  uffd: UserfaultfdCtx | null = source === null ? null : source.uffd,
  pkey = source === null ? 0 : source.pkey,
): boolean {
  return (
    isMergeableVma(p, vma, flags, file, policy, uffd, pkey) &&
    isMergeableAnonVma(p, vma, anonVma, source) &&
    vma.pgoff + (vma.end - vma.start) / 4096 === pgoff
  );
}

/** can_vma_merge_before: an area that ends, at page offset `pgoffEnd`, where `vma` begins. */
export function canMergeBefore(
  p: Profile,
  vma: VmArea,
  flags: number,
  anonVma: AnonVma | null,
  source: VmArea | null,
  file: OpenFile | null,
  pgoffEnd: number,
  policy: MemPolicy | null = source === null ? null : source.policy,
  uffd: UserfaultfdCtx | null = source === null ? null : source.uffd,
  pkey = source === null ? 0 : source.pkey,
): boolean {
  if (vma.pgoff !== pgoffEnd || !isMergeableVma(p, vma, flags, file, policy, uffd, pkey)) return false;
  return isMergeableAnonVma(p, vma, anonVma, source);
}

/** Merges the free area [start, end) with its neighbours: cases 1 to 3. `source`: the VMA whose pages will move there
 *  (mremap), else null; `file`: its vmFile. Null at once when it joins nobody; the path answers the grown VMA, or null when out of memory. */
export function mergeNew(
  k: Kernel,
  prev: VmArea | null,
  next: VmArea | null,
  start: number,
  end: number,
  flags: number,
  source: VmArea | null,
  file: OpenFile | null,
  pgoff: number,
): KernelPath<VmArea | null> | null {
  if ((flags & VM_SPECIAL) !== 0) return null;
  const p = k.profile;
  const anonVma = source === null ? null : source.anonVma;
  const pgoffEnd = pgoff + (end - start) / 4096;
  const joinsPrev = prev !== null && prev.end === start && canMergeAfter(p, prev, flags, anonVma, source, file, pgoff);
  const joinsNext =
    next !== null && next.start === end && canMergeBefore(p, next, flags, anonVma, source, file, pgoffEnd);
  if (joinsPrev && joinsNext && areAnonVmasCompatible(prev, next) && !(p.mergeKeepsClosers && hasClose(next)))
    return vmaAdjust(k, prev, prev.start, next.end, next, null, null, source);
  if (joinsPrev && joinsNext && p.mmapMergesNextFirst && source === null)
    return vmaAdjust(k, next, start, next.end, null, null, null, null);
  if (joinsPrev) return vmaAdjust(k, prev, prev.start, end, null, null, null, source);
  if (joinsNext) return vmaAdjust(k, next, start, next.end, null, null, null, source);
  return null;
}

/** Merges [start, end), a piece of `vma` that shall have `flags`, `policy` and `uffd`, with the neighbours: cases 4 to 8. Null at once when it
 *  joins nobody; the path answers the VMA that has the piece now, or null when out of memory. */
export function mergeExisting(
  k: Kernel,
  vma: VmArea,
  start: number,
  end: number,
  flags: number,
  policy: MemPolicy | null = vma.policy,
  uffd: UserfaultfdCtx | null = vma.uffd,
  pkey = vma.pkey,
): KernelPath<VmArea | null> | null {
  if (((flags | vma.flags) & VM_SPECIAL) !== 0) return null;
  const p = k.profile;
  const isLeft = start === vma.start;
  const isRight = end === vma.end;
  if (!isLeft && !isRight) return null;
  const pgoff = vma.pgoff + (start - vma.start) / 4096;
  const pgoffEnd = pgoff + (end - start) / 4096;
  const { anonVma } = vma;
  const file = vmFile(vma);
  const prev = isLeft ? (vma.treePrev as VmArea | null) : null;
  const next = isRight ? (vma.treeNext as VmArea | null) : null;
  const joinsPrev =
    prev !== null && prev.end === start && canMergeAfter(p, prev, flags, anonVma, vma, file, pgoff, policy, uffd, pkey);
  const joinsNext =
    next !== null &&
    next.start === end &&
    canMergeBefore(p, next, flags, anonVma, vma, file, pgoffEnd, policy, uffd, pkey);
  if (!joinsPrev && !joinsNext) return null;
  if (isLeft && isRight && p.mergeKeepsClosers && hasClose(vma)) return null;
  if (joinsPrev && joinsNext && areAnonVmasCompatible(prev, next) && !(p.mergeKeepsClosers && hasClose(next)))
    return vmaAdjust(k, prev, prev.start, next.end, vma, next, null, null);
  if (joinsPrev) return vmaAdjust(k, prev, prev.start, end, isRight ? vma : null, null, isRight ? null : vma, null);
  return vmaAdjust(k, next!, start, next!.end, isLeft ? vma : null, null, isLeft ? null : vma, null);
}
