// The matrix of devices and notifier designs as text: a row for each device, a column for each design, and below it why a cell is what
// it is, each violation with the command that shows it.

import type { MatrixCell, MatrixVerdict } from '../workload/matrix/cell.ts';
import { formatCount, formatTable, wrap } from './table.ts';

const MARK: Readonly<Record<MatrixVerdict, string>> = {
  safe: 'safe',
  price: 'price',
  gap: 'gap',
  stale: 'stale',
  unsafe: 'UNSAFE',
  'not exercised': '.',
  'no driver': '-',
};

/** Of a cell of which not every execution was seen. What was found stands all the same, so an unsafe cell has none. */
const BOUNDED = '~';

function mark(cell: MatrixCell | undefined): string {
  if (cell === undefined) return '?';
  const text = cell.verdict === 'gap' ? `gap ${cell.gaps.join(',')}` : MARK[cell.verdict];
  const isBounded = cell.verdict !== 'unsafe' && cell.exhausted < cell.operations;
  return isBounded ? `${text} ${BOUNDED}` : text;
}

/** `traceCommand` makes the command that shows a schedule. */
export function formatDeviceMatrix(
  cells: readonly MatrixCell[],
  traceCommand: (schedule: string) => string,
  width = 100,
): string {
  const devices = [...new Set(cells.map((c) => c.device))];
  const designs = [...new Set(cells.map((c) => c.design))];
  const at = (device: string, design: string): MatrixCell | undefined =>
    cells.find((c) => c.device === device && c.design === design);
  const table = formatTable(
    {
      columns: [{ title: 'device', align: 'left' }, ...designs.map((title) => ({ title, align: 'left' as const }))],
      rows: devices.map((device) => [device, ...designs.map((design) => mark(at(device, design)))]),
    },
    Math.max(width, 60),
  );
  const executions = cells.reduce((n, c) => n + c.executions, 0);
  const legend = [
    `safe: no execution violates anything, and the same device that hears nothing was caught   ${BOUNDED} not every execution was seen`,
    "UNSAFE: it reaches memory that may be somebody else's, loses data, or sleeps where it must not",
    "stale: it goes on in memory that the program gave up or closed, which is nobody else's yet",
    'price: safe, but it does not get on, or pins what it uses',
    'gap N: only documented gaps of the real kernel   . not exercised   - no driver of it for this design   ? not run',
    `${formatCount(executions)} executions. Sequentially consistent memory: missing barriers are not found.`,
  ];
  return [
    table.trimEnd(),
    '',
    ...legend.flatMap((line) => wrap(line, width)),
    ...boundedLines(cells, width),
    ...cells.flatMap((c) => reasonOf(c, traceCommand, width)),
    '',
  ].join('\n');
}

/** As many refaults in a row come with any retry. */
const REFAULTS_SHOWN = 2;

/** Which operations a bound ended, by device. Nothing of a sample, which sees every execution of none. */
function boundedLines(cells: readonly MatrixCell[], width: number): string[] {
  if (cells.every((c) => c.exhausted === 0)) return [];
  const lines: string[] = [];
  for (const c of cells) {
    if (c.verdict === 'no driver') continue;
    const name = `${c.device} under ${c.design}`;
    const all = `every execution of ${c.exhausted} of ${c.operations} operations`;
    const rest = c.bounded.length === 0 ? '' : `; a bound ended ${c.bounded.join(', ')}`;
    const cut = c.cut === 0 ? '' : `; ${formatCount(c.cut)} executions reached the bound of steps`;
    lines.push(...wrap(`${name}: ${all}${rest}${cut}.`, width));
  }
  return ['', ...lines];
}

function reasonOf(cell: MatrixCell, traceCommand: (schedule: string) => string, width: number): string[] {
  if (cell.why === '' || cell.verdict === 'not exercised') return [];
  const where = cell.operation === '' ? '' : `, ${cell.operation}`;
  const lines = ['', `${cell.device} under ${cell.design}${where}: ${MARK[cell.verdict]}`];
  const { affected } = cell;
  const more =
    affected.length > 1 ? [`The same kind under: ${affected.filter((o) => o !== cell.operation).join(', ')}.`] : [];
  const { refaultsMax } = cell.price;
  if (refaultsMax > REFAULTS_SHOWN) more.push(`Refaults at one access, in a row: up to ${refaultsMax}.`);
  for (const text of [`Driver: ${cell.driver}`, cell.why, ...more])
    lines.push(...wrap(text, width - 4).map((l) => `    ${l}`));
  const schedule = cell.violation?.schedule ?? '';
  if (schedule !== '') lines.push(`    ${traceCommand(schedule)}`);
  return lines;
}
