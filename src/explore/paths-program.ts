// Programs whose threads are kernel paths on the real scheduler and the real locks, over integers that note what touches them:
// known examples for tests and benchmarks of explorers.

import { type Footprint, OBJ_FRAME } from '../base/footprint.ts';
import { RecordLog } from '../base/record-log.ts';
import { Mutex, Rwsem } from '../sched/locks.ts';
import type { KernelPath } from '../sched/path.ts';
import { P_SLEEP } from '../sched/points.ts';
import { type Chooser, DONE, Scheduler, SLEEPING, WaitQueues } from '../sched/scheduler.ts';
import { Srcu } from '../sched/srcu.ts';
import type { Finding, Program, World } from './world.ts';

/** What the threads share. */
export class Shared {
  readonly sched: Scheduler;
  readonly values: Int32Array;
  readonly srcu: Srcu;
  readonly #footprint: Footprint;
  readonly #mutexes = new Map<number, Mutex>();
  readonly #rwsems = new Map<number, Rwsem>();
  /** Who waits for a value to change. */
  readonly #queues = new WaitQueues();

  constructor(sched: Scheduler, footprint: Footprint, size: number) {
    this.sched = sched;
    this.#footprint = footprint;
    this.values = new Int32Array(size);
    this.srcu = new Srcu(sched);
  }

  get(i: number): number {
    this.#footprint.note(OBJ_FRAME, i, false);
    return this.values[i]!;
  }

  set(i: number, value: number): void {
    this.#footprint.note(OBJ_FRAME, i, true);
    this.values[i] = value;
    this.#queues.wakeAll(i, this.sched);
  }

  /** Waits until a value is not 0. */
  *untilSet(i: number): KernelPath<void> {
    for (let isAgain = false; this.get(i) === 0; isAgain = true) {
      this.#queues.add(i, this.sched.current);
      this.sched.prepareWait(SLEEPING, `value ${i}`);
      this.sched.hasOnlyWaited = isAgain;
      yield P_SLEEP;
    }
  }

  /** Sets a value that is still `old`. A refusal only reads. */
  compareAndSwap(i: number, old: number, value: number): boolean {
    if (this.values[i] !== old) return this.get(i) === old;
    this.set(i, value);
    return true;
  }

  mutex(i: number): Mutex {
    let mutex = this.#mutexes.get(i);
    if (mutex === undefined) this.#mutexes.set(i, (mutex = new Mutex(this.sched, 1, i)));
    return mutex;
  }

  rwsem(i: number): Rwsem {
    let rwsem = this.#rwsems.get(i);
    if (rwsem === undefined) this.#rwsems.set(i, (rwsem = new Rwsem(this.sched, 2, i)));
    return rwsem;
  }
}

export type SharedPath = (s: Shared) => KernelPath<void>;

/** The program of these threads over `size` integers. */
export function pathsProgram(name: string, size: number, threads: readonly SharedPath[]): Program {
  return { name, build: (chooser, footprint) => new PathsWorld(size, threads, chooser, footprint) };
}

class PathsWorld implements World {
  readonly #sched: Scheduler;
  readonly #shared: Shared;
  #steps = 0;

  constructor(size: number, threads: readonly SharedPath[], chooser: Chooser, footprint: Footprint) {
    this.#sched = new Scheduler(new RecordLog(12, 1), chooser);
    this.#sched.points = true;
    this.#sched.footprint = footprint;
    this.#shared = new Shared(this.#sched, footprint, size);
    threads.forEach((path, i) => {
      this.#sched.spawn(`t${i}`, 'cpu', path(this.#shared));
    });
  }

  enabled(): number {
    let mask = 0;
    for (let i = 0; i < this.#sched.runnableCount; i++) mask |= 1 << (this.#sched.runnableAt(i).id - 1);
    return mask;
  }

  step(thread: number): boolean {
    this.#steps++;
    this.#sched.stepThread(this.#sched.threads[thread + 1]!);
    return this.#sched.hasOnlyWaited;
  }

  findingCount(): number {
    return 0;
  }

  end(isCut: boolean): readonly Finding[] {
    const waiting = this.#sched.threads.filter((t) => t.path !== null && t.state !== DONE);
    if (isCut || waiting.length === 0) return [];
    const sentence = `Nothing can go on: ${waiting.map((t) => `${t.name} waits for ${t.waitingFor}`).join('; ')}.`;
    return [{ property: 'I60', tag: 'DEADLOCK', kind: 'safety', sentence, gap: null, step: this.#steps }];
  }

  threadName(thread: number): string {
    return `t${thread}`;
  }

  finalState(): string {
    return [...this.#shared.values, ...this.#sched.threads.map((t) => t.state)].join(' ');
  }
}
