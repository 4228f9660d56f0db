// A shown run laid out as a timeline: the steps of the story (or all of them), what made the scheduler go from one lane to
// another between them, and the finding at the end.

import type { ShownFinding, ShownStep, ShownTrace } from './counterexample.ts';
import { hex } from './describe.ts';
import type { TimelineLayout, TimelineLine } from './timeline.ts';
import type { Snapshot } from './trace-state.ts';

export interface TraceLayoutOptions {
  /** Every step and every event, instead of the story. */
  readonly hasAllSteps?: boolean;
}

/** Pages whose state before the first step is told. */
const PAGES_TOLD = 3;
/** Lanes named in one line that tells of a switch. */
const CHAIN_MAX = 5;

export function layoutTrace(trace: ShownTrace, options: TraceLayoutOptions = {}): TimelineLayout {
  const hasAll = options.hasAllSteps === true;
  const last = hasAll || trace.finding === null ? trace.steps.length : trace.finding.step;
  const steps = trace.steps.slice(0, last);
  const shown = steps.filter((s) => hasAll || s.isStory);
  const usedLanes = new Set(shown.map((s) => s.lane));
  const laneNumbers = trace.lanes.map((_, i) => i).filter((i) => usedLanes.has(i));
  const place = (lane: number): number => laneNumbers.indexOf(lane);
  const lines: TimelineLine[] = [];
  let before: ShownStep | null = null;
  for (const step of shown) {
    if (before !== null) {
      const line = switchLine(trace, before, step, place, hasAll);
      if (line !== null) lines.push(line);
    }
    lines.push(...stepLines(step, place(step.lane), hasAll));
    before = step;
  }
  return {
    title: titleOf(trace),
    facts: factsOf(trace),
    lanes: laneNumbers.map((i) => trace.lanes[i]!),
    before: beforeLines(trace.start, trace.finding?.page ?? 0),
    lines,
    isCut: false,
    conclusion: conclusionOf(trace),
    isFailed: trace.finding !== null,
  };
}

function titleOf(trace: ShownTrace): string {
  const { finding } = trace;
  const name = `${trace.scenario} with ${trace.driver} (${trace.design})`;
  if (finding === null) return `${name}: passes`;
  const at = finding.step === 0 ? '' : ` at step ${finding.step}`;
  return `${name}: ${finding.property} (${finding.tag})${at}${finding.gap === null ? '' : ', a documented gap'}`;
}

function factsOf(trace: ShownTrace): string[] {
  const count = (n: number, one: string, many = `${one}s`): string => `${n} ${n === 1 ? one : many}`;
  const { steps, storySteps, switches, preemptions } = trace;
  const story = trace.finding === null ? '' : `, ${storySteps} in the story`;
  const switched = `${count(switches, 'context switch', 'context switches')}, ${count(preemptions, 'preemption')}`;
  return [`${count(steps.length, 'step')}${story}; ${switched}`, ''];
}

/** What the page was before the run. */
function beforeLines(start: Snapshot, page: number): string[] {
  const entries = page === 0 ? start.entries.slice(0, PAGES_TOLD) : start.entries.filter((e) => e.page === page);
  const lines = entries.map((e) => {
    const holders = start.translations.filter((t) => t.start <= e.page && t.end > e.page && t.pfn === e.pfn);
    const held = holders.length === 0 ? '' : `; held by ${holders.map((t) => t.holder).join(', ')}`;
    if (!e.isPresent) return `before: PTE ${hex(e.page)} is not present`;
    const right = e.isWritable ? 'writable' : 'read-only';
    return `before: PTE ${hex(e.page)} maps frame ${hex(e.pfn!)} gen ${e.generation}, ${right}${held}`;
  });
  for (const w of start.waits)
    if (page === 0 && start.waits.length <= PAGES_TOLD) lines.push(`before: ${w.thread} waits for ${w.what}`);
  return lines;
}

