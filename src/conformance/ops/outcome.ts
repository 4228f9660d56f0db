// What an operation of a script came to, in the fields of a `ret` record.

import { errnoName } from '../../abi/errno.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { TraceRecord } from '../record.ts';
import { hex } from '../record.ts';
import type { Process, World } from '../world.ts';

/** Fields of the ret record: ret, errno, signal, addr, code, left, last, vec, exited... */
export type Outcome = Readonly<Record<string, unknown>>;

/** Arguments of a call record. */
export class Args {
  readonly #args: Readonly<Record<string, unknown>>;

  constructor(call: TraceRecord) {
    this.#args = (call['args'] ?? {}) as Readonly<Record<string, unknown>>;
  }

  /** A word for the system-call edge: a number, or a hex string kept whole. */
  word(name: string): number | string {
    const value = this.#args[name];
    return typeof value === 'number' || typeof value === 'string' ? value : 0;
  }

  /** A number. Hex strings above 2^53 are rounded. */
  num(name: string): number {
    const value = this.#args[name];
    return typeof value === 'number' ? value : Number.parseInt(String(value ?? '0'), 16);
  }

  text(name: string): string {
    return String(this.#args[name] ?? '');
  }

  has(name: string): boolean {
    return this.#args[name] !== undefined;
  }

  list(name: string): readonly string[] {
    const value = this.#args[name];
    return Array.isArray(value) ? (value as string[]) : [];
  }

  /** "A|B" by a table of names; numbers and hex strings are taken as they are. */
  flags(name: string, table: ReadonlyMap<string, number>): number {
    const text = this.text(name);
    let bits = 0;
    for (const word of text.split('|')) {
      if (word === '') continue;
      const bit = table.get(word) ?? Number(word);
      if (Number.isNaN(bit)) throw new Error(`conformance: ${name}: unknown constant ${word}`);
      bits += bit;
    }
    return bits;
  }
}

/** An operation. `p` made the call. */
export type Op = (world: World, p: Process, args: Args, call: TraceRecord) => KernelPath<Outcome>;

/** The result of a system call that gives a small number. */
export function valueOutcome(result: number): Outcome {
  return result < 0 ? errorOutcome(result) : { ret: result };
}

/** The result of a system call that gives an address. */
export function addressOutcome(result: number): Outcome {
  return result < 0 ? errorOutcome(result) : { ret: hex(result) };
}

export function errorOutcome(result: number): Outcome {
  return { ret: -1, errno: errnoName(-result) };
}
