// First touch of anonymous memory (mm/memory.c do_anonymous_page): a read maps the shared zero page, a write a new page of
// zeros. No notifier: the entry was none. The page is made before the ptl is taken and put back when somebody was faster.

import { FRAME_ANON } from '../../abi/events.ts';
import {
  FAULT_FLAG_WRITE,
  MM_ANONPAGES,
  VM_FAULT_OOM,
  VM_FAULT_SIGBUS,
  VM_SHARED,
  VM_UFFD_MISSING,
  VM_WRITE,
} from '../../abi/mman.ts';
import { PTE_D, PTE_RW, PTE_SOFT_DIRTY, PTE_SPECIAL } from '../../abi/pte.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_FAULT_PAGE_READY, P_PTE_SET } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { vmaAllocPage, vmaAllocPageSlow } from '../numa/alloc.ts';
import { mkPteHi, mkPteLo } from '../page/swapops.ts';
import { memCgroupCharge } from '../reclaim/memcg.ts';
import { needsAnonVma } from '../rmap/anon-vma.ts';
import type { VmArea } from '../types.ts';
import { pteOffset, pteTable, withoutTable } from './page-tables.ts';

export function doAnonymousPage(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  return (flags & FAULT_FLAG_WRITE) === 0 ? mapZeroPage(k, vma, address, flags) : mapNewPage(k, vma, address, flags);
}

function* mapZeroPage(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  if ((vma.flags & VM_SHARED) !== 0) return VM_FAULT_SIGBUS;
  const mm = vma.mm;
  const m = k.memory;
  let table = pteTable(k, mm, address);
  if (table === 0) table = yield* k.fn.pteAlloc(k, mm, address);
  if (table === 0) return withoutTable(k, mm, address);
  const word = pteOffset(table, address);
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  if ((entryLo(m, word) | entryHi(m, word)) === 0) {
    if (mm.isUnstable) {
      k.ptl.unlock(table);
      return VM_FAULT_SIGBUS;
    }
    if ((vma.flags & VM_UFFD_MISSING) !== 0) {
      k.ptl.unlock(table);
      return yield* k.fn.handleUserfault(k, vma, address, flags, VM_UFFD_MISSING);
    }
    const protHi = mkPteHi(vma.pageProtLo, vma.pageProtHi);
    writeEntry(m, word, mkPteLo(k.zeroPfn, vma.pageProtLo) | PTE_SPECIAL, protHi, mm.id, address, 0);
  }
  k.ptl.unlock(table);
  if (k.sched.points) yield P_PTE_SET;
  return 0;
}

function* mapNewPage(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  if ((vma.flags & VM_SHARED) !== 0) return VM_FAULT_SIGBUS;
  const mm = vma.mm;
  const m = k.memory;
  let table = pteTable(k, mm, address);
  if (table === 0) table = yield* k.fn.pteAlloc(k, mm, address);
  if (table === 0) return withoutTable(k, mm, address);
  if (needsAnonVma(k, vma) && (yield* k.fn.anonVmaPrepare(k, vma)) < 0) return VM_FAULT_OOM;
  let pfn = vmaAllocPage(k, vma, address, FRAME_ANON);
  if (pfn === 0 || mm.memcg !== 0) pfn = yield* reclaimOrCharge(k, vma, address, pfn);
  if (pfn === 0) return VM_FAULT_OOM;
  m.zero(pfn);
  if (k.sched.points) yield P_FAULT_PAGE_READY;

  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  const word = pteOffset(table, address);
  if ((entryLo(m, word) | entryHi(m, word)) !== 0 || mm.isUnstable) {
    const raced = !mm.isUnstable;
    k.ptl.unlock(table);
    k.fn.putPage(k, pfn);
    return raced ? 0 : VM_FAULT_SIGBUS;
  }
  if ((vma.flags & VM_UFFD_MISSING) !== 0) {
    k.ptl.unlock(table);
    k.fn.putPage(k, pfn);
    return yield* k.fn.handleUserfault(k, vma, address, flags, VM_UFFD_MISSING);
  }
  setAnonEntry(k, vma, address, word, pfn);
  k.ptl.unlock(table);
  if (k.sched.points) yield P_PTE_SET;
  return 0;
}

/** The page that nobody could hand out at once, or that has to be charged to a group. 0: out of memory. */
function* reclaimOrCharge(k: Kernel, vma: VmArea, address: number, page: number): KernelPath<number> {
  const { memcg } = vma.mm;
  const pfn = page === 0 ? yield* vmaAllocPageSlow(k, vma, address, FRAME_ANON) : page;
  return pfn !== 0 && memcg !== 0 ? yield* memCgroupCharge(k, memcg, pfn) : pfn;
}

/** The new page becomes part of the address space. ptl held. */
function setAnonEntry(k: Kernel, vma: VmArea, address: number, word: number, pfn: number): void {
  const mm = vma.mm;
  const protLo = vma.pageProtLo;
  let lo = mkPteLo(pfn, protLo);
  if ((vma.flags & VM_WRITE) !== 0) lo |= PTE_RW | PTE_D | PTE_SOFT_DIRTY;
  mm.rss[MM_ANONPAGES]!++;
  k.fn.pageAddNewAnonRmap(k, pfn, vma, address);
  k.fn.lruAdd(k, pfn);
  writeEntry(k.memory, word, lo, mkPteHi(protLo, vma.pageProtHi), mm.id, address, 0);
}
