import { describe, expect, test } from 'vitest';
import {
  add64,
  formatHex64,
  negate64,
  or64,
  parseDigits,
  parseHexDigits,
  shiftLeft64,
  signed64,
  type Word64,
  word64,
  word64FromNumber,
} from './word64.ts';

const seed = Number(process.env['SEED'] ?? 1);

/** Small seeded generator: xorshift32. */
function makeRandom(state: number): () => number {
  state = state | 0 || 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state >>> 0;
  };
}

const MASK = (1n << 64n) - 1n;
const big = (w: Word64): bigint => (BigInt(w.hi) << 32n) | BigInt(w.lo);

describe(`word64 against BigInt, SEED=${seed}`, () => {
  const random = makeRandom(seed);
  const edges = [
    0n,
    1n,
    0xffff_ffffn,
    0x1_0000_0000n,
    1n << 53n,
    (1n << 53n) + 1n,
    (1n << 53n) - 1n,
    1n << 63n,
    MASK - 4095n,
    MASK,
  ];
  const values = [...edges];
  for (let i = 0; i < 5000; i++) values.push(((BigInt(random()) << 32n) | BigInt(random())) >> BigInt(random() % 64));
  const words = values.map((v) => word64(Number(v >> 32n), Number(v & 0xffff_ffffn)));

  test('num is the value up to 2^53 and NaN beyond', () => {
    words.forEach((w, i) => {
      if (values[i]! <= 1n << 53n) expect(BigInt(w.num)).toBe(values[i]);
      else expect(w.num).toBeNaN();
    });
  });

  test('arithmetic wraps modulo 2^64', () => {
    for (let i = 0; i < words.length; i++) {
      const j = (i * 7 + 3) % words.length;
      expect(big(add64(words[i]!, words[j]!))).toBe((values[i]! + values[j]!) & MASK);
      expect(big(or64(words[i]!, words[j]!))).toBe(values[i]! | values[j]!);
      expect(big(negate64(words[i]!))).toBe(-values[i]! & MASK);
      const bits = i % 70;
      expect(big(shiftLeft64(words[i]!, bits))).toBe((values[i]! << BigInt(bits)) & MASK);
    }
  });

  test('text and back is the same value', () => {
    words.forEach((w, i) => {
      expect(formatHex64(w)).toBe(`0x${values[i]!.toString(16)}`);
      expect(parseHexDigits(values[i]!.toString(16))).toEqual(w);
      expect(parseDigits(values[i]!.toString(10), 10)).toEqual(w);
      expect(parseDigits(values[i]!.toString(8), 8)).toEqual(w);
    });
  });

  test('beyond 64 bits, empty and wrong digits are refused', () => {
    expect(parseDigits('18446744073709551615', 10)).toEqual(word64(0xffff_ffff, 0xffff_ffff));
    expect(parseDigits('18446744073709551616', 10)).toBeNull();
    expect(parseDigits('9'.repeat(40), 10)).toBeNull();
    expect(parseHexDigits('1'.repeat(17))).toBeNull();
    expect(parseHexDigits(`00${'f'.repeat(16)}`)).toEqual(word64(0xffff_ffff, 0xffff_ffff));
    for (const text of ['', 'g', '1g', ' 1', '-1']) expect(parseHexDigits(text)).toBeNull();
    for (const text of ['', 'a', '8']) expect(parseDigits(text, 8)).toBeNull();
  });

  test('signed values', () => {
    expect(signed64(word64FromNumber(-1))).toBe(-1);
    expect(signed64(word64FromNumber(-4096))).toBe(-4096);
    expect(signed64(word64FromNumber(4096))).toBe(4096);
  });
});
