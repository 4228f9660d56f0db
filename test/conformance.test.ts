// The recordings of the real kernel that come with the project: no case may differ that agreed before. The cases and levels that are
// known to differ stand in data/conformance-diverging.json; UPDATE=1 writes that file anew (only ever to make it shorter).

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { isProgram, runCase } from '../src/conformance/cases.ts';
import { LEVELS } from '../src/conformance/compare.ts';
import { gapOf, KNOWN_GAPS } from '../src/conformance/known-gaps.ts';
import { type CaseFile, listCases } from '../src/conformance/read.ts';

const ORACLE = join(import.meta.dirname, '../recordings/oracle');
const LIST = join(import.meta.dirname, 'data/conformance-diverging.json');
const CASES = listCases(ORACLE);
/** Recordings above 50,000 records are left to `shootdown conformance`. */
const LARGE = new Set(['munmap-large-batches', 'smp2-large-munmap', 'p-gcc', 'p-node', 'p-python', 'p-python-thp']);

type Listed = Record<string, readonly string[]>;
const listed = JSON.parse(readFileSync(LIST, 'utf8')) as Listed;
const found: Record<string, string[]> = {};

/** Levels of the case that differ and that no gap covers. */
async function divergingLevels(file: CaseFile): Promise<string[]> {
  const { result, problems } = await runCase(file);
  expect(problems.damaged).toEqual([]);
  return result.divergences.map((d) => d.level).filter((level) => gapOf(file.name, level) === null);
}

const scripts = CASES.filter((c) => !isProgram(c.name) && !LARGE.has(c.name));
const programs = CASES.filter((c) => isProgram(c.name) && !LARGE.has(c.name));

for (const [title, cases] of [
  ['scripts and random programs', scripts],
  ['real programs', programs],
] as const) {
  test(`${title}: no case differs that agreed before`, { timeout: 120_000 }, async () => {
    const unlisted: string[] = [];
    for (const file of cases) {
      const levels = await divergingLevels(file);
      if (levels.length > 0) found[file.name] = levels;
      for (const level of levels) if (!listed[file.name]?.includes(level)) unlisted.push(`${file.name}: ${level}`);
    }
    if (process.env['UPDATE'] === undefined) expect(unlisted).toEqual([]);
  });
}

test('every listed case exists; gaps name cases and levels', () => {
  if (process.env['UPDATE'] !== undefined) {
    const large = Object.entries(listed).filter(([name]) => LARGE.has(name));
    const all = Object.fromEntries([...Object.entries(found), ...large].sort(([a], [b]) => (a < b ? -1 : 1)));
    writeFileSync(LIST, `${JSON.stringify(all, null, 1)}\n`);
  }
  const names = new Set(CASES.map((c) => c.name));
  for (const name of Object.keys(listed)) expect(names.has(name), name).toBe(true);
  for (const gap of KNOWN_GAPS) {
    expect(names.has(gap.case), gap.case).toBe(true);
    expect(gap.reason.length).toBeGreaterThan(20);
    for (const level of gap.levels) expect(LEVELS).toContain(level);
  }
});
