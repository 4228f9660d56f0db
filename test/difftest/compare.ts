// One program on both kernels: performs it here and holds every result against what the running kernel gave.

import { errnoName } from '../../src/abi/errno.ts';
import { VM_SHARED } from '../../src/abi/mman.ts';
import { syscallName } from '../../src/abi/syscalls.ts';
import type { KernelConfig } from '../../src/mm/config.ts';
import { hexWord, Model, mapsLines, smapsLines } from './model.ts';
import { OP_FORK_RUN, OP_LOAD, OP_MAPS, OP_MINCORE, OP_SMAPS, OP_STORE, OP_SWEEP, type Op, opName } from './program.ts';
import { REFUSED } from './reach.ts';
import type { HostRun, Result } from './results.ts';

export interface Difference {
  /** Index of the operation. */
  readonly index: number;
  readonly op: Op;
  readonly here: string;
  readonly host: string;
  /** The operations before it that were performed, and itself, with the results of the running kernel. */
  readonly story: readonly string[];
  /** The state of this kernel at that point, for judging what is known. */
  readonly model: Model;
}

export interface Counts {
  operations: number;
  calls: number;
  accesses: number;
  maps: number;
  mincore: number;
  /** Operations that would have reached host.c itself. */
  refused: number;
}

export const newCounts = (): Counts => ({ operations: 0, calls: 0, accesses: 0, maps: 0, mincore: 0, refused: 0 });

/** The first difference, or null. */
export function compareProgram(
  ops: readonly Op[],
  host: HostRun,
  config: Partial<KernelConfig>,
  path: string,
  counts: Counts = newCounts(),
): Difference | null {
  const model = new Model(host, config, path);
  return new Comparison(ops, host, model, counts).run(0, ops.length);
}

class Comparison {
  readonly #ops: readonly Op[];
  readonly #host: HostRun;
  readonly #model: Model;
  readonly #counts: Counts;
  readonly #story: string[] = [];
  /** The first operation without a result: the process died somewhere after it, with what it had not written out yet. */
  #lost: Difference | null = null;

  constructor(ops: readonly Op[], host: HostRun, model: Model, counts: Counts) {
    this.#ops = ops;
    this.#host = host;
    this.#model = model;
    this.#counts = counts;
  }

  run(from: number, to: number): Difference | null {
    for (let i = from; i < to; i++) {
      const op = this.#ops[i]!;
      this.#counts.operations++;
      if (op.nr === OP_FORK_RUN) {
        const end = Math.min(to, i + 1 + (op.args[0] as number));
        const found = this.#runChild(i + 1, end);
        if (found !== null) return found;
        i = end - 1;
        continue;
      }
      const found = this.#one(op, i);
      if (found !== null) return found;
    }
    return this.#lost;
  }

  #runChild(from: number, to: number): Difference | null {
    const parent = this.#model.task;
    this.#story.push('{ a child:');
    this.#model.task = this.#model.fork();
    const found = this.run(from, to);
    if (found !== null) return found;
    this.#model.exit();
    this.#model.task = parent;
    this.#story.push('}');
    return null;
  }

  #one(op: Op, i: number): Difference | null {
    const shown = show(this.#model, op);
    let here: Result | undefined;
    const host = this.#host.results[i];
    try {
      here = this.#model.perform(op, i);
    } catch (e) {
      here = `failed: ${(e as Error).message}`;
    }
    if (here === undefined) return null;
    if (host === undefined) {
      const story = [...this.#story, shown];
      this.#lost ??= {
        index: i,
        op,
        here: String(here),
        host: 'nothing: the program was gone',
        story,
        model: this.#model,
      };
      return null;
    }
    this.#count(op.nr);
    if (String(here) === hexWord(REFUSED)) this.#counts.refused++;
    const [a, b] = comparable(this.#model, op, here, host);
    this.#story.push(`${i} ${shown} = ${typeof host === 'string' ? showWord(op.nr, host) : '...'}`);
    if (a === b) return null;
    return { index: i, op, here: a, host: b, story: this.#story, model: this.#model };
  }

  #count(nr: number): void {
    if (nr === OP_MAPS || nr === OP_SMAPS) this.#counts.maps++;
    else if (nr === OP_MINCORE) this.#counts.mincore++;
    else if (nr === OP_LOAD || nr === OP_STORE || nr === OP_SWEEP) this.#counts.accesses++;
    else this.#counts.calls++;
  }
}

