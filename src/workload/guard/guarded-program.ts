// A program whose steps run somebody's driver: the heart beats with every step, and what the driver throws is a finding that ends the
// execution, as an oops ends a kernel. The explorer sees an ordinary program.

import type { Footprint } from '../../base/footprint.ts';
import type { Finding, Program, World } from '../../explore/world.ts';
import type { Chooser } from '../../sched/scheduler.ts';
import { type Heart, PHASE_CREATE, PHASE_STEP } from './heart.ts';
import { DriverFault } from './watched-driver.ts';

/** Property and tags of findings about a driver's code, apart from what its device did. */
export const DRIVER_PROPERTY = 'DRIVER';
export const TAG_THROW = 'THROW';
export const TAG_STUCK = 'STUCK';

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

class GuardedWorld implements World {
  readonly #heart: Heart;
  /** Null when the driver threw while the world was made. */
  #world: World | null = null;
  #fault: Finding | null = null;
  #steps = 0;

  constructor(program: Program, heart: Heart, chooser: Chooser, footprint: Footprint) {
    this.#heart = heart;
    const before = heart.enter(PHASE_CREATE);
    try {
      this.#world = program.build(chooser, footprint);
    } catch (error) {
      this.#thrown(error);
    } finally {
      heart.leave(before);
    }
  }

  enabled(): number {
    return this.#fault !== null || this.#world === null ? 0 : this.#world.enabled();
  }

  step(thread: number): boolean {
    this.#steps++;
    const before = this.#heart.enter(PHASE_STEP);
    try {
      return this.#world!.step(thread);
    } catch (error) {
      this.#thrown(error);
      return false;
    } finally {
      this.#heart.leave(before);
    }
  }

  findingCount(): number {
    return (this.#world?.findingCount() ?? 0) + (this.#fault === null ? 0 : 1);
  }

  end(isCut: boolean): readonly Finding[] {
    if (this.#world === null) return [this.#fault!];
    if (this.#fault === null) return this.#world.end(isCut);
    return [...this.#world.end(true), this.#fault];
  }

  threadName(thread: number): string {
    return this.#world?.threadName(thread) ?? `thread ${thread}`;
  }

  finalState(): string {
    return this.#fault === null ? (this.#world?.finalState?.() ?? '') : this.#fault.sentence;
  }

  #thrown(error: unknown): void {
    const fault = error instanceof DriverFault ? error : error instanceof Error ? error.cause : null;
    if (!(fault instanceof DriverFault)) throw error;
    const sentence = fault.message;
    this.#fault = { property: DRIVER_PROPERTY, tag: TAG_THROW, kind: 'safety', gap: null, sentence, step: this.#steps };
  }
}
