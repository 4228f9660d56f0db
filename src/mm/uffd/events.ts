// Events of userfaultfd beside faults: the monitor hears that memory was unmapped, moved, dropped or forked, and whoever did it
// waits until the monitor has read that (fs/userfaultfd.c). From the moment when the change begins until then, `mmapChanging`
// makes fills answer -EAGAIN: the monitor's picture of the address space is out of date.
//
// REMOVE is announced before the pages go, with mmapLock dropped meanwhile; the others after the call, when mmapLock is free. What
// a call has to announce stands in k.uffdEvents, by thread, until the call's end (edge.ts runTaskWork).
// Kernel names: userfaultfd_event_wait_completion, userfaultfd_unmap_prep/_complete, mremap_userfaultfd_prep/_complete,
// userfaultfd_remove, dup_userfaultfd, dup_userfaultfd_complete.

import { VM_UFFD_FLAGS } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Thread } from '../../sched/scheduler.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { setPageProt } from '../vma/flags.ts';
import { setVmaFlags } from '../vma/mprotect.ts';
import {
  UFFD_EVENT_FORK,
  UFFD_EVENT_REMAP,
  UFFD_EVENT_REMOVE,
  UFFD_EVENT_UNMAP,
  UFFD_FEATURE_EVENT_FORK,
  UFFD_FEATURE_EVENT_REMAP,
  UFFD_FEATURE_EVENT_REMOVE,
  UFFD_FEATURE_EVENT_UNMAP,
  UffdEvent,
  type UffdMessage,
  UserfaultfdCtx,
} from './context.ts';
import { noteUffd } from './fault.ts';

/** An event that the running system call will announce at its end. */
export interface DueEvent {
  readonly thread: Thread;
  readonly ctx: UserfaultfdCtx;
  readonly message: UffdMessage;
}

function message(event: number, address: number, end: number, length = 0): UffdMessage {
  return { event, flags: 0, address, end, length, child: null };
}

function due(k: Kernel, ctx: UserfaultfdCtx, m: UffdMessage): void {
  noteUffd(k, ctx, true);
  ctx.mmapChanging++;
  k.uffdEvents.push({ thread: k.sched.current, ctx, message: m });
}

/** userfaultfd_event_wait_completion. */
function* announceAndWait(k: Kernel, ctx: UserfaultfdCtx, m: UffdMessage): KernelPath<void> {
  const event = new UffdEvent(m);
  noteUffd(k, ctx, true);
  ctx.events.push(event);
  ctx.readQueue.wakeAll(k.sched);
  const isOver = (): boolean => {
    noteUffd(k, ctx, false);
    return event.isRead || ctx.released || ctx.mm.isKilled;
  };
  yield* k.sched.waitUntil(isOver, ctx.eventQueue, 'userfaultfd event');
  noteUffd(k, ctx, true);
  if (!event.isRead) ctx.events.splice(ctx.events.indexOf(event), 1);
  // A child whose monitor never heard of it is nobody's: its faults must not wait.
  if (!event.isRead && m.child !== null) yield* k.fn.userfaultfdRelease(k, m.child);
  ctx.mmapChanging--;
}

/** What the running thread's system call has to announce; mmapLock not held. */
export function* sendUffdEvents(k: Kernel): KernelPath<void> {
  const mine = k.uffdEvents.filter((e) => e.thread === k.sched.current);
  k.uffdEvents = k.uffdEvents.filter((e) => e.thread !== k.sched.current);
  for (const e of mine) yield* announceAndWait(k, e.ctx, e.message);
}

/** userfaultfd_unmap_prep for one VMA of [start, end) that goes. mmapLock W. */
export function userfaultfdUnmapPrep(k: Kernel, vma: VmArea, start: number, end: number): void {
  const ctx = vma.uffd;
  if (ctx === null || (ctx.features & UFFD_FEATURE_EVENT_UNMAP) === 0) return;
  const known = k.uffdEvents.some(
    (e) =>
      e.ctx === ctx && e.message.event === UFFD_EVENT_UNMAP && e.message.address === start && e.message.end === end,
  );
  if (!known) due(k, ctx, message(UFFD_EVENT_UNMAP, start, end));
}

/** vma_has_uffd_without_event_remap: nobody will follow the pages to their new place, so they lose their marks. */
export function hasUffdWithoutEventRemap(vma: VmArea): boolean {
  return vma.uffd !== null && (vma.uffd.features & UFFD_FEATURE_EVENT_REMAP) === 0;
}

/** mremap_userfaultfd_prep for the VMA at the new place: the registration moves along only if the monitor is told. mmapLock W. */
export function mremapUserfaultfdPrep(k: Kernel, vma: VmArea, from: number, to: number, length: number): void {
  const ctx = vma.uffd;
  if (ctx === null) return;
  if ((ctx.features & UFFD_FEATURE_EVENT_REMAP) === 0) {
    vma.uffd = null;
    setVmaFlags(k, vma, vma.flags & ~VM_UFFD_FLAGS);
  } else due(k, ctx, message(UFFD_EVENT_REMAP, from, to, length));
}

/** userfaultfd_remove: announces that [start, end) will be dropped. True when nobody had to be told; false: mmapLock was
 *  dropped and is not held. */
export function* userfaultfdRemove(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<boolean> {
  const ctx = vma.uffd;
  if (ctx === null || (ctx.features & UFFD_FEATURE_EVENT_REMOVE) === 0) return true;
  noteUffd(k, ctx, true);
  ctx.mmapChanging++;
  vma.mm.mmapLock.readUnlock();
  yield* announceAndWait(k, ctx, message(UFFD_EVENT_REMOVE, start, end));
  return false;
}

/** dup_userfaultfd: the child's copy of a registered VMA is registered with a context of its own if the monitor wants to hear of
 *  forks, else not at all. Both mmapLocks W. */
export function dupUserfaultfd(k: Kernel, vma: VmArea): void {
  const from = vma.uffd;
  if (from === null) return;
  if ((from.features & UFFD_FEATURE_EVENT_FORK) === 0) {
    vma.uffd = null;
    vma.flags &= ~VM_UFFD_FLAGS;
    setPageProt(vma);
    return;
  }
  vma.uffd = childContext(k, from, vma.mm);
}

function childContext(k: Kernel, from: UserfaultfdCtx, mm: MmStruct): UserfaultfdCtx {
  for (const e of k.uffdEvents) {
    if (e.ctx === from && e.message.child !== null && e.message.child.mm === mm) return e.message.child;
  }
  const child = new UserfaultfdCtx(k.nextUffd++, mm, from.flags);
  child.features = from.features;
  child.isInitialized = from.isInitialized;
  mm.count++;
  due(k, from, { event: UFFD_EVENT_FORK, flags: 0, address: 0, end: 0, length: 0, child });
  return child;
}
