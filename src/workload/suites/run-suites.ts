// All cases of recorded test suites on several processors. A case depends on nothing but its recording, so the result is the same
// on any number of workers. The longest cases begin first.

import { Worker } from 'node:worker_threads';
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
  const workers: Worker[] = [];
  let done = 0;
  let isStopped = false;
  const next = (worker: Worker): Promise<void> =>
    new Promise((resolve, reject) => {
      let current = -1;
      const give = (): void => {
        current = isStopped ? -1 : (queue.shift() ?? -1);
        if (current < 0) resolve();
        else worker.postMessage(cases[current]!);
      };
      worker.on('message', (result: CaseResult) => {
        results[current] = result;
        done++;
        give();
      });
      worker.on('error', reject);
      give();
    });
  for (let i = 0; i < Math.min(options.workers, cases.length); i++)
    workers.push(new Worker(new URL('./worker.js', import.meta.url)));
  const finished = Promise.all(workers.map(next));
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
    await Promise.all(workers.map((w) => w.terminate()));
  }
  return results.filter((r) => r !== null);
}
