// Monitor of the callback protocol as mm speaks it: sections pair up in each thread (I40), release and unbind leave nothing
// behind (I12, static form), system calls end with nothing open.

import {
  BIND_CLOSES_LATE,
  BIND_DRAINED,
  CB_INVALIDATE_RANGE,
  EV_A,
  EV_B,
  EV_C,
  EV_D,
  EV_END,
  EV_MM,
  EV_PFN,
  EV_START,
} from '../abi/events.ts';
import { MMU_NOTIFY_NAMES, SITE_NAMES } from '../abi/notifier.ts';
import { syscallName } from '../abi/syscalls.ts';
import { checkTornDown } from './accesses.ts';
import { onDrained } from './ats.ts';
import type { Context } from './context.ts';
import { givenUp } from './lost-write.ts';
import { beginCall, endCall } from './promises.ts';
import { I40 } from './properties.ts';
import type { Section, ThreadState } from './sections.ts';
import { leaveSection, settleAll, settleFlushed } from './settling.ts';
import { onCallbackBegin, sectionLeft } from './subscribers.ts';
import { hex } from './text.ts';

/** c of E_SECTION_END when the start was refused (non-blockable): no end follows. */
const END_OF_REFUSED_START = 2;

/** E_SECTION_START. */
export function onSectionStart(c: Context, r: Float64Array, at: number): void {
  const t = c.sections.thread(c.actor);
  if (t.settling.length > 0) settleFlushed(c, t);
  const mm = r[at + EV_MM]!;
  const start = r[at + EV_START]!;
  const end = r[at + EV_END]!;
  if (c.objects !== null && holdsAny(c, mm, start, end)) c.tally.sectionsOverHeld++;
  c.sections.open(t, r[at + EV_D]!, mm, start, end, r[at + EV_A]!, r[at + EV_B]!, c.step);
  if (c.progress.size > 0) c.progress.changed(mm, start, end);
}

/** Does a device hold a translation of a page in the range? */
function holdsAny(c: Context, mm: number, start: number, end: number): boolean {
  const holders = c.held.holders(mm);
  for (let i = 0; i < holders.length; i++) {
    const h = holders[i]!;
    if (!h.isDeviceTlb) continue;
    for (const slot of h.slots.values()) if (c.held.start[slot]! < end && c.held.end[slot]! > start) return true;
  }
  return false;
}

/** E_SECTION_END. */
export function onSectionEnd(c: Context, r: Float64Array, at: number): void {
  const t = c.sections.thread(c.actor);
  if (t.settling.length > 0) settleFlushed(c, t);
  const id = r[at + EV_D]!;
  const mm = r[at + EV_MM]!;
  const start = r[at + EV_START]!;
  const end = r[at + EV_END]!;
  if (c.progress.size > 0) c.progress.changed(mm, start, end);
  if (c.objects !== null) c.objects.cover(mm, start, end, true);
  let i = t.open.length - 1;
  while (i >= 0 && t.open[i]!.id !== id) i--;
  if (i < 0) {
    unpaired(c, mm, start, `left a section over ${hex(start)}..${hex(end)} that it had not opened`);
    return;
  }
  const s = t.open[i]!;
  if (i !== t.open.length - 1) {
    unpaired(
      c,
      mm,
      start,
      `left ${describe(s)} before the one opened inside it, ${describe(t.open[t.open.length - 1]!)}`,
    );
  }
  if (s.start !== start || s.end !== end || s.event !== r[at + EV_A] || s.mm !== mm) {
    unpaired(
      c,
      mm,
      start,
      `left ${describe(s)} with range ${hex(start)}..${hex(end)} and event ${eventName(r[at + EV_A]!)}`,
    );
  }
  t.open.splice(i, 1);
  let stillOpen = 0;
  for (const o of t.open) if (o.mm === s.mm && o.start === s.start && o.end === s.end) stillOpen++;
  sectionLeft(c, s.mm, s.start, s.end, r[at + EV_C] === END_OF_REFUSED_START, stillOpen);
  c.residency.settle(c.actor);
  if (r[at + EV_C] === END_OF_REFUSED_START && s.changedAt < 0) c.retire(s);
  else leaveSection(c, t, s);
}

function unpaired(c: Context, mm: number, page: number, what: string): void {
  if (c.finds(I40, null, mm, page, 0)) c.say(`${c.actorName(c.actor)} ${what}.`);
}

function describe(s: Section): string {
  const site = SITE_NAMES[s.site] ?? `site ${s.site}`;
  return `section ${s.id} of ${site} (${eventName(s.event)} ${hex(s.start)}..${hex(s.end)}, opened at step ${s.step})`;
}

function eventName(event: number): string {
  return MMU_NOTIFY_NAMES[event] ?? String(event);
}

/** E_SYSCALL. */
export function onSyscall(c: Context, r: Float64Array, at: number): void {
  const t = c.sections.thread(c.actor);
  t.syscall.push(r[at + EV_A]!);
  t.syscallDepth.push(t.open.length);
  t.arguments.push(r[at + EV_START]!, r[at + EV_END]!, r[at + EV_B]!, r[at + EV_C]!);
  beginCall(c, r[at + EV_A]!, r[at + EV_MM]!, t.arguments, t.arguments.length - 4);
}

