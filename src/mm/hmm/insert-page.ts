// A hole, or the zero page, gets a page that a driver has made (mm/migrate_device.c migrate_vma_insert_page): as a first touch, but the
// page may be memory of the device. A present zero page is replaced as in copy on write, under the ptl. The caller has a section open.

import { MM_ANONPAGES, VM_WRITE } from '../../abi/mman.ts';
import { SITE_COW } from '../../abi/notifier.ts';
import { PTE_RW } from '../../abi/pte.ts';
import { entryHi, entryLo, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_PTE_SET } from '../../sched/points.ts';
import { pteOffset, pteTable } from '../fault/page-tables.ts';
import type { Kernel } from '../kernel.ts';
import { isZoneDevice, PG_UPTODATE } from '../page/pages.ts';
import { mkPfnSwapHi, mkPfnSwapLo } from '../page/pfn-swap.ts';
import {
  mkPteHi,
  mkPteLo,
  pteFrame,
  pteMkdirty,
  ptePresent,
  pteSpecial,
  SWP_DEVICE_READ,
  SWP_DEVICE_WRITE,
} from '../page/swapops.ts';
import { getPage } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';
import { ptepClearFlush } from '../zap/clear-flush.ts';

/** True when `pfn` (locked, one reference of the driver) is mapped at `address`; false when something else is. */
export function* insertPage(k: Kernel, vma: VmArea, address: number, pfn: number): KernelPath<boolean> {
  const { mm } = vma;
  const m = k.memory;
  if (vma.file !== null) return false;
  if (pteTable(k, mm, address) === 0 && (yield* k.fn.pteAlloc(k, mm, address)) === 0) return false;
  if ((yield* k.fn.anonVmaPrepare(k, vma)) < 0) return false;
  // None when a huge page came meanwhile.
  const table = pteTable(k, mm, address);
  if (table === 0) return false;
  k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_UPTODATE;
  const isDevice = isZoneDevice(k.pages, pfn);
  let lo = mkPteLo(pfn, vma.pageProtLo);
  let hi = mkPteHi(vma.pageProtLo, vma.pageProtHi);
  if (isDevice) {
    lo = mkPfnSwapLo(pfn);
    hi = mkPfnSwapHi((vma.flags & VM_WRITE) !== 0 ? SWP_DEVICE_WRITE : SWP_DEVICE_READ);
  } else if ((vma.flags & VM_WRITE) !== 0) lo = pteMkdirty(lo) | PTE_RW;
  const word = pteOffset(table, address);
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  const old = entryLo(m, word);
  const isNone = (old | entryHi(m, word)) === 0;
  const isZero = ptePresent(old) && pteSpecial(old) && pteFrame(old) === k.zeroPfn;
  if ((!isNone && !isZero) || mm.isUnstable) {
    k.ptl.unlock(table);
    return false;
  }
  mm.rss[MM_ANONPAGES]!++;
  k.fn.pageAddNewAnonRmap(k, pfn, vma, address);
  if (!isDevice) k.fn.lruAdd(k, pfn);
  getPage(k, pfn);
  if (isZero) {
    yield* ptepClearFlush(k, vma, address, word, SITE_COW);
    if (mm.notifiers !== null) {
      yield* k.fn.mmuNotifierPteCleared(k, mm, address, address + 4096, SITE_COW, false);
      if (k.profile.changePte) yield* k.fn.mmuNotifierChangePte(k, mm, address, lo, hi);
    }
  }
  writeEntry(m, word, lo, hi, mm.id, address, 0);
  k.ptl.unlock(table);
  if (k.sched.points) yield P_PTE_SET;
  return true;
}
