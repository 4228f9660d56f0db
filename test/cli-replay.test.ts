// `shootdown replay` as scripts see it: the published JSON, exit statuses, Ctrl-C, long recordings.

import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, expect, test } from 'vitest';
import { finished, interrupted, LACKEY, PROGRAMS, shootdown, start } from './support/cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'shootdown-replay-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Published fields and their types. */
const RESULT: Record<string, string> = {
  trace: 'string',
  kernel: 'string',
  calls: 'number',
  verified: 'number',
  learned: 'number',
  diverged: 'number',
  skipped: 'number',
  divergences: 'object',
  finalMaps: 'string',
  faults: 'number',
  callbacks: 'number',
  events: 'number',
  seconds: 'number',
  complete: 'boolean',
};

interface Result {
  calls: number;
  verified: number;
  learned: number;
  diverged: number;
  skipped: number;
  divergences: { line: number; call: string; expected: string; actual: string }[];
  finalMaps: string;
  complete: boolean;
}

function parsed(stdout: string): Result {
  const result = JSON.parse(stdout) as Result & Record<string, unknown>;
  for (const [field, type] of Object.entries(RESULT)) expect([field, typeof result[field]]).toEqual([field, type]);
  expect(['equal', 'different', 'absent']).toContain(result.finalMaps);
  expect(result.calls).toBe(result.verified + result.learned + result.diverged + result.skipped);
  for (const d of result.divergences) expect(Object.keys(d)).toEqual(['line', 'call', 'expected', 'actual']);
  return result;
}

test('the result has the published fields', async () => {
  const path = `${LACKEY}/perl-small.strace`;
  const { status, stdout, stderr } = await shootdown('replay', '--json', path);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  expect(parsed(stdout)).toMatchObject({
    trace: path,
    kernel: '6.18',
    calls: 30,
    verified: 30,
    divergences: [],
    finalMaps: 'equal',
    callbacks: 0,
    complete: true,
  });
});

/** mmap-copy as text, with its maps beside it. */
function copyOf(name: string, edit: (lines: string[]) => void): string {
  const lines = gunzipSync(readFileSync(`${PROGRAMS}/mmap-copy.strace.gz`))
    .toString('latin1')
    .split('\n');
  edit(lines);
  const path = join(folder, `${name}.strace`);
  writeFileSync(path, lines.join('\n'), 'latin1');
  for (const ending of ['maps0', 'maps1'])
    writeFileSync(join(folder, `${name}.${ending}`), readFileSync(`${PROGRAMS}/mmap-copy.${ending}`));
  return path;
}

