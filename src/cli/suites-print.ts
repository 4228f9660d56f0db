// The result of `suites`, for people and for machines.

import { type CaseResult, isFull } from '../workload/suites/run-case.ts';
import { byCall, bySuite } from '../workload/suites/summary.ts';

export interface SuitesRun {
  readonly directory: string;
  readonly total: number;
  /** Fewer than `total` when the run was stopped. */
  readonly results: readonly CaseResult[];
  readonly seconds: number;
  readonly workers: number;
}

/** The published form of `suites --json`. */
export function suitesJson(run: SuitesRun): object {
  return {
    directory: run.directory,
    cases: run.total,
    complete: run.results.length === run.total,
    seconds: run.seconds,
    workers: run.workers,
    suites: bySuite(run.results),
    calls: byCall(run.results),
    results: run.results,
  };
}

function percent(part: number, whole: number): string {
  return whole === 0 ? '-' : `${((100 * part) / whole).toFixed(2)} %`;
}

/** Columns: the first to the left, the others to the right. */
function table(rows: readonly (readonly string[])[]): string[] {
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd(),
  );
}

const SUITE_HEAD = [
  'suite',
  'cases',
  'all verified',
  '',
  'mean verified',
  'memory calls',
  'verified',
  'exact',
  'final maps equal',
  '',
];

export function printSuites(run: SuitesRun, all: boolean): string {
  const { results } = run;
  const out: string[] = [];
  const stopped = results.length < run.total ? `, stopped after ${results.length}` : '';
  out.push(`${run.directory}: ${run.total} cases${stopped}, ${run.seconds.toFixed(1)} s, ${run.workers} workers`, '');
  const suites = bySuite(results).map((s) => [
    s.suite,
    String(s.cases),
    String(s.full),
    percent(s.full, s.cases),
    percent(s.meanVerified, 1),
    String(s.calls),
    String(s.verified),
    String(s.exact),
    String(s.exactMapsEqual),
    percent(s.exactMapsEqual, s.exact),
  ]);
  out.push(...table([SUITE_HEAD, ...suites]), '');
  const calls = byCall(results).map((c) =>
    [c.call, c.cases, c.fullCases, c.verified, c.diverged, c.skipped, c.learned].map(String),
  );
  const head = ['memory call', 'cases', 'all verified', 'verified', 'diverged', 'skipped', 'learned'];
  out.push(...table([head, ...calls]));
  for (const r of results) {
    if (all || !isFull(r) || (r.determinism === 'exact' && r.finalMaps === 'different')) out.push('', ...describe(r));
  }
  return `${out.join('\n')}\n`;
}

/** A case with its first difference. */
function describe(r: CaseResult): string[] {
  const out = [
    `${r.suite}/${r.case} (${r.determinism}): ${r.verified} of ${r.calls} memory calls, final maps ${r.finalMaps}`,
  ];
  if (r.error !== null) out.push(`  ended: ${r.error}`);
  if (r.first !== null)
    out.push(`  line ${r.first.line}: ${r.first.call}: recorded ${r.first.expected}, here ${r.first.actual}`);
  for (const [reason, count] of Object.entries(r.skips)) out.push(`  skipped ${count}: ${reason}`);
  if (r.firstMap !== null) out.push(`  ${r.firstMap}`);
  return out;
}
