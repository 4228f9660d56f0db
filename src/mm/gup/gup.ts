// Pages of an address space for the kernel and for devices (mm/gup.c). A page is looked up in the page tables under the ptl and
// referenced there; when the entry does not allow the access, the fault path runs and the look-up is tried again.
// GUP itself tells no notifier. mmapLock held for read by the caller, and kept.
//
// A pin (FOLL_PIN) says that data will be read or written behind the page tables. A pinned anonymous page must be exclusive, or a
// later write of the owner would go to a copy: a read-only pin of a shared one unshares it first (FAULT_FLAG_UNSHARE).

import { EFAULT, ENOMEM } from '../../abi/errno.ts';
import { E_PIN, E_UNPIN } from '../../abi/events.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_KILLABLE,
  FAULT_FLAG_REMOTE,
  FAULT_FLAG_UNSHARE,
  FAULT_FLAG_WRITE,
  VM_FAULT_COMPLETED,
  VM_FAULT_ERROR,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_HUGETLB,
  VM_IO,
  VM_MAYREAD,
  VM_MAYSHARE,
  VM_MAYWRITE,
  VM_PFNMAP,
  VM_READ,
  VM_SHARED,
  VM_SOFTDIRTY,
  VM_WRITE,
} from '../../abi/mman.ts';
import { PTE_D, PTE_P, PTE_RW, PTE_SOFT_DIRTY, PTE_SPECIAL } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryLo } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { pteOffset, pteTable } from '../fault/page-tables.ts';
import { setPageDirty } from '../file/page-cache.ts';
import { pmdFrame, pmdTransHuge } from '../huge/pmd.ts';
import { isHugeZero } from '../huge/zero-page.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead } from '../page/compound.ts';
import { GUP_PIN_COUNTING_BIAS, PG_ANON, PG_ANON_EXCLUSIVE } from '../page/pages.ts';
import { pteFrame, ptePresent } from '../page/swapops.ts';
import { notePage, pinPage } from '../rmap/rmap.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { wantsWriteNotify } from '../vma/flags.ts';
import {
  FOLL_FORCE,
  FOLL_GET,
  FOLL_LONGTERM,
  FOLL_NOFAULT,
  FOLL_PIN,
  FOLL_REMOTE,
  FOLL_TOUCH,
  FOLL_UNLOCKABLE,
  FOLL_WRITE,
} from './flags.ts';

/** check_vma_flags. A long-term pin for writing would let a device write file pages behind the back of dirty tracking:
 *  page_mkclean write-protects the entry and believes the page clean (refused since 6.5, writable_file_mapping_allowed). */
function mayAccess(k: Kernel, vma: VmArea, flags: number): boolean {
  if ((vma.flags & (VM_IO | VM_PFNMAP)) !== 0 || vma.file?.inode.isSecret === true) return false;
  const isLongtermWrite = (flags & FOLL_LONGTERM) !== 0 && (flags & FOLL_WRITE) !== 0;
  if (isLongtermWrite && k.profile.longtermPinNeedsNoDirtyTracking && wantsWriteNotify(vma)) return false;
  if ((flags & FOLL_WRITE) !== 0) {
    // A debugger writes into memory that the program may not write: into a copy, never into what is shared.
    const isCow = (vma.flags & (VM_SHARED | VM_MAYWRITE)) === VM_MAYWRITE;
    return (vma.flags & VM_WRITE) !== 0 || ((flags & FOLL_FORCE) !== 0 && isCow);
  }
  // mlock forces its way into write-only memory.
  return (vma.flags & ((flags & FOLL_FORCE) !== 0 ? VM_READ | VM_MAYREAD : VM_READ)) !== 0;
}

/** The look-up needs a fault with these FAULT_FLAG_* (negative). */
export const FAULT_PLAIN = -1;
export const FAULT_TO_UNSHARE = -2;

/** follow_page_pte: the page, referenced as the flags say; or FAULT_PLAIN, FAULT_TO_UNSHARE. Takes the ptl. */
function* followPage(k: Kernel, vma: VmArea, address: number, flags: number): AtomicPath<number> {
  if ((vma.flags & VM_HUGETLB) !== 0) return yield* k.fn.followHugetlbPage(k, vma, address, flags);
  const table = pteTable(k, vma.mm, address);
  if (table === 0) return yield* followHuge(k, vma.mm, address, flags);
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  const pfn = followEntry(k, vma, entryLo(k.memory, pteOffset(table, address)), flags);
  k.ptl.unlock(table);
  return pfn;
}

