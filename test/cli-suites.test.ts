// `shootdown suites` as scripts see it: the published JSON, the tables, exit statuses, Ctrl-C, folders and archives.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Archive, packArchive } from '../src/workload/suites/case-files.ts';
import type { CaseResult } from '../src/workload/suites/run-case.ts';
import type { CallSummary, SuiteSummary } from '../src/workload/suites/summary.ts';
import { interrupted, ROOT, shootdown } from './support/cli.ts';

const BUNDLED = `${ROOT}recordings/suites`;
const folder = mkdtempSync(join(tmpdir(), 'shootdown-suites-'));
afterAll(() => rmSync(folder, { recursive: true }));

const GOOD = 'map_fixed_noreplace';
const OTHER = 'mremap_test';

interface Result {
  directory: string;
  cases: number;
  complete: boolean;
  suites: SuiteSummary[];
  calls: CallSummary[];
  results: CaseResult[];
}

/** Two cases of a bundled suite in a folder; of the second, one address of the text is another. */
beforeAll(() => {
  const archive = new Archive(`${BUNDLED}/selftests-mm.br`);
  mkdirSync(join(folder, 'two'));
  const rows = archive.text('cases.tsv')!.split('\n');
  const kept = rows.filter((row, i) => i === 0 || row.startsWith(`${GOOD}\t`) || row.startsWith(`${OTHER}\t`));
  writeFileSync(join(folder, 'two', 'cases.tsv'), `${kept.join('\n')}\n`);
  for (const name of [GOOD, OTHER]) {
    for (const ending of ['strace', 'maps0', 'maps1']) {
      let text = archive.text(`${name}.${ending}`)!;
      if (name === OTHER && ending === 'strace')
        text = text.replace(/(munmap\(0x[0-9a-f]+, \d+\)\s+= )0/, '$1-1 EINVAL (x)');
      writeFileSync(join(folder, 'two', `${name}.${ending}`), text);
    }
  }
});

async function json(...args: string[]): Promise<{ status: number | null; result: Result }> {
  const { status, stdout, stderr } = await shootdown('suites', '--json', ...args);
  expect(stderr).toBe('');
  return { status, result: JSON.parse(stdout) as Result };
}

test('a folder with one wrong result: the case, the call, the first difference, status 1', async () => {
  const { status, result } = await json(join(folder, 'two'), '--workers', '2');
  expect(status).toBe(1);
  expect(result).toMatchObject({ cases: 2, complete: true });
  const [good, bad] = result.results;
  expect(good).toMatchObject({ suite: 'two', case: GOOD, first: null, error: null, finalMaps: 'equal' });
  expect(good!.verified).toBe(good!.calls);
  expect(bad).toMatchObject({
    suite: 'two',
    case: OTHER,
    first: { expected: '-1 EINVAL', actual: '0', name: 'munmap' },
  });
  expect(bad!.verified).toBe(bad!.calls - 1);
  const all = result.suites.at(-1)!;
  expect(all).toMatchObject({ suite: 'all', cases: 2, full: 1, calls: good!.calls + bad!.calls });
  expect(all.meanVerified).toBeCloseTo((1 + bad!.verified / bad!.calls) / 2, 12);
  const munmap = result.calls.find((c) => c.call === 'munmap')!;
  expect(munmap).toMatchObject({ cases: 2, fullCases: 1, diverged: 1 });
  const sum = result.calls.reduce((n, c) => n + c.verified + c.diverged + c.skipped + c.learned, 0);
  expect(sum).toBe(all.calls);
});

test('the printed table names every suite and the first difference', async () => {
  const { status, stdout } = await shootdown('suites', folder, '--workers', '1');
  expect(status).toBe(1);
  expect(stdout).toMatch(/^two +2 +1 +50\.00 %/m);
  expect(stdout).toMatch(/^all +2 +1 +50\.00 %/m);
  expect(stdout).toMatch(/two\/mremap_test .*\n {2}line \d+: munmap\(.*recorded -1 EINVAL, here 0/);
  expect(stdout).not.toContain(`two/${GOOD}`);
  expect((await shootdown('suites', folder, '--all', '--workers', '1')).stdout).toContain(`two/${GOOD}`);
});

test('an archive gives what the folder gives', async () => {
  const archive = new Archive(`${BUNDLED}/selftests-mm.br`);
  const names = archive.names.filter((n) => n === 'cases.tsv' || n.startsWith(`${GOOD}.`));
  const files = names.map((name) => ({ name, bytes: Buffer.from(archive.text(name)!) }));
  writeFileSync(join(folder, 'packed.br'), packArchive(files));
  const { status, result } = await json(join(folder, 'packed.br'));
  expect(status).toBe(0);
  const fromFolder = await json(join(folder, 'two'), '--case', GOOD);
  expect(fromFolder.status).toBe(0);
  const plain = (r: Result): object[] => r.results.map((c) => ({ ...c, suite: '', seconds: 0 }));
  expect(plain(result)).toEqual(plain(fromFolder.result));
});

test('a damaged recording is a failed case, not the end of the run', async () => {
  const path = join(folder, 'broken');
  mkdirSync(path);
  writeFileSync(join(path, 'empty.strace'), '');
  const { status, result } = await json(path);
  expect(status).toBe(1);
  expect(result.results[0]).toMatchObject({ case: 'empty', calls: 0, error: expect.stringContaining('empty') });
  rmSync(path, { recursive: true });
});

test('unusable input: status 2 and one line', async () => {
  for (const [args, message] of [
    [['/no/such/folder'], 'not a folder'],
    [[join(ROOT, 'docs')], 'no recording'],
    [['--case', 'no such case'], 'no case'],
    [['--workers', '0'], '"0" is not an integer'],
    [[join(ROOT, 'package.json.br')], 'no such file'],
  ] as const) {
    const { status, stdout, stderr } = await shootdown('suites', ...args);
    expect({ status, stdout, lines: stderr.split('\n').length }).toEqual({ status: 2, stdout: '', lines: 2 });
    expect(stderr).toContain(message);
  }
});

test('Ctrl-C keeps what was done', async () => {
  const { status, stdout } = await interrupted(800, 'suites', '--json');
  expect(status).toBe(130);
  const result = JSON.parse(stdout) as Result;
  expect(result.complete).toBe(false);
  expect(result.results.length).toBeLessThan(result.cases);
});
