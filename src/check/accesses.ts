// Monitor of the agents: their translations and accesses (I1, I1c, I2, I3, I3c, I4, I4c, I12), and whether the device gets on (L1, L2).

import {
  AGENT_ATC,
  AGENT_IOTLB,
  AGENT_MIRROR,
  AGENT_PIN,
  AGENT_PWC,
  DEV_FAILED,
  DEV_RUNNING,
  E_CPU_ACCESS,
  E_DEV_ACCESS,
  EV_A,
  EV_B,
  EV_C,
  EV_D,
  EV_END,
  EV_GEN,
  EV_MM,
  EV_PFN,
  EV_START,
  EV_TYPE,
  MSG_CMD_INVALIDATE_IOMMU_PAGES,
  MSG_CMD_INVALIDATE_IOTLB_PAGES,
  MSG_PAGE_REQUEST,
  MSG_QI_DEVICE_TLB,
  MSG_QI_PIOTLB,
  MSG_SMMU_ATC_INV,
  MSG_SMMU_TLBI,
  MSG_XPMEM_RECALL,
  PAGE_REQUEST_STOP,
} from '../abi/events.ts';
import { PTE_RW } from '../abi/pte.ts';
import { atsReset, onAtcAccess, onAtcFill, onAtsMessage } from './ats.ts';
import type { Context } from './context.ts';
import { frameForDevice, mayStore } from './device-entries.ts';
import { onDirtyEntryDropped, onRecall } from './dirty-entries.ts';
import { onDmaAccess } from './dma.ts';
import { isFree } from './entries.ts';
import type { Objects } from './objects.ts';
import type { Wait } from './progress.ts';
import { GAP_FREED_BEFORE_FLUSH, GAP_STALE_READ_ONLY, I1, I1C, I2, I7, I12, L1, L2, L7 } from './properties.ts';
import { LOOKUP_LEAF, LOOKUP_UNKNOWN, SLOT_TRANSLATED } from './shadow-tables.ts';
import { permittedUse, staleUse } from './stale-use.ts';
import { agentText, hex } from './text.ts';
import { AGENT_CPU, type Holder } from './translations.ts';

/** E_CPU_FILL. */
export function onCpuFill(c: Context, r: Float64Array, at: number): void {
  const pfn = r[at + EV_PFN]!;
  if (!c.frames.has(pfn)) {
    c.tally.malformed++;
    return;
  }
  const mm = r[at + EV_MM]!;
  const start = r[at + EV_START]!;
  const gen = r[at + EV_GEN]!;
  if (c.objects !== null) c.objects.frame(pfn, false);
  c.held.fill(mm, AGENT_CPU, r[at + EV_D]!, start, r[at + EV_END]!, pfn, gen, (r[at + EV_A]! & 1) !== 0, c.step);
  if (isFree(c, pfn) && c.finds(I1C, null, mm, start, pfn)) {
    const text = `CPU ${r[at + EV_D]} made a translation of page ${hex(start)} to frame ${hex(pfn)}, which is free.`;
    c.say(text);
  }
}

/** E_CPU_INVAL. */
export function onCpuInvalidate(c: Context, r: Float64Array, at: number): void {
  const mm = r[at + EV_MM]!;
  const cpu = r[at + EV_D]!;
  if (c.objects !== null) c.objects.held(mm, AGENT_CPU, cpu, r[at + EV_START]!, r[at + EV_END]!, false);
  const holder = c.held.holder(mm, AGENT_CPU, cpu);
  if (holder !== null) c.held.drop(holder, r[at + EV_START]!, r[at + EV_END]!);
}

/** E_CPU_ACCESS. */
export function onCpuAccess(c: Context, r: Float64Array, at: number): void {
  const pfn = r[at + EV_PFN]!;
  if (c.objects !== null) noteAccess(c.objects, r, at);
  if (r[at + EV_GEN] !== r[at + EV_A] || c.frames.state[pfn] === 2) {
    staleAccess(c, r, at, `CPU ${r[at + EV_D]} (${c.actorName(c.actor)})`);
    return;
  }
  const mm = r[at + EV_MM]!;
  const va = r[at + EV_START]!;
  const isStore = r[at + EV_B] === 1;
  const found = c.tables.find(mm, va);
  if (found === LOOKUP_UNKNOWN) return;
  const page = va - (va % 4096);
  const mapped = found === LOOKUP_LEAF ? c.tables.frameOf(va) : -1;
  if (mapped === pfn && (!isStore || (c.tables.lo & PTE_RW) !== 0)) permittedUse(c, mm, page, pfn, isStore);
  else staleUse(c, mm, page, pfn, AGENT_CPU, r[at + EV_D]!, isStore, mapped);
}

