// Runs of a comparison in worker threads. Each worker loads the recording itself; a run depends on nothing but its
// configuration, so the result is the same on any number of workers.

import { WorkerThreads } from '../parallel/worker-threads.ts';
import type { LoadOptions } from '../replay/load.ts';
import type { Executor } from './compare.ts';
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

/** A pool of workers for one recording. */
export class WorkerPool {
  readonly #threads: WorkerThreads<WorkerAnswer>;

  constructor(count: number, trace: WorkerTrace) {
    this.#threads = new WorkerThreads({
      module: new URL('./worker.js', import.meta.url),
      count,
      workerData: () => trace,
      isLast: (answer) => answer.kind !== 'progress',
    });
  }

  readonly execute: Executor = async (row, config, progress) => {
    const request: WorkerRequest = { row, config };
    const answer = await this.#threads.ask(request, async (message, send) => {
      if (message.kind !== 'progress') return;
      if (await progress(row.name, message.done, message.total)) send('stop' satisfies WorkerRequest);
    });
    if (answer.kind === 'result') return answer.run;
    throw new Error(answer.kind === 'error' ? answer.message : 'a run ended without a result');
  };

  close(): Promise<void> {
    return this.#threads.close();
  }
}
