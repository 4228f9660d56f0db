// Comparison of what was recorded with what was made, at five levels:
//
//   calls      ret records: return values, errno, signals, addresses
//   maps       areas with permissions, offset, name and VmFlags, wherever the recording has a `maps` record
//   callbacks  cb and iv records between one call and the next, in order
//   events     these with faults, rmap changes, gathers, flushes and frees, in order, pages up to renaming
//   pages      residency wherever the recording has a `pages` record: present, swapped or none; letters F and x; pages up to
//              renaming
//
// The first difference at each level is kept; what follows it is not judged at that level.

import type { Kernel } from '../mm/kernel.ts';
import type { MmStruct } from '../mm/types.ts';
import { vmaName, vmaPerms, vmFlagNames } from '../mm/vma/proc-maps.ts';
import { underRules } from './order-rules.ts';
import { CALLBACK_KINDS, EVENT_KINDS, hex, type MadeRecord, pageOf, type TraceRecord, textOf } from './record.ts';
import type { Step } from './recording.ts';
import type { RecordedResidency, Residency } from './residency.ts';

export const LEVELS = ['calls', 'maps', 'callbacks', 'events', 'pages'] as const;
export type Level = (typeof LEVELS)[number];

/** The first difference of a case at one level. */
export interface Divergence {
  readonly level: Level;
  /** Sequence number of the record in the recording. */
  readonly record: number;
  /** The call that caused it, in words; "" before the first. */
  readonly call: string;
  readonly expected: string;
  readonly actual: string;
  /** Both sides around it, for a side-by-side print; `at` is the index of the difference. */
  readonly left: readonly string[];
  readonly right: readonly string[];
  readonly at: number;
}

/** A one-to-one relation between recorded page names and frames, built as it is compared. */
export class Renaming {
  readonly #made = new Map<string, string>();
  readonly #recorded = new Map<string, string>();

  /** Can `recorded` and `made` be the same page? If both are new they are from now on. */
  agree(recorded: string, made: string): boolean {
    const known = this.#made.get(recorded);
    if (known !== undefined) return known === made;
    if (this.#recorded.has(made)) return false;
    this.#made.set(recorded, made);
    this.#recorded.set(made, recorded);
    return true;
  }

  /** The frame of a recorded page; undefined when no record has told. */
  frameOf(recorded: string): string | undefined {
    return this.#made.get(recorded);
  }

  /** The recorded name of a frame, for printing. */
  nameOf(made: string): string {
    return this.#recorded.get(made) ?? `frame ${made}`;
  }
}

/** Words of a call record: "P munmap(addr=0x1000, len=0x1000)". */
export function callText(call: TraceRecord): string {
  const args = Object.entries((call['args'] ?? {}) as Record<string, unknown>);
  const words = args.map(([name, value]) => `${name}=${Array.isArray(value) ? `[${value.join(' ')}]` : String(value)}`);
  return `${String(call['p'])} ${String(call['op'])}(${words.join(', ')})`;
}

const RET_FIELDS = [
  'ret',
  'errno',
  'signal',
  'addr',
  'code',
  'left',
  'last',
  'exited',
  'killed',
  'vec',
  'status',
  'resumed',
  'pages',
  'pages_shared',
  'pages_sharing',
];

function retText(fields: Readonly<Record<string, unknown>>): string {
  let text = 'ret';
  for (const name of RET_FIELDS) {
    const value = fields[name];
    if (value !== undefined) text += ` ${name}=${Array.isArray(value) ? `[${value.join(' ')}]` : String(value)}`;
  }
  return text;
}

/** One line of a maps record, and of the same area here. */
function areaText(fields: readonly string[]): string {
  return fields.join(' ');
}

/** gate_vma of x86, execute only. */
const GATE_AREA = '0xffffffffff600000 0xffffffffff601000 --xp 0x0 [vsyscall] ex';

export class Comparison {
  readonly first = new Map<Level, Divergence>();
  readonly #kernel: Kernel;
  readonly #eventPages = new Renaming();
  readonly #statePages = new Renaming();
  /** Recorded pages that were given back. A `pages` record lists what changed of the entries, so a frame that was freed, taken
   *  again and mapped at the same address keeps its old name there: which page it is now is not recorded. */
  readonly #freed = new Set<string>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  #diverge(d: Divergence): void {
    if (!this.first.has(d.level)) this.first.set(d.level, d);
  }

  /** The frame, as events name it, of a recorded page; undefined when no record has told. */
  frameOf(page: string): string | undefined {
    return this.#eventPages.frameOf(page);
  }

  /** Something went wrong that makes every level meaningless from here on. */
  broken(call: TraceRecord | null, message: string, levels: readonly Level[]): void {
    for (const level of levels) {
      const record = call?.i ?? 0;
      const text = call === null ? '' : callText(call);
      this.#diverge({ level, record, call: text, expected: '', actual: message, left: [], right: [message], at: 0 });
    }
  }

  ret(step: Step, outcome: Readonly<Record<string, unknown>>): void {
    if (step.ret === null) return;
    this.#lines('calls', step.ret.i, callText(step.call), [retText(step.ret)], [retText(outcome)]);
  }

