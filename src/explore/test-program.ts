// Small programs for tests of the explorer: threads of atomic operations over named integers, with findings where an operation
// says so. A thread whose next operation cannot run is not enabled; nothing enabled while somebody is not done is a deadlock.

import type { Footprint } from '../base/footprint.ts';
import { OBJ_LIST } from '../base/footprint.ts';
import type { Rng } from '../base/rng.ts';
import type { Chooser } from '../sched/scheduler.ts';
import { Run } from './run.ts';
import type { Finding, Program, Schedule, World } from './world.ts';

export interface State {
  /** Value of the variable, 0 before it is set. */
  get(name: string): number;
  set(name: string, value: number): void;
  /** Is the claim false, property `property` is violated here. */
  claim(claim: boolean, property: string): void;
  choose(n: number): number;
}

export interface Op {
  readonly run: (s: State) => void;
  /** May it run now? Always when left out. */
  readonly when?: (s: State) => boolean;
  /** Does it run again, because it was in vain? */
  readonly again?: (s: State) => boolean;
}

/** x := value */
export const set = (x: string, value: number): Op => ({ run: (s) => s.set(x, value) });
/** Takes the lock, waiting for it. */
export const lock = (l: string): Op => ({ when: (s) => s.get(l) === 0, run: (s) => s.set(l, 1) });
export const unlock = (l: string): Op => ({ run: (s) => s.set(l, 0) });
/** Property `property` wants that the condition holds here. */
export const claim = (property: string, condition: (s: State) => boolean): Op => ({
  run: (s) => s.claim(condition(s), property),
});
/** Looks again and again until the condition holds. */
export const poll = (until: (s: State) => boolean): Op => ({ run: () => {}, again: (s) => !until(s) });
/** Any step. */
export const op = (run: (s: State) => void, when?: (s: State) => boolean): Op =>
  when === undefined ? { run } : { run, when };

/** The program whose threads run these operations; `loops`: numbers of threads that begin again at their end. */
export function testProgram(name: string, threads: readonly (readonly Op[])[], loops: readonly number[] = []): Program {
  return { name, build: (chooser, footprint) => new TestWorld(threads, new Set(loops), chooser, footprint) };
}

class TestWorld implements World, State {
  readonly #threads: readonly (readonly Op[])[];
  readonly #loops: ReadonlySet<number>;
  readonly #at: number[];
  readonly #completed: number[];
  readonly #values = new Map<string, number>();
  readonly #ids = new Map<string, number>();
  readonly #chooser: Chooser;
  readonly #footprint: Footprint;
  readonly #found: Finding[] = [];
  #steps = 0;
  #isAsking = false;

  constructor(threads: readonly (readonly Op[])[], loops: ReadonlySet<number>, chooser: Chooser, footprint: Footprint) {
    this.#threads = threads;
    this.#loops = loops;
    this.#at = threads.map(() => 0);
    this.#completed = threads.map(() => 0);
    this.#chooser = chooser;
    this.#footprint = footprint;
  }

  get(name: string): number {
    this.#note(name, false);
    return this.#values.get(name) ?? 0;
  }

  set(name: string, value: number): void {
    this.#note(name, true);
    this.#values.set(name, value);
  }

  claim(claim: boolean, property: string): void {
    if (claim) return;
    const sentence = `${property} does not hold.`;
    this.#found.push({ property, tag: 'TEST', kind: 'safety', gap: null, sentence, step: this.#steps });
  }

  choose(n: number): number {
    return this.#chooser.choose(n, 0);
  }

  #note(name: string, isWrite: boolean): void {
    if (this.#isAsking) return;
    let id = this.#ids.get(name);
    if (id === undefined) this.#ids.set(name, (id = hash(name)));
    this.#footprint.note(OBJ_LIST, id, isWrite);
  }

