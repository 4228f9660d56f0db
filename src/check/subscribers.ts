// Monitor of what each subscriber hears (I41, I42) and of how long it lives (I46, I47).
//
//   I41  end callbacks match start callbacks of the same thread and range, and when a section has been left every subscriber
//        with an end callback that heard its start has heard its end; one that was taken off the list meanwhile need not
//   I42  the same when the start was refused: those that had heard it hear an end, the one that refused need not
//   I46  release at most once by exit and at most once by unregister, for each registration
//   I47  after unregister has returned, or free_notifier was called, no callback begins and none still runs

import {
  CB_FREE_NOTIFIER,
  CB_INVALIDATE_RANGE_END,
  CB_INVALIDATE_RANGE_START,
  CB_NAMES,
  CB_RELEASE,
  EV_A,
  EV_B,
  EV_D,
  EV_END,
  EV_MM,
  EV_START,
} from '../abi/events.ts';
import type { Context } from './context.ts';
import { I41, I42, I46, I47 } from './properties.ts';
import { hex } from './text.ts';

/** A start callback whose end has not come. */
interface Started {
  readonly actor: number;
  readonly mm: number;
  readonly start: number;
  readonly end: number;
  readonly step: number;
  /** It answered an error: an end may follow or not. */
  isRefused: boolean;
}

class Subscriber {
  readonly id: number;
  /** It has an end callback. */
  hasEnd = false;
  /** Unregistered, or free_notifier was called: at this step; -1 while it lives. */
  goneAt = -1;
  /** Callbacks running: of which kind, by which thread. */
  readonly running: { readonly actor: number; readonly callback: number }[] = [];
  readonly started: Started[] = [];
  /** It was taken off the list: sections under way may pass it by. */
  isUnlinked = false;
  releasedByExit = 0;
  releasedByOthers = 0;

  constructor(id: number) {
    this.id = id;
  }

  /** It was registered (again). */
  begin(hasEnd: boolean): void {
    this.hasEnd = hasEnd;
    this.goneAt = -1;
    this.isUnlinked = false;
    this.started.length = 0;
    this.releasedByExit = 0;
    this.releasedByOthers = 0;
  }
}

export class Subscribers {
  readonly #byId = new Map<number, Subscriber>();
  /** Threads inside the release of an address space, by exit. */
  readonly exiting = new Map<number, number>();

