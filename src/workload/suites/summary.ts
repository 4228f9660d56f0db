// Results of cases counted by suite and by call. Shares are of cases: no case weighs more than another because it makes more
// calls; the totals of calls stand beside them.

import type { CallCounts } from '../replay/tally.ts';
import { type CaseResult, isFull } from './run-case.ts';

export interface SuiteSummary {
  readonly suite: string;
  cases: number;
  /** Cases in which every memory call is verified. */
  full: number;
  /** Mean over cases of the share of memory calls verified, 0 to 1. */
  meanVerified: number;
  calls: number;
  verified: number;
  /** Cases recorded alike by every run, and those of them whose final maps are equal. */
  exact: number;
  exactMapsEqual: number;
  /** Cases with final maps, and those whose are equal. */
  withMaps: number;
  mapsEqual: number;
}

export interface CallSummary extends CallCounts {
  readonly call: string;
  /** Cases that make the call, and those in which each one is verified. */
  cases: number;
  fullCases: number;
}

/** One row a suite in the order of appearance, and "all" at the end. */
export function bySuite(results: readonly CaseResult[]): SuiteSummary[] {
  const names = [...new Set(results.map((r) => r.suite))];
  return [
    ...names.map((name) =>
      summed(
        name,
        results.filter((r) => r.suite === name),
      ),
    ),
    summed('all', results),
  ];
}

function summed(suite: string, results: readonly CaseResult[]): SuiteSummary {
  const s: SuiteSummary = {
    suite,
    cases: results.length,
    full: 0,
    meanVerified: 0,
    calls: 0,
    verified: 0,
    exact: 0,
    exactMapsEqual: 0,
    withMaps: 0,
    mapsEqual: 0,
  };
  let shares = 0;
  for (const r of results) {
    const isEqual = r.finalMaps === 'equal' && r.error === null;
    if (isFull(r)) s.full++;
    shares += shareOf(r);
    s.calls += r.calls;
    s.verified += r.verified;
    if (r.determinism === 'exact') s.exact++;
    if (r.determinism === 'exact' && isEqual) s.exactMapsEqual++;
    if (r.finalMaps !== 'absent') s.withMaps++;
    if (isEqual) s.mapsEqual++;
  }
  s.meanVerified = results.length === 0 ? 0 : shares / results.length;
  return s;
}

/** The share of a case's memory calls that are verified; 1 for a case without any. */
function shareOf(r: CaseResult): number {
  if (r.error !== null && r.calls === 0) return 0;
  return r.calls === 0 ? 1 : r.verified / r.calls;
}

/** One row a memory call, the commonest first. */
export function byCall(results: readonly CaseResult[]): CallSummary[] {
  const rows = new Map<string, CallSummary>();
  for (const r of results) {
    for (const [call, n] of Object.entries(r.byCall)) {
      let row = rows.get(call);
      if (row === undefined) {
        row = { call, cases: 0, fullCases: 0, verified: 0, diverged: 0, skipped: 0, learned: 0 };
        rows.set(call, row);
      }
      row.cases++;
      if (n.diverged + n.skipped + n.learned === 0) row.fullCases++;
      row.verified += n.verified;
      row.diverged += n.diverged;
      row.skipped += n.skipped;
      row.learned += n.learned;
    }
  }
  return [...rows.values()].sort((a, b) => b.cases - a.cases || (a.call < b.call ? -1 : 1));
}
