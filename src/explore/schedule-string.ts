// A counterexample as text: short enough for a URL, all of its characters unreserved there (RFC 3986: letters, digits, - . _ ~).
//
//   1~munmap~no-callbacks~linux-6.1~~~k3Qz~h9i4a2b~~Vb2x
//   | operation driver design variant bug | threads | checksum
//   version                            digest      answers
//
// Threads: a letter for each run of steps of one thread (a is thread 0 ... z 25, A 26 ... E 30), then how many when more than
// one; X ... Y n repeats what stands between X and Y. Answers other than the first alternative: entries joined by dots, each
// the steps since the entry before, then -answer for every question up to the last that counts. Names: letters,
// digits, - and . stand for themselves, _ doubled for itself, any other byte of UTF-8 as _ and two hexadecimal digits.
//
// Trailing first answers of a step are not written: a step that asks more than its list holds gets the first alternative.

import { InputError } from '../base/assert.ts';
import { type Choice, type Schedule, THREADS_MAX } from './world.ts';

export interface Counterexample {
  /** Name of the operation or scenario. */
  readonly operation: string;
  readonly driver: string;
  /** Name of the notifier design. */
  readonly design: string;
  /** Names bounds or configuration where they are not the usual ones; '' otherwise. */
  readonly variant: string;
  /** Id of the museum entry whose livepatches are in, or ''. */
  readonly bug: string;
  /** Of the scenario's contents (scenarioDigest): tells a scenario that changed from the one that was recorded. */
  readonly digest: string;
  readonly schedule: Schedule;
}

/** A text that is no counterexample, or one for something else. */
export class ScheduleStringError extends InputError {}

const VERSION = '1';
/** Steps that a text may stand for: it comes from outside. */
const STEPS_MAX = 1_000_000;
const TEXT_MAX = 1_000_000;
const LETTERS = 'abcdefghijklmnopqrstuvwxyzABCDE';
const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';
const FIELDS = ['operation', 'driver', 'design', 'variant', 'bug'] as const;

/** The text of a counterexample. Throws InputError for a schedule that no World can have. */
export function formatCounterexample(x: Counterexample): string {
  const names = FIELDS.map((field) => formatName(x[field]));
  if (!/^[A-Za-z0-9_-]{4}$/.test(x.digest))
    throw new InputError(`schedule: digest "${x.digest}" is not of scenarioDigest`);
  const body = [VERSION, ...names, x.digest, formatThreads(x.schedule), formatAnswers(x.schedule)].join('~');
  return `${body}~${digest24(body)}`;
}

/** Reads what formatCounterexample wrote. Throws ScheduleStringError: what was expected, and where. */
export function parseCounterexample(text: string): Counterexample {
  const refuse = (why: string): never => {
    throw new ScheduleStringError(`schedule string: ${why}`);
  };
  if (text.length > TEXT_MAX) refuse(`${text.length} characters are more than ${TEXT_MAX}`);
  const fields = text.trim().split('~');
  if (!/^[0-9]+$/.test(fields[0]!)) refuse('it begins with its version, "1~"');
  if (fields[0] !== VERSION)
    refuse(`version ${fields[0]!.slice(0, 20)} is not known here (this is version ${VERSION})`);
  if (fields.length !== 10) refuse(`10 parts joined by "~" are expected, here are ${fields.length}: is the text cut?`);
  const sum = fields.pop()!;
  if (sum !== digest24(fields.join('~')))
    refuse('the checksum at its end does not fit: a character was lost or changed');
  const [operation, driver, design, variant, bug] = FIELDS.map((field, i) => parseName(fields[i + 1]!, field, refuse));
  const digest = fields[6]!;
  if (!/^[A-Za-z0-9_-]{4}$/.test(digest)) refuse('the digest is four characters');
  const threads = parseThreads(fields[7]!, refuse);
  const answers = parseAnswers(fields[8]!, threads.length, refuse);
  const schedule = threads.map((thread, i): Choice => ({ thread, answers: answers.get(i) ?? [] }));
  return {
    operation: operation!,
    driver: driver!,
    design: design!,
    variant: variant!,
    bug: bug!,
    digest,
    schedule,
  };
}

