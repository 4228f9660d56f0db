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

export function* doAnonymousPage(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  if ((vma.flags & VM_SHARED) !== 0) return VM_FAULT_SIGBUS;
  const mm = vma.mm;
  const m = k.memory;
  let table = pteTable(k, mm, address);
  if (table === 0) table = yield* k.fn.pteAlloc(k, mm, address);
  if (table === 0) return withoutTable(k, mm, address);
  const word = pteOffset(table, address);
  const protLo = vma.pageProtLo;
  const protHi = mkPteHi(protLo, vma.pageProtHi);

  if ((flags & FAULT_FLAG_WRITE) === 0) {
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
      writeEntry(m, word, mkPteLo(k.zeroPfn, protLo) | PTE_SPECIAL, protHi, mm.id, address, 0);
    }
    k.ptl.unlock(table);
    if (k.sched.points) yield P_PTE_SET;
    return 0;
  }

  if (needsAnonVma(k, vma) && (yield* k.fn.anonVmaPrepare(k, vma)) < 0) return VM_FAULT_OOM;
  let pfn = vmaAllocPage(k, vma, address, FRAME_ANON);
  if (pfn === 0) pfn = yield* vmaAllocPageSlow(k, vma, address, FRAME_ANON);
  if (pfn !== 0 && mm.memcg !== 0) pfn = yield* memCgroupCharge(k, mm.memcg, pfn);
  if (pfn === 0) return VM_FAULT_OOM;
  m.zero(pfn);
  if (k.sched.points) yield P_FAULT_PAGE_READY;

  let lo = mkPteLo(pfn, protLo);
  if ((vma.flags & VM_WRITE) !== 0) lo |= PTE_RW | PTE_D | PTE_SOFT_DIRTY;
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
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
  mm.rss[MM_ANONPAGES]!++;
  k.fn.pageAddNewAnonRmap(k, pfn, vma, address);
  k.fn.lruAdd(k, pfn);
  writeEntry(m, word, lo, protHi, mm.id, address, 0);
  k.ptl.unlock(table);
  if (k.sched.points) yield P_PTE_SET;
  return 0;
}
