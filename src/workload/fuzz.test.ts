/**
 * Mutations of real recordings. Laws: an importer throws nothing but InputError, ends, and counts every line of its input
 * exactly once. FUZZ_MUTANTS sets the number (default 3,000, split over the importers); SEED the start.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { detectFormat } from './detect-format.ts';
import { FaultParser } from './faults.ts';
import { ImportReport } from './import-report.ts';
import { findRecording } from './input.ts';
import { InputError } from './input-error.ts';
import { LackeyReader } from './lackey.ts';
import { encodeLatin1, LineReader } from './line-reader.ts';
import { formatMapsLine, MapsParser } from './maps.ts';
import { decodeCall } from './strace/decode.ts';
import { StraceParser } from './strace/parser.ts';

const seed = Number(process.env['SEED'] ?? 1);
const mutants = Number(process.env['FUZZ_MUTANTS'] ?? 3000);
const RECORDINGS = join(import.meta.dirname, '../../recordings');
const EXCERPT_LINES = 40;

let state = seed | 1;
function random(below: number): number {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return (state >>> 0) % below;
}

function load(name: string): string[] {
  const path = findRecording(join(RECORDINGS, name))!;
  const bytes = readFileSync(path);
  return (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).subarray(0, 4_000_000).toString('latin1').split('\n');
}

function excerpt(lines: readonly string[]): string[] {
  const from = random(Math.max(1, lines.length - EXCERPT_LINES));
  return lines.slice(from, from + EXCERPT_LINES);
}

const PIECES = [
  ' <unfinished ...>',
  ' resumed>',
  '<... mmap resumed>',
  'strace: Process 13 attached',
  '18446744073709551616',
  '0x1ffffffffffffffff',
  '-0',
  '-1',
  '99999999999999999999999999',
  '{',
  '}',
  '[',
  ']',
  '(',
  ')',
  '"',
  '\\',
  '<',
  '>',
  '/*',
  '*/',
  ', ',
  '|',
  '<<',
  '=>',
  ' = ',
  '?',
  '+++ exited with 0 +++',
  '--- SIGSEGV {',
  ' ---',
  '+++ superseded by execve in pid 9 +++',
  '\r',
  '\0',
  '\xff',
  '[pid 9] ',
  ' <detached ...>',
  '{'.repeat(70),
  '[[[[',
  '5<'.repeat(30),
  '1<<99999999999',
  '1<<-1',
  'NULL',
  '# task 1 after execve',
  'PERF_RECORD_LOST lost 9',
  '% time ',
];

/** Whole lines that excerpts seldom hold, for strace mostly; N stands for a tid of the excerpt. */
const LINES = [
  'N +++ superseded by execve in pid 9 +++',
  'N +++ killed by SIGKILL (core dumped) +++',
  'N <... execve resumed>) = 0',
  'N execve("/x", [], NULL <unfinished ...>',
  'N --- stopped by SIGSTOP ---',
  'strace: Process 13 attached',
  'strace: message',
  ' > lib.so(f+0x1) [0x2]',
  '[pid 9] munmap(0x1000, 4096) = 0',
  'getpid() = 9',
  'fork() = 9',
  'pause(strace: Process 9 detached',
  ' <detached ...>',
  'N syscall_0x1ce(0, 0, 0, 0, 0, 0) = 0',
  '',
  '\r',
  ' L 1000000000000,8',
  'SB 0401ab70',
  '==9== x',
  'x 1/1 1.0: PERF_RECORD_LOST lost 9',
  '# task 1 at exit, wait status 0x0',
  '% time     seconds  usecs/call',
];

function mutateLine(line: string): string {
  const at = random(line.length + 1);
  switch (random(6)) {
    case 0:
      return line.slice(0, at) + String.fromCharCode(random(256)) + line.slice(at + 1);
    case 1:
      return line.slice(0, at);
    case 2:
      return line.slice(at);
    case 3:
      return line.slice(0, at) + PIECES[random(PIECES.length)]! + line.slice(at);
    case 4:
      return line.slice(0, at) + PIECES[random(PIECES.length)]! + line.slice(at + random(8));
    default:
      return line.replace(/\d+/g, (digits) => (random(6) === 0 ? String(random(2 ** 31) * 2 ** random(40)) : digits));
  }
}

function mutate(lines: string[]): string {
  for (let edits = 1 + random(6); edits > 0; edits--) {
    const i = random(lines.length);
    const j = random(lines.length);
    switch (random(7)) {
      case 0:
        lines.splice(i, 0, lines[j]!);
        break;
      case 6:
        lines.splice(i, 0, LINES[random(LINES.length)]!.replace('N', /^\d+/.exec(lines[j]!)?.[0] ?? '9'));
        break;
      case 1:
        [lines[i], lines[j]] = [lines[j]!, lines[i]!];
        break;
      case 2:
        if (lines.length > 1) lines.splice(i, 1);
        break;
      case 3:
        if (i + 1 < lines.length) lines.splice(i, 2, lines[i]! + lines[i + 1]!);
        break;
      default:
        lines[i] = mutateLine(lines[i]!);
    }
  }
  return lines.join('\n') + (random(2) === 0 ? '\n' : '');
}

interface Target {
  readonly name: string;
  readonly texts: readonly string[][];
  /** Reads chunks to the end. */
  readonly read: (report: ImportReport, chunks: readonly Uint8Array[]) => void;
}

function byLines(
  make: (report: ImportReport) => { line(text: string, line: number, isUnterminated: boolean): void; end(): void },
): Target['read'] {
  return (report, chunks) => {
    const parser = make(report);
    const reader = new LineReader(report, (text, line, isUnterminated) => parser.line(text, line, isUnterminated));
    for (const chunk of chunks) reader.push(chunk);
    reader.end();
    parser.end();
  };
}

