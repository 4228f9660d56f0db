// A shown run as Chrome trace events, which ui.perfetto.dev and chrome://tracing open: a track for each lane, one step of the
// schedule is one microsecond.
//
//   B/E   system calls, page faults, sections and callbacks, nested as the thread nested them
//   X     what a step did, cut where one of those begins or ends, so that slices nest
//   b/e   flushes of secondary TLBs, from the command to its completion (they may overlap)
//   s/t/f flows from the command (in its section or callback) to what dropped the translations, to the completion
//   i     preemptions, and the violation

import {
  AGENT_ATC,
  AGENT_IOTLB,
  CB_NAMES,
  E_CALLBACK,
  E_CALLBACK_END,
  E_DEV_INVAL,
  E_FAULT,
  E_FAULT_END,
  E_MSG,
  E_SECTION_END,
  E_SECTION_START,
  E_SYSCALL,
  E_SYSCALL_END,
  EV_A,
  EV_B,
  EV_C,
  EV_D,
  EV_START,
  EV_TYPE,
  MSG_CMD_COMPLETION_WAIT,
  MSG_CMD_INVALIDATE_IOMMU_PAGES,
  MSG_CMD_INVALIDATE_IOTLB_PAGES,
  MSG_COMPLETION_WAIT_DONE,
} from '../abi/events.ts';
import { SITE_NAMES } from '../abi/notifier.ts';
import { syscallName } from '../abi/syscalls.ts';
import type { RecordedRun } from '../workload/scenario/recorded-run.ts';
import type { ShownStep, ShownTrace } from './counterexample.ts';
import { hex, LANES } from './describe.ts';

/** One trace event: the fields that its phase has. Times are microseconds. */
export interface TraceEvent {
  readonly ph: 'X' | 'B' | 'E' | 'b' | 'e' | 's' | 't' | 'f' | 'i' | 'M';
  readonly pid: number;
  readonly tid: number;
  readonly ts: number;
  readonly name: string;
  readonly cat?: string;
  readonly dur?: number;
  readonly id?: number;
  readonly bp?: 'e';
  readonly s?: 't' | 'g';
  readonly args?: Readonly<Record<string, string | number | readonly string[]>>;
}

const PROCESS_NAMES = { program: 'Program', kernel: 'Kernel threads', IOMMU: 'IOMMU', device: 'Device' } as const;

/** The whole file. */
export function perfettoJson(trace: ShownTrace, run: RecordedRun): string {
  const { scenario, driver, design, schedule } = trace;
  const otherData = { scenario, driver, design, schedule: schedule ?? '', 'one step': '1 us' };
  const events = perfettoEvents(trace, run).map((e) => JSON.stringify(e));
  return `{"displayTimeUnit":"ns","otherData":${JSON.stringify(otherData)},"traceEvents":[\n${events.join(',\n')}\n]}\n`;
}

/** The events, in the order of their times on each track. */
export function perfettoEvents(trace: ShownTrace, run: RecordedRun): TraceEvent[] {
  const writer = new Writer(trace);
  trace.steps.forEach((step, i) => {
    writer.step(step, run.steps[i]!.records);
  });
  return writer.end();
}

/** A call of a thread that has begun. */
interface Open {
  readonly key: string;
  readonly name: string;
  readonly cat: string;
}

/** Commands of one thread that a COMPLETION_WAIT closes. */
interface Flush {
  readonly id: number;
  readonly agents: Set<number>;
  readonly lane: number;
  tag: number;
}

class Writer {
  readonly #trace: ShownTrace;
  readonly #out: TraceEvent[] = [];
  readonly #open: Open[][];
  #flushes: Flush[] = [];
  #flushCount = 0;

  constructor(trace: ShownTrace) {
    this.#trace = trace;
    this.#open = trace.lanes.map(() => []);
    const kinds = LANES.filter((kind) => trace.lanes.some((lane) => lane.kind === kind));
    for (const kind of kinds) {
      const pid = LANES.indexOf(kind) + 1;
      this.#meta(pid, 0, 'process_name', { name: PROCESS_NAMES[kind] });
      this.#meta(pid, 0, 'process_sort_index', { sort_index: pid });
    }
    trace.lanes.forEach((lane, i) => {
      this.#meta(this.#pid(i), i + 1, 'thread_name', { name: lane.name });
      this.#meta(this.#pid(i), i + 1, 'thread_sort_index', { sort_index: i });
    });
  }

