// The model of a run that is shown: one execution of a scenario, step by step, as plain data. Text, SVG, HTML, Perfetto and
// JSON all draw this. Lanes are the threads that made a step; each step has what it changed, in words, and the state after it.
//
//   isStory       the step belongs to the story: it changed the page that the finding is about, or the frame behind it
//   isBad         what the finding reports happened here
//   isPreemption  the thread of the step before could have gone on

import {
  AGENT_PWC,
  E_BIND,
  E_CALLBACK,
  E_CPU_FILL,
  E_DEV_FILL,
  E_DIRTY,
  E_DISCARD,
  E_FAULT,
  E_FRAME_FREE,
  E_LAZYFREE,
  E_MM_NEW,
  E_MSG,
  E_PTE,
  E_PTE_AD,
  E_SECTION_END,
  E_SECTION_START,
  E_SYSCALL,
  E_WRITE_OUT,
  EV_A,
  EV_ACTOR,
  EV_B,
  EV_C,
  EV_D,
  EV_GEN,
  EV_MM,
  EV_PFN,
  EV_START,
  EV_TYPE,
  EVENT_NAMES,
  MSG_PAGE_REQUEST,
  MSG_PRG_RESPONSE,
  MSG_TRANSLATION_REQUEST,
} from '../abi/events.ts';
import { gapText, propertyOf } from '../check/properties.ts';
import { storyOf } from '../check/story.ts';
import type { Focus } from '../check/timeline.ts';
import type { RecordedRun, RecordedStep } from '../workload/scenario/recorded-run.ts';
import { Describer, isStale, LANES, type LaneKind, type Names } from './describe.ts';
import { type Interest, type Snapshot, type ThreadState, TraceState, wordText } from './trace-state.ts';

/** Pages and frames whose state is shown at each step. */
const SHOWN_MAX = 8;

type Finding = RecordedRun['findings'][number];

export interface ShownLane {
  readonly name: string;
  readonly kind: LaneKind;
}

export interface ShownChange {
  /** Kind of the event (abi/events EVENT_NAMES). */
  readonly kind: string;
  readonly text: string;
  /** Old and new page-table word; null for anything else. */
  readonly words: { readonly old: string; readonly new: string } | null;
  readonly isStory: boolean;
  readonly isBad: boolean;
}

export interface ShownStep {
  /** From 1. */
  readonly number: number;
  /** Index of the lane. */
  readonly lane: number;
  /** Point at which the thread stood before and stands now, with what others may observe there. */
  readonly from: string;
  readonly to: string;
  readonly observable: string;
  readonly isPreemption: boolean;
  readonly isStory: boolean;
  readonly isBad: boolean;
  /** What the thread waits for after it; null when it can go on. */
  readonly waitsFor: string | null;
  /** The thread has ended. */
  readonly isLast: boolean;
  readonly changes: readonly ShownChange[];
  readonly state: Snapshot;
}

export interface ShownFinding {
  readonly property: string;
  readonly tag: string;
  /** What happened, in one sentence. */
  readonly sentence: string;
  /** The property in one sentence; null when it is none that has one. */
  readonly claim: string | null;
  readonly gap: { readonly number: number; readonly text: string } | null;
  readonly step: number;
  /** Byte address; 0 when it is about no page in particular. */
  readonly page: number;
}

export interface ShownTrace {
  readonly scenario: string;
  readonly summary: string;
  readonly driver: string;
  readonly design: string;
  /** The text that replays it; null when it has none. */
  readonly schedule: string | null;
  readonly verdict: 'violation' | 'gap' | 'passes';
  /** The finding that is shown: the first that no documented gap explains, or the first; null when the run passes. */
  readonly finding: ShownFinding | null;
  readonly otherFindings: readonly ShownFinding[];
  readonly lanes: readonly ShownLane[];
  /** Acts of the story (check/story). */
  readonly storySteps: number;
  readonly preemptions: number;
  readonly switches: number;
  /** What stood before the first step. */
  readonly start: Snapshot;
  readonly steps: readonly ShownStep[];
}

/** The model of a recorded run. `schedule`: the text that replays it. */
export function shownTrace(run: RecordedRun, schedule: string | null = null): ShownTrace {
  const main = mainFinding(run);
  const used = new Set(run.steps.map((s) => s.thread));
  const order = [...used].sort((a, b) => LANES.indexOf(kindOf(run, a)) - LANES.indexOf(kindOf(run, b)) || a - b);
  const lanes = order.map((t) => ({ name: run.threads[t]!.name, kind: kindOf(run, t) }));
  const shower = new Shower(run, main, order);
  const start = shower.start();
  const steps = run.steps.map((step, i) => shower.step(step, i + 1));
  return {
    scenario: run.scenario,
    summary: run.summary,
    driver: run.driver,
    design: run.design,
    schedule,
    verdict: main === null ? 'passes' : main.gap === null ? 'violation' : 'gap',
    finding: main === null ? null : shownFinding(main),
    otherFindings: run.findings.filter((f) => f !== main).map(shownFinding),
    lanes,
    storySteps: shower.storySteps,
    preemptions: steps.filter((s) => s.isPreemption).length,
    switches: steps.filter((s, i) => i > 0 && s.lane !== steps[i - 1]!.lane).length,
    start,
    steps,
  };
}

