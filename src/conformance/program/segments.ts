// The recording of a real program as a sequence of segments: a memory call, a fault that the program took, the end of an address
// space, with the records that it caused. Other system calls are no segments: what they do to files is followed (files.ts).
//
// Records that name no actor (rmap changes, gathers, entry flushes) belong to the actor of the record before, as there is one
// processor. If a fault is under way at the very page that they name, they belong to that; and if they name another address space, to
// the only one who is inside a call or a fault there. Segments are run in the order of their ends, as a call that waits for a lock
// takes effect after the one that held it.

import { address, type TraceRecord } from '../record.ts';

export type SegmentKind = 'call' | 'fork' | 'fault' | 'exit' | 'exec' | 'loose';

export interface Segment {
  readonly kind: SegmentKind;
  /** The record that opened it: sys, fault, exit_mmap or free. */
  readonly opener: TraceRecord;
  readonly actor: string;
  readonly events: TraceRecord[];
  /** sysret, faultret, or the task record of a fork. */
  closer: TraceRecord | null;
}

/** What a recording consists of: segments, and single records in between that change the state (sys, sysret, task, start...). */
export type Item = { readonly segment: Segment } | { readonly record: TraceRecord };

/** System calls whose results are judged. */
export const MEMORY_CALLS: ReadonlySet<string> = new Set([
  'mmap',
  'munmap',
  'mprotect',
  'brk',
  'mremap',
  'madvise',
  'msync',
  'mlock',
  'mlock2',
  'munlock',
  'mlockall',
  'munlockall',
  'remap_file_pages',
]);
/** System calls that make a task. */
export const FORKS: ReadonlySet<string> = new Set(['clone', 'clone3', 'fork', 'vfork']);

function actorOf(r: TraceRecord): string | null {
  if (typeof r['by'] === 'string') return r['by'];
  return typeof r['p'] === 'string' ? r['p'] : null;
}

function retries(r: TraceRecord): boolean {
  const bits = r['ret'];
  return Array.isArray(bits) && bits.includes('RETRY');
}

/** Is the record about the page that the fault is for? */
function samePage(fault: TraceRecord, r: TraceRecord): boolean {
  if (typeof r['addr'] !== 'string') return false;
  return Math.floor(address(r['addr']) / 4096) === Math.floor(address(fault['addr']) / 4096);
}

/** Can nothing but further frees belong to it? */
function isEnded({ kind, closer }: Segment): boolean {
  return kind === 'loose' || ((kind === 'exit' || kind === 'exec' || kind === 'call') && closer !== null);
}

/** Puts the records into items. */
export function itemsOf(records: readonly TraceRecord[]): Item[] {
  const cutter = new Cutter();
  for (const r of records) cutter.add(r);
  cutter.end();
  return cutter.items;
}

class Cutter {
  readonly items: Item[] = [];
  /** The open segment of each actor. */
  readonly #open = new Map<string, Segment>();
  /** Actors inside an execve. */
  readonly #inExec = new Set<string>();
  #actor = '';

  add(r: TraceRecord): void {
    const actor = actorOf(r) ?? this.#resumed(r) ?? this.#actor;
    if (actor !== this.#actor) this.#closeEnded(this.#actor);
    this.#actor = actor;
    const open = this.#open.get(actor);
    if (open !== undefined && this.#continues(open, r)) return;
    this.#begin(actor, r);
  }

  /** Somebody else than the actor of the record before, who was interrupted and goes on: where the record tells so. */
  #resumed(r: TraceRecord): string | null {
    const { mm } = r;
    if (mm === undefined) return null;
    const there = [...this.#open.values()].filter((s) => s.opener['mm'] === mm && s.closer === null);
    const faulting = there.filter((s) => s.kind === 'fault' && samePage(s.opener, r));
    if (faulting.length === 1) return faulting[0]!.actor;
    if (this.#open.get(this.#actor)?.opener['mm'] === mm) return null;
    return there.length === 1 ? there[0]!.actor : null;
  }

  end(): void {
    for (const actor of [...this.#open.keys()]) this.#close(actor, null);
  }

  /** Somebody else goes on: frees that might have followed do not. */
  #closeEnded(actor: string): void {
    const open = this.#open.get(actor);
    if (open !== undefined && isEnded(open)) this.#close(actor, null);
  }

  #close(actor: string, closer: TraceRecord | null): void {
    const segment = this.#open.get(actor)!;
    segment.closer = closer ?? segment.closer;
    this.#open.delete(actor);
    this.items.push({ segment });
  }

  #start(kind: SegmentKind, actor: string, opener: TraceRecord, events: TraceRecord[]): void {
    this.#open.set(actor, { kind, opener, actor, events, closer: null });
  }

  /** Takes the record into the open segment; false when it does not belong there (the segment has been closed then). */
  #continues(open: Segment, r: TraceRecord): boolean {
    const { actor, kind, events } = open;
    if (kind === 'call' && r.t === 'sysret' && open.closer === null) {
      // A file that the call let go of is released on the way back to user mode (task_work_run), with the pages of shared memory.
      open.closer = r;
      return true;
    }
    if (kind === 'fork' && (r.t === 'task' || r.t === 'sysret')) {
      this.#close(actor, r);
      return r.t === 'task';
    }
    if (kind === 'fault' && r.t === 'faultret' && !retries(r)) {
      events.push(r);
      this.#close(actor, r);
      return true;
    }
    const isLoose = kind === 'exit' || kind === 'exec' || kind === 'loose';
    if (isLoose && r.t === 'exit_mmap' && r['at'] === 'end') {
      events.push(r);
      open.closer = r;
      return true;
    }
    // After the end of an address space only its last frees follow.
    if (isEnded(open) && r.t !== 'free') {
      this.#close(actor, null);
      return false;
    }
    if (r.t === 'sys' || r.t === 'sysret' || r.t === 'task' || r.t === 'attached' || r.t === 'start' || r.t === 'end') {
      this.#close(actor, null);
      return false;
    }
    events.push(r);
    return true;
  }

  #begin(actor: string, r: TraceRecord): void {
    const name = String(r['name'] ?? '');
    if (r.t === 'sys' && MEMORY_CALLS.has(name)) this.#start('call', actor, r, []);
    else if (r.t === 'sys' && FORKS.has(name)) this.#start('fork', actor, r, []);
    else if (r.t === 'fault') this.#start('fault', actor, r, [r]);
    else if (r.t === 'exit_mmap') this.#start(this.#inExec.has(actor) ? 'exec' : 'exit', actor, r, [r]);
    else if (r.t === 'free' || r.t === 'cb') this.#start('loose', actor, r, [r]);
    else {
      if (r.t === 'sys' && name === 'execve') this.#inExec.add(actor);
      if (r.t === 'sysret' || r.t === 'start') this.#inExec.delete(actor);
      this.items.push({ record: r });
    }
  }
}