function noteAccess(objects: Objects, r: Float64Array, at: number): void {
  const mm = r[at + EV_MM]!;
  const va = r[at + EV_START]!;
  objects.frame(r[at + EV_PFN]!, false);
  objects.entry(mm, va, va + 1, false);
}

/** An access reached a frame that was freed after the translation was made, or that is free. */
function staleAccess(c: Context, r: Float64Array, at: number, who: string): void {
  const pfn = r[at + EV_PFN]!;
  if (!c.frames.has(pfn)) {
    c.tally.malformed++;
    return;
  }
  const isDevice = r[at + EV_TYPE] === E_DEV_ACCESS;
  const property = r[at + EV_TYPE] === E_CPU_ACCESS ? I1C : I1;
  const isStore = r[at + EV_B] === 1;
  if (isDevice && isStore) c.tally.staleWrites++;
  else if (isDevice) c.tally.staleReads++;
  const freedGap = c.frames.freedGap[pfn]!;
  // Gap 18 is of CPUs, all others are of devices.
  const gap = freedGap !== 0 && isDevice !== (freedGap === GAP_FREED_BEFORE_FLUSH) ? freedGap : null;
  const page = r[at + EV_START]! - (r[at + EV_START]! % 4096);
  if (!c.finds(property, gap, r[at + EV_MM]!, page, pfn)) return;
  const now = c.frames.state[pfn] === 2 ? 'is free now' : `has generation ${r[at + EV_A]} now`;
  const isFreeSeen = c.frames.freedStep[pfn] !== 0 || c.frames.state[pfn] === 2;
  const freed = isFreeSeen
    ? `${c.actorName(c.frames.freedBy[pfn]!)} freed it at step ${c.frames.freedStep[pfn]}; `
    : '';
  c.say(
    `${who} ${isStore ? 'wrote' : 'read'} frame ${hex(pfn)} through a translation of page ${hex(page)} made in ` +
      `generation ${r[at + EV_GEN]}; ${freed}it ${now}.`,
  );
}

/** E_DEV_FILL. */
export function onDeviceFill(c: Context, r: Float64Array, at: number): void {
  const pfn = r[at + EV_PFN]!;
  if (!c.frames.has(pfn)) {
    c.tally.malformed++;
    return;
  }
  const mm = r[at + EV_MM]!;
  const start = r[at + EV_START]!;
  const gen = r[at + EV_GEN]!;
  const agent = r[at + EV_C]!;
  const device = r[at + EV_D]!;
  if (agent === AGENT_MIRROR) notPartMapped(c, mm, start, r[at + EV_END]!);
  if (c.objects !== null) {
    c.objects.frame(pfn, false);
    if (agent !== AGENT_PIN) c.objects.book(mm, !c.book(mm).hasDevice);
  }
  // A page of the hugetlb pool is older than the record, which then names the generation of its first frame alone.
  if (gen > c.frames.generation[pfn]! && !isFree(c, pfn)) c.frames.generation[pfn] = gen;
  c.held.fill(mm, agent, device, start, r[at + EV_END]!, pfn, gen, (r[at + EV_A]! & 1) !== 0, c.step);
  if (c.tables.find(mm, start) === LOOKUP_LEAF && c.tables.frameOf(start) === pfn) {
    c.tables.table!.slot[c.tables.index]! |= SLOT_TRANSLATED;
  }
  if (agent === AGENT_PIN) return;
  if (agent === AGENT_ATC) onAtcFill(c, r, at);
  if (agent === AGENT_MIRROR) staleInsertion(c, mm, start, pfn, (r[at + EV_A]! & 1) !== 0, device);
  c.book(mm).hasDevice = true;
  afterTeardown(c, mm, agent, device, start, pfn, 'made a translation of');
  if (isFree(c, pfn) && c.finds(I1, null, mm, start, pfn)) {
    const who = agentText(c, agent, device);
    c.say(`${who} took a translation of page ${hex(start)} to frame ${hex(pfn)}, which is free.`);
  }
}

