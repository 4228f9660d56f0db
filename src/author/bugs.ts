// Runs museum entries, or bugs of a user's own: worker threads share the list; what each finds comes back as it is found.

import { InputError } from '../base/assert.ts';
import type { BugReport, BugsInput, BugsMessage } from './bugs-task.ts';
import { openModules } from './bundle.ts';
import { type Outcome, runIn, taskAt } from './isolate.ts';

export interface BugsRequest {
  /** Modules, each of which exports one bug. */
  readonly modules: readonly string[];
  readonly executions: number;
  readonly seed: number;
  readonly workers: number;
  readonly signal?: AbortSignal;
  /** Bugs done. */
  readonly onProgress?: (done: number) => void;
}

/** Reports in the order of the modules; those of a run that was stopped are missing. Throws InputError for a module that cannot
 *  be used. */
export async function runBugs(request: BugsRequest): Promise<BugReport[]> {
  const { modules, executions, seed, workers, signal } = request;
  const reports: (BugReport | undefined)[] = [];
  let done = 0;
  const input: BugsInput = { executions, seed, next: new SharedArrayBuffer(4) };
  const onProgress = (message: unknown): void => {
    const m = message as BugsMessage;
    if (m.kind !== 'result') return;
    reports[m.index] = m.report;
    request.onProgress?.(++done);
  };
  const bundle = await openModules(modules);
  const task = taskAt('author/bugs-task.js');
  const options = { onProgress, ...(signal === undefined ? {} : { signal }) };
  const count = Math.max(1, Math.min(workers, modules.length));
  const outcomes = await Promise.all(
    Array.from({ length: count }, () => runIn<true>(bundle, task, input, options)),
  ).finally(() => bundle.close());
  for (const outcome of outcomes) check(outcome);
  return reports.filter((r) => r !== undefined);
}

function check(outcome: Outcome<true>): void {
  switch (outcome.kind) {
    case 'done':
    case 'stopped':
      return;
    case 'unusable':
    case 'died':
      throw new InputError(outcome.message);
    case 'stuck': {
      const where = outcome.place === null ? '' : `; it stood at ${outcome.place}`;
      throw new InputError(`the bug's code did not return from ${outcome.callback || outcome.during}${where}`);
    }
    case 'internal':
      throw new Error(outcome.stack);
  }
}
