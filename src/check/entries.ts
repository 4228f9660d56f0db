// Monitor of page-table stores and frames: keeps the copy of the tables, notes which mappings go and which lose W inside
// which section, and judges every free (windows, I1c and I2 in their static form, I24).

import { AGENT_PWC, EV_A, EV_B, EV_C, EV_GEN, EV_MM, EV_PFN, EV_START, FRAME_TABLE } from '../abi/events.ts';
import { SITE_MREMAP } from '../abi/notifier.ts';
import { PTE_A, PTE_D, PTE_P, PTE_RW } from '../abi/pte.ts';
import { NR_execve } from '../abi/syscalls.ts';
import type { Context } from './context.ts';
import { deviceEntryFrame, isExclusiveEntry, isWritableDeviceEntry } from './device-entries.ts';
import { FRAME_IS_FREE } from './frames.ts';
import { freedContents } from './lost-write.ts';
import type { Objects } from './objects.ts';
import {
  GAP_DEGENERATE_RANGE,
  GAP_EXEC_TABLES,
  GAP_FREED_BEFORE_FLUSH,
  GAP_MREMAP_OLD_RANGE,
  GAP_TABLE_RANGE,
  I1C,
  I2,
  I24,
} from './properties.ts';
import type { Section, ThreadState } from './sections.ts';
import { settleFlushed } from './settling.ts';
import {
  entryIndex,
  isLeafEntry,
  isSwapLike,
  LEVEL_SPAN,
  LEVELS,
  mappedFrame,
  SLOT_TRANSLATED,
  SLOT_WRITTEN,
  type TableCopy,
} from './shadow-tables.ts';
import { agentText, hex } from './text.ts';
import { AGENT_CPU } from './translations.ts';
import { CAUSE_NO_SECTION, CAUSE_TABLE, causeOf } from './windows.ts';

const IGNORED = ~(PTE_A | PTE_D);

/** E_PTE and E_PTE_AD. */
export function onEntryStore(c: Context, r: Float64Array, at: number): void {
  const level = r[at + EV_GEN]!;
  const pfn = r[at + EV_PFN]!;
  const va = r[at + EV_START]!;
  if (!(level >= 0 && level < LEVELS) || (level | 0) !== level || !c.frames.has(pfn) || !(va >= 0 && va < 2 ** 52)) {
    c.tally.malformed++;
    return;
  }
  const mm = r[at + EV_MM]!;
  const table = c.tables.touch(mm, pfn, level);
  const index = entryIndex(va, level);
  const newLo = r[at + EV_A]! | 0;
  const newHi = r[at + EV_B]! | 0;
  const isKnown = table.isComplete || (table.slot[index]! & SLOT_WRITTEN) !== 0;
  const oldLo = isKnown ? table.lo[index]! : r[at + EV_C]! | 0;
  const oldHi = isKnown ? table.hi[index]! : r[at + EV_C + 1]! | 0;
  if (oldLo !== (r[at + EV_C]! | 0)) c.tally.unannouncedStores++;
  table.lo[index] = newLo;
  table.hi[index] = newHi;
  table.slot[index]! |= SLOT_WRITTEN;
  table.used += ((newLo | newHi) !== 0 ? 1 : 0) - (isKnown && (oldLo | oldHi) !== 0 ? 1 : 0);
  if (((oldLo ^ newLo) & IGNORED) === 0 && oldHi === newHi) return;
  if (c.objects !== null) noteStore(c, c.objects, mm, va, level, oldLo, newLo);
  if (c.progress.size > 0) c.progress.changed(mm, va, va + LEVEL_SPAN[level]!);
  const wasLeaf = isLeafEntry(oldLo, level);
  const isLeaf = isLeafEntry(newLo, level);
  countMapping(c, level, wasLeaf, oldLo, isLeaf, newLo);
  if (level === 0) {
    const swap = (isSwapLike(newLo, newHi) ? 1 : 0) - (isSwapLike(oldLo, oldHi) ? 1 : 0);
    if (swap !== 0) c.residency.swap(swap);
  }
  if ((oldLo & PTE_P) === 0) {
    if (level === 0) deviceEntryChanged(c, mm, va, oldLo, oldHi, newLo, newHi);
    if (!isLeaf) return;
    table.slot[index]! &= ~SLOT_TRANSLATED;
    if ((newLo & PTE_P) !== 0) installed(c, mm, va, level, newLo);
    return;
  }
  if (wasLeaf) leafChanged(c, mm, va, level, table, index, oldLo, newLo);
  else if ((newLo & PTE_P) === 0 || newLo >>> 12 !== oldLo >>> 12 || isLeaf) unlinked(c, mm, va, level, oldLo >>> 12);
}