  enabled(): number {
    let mask = 0;
    this.#isAsking = true;
    this.#threads.forEach((ops, i) => {
      const next = ops[this.#at[i]!];
      if (next !== undefined && (next.when === undefined || next.when(this))) mask |= 1 << i;
    });
    this.#isAsking = false;
    return mask;
  }

  step(thread: number): boolean {
    const ops = this.#threads[thread]!;
    this.#steps++;
    const next = ops[this.#at[thread]!]!;
    next.run(this);
    if (next.again?.(this) === true) return false;
    this.#at[thread]!++;
    this.#completed[thread]!++;
    if (this.#at[thread] === ops.length && this.#loops.has(thread)) this.#at[thread] = 0;
    return false;
  }

  findingCount(): number {
    return this.#found.length;
  }

  end(isCut: boolean): readonly Finding[] {
    const isStuck = this.#threads.some((ops, i) => this.#at[i]! < ops.length);
    if (isCut || !isStuck) return this.#found;
    const sentence = 'Nothing can go on.';
    const deadlock = {
      property: 'I60',
      tag: 'DEADLOCK',
      kind: 'safety',
      gap: null,
      sentence,
      step: this.#steps,
    } as const;
    return [...this.#found, deadlock];
  }

  threadName(thread: number): string {
    return `thread ${thread}`;
  }

  completed(thread: number): number {
    return this.#completed[thread]!;
  }

  isDone(): boolean {
    return this.#threads.every((ops, i) => this.#loops.has(i) || this.#at[i] === ops.length);
  }

  finalState(): string {
    return [...this.#values]
      .map(([name, value]) => `${name}=${value}`)
      .sort()
      .join(' ');
  }
}

function hash(name: string): number {
  let h = 7;
  for (let i = 0; i < name.length; i++) h = (h * 31 + name.charCodeAt(i)) % 1_000_003;
  return h;
}

export interface Ended {
  readonly execution: Run;
  readonly findings: readonly Finding[];
}

/** Every execution of a small program, in no clever way: the reference that searches are held against. null: more than `max`. */
export function everyExecution(program: Program, max: number): Ended[] | null {
  const all: Ended[] = [];
  const visit = (prefix: Schedule): void => {
    if (all.length > max) return;
    const { execution, offered } = runPrefix(program, prefix);
    if (offered.length > 0) {
      const last = prefix[prefix.length - 1]!;
      for (const answers of tuples(offered)) visit([...prefix.slice(0, -1), { thread: last.thread, answers }]);
      return;
    }
    if (execution.enabled === 0) all.push({ execution, findings: execution.end() });
    for (let t = 0; t < 31; t++)
      if ((execution.enabled & (1 << t)) !== 0) visit([...prefix, { thread: t, answers: [] }]);
  };
  visit([]);
  return all.length > max ? null : all;
}

/** Runs the prefix; `offered`: alternatives of each question of its last step when the prefix answers none of them. */
function runPrefix(program: Program, prefix: Schedule): { execution: Run; offered: number[] } {
  let offered: number[] = [];
  const execution = new Run(program, (n) => {
    offered.push(n);
    return 0;
  });
  for (const { thread, answers } of prefix) {
    offered = [];
    execution.step(thread, answers);
  }
  return { execution, offered };
}

function tuples(sizes: readonly number[]): number[][] {
  return sizes.reduce<number[][]>(
    (lists, n) => lists.flatMap((list) => Array.from({ length: n }, (_, a) => [...list, a])),
    [[]],
  );
}

/** A random program of up to three threads: stores, loads, locks, questions and claims that some orders break. */
export function randomProgram(rng: Rng, opsMax: number): Program {
  const threads = Array.from({ length: 2 + rng.below(2) }, () => randomThread(rng, 1 + rng.below(opsMax)));
  return testProgram('random', threads);
}

function randomThread(rng: Rng, length: number): Op[] {
  const ops: Op[] = [];
  while (ops.length < length) {
    const [x, y] = [rng.below(3), rng.below(3)].map((n) => 'xyz'[n]!) as [string, string];
    const value = rng.below(3);
    const roll = rng.below(10);
    if (roll < 4) ops.push(set(x, value));
    else if (roll < 6) ops.push(op((s) => s.set(x, s.get(y) + 1)));
    else if (roll < 7) ops.push(op((s) => s.set(x, s.choose(2))));
    else if (roll < 8 && length > 2) {
      const l = 'kl'[rng.below(2)]!;
      ops.push(lock(l), set(x, value), unlock(l));
    } else if (roll < 9 && length > 2) {
      const [l, m] = rng.chance(1, 2) ? (['k', 'l'] as const) : (['l', 'k'] as const);
      ops.push(lock(l), lock(m), unlock(m), unlock(l));
    } else ops.push(claim(`P${value}`, (s) => s.get(x) + s.get(y) !== value + 1));
  }
  return ops;
}
