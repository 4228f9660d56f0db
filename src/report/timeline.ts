// The events that led to a violation as text: a column for each actor with a mark where it acted, the step, and what
// happened in words; the violated property in one sentence at the end.

import { EV_STEP } from '../abi/events.ts';
import { gapText, propertyOf } from '../check/properties.ts';
import type { Timeline } from '../check/timeline.ts';
import { Describer, isStale, LANES, type LaneKind, laneOf, type Names } from './describe.ts';
import { drawLanes, fold, type LaneRow, type Paint, plainPaint } from './lanes.ts';
import { formatCount, printable } from './table.ts';

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
  /** Another event of the step above. */
  readonly isMore?: boolean;
  /** No event: the thread of `lane` stops running here, that of lane `to` goes on. */
  readonly to?: number;
  /** It could have gone on itself. */
  readonly isPreemption?: boolean;
}

/** A timeline laid out: what text and SVG draw. */
export interface TimelineLayout {
  readonly title: string;
  /** Lines under the title. */
  readonly facts?: readonly string[];
  readonly lanes: readonly TimelineLane[];
  /** What stood before the first line. */
  readonly before?: readonly string[];
  readonly lines: readonly TimelineLine[];
  readonly isCut: boolean;
  /** What happened, the property, and the documented gap if one explains it. */
  readonly conclusion: readonly string[];
  /** The conclusion is a violation: it stands out. */
  readonly isFailed?: boolean;
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

/** Text of a laid-out timeline, `width` terminal columns wide (at least 60), each line ended by a newline. */
export function formatTimeline(layout: TimelineLayout, width = 120, paint: Paint = plainPaint): string {
  const wide = Math.max(60, width);
  const rows: LaneRow[] = [];
  for (const fact of layout.before ?? []) rows.push({ label: '', lane: -1, text: printable(fact), tone: 'dim' });
  if (layout.isCut) rows.push({ label: '…', lane: -1, text: '(earlier events are left out)', tone: 'dim' });
  for (const line of layout.lines) rows.push(rowOf(line));
  const names = layout.lanes.map((lane) => printable(lane.name));
  const out = fold(printable(layout.title), wide).map((line) => paint(line, 'title', -1));
  for (const fact of layout.facts ?? []) out.push(...fold(printable(fact), wide));
  out.push(...drawLanes(names, rows, wide, paint));
  layout.conclusion.forEach((sentence) => {
    const tone = layout.isFailed === true ? 'bad' : 'plain';
    out.push(...fold(printable(sentence), wide).map((line) => paint(line, tone, -1)));
  });
  return `${out.join('\n')}\n`;
}

function rowOf(line: TimelineLine): LaneRow {
  const text = printable(line.text);
  if (line.to !== undefined)
    return { label: '', lane: line.lane, to: line.to, text, tone: line.isPreemption === true ? 'switch' : 'dim' };
  const isMore = line.isMore === true;
  return {
    label: isMore ? '' : formatCount(line.step),
    lane: line.lane,
    text,
    tone: line.isBad ? 'bad' : 'plain',
    isMore,
  };
}
