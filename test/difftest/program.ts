// A program of memory system calls and accesses that the running kernel (host.c) and this one perform alike, as host.c reads it.

/** A word (negative: sign-extended), or the result of an earlier operation, by its index, plus an offset. */
export type Arg = number | readonly [index: number, offset: number];

export interface Op {
  /** Number of a system call, or OP_*. */
  readonly nr: number;
  readonly args: readonly Arg[];
}

// The other things that an operation may be (see host.c).
export const OP_MAPS = 1001;
export const OP_FORK = 1002;
export const OP_FORK_RUN = 1003;
export const OP_LOAD = 1004;
export const OP_STORE = 1005;
export const OP_MINCORE = 1006;
export const OP_SMAPS = 1007;
export const OP_SWEEP = 1008;

const OP_NAMES: Readonly<Record<number, string>> = {
  [OP_MAPS]: 'maps',
  [OP_FORK]: 'fork',
  [OP_FORK_RUN]: 'fork_run',
  [OP_LOAD]: 'load',
  [OP_STORE]: 'store',
  [OP_MINCORE]: 'mincore',
  [OP_SMAPS]: 'smaps',
  [OP_SWEEP]: 'sweep',
};

/** Pages of the file and of the memfd that a program finds open. */
export const FILE_PAGES = 64;
/** Operations of one program at most. */
export const OPERATIONS_MAX = 8192;

export function opName(nr: number): string | undefined {
  return OP_NAMES[nr];
}

const WORDS = 16;

/** The programs as host.c reads them, with the 0 at the end. */
export function encodePrograms(programs: readonly (readonly Op[])[]): Uint8Array {
  const total = programs.reduce((n, p) => n + 2 + p.length * WORDS, 2);
  const words = new Uint32Array(total);
  let at = 0;
  for (const ops of programs) {
    words[at] = ops.length;
    at += 2;
    for (const op of ops) {
      encodeOp(op, words, at);
      at += WORDS;
    }
  }
  return new Uint8Array(words.buffer);
}

function encodeOp(op: Op, words: Uint32Array, at: number): void {
  words[at] = op.nr;
  let mask = 0;
  op.args.forEach((arg, j) => {
    const [low, high] = typeof arg === 'number' ? [arg, Math.floor(arg / 4294967296)] : [arg[1], arg[0]];
    words[at + 2 + 2 * j] = low;
    words[at + 3 + 2 * j] = high;
    if (typeof arg !== 'number') mask |= 1 << j;
  });
  words[at + 14] = mask;
}
