// Timelines and residency charts as SVG. Colours are CSS custom properties with fallbacks, so that the HTML report can switch
// them for dark mode; every drawing has a title and a description.

import type { ResidencyCourse } from '../check/residency.ts';
import { displayWidth, formatCount, wrap } from './table.ts';
import type { TimelineLayout, TimelineLine } from './timeline.ts';

/** Escapes text for HTML and SVG content and attributes; control characters that XML forbids are dropped. */
export function escapeMarkup(text: string): string {
  let out = '';
  for (const ch of text) {
    const code = ch.codePointAt(0)!;
    if (code < 0x20 && code !== 9 && code !== 10) continue;
    if (code >= 0xd800 && code <= 0xdfff) continue;
    if (code === 0xfffe || code === 0xffff) continue;
    out +=
      ch === '&'
        ? '&amp;'
        : ch === '<'
          ? '&lt;'
          : ch === '>'
            ? '&gt;'
            : ch === '"'
              ? '&quot;'
              : ch === "'"
                ? '&#39;'
                : ch;
  }
  return out;
}

const LINE = 20;
const CHAR = 7.3;
const INK = 'var(--ink, #1a1a1a)';
const FAINT = 'var(--faint, #b5b5b5)';
const BAD = 'var(--bad, #b3261e)';
const MARK = 'var(--mark, #22577a)';
const WARN = 'var(--warn, #7a4d00)';
const DIM = 'var(--dim, #6b6b6b)';

/** The timeline as one SVG element. `id` must be unique in the page. */
export function timelineSvg(layout: TimelineLayout, id: string): string {
  const steps = layout.lines.map((line) =>
    line.to !== undefined || line.isMore === true ? '' : formatCount(line.step),
  );
  const stepWidth = Math.max(5, ...steps.map((s) => s.length)) * CHAR + 12;
  const laneX: number[] = [];
  let x = stepWidth + 8;
  for (const lane of layout.lanes) {
    const w = Math.max(5, displayWidth(lane.name)) * CHAR + 12;
    laneX.push(x + w / 2);
    x += w;
  }
  const textX = x + 10;
  const longest = Math.max(30, ...layout.lines.map((line) => displayWidth(line.text)));
  const width = Math.ceil(Math.min(1600, textX + longest * CHAR + 12));
  const wrapped = (text: string): string[] => wrap(text, Math.floor((width - 24) / CHAR));
  const header = layout.facts === undefined ? [] : wrapped(layout.title);
  header.push(...[...(layout.facts ?? []).filter((fact) => fact !== ''), ...(layout.before ?? [])].flatMap(wrapped));
  const footer = layout.conclusion.flatMap(wrapped);
  const head = LINE * (1 + header.length);
  const top = head + LINE * (layout.isCut ? 1.6 : 0.6);
  const bottom = top + layout.lines.length * LINE;
  const height = Math.ceil(bottom + (footer.length + 1) * LINE);
  const out: string[] = [];
  const e = escapeMarkup;
  out.push(
    `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="${e(id)}-t ${e(id)}-d" viewBox="0 0 ${width} ${height}" ` +
      `width="${width}" height="${height}" font-family="ui-monospace, monospace" font-size="12">`,
    `<title id="${e(id)}-t">${e(layout.title)}</title>`,
    `<desc id="${e(id)}-d">${e(layout.conclusion.join(' ').trim())}</desc>`,
  );
  header.forEach((line, i) => {
    out.push(text(12, LINE * (i + 1), line, INK, 'start'));
  });
  out.push(text(stepWidth, head, 'step', INK, 'end'));
  layout.lanes.forEach((lane, i) => {
    const at = f(laneX[i]!);
    out.push(text(laneX[i]!, head, lane.name, INK, 'middle'));
    out.push(`<line x1="${at}" y1="${f(head + LINE * 0.3)}" x2="${at}" y2="${f(bottom)}" stroke="${FAINT}"/>`);
  });
  if (layout.isCut) out.push(text(textX, head + LINE * 0.8, '(earlier events are left out)', INK, 'start'));
  layout.lines.forEach((line, i) => {
    const y = top + i * LINE;
    out.push(text(stepWidth, y + 4, steps[i]!, INK, 'end'));
    out.push(line.to === undefined ? mark(line, laneX[line.lane] ?? stepWidth, y) : switchArrow(line, laneX, y));
    const colour = line.isBad ? BAD : line.isPreemption === true ? WARN : line.to === undefined ? INK : DIM;
    out.push(text(textX, y + 4, line.text, colour, 'start'));
  });
  footer.forEach((sentence, i) => {
    out.push(text(12, bottom + (i + 1) * LINE, sentence, layout.isFailed === true ? BAD : INK, 'start'));
  });
  out.push('</svg>');
  return `${out.join('\n')}\n`;
}

/** The timeline as an SVG file of its own, on white whatever the viewer's background. */
export function timelineSvgFile(layout: TimelineLayout): string {
  const svg = timelineSvg(layout, 'trace');
  const at = svg.indexOf('</desc>') + '</desc>\n'.length;
  const paper = '<rect width="100%" height="100%" fill="#ffffff"/>\n';
  return `<?xml version="1.0" encoding="UTF-8"?>\n${svg.slice(0, at)}${paper}${svg.slice(at)}`;
}