const targets: Target[] = [
  {
    name: 'strace',
    texts: [
      'programs/gcc-compile.strace',
      'programs/java-gc.strace',
      'programs/shm-queue.strace',
      'programs/tcl-lists.strace',
      'programs/git-repo.strace',
    ].map(load),
    read: byLines(
      (report) =>
        new StraceParser(report, (record) => {
          if (record.kind === 'call') decodeCall(record);
        }),
    ),
  },
  {
    name: 'lackey',
    texts: ['lackey/mmap-copy.lackey'].map(load),
    read: (report, chunks) => {
      const reader = new LackeyReader(report, () => {}, 16);
      for (const chunk of chunks) reader.push(chunk);
      reader.end();
    },
  },
  {
    name: 'faults',
    texts: ['lackey/perl-small.faults', 'programs/gcc-compile.faults'].map(load),
    read: byLines((report) => new FaultParser(report, () => {})),
  },
  {
    name: 'maps',
    texts: ['programs/gcc-compile.maps0', 'programs/java-gc.maps1'].map(load),
    read: byLines(
      (report) =>
        new MapsParser(report, (section) => {
          for (const vma of section.vmas) formatMapsLine(vma);
        }),
    ),
  },
];

function cutInto(bytes: Uint8Array): Uint8Array[] {
  const a = random(bytes.length + 1);
  const b = a + random(bytes.length - a + 1);
  return [bytes.subarray(0, a), bytes.subarray(a, b), bytes.subarray(b)];
}

function checkMutant(target: Target, text: string, isStrict: boolean): void {
  const report = new ImportReport('mutant', isStrict);
  try {
    target.read(report, cutInto(encodeLatin1(text)));
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    // a -c table is refused even when not strict
    expect(isStrict || /summary table/.test(error.message), `${error.message}\n${text}`).toBe(true);
    return;
  }
  report.checkInvariants();
  const lines = text.split('\n').length - (text.endsWith('\n') ? 1 : 0);
  expect(report.lines, text).toBe(text === '' ? 0 : lines);
  if (isStrict) expect(report.problems(), text).toEqual([]);
}

test.each(targets.map((target) => [target.name, target] as const))(
  `%s, SEED=${seed}, FUZZ_MUTANTS=${mutants}`,
  (name, target) => {
    // strace has by far the largest grammar: half of all
    const share = Math.ceil(name === 'strace' ? mutants / 2 : mutants / 6);
    for (let i = 0; i < share; i++) {
      const text = mutate(excerpt(target.texts[random(target.texts.length)]!));
      detectFormat(text.split('\n'));
      try {
        checkMutant(target, text, random(10) === 0);
      } catch (error) {
        throw new Error(`mutant ${i} of SEED=${seed}:\n${text}`, { cause: error });
      }
    }
  },
  3_600_000,
);

test('the unmutated excerpts are clean: the mutants start from real text', () => {
  for (const target of targets) {
    const report = new ImportReport('clean');
    const text = `${target.texts[0]!.slice(0, 100).join('\n')}\n`;
    target.read(report, [encodeLatin1(text)]);
    expect([target.name, report.unknown, report.damaged, report.lines]).toEqual([target.name, 0, 0, 100]);
  }
});

/** A line or a text of about a megabyte that makes a careless parser take quadratic or exponential time. */
const HOSTILE: readonly (readonly [string, string])[] = [
  ['open braces', `9 f(${'{'.repeat(1 << 20)}`],
  ['brackets by turns', `9 f(${'[{('.repeat(1 << 18)}`],
  ['open descriptors', `9 f(${'5<'.repeat(1 << 19)}`],
  ['quotes', `9 f(${'"'.repeat(1 << 20)}) = 0`],
  ['closing parentheses', `9 <... f resumed>${')'.repeat(1 << 20)}`],
  ['an endless error text', `9 f() = -1 EINVAL (${'x'.repeat(1 << 20)}`],
  ['an endless number', `9 munmap(${'9'.repeat(1 << 20)}, ${'0'.repeat(1 << 20)}) = ${'1'.repeat(1 << 20)}`],
  ['endless flags', `9 mmap(NULL, 1, ${'PROT_READ|'.repeat(1 << 16)}0, 0, -1, 0) = 0`],
  ['many arguments', `9 munmap(${'1, '.repeat(1 << 18)}1) = 0`],
  [
    'a call split again and again',
    `9 f(${'x'.repeat(1 << 19)} <unfinished ...>\n${'9 <... f resumed>, <unfinished ...>\n'.repeat(20_000)}`,
  ],
  [
    'second halves that do not end',
    `9 f(${'x'.repeat(1 << 19)} <unfinished ...>\n${'9 <... f resumed>, \n'.repeat(20_000)}`,
  ],
  [
    'notes inside one line',
    `f(${'x'.repeat(1 << 19)}strace: Process 1 attached\n${'xstrace: Process 1 attached\n'.repeat(20_000)}`,
  ],
  ['times', `${'1.123456  '.repeat(1 << 16)}\n${'12:12:12  '.repeat(400)}`],
  ['blanks', `a${' '.repeat(4000)}1${' '.repeat(50)}x\n`.repeat(20)],
  ['words', `${'a 1/1 1.1: 1 '.repeat(300)}\n`.repeat(20)],
];

test.each(HOSTILE)(
  'hostile text ends, in every importer: %s',
  (_, text) => {
    for (const target of targets) checkMutant(target, text, false);
    detectFormat(text.split('\n'));
  },
  20_000,
);
