// hmm_range_fault (mm/hmm.c): what a range of addresses is mapped to, for a device that mirrors the page tables; what is missing and asked
// for is faulted in. No page is referenced: the result holds as long as the interval notifier's sequence has not moved, which the driver
// checks under its own lock before it uses it.
//
//   again: seq = read_begin; mmapLock read; hmmRangeFault; unlock; -EBUSY? again; driver lock; read_retry? unlock, again; program
//
// Each word of `pfns` goes in with requests and comes out as frame and flags. Pages that the caller's device has itself come out as they are;
// those of another device are faulted back to RAM. The walk takes no ptl: a racing change moves the sequence.
//
// Locks: mmapLock read, kept. Kernel names: hmm_vma_handle_pte, hmm_pte_need_fault, hmm_vma_walk_pmd, hmm_vma_walk_hole, hmm_vma_walk_test,
// hmm_vma_fault.

import { EBUSY, EFAULT, EPERM } from '../../abi/errno.ts';
import {
  FAULT_FLAG_REMOTE,
  FAULT_FLAG_WRITE,
  VM_FAULT_ERROR,
  VM_IO,
  VM_PFNMAP,
  VM_READ,
  VM_WRITE,
} from '../../abi/mman.ts';
import { PTE_P, PTE_RW } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_DEV_TRANSLATE } from '../../sched/points.ts';
import { pteOffset, pteTable } from '../fault/page-tables.ts';
import { pmdFrame, pmdIsSwap } from '../huge/pmd.ts';
import type { Kernel } from '../kernel.ts';
import { migrationEntryWait } from '../migrate/wait.ts';
import { isDeviceExclusive, isDevicePrivate, isMigration, swapPfn } from '../page/pfn-swap.ts';
import {
  isRealSwap,
  pteFrame,
  ptePresent,
  pteProtnone,
  pteSpecial,
  SWP_DEVICE_WRITE,
  swapType,
} from '../page/swapops.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { modPower } from '../vma/address.ts';
import { pagemapOf } from './device-memory.ts';

// enum hmm_pfn_flags; the frame is in the low 20 bits. Output:
export const HMM_PFN_VALID = 1 << 28;
export const HMM_PFN_WRITE = 1 << 29;
export const HMM_PFN_ERROR = 1 << 30;
export const HMM_PFN_FRAME = 0xfffff;
// Input:
export const HMM_PFN_REQ_FAULT = HMM_PFN_VALID;
export const HMM_PFN_REQ_WRITE = HMM_PFN_WRITE;

const NEED_FAULT = 1;
const NEED_WRITE_FAULT = 2;

/** struct hmm_range. */
export interface HmmRange {
  readonly mm: MmStruct;
  readonly start: number;
  readonly end: number;
  /** One word for each page. */
  readonly pfns: Int32Array;
  /** Requests for all pages, and which bits of each word are requests too. */
  readonly defaultFlags: number;
  readonly pfnFlagsMask: number;
  /** Owner of device memory that is not faulted back. */
  readonly owner: object | null;
  /** mmu_interval_check_retry with the sequence number of the begin: true = the range was invalidated since. */
  readonly isStale: () => boolean;
}

/** One walk: where it goes on after -EBUSY. */
interface Walk {
  readonly range: HmmRange;
  last: number;
}

/** 0; -EBUSY the sequence has moved: begin again; -EFAULT hole, forbidden mapping or failed fault; -EPERM write to a read-only VMA. */
export function* hmmRangeFault(k: Kernel, range: HmmRange): KernelPath<number> {
  const walk: Walk = { range, last: range.start };
  for (;;) {
    if (k.sched.points) yield P_DEV_TRANSLATE;
    if (range.isStale()) return -EBUSY;
    const result = yield* walkRange(k, walk);
    if (result !== -EBUSY) return result;
  }
}

/** hmm_pte_need_fault for one word. */
function needFault(range: HmmRange, word: number, cpuFlags: number): number {
  const request = (word & range.pfnFlagsMask) | range.defaultFlags;
  if ((request & HMM_PFN_REQ_FAULT) === 0) return 0;
  if ((request & HMM_PFN_REQ_WRITE) !== 0 && (cpuFlags & HMM_PFN_WRITE) === 0) return NEED_FAULT | NEED_WRITE_FAULT;
  return (cpuFlags & HMM_PFN_VALID) === 0 ? NEED_FAULT : 0;
}

/** hmm_range_need_fault over [start, end), where the entries allow `cpuFlags`. */
function rangeNeedsFault(range: HmmRange, start: number, end: number, cpuFlags = 0): number {
  let need = 0;
  for (let at = start; at < end; at += 4096) {
    need |= needFault(range, range.pfns[(at - range.start) / 4096]!, cpuFlags);
    if (need === (NEED_FAULT | NEED_WRITE_FAULT)) break;
  }
  return need;
}

function fill(range: HmmRange, start: number, end: number, word: number): void {
  range.pfns.fill(word, (start - range.start) / 4096, (end - range.start) / 4096);
}

/** walk_page_range from walk.last on. */
function* walkRange(k: Kernel, walk: Walk): KernelPath<number> {
  const { range } = walk;
  for (let at = walk.last; at < range.end; ) {
    const vma = range.mm.vmas.find(at);
    if (vma === null || vma.start > at) {
      const stop = vma === null ? range.end : Math.min(range.end, vma.start);
      if (rangeNeedsFault(range, at, stop) !== 0) return -EFAULT;
      fill(range, at, stop, HMM_PFN_ERROR);
      at = stop;
      continue;
    }
    const stop = Math.min(range.end, vma.end);
    const result = yield* walkVma(k, walk, vma, at, stop);
    if (result < 0) return result;
    at = stop;
  }
  return 0;
}

