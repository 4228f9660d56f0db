// The events that led to a violation as text: a column for each actor with a mark where it acted, the step, and what
// happened in words; the violated property in one sentence at the end.

import { EV_STEP } from '../abi/events.ts';
import { gapText, propertyOf } from '../check/properties.ts';
import type { Timeline } from '../check/timeline.ts';
import { Describer, isStale, LANES, type LaneKind, laneOf, type Names } from './describe.ts';
import { displayWidth, formatCount, pad, printable, truncate, wrap } from './table.ts';

export interface TimelineLane {
  readonly name: string;
  readonly kind: LaneKind;
}

export interface TimelineLine {
  readonly step: number;
  /** Index of the lane. */
  readonly lane: number;
  readonly text: string;
  /** The event that violates the property. */
  readonly isBad: boolean;
}

/** A timeline laid out: what text and SVG draw. */
export interface TimelineLayout {
  readonly title: string;
  readonly lanes: readonly TimelineLane[];
  readonly lines: readonly TimelineLine[];
  readonly isCut: boolean;
  /** What happened, the property, and the documented gap if one explains it. */
  readonly conclusion: readonly string[];
}

/** Lays a timeline out: lanes in the order program, kernel, IOMMU, device, then by first appearance. */
export function layoutTimeline(timeline: Timeline, names: Names): TimelineLayout {
  const describer = new Describer(names);
  const lanes: TimelineLane[] = [];
  for (const record of timeline.records) {
    const { name, lane } = laneOf(record, names);
    if (!lanes.some((l) => l.name === name && l.kind === lane)) lanes.push({ name, kind: lane });
  }
  lanes.sort((a, b) => LANES.indexOf(a.kind) - LANES.indexOf(b.kind));
  const lines = timeline.records.map((record, i) => {
    const { name, lane } = laneOf(record, names);
    return {
      step: record[EV_STEP]!,
      lane: lanes.findIndex((l) => l.name === name && l.kind === lane),
      text: describer.describe(record),
      isBad: i === timeline.records.length - 1 || isStale(record),
    };
  });
  const { violation } = timeline;
  const property = propertyOf(violation.property);
  const conclusion = [violation.text];
  if (property !== undefined) conclusion.push(`Violates ${property.id} (${property.tag}): ${property.claim}`);
  if (violation.gap !== null) conclusion.push(`Documented gap ${violation.gap}: ${gapText(violation.gap)}.`);
  return {
    title: `${violation.property} at step ${formatCount(violation.step)}`,
    lanes,
    lines,
    isCut: timeline.isCut,
    conclusion,
  };
}

/** Text of a laid-out timeline, `width` terminal columns wide (at least 40), each line ended by a newline. */
export function formatTimeline(layout: TimelineLayout, width = 120): string {
  const wide = Math.max(40, width);
  const steps = layout.lines.map((line) => formatCount(line.step));
  const stepWidth = Math.max(4, ...steps.map(displayWidth));
  const names = layout.lanes.map((lane) => printable(lane.name));
  const widths = names.map((name) => Math.max(1, Math.min(16, displayWidth(name))));
  const out: string[] = [printable(layout.title)];
  const header = names.map((name, i) => pad(truncate(name, widths[i]!), widths[i]!)).join('  ');
  out.push(`${pad('step', stepWidth, 'right')}  ${header}`.trimEnd());
  if (layout.isCut) out.push(`${pad('…', stepWidth, 'right')}  (earlier events are left out)`);
  for (let i = 0; i < layout.lines.length; i++) {
    const line = layout.lines[i]!;
    const marks = widths.map((w, lane) => pad(lane === line.lane ? (line.isBad ? '✗' : '●') : '│', w)).join('  ');
    const left = `${pad(steps[i]!, stepWidth, 'right')}  ${marks}  `;
    const room = Math.max(24, wide - displayWidth(left));
    const text = wrap(printable(line.text), room);
    const rest = `${' '.repeat(stepWidth)}  ${widths.map((w) => pad('│', w)).join('  ')}  `;
    text.forEach((part, n) => {
      out.push((n === 0 ? left : rest) + part);
    });
  }
  for (const sentence of layout.conclusion) out.push(...wrap(printable(sentence), wide));
  return `${out.join('\n')}\n`;
}
