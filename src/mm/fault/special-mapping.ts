// Faults of special mappings (mm/mmap.c special_mapping_fault, arch/x86/entry/vdso/vma.c vdso_fault, vvar_fault). The pages belong to
// the kernel and are there for every process: [vdso] maps pages of the kernel's image, counted as file pages without a file;
// [vvar] maps frames without a struct page (VM_PFNMAP), which nobody counts. A private write copies.
//
// A handler without map_pages may need mmapLock: under the lock of the VMA alone it is not called (vmf_can_call_fault).

import { FRAME_ANON, FRAME_KERNEL } from '../../abi/events.ts';
import {
  FAULT_FLAG_VMA_LOCK,
  FAULT_FLAG_WRITE,
  MM_ANONPAGES,
  MM_FILEPAGES,
  VM_FAULT_NOPAGE,
  VM_FAULT_OOM,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
  VM_PFNMAP,
} from '../../abi/mman.ts';
import { PTE_SPECIAL } from '../../abi/pte.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_FAULT_PAGE_READY, P_PTE_SET } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { GFP_KERNEL, PG_RESERVED, PG_UPTODATE } from '../page/pages.ts';
import { mkPteHi, mkPteLo, pteMaybeMkwrite, pteMkdirty } from '../page/swapops.ts';
import { needsAnonVma } from '../rmap/anon-vma.ts';
import { getPage } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';
import { pteOffset, pteTable } from './page-tables.ts';

/** The image begins as every ELF file does. */
const ELF_MAGIC = [0x7f, 0x45, 0x4c, 0x46];

/** The kernel's page behind `address` of a special mapping; 0 when out of memory. */
function* specialPage(k: Kernel, vma: VmArea, address: number): KernelPath<number> {
  const key = `${vma.name} ${vma.pgoff + (address - vma.start) / 4096}`;
  const known = k.specialPages.get(key);
  if (known !== undefined) return known;
  let pfn = k.fn.allocPage(k, GFP_KERNEL, FRAME_KERNEL);
  if (pfn === 0) pfn = yield* k.fn.allocPagesSlow(k, GFP_KERNEL, FRAME_KERNEL);
  if (pfn === 0) return 0;
  k.memory.zero(pfn);
  if (key === '[vdso] 0') k.memory.bytes.set(ELF_MAGIC, pfn * 4096);
  k.pages.flags[pfn] = PG_RESERVED | PG_UPTODATE;
  k.specialPages.set(key, pfn);
  return pfn;
}

export function* specialMappingFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number> {
  if ((flags & FAULT_FLAG_VMA_LOCK) !== 0) {
    vma.mm.mmapLock.readUnlock();
    return VM_FAULT_RETRY;
  }
  const isWrite = (flags & FAULT_FLAG_WRITE) !== 0;
  const isRaw = (vma.flags & VM_PFNMAP) !== 0;
  if (isRaw && isWrite) return VM_FAULT_SIGBUS;
  if (isWrite && needsAnonVma(k, vma) && (yield* k.fn.anonVmaPrepare(k, vma)) < 0) return VM_FAULT_OOM;
  let table = pteTable(k, vma.mm, address);
  if (table === 0) table = yield* k.fn.pteAlloc(k, vma.mm, address);
  let pfn = yield* specialPage(k, vma, address);
  if (table === 0 || pfn === 0) return VM_FAULT_OOM;
  if (isWrite) {
    const image = pfn;
    pfn = k.fn.allocPage(k, GFP_KERNEL, FRAME_ANON);
    if (pfn === 0) pfn = yield* k.fn.allocPagesSlow(k, GFP_KERNEL, FRAME_ANON);
    if (pfn === 0) return VM_FAULT_OOM;
    k.memory.copy(pfn, image);
    if (k.sched.points) yield P_FAULT_PAGE_READY;
  }
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  const isSet = setSpecialEntry(k, vma, address, pteOffset(table, address), pfn, isWrite);
  k.ptl.unlock(table);
  if (!isSet && isWrite) k.fn.putPage(k, pfn);
  if (k.sched.points) yield P_PTE_SET;
  return isRaw ? VM_FAULT_NOPAGE : 0;
}

/** Maps `pfn` where the entry is none. ptl held. */
function setSpecialEntry(k: Kernel, vma: VmArea, address: number, word: number, pfn: number, isCopy: boolean): boolean {
  const m = k.memory;
  const { mm } = vma;
  if ((entryLo(m, word) | entryHi(m, word)) !== 0) return false;
  let lo = mkPteLo(pfn, vma.pageProtLo);
  if ((vma.flags & VM_PFNMAP) !== 0) lo |= PTE_SPECIAL;
  else if (isCopy) {
    mm.rss[MM_ANONPAGES]!++;
    k.fn.pageAddNewAnonRmap(k, pfn, vma, address);
    k.fn.lruAdd(k, pfn);
    lo = pteMaybeMkwrite(pteMkdirty(lo), vma.flags);
  } else {
    mm.rss[MM_FILEPAGES]!++;
    getPage(k, pfn);
    k.fn.pageAddFileRmap(k, pfn, vma, address);
  }
  writeEntry(m, word, lo, mkPteHi(vma.pageProtLo, vma.pageProtHi), mm.id, address, 0);
  return true;
}
