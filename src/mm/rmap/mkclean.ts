// Before a page is written back (mm/rmap.c page_mkclean): every shared mapping loses write access and D, so that the next
// store faults and makes the page dirty again. Page lock held. Each shared VMA has its own section PROTECTION_PAGE, even when
// the page is not mapped there; the CPU flush comes before its end, and no call is made under the ptl in 6.1.

import { VM_SHARED } from '../../abi/mman.ts';
import { MMU_NOTIFY_PROTECTION_PAGE, SITE_MKCLEAN } from '../../abi/notifier.ts';
import { PTE_D, PTE_RW } from '../../abi/pte.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { PG_ANON } from '../page/pages.ts';
import type { AddressSpace, VmArea } from '../types.ts';
import { ptepClearFlush } from '../zap/clear-flush.ts';
import { vmaAddress } from './rmap.ts';
import { mappedWord, rmapNext, rmapVma, setEntry } from './walk.ts';

export function* pageMkclean(k: Kernel, pfn: number): KernelPath<number> {
  const pages = k.pages;
  if (pages.mapcount[pfn] === 0 || (pages.flags[pfn]! & PG_ANON) !== 0) return 0;
  const mapping = pages.mapping[pfn] as AddressSpace | null;
  if (mapping === null) return 0;
  const lock = mapping.iMmapRwsem;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  let cleaned = 0;
  for (let at = rmapNext(k, pfn, 0); at >= 0; at = rmapNext(k, pfn, at + 1)) {
    const vma = rmapVma(k, pfn, at);
    if ((vma.flags & VM_SHARED) === 0) continue;
    cleaned += yield* k.fn.pageMkcleanOne(k, pfn, vma, vmaAddress(vma, pages.index[pfn]!));
  }
  lock.readUnlock();
  if (k.design?.hasRmapNotifiers) yield* k.fn.mmuNotifierPageUnmapped(k, pfn, SITE_MKCLEAN);
  return cleaned;
}

export function* pageMkcleanOne(k: Kernel, pfn: number, vma: VmArea, address: number): KernelPath<number> {
  const mm = vma.mm;
  const range =
    mm.notifiers === null ? null : k.range(mm, address, address + 4096, MMU_NOTIFY_PROTECTION_PAGE, SITE_MKCLEAN);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  let cleaned = 0;
  let word = mappedWord(k, mm, address, pfn);
  if (word >= 0) {
    const ptl = word >>> 10;
    if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
    word = mappedWord(k, mm, address, pfn);
    const lo = word < 0 ? 0 : entryLo(k.memory, word);
    if ((lo & (PTE_D | PTE_RW)) !== 0) {
      const hi = entryHi(k.memory, word);
      yield* ptepClearFlush(k, vma, address, word, SITE_MKCLEAN);
      if (mm.notifiers !== null) yield* k.fn.mmuNotifierPteCleared(k, mm, address, address + 4096, SITE_MKCLEAN, true);
      setEntry(k, mm, word, lo & ~(PTE_D | PTE_RW), hi, address);
      cleaned = 1;
    }
    k.ptl.unlock(ptl);
  }
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  return cleaned;
}
