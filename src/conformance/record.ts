// One line of a recording: a JSON object with a sequence number `i`, a kind `t`, and fields by kind. The kernel under test makes
// records of the same form, so that both sides are compared, and printed, as what a reader of the recording sees.
//
// Pages have names ("g12": a frame gets a new one after every free; "g12+3" is the fourth frame of a huge page). Names are
// compared up to renaming (compare.ts), so the field `page` is not part of the text of a record.

/** Kinds of record whose order level 3 compares. */
export const CALLBACK_KINDS: ReadonlySet<string> = new Set(['cb', 'iv']);

/** Kinds of record whose order level 4 compares. */
export const EVENT_KINDS: ReadonlySet<string> = new Set([
  'cb',
  'iv',
  'fault',
  'faultret',
  'map',
  'unmap',
  'gather',
  'flush',
  'tlb',
  'pte_clear_flush',
  'pte_young_flush',
  'pmd_young_flush',
  'pmd',
  'batch_flush',
  'free',
  'exit_mmap',
  'task',
]);

/** One record: `i` and `t` always, the other fields by kind. */
export interface TraceRecord {
  readonly i: number;
  readonly t: string;
  readonly [field: string]: unknown;
}

/** A record that the kernel under test made: no sequence number yet. */
export interface MadeRecord {
  readonly t: string;
  readonly page?: string;
  readonly [field: string]: unknown;
}

/** Fields that are compared, in the order in which they are printed. Left out on purpose: `write` of change_pte (a conversion
 *  error of the recorder), `by` (who was running), `vma` of a fault (follows from the maps). */
const COMPARED: Readonly<Record<string, readonly string[]>> = {
  cb: ['op', 'id', 'mm', 'start', 'end', 'addr', 'event', 'blockable', 'owner', 'ret'],
  iv: ['id', 'mm', 'start', 'end', 'event', 'blockable'],
  fault: ['mm', 'addr', 'flags'],
  faultret: ['mm', 'ret'],
  map: ['mm', 'addr', 'kind', 'order'],
  unmap: ['mm', 'order'],
  gather: ['mm', 'table', 'size'],
  flush: ['mm', 'start', 'end', 'stride', 'freed_tables'],
  tlb: ['mm', 'reason', 'pages'],
  pte_clear_flush: ['mm', 'addr'],
  pte_young_flush: ['mm', 'addr'],
  pmd_young_flush: ['mm', 'addr'],
  pmd: ['op', 'mm', 'addr'],
  batch_flush: ['mm'],
  free: ['order', 'to'],
  exit_mmap: ['at', 'mm'],
  task: ['op', 'p', 'child', 'same_mm', 'file'],
};

/** What is compared of a record, apart from its page: "cb invalidate_range id=0 mm=P 0x1000-0x2000". */
export function textOf(record: MadeRecord | TraceRecord): string {
  let text = record.t;
  for (const field of COMPARED[record.t] ?? []) {
    const value = record[field];
    if (value === undefined) continue;
    if (field === 'op' || field === 'at') text += ` ${String(value)}`;
    else if (Array.isArray(value)) text += ` ${field}=${value.join('|')}`;
    else text += ` ${field}=${String(value)}`;
  }
  return text;
}

/** Name of the page that the record is about; null when it has none. */
export function pageOf(record: MadeRecord | TraceRecord): string | null {
  return typeof record.page === 'string' ? record.page : null;
}

/** A number as recordings write addresses. */
export function hex(value: number): string {
  return value === Number.POSITIVE_INFINITY ? '0xffffffffffffffff' : `0x${value.toString(16)}`;
}

/** An address of a recording as a number; above 2^53 rounded (only ~0 occurs there). */
export function address(text: unknown): number {
  if (typeof text === 'number') return text;
  if (text === '0xffffffffffffffff') return Number.POSITIVE_INFINITY;
  return Number.parseInt(String(text), 16);
}
