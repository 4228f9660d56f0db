// The figures of a conformance run.

import { GROUPS, type Group, groupOf } from './cases.ts';
import { type Divergence, LEVELS, type Level } from './compare.ts';
import { gapOf } from './known-gaps.ts';
import { addLearned, type Learned, nothingLearned } from './program/learned.ts';
import type { CaseResult } from './run-case.ts';

export interface LevelCount {
  matching: number;
  gaps: number;
  diverging: number;
}

/** Counts of cases at each level. */
export type LevelCounts = Record<Level, LevelCount>;

export interface Summary {
  readonly cases: number;
  readonly levels: LevelCounts;
  /** Groups that have cases. */
  readonly groups: readonly { readonly group: Group; readonly cases: number; readonly levels: LevelCounts }[];
  /** What was taken from the recordings of real programs; null when there are none. */
  readonly learned: Learned | null;
  /** Differences that no listed gap covers. */
  readonly diverging: readonly { readonly name: string; readonly kernel: string; readonly divergence: Divergence }[];
}

function countLevels(results: readonly CaseResult[], levels: readonly Level[]): LevelCounts {
  const counts = Object.fromEntries(LEVELS.map((l) => [l, { matching: 0, gaps: 0, diverging: 0 }])) as LevelCounts;
  for (const result of results) {
    for (const level of levels) {
      const differs = result.divergences.some((d) => d.level === level);
      counts[level][!differs ? 'matching' : gapOf(result, level) !== null ? 'gaps' : 'diverging']++;
    }
  }
  return counts;
}

function learnedIn(results: readonly CaseResult[]): Learned | null {
  const sum = nothingLearned();
  const programs = results.filter((r) => r.learned !== undefined);
  for (const { learned } of programs) addLearned(sum, learned!);
  return programs.length === 0 ? null : sum;
}

/** Counts `results` at the given levels. */
export function summarize(results: readonly CaseResult[], levels: readonly Level[] = LEVELS): Summary {
  const groups = GROUPS.map((group) => {
    const own = results.filter((r) => groupOf(r) === group);
    return { group, cases: own.length, levels: countLevels(own, levels) };
  });
  return {
    cases: results.length,
    levels: countLevels(results, levels),
    learned: learnedIn(results),
    groups: groups.filter((g) => g.cases > 0),
    diverging: results.flatMap((result) =>
      result.divergences
        .filter((d) => levels.includes(d.level) && gapOf(result, d.level) === null)
        .map((divergence) => ({ name: result.name, kernel: result.kernel, divergence })),
    ),
  };
}
