// The write-protect mark where no page is mapped (mm/memory.c handle_pte_marker, include/linux/mm_inline.h
// pte_install_uffd_wp_if_needed). A page of a file may leave the page table and come back through the page cache; the marker
// stands in for it so that the mark is not lost. Anonymous memory needs none: its swap entries carry the mark.

import { FAULT_FLAG_WRITE, VM_FAULT_SIGBUS, VM_FAULT_SIGSEGV, VM_SHARED, VM_UFFD_WP } from '../../abi/mman.ts';
import { PTE_UFFD_WP } from '../../abi/pte.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import { pteOffset, pteTable } from '../fault/page-tables.ts';
import type { Kernel } from '../kernel.ts';
import {
  isGuardMarker,
  isPteMarker,
  ptePresent,
  SWP_UFFD_WP,
  UFFD_WP_MARKER_HI,
  UFFD_WP_MARKER_LO,
} from '../page/swapops.ts';
import type { VmArea } from '../types.ts';

/** Must the entry (lo, hi), which goes, leave a marker behind? */
function needsMarker(vma: VmArea, lo: number, hi: number): boolean {
  if (vma.file === null || (vma.flags & VM_UFFD_WP) === 0) return false;
  if (ptePresent(lo)) return (lo & PTE_UFFD_WP) !== 0;
  return isPteMarker(lo, hi) || ((lo | hi) !== 0 && (lo & SWP_UFFD_WP) !== 0);
}

/** pte_install_uffd_wp_if_needed: the entry at `word` was (lo, hi) and is cleared. ptl held. */
export function installUffdWpIfNeeded(
  k: Kernel,
  vma: VmArea,
  address: number,
  word: number,
  lo: number,
  hi: number,
): void {
  if (needsMarker(vma, lo, hi)) writeEntry(k.memory, word, UFFD_WP_MARKER_LO, UFFD_WP_MARKER_HI, vma.mm.id, address, 0);
}

/** handle_pte_marker: a fault on a marker is one of a none entry that keeps the mark; a marker that means nothing any more goes. */
export function handlePteMarker(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  const table = pteTable(k, vma.mm, address);
  const word = pteOffset(table, address);
  if (table !== 0 && isGuardMarker(entryLo(k.memory, word), entryHi(k.memory, word))) return done(VM_FAULT_SIGSEGV);
  if (vma.file === null) return sigbus();
  if ((vma.flags & VM_UFFD_WP) === 0) return clearMarker(k, vma, address);
  if ((flags & FAULT_FLAG_WRITE) === 0) return k.fn.doReadFault(k, vma, address, flags);
  return (vma.flags & VM_SHARED) === 0
    ? k.fn.doCowFault(k, vma, address, flags)
    : k.fn.doSharedFault(k, vma, address, flags);
}

function* sigbus(): KernelPath<number> {
  return VM_FAULT_SIGBUS;
}

/** pte_marker_clear: the access is tried again. */
function* clearMarker(k: Kernel, vma: VmArea, address: number): KernelPath<number> {
  const m = k.memory;
  const table = pteTable(k, vma.mm, address);
  if (table === 0) return 0;
  const word = pteOffset(table, address);
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  if (isPteMarker(entryLo(m, word), entryHi(m, word)) && !ptePresent(entryLo(m, word)))
    writeEntry(m, word, 0, 0, vma.mm.id, address, 0);
  k.ptl.unlock(table);
  return 0;
}
