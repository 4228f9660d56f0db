/**
 * Reads the arguments of one call by position. The first argument that cannot be read is remembered in `reason`; readers
 * then go on with zeros, so that a decoder is straight code and asks once at its end.
 */

import { type Word64, ZERO64 } from '../word64.ts';
import type { ConstantTable } from './constants.ts';
import type { CallRecord } from './record.ts';
import {
  AT_FDCWD,
  type FdRef,
  parseFd,
  parseFlags,
  parseText,
  parseWord,
  type TextArg,
  unknownFlag,
} from './values.ts';

const NO_FD: FdRef = { fd: -1, path: null, isDeleted: false };
const NO_TEXT: TextArg = { text: null, isCut: false, addr: ZERO64 };
export const CWD: FdRef = { fd: AT_FDCWD, path: null, isDeleted: false };

export class ArgReader {
  readonly call: CallRecord;
  readonly args: readonly string[];
  reason: string | null = null;

  constructor(call: CallRecord) {
    this.call = call;
    this.args = call.args ?? [];
  }

  get count(): number {
    return this.args.length;
  }

  /** True if the call returned and did not fail. */
  get isOk(): boolean {
    return this.call.end === 'returned' && this.call.errno === null;
  }

  fail(index: number, why: string): void {
    this.reason ??= `argument ${index + 1}: ${why}`;
  }

  raw(index: number): string {
    const text = this.args[index];
    if (text === undefined) this.fail(index, 'missing');
    return text ?? '0';
  }

  word(index: number): Word64 {
    const text = this.raw(index);
    const word = parseWord(text);
    if (word === null) this.fail(index, `'${text.slice(0, 60)}' is not a number`);
    return word ?? ZERO64;
  }

  /** A number if there is one, else null: out parameters, pointers that strace decoded. */
  wordOrNull(index: number): Word64 | null {
    const text = this.args[index];
    return text === undefined ? null : parseWord(text);
  }

  /** An int: the low half, signed. */
  int(index: number): number {
    return this.word(index).lo | 0;
  }

  /** A pid: `12587`, `-1`, `12587<comm>` with -Y. */
  pid(index: number): number {
    const text = this.raw(index);
    const word = parseWord(/^-?\d+(?=<)/.exec(text)?.[0] ?? text);
    if (word === null) this.fail(index, `'${text.slice(0, 60)}' is not a pid`);
    return word === null ? 0 : word.lo | 0;
  }

  flags(index: number, table: ConstantTable): Word64 {
    return this.flagsOf(index, this.raw(index), table);
  }

  /** Flags of a named argument (`flags=...`) or field; `index` is for the message. */
  flagsOf(index: number, text: string, table: ConstantTable): Word64 {
    const word = parseFlags(text, table);
    if (word === null) this.fail(index, `unknown constant '${unknownFlag(text, table).slice(0, 60)}'`);
    return word ?? ZERO64;
  }

  fd(index: number): FdRef {
    const text = this.raw(index);
    const fd = parseFd(text);
    if (fd === null) this.fail(index, `'${text.slice(0, 60)}' is not a descriptor`);
    return fd ?? NO_FD;
  }

  text(index: number): TextArg {
    const text = this.raw(index);
    const arg = parseText(text);
    if (arg === null) this.fail(index, `'${text.slice(0, 60)}' is neither a string nor a pointer`);
    return arg ?? NO_TEXT;
  }

  /** Value of the argument printed as `name=...`; null if there is none. */
  named(name: string): string | null {
    const start = `${name}=`;
    for (const arg of this.args) if (arg.startsWith(start)) return arg.slice(start.length);
    return null;
  }
}
