// Runs of a comparison in worker threads. Each worker loads the recording itself; a run depends on nothing but its
// configuration, so the result is the same on any number of workers.

import { Worker } from 'node:worker_threads';
import type { LoadOptions } from '../replay/load.ts';
import type { Executor, Progress } from './compare.ts';
import type { CompareRow } from './rows.ts';
import type { DesignRun, RunConfig } from './run-design.ts';

/** What a worker is started with. */
export interface WorkerTrace {
  readonly path: string;
  readonly options: LoadOptions;
}

/** To a worker: a job, or "stop the job". From it: progress, the result, or an error. */
export type WorkerRequest = { readonly row: CompareRow; readonly config: Omit<RunConfig, 'trace'> } | 'stop';
export type WorkerAnswer =
  | { readonly kind: 'progress'; readonly done: number; readonly total: number }
  | { readonly kind: 'result'; readonly run: DesignRun }
  | { readonly kind: 'error'; readonly message: string };

interface Job {
  readonly row: CompareRow;
  readonly config: Omit<RunConfig, 'trace'>;
  readonly progress: Progress;
  readonly resolve: (run: DesignRun) => void;
  readonly reject: (error: Error) => void;
}

/** A pool of workers for one recording. */
export class WorkerPool {
  readonly #idle: Worker[] = [];
  readonly #all: Worker[] = [];
  readonly #queue: Job[] = [];
  readonly #jobs = new Map<Worker, Job>();

  constructor(count: number, trace: WorkerTrace) {
    for (let i = 0; i < count; i++) {
      const worker = new Worker(new URL('./worker.js', import.meta.url), { workerData: trace });
      worker.on('message', (answer: WorkerAnswer) => void this.#answer(worker, answer));
      worker.on('error', (error: Error) => this.#jobs.get(worker)?.reject(error));
      this.#all.push(worker);
      this.#idle.push(worker);
    }
  }

  readonly execute: Executor = (row, config, progress) =>
    new Promise((resolve, reject) => {
      this.#queue.push({ row, config, progress, resolve, reject });
      this.#next();
    });

  #next(): void {
    while (this.#idle.length > 0 && this.#queue.length > 0) {
      const worker = this.#idle.pop()!;
      const job = this.#queue.shift()!;
      this.#jobs.set(worker, job);
      worker.postMessage({ row: job.row, config: job.config } satisfies WorkerRequest);
    }
  }

  async #answer(worker: Worker, answer: WorkerAnswer): Promise<void> {
    const job = this.#jobs.get(worker);
    if (job === undefined) return;
    if (answer.kind === 'progress') {
      if (await job.progress(job.row.name, answer.done, answer.total))
        worker.postMessage('stop' satisfies WorkerRequest);
      return;
    }
    this.#jobs.delete(worker);
    this.#idle.push(worker);
    if (answer.kind === 'result') job.resolve(answer.run);
    else job.reject(new Error(answer.message));
    this.#next();
  }

  async close(): Promise<void> {
    await Promise.all(this.#all.map((w) => w.terminate()));
  }
}
