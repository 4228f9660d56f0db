// Aligned text tables for terminals. Titles break over several lines, numbers stand at the right, and a table that is wider
// than the terminal is continued in further blocks that repeat the first column.

export interface Column {
  readonly title: string;
  readonly align: 'left' | 'right';
}

export interface Table {
  readonly columns: readonly Column[];
  readonly rows: readonly (readonly string[])[];
}

const GAP = '  ';

/** Columns that a string takes on a terminal: wide East Asian characters and emoji two, combining marks and controls none. */
export function displayWidth(text: string): number {
  let width = 0;
  for (const ch of text) width += charWidth(ch.codePointAt(0)!);
  return width;
}

function charWidth(code: number): number {
  if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return 0;
  if (code < 0x300) return 1;
  if (code <= 0x36f || (code >= 0x200b && code <= 0x200f) || (code >= 0xfe00 && code <= 0xfe0f)) return 0;
  const isWide =
    (code >= 0x1100 && code <= 0x115f) ||
    (code >= 0x2e80 && code <= 0xa4cf) ||
    (code >= 0xac00 && code <= 0xd7a3) ||
    (code >= 0xf900 && code <= 0xfaff) ||
    (code >= 0xfe30 && code <= 0xfe6f) ||
    (code >= 0xff00 && code <= 0xff60) ||
    (code >= 0x1f300 && code <= 0x1faff) ||
    (code >= 0x20000 && code <= 0x3fffd);
  return isWide ? 2 : 1;
}

/** Control characters would let a name move the cursor: they are shown as \xNN. */
export function printable(text: string): string {
  let out = '';
  for (const ch of text) {
    const code = ch.codePointAt(0)!;
    const isControl = code < 0x20 || (code >= 0x7f && code < 0xa0) || (code >= 0x202a && code <= 0x202e);
    out += isControl ? `\\x${code.toString(16).padStart(2, '0')}` : ch;
  }
  return out;
}

/** Pads to `width` terminal columns. */
export function pad(text: string, width: number, align: 'left' | 'right' = 'left'): string {
  const space = ' '.repeat(Math.max(0, width - displayWidth(text)));
  return align === 'left' ? text + space : space + text;
}

/** Cuts to `width` terminal columns, ending in "…" when something was lost. */
export function truncate(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  let out = '';
  let used = 0;
  for (const ch of text) {
    const w = charWidth(ch.codePointAt(0)!);
    if (used + w > width - 1) break;
    out += ch;
    used += w;
  }
  return width > 0 ? `${out}…` : '';
}

/** Breaks at spaces into lines of at most `width` columns; a longer word stands alone. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && displayWidth(line) + 1 + displayWidth(word) > width) {
      lines.push(line);
      line = word;
    } else {
      line = line === '' ? word : `${line} ${word}`;
    }
  }
  lines.push(line);
  return lines;
}

/** 1234567 -> "1,234,567". */
export function formatCount(n: number): string {
  if (!Number.isFinite(n)) return '-';
  const digits = String(Math.abs(Math.round(n)));
  const grouped = digits.replace(/\B(?=(\d{3})+$)/g, ',');
  return n < 0 ? `-${grouped}` : grouped;
}

/** The table as text, each line ended by a newline. `width` is that of the terminal; Infinity keeps it in one piece. */
export function formatTable(table: Table, width = Number.POSITIVE_INFINITY): string {
  const rows = table.rows.map((row) => row.map(printable));
  const widths = table.columns.map((column, i) => columnWidth(column, rows, i));
  const blocks = splitColumns(widths, width);
  return blocks.map((block) => formatBlock(table.columns, rows, widths, block)).join('\n');
}

function columnWidth(column: Column, rows: readonly (readonly string[])[], i: number): number {
  let width = 0;
  for (const row of rows) width = Math.max(width, displayWidth(row[i] ?? ''));
  for (const word of column.title.split(' ')) width = Math.max(width, displayWidth(word));
  return width;
}

/** Columns of each block: as many as fit, the first in every one. */
function splitColumns(widths: readonly number[], width: number): number[][] {
  const blocks: number[][] = [];
  let block: number[] = [];
  let used = 0;
  for (let i = 0; i < widths.length; i++) {
    const need = widths[i]! + (block.length === 0 ? 0 : GAP.length);
    if (block.length > 1 && used + need > width) {
      blocks.push(block);
      block = [0];
      used = widths[0]!;
      used += widths[i]! + GAP.length;
    } else {
      used += need;
    }
    block.push(i);
  }
  if (block.length > 0) blocks.push(block);
  return blocks;
}

function formatBlock(
  columns: readonly Column[],
  rows: readonly (readonly string[])[],
  widths: readonly number[],
  block: readonly number[],
): string {
  const titles = block.map((i) => wrap(columns[i]!.title, widths[i]!));
  const height = Math.max(...titles.map((t) => t.length));
  const line = (cell: (i: number, at: number) => string): string =>
    block
      .map((i, at) => pad(cell(i, at), widths[i]!, columns[i]!.align))
      .join(GAP)
      .trimEnd();
  const out: string[] = [];
  for (let y = 0; y < height; y++) out.push(line((_, at) => titles[at]![y - (height - titles[at]!.length)] ?? ''));
  out.push(block.map((i) => '─'.repeat(widths[i]!)).join(GAP));
  for (const row of rows) out.push(line((i) => row[i] ?? ''));
  return `${out.join('\n')}\n`;
}
