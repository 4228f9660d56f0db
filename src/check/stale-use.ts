// Monitor of uses: what an agent does through a translation that its entry still permits, and through one that it does not.
// The latter is in order while the operation that changed the entry is not complete (sections.ts), except that
//
//   a call that has returned promised that it is over (promises.ts)               I13, I3, I3c
//   somebody has stored to the copy that replaced the frame (replacements.ts)     I8
//   another address space that shares the frame has read it after fork            I23

import { AGENT_PIN, FRAME_ANON, FRAME_KERNEL } from '../abi/events.ts';
import { VM_SHARED } from '../abi/mman.ts';
import { PTE_RW } from '../abi/pte.ts';
import { syscallName } from '../abi/syscalls.ts';
import type { Context } from './context.ts';
import { FRAME_UNKNOWN } from './frames.ts';
import { onStore, onUnnoticedStore } from './lost-write.ts';
import { GAP_HUGE_ZERO_SPLIT, GAP_PINNED, I3, I3C, I4, I4C, I8, I13, I23 } from './properties.ts';
import { agentText, hex } from './text.ts';
import { AGENT_CPU } from './translations.ts';

/** The entry, looked up last in c.tables, permits the access. */
export function permittedUse(c: Context, mm: number, page: number, pfn: number, isStore: boolean): void {
  if (isStore) {
    onStore(c, mm, page, pfn);
    if (c.replacements.size > 0) storeToCopy(c, mm, page, pfn);
    return;
  }
  if ((c.tables.lo & PTE_RW) !== 0 || c.frames.purpose[pfn] !== FRAME_ANON) return;
  const bit = 1 << (mm & 31);
  const isNew = (c.frames.seenBy[pfn]! & bit) === 0;
  if (c.objects !== null) c.objects.seen(pfn, isNew);
  if (isNew) c.frames.seenBy[pfn]! |= bit;
}

function storeToCopy(c: Context, mm: number, page: number, pfn: number): void {
  const r = c.replacements.at(mm, page);
  if (r === null || r.newPfn !== pfn) return;
  if (c.objects !== null) c.objects.agents(mm, page, page + 1, r.writtenBy === '');
  if (r.writtenBy !== '') return;
  r.writtenBy = c.actorName(c.actor);
  r.writtenAt = c.step;
}

/** An agent (AGENT_CPU or a device's) used what its entry does not say: `mapped` is the frame that it maps, -1 for none, `pfn`
 *  itself when a store found it read-only. */
export function staleUse(
  c: Context,
  mm: number,
  page: number,
  pfn: number,
  agent: number,
  device: number,
  isStore: boolean,
  mapped: number,
): void {
  const lacksRight = mapped === pfn;
  if (agent === AGENT_PIN) {
    if (lacksRight && !c.sections.covers(mm, page)) withoutRight(c, mm, page, pfn, agent, device);
    return;
  }
  if (isStore) onStore(c, mm, page, pfn);
  if (agent !== AGENT_CPU) c.tally.exposures++;
  const use = (): string => useText(c, mm, page, pfn, agent, device, isStore);
  if (isStore) onUnnoticedStore(c, mm, page, pfn, use);
  if (lacksRight) changedSnapshot(c, mm, page, pfn, use);
  else if (c.replacements.size > 0) usedOldCopy(c, mm, page, pfn, use);
  if (c.sections.covers(mm, page)) {
    if (c.promises.size > 0) brokenPromise(c, mm, page, pfn, agent, isStore, use);
  } else if (lacksRight) withoutRight(c, mm, page, pfn, agent, device);
  else if (
    c.finds(
      agent === AGENT_CPU ? I4C : I4,
      isZeroForZero(c, pfn, mapped, isStore) ? GAP_HUGE_ZERO_SPLIT : null,
      mm,
      page,
      pfn,
    )
  ) {
    const now = mapped < 0 ? 'its entry is not present' : `its entry maps frame ${hex(mapped)}`;
    c.say(`${use()}, but ${now} and the operation that changed it is complete.`);
  }
}

/** Zeros are read from the frame of the huge zero page, where the entry has that of the small one by now: which the kernel has had since before
 *  the record began. */