/** I7: nobody will tell the driver again of what it puts into its table now. */
function staleInsertion(c: Context, mm: number, page: number, pfn: number, isWritable: boolean, device: number): void {
  if (c.objects !== null) c.objects.entry(mm, page, page + 1, false);
  const found = c.tables.find(mm, page);
  if (found === LOOKUP_UNKNOWN) return;
  const mapped = frameForDevice(c, found, mm, page, device);
  if (mapped === pfn && (!isWritable || mayStore(c, found))) return;
  if (c.sections.covers(mm, page) || !c.finds(I7, null, mm, page, pfn)) return;
  const now =
    mapped < 0
      ? 'its entry is not present'
      : mapped === pfn
        ? 'its entry is read-only'
        : `its entry maps frame ${hex(mapped)}`;
  c.say(
    `The driver of ${c.deviceName(device)} put page ${hex(page)} into its table with frame ${hex(pfn)}` +
      `${isWritable ? ', writable' : ''}, but ${now} and no section over it is open.`,
  );
}

/** E_PWC_FILL. */
export function onWalkCacheFill(c: Context, r: Float64Array, at: number): void {
  const pfn = r[at + EV_PFN]!;
  if (!c.frames.has(pfn)) {
    c.tally.malformed++;
    return;
  }
  const mm = r[at + EV_MM]!;
  const start = r[at + EV_START]!;
  if (c.objects !== null) c.objects.frame(pfn, false);
  c.held.fill(mm, AGENT_PWC, r[at + EV_D]!, start, r[at + EV_END]!, pfn, r[at + EV_GEN]!, false, c.step);
  c.frames.walkCached[pfn] = 1;
  if (isFree(c, pfn) && c.finds(I2, null, mm, start, pfn)) {
    const who = agentText(c, AGENT_PWC, r[at + EV_D]!);
    c.say(`${who} took a pointer to page-table page ${hex(pfn)}, which is free.`);
  }
}

/** E_DEV_PART_MAPPED. In the step that made the entries. */
export function onDevicePartMapped(c: Context, r: Float64Array, at: number): void {
  const { partMapped } = c.book(r[at + EV_MM]!);
  for (let page = r[at + EV_START]!; page < r[at + EV_END]!; page += 4096) partMapped.add(page);
}

/** The entries of the pages are gone, or made anew. */
function notPartMapped(c: Context, mm: number, start: number, end: number): void {
  const { partMapped } = c.book(mm);
  if (partMapped.size === 0) return;
  for (const page of partMapped) if (page >= start && page < end) partMapped.delete(page);
}

/** E_DEV_INVAL: of one agent, or (agent 0) of all TLBs of the device. */
export function onDeviceInvalidate(c: Context, r: Float64Array, at: number): void {
  const agent = r[at + EV_C]!;
  const device = r[at + EV_D]!;
  const mm = r[at + EV_MM]!;
  if (agent === AGENT_MIRROR) {
    onDirtyEntryDropped(c, r, at);
    notPartMapped(c, mm, r[at + EV_START]!, r[at + EV_END]!);
  }
  if (c.objects !== null) {
    if (agent !== 0) c.objects.held(mm, agent, device, r[at + EV_START]!, r[at + EV_END]!, false);
    else c.objects.heldByDevices(mm, r[at + EV_START]!, r[at + EV_END]!);
  }
  const holders = c.held.holders(mm);
  for (let i = 0; i < holders.length; i++) {
    const h = holders[i]!;
    if (h.agent === AGENT_CPU || h.device !== device) continue;
    if (agent === h.agent || (agent === 0 && h.agent !== AGENT_PIN)) c.held.drop(h, r[at + EV_START]!, r[at + EV_END]!);
  }
}

/** E_DEV_ACCESS. */
export function onDeviceAccess(c: Context, r: Float64Array, at: number): void {
  const mm = r[at + EV_MM]!;
  const pfn = r[at + EV_PFN]!;
  const va = r[at + EV_START]!;
  const page = va - (va % 4096);
  const device = r[at + EV_D]!;
  const isStore = r[at + EV_B] === 1;
  if (isStore) c.tally.deviceWrites++;
  else c.tally.deviceReads++;
  if (c.progress.size > 0) c.progress.reached(device, mm, page);
  const agent = r[at + EV_C]!;
  if (c.dma.devices.has(device) && agent !== AGENT_PIN) onDmaAccess(c, r, at, isStore);
  if (c.objects !== null) {
    noteAccess(c.objects, r, at);
    c.objects.book(mm, false);
  }
  if (agent === AGENT_ATC) onAtcAccess(c, r, at);
  if (r[at + EV_GEN] !== r[at + EV_A] || c.frames.state[pfn] === 2) {
    staleAccess(c, r, at, agentText(c, agent, device));
    return;
  }
  if (agent !== AGENT_PIN && afterTeardown(c, mm, agent, device, page, pfn, 'reached')) return;
  const found = c.tables.find(mm, page);
  if (found === LOOKUP_UNKNOWN) return;
  const mapped = frameForDevice(c, found, mm, page, device);
  if (mapped === pfn && (!isStore || mayStore(c, found))) {
    if (agent !== AGENT_PIN) permittedUse(c, mm, page, pfn, isStore);
  } else staleUse(c, mm, page, pfn, agent, device, isStore, mapped);
}

