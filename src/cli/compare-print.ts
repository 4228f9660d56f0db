// The comparison as text, JSON and HTML.

import { basename } from 'node:path';
import { deviceInfo } from '../device/devices.ts';
import { WORKLOAD_DEFAULTS } from '../device/workload.ts';
import type { LaneKind, Names } from '../report/describe.ts';
import { htmlReport } from '../report/html.ts';
import { type ComparisonRow, comparisonRow, comparisonTable } from '../report/rows.ts';
import { formatCount, formatTable } from '../report/table.ts';
import { formatTimeline, layoutTimeline } from '../report/timeline.ts';
import type { Comparison } from '../workload/compare/compare.ts';
import type { DataResults } from '../workload/compare/data-watch.ts';
import type { DesignRun } from '../workload/compare/run-design.ts';

/** What the device is; several when the rows have several. */
function deviceText(c: Comparison): string {
  const names = [...new Set(c.runs.map((r) => r.row.device).filter((d) => d !== undefined))];
  if (names.length === 0) return 'PCIe device with ATS and PRI behind an IOMMU that walks the page tables';
  return names.map((name) => deviceInfo(name).summary).join('; ');
}

function rowOf(run: DesignRun): ComparisonRow | null {
  if (run.results === null) return null;
  return comparisonRow(run.row.name, run.results, {
    programState: run.programState,
    steps: run.steps,
    seconds: run.seconds,
  });
}

function namesOf(run: DesignRun): Names {
  const laneOf = (lane: string): LaneKind =>
    lane === 'cpu' ? 'program' : lane === 'iommu' ? 'IOMMU' : (lane as LaneKind);
  return {
    actor: (id) => {
      const t = run.threads[id];
      return t === undefined ? { name: `thread ${id}`, lane: 'kernel' } : { name: t.name, lane: laneOf(t.lane) };
    },
    device: () => 'device',
  };
}

function rowsOf(c: Comparison): ComparisonRow[] {
  return c.runs.map(rowOf).filter((r) => r !== null);
}

export function compareJson(c: Comparison): string {
  const designs = c.runs.map((run) => {
    const r = run.results!;
    return {
      ...rowOf(run),
      frames: run.frames,
      windowsOpen: r.windowsOpen,
      windowCauses: r.windowCauses,
      safetyViolations: r.safetyViolations,
      livenessFindings: r.livenessFindings,
      byProperty: r.byProperty,
      byGap: r.byGap,
      orphanedPeak: r.orphanedPeak,
      swapOuts: r.swapOuts,
      swapIns: r.swapIns,
      deviceReads: r.deviceReads,
      deviceWrites: r.deviceWrites,
      events: r.events,
      ...(run.data === null ? {} : { data: run.data }),
    };
  });
  const result = {
    program: c.trace.path,
    device: deviceText(c),
    seed: c.seed,
    frames: c.frames,
    kernel: c.kernel,
    peakFrames: c.peakFrames,
    pinnedFrames: c.pinnedFrames,
    complete: !c.isCut,
    inputProblems: c.trace.problems,
    designs,
  };
  return `${JSON.stringify(result, null, 1)}\n`;
}

const MiB = (frames: number): string => `${(frames / 256).toFixed(1)} MiB`;

