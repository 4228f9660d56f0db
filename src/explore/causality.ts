// Which steps of an execution must come before which. Step i happens before step j when
//
//   - the same thread made both, i first;
//   - both touched an object and one of them wrote it (base/footprint, properties' objects among them);
//   - i made the thread of j able to go on (woke it), or j took that ability from the thread of i;
//   - or by way of a step between them.
//
// Every order of the steps that keeps this is the same execution as far as any monitor can tell (Mazurkiewicz's traces). What
// does not happen before a violation is not part of it.

import type { Footprint } from '../base/footprint.ts';
import { Run } from './run.ts';
import type { Program, Schedule } from './world.ts';

/** What a step touched, apart from the execution. */
export interface Touched {
  readonly objects: readonly number[];
  readonly writes: readonly boolean[];
}

export function touchedOf(footprint: Footprint): Touched {
  const objects: number[] = [];
  const writes: boolean[] = [];
  for (let i = 0; i < footprint.length; i++) {
    const at = objects.indexOf(footprint.object(i));
    if (at < 0) {
      objects.push(footprint.object(i));
      writes.push(footprint.isWrite(i));
    } else if (footprint.isWrite(i)) writes[at] = true;
  }
  return { objects, writes };
}

/** Is there an object that both touched and one wrote? */
export function conflict(a: Touched, b: Touched): boolean {
  for (let i = 0; i < a.objects.length; i++) {
    const at = b.objects.indexOf(a.objects[i]!);
    if (at >= 0 && (a.writes[i]! || b.writes[at]!)) return true;
  }
  return false;
}

/** Steps with their order: step i needs the first before[i][t] steps of thread t (its own included: up to itself). */
export interface Order {
  readonly threads: readonly number[];
  readonly before: readonly (readonly number[])[];
}

const THREADS = 31;

/** Runs the schedule, which the program can follow, and notes the order. */
export function orderOf(program: Program, schedule: Schedule): Order {
  const execution = new Run(program);
  const builder = new OrderBuilder();
  for (const { thread, answers } of schedule) {
    const enabledBefore = execution.enabled;
    execution.step(thread, answers);
    builder.add(thread, touchedOf(execution.footprint), enabledBefore, execution.enabled);
  }
  return builder;
}

class OrderBuilder implements Order {
  readonly threads: number[] = [];
  readonly before: number[][] = [];
  /** For each thread: what its next step needs. */
  readonly #clocks = Array.from({ length: THREADS }, () => new Array<number>(THREADS).fill(0));
  readonly #lastWrite = new Map<number, readonly number[]>();
  readonly #readsSince = new Map<number, (readonly number[])[]>();
  readonly #made = new Array<number>(THREADS).fill(0);
  readonly #lastOf: (readonly number[])[] = [];

  add(thread: number, touched: Touched, enabledBefore: number, enabledAfter: number): void {
    const clock = this.#clocks[thread]!;
    clock[thread] = ++this.#made[thread]!;
    touched.objects.forEach((object, i) => {
      join(clock, this.#lastWrite.get(object));
      if (touched.writes[i]) for (const c of this.#readsSince.get(object) ?? []) join(clock, c);
    });
    const changed = (enabledBefore ^ enabledAfter) & ~(1 << thread);
    for (let t = 0; t < THREADS; t++) {
      if ((changed & (1 << t)) !== 0 && (enabledAfter & (1 << t)) === 0) join(clock, this.#lastOf[t]);
    }
    const mine = clock.slice();
    touched.objects.forEach((object, i) => {
      if (touched.writes[i]) {
        this.#lastWrite.set(object, mine);
        this.#readsSince.delete(object);
      } else {
        const reads = this.#readsSince.get(object);
        if (reads === undefined) this.#readsSince.set(object, [mine]);
        else reads.push(mine);
      }
    });
    for (let t = 0; t < THREADS; t++) {
      if ((changed & (1 << t)) !== 0 && (enabledAfter & (1 << t)) !== 0) join(this.#clocks[t]!, mine);
    }
    this.#lastOf[thread] = mine;
    this.threads.push(thread);
    this.before.push(mine);
  }
}

function join(into: number[], other: readonly number[] | undefined): void {
  if (other === undefined) return;
  for (let t = 0; t < into.length; t++) if (other[t]! > into[t]!) into[t] = other[t]!;
}

/** Steps that happen before the last one, and itself: their places. */
export function coneOfLast(order: Order): number[] {
  const needs = order.before[order.before.length - 1]!;
  const made = new Array<number>(THREADS).fill(0);
  const cone: number[] = [];
  order.threads.forEach((t, i) => {
    if (++made[t]! <= needs[t]!) cone.push(i);
  });
  return cone;
}

/** Orders tried when the one with fewest switches is looked for. */
const STATES_MAX = 50_000;

/** The order of the steps at `places` (closed under what happens before) that has the fewest switches, and among those the
 *  lexicographically first list of threads. null when there are too many to try. */
export function fewestSwitches(order: Order, places: readonly number[]): readonly number[] | null {
  const lists: number[][] = Array.from({ length: THREADS }, () => []);
  for (const i of places) lists[order.threads[i]!]!.push(i);
  const used = lists.map((_, t) => t).filter((t) => lists[t]!.length > 0);
  const at = new Array<number>(THREADS).fill(0);
  const known = new Map<string, number>();
  const canStep = (t: number): boolean => {
    const i = lists[t]![at[t]!];
    if (i === undefined) return false;
    const needs = order.before[i]!;
    return used.every((u) => u === t || needs[u]! <= at[u]!);
  };
  /** Switches still needed when `last` made the last step; -1: too many states. */
  const cost = (last: number, left: number): number => {
    if (left === 0) return 0;
    const key = `${last}:${used.map((t) => at[t]).join()}`;
    const had = known.get(key);
    if (had !== undefined) return had;
    if (known.size > STATES_MAX) return -1;
    let best = Number.POSITIVE_INFINITY;
    for (const t of used) {
      if (!canStep(t)) continue;
      at[t]!++;
      const rest = cost(t, left - 1);
      at[t]!--;
      if (rest < 0) return -1;
      best = Math.min(best, rest + (t === last || last < 0 ? 0 : 1));
    }
    known.set(key, best);
    return best;
  };
  const result: number[] = [];
  let last = -1;
  for (let left = places.length; left > 0; left--) {
    const wanted = cost(last, left);
    if (wanted < 0) return null;
    for (const t of used) {
      if (!canStep(t)) continue;
      at[t]!++;
      const rest = cost(t, left - 1);
      if (rest >= 0 && rest + (t === last || last < 0 ? 0 : 1) === wanted) {
        result.push(lists[t]![at[t]! - 1]!);
        last = t;
        break;
      }
      at[t]!--;
    }
  }
  return result;
}
