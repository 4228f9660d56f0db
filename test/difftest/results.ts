// What host.c writes, as one entry for each operation that was performed, in the order in which that was done.

import { OP_FORK, OP_FORK_RUN, OP_MAPS, OP_MINCORE, OP_SMAPS, OP_SWEEP, type Op } from './program.ts';

/** A result word; a text (maps); or several words (mincore: the result, then the vector; sweep). Words are hex. */
export type Result = string | readonly string[];

export interface HostRun {
  /** /proc/self/maps before the first operation. */
  readonly layout: string;
  readonly startBrk: number;
  /** Undefined where the child that should have performed it was gone. */
  readonly results: readonly (Result | undefined)[];
  /** Wait status of the program: 0 when it ran to its end. */
  readonly status: number;
}

const MAGIC_BEGIN = 0xd1ff7e57b0000001n;
const MAGIC_END = 0xd1ff7e57e0000002n;
const MAGIC_CHILD_END = 0xd1ff7e57c0000003n;

class Reader {
  readonly #bytes: Buffer;
  at = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.at;
  }

  peek(): bigint {
    return this.left < 8 ? MAGIC_END : this.#bytes.readBigUInt64LE(this.at);
  }

  word(): string {
    const v = this.#bytes.readBigUInt64LE(this.at);
    this.at += 8;
    return v.toString(16);
  }

  number(): number {
    return Number.parseInt(this.word(), 16);
  }

  text(): string {
    const length = this.number();
    const text = this.#bytes.toString('latin1', this.at, this.at + length);
    this.at += (length + 7) & ~7;
    return text;
  }

  bytes(count: number): string[] {
    const out: string[] = [];
    for (let i = 0; i < count; i++) out.push(String(this.#bytes[this.at + i]! & 1));
    this.at += (count + 7) & ~7;
    return out;
  }
}

/** Parses the output for these programs. Throws Error when it ends too early. */
export function parseHost(bytes: Buffer, programs: readonly (readonly Op[])[]): HostRun[] {
  const reader = new Reader(bytes);
  return programs.map((ops, i) => {
    if (reader.left < 8 || reader.peek() !== MAGIC_BEGIN) throw new Error(`host: no result of program ${i}`);
    reader.word();
    const layout = reader.text();
    const startBrk = reader.number();
    const results: (Result | undefined)[] = new Array(ops.length).fill(undefined);
    performed(reader, ops, 0, ops.length, results);
    if (reader.peek() !== MAGIC_END) throw new Error(`host: the results of program ${i} are out of step`);
    reader.word();
    return { layout, startBrk, results, status: reader.number() };
  });
}

function performed(reader: Reader, ops: readonly Op[], from: number, to: number, out: (Result | undefined)[]): void {
  for (let i = from; i < to; i++) {
    const { nr, args } = ops[i]!;
    if (nr === OP_FORK) continue;
    if (nr === OP_FORK_RUN) {
      const end = Math.min(to, i + 1 + (args[0] as number));
      performed(reader, ops, i + 1, end, out);
      // A child that died may have written a part of a result.
      while (reader.peek() !== MAGIC_CHILD_END && reader.peek() !== MAGIC_END) reader.at += 8;
      if (reader.peek() === MAGIC_CHILD_END) reader.at += 8;
      i = end - 1;
      continue;
    }
    if (reader.peek() === MAGIC_END || reader.peek() === MAGIC_CHILD_END) return;
    if (nr === OP_MAPS || nr === OP_SMAPS) out[i] = reader.text();
    else if (nr === OP_SWEEP) out[i] = Array.from({ length: args[1] as number }, () => reader.word());
    else if (nr === OP_MINCORE) {
      const word = reader.word();
      out[i] = word === '0' ? ['0', ...reader.bytes(Math.ceil((args[1] as number) / 4096))] : [word];
    } else out[i] = reader.word();
  }
}