function stepLines(step: ShownStep, lane: number, hasAll: boolean): TimelineLine[] {
  const changes = step.changes.filter((c) => hasAll || c.isStory);
  const texts = changes.map((c) => ({
    text: hasAll && c.words !== null ? `${c.text} [${c.words.old} → ${c.words.new}]` : c.text,
    isBad: c.isBad,
  }));
  const end = endOf(step);
  if (hasAll && end !== null) texts.push({ text: end, isBad: false });
  if (texts.length === 0) texts.push({ text: end ?? plainText(step), isBad: step.isBad });
  return texts.map(({ text, isBad }, i) => ({ step: step.number, lane, text, isBad, isMore: i > 0 && !isBad }));
}

/** A step without events that ends nothing. A thread that sleeps and can go on was woken before it slept. */
export function plainText(step: ShownStep): string {
  return step.to === 'sleep' || step.to === 'spin' ? 'need not wait' : `goes on to "${step.to}"`;
}

function endOf(step: ShownStep): string | null {
  if (step.isLast) return 'ends';
  return step.waitsFor === null ? null : `waits for ${step.waitsFor}`;
}

/** Who ran between two shown steps, and why the first stopped; null when there is nothing to tell. */
function switchLine(
  trace: ShownTrace,
  a: ShownStep,
  b: ShownStep,
  place: (lane: number) => number,
  hasAll: boolean,
): TimelineLine | null {
  const way = trace.steps.slice(a.number - 1, b.number);
  const isPreemption = way.some((s, i) => i > 0 && s.isPreemption);
  if (!isPreemption && (hasAll || a.lane === b.lane)) return null;
  const text = `${way.length > 1 && isPreempted(way, a) ? 'preempted: ' : ''}${chainOf(trace, way)}`;
  return { step: b.number, lane: place(a.lane), to: place(b.lane), text, isBad: false, isPreemption };
}

/** Was the lane of `a` preempted at the end of its stretch? */
function isPreempted(way: readonly ShownStep[], a: ShownStep): boolean {
  return way.find((s) => s.lane !== a.lane)?.isPreemption === true;
}

/** The lanes that ran, in order; why the first stopped, and which of the others were preempted. */
function chainOf(trace: ShownTrace, way: readonly ShownStep[]): string {
  const parts: string[] = [];
  for (let i = 1; i < way.length; i++) {
    const [from, to] = [way[i - 1]!, way[i]!];
    if (from.lane === to.lane) continue;
    const isFirst = parts.length === 0;
    const why = to.isPreemption ? (isFirst ? '' : ' (preempted)') : isFirst ? ` ${endOf(from) ?? ''}`.trimEnd() : '';
    parts.push(`${trace.lanes[from.lane]!.name}${why}`);
  }
  parts.push(trace.lanes[way.at(-1)!.lane]!.name);
  if (parts.length <= CHAIN_MAX) return parts.join(' → ');
  return [...parts.slice(0, CHAIN_MAX - 2), '…', parts.at(-1)!].join(' → ');
}

function conclusionOf(trace: ShownTrace): string[] {
  const { finding, otherFindings } = trace;
  if (finding === null) return ['', 'No property was violated.'];
  const out = [''];
  if (otherFindings.length > 0) {
    const others = otherFindings.map((f) => `${f.property} (${f.tag}) at step ${f.step}`);
    out.push(`Also violated: ${[...new Set(others)].join(', ')}.`);
  }
  return [...out, ...findingLines(finding)];
}

/** The finding in sentences: what happened, the property, the documented gap. */
export function findingLines(finding: ShownFinding): string[] {
  const out = [finding.sentence];
  if (finding.gap !== null) out.push(`Documented gap ${finding.gap.number}: ${finding.gap.text}.`);
  const claim = finding.claim === null ? '' : `: ${finding.claim}`;
  out.push(`Violates ${finding.property} (${finding.tag})${claim}`);
  return out;
}
