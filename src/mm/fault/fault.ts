// Page-fault entry (arch/x86/mm/fault.c do_user_addr_fault; mm/memory.c handle_mm_fault). mmapLock is held for read from the
// VMA look-up to the end of the fault; only a stack that must grow takes it for write (6.1 late stable: lock_mm_and_find_vma).
//
// Kernels with locks of VMAs (6.4) try the fault under the lock of its VMA alone first (FAULT_FLAG_VMA_LOCK, lock_vma_under_rcu), when it
// comes from user mode and no stack has to grow. Whoever has to wait for a page, or cannot do without mmapLock, says VM_FAULT_RETRY,
// and the fault comes again under mmapLock. Here the first try holds mmapLock for read in place of the lock of the VMA: what
// can run beside it is what could run beside a reader.
//
// handleMmFault is a plain function that looks at the entry without a lock and returns the generator of the function for
// its case, so that a fault is one generator deep below its entry. Each case looks again under the ptl.

import { E_FAULT, E_FAULT_END } from '../../abi/events.ts';
import {
  FAULT_FLAG_INSTRUCTION,
  FAULT_FLAG_TRIED,
  FAULT_FLAG_UNSHARE,
  FAULT_FLAG_USER,
  FAULT_FLAG_VMA_LOCK,
  FAULT_FLAG_WRITE,
  VM_ACCESS_FLAGS,
  VM_EXEC,
  VM_FAULT_COMPLETED,
  VM_FAULT_ERROR,
  VM_FAULT_FALLBACK,
  VM_FAULT_MAJOR,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
  VM_FAULT_SIGSEGV,
  VM_GROWSDOWN,
  VM_HUGETLB,
  VM_SHARED,
  VM_WRITE,
} from '../../abi/mman.ts';
import { SITE_UPGRADE } from '../../abi/notifier.ts';
import { PTE_A, PTE_P, PTE_RW } from '../../abi/pte.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_FAULT } from '../../sched/points.ts';
import { completeReads } from '../file/reads.ts';
import { mayFaultHuge } from '../huge/anon-fault.ts';
import { BUS_ADRERR, type Kernel, SEGV_ACCERR, SEGV_MAPERR } from '../kernel.ts';
import { pteMkdirty, ptePresent } from '../page/swapops.ts';
import { faultOfGenerations } from '../reclaim/lru-gen-walk.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { pteOffset, pteTable } from './page-tables.ts';
import { specialMappingFault } from './special-mapping.ts';

/** access_error: does the VMA forbid the access? A write-only VMA is readable on x86. */
function accessError(vma: VmArea, flags: number): boolean {
  if ((flags & FAULT_FLAG_WRITE) !== 0) return (vma.flags & VM_WRITE) === 0;
  if ((flags & FAULT_FLAG_INSTRUCTION) !== 0) return (vma.flags & VM_EXEC) === 0;
  return (vma.flags & VM_ACCESS_FLAGS) === 0;
}

export function* doUserAddrFault(k: Kernel, mm: MmStruct, address: number, flags: number): KernelPath<number> {
  if (k.sched.points) yield P_FAULT;
  const lock = mm.mmapLock;
  k.sched.current.faultAddress = address;
  let major = 0;
  if (k.profile.perVmaLocks && (flags & FAULT_FLAG_USER) !== 0) flags |= FAULT_FLAG_VMA_LOCK;
  for (;;) {
    if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
    let vma = mm.vmas.find(address);
    if (vma !== null && vma.start > address) {
      flags &= ~FAULT_FLAG_VMA_LOCK;
      vma = yield* growStack(k, mm, vma, address);
    }
    if (vma === null) {
      lock.readUnlock();
      k.faultCode = SEGV_MAPERR;
      return VM_FAULT_SIGSEGV;
    }
    if (accessError(vma, flags)) {
      lock.readUnlock();
      k.faultCode = SEGV_ACCERR;
      return VM_FAULT_SIGSEGV;
    }
    const result = yield* k.fn.handleMmFault(k, vma, address, flags);
    major |= result & VM_FAULT_MAJOR;
    if ((result & VM_FAULT_RETRY) !== 0) {
      // The lock was dropped while waiting for a page; the VMA may be gone.
      if ((flags & FAULT_FLAG_VMA_LOCK) === 0 || (result & VM_FAULT_MAJOR) !== 0) flags |= FAULT_FLAG_TRIED;
      flags &= ~FAULT_FLAG_VMA_LOCK;
      if (mm.isKilled) return VM_FAULT_SIGSEGV;
      continue;
    }
    if ((result & VM_FAULT_COMPLETED) === 0) lock.readUnlock();
    if (major !== 0 || (flags & FAULT_FLAG_TRIED) !== 0) k.stats.majorFaults++;
    if ((result & VM_FAULT_SIGBUS) !== 0) k.faultCode = BUS_ADRERR;
    // Of the handler itself (a guard region): bad_area_nosemaphore.
    if ((result & VM_FAULT_SIGSEGV) !== 0) k.faultCode = SEGV_MAPERR;
    return (result & VM_FAULT_ERROR) | major;
  }
}

