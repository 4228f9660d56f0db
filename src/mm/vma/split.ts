// __split_vma, split_vma and vma_modify (mm/mmap.c): cutting VMAs, and giving a piece of one new flags by merge or cut.
// mmapLock held for write.

import { EINVAL, ENOMEM } from '../../abi/errno.ts';
import { E_VMA_ADD } from '../../abi/events.ts';
import { PMD_SIZE, VM_HUGETLB } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import { hugetlbSplit } from '../hugetlb/pmd.ts';
import { hugetlbVmOpOpen } from '../hugetlb/reserve.ts';
import type { Kernel } from '../kernel.ts';
import type { MemPolicy } from '../policy.ts';
import type { MmStruct, OpenFile } from '../types.ts';
import { VmArea } from '../types.ts';
import type { UserfaultfdCtx } from '../uffd/context.ts';
import { modPower } from './address.ts';
import { cutsHugeBlock, isInRmap, noteVma, setBounds, takeAnonVma } from './adjust.ts';
import { mergeExisting } from './merge.ts';

/** vm_area_dup: a copy of `vma` over [start, end), not in any tree, without anon_vma chain and file reference. */
export function vmaDup(k: Kernel, mm: MmStruct, vma: VmArea, start: number, end: number, pgoff: number): VmArea {
  const copy = new VmArea(mm, start, end, vma.flags, vma.file, pgoff, k.config.stackGuardGap);
  copy.pageProtLo = vma.pageProtLo;
  copy.pageProtHi = vma.pageProtHi;
  copy.name = vma.name;
  copy.uffd = vma.uffd;
  copy.pkey = vma.pkey;
  copy.policy = vma.policy;
  copy.shownFile = vma.shownFile;
  copy.private = vma.private;
  copy.maybeGuard = vma.maybeGuard;
  return copy;
}

/** get_file. */
export function getFile(file: OpenFile | null): void {
  if (file !== null) file.refcount++;
}

/** vm_ops->may_split: hugetlb at huge pages only, special mappings ([vdso], [vvar]) nowhere. */
export function maySplit(vma: VmArea, addr: number): boolean {
  return vma.name === null && ((vma.flags & VM_HUGETLB) === 0 || modPower(addr, PMD_SIZE) === 0);
}

/** __split_vma: cuts `vma` at `addr`; no limit is checked. The new VMA is the lower part if `newBelow`. Returns 0, -EINVAL
 *  (may_split) or -ENOMEM (anon_vma chain). */
export function* splitVma(k: Kernel, mm: MmStruct, vma: VmArea, addr: number, newBelow: boolean): KernelPath<number> {
  if (!maySplit(vma, addr)) return -EINVAL;
  const pgoffAt = vma.pgoff + (addr - vma.start) / 4096;
  const fresh = newBelow ? vmaDup(k, mm, vma, vma.start, addr, vma.pgoff) : vmaDup(k, mm, vma, addr, vma.end, pgoffAt);
  if (mm.notifiers !== null) k.design?.vmaCopied(vma, fresh);
  const keepStart = newBelow ? addr : vma.start;
  const keepEnd = newBelow ? vma.end : addr;
  if ((vma.flags & VM_HUGETLB) !== 0) {
    yield* hugetlbSplit(k, vma, addr);
    hugetlbVmOpOpen(k, fresh, vma);
  }
  if (cutsHugeBlock(vma, keepStart, keepEnd)) yield* k.fn.vmaAdjustTransHuge(k, vma, keepStart, keepEnd);
  if (!isInRmap(vma)) {
    setBounds(k, mm, vma, keepStart, keepEnd, newBelow ? pgoffAt : vma.pgoff);
    k.fn.linkVma(k, mm, fresh);
    return 0;
  }
  // The new part is in the interval trees before the old one shrinks: for rmap walkers no page is ever without a VMA.
  if (vma.chain.length > 0 && (yield* takeAnonVma(k, fresh, vma)) < 0) return -ENOMEM;
  getFile(vma.file);
  if (vma.file !== null) yield* k.fn.linkFileVma(k, fresh);
  yield* k.fn.beforeVmaResize(k, vma);
  setBounds(k, mm, vma, keepStart, keepEnd, newBelow ? pgoffAt : vma.pgoff);
  k.fn.linkVma(k, mm, fresh);
  k.fn.afterVmaResize(k, vma);
  return 0;
}

/** vma_link: into the tree and, for a file, the i_mmap tree. The caller accounts. */
export function* insertVma(k: Kernel, mm: MmStruct, vma: VmArea): KernelPath<void> {
  k.fn.linkVma(k, mm, vma);
  if (vma.file !== null) yield* k.fn.linkFileVma(k, vma);
}

/** Into the tree. */
export function linkVma(k: Kernel, mm: MmStruct, vma: VmArea): void {
  mm.vmas.insert(vma);
  if (k.memory.log.on) noteVma(k, E_VMA_ADD, vma);
}

/** split_vma: the same under max_map_count. */
export function* splitVmaLimited(
  k: Kernel,
  mm: MmStruct,
  vma: VmArea,
  addr: number,
  newBelow: boolean,
): KernelPath<number> {
  if (mm.vmas.count >= k.config.maxMapCount) return -ENOMEM;
  return yield* k.fn.splitVma(k, mm, vma, addr, newBelow);
}

/** The VMA that is exactly [start, end) of `vma` with `flags`, `policy`, `uffd` and `pkey` in mind: merged with a neighbour that has
 *  those (then it may be larger), or cut out. The caller sets what is new. Null at once when it is `vma` itself; the path
 *  answers null when it failed: k.vmaError says why (-ENOMEM, -EINVAL). */
export function vmaModify(
  k: Kernel,
  vma: VmArea,
  start: number,
  end: number,
  flags: number,
  policy: MemPolicy | null = vma.policy,
  uffd: UserfaultfdCtx | null = vma.uffd,
  pkey = vma.pkey,
): KernelPath<VmArea | null> | null {
  const merge = mergeExisting(k, vma, start, end, flags, policy, uffd, pkey);
  return merge === null && start === vma.start && end === vma.end ? null : mergeOrCut(k, vma, start, end, merge);
}

function* mergeOrCut(
  k: Kernel,
  vma: VmArea,
  start: number,
  end: number,
  merge: KernelPath<VmArea | null> | null,
): KernelPath<VmArea | null> {
  if (merge !== null) {
    const merged = yield* merge;
    if (merged !== null) return merged;
  }
  const mm = vma.mm;
  if (start > vma.start) {
    const r = yield* splitVmaLimited(k, mm, vma, start, true);
    if (r < 0) return fail(k, r);
  }
  if (end < vma.end) {
    const r = yield* splitVmaLimited(k, mm, vma, end, false);
    if (r < 0) return fail(k, r);
  }
  return vma;
}

function fail(k: Kernel, error: number): null {
  k.vmaError = error;
  return null;
}
