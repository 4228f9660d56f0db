/** One raw argument of a strace line to a value: numbers, flag sets, descriptors, strings, structs. Null = cannot be read. */

import {
  negate64,
  or64,
  parseDigits,
  parseHexDigits,
  shiftLeft64,
  type Word64,
  word64,
  word64FromNumber,
  ZERO64,
} from '../word64.ts';
import { type ConstantTable, SHIFTS } from './constants.ts';
import { skipAngle, skipString, splitList } from './scan.ts';

export interface FdRef {
  /** Descriptor number; -1 for every spelling of it, AT_FDCWD is -100. */
  readonly fd: number;
  /** Path that -y printed, unescaped; null without -y. */
  readonly path: string | null;
  readonly isDeleted: boolean;
}

/** A string argument, or the pointer that strace printed because it could not read it. */
export interface TextArg {
  /** Bytes as latin1; null if a pointer was printed. */
  readonly text: string | null;
  /** True if strace left out the end (`...`). */
  readonly isCut: boolean;
  /** Pointer value; null if a string was printed. */
  readonly addr: Word64 | null;
}

export interface IoVec {
  /** Null if the bytes were printed instead of the pointer. */
  readonly base: Word64 | null;
  readonly length: Word64;
}

export const AT_FDCWD = -100;
const ALL_ONES = word64(0xffff_ffff, 0xffff_ffff);
const EMPTY: ConstantTable = new Map();

function stripComment(text: string): string {
  const at = text.indexOf(' /*');
  return at >= 0 && text.endsWith('*/') ? text.slice(0, at) : text;
}

/** One number without operators: NULL, decimal, -decimal, 0x hex, 0 octal. */
export function parseNumber(text: string): Word64 | null {
  if (text === '0' || text === 'NULL') return ZERO64;
  const c = text.charCodeAt(0);
  if (c === 0x30) return text[1] === 'x' ? parseHexDigits(text, 2) : parseDigits(text, 8, 1);
  if (c === 0x2d) {
    const word = parseDigits(text, 10, 1);
    return word === null ? null : negate64(word);
  }
  return parseDigits(text, 10);
}

/** A number or a product (`8192*1024` of limits), `RLIM_INFINITY`; comments after it are dropped. */
export function parseWord(text: string): Word64 | null {
  text = stripComment(text);
  if (text === 'RLIM64_INFINITY' || text === 'RLIM_INFINITY') return ALL_ONES;
  const star = text.indexOf('*');
  if (star < 0) return parseNumber(text);
  const a = parseNumber(text.slice(0, star));
  const b = parseNumber(text.slice(star + 1));
  if (a === null || b === null) return null;
  const product = BigInt.asUintN(64, toBigInt(a) * toBigInt(b));
  return word64(Number(product >> 32n), Number(product & 0xffff_ffffn));
}

function toBigInt(word: Word64): bigint {
  return (BigInt(word.hi) << 32n) | BigInt(word.lo);
}

/** A set of flags: names of the table, numbers and shifts, joined by `|`. Names outside the table give null. */
export function parseFlags(text: string, table: ConstantTable): Word64 | null {
  text = stripComment(text);
  const single = table.get(text);
  if (single !== undefined) return word64FromNumber(single);
  let all = ZERO64;
  for (let from = 0; from <= text.length; ) {
    let to = text.indexOf('|', from);
    if (to < 0) to = text.length;
    const part = parseFlag(stripComment(text.slice(from, to).trim()), table);
    if (part === null) return null;
    all = or64(all, part);
    from = to + 1;
  }
  return all;
}

function parseFlag(text: string, table: ConstantTable): Word64 | null {
  const value = table.get(text);
  if (value !== undefined) return word64FromNumber(value);
  const shift = text.indexOf('<<');
  if (shift < 0) return parseNumber(text);
  const left = parseNumber(text.slice(0, shift));
  const name = text.slice(shift + 2);
  const count = SHIFTS.get(name) ?? parseNumber(name)?.num;
  if (left === null || count === undefined || Number.isNaN(count)) return null;
  return shiftLeft64(left, count);
}

