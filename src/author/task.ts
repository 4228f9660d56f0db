// What a task of an isolated worker gets. A task is a module of this package that exports `run`:
//
//   export const run: Task<Input, Result> = async (modules, input, host) => { ...; return result; };
//
// Input, progress and result travel between threads: plain data.

import type { Heart } from '../workload/guard/heart.ts';

/** An author's module, imported. */
export interface AuthorModule {
  /** Absolute path. */
  readonly path: string;
  readonly exports: Readonly<Record<string, unknown>>;
}

export interface TaskHost {
  readonly heart: Heart;
  progress(message: unknown): void;
  /** Where in the author's files an error came from: "driver.ts:12:5", or null when no frame of its stack lies there. */
  placeOf(error: unknown): string | null;
}

export type Task<Input, Result> = (
  modules: readonly AuthorModule[],
  input: Input,
  host: TaskHost,
) => Promise<Result> | Result;
