// One execution of a scenario with everything that a report needs: which thread made each step and from which point, the
// events of each step, who waited for what afterwards, and the findings with the page and frame that they are about.
// Plain data: it can be sent from one thread to another. A RecordedWorld passes every call on to the ScenarioWorld below it, so that whatever can replay a schedule can record one.

import { E_LOCK, E_LOCK_CONTENDED, E_MIGHT_SLEEP, E_UNLOCK, EV_A, EV_B, EV_TYPE } from '../../abi/events.ts';
import type { Footprint } from '../../base/footprint.ts';
import type { Finding, Program, World } from '../../explore/world.ts';
import { pointInfo } from '../../sched/points.ts';
import { type Chooser, DONE, type Lane, type Thread } from '../../sched/scheduler.ts';
import type { Scenario } from './scenario.ts';
import { type ScenarioOptions, ScenarioWorld } from './scenario-world.ts';
import type { Subject } from './subject.ts';

/** Records kept for a replay that is to be shown: some thousand steps of a small scenario. */
const LOG_CAPACITY = 1 << 15;

export interface RecordedThread {
  readonly name: string;
  readonly lane: Lane;
}

/** A preemption point: its name, and what another thread may observe while a thread stands there. */
export interface RecordedPoint {
  readonly name: string;
  readonly observable: string;
}

export interface RecordedStep {
  /** Index of the thread that made it. */
  readonly thread: number;
  /** Point at which the thread stood before, and where it stands now. */
  readonly from: RecordedPoint;
  readonly to: RecordedPoint;
  /** The thread of the step before could have gone on. */
  readonly isPreemption: boolean;
  /** Its path has ended. */
  readonly isLast: boolean;
  /** Events, oldest first. */
  readonly records: readonly Float64Array[];
  /** What each thread waits for after the step, by index; '' when it can go on or has ended. */
  readonly waits: readonly string[];
}

export interface RecordedRun {
  readonly scenario: string;
  /** What the scenario does, in a line. */
  readonly summary: string;
  readonly driver: string;
  readonly design: string;
  readonly threads: readonly RecordedThread[];
  /** Events of the setup, as far as they were kept. */
  readonly setup: readonly Float64Array[];
  readonly waitsAtStart: readonly string[];
  readonly steps: readonly RecordedStep[];
  /** Names of the lock classes that the events name, and of what threads wait for. */
  readonly lockNames: Readonly<Record<number, string>>;
  /** In the order in which they were found; `step` counts the steps of the run from 1. */
  readonly findings: readonly Finding[];
}

export class RecordedWorld implements World {
  readonly #world: ScenarioWorld;
  readonly #scenario: Scenario;
  readonly #subject: Subject;
  readonly #setup: readonly Float64Array[];
  readonly #waitsAtStart: readonly string[];
  readonly #steps: RecordedStep[] = [];
  #findings: readonly Finding[] = [];

  constructor(scenario: Scenario, subject: Subject, options: ScenarioOptions, chooser: Chooser, footprint: Footprint) {
    this.#scenario = scenario;
    this.#subject = subject;
    const all: ScenarioOptions = { logCapacity: LOG_CAPACITY, locks: 'aside', ...options };
    this.#world = new ScenarioWorld(scenario, subject, all, chooser, footprint);
    const { memory } = this.#world.kernel;
    this.#setup = memory.log.last(memory.log.count);
    this.#waitsAtStart = this.#waits();
  }

  #waits(): string[] {
    const { sched } = this.#world.kernel;
    const waits = (t: Thread): boolean => t.state !== DONE && !sched.isEnabled(t);
    return sched.threads.slice(1).map((t) => (waits(t) ? t.waitingFor || 'a wake-up' : ''));
  }

  enabled(): number {
    return this.#world.enabled();
  }

  step(thread: number): boolean {
    const { sched, memory } = this.#world.kernel;
    const t = sched.threads[thread + 1]!;
    const last = this.#steps.at(-1);
    const isPreemption = last !== undefined && last.thread !== thread && (this.enabled() & (1 << last.thread)) !== 0;
    const from = pointInfo(t.point);
    const count = memory.log.count;
    const result = this.#world.step(thread);
    this.#steps.push({
      thread,
      from,
      to: pointInfo(t.point),
      isPreemption,
      isLast: t.state === DONE,
      records: memory.log.last(memory.log.count - count),
      waits: this.#waits(),
    });
    return result;
  }

  findingCount(): number {
    return this.#world.findingCount();
  }

  end(isCut: boolean): readonly Finding[] {
    const found = this.#world.end(isCut);
    // What a lock would have done elsewhere is worth showing where nothing happened here.
    this.#findings = found.length > 0 ? found : this.#world.lockFindings();
    return this.#findings;
  }

  threadName(thread: number): string {
    return this.#world.threadName(thread);
  }

  completed(thread: number): number {
    return this.#world.completed(thread);
  }

  isDone(): boolean {
    return this.#world.isDone();
  }

  #lockNames(): Record<number, string> {
    const { lockClasses } = this.#world.kernel.sched;
    const names: Record<number, string> = {};
    for (const r of [...this.#setup, ...this.#steps.flatMap((s) => s.records)]) {
      const type = r[EV_TYPE];
      if (type === E_LOCK || type === E_UNLOCK || type === E_LOCK_CONTENDED)
        names[r[EV_A]!] = lockClasses.name(r[EV_A]!);
      if (type === E_MIGHT_SLEEP) names[r[EV_B]!] = lockClasses.name(r[EV_B]!);
    }
    return names;
  }

  /** The run so far; findings once `end` was called. */
  recorded(): RecordedRun {
    const { sched } = this.#world.kernel;
    return {
      scenario: this.#scenario.name,
      summary: this.#scenario.summary,
      driver: this.#subject.name,
      design: this.#subject.design,
      threads: sched.threads.slice(1).map((t) => ({ name: t.name, lane: t.lane })),
      setup: this.#setup,
      waitsAtStart: this.#waitsAtStart,
      steps: this.#steps,
      lockNames: this.#lockNames(),
      findings: [...this.#findings].sort((a, b) => a.step - b.step),
    };
  }
}

/** A program whose last world keeps what a report needs. */
export interface RecordedProgram extends Program {
  /** The run of the last world that was built. */
  recorded(): RecordedRun;
}

/** The program that runs `scenario` with `subject` and remembers everything. */
export function recordedProgram(scenario: Scenario, subject: Subject, options: ScenarioOptions = {}): RecordedProgram {
  let world: RecordedWorld | null = null;
  return {
    name: `${scenario.name} with ${subject.name}`,
    build(chooser, footprint) {
      world = new RecordedWorld(scenario, subject, options, chooser, footprint);
      return world;
    },
    recorded() {
      if (world === null) throw new Error('recordedProgram: nothing was run');
      return world.recorded();
    },
  };
}
