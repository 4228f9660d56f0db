// Judges sections when they are complete (I5), and who else may still be in the middle of one (for I3, I4).

import { FRAME_KERNEL } from '../abi/events.ts';
import { SITE_MIGRATE, SITE_MKCLEAN, SITE_SPLIT_PMD, SITE_TRY_TO_UNMAP } from '../abi/notifier.ts';
import { PTE_P, PTE_RW } from '../abi/pte.ts';
import type { Context } from './context.ts';
import { frameForDevice, mayStore } from './device-entries.ts';
import type { Objects } from './objects.ts';
import { GAP_FROZEN_SPLIT, GAP_HUGE_ZERO_SPLIT, I5 } from './properties.ts';
import { NO_SECTION, type Section, type ThreadState } from './sections.ts';
import { isSwapLike, LEVEL_SPAN, LOOKUP_LEAF, LOOKUP_UNKNOWN } from './shadow-tables.ts';
import { agentText, hex } from './text.ts';
import type { Holder } from './translations.ts';

/** A section was left: judges it now, or keeps it until the thread has flushed the CPUs for its changes. */
export function leaveSection(c: Context, t: ThreadState, s: Section): void {
  s.isUntilUnlock = c.rmapNotifiers.size > 0 && isRmapWalk(s.site);
  if (s.isUntilUnlock) t.settling.push(s);
  else if (s.changedAt >= 0 && !isFlushed(t, s)) t.settling.push(s);
  else complete(c, s);
}

function isRmapWalk(site: number): boolean {
  return site === SITE_TRY_TO_UNMAP || site === SITE_MKCLEAN || site === SITE_MIGRATE;
}

/** The thread dropped a page lock: external reverse maps have been told. */
export function settleUnlocked(c: Context, t: ThreadState): void {
  for (let i = 0; i < t.settling.length; ) {
    const s = t.settling[i]!;
    if (!s.isUntilUnlock) i++;
    else {
      t.settling.splice(i, 1);
      complete(c, s);
    }
  }
}

function isFlushed(t: ThreadState, s: Section): boolean {
  return t.flushMm === s.mm && t.flushAt > s.changedAt;
}

/** Judges what the thread has flushed meanwhile. */
export function settleFlushed(c: Context, t: ThreadState): void {
  for (let i = 0; i < t.settling.length; ) {
    const s = t.settling[i]!;
    if (s.isUntilUnlock || !isFlushed(t, s)) {
      i++;
      continue;
    }
    t.settling.splice(i, 1);
    complete(c, s);
  }
}

/** Judges all of the thread's sections: the operation is over. */
export function settleAll(c: Context, t: ThreadState): void {
  while (t.settling.length > 0) complete(c, t.settling.shift()!);
}

/** The run is over, and with it every operation that is not stuck inside a section: none of them excuses another. */
export function settleEverything(c: Context): void {
  const settling: Section[] = [];
  for (const t of c.sections.threads()) settling.push(...t.settling.splice(0));
  for (const s of settling) c.sections.uncover(s);
  for (const s of settling) complete(c, s);
}

function complete(c: Context, s: Section): void {
  if (c.objects !== null) noteCompared(c.objects, s);
  const holders = c.held.holders(s.mm);
  for (let h = 0; h < holders.length; h++) {
    const holder = holders[h]!;
    if (!holder.isDeviceTlb || holder.slots.size === 0) continue;
    for (let i = 0; i < s.pages.length && holder.slots.size > 0; i++) compare(c, s, holder, s.pages[i]!);
  }
  c.retire(s);
}

function noteCompared(objects: Objects, s: Section): void {
  for (let i = 0; i < s.pages.length; i++) {
    const level = s.pages[i]! % 4096;
    const page = s.pages[i]! - level;
    const end = page + LEVEL_SPAN[level]!;
    objects.heldByDevices(s.mm, page, end);
    objects.entry(s.mm, page, end, false);
  }
}

/** One changed page (address + level of its entry) against what a device TLB still holds of it. */
function compare(c: Context, s: Section, holder: Holder, pageAndLevel: number): void {
  const level = pageAndLevel % 4096;
  const page = pageAndLevel - level;
  const span = level === 0 ? 4096 : level === 1 ? 0x200000 : 0x40000000;
  if (level === 0) {
    const slot = c.held.lookup(holder, page);
    if (slot !== 0) compareSlot(c, s, holder, page, slot);
    return;
  }
  for (const slot of holder.slots.values()) {
    const start = c.held.start[slot]!;
    if (start < page + span && c.held.end[slot]! > page) compareSlot(c, s, holder, Math.max(start, page), slot);
  }
}

function compareSlot(c: Context, s: Section, holder: Holder, page: number, slot: number): void {
  const reason = mismatch(c, s.mm, page, slot);
  if (reason === '' || c.sections.covers(s.mm, page, s)) return;
  const pfn = c.held.pfn[slot]!;
  if (!c.finds(I5, splitGap(c, s, slot), s.mm, page, pfn)) return;
  c.say(
    `${sectionText(c, s)} is complete, but ` +
      `${agentText(c, holder.agent, holder.device, 'the')} still translates page ${hex(page)} to frame ` +
      `${hex(pfn)} (made at step ${c.held.step[slot]}): ${reason}.`,
  );
}

/** The documented gap that a translation of a huge page which was split fits, or null. The frame is still what it was in either. */
function splitGap(c: Context, s: Section, slot: number): number | null {
  const pfn = c.held.pfn[slot]!;
  if (s.site !== SITE_SPLIT_PMD || c.held.generation[slot] !== c.frames.generation[pfn]) return null;
  const { table, index, lo } = c.tables;
  // Migration entries: the page is locked, and rmap's section over the same block follows.
  if (table !== null && isSwapLike(lo, table.hi[index]!)) return GAP_FROZEN_SPLIT;
  // Zeros of the kernel's own before and after, that nobody may write.
  const isZeros = c.frames.purpose[pfn] === FRAME_KERNEL && c.held.writable[slot] === 0 && (lo & PTE_RW) === 0;
  return isZeros ? GAP_HUGE_ZERO_SPLIT : null;
}

function sectionText(c: Context, s: Section): string {
  if (s.id === NO_SECTION)
    return `What ${c.actorName(s.actor)} changed outside any section in ${hex(s.start)}..${hex(s.end)}`;
  return `The section of ${c.actorName(s.actor)} over ${hex(s.start)}..${hex(s.end)}`;
}

/** How a held translation differs from the entry as it is now; '' when it agrees. */
export function mismatch(c: Context, mm: number, page: number, slot: number): string {
  const found = c.tables.find(mm, page);
  if (found === LOOKUP_UNKNOWN) return '';
  const mapped = frameForDevice(c, found, mm, page, c.held.owner[slot]!.device);
  if (mapped < 0) return 'the entry is not present';
  const pfn = c.held.pfn[slot]! + (page - c.held.start[slot]!) / 4096;
  if (c.objects !== null) c.objects.frame(mapped, false);
  if (mapped !== pfn) return `the entry maps frame ${hex(mapped)}`;
  if (found !== LOOKUP_LEAF) return c.held.writable[slot] !== 0 && !mayStore(c, found) ? 'the entry is read-only' : '';
  if (c.held.generation[slot] !== c.frames.generation[mapped] && page === c.held.start[slot]) {
    return `the frame has generation ${c.frames.generation[mapped]} now, the translation ${c.held.generation[slot]}`;
  }
  if (c.held.writable[slot] !== 0 && (c.tables.lo & (PTE_P | PTE_RW)) === PTE_P) return 'the entry is read-only';
  return '';
}
