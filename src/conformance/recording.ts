// A recording as the sequence of its calls: what stood before the first one (the address space that the program starts with),
// then each call with the records up to the next one.

import type { TraceRecord } from './record.ts';

/** A call and everything up to the next call. */
export interface Step {
  readonly call: TraceRecord;
  /** Null when the recording was cut before the call returned. */
  ret: TraceRecord | null;
  /** Callbacks, faults, flushes...: what the call caused, and what happened until the next one began. */
  readonly events: TraceRecord[];
  /** State written down after it: maps, pages, and processes that appeared. */
  readonly states: TraceRecord[];
}

/** The operation that stands for the end of the recording. */
export const OP_END = 'end of the recording';

/** Before the name of an operation: the end of one that ran in the background. */
export const OP_LATE = 'end of ';

export interface Recording {
  readonly name: string;
  readonly head: TraceRecord;
  /** Notes, settings, first maps and pages. */
  readonly prologue: readonly TraceRecord[];
  readonly steps: readonly Step[];
  /** All records in order: for recordings of real programs, which have no calls. */
  readonly records: readonly TraceRecord[];
}

const STATE_KINDS: ReadonlySet<string> = new Set([
  'maps',
  'pages',
  'proc',
  'mm',
  'note',
  'set',
  'end',
  'attached',
  'start',
]);

/** Puts the records of one recording into calls. `records` begins with its head. */
export function recordingOf(name: string, records: readonly TraceRecord[]): Recording {
  const prologue: TraceRecord[] = [];
  const steps: Step[] = [];
  const open = new Map<string, Step>();
  let current: Step | null = null;
  for (let at = 1; at < records.length; at++) {
    const r = records[at]!;
    if (r.t === 'call') {
      current = { call: r, ret: null, events: [], states: [] };
      steps.push(current);
      open.set(`${String(r['p'])} ${String(r['op'])} ${String(r['n'])}`, current);
    } else if (r.t === 'ret') {
      const key = `${String(r['p'])} ${String(r['op'])} ${String(r['n'])}`;
      const step = open.get(key);
      if (step !== undefined) step.ret = r;
      else {
        // A call that ran in the background has ended, at a number of its own.
        current = {
          call: { i: r.i, t: 'call', p: r['p'], op: `${OP_LATE}${String(r['op'])}` },
          ret: r,
          events: [],
          states: [],
        };
        steps.push(current);
      }
      open.delete(key);
    } else if (current === null) prologue.push(r);
    else if (r.t === 'end') {
      // What follows is the end of the controller, which had a part in the scratch block.
      current = { call: { i: r.i, t: 'call', p: 'ctl', op: OP_END }, ret: null, events: [], states: [] };
      steps.push(current);
    } else if (STATE_KINDS.has(r.t)) current.states.push(r);
    else current.events.push(r);
  }
  return { name, head: records[0]!, prologue, steps, records };
}
