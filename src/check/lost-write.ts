// Monitor of contents (I20): a page is dropped as clean only when every store to it is in what was written out. A store is noticed
// through the dirty bit of the entry that permits it. What goes through a translation whose entry is gone or read-only sets no
// bit; once the page was written out, nobody will write it again:
//
//   CPU 0: munmap                     writeback                          CPU 1: has V -> F writable in its TLB
//     entry cleared, its D goes to F
//                                       nobody maps F; F is clean, written
//                                                                          stores to V
//     CPUs flushed                                                         F is dropped: the store is nowhere
//
// Judged when the page is dropped; and at the end of the run for pages that such a store reached and that nothing marked dirty since.
// A page that goes with its file or its last mapping loses nothing. Stores of pinned DMA are the driver's to announce.

import { EV_A, EV_PFN, KEPT_LAZYFREE } from '../abi/events.ts';
import type { Context } from './context.ts';
import { GAP_EARLY_RMAP_REMOVAL, I20 } from './properties.ts';
import { hex } from './text.ts';

/** A store that nothing noticed. */
interface Unnoticed {
  readonly pfn: number;
  readonly mm: number;
  readonly page: number;
  readonly text: string;
  /** Gap that explains it, or null. */
  readonly gap: number | null;
}

export class LostWrites {
  readonly unnoticed: Unnoticed[] = [];
  /** Pages given up by MADV_FREE, by thread, until its call returns. */
  readonly given = new Map<number, number[]>();

  forget(pfn: number): void {
    for (let i = this.unnoticed.length - 1; i >= 0; i--)
      if (this.unnoticed[i]!.pfn === pfn) this.unnoticed.splice(i, 1);
  }
}

/** Any store that reached the frame. */
export function onStore(c: Context, mm: number, page: number, pfn: number): void {
  if (c.objects !== null) c.objects.saved(pfn, true);
  c.frames.storedAt[pfn] = c.event;
  c.frames.lastMm[pfn] = mm;
  c.frames.lastPage[pfn] = page;
}

/** A store through a translation that its entry does not permit any more. */
export function onUnnoticedStore(c: Context, mm: number, page: number, pfn: number, use: () => string): void {
  const f = c.frames;
  if (f.writtenAt[pfn] === 0 || f.dirtyAt[pfn]! > f.writtenAt[pfn]!) return;
  if (c.objects !== null) c.objects.agents(mm, page, page + 1, false);
  // Until 6.1 the zap that still holds the page-table lock does not keep write-back away.
  const gap = c.sections.isLocked(mm, page, c.actor) ? GAP_EARLY_RMAP_REMOVAL : null;
  c.lost.unnoticed.push({ pfn, mm, page, gap, text: `${use()} at step ${c.step}` });
}

/** E_DIRTY. */
export function onDirty(c: Context, r: Float64Array, at: number): void {
  const pfn = known(c, r, at);
  if (pfn < 0) return;
  c.frames.dirtyAt[pfn] = c.event;
  if (c.lost.unnoticed.length > 0) c.lost.forget(pfn);
}

/** E_WRITE_OUT. */
export function onWriteOut(c: Context, r: Float64Array, at: number): void {
  const pfn = known(c, r, at);
  if (pfn < 0) return;
  c.frames.writtenAt[pfn] = c.event;
  c.frames.savedAt[pfn] = c.event;
  if (c.lost.unnoticed.length > 0) c.lost.forget(pfn);
}

/** E_LAZYFREE: a store before the call has returned may be forgotten too. */
export function onLazyfree(c: Context, r: Float64Array, at: number): void {
  const pfn = known(c, r, at);
  if (pfn < 0) return;
  c.frames.savedAt[pfn] = Number.POSITIVE_INFINITY;
  const list = c.lost.given.get(c.actor);
  if (list === undefined) c.lost.given.set(c.actor, [pfn]);
  else list.push(pfn);
}

/** The thread's system call is over: what is stored to the pages that it gave up must be kept from now on. */
export function givenUp(c: Context): void {
  const list = c.lost.given.get(c.actor);
  if (list === undefined) return;
  for (const pfn of list) {
    if (c.objects !== null) c.objects.saved(pfn, true);
    if (c.frames.savedAt[pfn] === Number.POSITIVE_INFINITY) c.frames.savedAt[pfn] = c.event;
  }
  c.lost.given.delete(c.actor);
}

/** E_DISCARD. */
export function onDiscard(c: Context, r: Float64Array, at: number): void {
  const pfn = known(c, r, at);
  if (pfn < 0) return;
  const { storedAt, savedAt, lastMm, lastPage, discardedBy } = c.frames;
  discardedBy[pfn] = c.actor + 1;
  if (storedAt[pfn]! > savedAt[pfn]! && c.finds(I20, null, lastMm[pfn]!, lastPage[pfn]!, pfn)) {
    const why = r[at + EV_A] === KEPT_LAZYFREE ? 'MADV_FREE had returned' : 'it was written out';
    c.say(`${c.actorName(c.actor)} dropped frame ${hex(pfn)} as clean, but it was stored to after ${why}.`);
  }
  c.lost.forget(pfn);
}

/** E_FRAME_FREE: what it held is not missed. */
export function freedContents(c: Context, pfn: number): void {
  if (c.lost.unnoticed.length > 0) c.lost.forget(pfn);
}

/** The run is over: what nobody noticed will be in no copy, unless an entry with D set maps the page. */
export function unnoticedAtEnd(c: Context): void {
  for (const u of c.lost.unnoticed) {
    if (c.tables.isDirty(u.pfn) || !c.finds(I20, u.gap, u.mm, u.page, u.pfn)) continue;
    c.say(`${u.text}, after the frame had been written out; nothing marks it dirty, so the store is in no copy.`);
  }
}

function known(c: Context, r: Float64Array, at: number): number {
  const pfn = r[at + EV_PFN]!;
  if (!c.frames.has(pfn)) {
    c.tally.malformed++;
    return -1;
  }
  if (c.objects !== null) c.objects.saved(pfn, true);
  return pfn;
}
