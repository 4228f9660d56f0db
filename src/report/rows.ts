// The comparison of designs: one row for each, the same fields in text, HTML and JSON.

import type { DeviceState, JudgeResults, Verdict } from '../check/judge.ts';
import { formatCount, type Table } from './table.ts';

export interface RowViolation {
  readonly property: string;
  readonly step: number;
  readonly gap: number | null;
  readonly text: string;
}

/** One design's result. The field names are the JSON field names. */
export interface ComparisonRow {
  readonly design: string;
  readonly verdict: Verdict;
  readonly staleReads: number;
  readonly staleWrites: number;
  readonly permissionViolations: number;
  readonly windows: number;
  readonly pageRequests: number;
  readonly maxRefaults: number;
  readonly deviceState: DeviceState;
  readonly programState: string;
  readonly callbacks: number;
  readonly iotlbFlushes: number;
  readonly residentPeak: number;
  readonly pinnedPeak: number;
  readonly orphaned: number;
  readonly swappedPeak: number;
  readonly steps: number;
  readonly seconds: number;
  readonly violations: readonly RowViolation[];
}

/** What the judge cannot know. */
export interface RunFacts {
  readonly programState: string;
  readonly steps: number;
  readonly seconds: number;
}

/** The row of a design from what its judge found. */
export function comparisonRow(design: string, results: JudgeResults, facts: RunFacts): ComparisonRow {
  const r = results;
  return {
    design,
    verdict: r.verdict,
    staleReads: r.staleReads,
    staleWrites: r.staleWrites,
    permissionViolations: r.permissionViolations,
    windows: r.windows,
    pageRequests: r.pageRequests,
    maxRefaults: r.maxRefaults,
    deviceState: r.deviceState,
    programState: facts.programState,
    callbacks: r.callbacks,
    iotlbFlushes: r.iotlbFlushes,
    residentPeak: r.residentPeak,
    pinnedPeak: r.pinnedPeak,
    orphaned: r.orphaned,
    swappedPeak: r.swappedPeak,
    steps: facts.steps,
    seconds: facts.seconds,
    violations: r.violations.map(({ property, step, gap, text }) => ({ property, step, gap, text })),
  };
}

interface RowColumn {
  readonly title: string;
  readonly align: 'left' | 'right';
  /** What the column counts, for a reader who points at the title. */
  readonly hint: string;
  readonly cell: (row: ComparisonRow) => string;
}

function count(title: string, hint: string, of: (row: ComparisonRow) => number): RowColumn {
  return { title, align: 'right', hint, cell: (row) => formatCount(of(row)) };
}

function words(title: string, hint: string, of: (row: ComparisonRow) => string): RowColumn {
  return { title, align: 'left', hint, cell: of };
}

/** The columns of the comparison, in order. */
export const COMPARISON_COLUMNS: readonly RowColumn[] = [
  words('design', 'Notifier design', (r) => r.design),
  words('verdict', 'unsafe, gap (only documented gaps), not exercised, or safe', (r) => r.verdict),
  count('stale reads', 'Device reads of a frame that had been freed', (r) => r.staleReads),
  count('stale writes', 'Device writes to a frame that had been freed', (r) => r.staleWrites),
  count('perm. violations', 'Device writes after write protection was complete', (r) => r.permissionViolations),
  count('windows', 'Frees of frames that the device had translated', (r) => r.windows),
  count('page requests', 'Page requests of the device', (r) => r.pageRequests),
  count('max. refaults', 'Most refaults in a row for one access', (r) => r.maxRefaults),
  words('device', 'State of the device at the end', (r) => r.deviceState),
  words('program', 'How the program ended', (r) => r.programState),
  count('callbacks', 'Notifier callbacks', (r) => r.callbacks),
  count('IOTLB flushes', 'Invalidation commands to the IOMMU TLB', (r) => r.iotlbFlushes),
  count('resident peak', 'Most frames mapped at once', (r) => r.residentPeak),
  count('pinned peak', 'Most frames pinned at once', (r) => r.pinnedPeak),
  count('orphaned', 'Pinned frames whose mapping went away', (r) => r.orphaned),
  count('swapped peak', 'Most swap entries in page tables at once', (r) => r.swappedPeak),
  count('steps', 'Scheduler steps', (r) => r.steps),
  { title: 'seconds', align: 'right', hint: 'Seconds that the run took', cell: (r) => r.seconds.toFixed(2) },
];

/** The comparison as a table of text cells. */
export function comparisonTable(rows: readonly ComparisonRow[]): Table {
  return {
    columns: COMPARISON_COLUMNS,
    rows: rows.map((row) => COMPARISON_COLUMNS.map((column) => column.cell(row))),
  };
}