/** The finding that the schedule is for. A minimised one ends with it; else it is the first. Of several at one step, the one
 *  from which the others follow; one that no documented gap explains before any other. */
function mainFinding(run: RecordedRun): Finding | null {
  const atEnd = run.findings.filter((f) => f.step === run.steps.length);
  const unexplained = (f: Finding): boolean => f.gap === null;
  const lists = [atEnd.filter(unexplained), run.findings.filter(unexplained), atEnd, run.findings];
  const list = lists.find((l) => l.length > 0) ?? [];
  return [...list].sort((a, b) => a.step - b.step || causeRank(a) - causeRank(b))[0] ?? null;
}

/** Who waits forever leaves sections open, and gets nowhere. */
function causeRank(f: Finding): number {
  if (f.tag === 'DEADLOCK') return 0;
  return f.kind === 'liveness' ? 3 : f.tag === 'UNPAIRED' ? 2 : 1;
}

function kindOf(run: RecordedRun, thread: number): LaneKind {
  const { lane } = run.threads[thread]!;
  return lane === 'cpu' ? 'program' : lane === 'iommu' ? 'IOMMU' : lane;
}

function shownFinding(f: Finding): ShownFinding {
  const { property, tag, sentence, gap, step } = f;
  return {
    property,
    tag,
    sentence,
    claim: propertyOf(property)?.claim ?? null,
    gap: gap === null ? null : { number: gap, text: gapText(gap) },
    step,
    page: f.page ?? 0,
  };
}

/** Goes through a run once, keeping words and state. */
class Shower {
  readonly #run: RecordedRun;
  readonly #main: Finding | null;
  readonly #order: readonly number[];
  readonly #describer: Describer;
  readonly #state: TraceState;
  readonly #interest: Interest;
  /** For each step, which of its records belong to the story. */
  readonly #story: readonly (readonly boolean[])[];
  /** Acts of the story. */
  readonly storySteps: number;