/** I12 in its dynamic form; true when it fired. */
function afterTeardown(
  c: Context,
  mm: number,
  agent: number,
  device: number,
  page: number,
  pfn: number,
  did: string,
): boolean {
  const book = c.book(mm);
  if (!book.isReleased && !(book.unbound.size > 0 && book.isUnbound(agent, device))) return false;
  if (!c.finds(I12, null, mm, page, pfn)) return true;
  const why = book.isReleased ? 'was released' : 'was unbound from it';
  c.say(
    `${agentText(c, agent, device)} ${did} page ${hex(page)} (frame ${hex(pfn)}) after address space ${mm} ${why}.`,
  );
  return true;
}

/** I12 in its static form: what devices (or one of them) still hold of an address space that was torn down. */
export function checkTornDown(c: Context, mm: number, device: number | null, what: string): void {
  if (c.objects !== null) c.objects.heldByDevices(mm, 0, Number.POSITIVE_INFINITY);
  const holders = c.held.holders(mm);
  for (let i = 0; i < holders.length; i++) {
    const h: Holder = holders[i]!;
    if (!h.isDeviceTlb || h.slots.size === 0 || (device !== null && !isAffected(h, device))) continue;
    const slot: number = h.slots.values().next().value!;
    const page = c.held.start[slot]!;
    const pfn = c.held.pfn[slot]!;
    if (!c.finds(I12, null, mm, page, pfn)) continue;
    c.say(
      `${what}, but ${agentText(c, h.agent, h.device, 'the')} still holds ${h.slots.size} ` +
        `translation${h.slots.size === 1 ? '' : 's'} of address space ${mm}, among them page ${hex(page)} to frame ${hex(pfn)}.`,
    );
  }
}

/** E_WALK. */
export function onWalk(c: Context, r: Float64Array, at: number): void {
  if (c.objects !== null) c.objects.frame(r[at + EV_PFN]!, false);
  if (r[at + EV_GEN] === r[at + EV_A]) return;
  const pfn = r[at + EV_PFN]!;
  if (!c.frames.has(pfn)) {
    c.tally.malformed++;
    return;
  }
  const gap = c.frames.freedGap[pfn] !== 0 ? c.frames.freedGap[pfn]! : null;
  const page = r[at + EV_START]!;
  if (!c.finds(I2, gap, r[at + EV_MM]!, page, pfn)) return;
  c.say(
    `${c.actorName(c.actor)} walked page-table page ${hex(pfn)} at level ${r[at + EV_B]} for page ${hex(page)} through a pointer ` +
      `of generation ${r[at + EV_GEN]}; the frame has generation ${r[at + EV_A]} now, freed at step ${c.frames.freedStep[pfn]} ` +
      `by ${c.actorName(c.frames.freedBy[pfn]!)}.`,
  );
}

/** E_MSG. */
export function onMessage(c: Context, r: Float64Array, at: number): void {
  switch (r[at + EV_A]) {
    case MSG_PAGE_REQUEST:
      if ((r[at + EV_PFN]! & PAGE_REQUEST_STOP) === 0) c.tally.pageRequests++;
      break;
    case MSG_CMD_INVALIDATE_IOMMU_PAGES:
    case MSG_QI_PIOTLB:
    case MSG_SMMU_TLBI:
      c.tally.iotlbFlushes++;
      break;
    case MSG_CMD_INVALIDATE_IOTLB_PAGES:
    case MSG_QI_DEVICE_TLB:
    case MSG_SMMU_ATC_INV:
      c.tally.deviceTlbFlushes++;
      break;
    case MSG_XPMEM_RECALL:
      onRecall(c, r, at);
      break;
  }
  onAtsMessage(c, r, at);
}

/** E_REFAULT. */
export function onRefault(c: Context, r: Float64Array, at: number): void {
  if (r[at + EV_A]! > c.tally.maxRefaults) c.tally.maxRefaults = r[at + EV_A]!;
  waits(c, r, at);
}

