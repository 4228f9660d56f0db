// An exploration on several processors: jobs (explore/coordinator) in worker threads. What is found does not depend on the number
// of workers: the verdict, the properties violated, the final states. How many runs it takes may differ a little, and which
// of the shortest witnesses is kept.
//
// A program cannot be sent to a worker: it is named by the module that makes it, and makes it there.

import { type Checkpoint, Coordinator, type Counts, type Report } from '../../explore/coordinator.ts';
import type { ExploreResult } from '../../explore/explore.ts';
import type { Job } from '../../explore/job.ts';
import type { JobOptions } from '../../explore/job-runner.ts';
import type { Schedule } from '../../explore/world.ts';
import { WorkerThreads } from './worker-threads.ts';

/** How a worker makes the program: `export(argument)` of the module, which may be a promise. */
export interface ProgramSource {
  /** URL of the module. */
  readonly module: string;
  readonly export: string;
  /** Plain data. */
  readonly argument: unknown;
}

export interface ParallelOptions {
  readonly workers: number;
  /** Complete (or cut) executions at most, about: what is under way when the number is reached is counted. */
  readonly executionsMax?: number;
  /** Steps after which an execution is cut: 10,000 when left out. */
  readonly stepsMax?: number;
  /** Are final states collected? */
  readonly collectsStates?: boolean;
  /** Asked at every report, a few times a second: false stops, with a checkpoint. */
  readonly goOn?: (counts: Readonly<Counts>) => boolean;
  /** Where to go on. */
  readonly checkpoint?: Checkpoint;
}

export interface ParallelResult extends ExploreResult {
  readonly states: readonly string[];
  /** Where another call goes on; null: nothing is left. */
  readonly checkpoint: Checkpoint | null;
}

/** A step of the program threw, in a worker. */
export class WorkerStepError extends Error {
  override readonly name = 'WorkerStepError';
  readonly schedule: Schedule;

  constructor(message: string, schedule: Schedule) {
    super(message);
    this.schedule = schedule;
  }
}

/** To a worker at its start. `flags`: what each worker is asked for, by number. */
export interface WorkerStart {
  readonly source: ProgramSource;
  readonly options: JobOptions;
  readonly flags: Int32Array;
  readonly number: number;
}

export interface WorkerJob {
  readonly id: number;
  readonly job: Job;
}

export type WorkerAnswer =
  | { readonly kind: 'report'; readonly report: Report }
  | { readonly kind: 'error'; readonly message: string; readonly schedule: Schedule | null };

export const FLAG_NONE = 0;
export const FLAG_SHARE = 1;
export const FLAG_STOP = 2;

/** Explores the program of `source`. Throws what a worker throws, WorkerStepError among it. */
export function exploreParallel(source: ProgramSource, options: ParallelOptions): Promise<ParallelResult> {
  return new Pool(source, options).run();
}

class Pool {
  readonly #options: ParallelOptions;
  readonly #coordinator: Coordinator;
  readonly #flags: Int32Array;
  readonly #threads: WorkerThreads<WorkerAnswer>;
  #stopped: ExploreResult['stopped'] | null = null;
  #resolve: (result: ParallelResult) => void = () => {};
  #reject: (error: Error) => void = () => {};

  constructor(source: ProgramSource, options: ParallelOptions) {
    this.#options = options;
    const { workers: count, stepsMax = 10_000, collectsStates = false, checkpoint } = options;
    this.#coordinator = checkpoint === undefined ? new Coordinator() : Coordinator.from(checkpoint);
    this.#flags = new Int32Array(new SharedArrayBuffer(4 * count));
    const flags = this.#flags;
    this.#threads = new WorkerThreads({
      module: new URL('./pool-worker.js', import.meta.url),
      count,
      workerData: (number): WorkerStart => ({ source, options: { stepsMax, collectsStates }, flags, number }),
      isLast: (answer) => answer.kind === 'error' || answer.report.handover?.isOver === true,
    });
  }

  async run(): Promise<ParallelResult> {
    try {
      return await new Promise((resolve, reject) => {
        this.#resolve = resolve;
        this.#reject = reject;
        this.#giveOut();
      });
    } finally {
      await this.#threads.close();
    }
  }

  #answered(answer: WorkerAnswer): void {
    if (answer.kind === 'error') {
      const { message, schedule } = answer;
      this.#reject(schedule === null ? new Error(message) : new WorkerStepError(message, schedule));
      return;
    }
    const { report } = answer;
    this.#coordinator.add(report);
    const { executionsMax = Number.POSITIVE_INFINITY, goOn } = this.#options;
    const { counts } = this.#coordinator;
    if (counts.executions >= executionsMax) this.#stopped ??= 'executions';
    if (goOn !== undefined && this.#stopped === null && !goOn(counts)) this.#stopped = 'goOn';
    this.#giveOut();
  }

  /** Gives jobs to idle workers, asks the others to share when there are none left; ends when all is done. */
  #giveOut(): void {
    const [coordinator, threads] = [this.#coordinator, this.#threads];
    while (threads.idle > 0 && this.#stopped === null) {
      const next: WorkerJob | null = coordinator.nextJob();
      if (next === null) break;
      threads.ask(next, (answer) => this.#answered(answer)).catch(this.#reject);
    }
    if (coordinator.runningCount === 0) {
      this.#end();
      return;
    }
    const isHungry = threads.idle > 0 && !coordinator.hasJob;
    const wish = this.#stopped !== null ? FLAG_STOP : isHungry ? FLAG_SHARE : FLAG_NONE;
    for (let i = 0; i < this.#flags.length; i++) Atomics.store(this.#flags, i, wish);
  }

  #end(): void {
    const c = this.#coordinator;
    const { executions, cut, blocked, steps } = c.counts;
    this.#resolve({
      exhaustive: c.isFinished && cut === 0,
      stopped: c.isFinished ? 'finished' : (this.#stopped ?? 'goOn'),
      executions,
      cut,
      blocked,
      steps,
      findings: c.witnesses,
      states: [...c.states].sort(),
      checkpoint: c.isFinished ? null : c.checkpoint(),
    });
  }
}
