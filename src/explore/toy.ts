// Small concurrent programs on a few shared variables, locks and queues: what explorers are tried on. A thread is a list of
// operations, each one step; it has one private register.
//
// Waiting is as in sched/: an attempt at a lock that is held puts the thread in the lock's wait queue, the unlock wakes all
// who wait there, and each tries again. An attempt that changed nothing says so, as World.step asks.

import { type Footprint, OBJ_LIST, OBJ_LOCK, OBJ_PROPERTY } from '../base/footprint.ts';
import type { Rng } from '../base/rng.ts';
import type { Chooser } from '../sched/scheduler.ts';
import { CHOOSE_WORKLOAD } from '../sched/scheduler.ts';
import type { Finding, Program, World } from './world.ts';

export type ToyOp =
  /** variable = value */
  | { readonly op: 'set'; readonly v: number; readonly value: number }
  /** variable += value, in one step */
  | { readonly op: 'add'; readonly v: number; readonly value: number }
  /** register = variable */
  | { readonly op: 'load'; readonly v: number }
  /** variable = register + value */
  | { readonly op: 'store'; readonly v: number; readonly value: number }
  /** Leaves out the next `count` operations when variable equals value. */
  | { readonly op: 'skip'; readonly v: number; readonly value: number; readonly count: number }
  /** variable = one of 0 .. n-1; the last one asks for one of 0 .. m-1 in addition, for the next variable (m = 0: does not). */
  | { readonly op: 'pick'; readonly v: number; readonly n: number; readonly m: number }
  | { readonly op: 'lock'; readonly v: number }
  | { readonly op: 'unlock'; readonly v: number }
  /** Reader-writer lock: a waiting writer holds back later readers. */
  | { readonly op: 'rlock'; readonly v: number }
  | { readonly op: 'runlock'; readonly v: number }
  | { readonly op: 'wlock'; readonly v: number }
  | { readonly op: 'wunlock'; readonly v: number }
  /** Sleeps until the next wake: one that came before is lost. */
  | { readonly op: 'sleep'; readonly v: number }
  | { readonly op: 'wake'; readonly v: number }
  /** Appends value to a queue; takes the first of a queue into the register, waiting for one. */
  | { readonly op: 'send'; readonly v: number; readonly value: number }
  | { readonly op: 'receive'; readonly v: number }
  /** Events of monitors: thing v is used, freed; section v is opened, closed. They touch no variable. */
  | { readonly op: 'use'; readonly v: number }
  | { readonly op: 'free'; readonly v: number }
  | { readonly op: 'open'; readonly v: number }
  | { readonly op: 'close'; readonly v: number };

export interface ToyOptions {
  /** Does an attempt that changed nothing say so? Default true. */
  readonly saysWaiting?: boolean;
}

const SIZE = 4;
const OBJ_VARIABLE = 1;

/** The program whose threads make these operations. Variables, locks, queues and things have numbers below 4. */
export function toyProgram(threads: readonly (readonly ToyOp[])[], options: ToyOptions = {}): Program {
  return {
    name: 'toy',
    build: (chooser, footprint) => new ToyWorld(threads, options.saysWaiting ?? true, chooser, footprint),
  };
}

class ToyWorld implements World {
  readonly #threads: readonly (readonly ToyOp[])[];
  readonly #saysWaiting: boolean;
  readonly #chooser: Chooser;
  readonly #footprint: Footprint;
  readonly #at: number[];
  readonly #registers: number[];
  readonly #variables: number[] = new Array(SIZE).fill(0);
  /** Locks: -1 held for writing, > 0 readers. */
  readonly #locks: number[] = new Array(SIZE).fill(0);
  readonly #writersWaiting: number[] = new Array(SIZE).fill(0);
  readonly #queues: number[][] = Array.from({ length: SIZE }, () => []);
  /** Threads that wait, by kind of queue and number. */
  readonly #waiters = new Map<string, number>();
  #waiting = 0;
  /** Writers that have announced themselves. */
  #announced = 0;
  readonly #freed: boolean[] = new Array(SIZE).fill(false);
  readonly #open: number[] = new Array(SIZE).fill(0);
  readonly #findings: Finding[] = [];
  #steps = 0;

