// Runs a task on a driver author's modules in a worker thread, and watches it: whatever the modules do (never return, throw, end the
// process, eat all memory), the answer is a value, and this thread goes on. That is isolation from mistakes, not from malice:
// the modules may do what a program of the user may.
//
// The watcher counts its own ticks, not the clock: a machine that slept, or was too busy to run even the watcher, accuses nobody.

import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Worker } from 'node:worker_threads';
import { Heart, PHASE_CREATE, PHASE_IMPORT, PHASE_OWN } from '../workload/guard/heart.ts';
import { type Bundle, openModules } from './bundle.ts';
import { PACKAGE } from './entries.ts';
import { stuckPlace } from './stuck-place.ts';

export interface IsolateOptions {
  /** Ticks of 100 ms without a step after which a callback counts as stuck: 20 when left out. An import may take three times as long. */
  readonly quietTicks?: number;
  /** Memory of the worker in MiB: 2048 when left out. */
  readonly memoryMiB?: number;
  /** Called with what the task passes to `host.progress`. */
  readonly onProgress?: (message: unknown) => void;
  /** Aborted: the task is asked to stop, and ended when it has not within two seconds. */
  readonly signal?: AbortSignal;
}

/** How a task ended. */
export type Outcome<T> =
  | { readonly kind: 'done'; readonly result: T }
  /** The modules cannot be used: one line. */
  | { readonly kind: 'unusable'; readonly message: string }
  /** Somebody's code did not give control back. */
  | {
      readonly kind: 'stuck';
      readonly during: 'import' | 'create' | 'step';
      readonly callback: string;
      readonly place: string | null;
      readonly seconds: number;
    }
  /** The worker ended: out of memory, process.exit, an error that nobody caught. */
  | { readonly kind: 'died'; readonly message: string }
  | { readonly kind: 'stopped' }
  /** A fault of this tool: the stack. */
  | { readonly kind: 'internal'; readonly stack: string };

/** To the worker, at its start. */
export interface WorkerStart {
  readonly bundle: string;
  readonly entries: readonly string[];
  readonly files: readonly string[];
  /** Module of this package that exports `run` (author/task.ts). */
  readonly task: string;
  readonly input: unknown;
  readonly heart: ArrayBufferLike;
}

/** From it. */
export type WorkerMessage =
  | { readonly kind: 'progress'; readonly message: unknown }
  | { readonly kind: 'done'; readonly result: unknown }
  | { readonly kind: 'unusable'; readonly message: string }
  | { readonly kind: 'internal'; readonly stack: string };

let workers = 0;

const TICK_MS = 100;
const IMPORT_FACTOR = 3;

/** A module of this package, by its path in dist: workers run what is built, as the author's imports of `shootdown` do. */
export function taskAt(path: string): URL {
  return pathToFileURL(join(PACKAGE, 'dist', path));
}

/** Runs the exported function `run` of the module `task` of this package, once, in a worker of its own. */
export function runIn<T>(bundle: Bundle, task: URL, input: unknown, options: IsolateOptions = {}): Promise<Outcome<T>> {
  return new Isolate<T>(bundle, task, input, options).outcome;
}

/** `runIn` for modules that are used once. */
export async function runIsolated<T>(
  paths: readonly string[],
  task: URL,
  input: unknown,
  options: IsolateOptions = {},
): Promise<Outcome<T>> {
  const bundle = await openModules(paths);
  try {
    return await runIn<T>(bundle, task, input, options);
  } finally {
    bundle.close();
  }
}

class Isolate<T> {
  readonly outcome: Promise<Outcome<T>>;
  readonly #heart = new Heart();
  readonly #worker: Worker;
  /** By which the debugger knows it. */
  readonly #name = `shootdown-${process.pid}-${++workers}`;
  readonly #bundle: Bundle;
  readonly #options: IsolateOptions;
  readonly #timer: NodeJS.Timeout;
  readonly #abort = (): void => {
    this.#heart.stop();
    this.#stopTicks = 20;
  };
  #resolve: (outcome: Outcome<T>) => void = () => {};
  #isOver = false;
  #beats = 0;
  #quiet = 0;
  #stopTicks = Number.POSITIVE_INFINITY;

  constructor(bundle: Bundle, task: URL, input: unknown, options: IsolateOptions) {
    this.#bundle = bundle;
    this.#options = options;
    this.outcome = new Promise((resolve) => {
      this.#resolve = resolve;
    });
    const start: WorkerStart = {
      bundle: pathToFileURL(bundle.path).href,
      entries: bundle.entries,
      files: bundle.files,
      task: task.href,
      input,
      heart: this.#heart.buffer,
    };
    this.#worker = new Worker(taskAt('author/worker.js'), {
      workerData: start,
      name: this.#name,
      resourceLimits: { maxOldGenerationSizeMb: options.memoryMiB ?? 2048 },
      // What a driver prints must not stand in the middle of a report that somebody parses.
      stdout: true,
    });
    this.#worker.stdout.pipe(process.stderr, { end: false });
    this.#worker.on('message', (message: WorkerMessage) => this.#message(message));
    this.#worker.on('error', (error: Error & { code?: string }) =>
      this.#end({ kind: 'died', message: deathLine(error) }),
    );
    this.#worker.on('exit', (code) => this.#end({ kind: 'died', message: exitLine(code) }));
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    options.signal?.addEventListener('abort', this.#abort);
    if (options.signal?.aborted === true) this.#abort();
  }

  #message(message: WorkerMessage): void {
    if (message.kind === 'progress') this.#options.onProgress?.(message.message);
    else if (message.kind === 'done') {
      this.#end(
        this.#heart.isStopped && message.result === undefined
          ? { kind: 'stopped' }
          : { kind: 'done', result: message.result as T },
      );
    } else this.#end(message);
  }

  #tick(): void {
    if (this.#isOver) return;
    if (--this.#stopTicks <= 0) {
      this.#end({ kind: 'stopped' });
      return;
    }
    const { beats, phase } = this.#heart;
    if (phase === PHASE_OWN || beats !== this.#beats) {
      this.#beats = beats;
      this.#quiet = 0;
      return;
    }
    const limit = (this.#options.quietTicks ?? 20) * (phase === PHASE_IMPORT ? IMPORT_FACTOR : 1);
    if (++this.#quiet >= limit) void this.#stuck(phase);
  }

  async #stuck(phase: number): Promise<void> {
    clearInterval(this.#timer);
    const place = await stuckPlace(this.#name, this.#bundle);
    const during = phase === PHASE_IMPORT ? 'import' : phase === PHASE_CREATE ? 'create' : 'step';
    const seconds = (this.#quiet * TICK_MS) / 1000;
    this.#end({ kind: 'stuck', during, callback: this.#heart.place, place, seconds });
  }

  #end(outcome: Outcome<T>): void {
    if (this.#isOver) return;
    this.#isOver = true;
    clearInterval(this.#timer);
    this.#options.signal?.removeEventListener('abort', this.#abort);
    void this.#worker.terminate().then(() => this.#resolve(outcome));
  }
}

/** Node ends a worker with 13 when nothing is left to do and a top-level await still waits. */
function exitLine(code: number): string {
  return code === 13 ? 'a top-level await never ended' : `it ended the process (process.exit, status ${code})`;
}

function deathLine(error: Error & { code?: string }): string {
  if (error.code === 'ERR_WORKER_OUT_OF_MEMORY') return 'it used up its memory';
  return `an error that nobody caught: ${String(error.message ?? error).split('\n')[0]}`;
}