function mark(line: TimelineLine, x: number, y: number): string {
  if (line.isMore === true) return `<circle cx="${f(x)}" cy="${f(y)}" r="2" fill="${MARK}"/>`;
  return `<circle cx="${f(x)}" cy="${f(y)}" r="4.5" fill="${line.isBad ? BAD : MARK}"/>`;
}

/** From the lane that stops running to the one that goes on; whole when it was preempted, dashed when it waits. */
function switchArrow(line: TimelineLine, laneX: readonly number[], y: number): string {
  const from = laneX[line.lane] ?? 0;
  const to = laneX[line.to ?? line.lane] ?? from;
  const colour = line.isPreemption === true ? WARN : DIM;
  const dash = line.isPreemption === true ? '' : ' stroke-dasharray="3 3"';
  const tip = to > from ? -6 : 6;
  return (
    `<path d="M${f(from)} ${f(y)}H${f(to)}" fill="none" stroke="${colour}" stroke-width="1.5"${dash}/>` +
    `<path d="M${f(to + tip)} ${f(y - 4)}L${f(to)} ${f(y)}L${f(to + tip)} ${f(y + 4)}" fill="none" stroke="${colour}" stroke-width="1.5"/>`
  );
}

function f(n: number): string {
  return String(Math.round(n * 10) / 10);
}

function text(x: number, y: number, content: string, colour: string, anchor: 'start' | 'middle' | 'end'): string {
  return `<text x="${f(x)}" y="${f(y)}" fill="${colour}" text-anchor="${anchor}" xml:space="preserve">${escapeMarkup(content)}</text>`;
}

interface Series {
  readonly name: string;
  readonly values: readonly number[];
  readonly colour: string;
  readonly dash: string;
}

const CHART = { width: 640, height: 220, left: 64, right: 12, top: 14, bottom: 44 };

/** Frames resident, pinned and swapped over the run. `max`: top of the scale, shared by the charts of a page; 0 = own. */
export function residencySvg(course: ResidencyCourse, title: string, id: string, max = 0): string {
  const series: Series[] = [
    { name: 'resident', values: course.resident, colour: 'var(--series-1, #22577a)', dash: '' },
    { name: 'pinned', values: course.pinned, colour: 'var(--series-2, #b3541e)', dash: '6 3' },
    { name: 'swapped', values: course.swapped, colour: 'var(--series-3, #57813a)', dash: '2 3' },
  ];
  const { width, height, left, right, top, bottom } = CHART;
  const first = course.step[0] ?? 0;
  const last = course.step[course.step.length - 1] ?? 0;
  const bySteps = last > first;
  const at = bySteps ? course.step : course.event;
  const x0 = at[0] ?? 0;
  const x1 = Math.max(x0 + 1, at[at.length - 1] ?? 1);
  const peak = series.reduce((m, s) => s.values.reduce((n, v) => Math.max(n, v), m), 0);
  const scale = niceCeiling(Math.max(max, peak, 1));
  const px = (v: number): number => left + ((v - x0) / (x1 - x0)) * (width - left - right);
  const py = (v: number): number => height - bottom - (v / scale) * (height - top - bottom);
  const e = escapeMarkup;
  const peaks = series.map((s) => `${s.name} at most ${formatCount(s.values.reduce((n, v) => Math.max(n, v), 0))}`);
  const out: string[] = [
    `<svg xmlns="http://www.w3.org/2000/svg" role="img" aria-labelledby="${e(id)}-t ${e(id)}-d" viewBox="0 0 ${width} ${height}" ` +
      `width="${width}" height="${height}" font-family="system-ui, sans-serif" font-size="12">`,
    `<title id="${e(id)}-t">${e(title)}</title>`,
    `<desc id="${e(id)}-d">${e(`Frames over the run: ${peaks.join(', ')}.`)}</desc>`,
  ];
  for (const part of [0, 0.5, 1]) {
    const y = py(scale * part);
    out.push(`<line x1="${left}" y1="${f(y)}" x2="${width - right}" y2="${f(y)}" stroke="${FAINT}"/>`);
    out.push(text(left - 6, y + 4, formatCount(scale * part), INK, 'end'));
  }
  for (const s of series) {
    const points = s.values.map((v, i) => `${f(px(at[i] ?? x0))},${f(py(v))}`).join(' ');
    const dash = s.dash === '' ? '' : ` stroke-dasharray="${s.dash}"`;
    out.push(`<polyline fill="none" stroke="${s.colour}" stroke-width="1.8"${dash} points="${points}"/>`);
  }
  out.push(text(left, height - bottom + 16, formatCount(x0), INK, 'start'));
  out.push(text(width - right, height - bottom + 16, `${formatCount(x1)} ${bySteps ? 'steps' : 'events'}`, INK, 'end'));
  series.forEach((s, i) => {
    const x = left + i * 130;
    const y = height - 10;
    const dash = s.dash === '' ? '' : ` stroke-dasharray="${s.dash}"`;
    out.push(
      `<line x1="${x}" y1="${y - 4}" x2="${x + 26}" y2="${y - 4}" stroke="${s.colour}" stroke-width="1.8"${dash}/>`,
    );
    out.push(text(x + 32, y, s.name, INK, 'start'));
  });
  out.push('</svg>');
  return `${out.join('\n')}\n`;
}

/** 1, 2 or 5 times a power of ten, at least `n`. */
export function niceCeiling(n: number): number {
  const power = 10 ** Math.floor(Math.log10(n));
  for (const factor of [1, 2, 5, 10]) if (factor * power >= n) return factor * power;
  return 10 * power;
}
