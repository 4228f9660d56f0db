// Bad input and impossible options: one clear line, exit status 2, nothing on stdout - and at once.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { PROGRAMS, ROOT, shootdown, start } from './support/cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'shootdown-input-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, bytes: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

const COPY = `${PROGRAMS}/mmap-copy.strace.gz`;
const packed = readFileSync(COPY);
const garbage = Uint8Array.from({ length: 4000 }, (_, i) => ((i * 2654435761) >>> 13) & 0xff);
const headOnly = Uint8Array.from([0x1f, 0x8b, 8, 0, ...Array.from({ length: 100 }, () => 0xff)]);
const noTrace = file('notes.txt', 'dear diary\n');
const empty = file('empty', '');
const cut = file('cut.strace.gz', packed.subarray(0, packed.length >> 1));

const REFUSED: [what: string, args: string[], line: RegExp][] = [
  ['not a trace', ['replay', noTrace], /notes\.txt: no system call in 1 lines; expected the output of strace/],
  ['an empty file', ['replay', empty], /empty: the file is empty; expected the output of strace/],
  ['a missing file', ['replay', join(folder, 'missing')], /missing: cannot read: ENOENT/],
  ['a directory', ['replay', folder], /cannot read: EISDIR/],
  ['a device', ['replay', '/dev/null'], /\/dev\/null: not a regular file, and a recording is read more than once/],
  ['standard input', ['compare', '-'], /-: not a regular file/],
  ['unreadable gzip', ['replay', file('bad.gz', headOnly)], /bad\.gz at byte 0: damaged gzip data/],
  ['binary garbage', ['replay', file('garbage', garbage)], /garbage: no system call in \d+ lines/],
  [
    'maps given as trace',
    ['replay', `${PROGRAMS}/mmap-copy.maps0`],
    /this is maps text; expected the output of strace/,
  ],
  ['faults given as trace', ['replay', `${PROGRAMS}/mmap-copy.faults.gz`], /this is perf text; expected/],
  ['not a trace to compare', ['compare', noTrace], /notes\.txt: no system call/],
  ['maps that are none', ['replay', '--maps1', empty, COPY], /empty: no mapping in it; expected .*maps/],
  ['maps that are a trace', ['replay', '--maps0', noTrace, COPY], /notes\.txt: no mapping in it; expected .*maps/],
  [
    'faults that are none',
    ['replay', '--faults', noTrace, COPY],
    /notes\.txt: no page fault in it; expected perf script/,
  ],
  ['missing faults', ['compare', '--faults', join(folder, 'nope'), COPY], /nope: cannot read: ENOENT/],
  ['references that are none', ['replay', '--lackey', noTrace, COPY], /notes\.txt: no memory reference in it/],
  ['no fault list', ['replay', '--touch', 'faults', `${PROGRAMS}/node-gc.strace.gz`], /--touch faults: no fault list/],
  [
    'faults and another policy',
    ['compare', '--faults', noTrace, '--touch', 'none', COPY],
    /--faults: cannot be combined/,
  ],
  [
    'faults and another policy',
    ['replay', '--faults', noTrace, '--touch', 'none', COPY],
    /--faults: cannot be combined/,
  ],
  ['no memory', ['compare', '--memory', '0', COPY], /--memory: "0" is not a share above 0/],
  ['too much memory', ['compare', '--memory', '5000%', COPY], /--memory: "5000%" is not a share .* at most 1600 %/],
  ['no memory', ['replay', '--memory', '0', COPY], /--memory: "0" is not an integer from 1/],
  ['a seed that is none', ['compare', '--seed', 'x', COPY], /--seed: "x" is not an integer/],
  ['an unknown kernel', ['replay', '--kernel', '9.9', COPY], /--kernel: "9\.9" is not one of .*6\.18/],
  [
    'an unknown design',
    ['compare', '--designs', 'linux-6.1,linux-0.1', COPY],
    /"linux-0\.1" is not one of .*linux-6\.1/,
  ],
  ['an unknown design', ['compare', '--fail-on', 'all', COPY], /--fail-on: "all" is not one of/],
  ['no engines', ['compare', '--engines', '0', COPY], /--engines: "0" is not an integer from 1/],
  ['a report into nowhere', ['compare', '--html', '/nonexistent/x.html'], /--html: cannot write .*ENOENT/],
  ['a report onto a directory', ['compare', '--html', folder], /--html: .* is a directory/],
  ['an unknown command', ['frobnicate'], /unknown command 'frobnicate'/],
  ['an unknown option', ['replay', '--frobnicate', COPY], /unknown option '--frobnicate'/],
  ['an option without value', ['replay', COPY, '--kernel'], /--kernel <version>' argument missing/],
  ['no trace', ['replay'], /missing required argument 'trace'/],
  ['two traces', ['replay', COPY, COPY], /too many arguments/],
  ['damaged input with --strict', ['replay', '--strict', cut], /cut\.strace\.gz at byte \d+: damaged gzip data/],
];

describe('refused with one line', () => {
  test.concurrent.each(REFUSED)('%s: %j', async (_what, args, line) => {
    const { status, stdout, stderr } = await shootdown(...args);
    expect(stderr).toMatch(/^shootdown: [^\n]+\n$/);
    expect(stderr).toMatch(line);
    expect(status).toBe(2);
    expect(stdout).toBe('');
  });
});

test('without arguments: usage on stderr, exit status 2', async () => {
  const { status, stdout, stderr } = await shootdown();
  expect(stderr).toMatch(/^Usage: shootdown/);
  expect(stderr).toMatch(/^ {2}compare /m);
  expect(stderr).toMatch(/^ {2}replay /m);
  expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
});

test('--help and --version go to stdout, exit status 0', async () => {
  const help = await shootdown('--help');
  expect(help.stdout).toMatch(/^Usage: shootdown/);
  expect(help).toMatchObject({ status: 0, stderr: '' });
  const ofCommand = await shootdown('compare', '--help');
  expect(ofCommand.stdout).toMatch(/--fail-on/);
  expect(ofCommand).toMatchObject({ status: 0, stderr: '' });
  const { version } = JSON.parse(readFileSync(`${ROOT}package.json`, 'utf8')) as { version: string };
  expect(await shootdown('--version')).toEqual({ status: 0, stdout: `${version}\n`, stderr: '' });
});

test('a trace cut in the middle is used, and the damage reported', async () => {
  const text = await shootdown('replay', cut);
  expect(text.stdout).toMatch(/input: .*damaged gzip data: unexpected end of file after \d+ bytes of text/);
  expect(text).toMatchObject({ status: 0, stderr: '' });
  const json = JSON.parse((await shootdown('replay', '--json', cut)).stdout);
  expect(json.inputProblems.join()).toMatch(/damaged gzip data/);
  expect(json.calls).toBeGreaterThan(100);
  expect(json.verified).toBe(json.calls - json.learned - json.skipped);
  expect(json.finalMaps).toBe('absent');
});

test('a reader that went away: no error, no stack', async () => {
  const child = start(['replay', '--json', `${PROGRAMS}/mmap-copy.strace.gz`]);
  child.stdout!.destroy();
  let stderr = '';
  child.stderr!.on('data', (bytes) => (stderr += bytes));
  const status = await new Promise((resolve) => child.on('exit', resolve));
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
});
