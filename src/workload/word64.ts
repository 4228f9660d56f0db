/**
 * A 64-bit value of the system-call edge, in two unsigned 32-bit halves. Addresses and lengths of a trace may be any
 * 64-bit pattern (2^64-4096 is a length that programs do pass), and a double would round them silently.
 */

export interface Word64 {
  /** Unsigned 32-bit halves. */
  readonly hi: number;
  readonly lo: number;
  /** The unsigned value if it is exact (at most 2^53), else NaN. */
  readonly num: number;
}

const TWO_32 = 0x1_0000_0000;
const EXACT_HI_MAX = 0x20_0000; // 2^53 = 2^21 * 2^32

export function word64(hi: number, lo: number): Word64 {
  hi = hi >>> 0;
  lo = lo >>> 0;
  const isExact = hi < EXACT_HI_MAX || (hi === EXACT_HI_MAX && lo === 0);
  return { hi, lo, num: isExact ? hi * TWO_32 + lo : Number.NaN };
}

/** From an integer of at most 2^53 in size; negative ones become two's complement. */
export function word64FromNumber(value: number): Word64 {
  if (value >= 0) return word64(Math.floor(value / TWO_32), value % TWO_32);
  return negate64(word64FromNumber(-value));
}

export function negate64(word: Word64): Word64 {
  const lo = (~word.lo + 1) >>> 0;
  return word64(lo === 0 ? ~word.hi + 1 : ~word.hi, lo);
}

export function or64(a: Word64, b: Word64): Word64 {
  return word64(a.hi | b.hi, a.lo | b.lo);
}

export function shiftLeft64(word: Word64, bits: number): Word64 {
  if (bits >= 64) return ZERO64;
  if (bits >= 32) return word64(word.lo << (bits - 32), 0);
  if (bits === 0) return word;
  return word64((word.hi << bits) | (word.lo >>> (32 - bits)), word.lo << bits);
}

/** The value as a signed number: exact for anything within 2^53 of zero, else NaN. */
export function signed64(word: Word64): number {
  if (word.hi < 0x8000_0000) return word.num;
  return -negate64(word).num;
}

/** `0x...`, exact for all 64 bits. */
export function formatHex64(word: Word64): string {
  return word.hi === 0
    ? `0x${word.lo.toString(16)}`
    : `0x${word.hi.toString(16)}${word.lo.toString(16).padStart(8, '0')}`;
}

export const ZERO64: Word64 = word64(0, 0);

/** Hex digits (no 0x) to a word; null if none, if not hex, or if beyond 64 bits. */
export function parseHexDigits(text: string, from = 0, to = text.length): Word64 | null {
  while (to - from > 16 && text.charCodeAt(from) === 0x30) from++;
  if (to <= from || to - from > 16) return null;
  let hi = 0;
  let lo = 0;
  for (let i = from; i < to; i++) {
    const c = text.charCodeAt(i);
    let digit = c - 0x30;
    if (digit < 0 || digit > 9) {
      digit = (c | 0x20) - 0x57;
      if (digit < 10 || digit > 15) return null;
    }
    hi = (hi << 4) | (lo >>> 28);
    lo = (lo << 4) | digit;
  }
  return word64(hi, lo);
}

/** Digits of a base up to ten to a word; null if none, a wrong digit, or beyond 64 bits. */
export function parseDigits(text: string, base: number, from = 0, to = text.length): Word64 | null {
  if (to <= from) return null;
  let hi = 0;
  let lo = 0;
  for (let i = from; i < to; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit >= base) return null;
    const low = lo * base + digit;
    hi = hi * base + Math.floor(low / TWO_32);
    lo = low % TWO_32;
    if (hi >= TWO_32) return null;
  }
  return word64(hi, lo);
}

/** Sum modulo 2^64. */
export function add64(a: Word64, b: Word64): Word64 {
  const lo = a.lo + b.lo;
  return word64(a.hi + b.hi + (lo >= TWO_32 ? 1 : 0), lo);
}
