// Exit statuses, and stopping on Ctrl-C with what was done so far.

import { writeFileSync } from 'node:fs';
import { InputError } from '../base/assert.ts';

export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
export const EXIT_INTERNAL = 70;
export const EXIT_INTERRUPTED = 130;

/** Remembers that Ctrl-C was pressed. A second press ends the process at once. */
export class Interrupt {
  readonly #stop = new AbortController();
  readonly #handler = (): void => {
    if (this.isStopped) process.exit(EXIT_INTERRUPTED);
    this.#stop.abort();
  };

  get isStopped(): boolean {
    return this.signal.aborted;
  }

  /** Aborted by the first press. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  constructor() {
    process.on('SIGINT', this.#handler);
  }

  /** Lets pending signals arrive; true when the run shall stop. */
  async poll(): Promise<boolean> {
    await new Promise((resolve) => setImmediate(resolve));
    return this.isStopped;
  }

  close(): void {
    process.off('SIGINT', this.#handler);
  }
}

/** Writes what option `option` asked for. Throws InputError. */
export function writeOutput(option: string, path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch (error) {
    throw new InputError(`${option}: cannot write ${path}: ${(error as Error).message}`);
  }
}

/** A progress line on a terminal, shown when the work takes longer than a second. */
export class Progress {
  readonly #begin = Date.now();
  #shown = 0;
  #isVisible = false;

  /** `done` of `total` (0 = unknown) of what `label` names. */
  update(label: string, done: number, total: number): void {
    const now = Date.now();
    if (!process.stderr.isTTY || now - this.#begin < 1000 || now - this.#shown < 100) return;
    this.#shown = now;
    this.#isVisible = true;
    const part = total === 0 ? String(done) : `${Math.floor((100 * done) / total)} %`;
    process.stderr.write(`\r\x1b[K${label}: ${part}`);
  }

  clear(): void {
    if (this.#isVisible) process.stderr.write('\r\x1b[K');
    this.#isVisible = false;
  }
}