function isZeroForZero(c: Context, pfn: number, mapped: number, isStore: boolean): boolean {
  if (isStore || mapped <= 0 || (c.tables.lo & PTE_RW) !== 0 || c.frames.purpose[pfn] !== FRAME_KERNEL) return false;
  return c.frames.state[mapped] === FRAME_UNKNOWN || c.frames.purpose[mapped] === FRAME_KERNEL;
}

/** "CPU 0 (thread 2) read page 0x7f0000000000 in frame 0xa through a translation made at step 8" */
function useText(
  c: Context,
  mm: number,
  page: number,
  pfn: number,
  agent: number,
  device: number,
  isStore: boolean,
): string {
  const who = agent === AGENT_CPU ? `CPU ${device} (${c.actorName(c.actor)})` : agentText(c, agent, device);
  const made = madeAt(c, mm, page, agent, device);
  return `${who} ${isStore ? 'wrote' : 'read'} page ${hex(page)} in frame ${hex(pfn)}${made}`;
}

function madeAt(c: Context, mm: number, page: number, agent: number, device: number): string {
  const holder = c.held.holder(mm, agent, device);
  const slot = holder === null ? 0 : c.held.lookup(holder, page);
  return slot === 0 ? '' : ` through a translation made at step ${c.held.step[slot]}`;
}

function withoutRight(c: Context, mm: number, page: number, pfn: number, agent: number, device: number): void {
  if (agent !== AGENT_CPU) c.tally.permissionViolations++;
  const gap = agent === AGENT_PIN ? GAP_PINNED : null;
  if (!c.finds(agent === AGENT_CPU ? I3C : I3, gap, mm, page, pfn)) return;
  const use = useText(c, mm, page, pfn, agent, device, true);
  c.say(`${use}, but its entry is read-only and the operation that write-protected it is complete.`);
}

function brokenPromise(
  c: Context,
  mm: number,
  page: number,
  pfn: number,
  agent: number,
  isStore: boolean,
  use: () => string,
): void {
  const p = c.promises.broken(mm, page, pfn, isStore);
  if (p === null) return;
  const property = !p.isWriteOnly ? I13 : agent === AGENT_CPU ? I3C : I3;
  if (!c.finds(property, null, mm, page, pfn)) return;
  const call = `${c.actorName(p.actor)} had returned from ${syscallName(p.syscall)} over the page at step ${p.step}`;
  c.say(`${use()}, although ${call}.`);
}

function usedOldCopy(c: Context, mm: number, page: number, pfn: number, use: () => string): void {
  const r = c.replacements.at(mm, page);
  if (r === null || r.oldPfn !== pfn) return;
  if (c.objects !== null) c.objects.agents(mm, page, page + 1, false);
  if (r.writtenBy === '' || !c.finds(I8, null, mm, page, pfn)) return;
  c.say(`${use()}, after ${r.writtenBy} had stored to its copy, frame ${hex(r.newPfn)}, at step ${r.writtenAt}.`);
}

/** A store through a right from before fork, to a frame that somebody else has read since. */
function changedSnapshot(c: Context, mm: number, page: number, pfn: number, use: () => string): void {
  if (c.frames.purpose[pfn] !== FRAME_ANON) return;
  if (c.objects !== null) {
    c.objects.seen(pfn, false);
    c.objects.onFrame(pfn, false);
  }
  const others = c.frames.seenBy[pfn]! & ~(1 << (mm & 31));
  if (others === 0 || c.frames.maps[pfn]! < 2 || isShared(c, mm, page) || !c.finds(I23, null, mm, page, pfn)) return;
  const reader = 31 - Math.clz32(others);
  c.say(`${use()}, which address space ${reader} shares since fork and has read.`);
}

/** Is the page of a shared mapping, whose pages are meant to change for all? */
function isShared(c: Context, mm: number, page: number): boolean {
  if (c.objects !== null) c.objects.vmas(mm, false);
  for (const [start, vma] of c.book(mm).vmas) if (start <= page && page < vma.end) return (vma.flags & VM_SHARED) !== 0;
  return false;
}
