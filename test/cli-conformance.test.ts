// `shootdown conformance` as scripts see it: the published JSON, exit statuses, damaged input, Ctrl-C.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { afterAll, expect, test } from 'vitest';
import { interrupted, ROOT, shootdown } from './support/cli.ts';

const SCRIPTS = `${ROOT}recordings/oracle/linux-6.1`;
const LEVELS = ['calls', 'maps', 'callbacks', 'events', 'pages'];
const folder = mkdtempSync(join(tmpdir(), 'shootdown-conformance-'));
afterAll(() => rmSync(folder, { recursive: true }));

interface Result {
  learned: Record<string, number> | null;
  directory: string;
  cases: number;
  levels: Record<string, { matching: number; gaps: number; diverging: number }>;
  diverging: { case: string; level: string; record: number; expected: string; actual: string }[];
}

/** Writes a recording of the bundle into the folder, changed by `change`. */
function copyOf(name: string, change: (text: string) => string): string {
  const all = brotliDecompressSync(readFileSync(`${SCRIPTS}/recordings.ndjson.br`)).toString('latin1');
  const head = `{"t":"file","name":"${name}.ndjson"}\n`;
  const from = all.indexOf(head) + head.length;
  const end = all.indexOf('{"t":"file"', from);
  const text = all.slice(from, end < 0 ? all.length : end);
  writeFileSync(join(folder, `${name}.ndjson`), change(text), 'latin1');
  return folder;
}

test('a case that agrees: published fields, exit status 0', async () => {
  const { status, stdout, stderr } = await shootdown('conformance', SCRIPTS, '--case', 'munmap-parts', '--json');
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const result = JSON.parse(stdout) as Result;
  expect(result).toMatchObject({ directory: SCRIPTS, cases: 1, diverging: [] });
  expect(Object.keys(result.levels)).toEqual(LEVELS);
  for (const level of LEVELS) expect(result.levels[level]).toEqual({ matching: 1, gaps: 0, diverging: 0 });
});

test('what was taken from the recording of a real program is counted and printed', async () => {
  const programs = `${ROOT}recordings/oracle/linux-6.1-programs`;
  const { stdout } = await shootdown('conformance', programs, '--case', 'p-cat-head', '--json');
  const { learned } = JSON.parse(stdout) as Result;
  const all = brotliDecompressSync(readFileSync(`${programs}/recordings.ndjson.br`)).toString('latin1');
  const from = all.indexOf('{"t":"file","name":"p-cat-head.ndjson"}');
  const text = all.slice(from, all.indexOf('{"t":"file"', from + 1));
  const pages = [...text.matchAll(/"t":"map","mm":"[^"]*","page":"(\w+)"[^}]*"kind":"file"/g)].map((m) => m[1]);
  // Every page of a file that the recording maps, except those of the vdso, none twice; and what exec wrote before anything mapped it.
  const mapped = new Set(pages).size;
  expect(learned!['filePages']).toBeGreaterThan(0.9 * mapped);
  expect(learned!['filePages']).toBeLessThanOrEqual(mapped + learned!['execPages']!);
  const shown = await shootdown('conformance', programs, '--case', 'p-cat-head');
  expect(shown.stdout).toContain(
    `learned from recordings of real programs: pages in page caches ${learned!['filePages']};`,
  );
  const script = await shootdown('conformance', SCRIPTS, '--case', 'munmap-parts', '--json');
  expect((JSON.parse(script.stdout) as Result).learned).toBe(null);
});

test('an altered callback is found and shown with its call, exit status 1', async () => {
  const range = '"op":"invalidate_range","id":0,"mm":"P","start":"0x100006000","end":"0x100008000"';
  const dir = copyOf('munmap-parts', (text) => text.replace(range, range.replace('0x100008000', '0x100009000')));
  const { status, stdout } = await shootdown('conformance', dir, '--json');
  const result = JSON.parse(stdout) as Result;
  expect(status).toBe(1);
  expect(result.diverging.map((d) => d.level)).toEqual(['callbacks', 'events']);
  expect(result.diverging[0]).toMatchObject({
    case: 'munmap-parts',
    record: 68,
    expected: 'cb invalidate_range id=0 mm=P start=0x100006000 end=0x100009000',
    actual: 'cb invalidate_range id=0 mm=P start=0x100006000 end=0x100008000',
  });
  const shown = await shootdown('conformance', dir, '--show', '--level', '3');
  expect(shown.stdout).toContain('P munmap(addr=0x100006000, len=0x2000)');
  expect(shown.stdout).toMatch(/> cb invalidate_range .*0x100009000 +≠ cb invalidate_range .*0x100008000/);
  expect(shown.stdout).toMatch(/scripts +1 +0\.0 % \(0\/0\/1\)/);
  const others = await shootdown('conformance', dir, '--level', 'calls,maps,pages');
  expect(others.status).toBe(0);
});

test('a second recording that agrees counts', async () => {
  const dir = copyOf('brk', (text) => text.replace('"ret":"0x402000"', '"ret":"0x403000"'));
  const alone = await shootdown('conformance', dir, '--case', 'brk');
  expect(alone.status).toBe(1);
  copyOf('brk', (text) => {
    writeFileSync(join(folder, 'brk.second.ndjson'), text, 'latin1');
    return text.replace('"ret":"0x402000"', '"ret":"0x403000"');
  });
  const both = await shootdown('conformance', dir, '--case', 'brk');
  expect(both.status).toBe(0);
});

test('damaged input is counted, --strict refuses it', async () => {
  const dir = copyOf('zero-page', (text) => `${text}{"i":1,"t":"fr`);
  const { status, stdout } = await shootdown('conformance', dir, '--case', 'zero-page');
  expect(status).toBe(0);
  expect(stdout).toContain('zero-page.ndjson: 1 damaged lines, first: {"i":1,"t":"fr');
  const strict = await shootdown('conformance', dir, '--case', 'zero-page', '--strict');
  expect(strict.status).toBe(2);
  expect(strict.stderr).toMatch(/^shootdown: .*zero-page\.ndjson: 1 damaged lines.*\n$/);
});

test.each([
  [['conformance', '/nothing/here'], /does not exist; expected a directory with recordings/],
  [['conformance', SCRIPTS, '--case', 'no-such-case'], /--case: no case of .* has "no-such-case" in its name/],
  [['conformance', SCRIPTS, '--level', '6'], /--level: "6" is not one of calls, maps, callbacks, events, pages/],
])('bad usage %#: one clear line, exit status 2', async (args, message) => {
  const { status, stderr } = await shootdown(...args);
  expect(status).toBe(2);
  expect(stderr).toMatch(message);
  expect(stderr.trim().split('\n')).toHaveLength(1);
});

test('Ctrl-C: the cases done so far, exit status 130', async () => {
  const { status, stdout, stderr } = await interrupted(300, 'conformance', SCRIPTS, '--json');
  expect({ status, stderr }).toEqual({ status: 130, stderr: '' });
  expect((JSON.parse(stdout) as Result).cases).toBeLessThan(150);
});
