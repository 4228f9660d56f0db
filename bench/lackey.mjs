// @ts-check
/**
 * Memory references of a valgrind lackey recording (`--trace-mem=yes`) as flat arrays, and as the binary file that
 * bench/native/tlb.c reads: one little-endian 64-bit word for each reference, virtual address << 2 | kind. Addresses stay
 * below 2^47, so a word is not a safe integer in general: the halves are written apart.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

export const KIND_INSTRUCTION = 0;
export const KIND_LOAD = 1;
export const KIND_STORE = 2;
export const KIND_MODIFY = 3;

/**
 * @typedef {object} References
 * @property {number} count
 * @property {Float64Array} va virtual address, bytes
 * @property {Uint8Array} kind KIND_*; bit 1 says that it writes
 * @property {Uint16Array} size bytes
 */

const NEWLINE = 10;
const COMMA = 44;

/** @param {number} c a character code @returns {number} its hexadecimal value, or -1 */
function hexDigit(c) {
  if (c >= 48 && c <= 57) return c - 48;
  if (c >= 97 && c <= 102) return c - 87;
  return -1;
}

/** @param {number} first @param {number} second the line's first two characters @returns {number} KIND_*, or -1 */
function kindOf(first, second) {
  if (first === 73 /* I */) return KIND_INSTRUCTION;
  if (first !== 32) return -1;
  return second === 76 /* L */
    ? KIND_LOAD
    : second === 83 /* S */
      ? KIND_STORE
      : second === 77 /* M */
        ? KIND_MODIFY
        : -1;
}

/**
 * Lines that are no reference (valgrind's own) are left out.
 * @param {Uint8Array} text
 * @returns {References}
 */
export function parseLackey(text) {
  const most = Math.floor(text.length / 7) + 1;
  const va = new Float64Array(most);
  const kind = new Uint8Array(most);
  const size = new Uint16Array(most);
  let count = 0;
  let at = 0;
  while (at < text.length) {
    const k = kindOf(text[at] ?? 0, text[at + 1] ?? 0);
    let i = at + 3;
    let address = 0;
    let bytes = 0;
    if (k >= 0) {
      for (let d = hexDigit(text[i] ?? 0); d >= 0; d = hexDigit(text[++i] ?? 0)) address = address * 16 + d;
      if (text[i] === COMMA) {
        for (i++; i < text.length && text[i] !== NEWLINE; i++) bytes = bytes * 10 + (text[i] ?? 48) - 48;
        va[count] = address;
        kind[count] = k;
        size[count++] = bytes;
      }
    }
    const end = text.indexOf(NEWLINE, i);
    at = end < 0 ? text.length : end + 1;
  }
  return { count, va: va.slice(0, count), kind: kind.slice(0, count), size: size.slice(0, count) };
}

/** @param {string} path of a .lackey or .lackey.gz file @returns {References} */
export function readLackey(path) {
  const bytes = readFileSync(path);
  return parseLackey(path.endsWith('.gz') ? gunzipSync(bytes) : bytes);
}

/** Writes what bench/native/tlb.c reads. @param {References} refs @param {string} out */
export function writeReferences(refs, out) {
  const words = new Uint32Array(2 * refs.count);
  for (let i = 0; i < refs.count; i++) {
    const va = refs.va[i] ?? 0;
    words[2 * i] = ((va % 2 ** 30) * 4 + (refs.kind[i] ?? 0)) >>> 0;
    words[2 * i + 1] = Math.floor(va / 2 ** 30);
  }
  writeFileSync(out, new Uint8Array(words.buffer));
}