/** Digest of what a schedule is for; `contents`: everything whose change makes old schedules meaningless (the scenario as JSON). */
export function scenarioDigest(operation: string, driver: string, design: string, contents = ''): string {
  return digest24([operation, driver, design, contents].join('\0'));
}

/** Whom a counterexample is for. */
export type Pairing = Pick<Counterexample, 'operation' | 'driver' | 'design' | 'digest'>;

/** Is the counterexample for this operation, driver and design, as they are now? Throws ScheduleStringError where not. */
export function checkPairing(x: Counterexample, here: Pairing): void {
  for (const field of ['operation', 'driver', 'design'] as const) {
    if (x[field] !== here[field])
      throw new ScheduleStringError(`schedule string: it is for ${field} "${x[field]}", not for "${here[field]}"`);
  }
  if (x.digest !== here.digest) {
    const what = `${x.operation} with ${x.driver}`;
    throw new ScheduleStringError(
      `schedule string: ${what} has changed since (digest ${x.digest}, now ${here.digest})`,
    );
  }
}

/** Answers without the first alternatives at the end of each step: what a text keeps. */
export function trimSchedule(schedule: Schedule): Schedule {
  return schedule.map(({ thread, answers }) => ({ thread, answers: answers.slice(0, answersThatCount(answers)) }));
}

type Refuse = (why: string) => never;

function formatName(name: string): string {
  let out = '';
  for (const byte of new TextEncoder().encode(name)) {
    const c = String.fromCharCode(byte);
    if (c === '_') out += '__';
    else if (/[A-Za-z0-9.-]/.test(c)) out += c;
    else out += `_${byte.toString(16).padStart(2, '0')}`;
  }
  return out;
}

function parseName(text: string, field: string, refuse: Refuse): string {
  const bytes: number[] = [];
  const bad = (at: number): never => refuse(`the ${field} is not a name at its character ${at + 1}`);
  for (let i = 0; i < text.length; i++) {
    const c = text[i]!;
    if (/[A-Za-z0-9.-]/.test(c)) bytes.push(c.charCodeAt(0));
    else if (c !== '_') bad(i);
    else if (text[i + 1] === '_') {
      bytes.push(0x5f);
      i++;
    } else {
      const hex = text.slice(i + 1, i + 3);
      if (!/^[0-9a-f]{2}$/.test(hex)) bad(i);
      bytes.push(Number.parseInt(hex, 16));
      i += 2;
    }
  }
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(new Uint8Array(bytes));
  } catch {
    return refuse(`the ${field} is not UTF-8`);
  }
}

function formatThreads(schedule: Schedule): string {
  const runs: string[] = [];
  for (let i = 0; i < schedule.length; ) {
    const { thread } = schedule[i]!;
    const letter = LETTERS[thread];
    if (letter === undefined)
      throw new InputError(`schedule: step ${i + 1}: thread ${thread} is not below ${THREADS_MAX}`);
    let n = 1;
    while (i + n < schedule.length && schedule[i + n]!.thread === thread) n++;
    runs.push(n === 1 ? letter : `${letter}${n}`);
    i += n;
  }
  return foldRepeats(runs);
}

/** Longest part that is looked for when runs repeat. */
const PART_MAX = 40;

/** Joins the runs; a part that comes again and again is written once. */
function foldRepeats(runs: readonly string[]): string {
  let out = '';
  for (let i = 0; i < runs.length; ) {
    let part = 0;
    let times = 1;
    let saved = 0;
    for (let p = 1; p <= PART_MAX && i + 2 * p <= runs.length; p++) {
      let n = 1;
      while (isRepeated(runs, i, p, n)) n++;
      if (n === 1) continue;
      const text = runs.slice(i, i + p).join('').length;
      const gain = text * n - (text + 2 + String(n).length);
      if (gain > saved) [part, times, saved] = [p, n, gain];
    }
    if (part === 0) {
      out += runs[i++]!;
      continue;
    }
    out += `X${runs.slice(i, i + part).join('')}Y${times}`;
    i += part * times;
  }
  return out;
}

