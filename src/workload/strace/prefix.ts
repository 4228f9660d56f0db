/** The prefix of a strace line: pid, comm, time, instruction pointer, in all the forms that options give it. */

import { skipAngle } from './scan.ts';

/** Linux never gives out a pid above this (PID_MAX_LIMIT); a bare number beyond it is a time. */
const PID_MAX = 4_194_304;

/** Result of `scanPrefix`, module level so that a line allocates nothing for it. */
export const $prefix = {
  /** -1: no pid printed. */
  tid: -1,
  comm: null as string | null,
  time: null as string | null,
  bodyAt: 0,
};

const SPACE = 0x20;
const TAB = 0x09;

function isDigit(c: number): boolean {
  return c >= 0x30 && c <= 0x39;
}

function skipBlanks(text: string, at: number): number {
  while (text.charCodeAt(at) === SPACE || text.charCodeAt(at) === TAB) at++;
  return at;
}

function skipDigits(text: string, at: number): number {
  while (isDigit(text.charCodeAt(at))) at++;
  return at;
}

/** `N` or `N<comm>` at `at`, followed by `stop`; fills tid and comm and returns the index after the stop character, else -1. */
function scanPid(text: string, at: number, stop: number): number {
  const end = skipDigits(text, at);
  if (end === at || end - at > 10) return -1;
  let after = end;
  let comm: string | null = null;
  if (text[end] === '<') {
    after = skipAngle(text, end);
    if (after < 0) return -1;
    comm = text.slice(end + 1, after - 1);
  }
  if (text.charCodeAt(after) !== stop) return -1;
  const tid = Number(text.slice(at, end));
  if (tid > PID_MAX) return -1;
  $prefix.tid = tid;
  $prefix.comm = comm;
  return after + 1;
}

// HH:MM:SS[.f], S.f (epoch or -r), a bare epoch second, each may be followed by -r's `(+     0.000027)`
const TIME = /(?:\d\d:\d\d:\d\d(?:\.\d{1,9})?|\d+\.\d{3,9}|\d{9,11})(?: \(\+\s*\d+\.\d+\))?(?= )/y;
// -i, then -n: `[00007f29c3c7e057] [   9] `
const POINTER = /\[(?:[0-9a-f]{16}|\?{16}|[0-9a-f]{8}|\?{8})\] /y;
const NUMBER = /\[ *(?:\d+|0x[0-9a-f]+|\?+)\] /y;

function scanPattern(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}

/** Fills `$prefix` for a line. Never fails: what is no prefix is body. */
export function scanPrefix(text: string): void {
  $prefix.tid = -1;
  $prefix.comm = null;
  $prefix.time = null;
  let at = 0;
  if (text.startsWith('[pid ')) {
    const after = scanPid(text, skipBlanks(text, 5), 0x5d);
    if (after > 0) at = skipBlanks(text, after);
  } else if (isDigit(text.charCodeAt(0))) {
    const after = scanPid(text, 0, SPACE);
    if (after > 0) at = skipBlanks(text, after);
  }
  // The commonest line has its body here.
  let c = text.charCodeAt(at);
  if (c === SPACE || isDigit(c)) {
    const from = skipBlanks(text, at);
    const end = scanPattern(TIME, text, from);
    if (end > from) {
      $prefix.time = text.slice(from, end);
      at = skipBlanks(text, end);
      // -r together with -t prints two times
      const second = scanPattern(TIME, text, at);
      if (second > at) {
        $prefix.time = text.slice(from, second);
        at = skipBlanks(text, second);
      }
    }
    c = text.charCodeAt(at);
  }
  if (c === 0x5b) {
    at = scanPattern(POINTER, text, at);
    at = scanPattern(NUMBER, text, at);
  }
  $prefix.bodyAt = at;
}

/** A printed time in whole seconds and nanoseconds (of the day for HH:MM:SS); null if the text is none. */
export function parseTime(text: string): { readonly seconds: number; readonly nanoseconds: number } | null {
  const match = /^(?:(\d\d):(\d\d):)?(\d{1,11})(?:\.(\d{1,9}))?/.exec(text);
  if (match === null) return null;
  const seconds = Number(match[1] ?? 0) * 3600 + Number(match[2] ?? 0) * 60 + Number(match[3]);
  return { seconds, nanoseconds: Number((match[4] ?? '').padEnd(9, '0')) };
}