/** can_follow_write_pte: may the page be written through this entry? Forced, without write access, only the copy that an earlier
 *  fault made: an exclusive anonymous page. */
function canFollowWrite(k: Kernel, vma: VmArea, lo: number, flags: number): boolean {
  if ((lo & PTE_RW) !== 0) return true;
  if ((flags & FOLL_FORCE) === 0 || (vma.flags & (VM_SHARED | VM_MAYSHARE | VM_MAYWRITE | VM_WRITE)) !== VM_MAYWRITE)
    return false;
  const exclusive = PG_ANON | PG_ANON_EXCLUSIVE;
  if ((lo & PTE_SPECIAL) !== 0 || (k.pages.flags[pteFrame(lo)]! & exclusive) !== exclusive) return false;
  return (vma.flags & VM_SOFTDIRTY) !== 0 || (lo & PTE_SOFT_DIRTY) !== 0;
}

function followEntry(k: Kernel, vma: VmArea, lo: number, flags: number): number {
  const write = (flags & FOLL_WRITE) !== 0;
  // gup_can_follow_protnone: who forces his way sees what is behind PROT_NONE.
  const isThere = (flags & FOLL_FORCE) !== 0 ? ptePresent(lo) : (lo & PTE_P) !== 0;
  if (!isThere || (write && !canFollowWrite(k, vma, lo, flags))) return FAULT_PLAIN;
  const pfn = pteFrame(lo);
  const isNormal = (lo & PTE_SPECIAL) === 0;
  return grab(k, pfn, pfn, lo, flags, isNormal);
}

/** Takes the reference. `owner`: the frame that says whether the page is exclusive (the head, below a huge entry). */
function grab(k: Kernel, pfn: number, owner: number, lo: number, flags: number, isNormal: boolean): number {
  const pages = k.pages;
  const head = compoundHead(pages, pfn);
  // gup_must_unshare.
  const isAnon = (pages.flags[head]! & PG_ANON) !== 0;
  if ((flags & (FOLL_WRITE | FOLL_PIN)) === FOLL_PIN && isAnon && (pages.flags[owner]! & PG_ANON_EXCLUSIVE) === 0)
    return FAULT_TO_UNSHARE;
  notePage(k, head);
  if ((flags & FOLL_PIN) !== 0) pinPage(k, pfn);
  else if ((flags & FOLL_GET) !== 0) pages.refcount[head]!++;
  if ((flags & FOLL_TOUCH) !== 0 && isNormal) {
    if ((flags & FOLL_WRITE) !== 0 && (lo & PTE_D) === 0) setPageDirty(k, head);
    k.fn.markPageAccessed(k, head);
  }
  return pfn;
}

/** follow_trans_huge_pmd: the frame of `address` in a huge page. */
function* followHuge(k: Kernel, mm: MmStruct, address: number, flags: number): AtomicPath<number> {
  const word = pmdWord(k.memory, mm.pgd, vpnHi(address), vpnLo(address));
  if (word < 0 || !pmdTransHuge(entryLo(k.memory, word))) return FAULT_PLAIN;
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const lo = entryLo(k.memory, word);
  const mayUse = pmdTransHuge(lo) && (lo & PTE_P) !== 0 && ((flags & FOLL_WRITE) === 0 || (lo & PTE_RW) !== 0);
  const head = pmdFrame(lo);
  const pfn = mayUse ? grab(k, head + (vpnLo(address) & 511), head, lo, flags, !isHugeZero(k, head)) : FAULT_PLAIN;
  k.ptl.unlock(ptl);
  return pfn;
}

/** FAULT_FLAG_* of faultin_page. */
function faultFlags(flags: number, isUnshare: boolean): number {
  let fault = (flags & FOLL_WRITE) !== 0 ? FAULT_FLAG_WRITE : isUnshare ? FAULT_FLAG_UNSHARE : 0;
  if ((flags & FOLL_REMOTE) !== 0) fault |= FAULT_FLAG_REMOTE;
  if ((flags & FOLL_UNLOCKABLE) !== 0) fault |= FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE;
  return fault;
}

