// Guard regions (mm/madvise.c madvise_guard_install, madvise_guard_remove; 6.13): PTE markers on which every access ends in
// SIGSEGV. They cost no VMA: MADV_DONTNEED leaves them, unmapping takes them along, mremap moves them, fork copies them.
// mmapLock held for read.

import { EINVAL, ENOMEM } from '../../abi/errno.ts';
import { VM_HUGETLB, VM_LOCKED, VM_MAYWRITE, VM_SPECIAL } from '../../abi/mman.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { pteAlloc, pteOffset, pteTable, withoutTable } from '../fault/page-tables.ts';
import type { Kernel } from '../kernel.ts';
import { GUARD_MARKER_HI, GUARD_MARKER_LO, isGuardMarker, pteNoneMostly } from '../page/swapops.ts';
import type { VmArea } from '../types.ts';

const TABLE_BYTES = 0x200000;

/** is_valid_guard_vma. Files too since 6.15; before, private writable memory without a file only. */
function mayHaveGuards(k: Kernel, vma: VmArea, lockedToo: boolean): boolean {
  const disallowed = VM_SPECIAL | VM_HUGETLB | (lockedToo ? 0 : VM_LOCKED);
  if ((vma.flags & disallowed) !== 0) return false;
  return k.profile.guardFiles || (vma.file === null && (vma.flags & VM_MAYWRITE) !== 0);
}

/** MADV_GUARD_INSTALL on a piece of one VMA: what is there goes. 0, -EINVAL, -ENOMEM. */
export function* madviseGuardInstall(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number> {
  if (!mayHaveGuards(k, vma, false)) return -EINVAL;
  // Such a VMA has page tables that fork must copy: a mark says so, or an anon_vma.
  const isMarked = k.profile.guardMarksVma;
  const needsAnonVma = vma.anonVma === null && (!isMarked || vma.file === null);
  if (needsAnonVma && (yield* k.fn.anonVmaPrepare(k, vma)) < 0) return -ENOMEM;
  if (isMarked) vma.maybeGuard = true;
  for (;;) {
    const stopped = yield* installRange(k, vma, start, end);
    if (stopped < 0) return stopped;
    if (stopped === end) return 0;
    yield* k.fn.zapPageRangeSingle(k, vma, start, end, true);
  }
}

/** Marks entries up to the first page that is mapped: where that is, or `end`, or -ENOMEM. */
function* installRange(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number> {
  for (let at = start; at < end; ) {
    const stop = Math.min(end, at - (at % TABLE_BYTES) + TABLE_BYTES);
    const table = yield* pteAlloc(k, vma.mm, at);
    // A larger leaf in the place of the table is a mapped page too.
    if (table === 0) return withoutTable(k, vma.mm, at) === 0 ? at : -ENOMEM;
    if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
    const reached = markEntries(k, vma, table, at, stop);
    k.ptl.unlock(table);
    if (reached < stop) return reached;
    at = stop;
  }
  return end;
}

function markEntries(k: Kernel, vma: VmArea, table: number, start: number, end: number): number {
  const m = k.memory;
  for (let at = start; at < end; at += 4096) {
    const word = pteOffset(table, at);
    const lo = entryLo(m, word);
    const hi = entryHi(m, word);
    if (!pteNoneMostly(lo, hi)) return at;
    if (!isGuardMarker(lo, hi)) writeEntry(m, word, GUARD_MARKER_LO, GUARD_MARKER_HI, vma.mm.id, at, 0);
  }
  return end;
}

/** MADV_GUARD_REMOVE on a piece of one VMA: guard markers go, all else stays. 0 or -EINVAL. */
export function* madviseGuardRemove(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number> {
  if (!mayHaveGuards(k, vma, true)) return -EINVAL;
  const m = k.memory;
  for (let at = start; at < end; ) {
    const stop = Math.min(end, at - (at % TABLE_BYTES) + TABLE_BYTES);
    const table = pteTable(k, vma.mm, at);
    if (table !== 0) {
      if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
      for (let page = at; page < stop; page += 4096) {
        const word = pteOffset(table, page);
        if (isGuardMarker(entryLo(m, word), entryHi(m, word))) writeEntry(m, word, 0, 0, vma.mm.id, page, 0);
      }
      k.ptl.unlock(table);
    }
    at = stop;
  }
  return 0;
}