function facts(c: Comparison): string[] {
  const share = Math.round((100 * c.frames) / Math.max(1, c.peakFrames));
  const lines = [
    `program  ${basename(c.trace.path)} (${c.trace.report.lines} lines of strace), kernel profile ${c.kernel}`,
    `device   ${deviceText(c)}; shares the memory of task ${c.target.tid}, which makes ${c.target.calls} memory calls`,
    `work     seeded bursts of reads and writes; ${WORKLOAD_DEFAULTS.focusPercent} % of them go to memory that the program is giving up, while it does`,
    `memory   ${formatCount(c.frames)} frames (${MiB(c.frames)}), ${share} % of the ${formatCount(c.peakFrames)} that the program uses alone; seed ${c.seed}`,
  ];
  if (c.pinnedFrames !== null) {
    const percent = Math.round((100 * c.pinnedFrames) / c.peakFrames);
    lines.push(
      `pinning  takes ${formatCount(c.pinnedFrames)} frames (${MiB(c.pinnedFrames)}), ${percent} % of that peak, to complete without thrashing`,
    );
  }
  for (const problem of c.trace.problems) lines.push(`input    ${problem}`);
  if (c.isCut) lines.push(`stopped  before the end${c.runs.length > 0 ? ': the last row is incomplete' : ''}`);
  return lines;
}

export function printCompare(c: Comparison): string {
  const out = [...facts(c), ''];
  const rows = rowsOf(c);
  if (rows.length > 0) out.push(formatTable(transposed(rows.map(shortened))), ...LEGEND, '');
  for (const row of rows)
    if (row.programState.includes(': ')) out.push(`${row.design}: the program ${row.programState}`);
  for (const run of c.runs) if (run.data !== null) out.push(...dataLines(run.row.name, run.data));
  for (const run of c.runs) {
    const lines = story(run);
    if (lines.length > 0) out.push('', ...lines);
  }
  return `${out.join('\n')}\n`;
}

/** Whether what program and device stored is what they read. */
function dataLines(name: string, d: DataResults): string[] {
  const words = `${formatCount(d.compared)} words compared with what was stored last`;
  if (d.wrong === 0) return [`${name}: data intact, ${words}`];
  return [`${name}: DATA DIFFERS, ${formatCount(d.wrong)} of ${words}; first ${d.firstWrong}`];
}

/** What a reader of the table must know; `--html` explains every row. */
const LEGEND = [
  'verdict: memory safety alone, of what was done: a device that failed (see --budget), or a program, did nothing afterwards.',
  'windows: frees of frames that the device had translated, where a withdrawal that comes too late allows stale accesses.',
  'orphaned: pinned frames whose mapping went away. steps: of the scheduler. seconds: of this machine, runs side by side.',
];

/** The table has room for one word; the sentence stands below it. */
function shortened(row: ComparisonRow): ComparisonRow {
  return { ...row, programState: row.programState.split(' ')[0]! };
}

/** Designs as columns: eighteen figures for seven designs fit a terminal that way. */
function transposed(rows: readonly ComparisonRow[]): ReturnType<typeof comparisonTable> {
  const table = comparisonTable(rows);
  return {
    columns: [{ title: '', align: 'left' }, ...rows.map((r) => ({ title: r.design, align: 'right' as const }))],
    rows: table.columns.slice(1).map((column, i) => [column.title, ...table.rows.map((row) => row[i + 1]!)]),
  };
}

function story(run: DesignRun): string[] {
  const r = run.results;
  if (r === null || r.violations.length === 0) return [];
  const out = [`${run.row.name}: ${run.row.summary}`];
  const counts = Object.entries(r.byProperty).map(([property, n]) => `${property} ${n}`);
  const gaps = Object.entries(r.byGap).map(([gap, n]) => `gap ${gap}: ${n}`);
  out.push(`  findings: ${[...counts, ...gaps].join(', ')}; windows left open ${r.windowsOpen} of ${r.windows}`);
  const first = r.timelines[0];
  if (first !== undefined) out.push(formatTimeline(layoutTimeline(first, namesOf(run))).trimEnd());
  return out;
}

export function compareHtml(c: Comparison): string {
  return htmlReport({
    title: `MMU notifier designs on ${basename(c.trace.path)}`,
    facts: facts(c),
    designs: c.runs
      .filter((run) => run.results !== null)
      .map((run) => ({
        row: rowOf(run)!,
        timelines: run.results!.timelines.map((t) => layoutTimeline(t, namesOf(run))),
        residency: run.results!.residency,
      })),
  });
}
