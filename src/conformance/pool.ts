// Cases on several processors. Every case is a run of its own, so the result is the same on any number of workers.

import { InputError } from '../base/assert.ts';
import { WorkerThreads } from '../workload/parallel/worker-threads.ts';
import { type CaseReport, runCase } from './cases.ts';
import type { CaseFile } from './read.ts';

/** From a worker. */
export type WorkerAnswer =
  | { readonly kind: 'result'; readonly report: CaseReport }
  | { readonly kind: 'error'; readonly message: string; readonly stack: string; readonly isInput: boolean };

/** Told after each case; true = stop, with the cases done so far. */
export type CaseProgress = (done: number, total: number) => Promise<boolean>;

/** Runs the cases, `workers` at a time (1: in this thread). The reports come in the order of `files`; those that were not reached are null. */
export async function runCases(
  files: readonly CaseFile[],
  workers: number,
  progress: CaseProgress,
): Promise<(CaseReport | null)[]> {
  const reports: (CaseReport | null)[] = files.map(() => null);
  if (workers <= 1) {
    for (const [i, file] of files.entries()) {
      reports[i] = await runCase(file);
      if (await progress(i + 1, files.length)) break;
    }
    return reports;
  }
  await runParallel(files, workers, progress, reports);
  return reports;
}

async function runParallel(
  files: readonly CaseFile[],
  workers: number,
  progress: CaseProgress,
  reports: (CaseReport | null)[],
): Promise<void> {
  let next = 0;
  let done = 0;
  let isStopped = false;
  const threads = new WorkerThreads<WorkerAnswer>({ module: new URL('./worker.js', import.meta.url), count: workers });
  const work = async (): Promise<void> => {
    while (next < files.length && !isStopped) {
      const i = next++;
      reports[i] = reportOf(await threads.ask(files[i]!));
      if (await progress(++done, files.length)) isStopped = true;
    }
  };
  try {
    await Promise.all(Array.from({ length: workers }, work));
  } finally {
    await threads.close();
  }
}

function reportOf(answer: WorkerAnswer): CaseReport {
  if (answer.kind === 'result') return answer.report;
  throw answer.isInput ? new InputError(answer.message) : new Error(answer.stack);
}
