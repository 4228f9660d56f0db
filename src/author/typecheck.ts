// Mistakes of type in an author's modules, apart from what happens when they run.

import { Worker } from 'node:worker_threads';
import { modulePath } from './bundle.ts';
import { taskAt } from './isolate.ts';
import { nearPath } from './place.ts';

export interface TypeMistake {
  /** Absolute path. */
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly column: number;
  readonly message: string;
  /** Why, from the outer type to the inner. */
  readonly detail: readonly string[];
}

/** Checks the modules and what they import, in a worker thread. Throws InputError for what is no module file. */
export function typecheck(paths: readonly string[], signal?: AbortSignal): Promise<readonly TypeMistake[]> {
  const workerData = { paths: paths.map(modulePath) };
  const worker = new Worker(taskAt('author/typecheck-worker.js'), { workerData });
  return new Promise((resolve, reject) => {
    worker.on('message', resolve);
    worker.on('error', reject);
    worker.on('exit', () => resolve([]));
    signal?.addEventListener('abort', () => void worker.terminate());
  });
}

/** "file:line:column: message". */
export function mistakeLine(m: TypeMistake): string {
  return `${nearPath(m.file)}:${m.line}:${m.column}: ${m.message}`;
}