  /** Is the thread inside a callback? */
  isInCallback(actor: number): boolean {
    for (const s of this.#byId.values()) if (s.running.some((x) => x.actor === actor)) return true;
    return false;
  }

  of(id: number): Subscriber {
    let s = this.#byId.get(id);
    if (s === undefined) {
      s = new Subscriber(id);
      this.#byId.set(id, s);
    }
    return s;
  }

  all(): IterableIterator<Subscriber> {
    return this.#byId.values();
  }
}

/** E_SUBSCRIBE: a = 1 when it has an end callback. */
export function onSubscribe(c: Context, r: Float64Array, at: number): void {
  const id = r[at + EV_D]!;
  if (c.objects !== null) c.objects.subscriber(id, true);
  c.subscribers.of(id).begin(r[at + EV_A] === 1);
  if (r[at + EV_B] === 1) c.rmapNotifiers.add(id);
}

/** E_UNSUBSCRIBE: it was taken off the list, or unregister or remove returns. */
export function onUnsubscribe(c: Context, r: Float64Array, at: number): void {
  const id = r[at + EV_D]!;
  if (c.objects !== null) c.objects.subscriber(id, true);
  const s = c.subscribers.of(id);
  if (r[at + EV_A] === 1) {
    s.isUnlinked = true;
    s.started.length = 0;
    return;
  }
  c.rmapNotifiers.delete(id);
  gone(c, s, r[at + EV_MM]!, 'was unregistered');
}

/** Nobody may be inside a callback of it any more, except the callback `free_notifier` itself. */
function gone(c: Context, s: Subscriber, mm: number, what: string): void {
  s.started.length = 0;
  if (s.goneAt < 0) s.goneAt = c.step;
  for (const { actor, callback } of s.running) {
    if (callback === CB_FREE_NOTIFIER || !c.finds(I47, null, mm, 0, s.id)) continue;
    c.say(`Subscriber ${s.id} ${what} while ${c.actorName(actor)} was inside its ${CB_NAMES[callback]} callback.`);
  }
}

/** E_CALLBACK. */
export function onCallbackBegin(c: Context, r: Float64Array, at: number): void {
  const id = r[at + EV_D]!;
  const callback = r[at + EV_A]!;
  const mm = r[at + EV_MM]!;
  const s = c.subscribers.of(id);
  const isLifeEvent = callback === CB_RELEASE || callback === CB_FREE_NOTIFIER;
  if (c.objects !== null) c.objects.subscriber(id, isLifeEvent);
  if (s.goneAt >= 0 && c.finds(I47, null, mm, 0, id)) {
    c.say(
      `${c.actorName(c.actor)} called ${CB_NAMES[callback]} of subscriber ${id}, which had gone at step ${s.goneAt}.`,
    );
  }
  s.running.push({ actor: c.actor, callback });
  if (callback === CB_FREE_NOTIFIER) gone(c, s, mm, 'was freed');
  else if (callback === CB_RELEASE) released(c, s, mm);
  else if (callback === CB_INVALIDATE_RANGE_START && !s.isUnlinked) {
    const [start, end] = [r[at + EV_START]!, r[at + EV_END]!];
    s.started.push({ actor: c.actor, mm, start, end, step: c.step, isRefused: false });
  } else if (callback === CB_INVALIDATE_RANGE_END) ended(c, s, mm, r[at + EV_START]!, r[at + EV_END]!);
}

function released(c: Context, s: Subscriber, mm: number): void {
  const isExit = c.subscribers.exiting.get(c.actor) === mm;
  const times = isExit ? ++s.releasedByExit : ++s.releasedByOthers;
  if (times < 2 || !c.finds(I46, null, mm, 0, s.id)) return;
  const who = isExit ? 'exit' : 'unregister';
  c.say(`${c.actorName(c.actor)} called release of subscriber ${s.id}, which ${who} had done before.`);
}

function findStart(s: Subscriber, actor: number, mm: number, start: number, end: number): number {
  for (let i = s.started.length - 1; i >= 0; i--) {
    const o = s.started[i]!;
    if (o.actor === actor && o.mm === mm && o.start === start && o.end === end) return i;
  }
  return -1;
}

function ended(c: Context, s: Subscriber, mm: number, start: number, end: number): void {
  const i = findStart(s, c.actor, mm, start, end);
  if (i >= 0) s.started.splice(i, 1);
  else if (!s.isUnlinked && c.finds(I41, null, mm, start, s.id)) {
    c.say(
      `Subscriber ${s.id} hears the end of a section of ${c.actorName(c.actor)} over ${hex(start)}..${hex(end)} ` +
        'whose start it has not heard.',
    );
  }
}

/** E_CALLBACK_END. */
export function onCallbackEnd(c: Context, r: Float64Array, at: number): void {
  const id = r[at + EV_D]!;
  const callback = r[at + EV_A]!;
  if (c.objects !== null) c.objects.subscriber(id, false);
  const s = c.subscribers.of(id);
  const i = s.running.findLastIndex((x) => x.actor === c.actor && x.callback === callback);
  if (i >= 0) s.running.splice(i, 1);
  if (callback !== CB_INVALIDATE_RANGE_START || !(r[at + EV_B]! < 0)) return;
  const from = findStart(s, c.actor, r[at + EV_MM]!, r[at + EV_START]!, r[at + EV_END]!);
  if (from >= 0) s.started[from]!.isRefused = true;
}

function countStarts(s: Subscriber, actor: number, mm: number, start: number, end: number): number {
  let count = 0;
  for (const o of s.started) if (o.actor === actor && o.mm === mm && o.start === start && o.end === end) count++;
  return count;
}

/** The thread has left a section (`isRefused`: its start was refused). `stillOpen`: sections over the same range that it is still inside of,
 *  whose ends are to come. */
export function sectionLeft(
  c: Context,
  mm: number,
  start: number,
  end: number,
  isRefused: boolean,
  stillOpen: number,
): void {
  for (const s of c.subscribers.all()) {
    if (s.started.length === 0 || countStarts(s, c.actor, mm, start, end) <= stillOpen) continue;
    const i = findStart(s, c.actor, mm, start, end);
    const o = s.started[i]!;
    s.started.splice(i, 1);
    if (!s.hasEnd || o.isRefused || !c.finds(isRefused ? I42 : I41, null, mm, start, s.id)) continue;
    const what = isRefused ? 'was refused' : 'has been left';
    c.say(
      `The section of ${c.actorName(c.actor)} over ${hex(start)}..${hex(end)} ${what}, but subscriber ${s.id}, which ` +
        `heard its start at step ${o.step}, has not heard its end.`,
    );
  }
}