  #lines(level: Level, record: number, call: string, left: readonly string[], right: readonly string[]): void {
    const length = Math.max(left.length, right.length);
    for (let at = 0; at < length; at++) {
      if (left[at] === right[at]) continue;
      const [expected, actual] = [left[at] ?? '(nothing)', right[at] ?? '(nothing)'];
      this.#diverge({ level, record, call, expected, actual, left, right, at });
      return;
    }
  }

  maps(record: TraceRecord, call: string, mm: MmStruct | null): void {
    if (this.first.has('maps')) return;
    const { profile } = this.#kernel;
    const left = (record['vmas'] as readonly (readonly string[])[]).map(areaText);
    const right: string[] = [];
    for (let v = mm === null ? null : mm.vmas.first(); v !== null; v = mm!.vmas.next(v)) {
      const offset = v.file === null ? 0 : v.pgoff * 4096;
      const flags = vmFlagNames(v, profile.smapsNamesLockOnFault);
      const name = vmaName(v, profile.heapNameStrict);
      right.push(areaText([hex(v.start), hex(v.end), vmaPerms(v), hex(offset), name, flags]));
    }
    if (mm !== null && this.#kernel.config.vsyscall) right.push(GATE_AREA);
    this.#lines('maps', record.i, call, left, right);
  }

  /** The area that a fault fell into. */
  area(record: TraceRecord, call: string, expected: string, actual: string): void {
    this.#lines('maps', record.i, call, [expected], [actual]);
  }

  /** `isUnordered`: frees are compared as a set. For an address space that the recorder did not watch: what it had mapped, and so how
   *  its pages were batched, is not recorded. */
  events(step: Step, made: readonly MadeRecord[], isUnordered = false): void {
    for (const r of step.events) if (r.t === 'free') this.#freed.add(String(r['page']));
    const call = callText(step.call);
    if (!this.first.has('callbacks')) {
      const left = step.events.filter((r) => CALLBACK_KINDS.has(r.t));
      const right = made.filter((r) => CALLBACK_KINDS.has(r.t));
      this.#ordered('callbacks', step, call, left, right, null);
    }
    if (!this.first.has('events')) {
      const left = step.events.filter((r) => EVENT_KINDS.has(r.t));
      const events = made.filter((r) => EVENT_KINDS.has(r.t));
      const right = isUnordered ? this.#inOrderOf(left, events) : events;
      this.#ordered('events', step, call, left, right, this.#eventPages);
    }
  }

  /** The frees among `made` in the order of the recorded ones that they are, as far as the pages are known; the rest after them. */
  #inOrderOf(recorded: readonly TraceRecord[], made: readonly MadeRecord[]): MadeRecord[] {
    const rest = [...made];
    const sorted: MadeRecord[] = [];
    for (const r of recorded) {
      const at = rest.findIndex((m) => m.t === 'free' && this.#eventPages.nameOf(m.page!) === r['page']);
      if (at >= 0) sorted.push(...rest.splice(at, 1));
    }
    return [...sorted, ...rest];
  }

  #ordered(
    level: Level,
    step: Step,
    call: string,
    recorded: readonly TraceRecord[],
    made: readonly MadeRecord[],
    renaming: Renaming | null,
  ): void {
    const left = underRules(step, recorded);
    const right = underRules(step, made);
    const length = Math.max(left.length, right.length);
    for (let at = 0; at < length; at++) {
      const [l, r] = [left[at], right[at]];
      if (l !== undefined && r !== undefined && textOf(l) === textOf(r) && samePage(l, r, renaming)) continue;
      const show = (x: TraceRecord | MadeRecord): string => shown(x, renaming === null ? null : pageOf(x));
      const lines = left.map(show);
      const mine = right.map((x) => shown(x, madeName(x, renaming)));
      const [expected, actual] = [lines[at] ?? '(nothing)', mine[at] ?? '(nothing)'];
      const record = l?.i ?? step.ret?.i ?? step.call.i;
      this.#diverge({ level, record, call, expected, actual, left: lines, right: mine, at });
      return;
    }
  }

  pages(record: TraceRecord, call: string, mine: Residency, recorded: RecordedResidency): void {
    recorded.apply(record);
    if (this.first.has('pages')) return;
    const places = new Set([...recorded.pages.keys(), ...mine.keys()]);
    for (const at of [...places].sort((a, b) => a - b)) {
      const l = recorded.pages.get(at);
      const r = mine.get(at);
      const isSame = l?.letters === r?.letters && (l === undefined || this.#sameState(l.page, r!.page));
      if (isSame) continue;
      const expected = `${hex(at)} ${l === undefined ? 'none' : `${l.letters} ${l.page}`}`;
      const actual = `${hex(at)} ${r === undefined ? 'none' : `${r.letters} ${this.#statePages.nameOf(r.page)}`}`;
      this.#diverge({
        level: 'pages',
        record: record.i,
        call,
        expected,
        actual,
        left: [expected],
        right: [actual],
        at: 0,
      });
      return;
    }
  }

  #sameState(recorded: string, made: string): boolean {
    if (recorded === '' || made === '' || this.#freed.has(recorded.replace(/\+.*/, ''))) return true;
    return this.#statePages.agree(recorded, made);
  }
}

function samePage(l: TraceRecord, r: MadeRecord, renaming: Renaming | null): boolean {
  if (renaming === null) return true;
  const [recorded, made] = [pageOf(l), pageOf(r)];
  return recorded === null || made === null ? recorded === made : renaming.agree(recorded, made);
}

function madeName(record: MadeRecord, renaming: Renaming | null): string | null {
  const page = pageOf(record);
  return page === null || renaming === null ? null : renaming.nameOf(page);
}

function shown(record: TraceRecord | MadeRecord, page: string | null): string {
  return page === null ? textOf(record) : `${textOf(record)} ${page}`;
}
