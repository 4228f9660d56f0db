/** The one error that unusable input throws: which file, where in it, what is wrong and what was expected. */

import { InputError as AnyInputError } from '../base/assert.ts';

/** Line and byte offset count in the decompressed text: lines from 1, bytes from 0. */
export interface InputPlace {
  readonly line?: number;
  readonly byte?: number;
}

/** The error of an importer: an InputError that also knows the place as numbers. */
export class InputError extends AnyInputError {
  readonly path: string;
  readonly line: number | null;
  readonly byte: number | null;
  readonly what: string;
  readonly expected: string;

  constructor(path: string, place: InputPlace, what: string, expected: string) {
    const at = place.line !== undefined ? `:${place.line}` : place.byte !== undefined ? ` at byte ${place.byte}` : '';
    super(`${path}${at}: ${what}; expected ${expected}`);
    this.path = path;
    this.line = place.line ?? null;
    this.byte = place.byte ?? null;
    this.what = what;
    this.expected = expected;
  }
}

/** Printable, bounded form of a piece of input for a message: control and non-ASCII bytes as \xNN. */
export function quoteInput(text: string, lengthMax = 120): string {
  const cut = text.length > lengthMax ? text.slice(0, lengthMax) : text;
  let out = '';
  for (let i = 0; i < cut.length; i++) {
    const c = cut.charCodeAt(i);
    out += c >= 0x20 && c < 0x7f ? cut[i] : `\\x${c.toString(16).padStart(2, '0')}`;
  }
  return cut.length < text.length ? `${out}... (${text.length} bytes)` : out;
}
