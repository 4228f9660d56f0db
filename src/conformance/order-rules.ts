// Records whose order, or whose place, nothing in a recording decides. Each rule says which they are, why, and what of them is
// compared all the same; nothing is left out.
//
//   page_idle_get     reading a word of the bitmap asks its 64 frames in the order of their numbers: which page has which frame
//                     is the allocator's history. Compared: the same callbacks, as often, in any order.
//   kdamond           samples random addresses, and how often is a matter of time. Compared: which callbacks come, for which
//                     subscriber and address space.
//   remote_shootdown  a CPU that gets the interrupt of a flush writes it down if it runs the address space, and not if it idles with
//                     it (lazy TLB): when a thread gets its CPU is a matter of time. Compared: that the interrupt was sent
//                     (remote_send_ipi), and each remote_shootdown in calls with a recorded one.

import { type MadeRecord, type TraceRecord, textOf } from './record.ts';
import type { Step } from './recording.ts';

type Record = TraceRecord | MadeRecord;

const SAMPLING_THREAD = /^kdamond/;
const YOUNG_OPS: ReadonlySet<unknown> = new Set(['clear_young', 'test_young']);

const isRemoteShootdown = (r: Record): boolean => r.t === 'tlb' && r['reason'] === 'remote_shootdown';

/** Does a sampling thread run while this call is under way? */
function isSampled(step: Step): boolean {
  return step.events.some((r) => SAMPLING_THREAD.test(String(r['by'] ?? '')));
}

/** The records of either side of a step in the order in which they are to be compared. */
export function underRules<T extends Record>(step: Step, records: readonly T[]): readonly T[] {
  if (step.call['op'] === 'page_idle_get') return sorted(records);
  if (!step.events.some(isRemoteShootdown)) records = records.filter((r) => !isRemoteShootdown(r));
  return isSampled(step) ? withSamplesAsKinds(records) : records;
}

function sorted<T extends Record>(records: readonly T[]): readonly T[] {
  return [...records].sort((a, b) => (textOf(a) < textOf(b) ? -1 : textOf(a) > textOf(b) ? 1 : 0));
}

function withSamplesAsKinds<T extends Record>(records: readonly T[]): readonly T[] {
  const isSample = (r: T): boolean => r.t === 'cb' && YOUNG_OPS.has(r['op']);
  const kinds = new Map<string, T>();
  for (const r of records) {
    if (!isSample(r)) continue;
    const kind = { ...r, start: undefined, end: undefined, addr: undefined };
    kinds.set(textOf(kind), kind);
  }
  return [...records.filter((r) => !isSample(r)), ...sorted([...kinds.values()])];
}
