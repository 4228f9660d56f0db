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
/** Of Linux 6.12 those whose mechanisms differ from 6.1; the rest is left to `shootdown conformance` as well. */
const OF_6_12 = new Set([
  'brk',
  'exit-shared-pages',
  'file-shared',
  'fork-parent-writes',
  'hugetlb-fork-cow',
  'hwpoison',
  'madvise-free',
  'migrate-file',
  'mlock',
  'move-pages',
  'mprotect-across-1g',
  'mremap-pmd-aligned',
  'omit-ops',
  'punch-hole',
  'random-anon-swap-s37',
  'random-file-fork-s4',
  'special-mappings',
  'swap-pageout',
  'thp-mprotect',
  'thp-partial-dontneed',
  'two-notifiers-order',
  'uffd-wp',
]);

type Listed = Record<string, readonly string[]>;
const listed = JSON.parse(readFileSync(LIST, 'utf8')) as Listed;
const found: Record<string, string[]> = {};

const isLater = (file: CaseFile): boolean => file.directory.endsWith('linux-6.12');
/** The name under which a case stands in the list. */
const listedName = (file: CaseFile): string => (isLater(file) ? `6.12/${file.name}` : file.name);

/** Levels of the case that differ and that no gap covers. */
async function divergingLevels(file: CaseFile): Promise<string[]> {
  const { result, problems } = await runCase(file);
  expect(problems.damaged).toEqual([]);
  return result.divergences.map((d) => d.level).filter((level) => gapOf(result, level) === null);
}

const scripts = CASES.filter((c) => !isLater(c) && !isProgram(c.name) && !LARGE.has(c.name));
const later = CASES.filter((c) => isLater(c) && OF_6_12.has(c.name));
const programs = CASES.filter((c) => isProgram(c.name) && !LARGE.has(c.name));

for (const [title, cases] of [
  ['scripts and random programs', scripts],
  ['real programs', programs],
  ['scripts of Linux 6.12', later],
] as const) {
  test(`${title}: no case differs that agreed before`, { timeout: 120_000 }, async () => {
    const unlisted: string[] = [];
    for (const file of cases) {
      const levels = await divergingLevels(file);
      const name = listedName(file);
      if (levels.length > 0) found[name] = levels;
      for (const level of levels) if (!listed[name]?.includes(level)) unlisted.push(`${name}: ${level}`);
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
  const names = new Set(CASES.map(listedName));
  for (const name of Object.keys(listed)) expect(names.has(name), name).toBe(true);
  for (const name of OF_6_12) expect(names.has(`6.12/${name}`), name).toBe(true);
  for (const gap of KNOWN_GAPS) {
    expect(gap.kernels.length).toBeGreaterThan(0);
    for (const kernel of gap.kernels) {
      const name = kernel === '6.1' ? gap.case : `${kernel}/${gap.case}`;
      expect(names.has(name), name).toBe(true);
    }
    expect(gap.reason.length).toBeGreaterThan(20);
    for (const level of gap.levels) expect(LEVELS).toContain(level);
  }
});