/** The first name in a flag text that the table does not have, for the message. */
export function unknownFlag(text: string, table: ConstantTable): string {
  for (const part of stripComment(text).split('|'))
    if (parseFlag(stripComment(part.trim()), table) === null) return part.trim();
  return text;
}

const SIMPLE_ESCAPES: Readonly<Record<string, string>> = {
  n: '\n',
  t: '\t',
  r: '\r',
  v: '\v',
  f: '\f',
  a: '\x07',
  b: '\b',
  '"': '"',
  '\\': '\\',
};

/** Undoes strace's C escapes: `\n`, `\"`, octal of one to three digits, `\xhh`. */
export function unescapeText(text: string): string {
  if (!text.includes('\\')) return text;
  return text.replace(
    /\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|([\s\S]))/g,
    (_, octal?: string, hex?: string, other?: string) => {
      if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8) & 0xff);
      if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
      return SIMPLE_ESCAPES[other!] ?? other!;
    },
  );
}

/** `3</path>(deleted)`, `AT_FDCWD</dir>`, `-1`, `4294967295`, raw hex. */
export function parseFd(text: string): FdRef | null {
  const angle = text.indexOf('<');
  const number = angle < 0 ? stripComment(text) : text.slice(0, angle);
  let fd: number;
  if (number === 'AT_FDCWD') fd = AT_FDCWD;
  else {
    const word = parseNumber(number);
    // an int: the upper half is sign or rubbish
    if (word === null) return null;
    fd = word.lo | 0;
  }
  if (angle < 0) return { fd, path: null, isDeleted: false };
  const end = skipAngle(text, angle);
  if (end < 0) return null;
  return { fd, path: unescapeText(text.slice(angle + 1, end - 1)), isDeleted: text.startsWith('(deleted)', end) };
}

/** `"..."`, `"..."...`, or a pointer. */
export function parseText(text: string): TextArg | null {
  if (text[0] === '@' && text[1] === '"') text = text.slice(1);
  if (text[0] !== '"') {
    const addr = parseWord(text);
    return addr === null ? null : { text: null, isCut: false, addr };
  }
  const end = skipString(text, 0);
  if (end < 0) return null;
  return { text: unescapeText(text.slice(1, end - 1)), isCut: text.startsWith('...', end), addr: null };
}

/** Fields of `{a=1, b={c=2} => d=3}` by name, raw; of two equal names (in => out) the first stays. Null if it is no struct. */
export function parseStruct(text: string): ReadonlyMap<string, string> | null {
  const open = text.indexOf('{');
  if (open !== 0) return null;
  const items = splitList(text);
  if (items === null) return null;
  const fields = new Map<string, string>();
  for (const item of items) {
    for (const half of item.split(' => ')) {
      const equals = half.indexOf('=');
      if (equals <= 0) continue;
      const name = half.slice(0, equals);
      if (!fields.has(name)) fields.set(name, half.slice(equals + 1));
    }
  }
  return fields;
}

/** `[{iov_base=..., iov_len=N}, ...]`; null if a pointer or something else was printed. */
export function parseIoVecs(text: string): IoVec[] | null {
  if (text[0] !== '[') return null;
  const items = splitList(text);
  if (items === null) return null;
  const out: IoVec[] = [];
  for (const item of items) {
    const fields = parseStruct(item);
    const length = fields === null ? null : parseWord(fields.get('iov_len') ?? '');
    if (length === null) return null;
    out.push({ base: parseWord(fields!.get('iov_base') ?? ''), length });
  }
  return out;
}

/** Numbers of `[1, 0x2, [3]...]`; null if one is no number. */
export function parseWords(text: string): Word64[] | null {
  const items = splitList(text);
  if (items === null) return null;
  const out: Word64[] = [];
  for (const item of items) {
    const word = parseFlags(item, EMPTY);
    if (word === null) return null;
    out.push(word);
  }
  return out;
}
