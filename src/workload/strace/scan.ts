/**
 * The grammar inside a strace call: where an argument ends. Commas count at depth 0 only; `(`, `[` and `{` open a level;
 * quotes, C comments and `<...>` after a descriptor suspend the count.
 */

export const DEPTH_MAX = 64;

const TAB = 0x09;
const SPACE = 0x20;
const QUOTE = 0x22;
const OPEN_PAREN = 0x28;
const CLOSE_PAREN = 0x29;
const STAR = 0x2a;
const COMMA = 0x2c;
const MINUS = 0x2d;
const SLASH = 0x2f;
const LESS = 0x3c;
const GREATER = 0x3e;
const OPEN_BRACKET = 0x5b;
const BACKSLASH = 0x5c;
const CLOSE_BRACKET = 0x5d;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;

function isDigit(c: number): boolean {
  return c >= 0x30 && c <= 0x39;
}

function isWordChar(c: number): boolean {
  return isDigit(c) || (c >= 0x41 && c <= 0x5a) || (c >= 0x61 && c <= 0x7a) || c === 0x5f;
}

/** Index after the closing quote of the string that starts at `at`; -1 if it does not end. */
export function skipString(text: string, at: number): number {
  for (let i = at + 1; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === BACKSLASH) i++;
    else if (c === QUOTE) return i + 1;
  }
  return -1;
}

/** Index after the `>` that closes the `<` at `at`; -1 if none. A `->` inside `[ ]` (a socket's two ends) does not close. */
export function skipAngle(text: string, at: number): number {
  let isInBrackets = false;
  for (let i = at + 1; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === BACKSLASH) i++;
    else if (c === OPEN_BRACKET) isInBrackets = true;
    else if (c === CLOSE_BRACKET) isInBrackets = false;
    else if (c === GREATER && !(isInBrackets && text.charCodeAt(i - 1) === MINUS)) return i + 1;
  }
  return -1;
}

/** True if a `<` at `at` opens a path or a comm: after a descriptor, a pid or AT_FDCWD, and not a shift `1<<N`. */
function opensAngle(text: string, at: number, argStart: number): boolean {
  if (text.charCodeAt(at + 1) === LESS || text.charCodeAt(at - 1) === LESS) return false;
  if (at === argStart) return true; // restart_syscall(<... resuming interrupted read ...>)
  return isWordChar(text.charCodeAt(at - 1));
}

/** Where a scan stopped, and why; module-level result of `scanItem`, so that a scan allocates nothing. */
export const $scan = { end: 0, what: '' as 'comma' | 'close' | 'end' | 'tooDeep' | 'unbalanced' };

/**
 * Scans one item from `at`: up to a comma or a closing bracket at depth 0 (`close`), or to the end of the text. `end` is
 * the index of that character. `unbalanced` is a string, path or comment that does not end or a bracket of the wrong kind.
 */
export function scanItem(text: string, at: number): void {
  const closers: number[] = [];
  for (let i = at; i < text.length; i++) {
    const c = text.charCodeAt(i);
    let next = i + 1;
    switch (c) {
      case QUOTE:
        next = skipString(text, i);
        break;
      case LESS:
        if (opensAngle(text, i, at)) next = skipAngle(text, i);
        break;
      case SLASH:
        if (text.charCodeAt(i + 1) === STAR) {
          next = text.indexOf('*/', i + 2);
          if (next >= 0) next += 2;
        }
        break;
      case OPEN_PAREN:
        closers.push(CLOSE_PAREN);
        break;
      case OPEN_BRACKET:
        closers.push(CLOSE_BRACKET);
        break;
      case OPEN_BRACE:
        closers.push(CLOSE_BRACE);
        break;
      case CLOSE_PAREN:
      case CLOSE_BRACKET:
      case CLOSE_BRACE:
        if (closers.length === 0) {
          stop(i, 'close');
          return;
        }
        if (closers.pop() !== c) {
          stop(i, 'unbalanced');
          return;
        }
        break;
      case COMMA:
        if (closers.length === 0) {
          stop(i, 'comma');
          return;
        }
        break;
    }
    if (next < 0) {
      stop(text.length, 'unbalanced');
      return;
    }
    if (closers.length > DEPTH_MAX) {
      stop(i, 'tooDeep');
      return;
    }
    i = next - 1;
  }
  stop(text.length, closers.length > 0 ? 'unbalanced' : 'end');
}

function stop(end: number, what: typeof $scan.what): void {
  $scan.end = end;
  $scan.what = what;
}

function trimmed(text: string, from: number, to: number): string {
  while (from < to && isBlank(text.charCodeAt(from))) from++;
  while (to > from && isBlank(text.charCodeAt(to - 1))) to--;
  return text.slice(from, to);
}

function isBlank(c: number): boolean {
  return c === SPACE || c === TAB;
}

/**
 * Splits the arguments that start after the `(` at `open`. Returns them, with `$scan.end` at the closing `)`; null if there is
 * none, with the reason in `$scan.what`. An empty list is no arguments.
 */
export function splitArgs(text: string, open: number): string[] | null {
  const args: string[] = [];
  let from = open + 1;
  while (isBlank(text.charCodeAt(from))) from++;
  for (;;) {
    scanItem(text, from);
    const end = $scan.end;
    if ($scan.what === 'close' && text.charCodeAt(end) !== CLOSE_PAREN) $scan.what = 'unbalanced';
    if ($scan.what !== 'comma' && $scan.what !== 'close') return null;
    const arg = trimmed(text, from, end);
    if ($scan.what === 'close') {
      if (arg !== '' || args.length > 0) args.push(arg);
      return args;
    }
    args.push(arg);
    from = end + 1;
    while (isBlank(text.charCodeAt(from))) from++;
  }
}

/** As many whole arguments as an unfinished call shows; the last one may be cut. */
export function splitOpenArgs(text: string, open: number): string[] {
  const args: string[] = [];
  let from = open + 1;
  for (;;) {
    while (isBlank(text.charCodeAt(from))) from++;
    scanItem(text, from);
    const arg = trimmed(text, from, $scan.end);
    if (arg !== '' || $scan.what === 'comma') args.push(arg);
    if ($scan.what !== 'comma') return args;
    from = $scan.end + 1;
  }
}

/** Items of `{a=b, c=d}` or `[1, 2]`; null if the text is no such list. The `...` of a cut list is left out. */
export function splitList(text: string): string[] | null {
  const c = text.charCodeAt(0);
  if (c !== OPEN_BRACE && c !== OPEN_BRACKET) return null;
  const items: string[] = [];
  let from = 1;
  for (;;) {
    while (isBlank(text.charCodeAt(from))) from++;
    scanItem(text, from);
    const end = $scan.end;
    if ($scan.what !== 'comma' && $scan.what !== 'close') return null;
    const item = trimmed(text, from, end);
    if (item !== '' && item !== '...') items.push(item);
    if ($scan.what === 'close') return items;
    from = end + 1;
  }
}
