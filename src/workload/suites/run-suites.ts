// All cases of recorded test suites on several processors. A case depends on nothing but its recording, so the result is the same
// on any number of workers. The longest cases begin first.

import { WorkerThreads } from '../parallel/worker-threads.ts';
import type { SuiteCase } from './cases.ts';
import type { CaseResult } from './run-case.ts';

export interface SuitesOptions {
  readonly workers: number;
  /** After each case: how many are done. True stops: cases that run are given up. */
  readonly progress: (done: number, total: number) => Promise<boolean>;
}

/** Results in the order of `cases`; those of a stopped run that were not reached are left out. */
export async function runSuites(cases: readonly SuiteCase[], options: SuitesOptions): Promise<CaseResult[]> {
  const results = new Array<CaseResult | null>(cases.length).fill(null);
  const queue = cases.map((_, i) => i).sort((a, b) => cases[b]!.lines - cases[a]!.lines);
  const count = Math.min(options.workers, cases.length);
  const threads = new WorkerThreads<CaseResult>({ module: new URL('./worker.js', import.meta.url), count });
  let done = 0;
  let isStopped = false;
  const work = async (): Promise<void> => {
    for (let i = queue.shift(); i !== undefined && !isStopped; i = queue.shift()) {
      results[i] = await threads.ask(cases[i]!);
      done++;
    }
  };
  const finished = Promise.all(Array.from({ length: count }, work));
  let isOver = false;
  finished.then(
    () => (isOver = true),
    () => (isOver = true),
  );
  try {
    while (!isOver && !isStopped) {
      isStopped = await options.progress(done, cases.length);
      await Promise.race([finished, new Promise((resolve) => setTimeout(resolve, 50))]);
    }
    if (!isStopped) await finished;
  } finally {
    await threads.close();
  }
  return results.filter((r) => r !== null);
}