test('an altered address diverges once; later calls still verify', async () => {
  let line = 0;
  let recorded = '';
  const path = copyOf('address', (lines) => {
    // A window that is mapped, used and unmapped within a few calls: its address is moved in all of them.
    const at = lines.findIndex((l, i) => i > 400 && /mmap\(NULL, .* = 0x/.test(l));
    recorded = / = (0x[0-9a-f]+)$/.exec(lines[at]!)![1]!;
    const moved = '0x700000000000';
    lines[at] = lines[at]!.replace(` = ${recorded}`, ` = ${moved}`);
    for (let i = at + 1; i < lines.length; i++) {
      lines[i] = lines[i]!.replace(`(${recorded},`, `(${moved},`);
      if (lines[i]!.includes(`munmap(${moved},`)) break;
    }
    line = at + 1;
  });
  const { status, stdout } = await shootdown('replay', '--json', path);
  const result = parsed(stdout);
  expect(result.divergences).toEqual([
    { line, call: expect.stringMatching(/^mmap\(NULL, /), expected: '0x700000000000', actual: recorded },
  ]);
  expect(result).toMatchObject({ calls: 958, verified: 957, diverged: 1, skipped: 0, finalMaps: 'equal' });
  expect(status).toBe(1);
  const text = await shootdown('replay', path);
  expect(text.stdout).toContain(`line ${line}: mmap(NULL, `);
  expect(text.stdout).toContain(`recorded 0x700000000000, here ${recorded}`);
  expect(text.status).toBe(1);
});

test('an altered errno diverges with both results', async () => {
  let line = 0;
  const path = copyOf('errno', (lines) => {
    const at = lines.findIndex((l, i) => i > 400 && /madvise\(.* = 0$/.test(l));
    lines[at] = lines[at]!.replace(/ = 0$/, ' = -1 ENOMEM (Cannot allocate memory)');
    line = at + 1;
  });
  const { status, stdout } = await shootdown('replay', '--json', path);
  const result = parsed(stdout);
  expect(result.divergences).toEqual([
    { line, call: expect.stringMatching(/^madvise\(0x/), expected: '-1 ENOMEM', actual: '0' },
  ]);
  expect(result).toMatchObject({ verified: 957, diverged: 1, finalMaps: 'equal' });
  expect(status).toBe(1);
});

test('other final maps are shown line by line, exit status 1', async () => {
  const path = copyOf('maps', () => {});
  const maps = readFileSync(`${PROGRAMS}/mmap-copy.maps1`, 'latin1').split('\n');
  const at = maps.findIndex((l) => l.includes('libc.so.6') && l.includes(' rw-p '));
  const recorded = maps[at]!;
  maps[at] = recorded.replace(' rw-p ', ' rwxp ');
  writeFileSync(join(folder, 'maps.maps1'), maps.join('\n'), 'latin1');
  const { status, stdout } = await shootdown('replay', path);
  expect(status).toBe(1);
  expect(stdout).toMatch(/final maps: different \(0 of 1 processes equal\)/);
  const signs = stdout.split('\n').filter((l) => /^ {6}[-+] /.test(l));
  expect(signs).toHaveLength(2);
  expect(signs[0]).toBe(`      - ${maps[at]}`);
  expect(signs[1]).toMatch(/^ {6}\+ .* rw-p .*libc\.so\.6$/);
});

test('Ctrl-C: what was done so far, exit status 130', async () => {
  const { status, stdout, stderr } = await interrupted(0, 'replay', '--json', `${PROGRAMS}/redis-bgsave.strace.gz`);
  expect({ status, stderr }).toEqual({ status: 130, stderr: '' });
  const result = parsed(stdout);
  expect(result.complete).toBe(false);
  expect(result.divergences).toEqual([]);
});

/** A recording of that many pairs of mmap and munmap after the start of mmap-copy. */
function longTrace(path: string, pairs: number): void {
  const lines = gunzipSync(readFileSync(`${PROGRAMS}/mmap-copy.strace.gz`))
    .toString('latin1')
    .split('\n');
  // Up to the last call of the dynamic linker: what follows is the program's own.
  const start = lines.findIndex((l) => l.includes('munmap(')) + 1;
  const tid = /^\d+/.exec(lines[0]!)![0];
  // Too long for the hole that the unmapped cache of the linker left: it goes below the lowest mapping, each time.
  const base = lowestMapping(lines.slice(0, start)) - 65536;
  const address = `0x${base.toString(16)}`;
  const pair = `${tid}    mmap(NULL, 65536, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = ${address}\n${tid}    munmap(${address}, 65536)       = 0\n`;
  const file = openSync(path, 'w');
  writeSync(file, `${lines.slice(0, start).join('\n')}\n`, null, 'latin1');
  const block = pair.repeat(1000);
  for (let i = 0; i < pairs; i += 1000) writeSync(file, block);
  closeSync(file);
}

/** The lowest address of a mapping that lives after those calls. */
function lowestMapping(lines: readonly string[]): number {
  const starts = lines
    .filter((l) => /^\d+ +mmap\(/.test(l))
    .map((l) => Number(/ = (0x[0-9a-f]+)$/.exec(l)?.[1]))
    .filter((n) => n > 0x7f0000000000);
  const gone = lines.map((l) => Number(/munmap\((0x[0-9a-f]+)/.exec(l)?.[1]));
  return Math.min(...starts.filter((s) => !gone.includes(s)));
}

test('a recording longer than memory is replayed whole', async () => {
  const path = join(folder, 'long.strace');
  const pairs = Number(process.env.LONG_PAIRS ?? 100_000);
  // Its 200,000 records would take 125 MB.
  const megabytes = 64;
  longTrace(path, pairs);
  writeFileSync(join(folder, 'long.maps0'), readFileSync(`${PROGRAMS}/mmap-copy.maps0`));
  const child = start(['replay', '--json', path], [`--max-old-space-size=${megabytes}`]);
  const { status, stdout, stderr } = await finished(child);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const result = parsed(stdout);
  expect(result.verified).toBe(result.calls);
  expect(result.calls).toBeGreaterThanOrEqual(2 * pairs);
});
