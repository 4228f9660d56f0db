// Monitor of the dirty bits that a device keeps in a table of its own (I20a): what such a bit says goes with the entry, so the page must
// be marked dirty (PG_dirty) before the callback that takes the entry away returns:
//
//   device                             driver, in its callback                kernel
//     stores: its entry has D
//                                        takes the entry out, waits
//     (the page is not marked)
//                                        returns
//                                                                               knows of no store: may drop the page as clean
//
// That the CPUs' own entry happens to be dirty too, because the look-up asked for a store, is not the driver's merit: an entry made
// writable after a look-up for a read would have nothing but this mark. A page that was marked when it was mapped and not written out
// since is marked still. What is taken away outside a callback (the driver's own business) is not watched. A partition of XPMEM empties its
// table in a thread of its own, for the callback that sent the recall: its entries go in that callback.

import { EV_A, EV_D, EV_END, EV_MM, EV_PFN, EV_START } from '../abi/events.ts';
import type { Context } from './context.ts';
import { I20A } from './properties.ts';
import { hex } from './text.ts';

interface Dropped {
  readonly pfn: number;
  readonly mm: number;
  readonly page: number;
  /** Event. */
  readonly at: number;
}

/** A recall that a thread has sent in the callback that it is in. */
interface SentRecall {
  readonly actor: number;
  readonly mm: number;
  readonly device: number;
  readonly start: number;
  readonly end: number;
}

export class DirtyEntries {
  /** Entries with their dirty bit set that were taken out in the callback that a thread is in. */
  readonly dropped = new Map<number, Dropped[]>();
  recalls: SentRecall[] = [];

  /** Is there anything to look at when a callback returns? */
  get isWatching(): boolean {
    return this.dropped.size > 0 || this.recalls.length > 0;
  }

  forget(pfn: number): void {
    for (const list of this.dropped.values()) {
      const i = list.findIndex((d) => d.pfn === pfn);
      if (i >= 0) list.splice(i, 1);
    }
  }
}

/** MSG_XPMEM_RECALL. */
export function onRecall(c: Context, r: Float64Array, at: number): void {
  if (!c.subscribers.isInCallback(c.actor)) return;
  const [mm, device, start, end] = [r[at + EV_MM]!, r[at + EV_D]!, r[at + EV_START]!, r[at + EV_END]!];
  c.dirtyEntries.recalls.push({ actor: c.actor, mm, device, start, end });
}

/** Threads whose callbacks take the entry away. */
function takers(c: Context, mm: number, device: number, page: number): readonly number[] {
  if (c.subscribers.isInCallback(c.actor)) return [c.actor];
  const sent = c.dirtyEntries.recalls.filter(
    (s) => s.mm === mm && s.device === device && s.start <= page && page < s.end,
  );
  return [...new Set(sent.map((s) => s.actor))];
}

/** E_DEV_INVAL of an entry that had its dirty bit set. */
export function onDirtyEntryDropped(c: Context, r: Float64Array, at: number): void {
  const pfn = r[at + EV_PFN]!;
  if (r[at + EV_A] !== 1 || !c.frames.has(pfn)) return;
  const [mm, page] = [r[at + EV_MM]!, r[at + EV_START]!];
  const actors = takers(c, mm, r[at + EV_D]!, page);
  if (actors.length === 0) return;
  // Memory of a device's own is never dropped as clean.
  if (c.deviceEntries.deviceOf(pfn) >= 0) return;
  if (c.objects !== null) c.objects.saved(pfn, false);
  for (const actor of actors) {
    const list = c.dirtyEntries.dropped.get(actor) ?? [];
    list.push({ pfn, mm, page, at: c.event });
    c.dirtyEntries.dropped.set(actor, list);
  }
}

/** A callback of the thread returns. */
export function dirtyEntriesCallbackEnd(c: Context): void {
  const { recalls } = c.dirtyEntries;
  if (recalls.length > 0) c.dirtyEntries.recalls = recalls.filter((s) => s.actor !== c.actor);
  const list = c.dirtyEntries.dropped.get(c.actor);
  if (list === undefined) return;
  c.dirtyEntries.dropped.delete(c.actor);
  for (const { pfn, mm, page, at } of list) {
    if (c.objects !== null) c.objects.saved(pfn, false);
    const dirtyAt = c.frames.dirtyAt[pfn]!;
    const writtenAt = c.frames.writtenAt[pfn]!;
    // Marked and not written out since; or written out with what the device had stored.
    if (dirtyAt > writtenAt || writtenAt > at) continue;
    if (!c.finds(I20A, null, mm, page, pfn)) continue;
    c.say(
      `A callback took page ${hex(page)}, frame ${hex(pfn)}, from a device that had stored to it, and returned without marking it dirty.`,
    );
  }
}
