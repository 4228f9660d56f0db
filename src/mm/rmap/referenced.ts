// Was the page used lately? (mm/rmap.c folio_referenced.) Takes A from each entry that maps it and asks the secondary MMUs
// (clear_flush_young). x86 does not flush the CPU TLBs for it: an entry still cached there only makes the page look older.
// No section. The rmap lock is only tried: a contended page counts as used by nobody knows whom (-1).

import { CB_CLEAR_FLUSH_YOUNG } from '../../abi/events.ts';
import { VM_LOCKED, VM_RAND_READ, VM_SEQ_READ } from '../../abi/mman.ts';
import { PTE_A } from '../../abi/pte.ts';
import { entryLo } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { hugeReferencedOne } from '../huge/rmap-walk.ts';
import type { Kernel } from '../kernel.ts';
import { isMapped } from '../migrate/folio.ts';
import { tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_ANON, PG_IDLE, PG_KSM, PG_MLOCKED, PG_YOUNG } from '../page/pages.ts';
import { lookAround } from '../reclaim/lru-gen-walk.ts';
import type { MemCgroup } from '../reclaim/mem-cgroup.ts';
import type { VmArea } from '../types.ts';
import { ptepClearFlushYoung } from '../zap/clear-flush.ts';
import { vmaAddress } from './rmap.ts';
import { mappedWord, rmapLockOf, rmapNext, rmapVma } from './walk.ts';

export function* folioReferenced(
  k: Kernel,
  pfn: number,
  isLocked: boolean,
  target: MemCgroup | null = null,
): KernelPath<number> {
  const pages = k.pages;
  let vmFlags = 0;
  let referenced = 0;
  if ((pages.flags[pfn]! & PG_KSM) !== 0) return yield* ksmReferenced(k, pfn, isLocked);
  const lock = isMapped(pages, pfn) ? rmapLockOf(k, pfn) : null;
  if (lock === null) {
    k.referencedVmFlags = 0;
    return 0;
  }
  // A file page must not leave its file meanwhile; an anonymous page keeps its anon_vma while it is mapped.
  const weLocked = !isLocked && (pages.flags[pfn]! & PG_ANON) === 0;
  if (weLocked && !tryLockPage(k, pfn)) {
    k.referencedVmFlags = 0;
    return 1;
  }
  if (!lock.readTrylock()) {
    if (weLocked) unlockPage(k, pfn);
    k.referencedVmFlags = 0;
    return -1;
  }
  const isHuge = pages.order[pfn] !== 0;
  let left = isHuge ? 1 : pages.mapcount[pfn]!;
  for (let at = rmapNext(k, pfn, 0); at >= 0 && left > 0; at = rmapNext(k, pfn, at + 1)) {
    const vma = rmapVma(k, pfn, at);
    // invalid_folio_referenced_vma: use by other groups is no reason to keep it in this one.
    if (target !== null && vma.mm.memcg !== target.id) continue;
    const address = vmaAddress(vma, pages.index[pfn]!);
    if (!isHuge && mappedWord(k, vma.mm, address, pfn) < 0) continue;
    const young = isHuge ? yield* hugeReferencedOne(k, pfn, vma) : yield* k.fn.folioReferencedOne(k, pfn, vma, address);
    if (young < 0) {
      vmFlags |= VM_LOCKED;
      break;
    }
    if (!isHuge) left--;
    if (young > 0) {
      referenced += young;
      vmFlags |= vma.flags;
    }
  }
  lock.readUnlock();
  if (weLocked) unlockPage(k, pfn);
  k.referencedVmFlags = vmFlags;
  return referenced;
}

/** folio_referenced of a KSM page: its lock guards the places. */
function* ksmReferenced(k: Kernel, pfn: number, isLocked: boolean): KernelPath<number> {
  k.referencedVmFlags = 0;
  if (!isLocked && !tryLockPage(k, pfn)) return 1;
  let vmFlags = 0;
  let referenced = 0;
  let left = k.pages.mapcount[pfn]!;
  yield* k.fn.rmapWalkKsm(k, pfn, function* (vma, address) {
    if (mappedWord(k, vma.mm, address, pfn) < 0) return true;
    const young = yield* k.fn.folioReferencedOne(k, pfn, vma, address);
    if (young !== 0) vmFlags |= young < 0 ? VM_LOCKED : vma.flags;
    if (young > 0) referenced += young;
    return young >= 0 && --left > 0;
  });
  if (!isLocked) unlockPage(k, pfn);
  k.referencedVmFlags = vmFlags;
  return referenced;
}

/** folio_referenced_one: 1 when the mapping was used, 0 when not, -1 when the VMA is locked in memory (the walk stops). */
export function* folioReferencedOne(k: Kernel, pfn: number, vma: VmArea, address: number): AtomicPath<number> {
  const mm = vma.mm;
  let word = mappedWord(k, mm, address, pfn);
  if (word < 0) return 0;
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  word = mappedWord(k, mm, address, pfn);
  let young = false;
  let locked = false;
  let around = 0;
  if (word >= 0) {
    if ((vma.flags & VM_LOCKED) !== 0) {
      k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_MLOCKED;
      locked = true;
    } else {
      if (
        k.reclaim.lruGen !== null &&
        (entryLo(k.memory, word) & PTE_A) !== 0 &&
        (vma.flags & (VM_SEQ_READ | VM_RAND_READ)) === 0
      ) {
        lookAround(k, vma, ptl, address, pfn);
        around = 1;
      }
      young = ptepClearFlushYoung(k, vma, address, word);
      if (mm.notifiers !== null)
        young = (yield* k.fn.mmuNotifierYoung(k, mm, address, address + 4096, CB_CLEAR_FLUSH_YOUNG)) || young;
    }
  }
  k.ptl.unlock(ptl);
  if (locked) return -1;
  // A mapping that is read once from start to end does not count as use.
  const used = young && (vma.flags & VM_SEQ_READ) === 0 ? around + 1 : around;
  return (k.pages.flags[pfn]! & (PG_IDLE | PG_YOUNG)) === 0 ? used : used + usedBefore(k, pfn, used);
}

/** What idle page tracking left: an idle page that was used is so no more; one whose A bit it had taken counts as used, once. */
function usedBefore(k: Kernel, pfn: number, used: number): number {
  const { flags } = k.pages;
  if (used > 0) flags[pfn] = flags[pfn]! & ~PG_IDLE;
  if ((flags[pfn]! & PG_YOUNG) === 0) return 0;
  flags[pfn] = flags[pfn]! & ~PG_YOUNG;
  return 1;
}