/** Both results in a form that can be compared word for word. */
function comparable(model: Model, op: Op, here: Result, host: Result): [string, string] {
  if (op.nr === OP_MAPS) return firstLines(mapsLines(String(here)), mapsLines(String(host)));
  if (op.nr === OP_SMAPS) return firstLines(smapsLines(withoutSoftDirty(String(here))), smapsLines(String(host)));
  if (op.nr === OP_MINCORE) return mincore(model, op, here, host);
  if (op.nr === OP_SWEEP) return sweep(model, op, here, host);
  // What vvar and vdso hold, a program of another machine cannot know.
  if (op.nr === OP_LOAD && isSpecialMapping(model, model.word(op, 0))) return ['', ''];
  return [showWord(op.nr, String(here)), showWord(op.nr, String(host))];
}

function isSpecialMapping(model: Model, at: number): boolean {
  const name = model.task.mm!.vmas.findExact(at)?.name ?? null;
  return name !== null;
}

/** Without CONFIG_MEM_SOFT_DIRTY the flag has no letters. */
function withoutSoftDirty(text: string): string {
  return text.replaceAll(/ sd\b/g, '');
}

function firstLines(here: readonly string[], host: readonly string[]): [string, string] {
  let at = 0;
  while (at < Math.max(here.length, host.length) && here[at] === host[at]) at++;
  if (at === here.length && at === host.length) return ['', ''];
  const part = (lines: readonly string[]): string => lines.slice(Math.max(0, at - 1), at + 4).join('\n');
  return [part(here), part(host)];
}

/** The first page that differs. */
function sweep(model: Model, op: Op, here: Result, host: Result): [string, string] {
  const start = model.word(op, 0);
  const at = [...here].findIndex((word, i) => word !== host[i] && !isSpecialMapping(model, start + i * 4096));
  if (at < 0) return ['', ''];
  const place = (start + at * 4096).toString(16);
  return [`${place}: ${showWord(OP_LOAD, here[at]!)}`, `${place}: ${showWord(OP_LOAD, host[at] ?? 'nothing')}`];
}

/** Pages of files on a disk are left out: when the running kernel writes them back or reads ahead is its own affair. */
function mincore(model: Model, op: Op, here: Result, host: Result): [string, string] {
  const start = model.word(op, 0);
  const mask = (r: Result): string =>
    [...r].map((word, i) => (i > 0 && isOnDisk(model, start + (i - 1) * 4096) ? '.' : word)).join(' ');
  return [mask(here), mask(host)];
}

function isOnDisk(model: Model, at: number): boolean {
  return model.task.mm!.vmas.findExact(at)?.file?.inode.kind === 'regular';
}

function show(model: Model, op: Op): string {
  const words = op.args.map((_, j) => hexWord(model.word(op, j)));
  return `${opName(op.nr) ?? syscallName(op.nr)}(${words.join(', ')})`;
}

function showWord(nr: number, word: string): string {
  if (!/^[0-9a-f]+$/.test(word) || word.length > 16) return word.length > 60 ? '...' : word;
  const v = BigInt(`0x${word}`);
  if ((nr === OP_LOAD || nr === OP_STORE) && v >> 32n === 1n) {
    const wrong = ((v >> 31n) & 1n) === 1n ? ', with another address' : '';
    return `signal ${(v >> 16n) & 0x7fffn} code ${v & 0xffffn}${wrong}`;
  }
  return v >= (1n << 64n) - 4096n ? `-${errnoName(Number((1n << 64n) - v))}` : word;
}

/** Is the address in memory that several processes share? For known differences. */
export function isShared(model: Model, at: number): boolean {
  return ((model.task.mm!.vmas.findExact(at)?.flags ?? 0) & VM_SHARED) !== 0;
}
