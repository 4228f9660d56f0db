// khugepaged's scan (mm/khugepaged.c khugepaged_scan_mm_slot): goes through the registered address spaces block by block and
// collapses what is worth it, a given number of entries at a time; the next scan goes on where this one stopped.
//
// mmapLock is only tried: an address space in use is passed by. Kernel names: khugepaged_do_scan, khugepaged_scan_mm_slot.

import { PMD_SIZE } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_NR } from '../page/compound.ts';
import { lruAddDrain } from '../reclaim/lru-add-batch.ts';
import type { MmStruct } from '../types.ts';
import { hugepageVmaCheck } from './policy.ts';
import { SCAN_SUCCEED } from './scan-result.ts';

/** khugepaged_do_scan: looks at up to `pages` entries. Number of blocks collapsed. */
export function* khugepagedScan(k: Kernel, pages = k.huge.pagesToScan): KernelPath<number> {
  const { huge } = k;
  if (huge.enabled === 'never') return 0;
  lruAddDrain(k);
  let collapsed = 0;
  let left = pages;
  for (let visits = huge.khugepagedMms.size + 1; visits > 0 && left > 0; visits--) {
    huge.scanMm ??= huge.khugepagedMms.values().next().value ?? null;
    const mm: MmStruct | null = huge.scanMm;
    if (mm === null) break;
    while (left > 0 && huge.scanMm === mm) {
      left -= HPAGE_PMD_NR;
      const result = yield* scanNextBlock(k, mm);
      if (result === SCAN_SUCCEED) collapsed++;
      if (result < 0) nextMm(k, mm);
    }
  }
  return collapsed;
}

/** Goes on with the address space registered after `mm`. */
function nextMm(k: Kernel, mm: MmStruct): void {
  const all = [...k.huge.khugepagedMms];
  k.huge.scanMm = all[all.indexOf(mm) + 1] ?? null;
  k.huge.scanAddress = 0;
}

/** The next block of the address space that may be huge: SCAN_*, or -1 when there is none, or the lock is taken. */
function* scanNextBlock(k: Kernel, mm: MmStruct): KernelPath<number> {
  const lock = mm.mmapLock;
  if (!lock.readTrylock()) return -1;
  for (let vma = mm.vmas.find(k.huge.scanAddress); vma !== null; vma = mm.vmas.next(vma)) {
    if (vma.file !== null || !hugepageVmaCheck(k, vma, vma.flags, false, true)) continue;
    const first = Math.ceil(Math.max(vma.start, k.huge.scanAddress) / PMD_SIZE) * PMD_SIZE;
    if (first + PMD_SIZE > vma.end) continue;
    k.huge.scanAddress = first + PMD_SIZE;
    const result = yield* k.fn.collapseScanPmd(k, vma, first, true);
    if (!k.huge.lockDropped) lock.readUnlock();
    return result;
  }
  lock.readUnlock();
  return -1;
}
