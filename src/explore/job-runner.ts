// What a worker does with a job: runs its executions, some at a time, and reports.

import type { Report } from './coordinator.ts';
import { COMPLETE, CUT, Dpor, FINISHED } from './dpor.ts';
import { Witnesses } from './explore.ts';
import type { Job } from './job.ts';
import type { Program } from './world.ts';

export interface JobOptions {
  /** Steps after which an execution is cut. */
  readonly stepsMax: number;
  /** Are the final states of executions reported? */
  readonly collectsStates: boolean;
}

export class JobRunner {
  readonly id: number;
  readonly #dpor: Dpor;
  readonly #options: JobOptions;
  #witnesses = new Witnesses();
  #states = new Set<string>();
  #reported = { executions: 0, cut: 0, blocked: 0, steps: 0 };
  #isBegun = false;
  #isFinished = false;

  constructor(program: Program, id: number, job: Job, options: JobOptions) {
    this.id = id;
    this.#options = options;
    this.#dpor = new Dpor(program, options.stepsMax, job);
  }

  /** Makes the next run. False: there is none. */
  next(): boolean {
    if (this.#isFinished) return false;
    this.#isBegun = true;
    const dpor = this.#dpor;
    const outcome = dpor.next();
    if (outcome === FINISHED) {
      this.#isFinished = true;
      return false;
    }
    if (outcome !== COMPLETE && outcome !== CUT) return true;
    const findings = dpor.world!.end(outcome === CUT);
    if (findings.length > 0) this.#witnesses.add(findings, () => dpor.schedule());
    if (this.#options.collectsStates) this.#states.add(dpor.world!.finalState?.() ?? '');
    return true;
  }

  /** Is there something that somebody else could begin with? */
  canShare(): boolean {
    return this.#isBegun && !this.#isFinished && this.#dpor.canShare();
  }

  /** What happened since the last report; 'share' gives nodes away if there are any, 'stop' gives all away. A finished job says
   *  so in any case. */
  report(how: 'go on' | 'share' | 'stop'): Report {
    // A job that has not begun has nothing to give.
    if (how === 'stop' && !this.#isBegun) this.next();
    const { executions, cut, blocked, steps } = this.#dpor;
    const before = this.#reported;
    this.#reported = { executions, cut, blocked, steps };
    const isOver = how === 'stop' || this.#isFinished;
    const report: Report = {
      job: this.id,
      counts: {
        executions: executions - before.executions,
        cut: cut - before.cut,
        blocked: blocked - before.blocked,
        steps: steps - before.steps,
      },
      witnesses: this.#witnesses.list(),
      states: [...this.#states],
      demands: this.#dpor.takeDemands(),
      handover: isOver || (how === 'share' && this.#isBegun) ? this.#dpor.share(isOver) : null,
    };
    this.#witnesses = new Witnesses();
    this.#states = new Set();
    return report;
  }
}
