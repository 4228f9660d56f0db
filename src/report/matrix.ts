// The coherence matrix of a check: a row for each operation, a column for each property, and below it what the marks mean and
// the command that shows each violation.

import { PROPERTIES, propertyOf } from '../check/properties.ts';
import type { CellVerdict, CheckResult, OperationResult } from '../workload/check/results.ts';
import { formatCount, formatTable, wrap } from './table.ts';

const MARK: Readonly<Record<CellVerdict, string>> = { clean: '+', gap: 'gap', violation: 'FAIL', 'not exercised': '.' };
/** Clean, but not every execution was seen. */
const BOUNDED = '~';

function mark(o: OperationResult, property: string): string {
  const cell = o.cells[property] ?? 'not exercised';
  return cell === 'clean' && !o.exhaustive ? BOUNDED : MARK[cell];
}

/** Properties with anything to say in some row, in the order of check/properties. */
export function columnsOf(result: CheckResult): string[] {
  const ids = PROPERTIES.map((p) => p.id);
  for (const o of result.operations) for (const id of Object.keys(o.cells)) if (!ids.includes(id)) ids.push(id);
  return ids.filter((id) => result.operations.some((o) => (o.cells[id] ?? 'not exercised') !== 'not exercised'));
}

function seen(o: OperationResult): string {
  return `${o.exhaustive ? 'all' : '  >'} ${formatCount(o.executions)}`;
}

/** The matrix as text. `traceCommand` makes the command that shows a schedule. */
export function formatMatrix(result: CheckResult, traceCommand: (schedule: string) => string, width = 100): string {
  const columns = columnsOf(result);
  const table = formatTable(
    {
      columns: [
        { title: 'operation', align: 'left' },
        { title: 'verdict', align: 'left' },
        { title: 'executions', align: 'right' },
        { title: 'held', align: 'right' },
        ...columns.map((title) => ({ title, align: 'right' as const })),
      ],
      rows: result.operations.map((o) => [
        o.operation,
        o.verdict,
        seen(o),
        `${Math.round(100 * o.heldShare)} %`,
        ...columns.map((id) => mark(o, id)),
      ]),
    },
    Math.max(width, 60),
  );
  return [table.trimEnd(), '', ...legend(result, columns, width), ...violations(result, traceCommand, width), ''].join(
    '\n',
  );
}

function legend(result: CheckResult, columns: readonly string[], width: number): string[] {
  const lines = [
    `+ clean in every execution   ${BOUNDED} clean in those seen   FAIL violated   gap documented gap of the real kernel`,
    '. not exercised: the same device without callbacks is not caught either',
    'held: share of executions in which the device held a translation of an affected page. all: every',
    'execution was seen (up to steps that do not touch); >: only so many. Sequentially consistent memory:',
    'missing barriers are not found.',
  ];
  const silent = PROPERTIES.map((p) => p.id).filter((id) => !columns.includes(id));
  if (silent.length > 0) lines.push(`Not exercised by any operation here: ${silent.join(', ')}.`);
  if (result.unfinished.length > 0) lines.push(`Stopped before: ${result.unfinished.join(', ')}.`);
  return lines.flatMap((line) => wrap(line, width));
}

function violations(result: CheckResult, traceCommand: (schedule: string) => string, width: number): string[] {
  const lines: string[] = [];
  const indented = (text: string): string[] => wrap(text, width - 4).map((line) => `    ${line}`);
  for (const o of result.operations) {
    for (const v of o.violations) {
      const property = propertyOf(v.property);
      const gap = v.gap === null ? '' : ` (documented gap ${v.gap})`;
      lines.push('', `${o.operation}: ${v.property} ${v.tag}${gap}, ${v.steps} steps, ${v.switches} switches`);
      lines.push(...indented(v.sentence));
      if (property !== undefined) lines.push(...indented(`Violates: ${property.claim}`));
      // A driver that did not give control back left no schedule.
      if (v.schedule !== '') lines.push(`    ${traceCommand(v.schedule)}`);
    }
  }
  if (result.lockFindings.length > 0) lines.push('', 'Locks and sleeps:');
  for (const f of result.lockFindings) {
    const gap = f.gap === null ? '' : ` (documented gap ${f.gap})`;
    lines.push(...indented(`${f.property} ${f.tag}${gap}: ${f.sentence}`));
  }
  return lines;
}