  constructor(threads: readonly (readonly ToyOp[])[], saysWaiting: boolean, chooser: Chooser, footprint: Footprint) {
    this.#threads = threads;
    this.#saysWaiting = saysWaiting;
    this.#chooser = chooser;
    this.#footprint = footprint;
    this.#at = threads.map(() => 0);
    this.#registers = threads.map(() => 0);
  }

  enabled(): number {
    let mask = 0;
    this.#threads.forEach((ops, t) => {
      if (this.#at[t]! < ops.length) mask |= 1 << t;
    });
    return mask & ~this.#waiting;
  }

  step(t: number): boolean {
    this.#steps++;
    return !this.#run(t, this.#threads[t]![this.#at[t]!]!) && this.#saysWaiting;
  }

  /** False: thread t found that it must wait. */
  #run(t: number, op: ToyOp): boolean {
    const { v } = op;
    switch (op.op) {
      case 'lock':
      case 'wlock':
      case 'rlock':
        return this.#lock(t, op);
      case 'receive':
        return this.#receive(t, v);
      case 'unlock':
      case 'wunlock':
        this.#touch(OBJ_LOCK, v, true);
        this.#locks[v] = 0;
        this.#wake(`lock ${v}`);
        break;
      case 'runlock':
        this.#touch(OBJ_LOCK, v, true);
        this.#locks[v]!--;
        if (this.#locks[v] === 0) this.#wake(`lock ${v}`);
        break;
      case 'send':
        this.#touch(OBJ_LIST, v, true);
        this.#queues[v]!.push(op.value);
        this.#wake(`queue ${v}`);
        break;
      case 'sleep':
        this.#touch(OBJ_LIST, SIZE + v, true);
        this.#wait(t, `sleep ${v}`);
        break;
      case 'wake':
        this.#touch(OBJ_LIST, SIZE + v, true);
        this.#wake(`sleep ${v}`);
        break;
      case 'use':
      case 'free':
      case 'open':
      case 'close':
        this.#monitor(t, op.op, v);
        break;
      default:
        this.#compute(t, op);
    }
    this.#at[t]!++;
    return true;
  }

  #compute(t: number, op: Extract<ToyOp, { op: 'set' | 'add' | 'load' | 'store' | 'skip' | 'pick' }>): void {
    const variables = this.#variables;
    const { v } = op;
    this.#touch(OBJ_VARIABLE, v, op.op !== 'load' && op.op !== 'skip');
    switch (op.op) {
      case 'set':
        variables[v] = op.value;
        break;
      case 'add':
        variables[v]! += op.value;
        break;
      case 'load':
        this.#registers[t] = variables[v]!;
        break;
      case 'store':
        variables[v] = this.#registers[t]! + op.value;
        break;
      case 'skip':
        if (variables[v] === op.value) this.#at[t]! += Math.min(op.count, this.#threads[t]!.length - this.#at[t]! - 1);
        break;
      case 'pick':
        variables[v] = this.#chooser.choose(op.n, CHOOSE_WORKLOAD);
        if (variables[v] === op.n - 1 && op.m > 0) {
          // Only this answer touches another variable.
          this.#touch(OBJ_VARIABLE, (v + 1) % SIZE, true);
          variables[(v + 1) % SIZE]! += this.#chooser.choose(op.m, CHOOSE_WORKLOAD);
        }
    }
  }

  #lock(t: number, op: Extract<ToyOp, { op: 'lock' | 'rlock' | 'wlock' }>): boolean {
    const { v } = op;
    this.#touch(OBJ_LOCK, v, true);
    const isReader = op.op === 'rlock';
    const isFree = isReader ? this.#locks[v]! >= 0 && this.#writersWaiting[v] === 0 : this.#locks[v] === 0;
    if (isFree) {
      if (((this.#announced >>> t) & 1) !== 0) this.#writersWaiting[v]!--;
      this.#announced &= ~(1 << t);
      this.#locks[v] = isReader ? this.#locks[v]! + 1 : -1;
      this.#at[t]!++;
      return true;
    }
    this.#wait(t, `lock ${v}`);
    if (op.op !== 'wlock' || ((this.#announced >>> t) & 1) !== 0) return false;
    this.#writersWaiting[v]!++;
    this.#announced |= 1 << t;
    return true;
  }

  #receive(t: number, v: number): boolean {
    this.#touch(OBJ_LIST, v, true);
    if (this.#queues[v]!.length === 0) {
      this.#wait(t, `queue ${v}`);
      return false;
    }
    this.#registers[t] = this.#queues[v]!.shift()!;
    this.#at[t]!++;
    return true;
  }

  #monitor(t: number, what: 'use' | 'free' | 'open' | 'close', v: number): void {
    this.#touch(OBJ_PROPERTY, v + (what === 'use' || what === 'free' ? 0 : SIZE), true);
    if (what === 'use' && this.#freed[v]) this.#find('I1', `thread ${t} uses ${v} after it was freed`);
    if (what === 'free' && this.#freed[v]) this.#find('I2', `thread ${t} frees ${v} twice`);
    if (what === 'free') this.#freed[v] = true;
    if (what === 'open' && ++this.#open[v]! > 1) this.#find('I3', `${this.#open[v]} sections over ${v} are open`);
    if (what === 'close') this.#open[v]!--;
  }

  #find(property: string, sentence: string): void {
    this.#findings.push({ property, tag: 'TOY', kind: 'safety', sentence, gap: null, step: this.#steps });
  }

  #wait(t: number, where: string): void {
    this.#waiting |= 1 << t;
    this.#waiters.set(where, (this.#waiters.get(where) ?? 0) | (1 << t));
  }

  #wake(where: string): void {
    this.#waiting &= ~(this.#waiters.get(where) ?? 0);
    this.#waiters.delete(where);
  }

  #touch(kind: number, identity: number, isWrite: boolean): void {
    this.#footprint.note(kind, identity, isWrite);
  }

  findingCount(): number {
    return this.#findings.length;
  }

  end(isCut: boolean): readonly Finding[] {
    if (!isCut && this.#waiting !== 0) this.#find('I60', `nothing can go on: ${this.#waiting.toString(2)} wait`);
    return this.#findings;
  }

  threadName(thread: number): string {
    return `t${thread}`;
  }

  finalState(): string {
    const queues = this.#queues.map((q) => q.join(','));
    return [this.#at, this.#registers, this.#variables, this.#locks, this.#writersWaiting, queues, [this.#waiting]]
      .map((a) => a.join(' '))
      .join(' | ');
  }
}

/** A random program of at most `stepsMax` operations that are no unlocks, in two to four threads. */
export function randomToy(rng: Rng, stepsMax: number): ToyOp[][] {
  const threads: ToyOp[][] = Array.from({ length: 2 + rng.below(3) }, () => []);
  // Few things, so that threads meet.
  const things = 1 + rng.below(3);
  for (let left = 1 + rng.below(stepsMax); left > 0; ) {
    const ops = threads[rng.below(threads.length)]!;
    left -= randomPart(rng, ops, things, left);
  }
  return threads;
}

/** Appends one operation, or a section under a lock. Gives the number of operations. */
function randomPart(rng: Rng, ops: ToyOp[], things: number, left: number): number {
  const v = rng.below(things);
  const kind = rng.below(6);
  if (kind === 0 && left >= 2) {
    const inner = rng.below(Math.min(3, left - 1));
    const [take, drop] = (
      [
        ['lock', 'unlock'],
        ['rlock', 'runlock'],
        ['wlock', 'wunlock'],
      ] as const
    )[rng.below(3)]!;
    ops.push({ op: take, v });
    for (let i = 0; i < inner; i++) ops.push(randomOp(rng, things));
    ops.push({ op: drop, v });
    return inner + 2;
  }
  ops.push(randomOp(rng, things));
  return 1;
}

function randomOp(rng: Rng, things: number): ToyOp {
  const v = rng.below(things);
  const value = rng.below(3);
  switch (rng.below(15)) {
    case 0:
      return { op: 'set', v, value };
    case 1:
      return { op: 'add', v, value: 1 + value };
    case 2:
    case 3:
      return { op: 'load', v };
    case 4:
    case 5:
      return { op: 'store', v, value };
    case 6:
      return { op: 'pick', v, n: 2, m: rng.below(3) };
    case 7:
      return { op: 'sleep', v };
    case 8:
      return { op: 'wake', v };
    case 9:
      return { op: 'send', v, value };
    case 10:
      return { op: 'receive', v };
    case 11:
      return { op: 'use', v };
    case 12:
      return { op: 'free', v };
    case 13:
      return { op: 'open', v };
    default:
      return rng.chance(1, 2) ? { op: 'close', v } : { op: 'set', v, value };
  }
}