/** The address lies below `vma`: grows it down to the address under mmapLock write, then has the lock for read again. Returns the VMA that
 *  now holds the address, or null. mmapLock held for read, on return too. */
function* growStack(k: Kernel, mm: MmStruct, vma: VmArea, address: number): KernelPath<VmArea | null> {
  if ((vma.flags & VM_GROWSDOWN) === 0) return null;
  const lock = mm.mmapLock;
  lock.readUnlock();
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  let found = mm.vmas.find(address);
  if (found !== null && found.start > address) {
    const grown = (found.flags & VM_GROWSDOWN) !== 0 ? yield* k.fn.expandStack(k, found, address) : -1;
    if (grown < 0) found = null;
  }
  lock.downgrade();
  return found;
}

export function handleMmFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  k.stats.faults++;
  if (k.readsInFlight.length > 0 && (flags & FAULT_FLAG_TRIED) === 0) completeReads(k);
  const fault = k.memory.log.on ? announcedFault(k, vma, address, flags) : handlePteFault(k, vma, address, flags);
  return k.reclaim.lruGen === null ? fault : faultOfGenerations(k, vma, fault);
}

function* announcedFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  const mm = vma.mm.id;
  k.memory.log.emit(E_FAULT, mm, address, address + 1, 0, 0, flags, 0, 0, 0);
  const result = yield* handlePteFault(k, vma, address, flags);
  k.memory.log.emit(E_FAULT_END, mm, address, address + 1, 0, 0, flags, result, 0, 0);
  return result;
}

/** handle_pte_fault: the function for what the entry is now. */
function handlePteFault(k: Kernel, vma: VmArea, address: number, flags: number, tryHuge = true): KernelPath<number> {
  if ((vma.flags & VM_HUGETLB) !== 0) return k.fn.hugetlbFault(k, vma, address, flags);
  const m = k.memory;
  const page = Math.floor(address / 4096) * 4096;
  const table = pteTable(k, vma.mm, address);
  if (table === 0 && tryHuge && mayFaultHuge(k, vma, page)) return hugeFirst(k, vma, page, flags);
  const word = table === 0 ? -1 : pteOffset(table, address);
  const lo = word < 0 ? 0 : entryLo(m, word);
  if (lo === 0 && (word < 0 || entryHi(m, word) === 0)) {
    if (vma.file === null) {
      if (vma.name !== null) return specialMappingFault(k, vma, page, flags);
      return k.fn.doAnonymousPage(k, vma, page, flags);
    }
    if ((flags & FAULT_FLAG_WRITE) === 0) return k.fn.doReadFault(k, vma, page, flags);
    return (vma.flags & VM_SHARED) === 0
      ? k.fn.doCowFault(k, vma, page, flags)
      : k.fn.doSharedFault(k, vma, page, flags);
  }
  if (!ptePresent(lo)) return k.fn.doSwapPage(k, vma, page, flags);
  if ((lo & PTE_P) === 0 && (vma.flags & VM_ACCESS_FLAGS) !== 0) return k.fn.doNumaPage(k, vma, page);
  if ((flags & (FAULT_FLAG_WRITE | FAULT_FLAG_UNSHARE)) !== 0 && (lo & PTE_RW) === 0)
    return k.fn.doWpPage(k, vma, page, flags);
  return spuriousFault(k, vma, page, word, flags);
}

/** __handle_mm_fault where a huge page is mapped, or may be. */
function* hugeFirst(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  const result = yield* k.fn.handleHugePmd(k, vma, address, flags);
  if ((result & VM_FAULT_FALLBACK) === 0) return result;
  return yield* handlePteFault(k, vma, address, flags, false);
}

/** The entry allows the access already (another thread was first, or a stale TLB entry): only A and D are brought up to
 *  date (ptep_set_access_flags). No notifier; a flush only where the architecture makes one. */
function* spuriousFault(k: Kernel, vma: VmArea, address: number, word: number, flags: number): KernelPath<number> {
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const lo = entryLo(k.memory, word);
  const write = (flags & FAULT_FLAG_WRITE) !== 0;
  if (ptePresent(lo) && (!write || (lo & PTE_RW) !== 0)) {
    const now = write ? pteMkdirty(lo) | PTE_A : lo | PTE_A;
    if (now !== lo) {
      writeEntry(k.memory, word, now, entryHi(k.memory, word), vma.mm.id, address, 0);
      if (k.config.flushOnUpgrade) yield* k.fn.flushTlbPage(k, vma, address, SITE_UPGRADE);
    }
  }
  k.ptl.unlock(ptl);
  return 0;
}
