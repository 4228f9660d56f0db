/** The text behind `) = `: value, errno, restart code, what -y and decoders add, duration of -T. */

import { negate64, parseDigits, parseHexDigits, type Word64 } from '../word64.ts';
import { $scan, scanItem, skipAngle } from './scan.ts';

/** Result of `scanResult`, module level so that a call allocates nothing for it. */
export const $result = {
  end: 'returned' as 'returned' | 'noResult' | 'restart',
  ret: null as Word64 | null,
  isHex: false,
  errno: null as string | null,
  restart: null as string | null,
  extra: '',
  duration: null as string | null,
};

const VALUE = /0x[0-9a-f]+|-?\d+/y;
const ERRNO = / (?:(E[A-Z0-9]+) \([^()]*(?:\([^()]*\)[^()]*)?\)|\((errno \d+)\))/y;
const RESTART = / (ERESTART[A-Z_]*|E[A-Z0-9]+)(?: \([^()]*\))?/y;
const DURATION = / <(\d+\.\d+|unavailable)>/y;

function matchAt(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

function parseValue(text: string): Word64 | null {
  if (text.startsWith('0x')) return parseHexDigits(text, 2);
  if (text.startsWith('-')) {
    const word = parseDigits(text, 10, 1);
    return word === null ? null : negate64(word);
  }
  return parseDigits(text, 10);
}

/** Index after `</path>`, `(deleted)` and one ` (decoded)`, as far as they are there; -1 if one does not end. */
function skipExtra(text: string, at: number): number {
  if (text[at] === '<') {
    at = skipAngle(text, at);
    if (at < 0) return -1;
    if (text.startsWith('(deleted)', at)) at += 9;
    else if (text.startsWith('<', at)) {
      // a device's number pair: 3</dev/null<char 1:3>>
      at = skipAngle(text, at);
    }
  }
  if (at >= 0 && text.startsWith(' (', at)) {
    scanItem(text, at + 2);
    while ($scan.what === 'comma') scanItem(text, $scan.end + 1);
    at = $scan.what === 'close' ? $scan.end + 1 : -1;
  }
  return at;
}

/** Parses what stands after the `= `. Returns false if it is no result, or if text is left over. */
export function scanResult(text: string, at: number): boolean {
  $result.end = 'returned';
  $result.ret = null;
  $result.isHex = false;
  $result.errno = null;
  $result.restart = null;
  $result.extra = '';
  $result.duration = null;
  let end: number;
  if (text[at] === '?') {
    end = at + 1;
    $result.end = 'noResult';
    const restart = matchAt(RESTART, text, end);
    if (restart !== null) {
      $result.end = 'restart';
      $result.restart = restart[1]!;
      end += restart[0].length;
    }
  } else {
    const value = matchAt(VALUE, text, at);
    if (value === null) return false;
    $result.ret = parseValue(value[0]);
    if ($result.ret === null) return false;
    $result.isHex = value[0].startsWith('0x');
    end = at + value[0].length;
    const errno = value[0] === '-1' ? matchAt(ERRNO, text, end) : null;
    if (errno !== null) {
      $result.errno = errno[1] ?? errno[2]!;
      end += errno[0].length;
    } else if (end < text.length) {
      const after = skipExtra(text, end);
      if (after < 0) return false;
      $result.extra = text.slice(end, after).trimStart();
      end = after;
    }
  }
  const duration = end < text.length ? matchAt(DURATION, text, end) : null;
  if (duration !== null) {
    $result.duration = duration[1]!;
    end += duration[0].length;
  }
  return end === text.length || text.slice(end).trim() === '';
}
