// Option values: each parser throws InputError naming the option, what it got and what it expected.

import { InputError } from '../base/assert.ts';

/** An integer in [low, high]. */
export function integerOption(name: string, low: number, high: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= low && value <= high))
      throw new InputError(`${name}: "${text}" is not an integer from ${low} to ${high}`);
    return value;
  };
}

/** A share such as "50%" or "0.5" -> 0.5; above 0, at most `most`. */
export function shareOption(name: string, most: number): (text: string) => number {
  return (text) => {
    const match = /^(\d+(?:\.\d+)?)\s*(%?)$/.exec(text);
    const value = match === null ? Number.NaN : Number(match[1]) / (match[2] === '%' ? 100 : 1);
    if (!(value > 0 && value <= most))
      throw new InputError(`${name}: "${text}" is not a share above 0 and at most ${most * 100} %`);
    return value;
  };
}

/** One of a list of words. */
export function wordOption<T extends string>(name: string, words: readonly T[]): (text: string) => T {
  return (text) => {
    const word = words.find((w) => w === text);
    if (word === undefined) throw new InputError(`${name}: "${text}" is not one of ${words.join(', ')}`);
    return word;
  };
}

/** A comma-separated list of words. */
export function wordsOption<T extends string>(name: string, words: readonly T[]): (text: string) => T[] {
  const one = wordOption(name, words);
  return (text) => text.split(',').map((w) => one(w.trim()));
}