/** __get_user_pages. With FOLL_UNLOCKABLE it may come back early with k.gupUnlocked set: mmapLock was dropped. Number of pages, or -errno when the first one failed. */
function* getPages(
  k: Kernel,
  mm: MmStruct,
  start: number,
  count: number,
  flags: number,
  out: Int32Array | null,
): KernelPath<number> {
  let vma: VmArea | null = null;
  // The first fault, and those after it, tell the offset in the page that the caller asked for.
  let address = start;
  for (let done = 0; done < count; done++, address += 4096) {
    if (vma === null || address >= vma.end) {
      vma = mm.vmas.findExact(address);
      if (vma === null || !mayAccess(k, vma, flags)) return done > 0 ? done : -EFAULT;
    }
    const isHuge = (vma.flags & VM_HUGETLB) !== 0;
    let pfn = yield* followPage(k, vma, address, flags);
    while (pfn < 0) {
      if ((flags & FOLL_NOFAULT) !== 0) return done > 0 ? done : -EFAULT;
      // Huge pages are faulted in without handle_mm_fault.
      const fault = isHuge ? k.fn.hugetlbFault : k.fn.handleMmFault;
      const result = yield* fault(k, vma, address, faultFlags(flags, pfn === FAULT_TO_UNSHARE));
      if ((result & (VM_FAULT_COMPLETED | VM_FAULT_RETRY)) !== 0) {
        k.gupUnlocked = true;
        return done;
      }
      const failed = result & VM_FAULT_ERROR;
      if (failed !== 0) return done > 0 ? done : (failed & VM_FAULT_OOM) !== 0 ? -ENOMEM : -EFAULT;
      pfn = yield* followPage(k, vma, address, flags);
    }
    if (out !== null) out[done] = pfn;
    const m = k.memory;
    if ((flags & FOLL_PIN) !== 0 && m.log.on)
      m.log.emit(
        E_PIN,
        mm.id,
        address - (address % 4096),
        address - (address % 4096) + 4096,
        pfn,
        m.generation[pfn]!,
        flags,
        0,
        0,
        0,
      );
  }
  return count;
}

export function getUserPages(
  k: Kernel,
  mm: MmStruct,
  start: number,
  count: number,
  flags: number,
  out: Int32Array | null,
): KernelPath<number> {
  return getPages(k, mm, start, count, out === null ? flags & ~FOLL_GET : flags | FOLL_GET | FOLL_TOUCH, out);
}

export function pinUserPages(
  k: Kernel,
  mm: MmStruct,
  start: number,
  count: number,
  flags: number,
  out: Int32Array,
): KernelPath<number> {
  // Before the first reference: fork asks for this before it looks at reference counts.
  mm.hasPinned = true;
  return getPages(k, mm, start, count, (flags & ~FOLL_GET) | FOLL_PIN | FOLL_TOUCH, out);
}

export function unpinUserPage(k: Kernel, pfn: number, dirty: boolean): void {
  const m = k.memory;
  if (m.log.on) m.log.emit(E_UNPIN, 0, 0, 0, pfn, m.generation[pfn]!, dirty ? 1 : 0, 0, 0, 0);
  if (dirty) setPageDirty(k, pfn);
  const head = compoundHead(k.pages, pfn);
  if (k.pages.order[head] === 0) k.pages.refcount[head]! -= GUP_PIN_COUNTING_BIAS - 1;
  else k.pages.pincount[head]!--;
  k.fn.putPage(k, pfn);
}

const onePage = new Int32Array(1);

/** access_remote_vm: takes mmapLock itself. Stops at the first address that cannot be reached. `force` (ptrace, /proc/PID/mem):
 *  what the program itself may not access, if it could be made accessible. */
export function* accessRemoteVm(
  k: Kernel,
  mm: MmStruct,
  address: number,
  bytes: Uint8Array,
  isWrite: boolean,
  force = false,
): KernelPath<number> {
  const flags = FOLL_REMOTE | (isWrite ? FOLL_WRITE : 0) | (force ? FOLL_FORCE : 0);
  const lock = mm.mmapLock;
  const memory = k.memory.bytes;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  let done = 0;
  while (done < bytes.length) {
    const got = yield* k.fn.getUserPages(k, mm, address + done, 1, flags, onePage);
    if (got < 1) break;
    const pfn = onePage[0]!;
    k.memory.touch(pfn, isWrite);
    const from = (address + done) % 4096;
    const count = Math.min(4096 - from, bytes.length - done);
    const at = pfn * 4096 + from;
    if (isWrite) memory.set(bytes.subarray(done, done + count), at);
    else bytes.set(memory.subarray(at, at + count), done);
    if (isWrite) setPageDirty(k, pfn);
    k.fn.putPage(k, pfn);
    done += count;
  }
  lock.readUnlock();
  return done > 0 || bytes.length === 0 ? done : -EFAULT;
}
