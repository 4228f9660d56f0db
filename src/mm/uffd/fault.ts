// The faulting side of userfaultfd (fs/userfaultfd.c handle_userfault, userfaultfd_must_wait, wake_userfault).
//
// Locks: mmapLock for read on entry; it is dropped before the wait, so VM_FAULT_RETRY means "take it and fault again". The task
// queues itself before it looks at the entry once more, so that no wake-up is lost:
//
//   faulting task                        monitor
//     entry is none
//                                          UFFDIO_COPY: sets the entry, wakes whoever is queued: nobody
//     queues itself
//     entry is present: does not sleep

import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_RETRY_NOWAIT,
  FAULT_FLAG_USER,
  FAULT_FLAG_WRITE,
  VM_FAULT_NOPAGE,
  VM_FAULT_RETRY,
  VM_FAULT_SIGBUS,
  VM_UFFD_MINOR,
  VM_UFFD_WP,
} from '../../abi/mman.ts';
import { PTE_RW } from '../../abi/pte.ts';
import { OBJ_LIST } from '../../base/footprint.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { pteOffset, pteTable } from '../fault/page-tables.ts';
import { pmdTransHuge } from '../huge/pmd.ts';
import type { Kernel } from '../kernel.ts';
import { pteNoneMostly } from '../page/swapops.ts';
import type { VmArea } from '../types.ts';
import {
  UFFD_EVENT_PAGEFAULT,
  UFFD_FEATURE_EXACT_ADDRESS,
  UFFD_FEATURE_SIGBUS,
  UFFD_PAGEFAULT_FLAG_MINOR,
  UFFD_PAGEFAULT_FLAG_WP,
  UFFD_PAGEFAULT_FLAG_WRITE,
  UFFD_USER_MODE_ONLY,
  type UffdMessage,
  UffdWait,
  type UserfaultfdCtx,
} from './context.ts';

/** Contexts in footprints, apart from the other lists: the queues of one, and `released`. */
const LIST_UFFD = 0x3000000;

/** Tells the explorer's recorder that this step looks at the context, or changes it. */
export function noteUffd(k: Kernel, ctx: UserfaultfdCtx, isWrite: boolean): void {
  k.memory.footprint?.note(OBJ_LIST, LIST_UFFD + ctx.id, isWrite);
}

/** userfault_msg. */
function faultMessage(ctx: UserfaultfdCtx, address: number, real: number, flags: number, reason: number): UffdMessage {
  let bits = 0;
  if ((flags & FAULT_FLAG_WRITE) !== 0) bits |= UFFD_PAGEFAULT_FLAG_WRITE;
  if ((reason & VM_UFFD_WP) !== 0) bits |= UFFD_PAGEFAULT_FLAG_WP;
  if ((reason & VM_UFFD_MINOR) !== 0) bits |= UFFD_PAGEFAULT_FLAG_MINOR;
  const shown = (ctx.features & UFFD_FEATURE_EXACT_ADDRESS) !== 0 ? real : address;
  return { event: UFFD_EVENT_PAGEFAULT, flags: bits, address: shown, end: 0, length: 0, child: null };
}

/** handle_userfault: asks the monitor about the page at `address`. `reason`: VM_UFFD_MISSING, VM_UFFD_WP or VM_UFFD_MINOR.
 *  VM_FAULT_RETRY: mmapLock was dropped, somebody answered (or there was nothing to ask any more); VM_FAULT_SIGBUS: nobody may
 *  be asked (feature SIGBUS, a fault of the kernel itself); VM_FAULT_NOPAGE: the descriptor is being closed. The last two keep
 *  mmapLock. */
export function* handleUserfault(
  k: Kernel,
  vma: VmArea,
  address: number,
  flags: number,
  reason: number,
): KernelPath<number> {
  const ctx = vma.uffd;
  const mm = vma.mm;
  if (ctx === null || (ctx.features & UFFD_FEATURE_SIGBUS) !== 0) return VM_FAULT_SIGBUS;
  if ((flags & FAULT_FLAG_USER) === 0 && (ctx.flags & UFFD_USER_MODE_ONLY) !== 0) return VM_FAULT_SIGBUS;
  noteUffd(k, ctx, true);
  if (ctx.released) return VM_FAULT_NOPAGE;
  if ((flags & FAULT_FLAG_ALLOW_RETRY) === 0) return VM_FAULT_SIGBUS;
  if ((flags & FAULT_FLAG_RETRY_NOWAIT) !== 0) return VM_FAULT_RETRY;
  const real = k.sched.current.faultAddress;
  const wait = new UffdWait(faultMessage(ctx, address, real, flags, reason), address);
  ctx.pending.unshift(wait);
  const mustWait = userfaultfdMustWait(k, vma, address, reason);
  mm.mmapLock.readUnlock();
  if (mustWait && !ctx.released) {
    ctx.readQueue.wakeAll(k.sched);
    const isOver = (): boolean => {
      noteUffd(k, ctx, false);
      return wait.woken || ctx.released || mm.isKilled;
    };
    yield* k.sched.waitUntil(isOver, ctx.faultQueue, 'userfault');
  }
  noteUffd(k, ctx, true);
  dequeue(ctx, wait);
  return VM_FAULT_RETRY;
}

function dequeue(ctx: UserfaultfdCtx, wait: UffdWait): void {
  const i = ctx.pending.indexOf(wait);
  if (i >= 0) ctx.pending.splice(i, 1);
  const j = ctx.fault.indexOf(wait);
  if (j >= 0) ctx.fault.splice(j, 1);
}

/** userfaultfd_must_wait: is the entry still one that the monitor has to see to? Looks without a lock. */
function userfaultfdMustWait(k: Kernel, vma: VmArea, address: number, reason: number): boolean {
  const m = k.memory;
  const table = pteTable(k, vma.mm, address);
  if (table === 0) {
    const pmd = pmdWord(m, vma.mm.pgd, vpnHi(address), vpnLo(address));
    const entry = pmd < 0 ? 0 : entryLo(m, pmd);
    if (!pmdTransHuge(entry)) return true;
    return (reason & VM_UFFD_WP) !== 0 && (entry & PTE_RW) === 0;
  }
  const word = pteOffset(table, address);
  const lo = entryLo(m, word);
  if (pteNoneMostly(lo, entryHi(m, word))) return true;
  return (reason & VM_UFFD_WP) !== 0 && (lo & PTE_RW) === 0;
}

/** wake_userfault: everybody who waits for a page of [start, end). */
export function wakeUserfault(k: Kernel, ctx: UserfaultfdCtx, start: number, end: number): void {
  noteUffd(k, ctx, true);
  if (ctx.pending.length + ctx.fault.length === 0) return;
  const isHit = (w: UffdWait): boolean => w.address >= start && w.address < end;
  for (const w of ctx.pending) w.woken ||= isHit(w);
  for (const w of ctx.fault) w.woken ||= isHit(w);
  ctx.pending = ctx.pending.filter((w) => !w.woken);
  ctx.fault = ctx.fault.filter((w) => !w.woken);
  ctx.faultQueue.wakeAll(k.sched);
}
