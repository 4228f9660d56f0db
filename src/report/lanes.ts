// Rows of events drawn beside their lanes, time going down: a column for each actor with a mark where it acted, and the words
// at the right. Names stand above their columns while there is room; else each stands on a line of its own, as steps of a
// stair, and a lane takes two columns or one:
//
//      munmap                        munmap
//      │ device                step  │       device
//      │ │ IOMMU walker 0         1  ●       │       munmap(0x10200000, 0x1000)
//   1  ● │ │   munmap(…)             ╰───────╮       preempted: munmap → device
//      ╰─╮ │   preempted: …       2  │       ●       …

import { displayWidth, pad, truncate } from './table.ts';

export type Tone = 'plain' | 'bad' | 'dim' | 'switch' | 'title';

export interface LaneRow {
  /** Text of the left margin. */
  readonly label: string;
  /** Lane of the mark; -1 for none. */
  readonly lane: number;
  /** A lane to which a line is drawn; no mark then. */
  readonly to?: number;
  readonly text: string;
  readonly tone: Tone;
  /** Goes on with what the row above did: no mark of its own. */
  readonly isMore?: boolean;
}

/** Puts a tone on text: the identity, or colour codes. */
export type Paint = (text: string, tone: Tone, lane: number) => string;

export const plainPaint: Paint = (text) => text;

const LANE_COLOURS = [36, 35, 34, 32, 33, 96, 95, 94, 92, 93];
const TONES: Readonly<Record<Tone, string>> = { plain: '', bad: '1;31', dim: '2', switch: '1;33', title: '1' };

/** Colours of a terminal; the marks of a lane have its own. */
export const terminalPaint: Paint = (text, tone, lane) => {
  const code = tone === 'plain' && lane >= 0 ? String(LANE_COLOURS[lane % LANE_COLOURS.length]) : TONES[tone];
  return code === '' || text.trim() === '' ? text : `\x1b[${code}m${text}\x1b[0m`;
};

/** Columns of words that a drawing keeps free at the right, as a part of the width. */
const WORDS_PART = 0.55;
const NAME_MAX = 16;
const WORDS_MIN = 20;

/** Lines of at most `width` columns (60 or more): the names of the lanes, then the rows. */
export function drawLanes(names: readonly string[], rows: readonly LaneRow[], width: number, paint: Paint): string[] {
  const margin = Math.max(4, ...rows.map((row) => displayWidth(row.label)));
  const columns = names.map((name) => Math.max(1, displayWidth(name)));
  const wide = columns.reduce((sum, w) => sum + w + 2, margin + 2);
  const isWide = width - wide >= WORDS_PART * width && columns.every((w) => w <= NAME_MAX);
  const pitch = margin + 3 + 2 * names.length + WORDS_MIN <= width ? 2 : 1;
  const laneWidths = isWide ? columns.map((w) => w + 2) : names.map(() => pitch);
  const out = isWide ? wideHead(names, margin, laneWidths, paint) : stairs(names, margin, laneWidths, width, paint);
  const left = margin + 2 + laneWidths.reduce((a, b) => a + b, 0) + (isWide ? 0 : 1);
  const gap = isWide ? '' : ' ';
  for (const row of rows) {
    const words = fold(row.text, Math.max(1, width - left));
    words.forEach((line, n) => {
      const label = pad(n === 0 ? row.label : '', margin, 'right');
      const marks = laneWidths.map((w, lane) => drawCell(row, lane, w, n > 0, paint)).join('');
      out.push(`${paint(label, 'dim', -1)}  ${marks}${gap}${paint(line, row.tone, -1)}`.trimEnd());
    });
  }
  return out;
}

function wideHead(names: readonly string[], margin: number, widths: readonly number[], paint: Paint): string[] {
  const head = names.map((name, i) => paint(pad(name, widths[i]!), 'plain', i)).join('');
  return [`${paint(pad('step', margin, 'right'), 'dim', -1)}  ${head}`.trimEnd()];
}

function stairs(
  names: readonly string[],
  margin: number,
  widths: readonly number[],
  width: number,
  paint: Paint,
): string[] {
  let at = margin + 2;
  let bars = '';
  return names.map((name, i) => {
    const label = i === names.length - 1 ? paint(pad('step', margin, 'right'), 'dim', -1) : ' '.repeat(margin);
    const line = `${label}  ${bars}${paint(truncate(name, width - at), 'plain', i)}`;
    bars += paint(pad('│', widths[i]!), 'dim', -1);
    at += widths[i]!;
    return line;
  });
}

function drawCell(row: LaneRow, lane: number, width: number, isRest: boolean, paint: Paint): string {
  if (row.to !== undefined && !isRest) return drawSwitch(row.lane, row.to, lane, width, row.tone, paint);
  if (lane !== row.lane || isRest || row.to !== undefined || row.isMore === true)
    return paint(pad('│', width), 'dim', -1);
  return paint(pad(row.tone === 'bad' ? '✗' : '●', width), row.tone === 'bad' ? 'bad' : 'plain', lane);
}

/** The part in `lane` of a line from one lane to another. */
function drawSwitch(from: number, to: number, lane: number, width: number, tone: Tone, paint: Paint): string {
  const low = Math.min(from, to);
  const high = Math.max(from, to);
  if (lane < low || lane > high || low === high) return paint(pad('│', width), 'dim', -1);
  const corner = lane === from ? (from < to ? '╰' : '╯') : lane === to ? (from < to ? '╮' : '╭') : '┼';
  return paint(corner + (lane < high ? '─' : ' ').repeat(width - 1), tone, -1);
}

/** Breaks at spaces into lines of at most `width` columns; a longer word is cut into pieces. */
export function fold(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  let used = 0;
  for (const word of text.split(' ')) {
    let rest = word;
    let need = displayWidth(rest);
    if (line !== '' && used + 1 + need > width) {
      lines.push(line);
      line = '';
      used = 0;
    }
    while (need > width) {
      const piece = firstColumns(rest, width);
      lines.push(piece);
      rest = rest.slice(piece.length);
      need = displayWidth(rest);
    }
    line = line === '' ? rest : `${line} ${rest}`;
    used = displayWidth(line);
  }
  lines.push(line);
  return lines;
}

/** The longest beginning of at most `width` columns, one character at least. */
function firstColumns(text: string, width: number): string {
  let out = '';
  for (const ch of text) {
    if (out !== '' && displayWidth(out + ch) > width) break;
    out += ch;
  }
  return out;
}