/** Do the p runs from `at` come again as part number n (0 is the first)? */
function isRepeated(runs: readonly string[], at: number, p: number, n: number): boolean {
  const from = at + n * p;
  if (from + p > runs.length) return false;
  for (let i = 0; i < p; i++) if (runs[at + i] !== runs[from + i]) return false;
  return true;
}

function parseThreads(text: string, refuse: Refuse): number[] {
  const threads: number[] = [];
  let open = -1;
  for (const [token] of text.matchAll(/[A-EXYa-z][0-9]*|[\s\S]/g)) {
    const n = token.length === 1 ? 1 : Number(token.slice(1));
    if (token.length > 1 && (n < 2 || token[1] === '0') && token[0] !== 'X') refuse(`"${token}" repeats nothing`);
    if (token === 'X' && open < 0) open = threads.length;
    else if (token[0] === 'Y' && open >= 0 && threads.length > open && n > 1) {
      const part = threads.slice(open);
      open = -1;
      if (threads.length + part.length * (n - 1) > STEPS_MAX) refuse(`more than ${STEPS_MAX} steps`);
      for (let i = 1; i < n; i++) for (const t of part) threads.push(t);
    } else {
      const thread = LETTERS.indexOf(token[0]!);
      if (thread < 0) refuse(`"${token.slice(0, 10)}" in the list of threads is not one`);
      if (threads.length + n > STEPS_MAX) refuse(`more than ${STEPS_MAX} steps`);
      for (let i = 0; i < n; i++) threads.push(thread);
    }
  }
  if (open >= 0) refuse('a repetition in the list of threads has no end');
  return threads;
}

function answersThatCount(answers: readonly number[]): number {
  let n = answers.length;
  while (n > 0 && answers[n - 1] === 0) n--;
  return n;
}

function formatAnswers(schedule: Schedule): string {
  const entries: string[] = [];
  let last = 0;
  schedule.forEach(({ answers }, i) => {
    const n = answersThatCount(answers);
    if (n === 0) return;
    const list = answers.slice(0, n);
    if (list.some((a) => !Number.isSafeInteger(a) || a < 0))
      throw new InputError(`schedule: step ${i + 1}: answers ${list}`);
    entries.push(`${i + 1 - last}-${list.join('-')}`);
    last = i + 1;
  });
  return entries.join('.');
}

function parseAnswers(text: string, steps: number, refuse: Refuse): Map<number, readonly number[]> {
  const found = new Map<number, readonly number[]>();
  if (text === '') return found;
  let at = 0;
  for (const entry of text.split('.')) {
    if (!/^[1-9][0-9]{0,6}(-(0|[1-9][0-9]{0,14}))*-[1-9][0-9]{0,14}$/.test(entry))
      refuse(`"${entry.slice(0, 20)}" in the list of answers is not an entry such as 12-0-1`);
    const [gap, ...answers] = entry.split('-').map(Number);
    at += gap!;
    if (at > steps) refuse(`an answer for step ${at}, but there are ${steps} steps`);
    found.set(at - 1, answers);
  }
  return found;
}

/** Four characters: 24 bits of FNV-1a over the UTF-16 units, mixed once more. */
function digest24(text: string): string {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    h = Math.imul(h ^ (text.charCodeAt(i) & 0xff), 0x01000193);
    h = Math.imul(h ^ (text.charCodeAt(i) >>> 8), 0x01000193);
  }
  h = Math.imul(h ^ (h >>> 15), 0x735a2d97);
  h ^= h >>> 13;
  let out = '';
  for (let shift = 18; shift >= 0; shift -= 6) out += ALPHABET[(h >>> shift) & 63]!;
  return out;
}
