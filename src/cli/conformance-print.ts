// Output of shootdown conformance: the table of figures, the list of differences, one difference side by side.

import type { Divergence, Level } from '../conformance/compare.ts';
import { LEARNED_NAMES, type Learned } from '../conformance/program/learned.ts';
import type { LevelCount, LevelCounts, Summary } from '../conformance/summary.ts';

interface Damaged {
  readonly file: string;
  readonly lines: number;
  readonly first: string;
}

type Diverging = Summary['diverging'][number];

const LINES_AROUND = 12;
const COLUMN_MAX = 100;

function percent(part: number, whole: number): string {
  return whole === 0 ? '-' : `${((100 * part) / whole).toFixed(1)} %`;
}

function cell({ matching, gaps, diverging }: LevelCount): string {
  const whole = matching + gaps + diverging;
  return `${percent(matching, whole)} (${matching}/${gaps}/${diverging})`;
}

/** One row for each group: percentage of matching cases, and matching/gaps/diverging. */
export function printTable(summary: Summary, levels: readonly Level[], damaged: readonly Damaged[]): string {
  const rows: string[][] = [['', 'cases', ...levels]];
  const row = (name: string, cases: number, counts: LevelCounts): void => {
    rows.push([name, String(cases), ...levels.map((l) => cell(counts[l]))]);
  };
  for (const g of summary.groups) row(g.group, g.cases, g.levels);
  if (summary.groups.length > 1) row('all', summary.cases, summary.levels);
  const widths = rows[0]!.map((_, i) => Math.max(...rows.map((r) => r[i]!.length)));
  const lines = rows.map((r) =>
    r
      .map((c, i) => c.padEnd(widths[i]!))
      .join('  ')
      .trimEnd(),
  );
  lines.push('', 'cases that match (matching/known gaps/diverging)');
  if (summary.learned !== null) lines.push(`learned from recordings of real programs: ${learnedText(summary.learned)}`);
  for (const { file, lines: count, first } of damaged) lines.push(`${file}: ${count} damaged lines, first: ${first}`);
  return `${lines.join('\n')}\n`;
}

function learnedText(learned: Learned): string {
  const counts = Object.entries(learned) as [keyof Learned, number][];
  return counts.map(([name, n]) => `${LEARNED_NAMES[name]} ${n.toLocaleString('en')}`).join('; ');
}

/** One line for each case and level that diverges. */
export function printList(summary: Summary): string {
  const lines = summary.diverging.map(
    ({ name, kernel, divergence: d }) =>
      `${name} (${kernel}) ${d.level} #${d.record} ${d.call}\n    expected ${d.expected}\n    actual   ${d.actual}`,
  );
  return lines.length === 0 ? '' : `${lines.join('\n')}\n\n`;
}

function cut(text: string, width: number): string {
  return text.length > width ? `${text.slice(0, width - 1)}…` : text.padEnd(width);
}

/** The first difference of a case at one level, recorded on the left. */
export function printDifference({ name, kernel, divergence: d }: Diverging): string {
  const from = Math.max(0, d.at - LINES_AROUND);
  const to = Math.max(0, Math.min(Math.max(d.left.length, d.right.length), d.at + LINES_AROUND));
  const width = Math.min(COLUMN_MAX, Math.max(10, ...d.left.slice(from, to).map((l) => l.length)));
  const lines = [
    `${name} (${kernel}): ${d.level}, record ${d.record}`,
    `  ${d.call}`,
    `    ${cut('recorded', width)}   here`,
  ];
  if (from > 0) lines.push(`    (${from} equal records)`);
  for (let i = from; i < to; i++) {
    const [l, r] = [d.left[i] ?? '', d.right[i] ?? ''];
    lines.push(`  ${i === d.at ? '>' : ' '} ${cut(l, width)} ${mark(i, d)} ${r}`);
  }
  return `${lines.join('\n')}\n\n`;
}

/** Records after the first difference are not judged. */
function mark(i: number, d: Divergence): string {
  return i < d.at ? '=' : i === d.at ? '≠' : '|';
}

export function conformanceJson(paths: readonly string[], summary: Summary, damaged: readonly Damaged[]): unknown {
  return {
    directory: paths.length === 1 ? paths[0] : paths,
    cases: summary.cases,
    levels: summary.levels,
    groups: summary.groups,
    learned: summary.learned,
    diverging: summary.diverging.map(({ name, kernel, divergence: d }) => ({
      case: name,
      kernel,
      level: d.level,
      record: d.record,
      call: d.call,
      expected: d.expected,
      actual: d.actual,
    })),
    damaged,
  };
}