  #meta(pid: number, tid: number, name: string, args: TraceEvent['args'] & object): void {
    this.#out.push({ ph: 'M', pid, tid, ts: 0, name, args });
  }

  #pid(lane: number): number {
    return LANES.indexOf(this.#trace.lanes[lane]!.kind) + 1;
  }

  #add(lane: number, ts: number, event: Omit<TraceEvent, 'pid' | 'tid' | 'ts'>): void {
    this.#out.push({ ...event, pid: this.#pid(lane), tid: lane + 1, ts: Math.round(ts * 1000) / 1000 });
  }

  /** A step lasts from its number to the next; its events divide that time evenly. */
  step(step: ShownStep, records: readonly Float64Array[]): void {
    const { number, lane } = step;
    if (step.isPreemption) this.#add(lane, number, { ph: 'i', s: 't', name: 'preempts', cat: 'schedule' });
    let from = number;
    let texts: string[] = [];
    const flush = (to: number): void => {
      if (to > from) this.#slice(step, from, to, texts);
      from = to;
      texts = [];
    };
    records.forEach((record, i) => {
      const at = number + (i + 1) / (records.length + 1);
      const edge = edgeOf(record);
      if (edge === null) {
        texts.push(step.changes[i]!.text);
        this.#flow(record, lane, (from + at) / 2);
        if (step.changes[i]!.isBad) this.#bad(lane, at);
        return;
      }
      flush(at);
      if (edge.isBegin) this.#begin(lane, at, edge, step.changes[i]!.text);
      else this.#close(lane, at, edge.key);
      if (step.changes[i]!.isBad) this.#bad(lane, at);
    });
    flush(number + 1);
  }

  #slice(step: ShownStep, from: number, to: number, texts: readonly string[]): void {
    const name = texts[0] ?? (step.waitsFor === null ? step.to : `waits for ${step.waitsFor}`);
    const args = { step: step.number, point: step.to, changes: texts };
    const dur = Math.round((to - from) * 1000) / 1000;
    this.#add(step.lane, from, { ph: 'X', name, cat: step.isStory ? 'story' : 'step', dur, args });
  }

  #bad(lane: number, at: number): void {
    const { finding } = this.#trace;
    if (finding === null) return;
    const name = `violates ${finding.property} (${finding.tag})`;
    this.#add(lane, at, { ph: 'i', s: 'g', name, cat: 'violation', args: { sentence: finding.sentence } });
  }

  #begin(lane: number, at: number, edge: Edge, text: string): void {
    const { key, name, cat } = edge;
    this.#open[lane]!.push({ key, name, cat });
    this.#add(lane, at, { ph: 'B', name, cat, args: { what: text } });
  }

  /** Ends a call; calls that began later on the same thread and still run are cut in two, so that slices nest. */
  #close(lane: number, at: number, key: string): void {
    const open = this.#open[lane]!;
    const i = open.findLastIndex((o) => o.key === key);
    if (i < 0) return;
    const later = open.splice(i).slice(1);
    for (let n = 0; n <= later.length; n++) this.#add(lane, at, { ph: 'E', name: '' });
    for (const o of later) {
      open.push(o);
      this.#add(lane, at, { ph: 'B', name: o.name, cat: o.cat });
    }
  }

  #flow(r: Float64Array, lane: number, at: number): void {
    if (r[EV_TYPE] === E_DEV_INVAL) {
      const flush = this.#flushes.find((f) => f.agents.has(r[EV_C]!));
      flush?.agents.delete(r[EV_C]!);
      if (flush !== undefined) this.#add(lane, at, { ph: 't', id: flush.id, name: 'flush', cat: 'flush' });
      return;
    }
    if (r[EV_TYPE] !== E_MSG) return;
    switch (r[EV_A]) {
      case MSG_CMD_INVALIDATE_IOMMU_PAGES:
        this.#command(lane, at, AGENT_IOTLB);
        break;
      case MSG_CMD_INVALIDATE_IOTLB_PAGES:
        this.#command(lane, at, AGENT_ATC);
        break;
      case MSG_CMD_COMPLETION_WAIT:
        for (const flush of this.#flushes) if (flush.lane === lane && flush.tag < 0) flush.tag = r[EV_B]!;
        break;
      case MSG_COMPLETION_WAIT_DONE: {
        const done = this.#flushes.filter((f) => f.tag === r[EV_B]);
        this.#flushes = this.#flushes.filter((f) => f.tag !== r[EV_B]);
        for (const { id, lane: issuer } of done) {
          this.#add(lane, at, { ph: 'f', bp: 'e', id, name: 'flush', cat: 'flush' });
          this.#add(issuer, at, { ph: 'e', id, name: 'flush', cat: 'flush' });
        }
        break;
      }
    }
  }

  #command(lane: number, at: number, agent: number): void {
    let flush = this.#flushes.find((f) => f.lane === lane && f.tag < 0);
    if (flush === undefined) {
      flush = { id: ++this.#flushCount, agents: new Set(), lane, tag: -1 };
      this.#flushes.push(flush);
      this.#add(lane, at, { ph: 's', id: flush.id, name: 'flush', cat: 'flush' });
      this.#add(lane, at, { ph: 'b', id: flush.id, name: 'flush', cat: 'flush' });
    }
    flush.agents.add(agent);
  }

  /** What is still open ends with the run. */
  end(): TraceEvent[] {
    const at = this.#trace.steps.length + 1;
    this.#open.forEach((open, lane) => {
      for (let n = open.length; n > 0; n--) this.#add(lane, at, { ph: 'E', name: '' });
    });
    for (const { id, lane } of this.#flushes) this.#add(lane, at, { ph: 'e', id, name: 'flush', cat: 'flush' });
    return this.#out;
  }
}

interface Edge extends Open {
  readonly isBegin: boolean;
}

/** Where a call of a thread begins or ends; null for any other event. */
function edgeOf(r: Float64Array): Edge | null {
  switch (r[EV_TYPE]) {
    case E_SYSCALL:
    case E_SYSCALL_END: {
      const name = syscallName(r[EV_A]!);
      return { key: `syscall ${name}`, name, cat: 'system call', isBegin: r[EV_TYPE] === E_SYSCALL };
    }
    case E_FAULT:
    case E_FAULT_END: {
      const name = `page fault ${hex(r[EV_START]!)}`;
      return { key: name, name, cat: 'fault', isBegin: r[EV_TYPE] === E_FAULT };
    }
    case E_SECTION_START:
    case E_SECTION_END: {
      const name = `section ${r[EV_D]}: ${SITE_NAMES[r[EV_B]!] ?? 'site'}`;
      return { key: `section ${r[EV_D]}`, name, cat: 'section', isBegin: r[EV_TYPE] === E_SECTION_START };
    }
    case E_CALLBACK:
    case E_CALLBACK_END: {
      const name = CB_NAMES[r[EV_A]!] || 'callback';
      return { key: `${name} ${r[EV_D]}`, name, cat: 'callback', isBegin: r[EV_TYPE] === E_CALLBACK };
    }
    default:
      return null;
  }
}