/** A leaf is written; a pointer to a table without entries maps nothing before or after. */
function noteStore(
  c: Context,
  objects: Objects,
  mm: number,
  va: number,
  level: number,
  oldLo: number,
  newLo: number,
): void {
  const isLeaf = isLeafEntry(oldLo, level) || isLeafEntry(newLo, level);
  objects.book(mm, false);
  if (isLeaf || hasEntries(c, oldLo) || hasEntries(c, newLo)) objects.entry(mm, va, va + LEVEL_SPAN[level]!, true);
  if (!isLeaf && (oldLo & PTE_P) !== 0) objects.frame(oldLo >>> 12, true);
}

function hasEntries(c: Context, lo: number): boolean {
  const table = (lo & PTE_P) === 0 ? null : c.tables.at(lo >>> 12);
  return table !== null && table.used > 0;
}

/** Keeps the number of entries that map each frame. */
function countMapping(
  c: Context,
  level: number,
  wasLeaf: boolean,
  oldLo: number,
  isLeaf: boolean,
  newLo: number,
): void {
  const before = wasLeaf ? mappedFrame(oldLo) : -1;
  const after = isLeaf ? mappedFrame(newLo) : -1;
  if (before === after) return;
  const frames = level === 0 ? 1 : level === 1 ? 512 : 262144;
  if (c.objects !== null) {
    if (after >= 0) for (let i = 0; i < frames; i++) c.objects.onFrame(after + i, true);
    if (before >= 0) for (let i = 0; i < frames; i++) c.objects.onFrame(before + i, true);
  }
  if (after >= 0) for (let i = 0; i < frames; i++) c.residency.map(after + i);
  if (before >= 0) for (let i = 0; i < frames; i++) c.residency.unmap(before + i, c.actor);
}

/** What gave the page to a device goes, names another frame, or loses the right to write. */
function deviceEntryChanged(
  c: Context,
  mm: number,
  va: number,
  oldLo: number,
  oldHi: number,
  newLo: number,
  newHi: number,
): void {
  const pfn = deviceEntryFrame(oldLo, oldHi);
  if (pfn < 0) return;
  const wasExclusive = isExclusiveEntry(oldLo, oldHi);
  const isSame = deviceEntryFrame(newLo, newHi) === pfn && isExclusiveEntry(newLo, newHi) === wasExclusive;
  if (wasExclusive && !isSame) c.deviceEntries.withdraw(mm, va);
  if (isSame && (!isWritableDeviceEntry(oldHi) || isWritableDeviceEntry(newHi))) return;
  noteChange(c, mm, va, 0, c.sections.innermost(c.sections.thread(c.actor), mm, va));
}

/** A hardware-present leaf changed. */
function leafChanged(
  c: Context,
  mm: number,
  va: number,
  level: number,
  table: TableCopy,
  index: number,
  oldLo: number,
  newLo: number,
): void {
  const isRemoved = (newLo & PTE_P) === 0 || newLo >>> 12 !== oldLo >>> 12;
  if ((newLo & PTE_P) !== 0) usableFrom(c, mm, va, level, newLo);
  if (!isRemoved && !((oldLo & PTE_RW) !== 0 && (newLo & PTE_RW) === 0)) return;
  const t = c.sections.thread(c.actor);
  const section = c.sections.innermost(t, mm, va);
  if (isRemoved) {
    noteRemoval(c, oldLo >>> 12, (table.slot[index]! & SLOT_TRANSLATED) !== 0, section);
    table.slot[index]! &= ~SLOT_TRANSLATED;
  }
  const serial = noteChange(c, mm, va, level, section);
  if (level !== 0 || !isRemoved) return;
  if (c.replacements.size > 0) c.replacements.removed(mm, va);
  t.removedMm = mm;
  t.removedPage = va;
  t.removedPfn = oldLo >>> 12;
  t.removedSerial = serial;
  if ((newLo & PTE_P) !== 0) c.replacements.add(mm, va, oldLo >>> 12, newLo >>> 12, serial);
}

/** A present leaf stands where there was none. If the thread itself took another frame out before, inside the same section, it
 *  replaced one by the other. */
function installed(c: Context, mm: number, va: number, level: number, lo: number): void {
  usableFrom(c, mm, va, level, lo);
  const t = c.sections.thread(c.actor);
  if (level !== 0 || t.removedPage !== va || t.removedMm !== mm) return;
  t.removedPage = -1;
  if (t.removedPfn === lo >>> 12 || !c.sections.isActive(t.removedSerial)) return;
  c.replacements.add(mm, va, t.removedPfn, lo >>> 12, t.removedSerial);
}

/** The entry maps a frame now, or permits stores to it. */
function usableFrom(c: Context, mm: number, va: number, level: number, lo: number): void {
  if (c.objects !== null) c.objects.agents(mm, va, va + LEVEL_SPAN[level]!, true);
  if (c.promises.size === 0 && c.promises.calls.length === 0) return;
  c.promises.mapped(mm, va, va + LEVEL_SPAN[level]!, lo >>> 12, (lo & PTE_RW) !== 0);
}