/** L2: one access makes no progress again and again while nothing changes that could help it. What the kernel never saw, as the queue
 *  was full, it has not answered; but a queue that stays full is no excuse. */
function waits(c: Context, r: Float64Array, at: number): void {
  const mm = r[at + EV_MM]!;
  const page = r[at + EV_START]! - (r[at + EV_START]! % 4096);
  const device = r[at + EV_D]!;
  if (c.objects !== null) {
    c.objects.entry(mm, page, page + 1, true);
    c.objects.cover(mm, page, page + 1, true);
    c.objects.heldByDevices(mm, page, page + 1);
  }
  const wait = c.progress.note(device, mm, page, r[at + EV_A]!);
  const times = r[at + EV_A]! - wait.base;
  if (wait.isReported || (times - wait.lost <= c.options.refaultBound && wait.lost <= c.options.lostBound)) return;
  wait.isReported = true;
  const isStale = isStaleReadOnly(c, mm, page, device);
  if (!c.finds(isStale ? L7 : L2, isStale ? GAP_STALE_READ_ONLY : null, mm, page, 0)) return;
  const inside = c.sections.covers(mm, page) ? ', inside an open section' : '';
  c.say(
    `${c.deviceName(device)} faulted ${times} times in a row on page ${hex(page)} while neither its entry nor a section over ` +
      `it changed${inside}${wait.lost > 0 ? ` (${wait.lost} of its requests were lost)` : ''}${isStale ? ': the entry is writable, but it holds a read-only translation' : ''}.`,
  );
}

/** The entry is writable, but the device holds a read-only translation of it (gap 11). */
function isStaleReadOnly(c: Context, mm: number, page: number, device: number): boolean {
  if (c.tables.find(mm, page) !== LOOKUP_LEAF || (c.tables.lo & PTE_RW) === 0) return false;
  const holders = c.held.holders(mm);
  for (let i = 0; i < holders.length; i++) {
    const h = holders[i]!;
    if (!h.isDeviceTlb || h.device !== device) continue;
    const slot = c.held.lookup(h, page);
    if (slot !== 0 && c.held.writable[slot] === 0) return true;
  }
  return false;
}

/** E_DEV_STATE. */
export function onDeviceState(c: Context, r: Float64Array, at: number): void {
  const device = r[at + EV_D]!;
  const state = r[at + EV_A]!;
  c.deviceState.set(device, state);
  if (state === DEV_RUNNING) atsReset(c, device);
  if (state !== DEV_FAILED) return;
  const last = c.progress.lastOf(device);
  const mm = r[at + EV_MM]! || (last === null ? 0 : last.mm);
  const va = r[at + EV_START]! || (last === null ? 0 : last.page);
  const page = va - (va % 4096);
  if (last !== null && last.page === page && last.mm === mm && wasInterrupted(c, last)) return;
  // One that the record has called stuck with a read-only entry gives up for that reason.
  const gap = last?.isReported && isStaleReadOnly(c, last.mm, last.page, device) ? GAP_STALE_READ_ONLY : null;
  if (!isPermitted(c, mm, va) || !c.finds(L1, gap, mm, page, 0)) return;
  const where = page === 0 ? '' : ` at page ${hex(page)}, which the address space permits`;
  c.say(`${c.deviceName(device)} gave up${where}.`);
}

/** Did the rounds that the access lost go to changes, one each? Migration alone tries a busy page ten times: a device with less patience
 *  gives up, and nobody kept it from its page longer than he may. */
function wasInterrupted(c: Context, wait: Wait): boolean {
  return wait.changes > 0 && wait.attempts <= wait.changes + c.options.refaultBound;
}

/** Does a VMA cover the address? True as well when the record never told of VMAs. */
function isPermitted(c: Context, mm: number, va: number): boolean {
  const vmas = c.book(mm).vmas;
  if (c.objects !== null) c.objects.vmas(mm, false);
  if (va === 0 || vmas.size === 0) return true;
  for (const [start, vma] of vmas) if (start <= va && va < vma.end && (vma.flags & 7) !== 0) return true;
  return false;
}

/** Does unbinding `device` concern the holder? The IOMMU (device 0) stands for every device behind it. */
function isAffected(h: Holder, device: number): boolean {
  return h.device === device || (device === 0 && (h.agent === AGENT_IOTLB || h.agent === AGENT_ATC));
}
