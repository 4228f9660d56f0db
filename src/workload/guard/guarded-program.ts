// A program whose steps run somebody's driver: the heart beats with every step, and what the driver throws is a finding. It ends
// the thread that called it, with the locks that it holds, as an oops does; the others go on, since a step of one thread never takes
// another out of those that can step. What they do then is a consequence, and no finding of its own.

import { InputError } from '../../base/assert.ts';
import type { Footprint } from '../../base/footprint.ts';
import { type Finding, type Program, THREADS_MAX, type World } from '../../explore/world.ts';
import { type Chooser, Deadlock } from '../../sched/scheduler.ts';
import { type Heart, PHASE_CREATE, PHASE_STEP, type Suspect } from './heart.ts';
import { DriverFault } from './watched-driver.ts';

/** Property and tags of findings about a driver's code, apart from what its device did. */
export const DRIVER_PROPERTY = 'DRIVER';
export const TAG_THROW = 'THROW';
export const TAG_STUCK = 'STUCK';
export const TAG_LIVELOCK = 'LIVELOCK';

/** Steps that every thread that can go on has had before a callback is said not to return. And one that cannot go on, but had a few
 *  turns meanwhile, may have set the callback free with its last step: so many steps later it is none of its doing any more. */
const TURNS = 50;

/** The program with a driver made by `watchedDriver` over the same heart. */
export function guardedProgram(program: Program, heart: Heart): Program {
  return {
    name: program.name,
    build: (chooser, footprint) => new GuardedWorld(program, heart, chooser, footprint),
  };
}

/** The finding for a callback that did not give control back, which its own thread cannot report. */
export function stuckFinding(driver: string, callback: string, seconds: number, place: string | null): Finding {
  const who = callback === '' ? 'did not give control back' : `did not return from ${callback}`;
  const where = place === null ? '' : `; it stood at ${place}`;
  const sentence = `driver ${driver} ${who}: no step for ${seconds} s${where}`;
  return { property: DRIVER_PROPERTY, tag: TAG_STUCK, kind: 'safety', gap: null, sentence, step: 0 };
}

export class GuardedWorld implements World {
  readonly #heart: Heart;
  /** What is guarded; null when the driver threw while it was made. */
  world: World | null = null;
  #fault: Finding | null = null;
  /** Findings of the world when the driver threw. */
  #before = 0;
  #steps = 0;
  /** Number of the last step of each thread. */
  readonly #lastStep = new Int32Array(THREADS_MAX);

  constructor(program: Program, heart: Heart, chooser: Chooser, footprint: Footprint) {
    this.#heart = heart;
    heart.turns.fill(0);
    heart.suspect = null;
    const before = heart.enter(PHASE_CREATE);
    try {
      this.world = program.build(chooser, footprint);
    } catch (error) {
      this.#thrown(error);
    } finally {
      heart.leave(before);
    }
  }

  enabled(): number {
    return this.world === null ? 0 : this.world.enabled();
  }

  step(thread: number): boolean {
    this.#steps++;
    this.#lastStep[thread] = this.#steps;
    const heart = this.#heart;
    heart.turns[thread]!++;
    const before = heart.enter(PHASE_STEP);
    try {
      const hasWaited = this.world!.step(thread);
      if (heart.suspect === null) return hasWaited;
      this.#judge(heart.suspect, thread);
      return false;
    } catch (error) {
      this.#thrown(error);
      return false;
    } finally {
      heart.leave(before);
    }
  }

  findingCount(): number {
    return this.#fault === null ? this.world!.findingCount() : this.#before + 1;
  }

  end(isCut: boolean): readonly Finding[] {
    const findings = this.world?.end(isCut || this.#fault !== null) ?? [];
    if (this.#fault === null) return findings;
    return this.#before === 0 ? [this.#fault] : [...findings, this.#fault];
  }

  threadName(thread: number): string {
    return this.world?.threadName(thread) ?? `thread ${thread}`;
  }

  completed(thread: number): number {
    return this.world?.completed?.(thread) ?? 0;
  }

  isDone(): boolean {
    return this.world?.isDone?.() === true;
  }

  finalState(): string {
    return this.#fault === null ? (this.world?.finalState?.() ?? '') : this.#fault.sentence;
  }

  /** A callback that was resumed so often does not return, if everybody for whom it could wait had turns enough meanwhile. */
  #judge(suspect: Suspect, thread: number): void {
    const { turns } = this.#heart;
    const { driver, callback, turnsThen } = suspect;
    this.#heart.suspect = null;
    if (this.#fault !== null) return;
    const enabled = this.enabled();
    for (let t = 0; t < THREADS_MAX; t++) {
      const had = turns[t]! - turnsThen[t]!;
      if (t === thread || had >= TURNS) continue;
      if ((enabled & (1 << t)) !== 0 || (had > 0 && this.#steps - this.#lastStep[t]! < TURNS)) return;
    }
    const own = turns[thread]! - turnsThen[thread]!;
    const sentence = `driver ${driver} does not return from ${callback}: ${own} steps, while everybody else had their turns`;
    this.#add(TAG_LIVELOCK, sentence);
  }

  #add(tag: string, sentence: string): void {
    this.#before = this.world?.findingCount() ?? 0;
    this.#fault = { property: DRIVER_PROPERTY, tag, kind: 'safety', gap: null, sentence, step: this.#steps };
  }

  /** A mistake of the driver is a finding; anything else is not ours to explain. While the world is made, a mistake in words is
   *  unusable input: there is no execution yet that could show it. */
  #thrown(error: unknown): void {
    if (error instanceof Deadlock && this.world === null) {
      const sentence = `Nothing can go on during the setup: ${error.message.replace('deadlock: ', '')}.`;
      this.#fault = { property: 'I60', tag: 'DEADLOCK', kind: 'safety', gap: null, sentence, step: 0 };
      return;
    }
    const cause = error instanceof Error && error.cause instanceof DriverFault ? error.cause : error;
    const isMisuse = this.world !== null && cause instanceof InputError && cause.message.startsWith('driver ');
    if (!(cause instanceof DriverFault) && !isMisuse) throw error;
    if (this.#fault !== null) return;
    this.#add(TAG_THROW, cause.message);
  }
}
