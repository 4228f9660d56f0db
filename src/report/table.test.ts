import { expect, test } from 'vitest';
import { Rng } from '../base/rng.ts';
import { displayWidth, formatCount, formatTable, pad, printable, truncate, wrap } from './table.ts';

const TABLE = {
  columns: [
    { title: 'design', align: 'left' },
    { title: 'verdict', align: 'left' },
    { title: 'stale writes', align: 'right' },
    { title: 'page requests', align: 'right' },
  ],
  rows: [
    ['linux-6.1', 'safe', '0', '12,345'],
    ['linux-2.6.27', 'unsafe', '17', '8'],
  ],
} as const;

test('titles break at spaces, numbers stand at the right', () => {
  expect(`\n${formatTable(TABLE)}`).toBe(`
                        stale      page
design        verdict  writes  requests
────────────  ───────  ──────  ────────
linux-6.1     safe          0    12,345
linux-2.6.27  unsafe       17         8
`);
});

test('a narrow terminal gets further blocks that repeat the first column', () => {
  expect(`\n${formatTable(TABLE, 32)}`).toBe(`
                        stale
design        verdict  writes
────────────  ───────  ──────
linux-6.1     safe          0
linux-2.6.27  unsafe       17

                  page
design        requests
────────────  ────────
linux-6.1       12,345
linux-2.6.27         8
`);
});

test('no line is wider than the terminal when the first column and the widest other fit', () => {
  const rng = new Rng(7);
  const word = (): string => 'x'.repeat(1 + rng.below(9));
  for (let round = 0; round < 200; round++) {
    const columns = Array.from({ length: 2 + rng.below(12) }, () => ({
      title: `${word()} ${word()}`,
      align: rng.chance(1, 2) ? ('left' as const) : ('right' as const),
    }));
    const rows = Array.from({ length: 3 }, () => columns.map(word));
    const width = 20 + rng.below(60);
    const lines = formatTable({ columns, rows }, width).split('\n');
    for (const line of lines) expect(displayWidth(line)).toBeLessThanOrEqual(width);
    const cells = lines.flatMap((line) => line.split(/ +/)).sort();
    for (const cell of rows.flat()) expect(cells).toContain(cell);
  }
});

test('widths of wide, combining and control characters', () => {
  expect([displayWidth('日本'), displayWidth('e\u0301'), displayWidth('a\u0007b'), displayWidth('🙂')]).toEqual([
    4, 1, 2, 2,
  ]);
  expect(pad('日', 4, 'right')).toBe('  日');
  expect([truncate('abcdef', 4), truncate('日本語', 4), truncate('ab', 4), truncate('ab', 0)]).toEqual([
    'abc…',
    '日…',
    'ab',
    '',
  ]);
  expect(printable('a\u001b[31mb\u202ec')).toBe('a\\x1b[31mb\\x202ec');
});

test('wrap and counts', () => {
  expect(wrap('one two three', 7)).toEqual(['one two', 'three']);
  expect(wrap('averylongword b', 4)).toEqual(['averylongword', 'b']);
  expect([0, 999, 1000, 1234567, -4321, Number.POSITIVE_INFINITY].map(formatCount)).toEqual([
    '0',
    '999',
    '1,000',
    '1,234,567',
    '-4,321',
    '-',
  ]);
});