function* walkVma(k: Kernel, walk: Walk, vma: VmArea, start: number, end: number): KernelPath<number> {
  const { range } = walk;
  if ((vma.flags & (VM_IO | VM_PFNMAP)) !== 0 || (vma.flags & VM_READ) === 0) {
    if (rangeNeedsFault(range, start, end) !== 0) return -EFAULT;
    fill(range, start, end, HMM_PFN_ERROR);
    return 0;
  }
  for (let at = start; at < end; ) {
    const next = Math.min(end, at - modPower(at, 0x200000) + 0x200000);
    const table = pteTable(k, range.mm, at);
    const pmd = table === 0 ? pmdWord(k.memory, range.mm.pgd, vpnHi(at), vpnLo(at)) : -1;
    if (pmd >= 0 && (entryLo(k.memory, pmd) | entryHi(k.memory, pmd)) !== 0) {
      const result = yield* handlePmd(k, walk, vma, pmd, at, next);
      if (result < 0) return result;
    } else if (table === 0) {
      const need = rangeNeedsFault(range, at, next);
      if (need !== 0) return yield* fault(k, walk, vma, at, next, need);
      fill(range, at, next, 0);
    } else {
      for (let page = at; page < next; page += 4096) {
        const result = yield* handlePte(k, walk, vma, table, page, next);
        if (result < 0) return result;
      }
    }
    at = next;
  }
  return 0;
}

/** hmm_vma_walk_pmd of a leaf, hugetlb's too, or of a migration entry: [start, end) lies in what it maps. After a fault: -EBUSY. */
function* handlePmd(k: Kernel, walk: Walk, vma: VmArea, word: number, start: number, end: number): KernelPath<number> {
  const { range } = walk;
  const lo = entryLo(k.memory, word);
  if (pmdIsSwap(lo, entryHi(k.memory, word))) {
    if (rangeNeedsFault(range, start, end) === 0) {
      fill(range, start, end, 0);
      return 0;
    }
    walk.last = start;
    yield* k.fn.pmdMigrationEntryWait(k, vma, word);
    return -EBUSY;
  }
  const flags = pteProtnone(lo) ? 0 : HMM_PFN_VALID | ((lo & PTE_RW) !== 0 ? HMM_PFN_WRITE : 0);
  const need = rangeNeedsFault(range, start, end, flags);
  if (need !== 0) return yield* fault(k, walk, vma, start, end, need);
  const first = pmdFrame(lo) + modPower(start, 0x200000) / 4096;
  for (let i = 0; i < (end - start) / 4096; i++)
    range.pfns[(start - range.start) / 4096 + i] = flags === 0 ? 0 : (first + i) | flags;
  return 0;
}

/** hmm_vma_handle_pte. After a fault: -EBUSY, look again. */
function* handlePte(
  k: Kernel,
  walk: Walk,
  vma: VmArea,
  table: number,
  address: number,
  end: number,
): KernelPath<number> {
  const { range } = walk;
  const word = pteOffset(table, address);
  const lo = entryLo(k.memory, word);
  const hi = entryHi(k.memory, word);
  const i = (address - range.start) / 4096;
  const request = range.pfns[i]!;
  if (ptePresent(lo)) {
    const isUsable = (lo & PTE_P) !== 0 && !pteProtnone(lo);
    const flags = isUsable ? HMM_PFN_VALID | ((lo & PTE_RW) !== 0 ? HMM_PFN_WRITE : 0) : 0;
    const need = needFault(range, request, flags);
    if (need !== 0) return yield* fault(k, walk, vma, address, end, need);
    if (pteSpecial(lo) && pteFrame(lo) !== k.zeroPfn) {
      if (needFault(range, request, 0) !== 0) return -EFAULT;
      range.pfns[i] = HMM_PFN_ERROR;
    } else range.pfns[i] = isUsable ? pteFrame(lo) | flags : 0;
    return 0;
  }
  const isNone = (lo | hi) === 0;
  if (!isNone && isDevicePrivate(hi) && pagemapOf(k, swapPfn(lo)).owner === range.owner) {
    range.pfns[i] = swapPfn(lo) | HMM_PFN_VALID | (swapType(hi) === SWP_DEVICE_WRITE ? HMM_PFN_WRITE : 0);
    return 0;
  }
  const need = needFault(range, request, 0);
  if (need === 0) {
    range.pfns[i] = 0;
    return 0;
  }
  if (isNone || isRealSwap(hi) || isDevicePrivate(hi) || isDeviceExclusive(hi))
    return yield* fault(k, walk, vma, address, end, need);
  if (!isMigration(hi)) return -EFAULT;
  walk.last = address;
  yield* migrationEntryWait(k, word);
  return -EBUSY;
}

/** hmm_vma_fault: faults [start, end) in, to the end of the page table; the walk looks again from `start`. */
function* fault(k: Kernel, walk: Walk, vma: VmArea, start: number, end: number, need: number): KernelPath<number> {
  walk.last = start;
  let flags = FAULT_FLAG_REMOTE;
  if ((need & NEED_WRITE_FAULT) !== 0) {
    if ((vma.flags & VM_WRITE) === 0) return -EPERM;
    flags |= FAULT_FLAG_WRITE;
  }
  for (let at = start; at < end; at += 4096)
    if (((yield* k.fn.handleMmFault(k, vma, at, flags)) & VM_FAULT_ERROR) !== 0) return -EFAULT;
  return -EBUSY;
}
