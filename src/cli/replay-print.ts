// The result of a replay, for people and for machines.

import type { ImportReport } from '../workload/import-report.ts';
import type { ReplayResult } from '../workload/replay/run.ts';

const DIVERGENCES_SHOWN = 10;
const MAP_LINES_SHOWN = 12;

/** The published form of `replay --json`. */
export function replayJson(r: ReplayResult, problems: readonly string[]): object {
  const t = r.tally;
  return {
    trace: r.trace,
    kernel: r.kernel,
    calls: t.calls,
    verified: t.verified,
    learned: t.learned,
    diverged: t.diverged,
    skipped: t.skipped,
    reordered: t.reordered,
    context: t.context,
    ignored: t.ignored,
    skips: Object.fromEntries(t.skips),
    byCall: Object.fromEntries([...t.byCall].sort()),
    divergences: r.divergences.map(({ line, call, expected, actual }) => ({ line, call, expected, actual })),
    finalMaps: r.finalMaps,
    finalMapsNotCompared: r.finalMapsResults.reduce((n, m) => n + m.notCompared, 0),
    finalMapsDifferences: r.finalMapsResults.filter((m) => m.differences.length > 0),
    faults: r.faults,
    callbacks: r.callbacks,
    events: r.events,
    touched: r.touched,
    framesPeak: r.framesPeak,
    faultPlan: r.faultPlan,
    references: r.references,
    ended: r.ended,
    recordsDone: r.recordsDone,
    recordsTotal: r.recordsTotal,
    complete: r.recordsDone === r.recordsTotal && r.ended === null,
    inputProblems: problems,
    seconds: r.seconds,
  };
}

function percent(part: number, whole: number): string {
  return whole === 0 ? '-' : `${((100 * part) / whole).toFixed(2)} %`;
}

export function printReplay(r: ReplayResult, report: ImportReport, problems: readonly string[], all: boolean): string {
  const t = r.tally;
  const out: string[] = [];
  out.push(`${r.trace}: ${report.lines} lines, kernel ${r.kernel}, ${r.seconds.toFixed(2)} s`);
  if (r.recordsDone < r.recordsTotal)
    out.push(`  stopped after ${r.recordsDone} of ${r.recordsTotal} records${r.ended === null ? '' : `: ${r.ended}`}`);
  for (const problem of problems) out.push(`  input: ${problem}`);
  for (const line of [...report.firstUnknown, ...report.firstDamaged])
    out.push(`    line ${line.line}: ${line.text} (${line.why})`);
  out.push(
    `  memory and process calls ${t.calls}: verified ${t.verified} (${percent(t.verified, t.calls)}), learned ${t.learned}, diverged ${t.diverged}, skipped ${t.skipped}`,
  );
  if (t.reordered > 0)
    out.push(`  overlapping calls verified in the other order than that of their results: ${t.reordered}`);
  out.push(`  calls on files taken as input ${t.context}; calls without meaning for memory ${t.ignored}`);
  for (const [reason, count] of t.skips) out.push(`  skipped ${count}: ${reason}`);
  const names = [...t.byCall].sort((a, b) => a[0].localeCompare(b[0]));
  for (const [name, c] of names)
    out.push(
      `    ${name.padEnd(18)} verified ${String(c.verified).padStart(6)}  diverged ${c.diverged}  learned ${c.learned}  skipped ${c.skipped}`,
    );
  const shown = all ? r.divergences : r.divergences.slice(0, DIVERGENCES_SHOWN);
  for (const d of shown) out.push(`  line ${d.line}: ${d.call}: recorded ${d.expected}, here ${d.actual}`);
  if (t.diverged > shown.length) out.push(`  ... ${t.diverged - shown.length} more divergences (--all)`);
  out.push(`  page faults ${r.faults}, pages touched ${r.touched}, frames at most ${r.framesPeak}`);
  if (r.faultPlan !== null)
    out.push(
      `  recorded faults: applied ${r.faultPlan.applied}, redundant ${r.faultPlan.redundant}, unused ${r.faultPlan.unused}`,
    );
  if (r.references !== null) {
    const f = r.references;
    const each = ((f.seconds * 1e9) / Math.max(1, f.translations)).toFixed(1);
    out.push(
      `  memory references ${f.references}: TLB misses ${f.tlbMisses}, faults ${f.faults}, mappings learned ${f.mappingsLearned}, ${each} ns each`,
    );
    for (const problem of f.problems) out.push(`    input: ${problem}`);
  }
  const equal = r.finalMapsResults.filter((m) => m.differences.length === 0).length;
  out.push(`  final maps: ${r.finalMaps} (${equal} of ${r.finalMapsResults.length} processes equal)`);
  const notCompared = r.finalMapsResults.reduce((n, m) => n + m.notCompared, 0);
  if (notCompared > 0)
    out.push(`    not compared: ${notCompared} lines that execve made, as the recording has no initial maps`);
  for (const m of r.finalMapsResults.filter((x) => x.differences.length > 0).slice(0, all ? undefined : 3)) {
    out.push(`    task ${m.task}: ${m.differences.length} lines differ`);
    for (const d of m.differences.slice(0, MAP_LINES_SHOWN)) out.push(`      ${d.sign} ${d.line}`);
  }
  return `${out.join('\n')}\n`;
}