/** The mapping of a frame went: remember whether a device had used it, and where it went. */
function noteRemoval(c: Context, pfn: number, wasTranslated: boolean, section: Section | null): void {
  if (!c.frames.has(pfn)) return;
  const cause = section === null ? CAUSE_NO_SECTION : causeOf(section.site, false);
  c.frames.withdrawal[pfn] = wasTranslated ? cause + 1 : 0;
  c.frames.withdrawalSection[pfn] = section === null ? 0 : section.id;
}

/** Does a device hold a translation of the page? */
function isHeld(c: Context, mm: number, va: number): boolean {
  const holders = c.held.holders(mm);
  for (let i = 0; i < holders.length; i++) {
    const h = holders[i]!;
    if (h.isDevice && h.slots.size > 0 && c.held.lookup(h, va) !== 0) return true;
  }
  return false;
}

/** Notes the change with its section, whose serial number it returns; where a device translates, the page is compared when the section is complete. */
function noteChange(c: Context, mm: number, va: number, level: number, section: Section | null): number {
  const { hasDevice } = c.book(mm);
  if (section === null) {
    if (hasDevice) c.tally.uncovered++;
    section = c.sections.uncovered(c.sections.thread(c.actor), mm, va, va + LEVEL_SPAN[level]!, c.step);
  }
  section.changedAt = c.event;
  if (hasDevice) section.pages.push(va + level);
  if (hasDevice && isHeld(c, mm, va)) c.tally.exposures++;
  return section.serial;
}

/** A pointer to a table was taken away: every leaf below is gone at these addresses. */
function unlinked(c: Context, mm: number, va: number, level: number, child: number): void {
  if (!c.frames.has(child)) return;
  c.frames.unlinkedAt[child] = c.event;
  const table = c.tables.at(child);
  if (table === null || table.used === 0) return;
  const span = LEVEL_SPAN[level - 1]!;
  const t = c.sections.thread(c.actor);
  for (let i = 0; i < 512; i++) {
    const lo = table.lo[i]!;
    if ((lo & PTE_P) === 0) continue;
    const at = va + i * span;
    if (!isLeafEntry(lo, level - 1)) {
      if (level > 1) unlinked(c, mm, at, level - 1, lo >>> 12);
      continue;
    }
    const section = c.sections.innermost(t, mm, at);
    noteRemoval(c, lo >>> 12, (table.slot[i]! & SLOT_TRANSLATED) !== 0, section);
    table.slot[i]! &= ~SLOT_TRANSLATED;
    noteChange(c, mm, at, level - 1, section);
  }
}

/** E_FRAME_ALLOC. */
export function onFrameAlloc(c: Context, r: Float64Array, at: number): void {
  const first = r[at + EV_PFN]!;
  const frames = framesOf(r[at + EV_B]!);
  const purpose = r[at + EV_A]!;
  for (let i = 0; i < frames; i++) {
    const pfn = first + i;
    if (!c.frames.has(pfn)) {
      c.tally.malformed++;
      return;
    }
    if (c.objects !== null) {
      c.objects.frame(pfn, true);
      c.objects.saved(pfn, true);
    }
    c.frames.allocate(pfn, i === 0 ? r[at + EV_GEN]! : c.frames.generation[pfn]!, purpose);
    if (purpose === FRAME_TABLE) c.tables.allocate(pfn);
  }
}

function framesOf(order: number): number {
  return order >= 1 && order <= 10 ? 2 ** Math.floor(order) : 1;
}

/** E_FRAME_FREE. */
export function onFrameFree(c: Context, r: Float64Array, at: number): void {
  const t = c.sections.thread(c.actor);
  if (t.settling.length > 0) settleFlushed(c, t);
  const first = r[at + EV_PFN]!;
  const frames = framesOf(r[at + EV_B]!);
  for (let i = 0; i < frames; i++) {
    const pfn = first + i;
    if (!c.frames.has(pfn)) {
      c.tally.malformed++;
      return;
    }
    const isDiscarded = frames > 1 && c.frames.discardedBy[pfn] === c.actor + 1;
    const generation = i === 0 ? r[at + EV_GEN]! : c.frames.generation[pfn]!;
    if (c.objects !== null) {
      c.objects.frame(pfn, true);
      c.objects.onFrame(pfn, true);
      c.objects.saved(pfn, true);
    }
    const isTable = c.frames.purpose[pfn] === FRAME_TABLE || r[at + EV_A] === FRAME_TABLE;
    if (isTable) freeTable(c, t, pfn, generation);
    else freeData(c, t, pfn, generation, isDiscarded);
    freedContents(c, pfn);
    if (c.dirtyEntries.dropped.size > 0) c.dirtyEntries.forget(pfn);
    c.residency.freed(pfn);
  }
}

