// Undoing merges (mm/ksm.c break_ksm, unmerge_ksm_pages, ksm_madvise) and the life of an mm in KSM (__ksm_enter, ksm_fork,
// __ksm_exit). A KSM page is broken by a write fault: copy on write gives the place a page of its own again.

import { ENOMEM } from '../../abi/errno.ts';
import {
  FAULT_FLAG_REMOTE,
  FAULT_FLAG_UNSHARE,
  FAULT_FLAG_WRITE,
  VM_DONTEXPAND,
  VM_FAULT_ERROR,
  VM_FAULT_OOM,
  VM_HUGETLB,
  VM_IO,
  VM_MAYSHARE,
  VM_MERGEABLE,
  VM_MIXEDMAP,
  VM_PFNMAP,
  VM_SHARED,
} from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { PG_KSM } from '../page/pages.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { followMappedPage } from './follow.ts';
import { MmSlot, noteKsm } from './state.ts';
import { ksmTestExit } from './unstable-tree.ts';

/** Flags that keep KSM away. */
const KSM_NEVER = VM_SHARED | VM_MAYSHARE | VM_PFNMAP | VM_IO | VM_DONTEXPAND | VM_HUGETLB | VM_MIXEDMAP;

/** May pages of a VMA with these flags be merged when it is advised so? */
export function mayBeMergeable(vmFlags: number): boolean {
  return (vmFlags & KSM_NEVER) === 0;
}

/** break_ksm: write-faults until the address maps no KSM page any more. 0 or -ENOMEM. mmapLock held. */
export function* breakKsm(k: Kernel, vma: VmArea, address: number): KernelPath<number> {
  const flags = (k.profile.ksmBreaksByUnshare ? FAULT_FLAG_UNSHARE : FAULT_FLAG_WRITE) | FAULT_FLAG_REMOTE;
  for (;;) {
    const pfn = yield* followMappedPage(k, vma.mm, address);
    if (pfn === 0) return 0;
    let failed = 0;
    const isKsm = (k.pages.flags[pfn]! & PG_KSM) !== 0;
    // break_ksm_pmd_entry only looks.
    if (k.profile.ksmBreaksByUnshare) k.fn.putPage(k, pfn);
    if (isKsm) failed = (yield* k.fn.handleMmFault(k, vma, address, flags)) & VM_FAULT_ERROR;
    if (!k.profile.ksmBreaksByUnshare) k.fn.putPage(k, pfn);
    if (!isKsm || failed !== 0) return (failed & VM_FAULT_OOM) !== 0 ? -ENOMEM : 0;
  }
}

/** unmerge_ksm_pages. 0 or -ENOMEM: the pages from there on stay merged. */
export function* unmergeKsmPages(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number> {
  for (let address = start; address < end && !ksmTestExit(vma.mm); address += 4096) {
    const error = yield* breakKsm(k, vma, address);
    if (error < 0) return error;
  }
  return 0;
}

/** ksm_madvise(MADV_MERGEABLE): the mm is scanned from now on. The flag is the caller's business. */
export function ksmEnter(k: Kernel, mm: MmStruct): void {
  const { ksm } = k;
  noteKsm(k);
  if (ksm.slotOf.has(mm)) return;
  const wasEmpty = ksm.isEmpty;
  ksm.addSlot(new MmSlot(mm));
  mm.count++;
  if (wasEmpty) ksm.wait.wakeAll(k.sched);
}

/** ksm_madvise(MADV_UNMERGEABLE), also before mremap moves pages (the VMA keeps its flag then). 0 or -ENOMEM. */
export function* ksmUnmerge(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number> {
  if ((vma.flags & VM_MERGEABLE) === 0 || vma.anonVma === null) return 0;
  return yield* unmergeKsmPages(k, vma, start, end);
}

/** ksm_fork: the child of a registered mm is scanned too. */
export function ksmFork(k: Kernel, child: MmStruct, parent: MmStruct): void {
  if (k.ksm.slotOf.has(parent)) ksmEnter(k, child);
}

/** __ksm_exit: before the address space is taken down. An mm whose pages were never scanned leaves at once; else the scan
 *  drops its items when it comes by, and until then holds the struct. */
export function* ksmExit(k: Kernel, mm: MmStruct): KernelPath<void> {
  const { ksm } = k;
  const slot = ksm.slotOf.get(mm);
  if (slot === undefined) return;
  noteKsm(k);
  if (ksm.cursor !== slot && slot.items.length === 0) {
    ksm.removeSlot(slot);
    mm.count--;
    return;
  }
  if (ksm.cursor !== slot) {
    // Next to be looked at.
    ksm.slots.splice(ksm.slots.indexOf(slot), 1);
    ksm.slots.splice(ksm.slots.indexOf(ksm.cursor) + 1, 0, slot);
  }
  // A scan that is inside this mm has finished with its page tables once the lock was had.
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  lock.writeUnlock();
}
