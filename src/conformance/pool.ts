// Cases on several processors. Every case is a run of its own, so the result is the same on any number of workers.

import { Worker } from 'node:worker_threads';
import { InputError } from '../base/assert.ts';
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
  const pool = Array.from({ length: workers }, () => new Worker(new URL('./worker.js', import.meta.url)));
  const work = async (worker: Worker): Promise<void> => {
    while (next < files.length && !isStopped) {
      const i = next++;
      reports[i] = await ask(worker, files[i]!);
      if (await progress(++done, files.length)) isStopped = true;
    }
  };
  try {
    await Promise.all(pool.map(work));
  } finally {
    await Promise.all(pool.map((w) => w.terminate()));
  }
}

function ask(worker: Worker, file: CaseFile): Promise<CaseReport> {
  return new Promise((resolve, reject) => {
    const end = (): void => {
      worker.off('message', onMessage);
      worker.off('error', onError);
    };
    const onError = (error: Error): void => {
      end();
      reject(error);
    };
    const onMessage = (answer: WorkerAnswer): void => {
      end();
      if (answer.kind === 'result') resolve(answer.report);
      else reject(answer.isInput ? new InputError(answer.message) : new Error(answer.stack));
    };
    worker.on('message', onMessage);
    worker.on('error', onError);
    worker.postMessage(file);
  });
}