/** `isDiscarded`: a part of a large page that this thread has dropped as clean (gap 18). */
function freeData(c: Context, t: ThreadState, pfn: number, generation: number, isDiscarded: boolean): void {
  const f = c.frames;
  const held = c.held;
  let isOpen = false;
  let gap = 0;
  const cpuGap = isDiscarded ? GAP_FREED_BEFORE_FLUSH : null;
  for (let slot = held.firstOfFrame(pfn); slot !== 0; slot = held.nextOfFrame(slot)) {
    if (held.generation[slot] !== generation) continue;
    const owner = held.owner[slot]!;
    if (owner.isDevice) {
      isOpen = true;
      if (c.sections.foreign(owner.mm, held.start[slot]!, SITE_MREMAP, c.actor) !== null) gap = GAP_MREMAP_OLD_RANGE;
    } else if (owner.agent === AGENT_CPU && c.finds(I1C, cpuGap, owner.mm, held.start[slot]!, pfn)) {
      const page = held.start[slot]!;
      c.say(
        `${c.actorName(c.actor)} freed frame ${hex(pfn)} (generation ${generation}) while CPU ${owner.device} still held ` +
          `a translation of page ${hex(page)} to it, made at step ${held.step[slot]}.`,
      );
    }
  }
  if (isOpen) c.tally.freedWhileReachable++;
  if (isOpen || f.withdrawal[pfn] !== 0) c.windows.count(windowCause(c, t, pfn, gap), isOpen);
  if (f.maps[pfn]! > 0 && c.finds(I24, null, 0, 0, pfn)) {
    c.say(
      `${c.actorName(c.actor)} freed frame ${hex(pfn)} (generation ${generation}) while ${f.maps[pfn]} page-table ` +
        `${f.maps[pfn] === 1 ? 'entry maps' : 'entries map'} it.`,
    );
  }
  f.free(pfn, generation, c.step, c.actor, gap === 0 ? (cpuGap ?? 0) : gap);
}

function windowCause(c: Context, t: ThreadState, pfn: number, gap: number): number {
  const cause = c.frames.withdrawal[pfn]! - 1;
  if (cause < 0) return gap === GAP_MREMAP_OLD_RANGE ? causeOf(SITE_MREMAP, false) : CAUSE_NO_SECTION;
  if (cause === CAUSE_NO_SECTION) return cause;
  const id = c.frames.withdrawalSection[pfn]!;
  let isInside = false;
  for (let i = 0; i < t.open.length; i++) if (t.open[i]!.id === id) isInside = true;
  return isInside ? cause + 1 : cause;
}

function freeTable(c: Context, t: ThreadState, pfn: number, generation: number): void {
  const f = c.frames;
  const held = c.held;
  let pointer = 0;
  for (let slot = held.firstOfFrame(pfn); slot !== 0; slot = held.nextOfFrame(slot)) {
    if (held.generation[slot] === generation && held.owner[slot]!.agent === AGENT_PWC) pointer = slot;
  }
  let gap = 0;
  if (pointer !== 0) {
    gap = tableGap(c, t, pfn, held.start[pointer]!, held.end[pointer]!);
    const owner = held.owner[pointer]!;
    const page = held.start[pointer]!;
    if (c.finds(I2, gap === 0 ? null : gap, owner.mm, page, pfn)) {
      c.say(
        `${c.actorName(c.actor)} freed page-table page ${hex(pfn)} (generation ${generation}) while ` +
          `${agentText(c, AGENT_PWC, owner.device, 'the')} still pointed to it for ${hex(page)}..${hex(held.end[pointer]!)}.`,
      );
    }
  }
  if (pointer !== 0 || f.walkCached[pfn] !== 0) c.windows.count(CAUSE_TABLE, pointer !== 0);
  c.tables.free(pfn);
  f.free(pfn, generation, c.step, c.actor, gap);
}

/** Which documented gap explains a table freed while a walk cache points to it over [start, end); 0 none. */
function tableGap(c: Context, t: ThreadState, pfn: number, start: number, end: number): number {
  if (t.rangeAt <= c.frames.unlinkedAt[pfn]!) return 0;
  if (t.syscall[t.syscall.length - 1] === NR_execve && t.open.length === 0) return GAP_EXEC_TABLES;
  if (t.rangeStart >= t.rangeEnd) return GAP_DEGENERATE_RANGE;
  return t.rangeStart < end && t.rangeEnd > start ? GAP_TABLE_RANGE : 0;
}

/** Is the frame known to be free now? */
export function isFree(c: Context, pfn: number): boolean {
  return c.frames.state[pfn] === FRAME_IS_FREE;
}