/** E_SYSCALL_END. */
export function onSyscallEnd(c: Context, r: Float64Array, at: number): void {
  const t = c.sections.thread(c.actor);
  const depth = t.syscallDepth.pop() ?? 0;
  t.syscall.pop();
  const args = Math.max(0, t.arguments.length - 4);
  if (t.open.length > depth) stillOpen(c, t, depth, `returned from ${syscallName(r[at + EV_A]!)}`);
  if (t.settling.length > 0) settleAll(c, t);
  if (c.lost.given.size > 0) givenUp(c);
  if (t.arguments.length > 0) endCall(c, r[at + EV_A]!, t.arguments, args, r[at + EV_START]!);
  t.arguments.length = args;
  c.residency.settle(c.actor);
}

/** What the thread opened above `depth` and did not leave. */
export function stillOpen(c: Context, t: ThreadState, depth: number, when: string): void {
  while (t.open.length > depth) {
    const s = t.open.pop()!;
    if (c.finds(I40, null, s.mm, s.start, 0)) {
      c.say(`${c.actorName(t.actor)} ${when} without leaving ${describe(s)}.`);
    }
    c.retire(s);
  }
}

/** E_FAULT_END: outside a system call the operation is over; inside one only what is flushed. */
export function onFaultEnd(c: Context): void {
  const t = c.sections.thread(c.actor);
  if (t.settling.length > 0) {
    if (t.syscall.length === 0) settleAll(c, t);
    else settleFlushed(c, t);
  }
  c.residency.settle(c.actor);
}

/** E_UNLOCK of a page-table lock. */
export function onPtlUnlock(c: Context): void {
  const t = c.sections.thread(c.actor);
  if (c.objects !== null) {
    for (const s of t.open) if (s.changedAt > t.unlockedAt) c.objects.agents(s.mm, s.start, s.end, true);
    for (const s of t.settling) if (s.changedAt > t.unlockedAt) c.objects.agents(s.mm, s.start, s.end, true);
  }
  t.unlockedAt = c.event;
}

/** E_FLUSH. */
export function onFlush(c: Context, r: Float64Array, at: number): void {
  const t = c.sections.thread(c.actor);
  t.flushMm = r[at + EV_MM]!;
  t.flushAt = c.event;
}

/** E_CALLBACK. */
export function onCallback(c: Context, r: Float64Array, at: number): void {
  c.tally.callbacks++;
  onCallbackBegin(c, r, at);
  if (r[at + EV_A] !== CB_INVALIDATE_RANGE) return;
  const t = c.sections.thread(c.actor);
  t.rangeAt = c.event;
  t.rangeStart = r[at + EV_START]!;
  t.rangeEnd = r[at + EV_END]!;
}

/** E_RELEASE. */
export function onRelease(c: Context, r: Float64Array, at: number): void {
  const mm = r[at + EV_MM]!;
  if (r[at + EV_A] !== 0) {
    c.subscribers.exiting.set(c.actor, mm);
    return;
  }
  c.subscribers.exiting.delete(c.actor);
  if (c.objects !== null) c.objects.book(mm, true);
  c.book(mm).isReleased = true;
  checkTornDown(c, mm, null, `release of address space ${mm} has returned`);
}

/** E_BIND. */
export function onBind(c: Context, r: Float64Array, at: number): void {
  const mm = r[at + EV_MM]!;
  const device = r[at + EV_D]!;
  if (c.objects !== null) c.objects.book(mm, true);
  if (r[at + EV_A] === 1) {
    c.book(mm).hasDevice = true;
    c.book(mm).isClosedLate = r[at + EV_C] === BIND_CLOSES_LATE;
    c.book(mm).unbound.delete(device);
    return;
  }
  c.book(mm).unbound.add(device);
  if (r[at + EV_C] === BIND_DRAINED) onDrained(c, mm);
  checkTornDown(c, mm, device, `${c.deviceName(device)} was unbound`);
}

/** E_MM_NEW. */
export function onMmNew(c: Context, r: Float64Array, at: number): void {
  const pfn = r[at + EV_PFN]!;
  if (!c.frames.has(pfn)) c.tally.malformed++;
  else c.tables.root(r[at + EV_MM]!, pfn);
}

/** E_MM_FREE. */
export function onMmFree(c: Context, r: Float64Array, at: number): void {
  const mm = r[at + EV_MM]!;
  if (c.objects !== null) {
    c.objects.book(mm, true);
    c.objects.entry(mm, 0, Number.POSITIVE_INFINITY, true);
  }
  if (!c.book(mm).isReleased) checkTornDown(c, mm, null, `address space ${mm} was freed`);
  c.forgetMm(mm);
}

/** E_VMA_ADD, E_VMA_REMOVE. */
export function onVma(c: Context, r: Float64Array, at: number, isAdded: boolean): void {
  const vmas = c.book(r[at + EV_MM]!).vmas;
  if (c.objects !== null) c.objects.vmas(r[at + EV_MM]!, true);
  const start = r[at + EV_START]!;
  if (isAdded) vmas.set(start, { end: r[at + EV_END]!, flags: r[at + EV_A]! });
  else vmas.delete(start);
}
