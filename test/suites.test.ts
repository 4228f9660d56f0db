// Recorded test suites, a sample drawn from a seed: every memory call of every case answers as Linux did. The count of such cases
// stands in test/data/suites.json and may not fall: a case that is on the list of gaps and works has to be taken off it.

import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Rng } from '../src/base/rng.ts';
import { findSuites } from '../src/workload/suites/case-files.ts';
import { casesOf, type SuiteCase } from '../src/workload/suites/cases.ts';
import { isFull, runCase } from '../src/workload/suites/run-case.ts';
import { ROOT } from './support/cli.ts';

const SAMPLE = 40;
/** Longer recordings are left to `npm run verify`. */
const LINES_MAX = 3000;
const seed = Number(process.env.SEED ?? Date.now() % 1_000_000);

interface Ratchet {
  readonly cases: number;
  readonly full: number;
  readonly exactMapsEqual: number;
  /** SUITE/CASE that is not verified whole. */
  readonly gaps: readonly string[];
}

const ratchet = JSON.parse(readFileSync(`${ROOT}test/data/suites.json`, 'utf8')) as Ratchet;
const cases = findSuites(`${ROOT}recordings/suites`).flatMap(casesOf);

test('the list of gaps and the count agree', () => {
  expect(cases.length).toBe(ratchet.cases);
  expect(ratchet.full + ratchet.gaps.length).toBe(ratchet.cases);
  const names = new Set(cases.map((c) => `${c.suite.name}/${c.name}`));
  expect(ratchet.gaps.filter((gap) => !names.has(gap))).toEqual([]);
  expect(cases.filter((c) => c.determinism === 'exact').length).toBeGreaterThanOrEqual(ratchet.exactMapsEqual);
});

/** Some cases of each suite. */
function sample(): SuiteCase[] {
  const random = new Rng(seed);
  const short = cases.filter((c) => c.lines <= LINES_MAX);
  const out: SuiteCase[] = [];
  while (out.length < SAMPLE) {
    const suites = [...new Set(short.map((c) => c.suite.name))];
    const suite = suites[out.length % suites.length]!;
    const left = short.filter((c) => c.suite.name === suite && !out.includes(c));
    const pool = left.length > 0 ? left : short.filter((c) => !out.includes(c));
    out.push(pool[random.below(pool.length)]!);
  }
  return out;
}

test(`a sample of ${SAMPLE} cases, SEED=${seed}`, async () => {
  const wrong: string[] = [];
  const mended: string[] = [];
  for (const c of sample()) {
    const r = await runCase(c, () => 0);
    const name = `${c.suite.name}/${c.name}`;
    const isGap = ratchet.gaps.includes(name);
    expect(r.calls, name).toBeGreaterThan(0);
    if (isGap && isFull(r)) mended.push(name);
    if (isGap) continue;
    const first =
      r.first === null ? '' : `line ${r.first.line}: ${r.first.call}: ${r.first.expected}, here ${r.first.actual}`;
    if (!isFull(r))
      wrong.push(`${name}: ${r.verified} of ${r.calls}. ${r.error ?? first} ${Object.keys(r.skips).join(', ')}`);
    if (c.determinism === 'exact' && r.finalMaps !== 'equal')
      wrong.push(`${name}: final maps ${r.finalMaps}: ${r.firstMap}`);
  }
  expect(wrong).toEqual([]);
  expect(mended, 'take them off the list of gaps').toEqual([]);
}, 60_000);