  constructor(run: RecordedRun, main: Finding | null, order: readonly number[]) {
    this.#run = run;
    this.#main = main;
    this.#order = order;
    const names = namesOf(run);
    this.#describer = new Describer(names);
    this.#state = new TraceState(names);
    this.#interest = interestOf(run, main);
    const focus = { ...aboutOf(main), mm: this.#interest.mm };
    const records = run.steps.flatMap((s) => s.records);
    const { acts, actOf } = storyOf(records, focus, main?.property ?? '');
    const actors = new Set(acts.map((act) => act.actor));
    // A reader wants to know of the system call as well, whose return is an act.
    const isLost = main?.tag === 'LOST-WRITE';
    const isStuck = main?.kind === 'liveness';
    const isStory = records.map(
      (r, i) =>
        actOf[i]! >= 0 ||
        (r[EV_TYPE] === E_SYSCALL && actors.has(r[EV_ACTOR]!)) ||
        (isStuck && isWhyStuck(r, focus.mm)) ||
        (isLost && isKeeping(r, focus.pfn)),
    );
    let at = 0;
    this.#story = run.steps.map((s) => isStory.slice(at, (at += s.records.length)));
    this.storySteps = acts.length;
  }

  start(): Snapshot {
    for (const record of this.#run.setup) {
      this.#describer.describe(record);
      this.#state.apply(record);
    }
    return this.#state.snapshot(this.#interest, this.#waits(this.#run.waitsAtStart));
  }

  step(step: RecordedStep, number: number): ShownStep {
    const isBad = this.#main !== null && this.#main.step === number;
    const texts = step.records.map((record) => this.#describer.describe(record));
    const story = this.#story[number - 1]!;
    const bad = isBad ? badRecord(step.records, story, aboutOf(this.#main).pfn) : -1;
    const changes = step.records.map((record, i): ShownChange => {
      this.#state.apply(record);
      return {
        kind: EVENT_NAMES[record[EV_TYPE]!] ?? 'event',
        text: texts[i]!,
        words: wordsOf(record),
        isStory: i === bad || story[i]!,
        isBad: i === bad,
      };
    });
    const waitsFor = step.waits[step.thread] ?? '';
    return {
      number,
      lane: this.#order.indexOf(step.thread),
      from: step.from.name,
      to: step.to.name,
      observable: step.to.observable,
      isPreemption: step.isPreemption,
      isStory: isBad || changes.some((c) => c.isStory),
      isBad,
      waitsFor: waitsFor === '' ? null : waitsFor,
      isLast: step.isLast,
      changes,
      state: this.#state.snapshot(this.#interest, this.#waits(step.waits)),
    };
  }

  /** Who waits, of the threads that ever run: hardware that waits for its first work is no news. */
  #waits(waits: readonly string[]): ThreadState[] {
    return this.#order
      .filter((thread) => (waits[thread] ?? '') !== '')
      .map((thread) => ({ thread: this.#run.threads[thread]!.name, what: waits[thread]! }));
  }
}

function namesOf(run: RecordedRun): Names {
  return {
    actor: (id) => {
      const t = run.threads[id - 1];
      return t === undefined ? { name: 'setup', lane: 'kernel' } : { name: t.name, lane: kindOf(run, id - 1) };
    },
    device: () => 'the device',
    lock: (lockClass) => run.lockNames[lockClass] ?? `lock class ${lockClass}`,
  };
}

/** What a device that gets nowhere asked and was told, and what stood in its way: sections anywhere in the address space. */
function isWhyStuck(r: Float64Array, mm: number): boolean {
  switch (r[EV_TYPE]) {
    case E_SECTION_START:
    case E_SECTION_END:
    case E_CALLBACK:
    case E_FAULT:
      return r[EV_MM] === mm;
    case E_MSG:
      return r[EV_A] === MSG_PAGE_REQUEST || r[EV_A] === MSG_PRG_RESPONSE || r[EV_A] === MSG_TRANSLATION_REQUEST;
    default:
      return false;
  }
}

/** What became of the contents of the frame. */
function isKeeping(r: Float64Array, pfn: number): boolean {
  const type = r[EV_TYPE];
  return r[EV_PFN] === pfn && (type === E_DIRTY || type === E_WRITE_OUT || type === E_DISCARD || type === E_LAZYFREE);
}

/** Which of a step's events is what the finding reports: the free of its frame, a stale access, else the last of the story. */
function badRecord(records: readonly Float64Array[], story: readonly boolean[], pfn: number): number {
  const stale = records.findIndex(isStale);
  if (stale >= 0) return stale;
  const freed = records.findLastIndex((r) => r[EV_TYPE] === E_FRAME_FREE && pfn !== 0 && r[EV_PFN] === pfn);
  if (freed >= 0) return freed;
  const last = story.lastIndexOf(true);
  return last >= 0 ? last : records.length - 1;
}

function wordsOf(r: Float64Array): ShownChange['words'] {
  if (r[EV_TYPE] !== E_PTE && r[EV_TYPE] !== E_PTE_AD) return null;
  return { old: wordText(r[EV_C]!, r[EV_D]!), new: wordText(r[EV_A]!, r[EV_B]!) };
}

/** What a finding is about; zeros where it is about nothing in particular. */
function aboutOf(main: Finding | null): Focus {
  return { mm: main?.mm ?? 0, page: main?.page ?? 0, pfn: main?.pfn ?? 0 };
}

/** The pages and frames whose state is kept: those of the finding first, then what the run's steps changed or translated. */
function interestOf(run: RecordedRun, main: Finding | null): Interest {
  const about = aboutOf(main);
  const mm = about.mm === 0 ? firstMm(run) : about.mm;
  const pages: number[] = about.page === 0 ? [] : [about.page];
  for (const r of run.steps.flatMap((s) => s.records)) {
    if (pages.length < SHOWN_MAX && pageOf(r) !== null && r[EV_MM] === mm && !pages.includes(pageOf(r)!))
      pages.push(pageOf(r)!);
  }
  const frames = framesOf(run, mm, pages);
  const shown = about.pfn === 0 ? frames : [about.pfn, ...frames.filter((pfn) => pfn !== about.pfn)];
  return { mm, pages, frames: shown.slice(0, SHOWN_MAX) };
}

/** Page of an event that changed its entry or made a translation of it. */
function pageOf(r: Float64Array): number | null {
  const isEntry = r[EV_TYPE] === E_PTE && r[EV_GEN] === 0;
  const isFill = (r[EV_TYPE] === E_DEV_FILL && r[EV_C] !== AGENT_PWC) || r[EV_TYPE] === E_CPU_FILL;
  return isEntry || isFill ? r[EV_START]! : null;
}

function firstMm(run: RecordedRun): number {
  const bound = [...run.setup, ...run.steps.flatMap((s) => s.records)];
  const r = bound.find((x) => x[EV_TYPE] === E_BIND) ?? bound.find((x) => x[EV_TYPE] === E_MM_NEW);
  return r === undefined ? 0 : r[EV_MM]!;
}

/** Frames that the pages' entries named, or that translations of them led to, in the order of the events. */
function framesOf(run: RecordedRun, mm: number, pages: readonly number[]): number[] {
  const frames: number[] = [];
  const add = (pfn: number): void => {
    if (pfn !== 0 && !frames.includes(pfn)) frames.push(pfn);
  };
  for (const r of [...run.setup, ...run.steps.flatMap((s) => s.records)]) {
    const page = pageOf(r);
    if (page === null || r[EV_MM] !== mm || !pages.includes(page)) continue;
    if (r[EV_TYPE] !== E_PTE) add(r[EV_PFN]!);
    else {
      if ((r[EV_C]! & 1) !== 0) add(r[EV_C]! >>> 12);
      if ((r[EV_A]! & 1) !== 0) add(r[EV_A]! >>> 12);
    }
  }
  return frames;
}
