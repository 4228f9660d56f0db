// Monitor of the messages between IOMMU and device: flushes in order (I9), invalidations that mean something (I10), page requests and
// their answers (L3).
//
//   I9   a thread that asks for the flush of a device TLB has asked for one of the IOMMU TLB there before, and its wait has been stored:
//        otherwise the device may refill from the old entry. The wait for the devices ends the round
//   I10  an Invalidate Completion says that nothing translated before the Invalidate Request will be used. A translation is as old as
//        the request that its answer came to; one asked for after the Invalidate Request is new
//   L3   a group is answered once, when its last request has come; its index is not used before; no more requests are outstanding than
//        the device was allowed; once a PASID was unbound by a driver that drains it, nothing of it is unanswered

import {
  AGENT_ATC,
  EV_A,
  EV_B,
  EV_D,
  EV_END,
  EV_GEN,
  EV_MM,
  EV_PFN,
  EV_START,
  MSG_CMD_COMPLETION_WAIT,
  MSG_CMD_INVALIDATE_IOMMU_PAGES,
  MSG_CMD_INVALIDATE_IOTLB_PAGES,
  MSG_COMPLETION_WAIT_DONE,
  MSG_INVALIDATE_COMPLETION,
  MSG_INVALIDATE_REQUEST,
  MSG_PAGE_REQUEST,
  MSG_PAGE_REQUEST_LOST,
  MSG_PRG_RESPONSE,
  MSG_QI_DEVICE_TLB,
  MSG_QI_PIOTLB,
  MSG_QI_WAIT,
  MSG_SMMU_ATC_INV,
  MSG_SMMU_SYNC,
  MSG_SMMU_TLBI,
  MSG_TRANSLATION_REQUEST,
  PAGE_REQUEST_LAST,
  PAGE_REQUEST_STOP,
  PRG_FAILURE,
} from '../abi/events.ts';
import type { Context } from './context.ts';
import { I9, I10, L3 } from './properties.ts';
import { hex } from './text.ts';

const PAGE = 4096;
/** Translations remembered of a range, and completed invalidations of a device. */
const KEPT_OF_RANGE = 4;
const KEPT_COMPLETED = 64;
/** Sizes of large translations, for the look-up of a page. */
const LARGE: readonly number[] = [0x200000, 0x40000000];

/** A flush of the IOMMU TLB that a thread asked for. */
interface IommuFlush {
  readonly mm: number;
  readonly start: number;
  readonly end: number;
  /** Number of the wait that covers it; Infinity until there is one. */
  wait: number;
}

const NONE: readonly Obtained[] = [];

/** What a thread has asked for since its last wait for devices. */
class Round {
  readonly flushes: IommuFlush[] = [];
  hasFlushedDevices = false;
}

/** A translation that a device was given, as old as its request. */
interface Obtained {
  readonly pfn: number;
  readonly generation: number;
  readonly start: number;
  readonly end: number;
  asked: number;
  /** An invalidation of it is complete. */
  isWithdrawn: boolean;
}

interface Invalidation {
  readonly mm: number;
  readonly start: number;
  readonly end: number;
  readonly at: number;
}

interface PageGroup {
  readonly mm: number;
  readonly page: number;
  requests: number;
  /** The last request has been sent. */
  isComplete: boolean;
  /** One of its requests was lost: its answer says nothing. */
  isLost: boolean;
}

/** One device with a TLB of its own. */
class AtsBook {
  /** By thread: when it last asked for a translation. */
  readonly asked = new Map<number, number>();
  /** By address space, then by range (keyOf): translations given out, the last few of each range. */
  readonly obtained = new Map<number, Map<number, Obtained[]>>();
  #lastMm = -1;
  #last: Map<number, Obtained[]> | undefined;
  /** There was a translation larger than a page. */
  hasLarge = false;
  readonly invalidations = new Map<number, Invalidation>();
  /** Invalidations completed, the last ones. */
  readonly completed: Invalidation[] = [];
  readonly groups = new Map<number, PageGroup>();
  outstanding = 0;
  /** A Failure was answered: nothing is expected until the device runs again. */
  isDead = false;

  obtainedOf(mm: number): Map<number, Obtained[]> | undefined {
    if (mm !== this.#lastMm) {
      this.#lastMm = mm;
      this.#last = this.obtained.get(mm);
    }
    return this.#last;
  }

  makeObtained(mm: number): Map<number, Obtained[]> {
    const made = new Map<number, Obtained[]>();
    this.obtained.set(mm, made);
    this.#lastMm = -1;
    return made;
  }

  forget(mm: number): void {
    this.obtained.delete(mm);
    this.#lastMm = -1;
  }
}

export class AtsProtocol {
  readonly rounds = new Map<number, Round>();
  /** Number that the last wait stored. */
  stored = 0;
  readonly devices = new Map<number, AtsBook>();

  device(id: number): AtsBook {
    let book = this.devices.get(id);
    if (book === undefined) {
      book = new AtsBook();
      this.devices.set(id, book);
    }
    return book;
  }

  /** Groups of page requests that nobody has answered. */
  get unanswered(): number {
    let n = 0;
    for (const book of this.devices.values()) n += book.isDead ? 0 : book.groups.size;
    return n;
  }
}

/** E_MSG. */
export function onAtsMessage(c: Context, r: Float64Array, at: number): void {
  switch (r[at + EV_A]) {
    case MSG_TRANSLATION_REQUEST:
      noteRequest(c, r, at, false);
      c.ats.device(r[at + EV_D]!).asked.set(c.actor, c.event);
      break;
    case MSG_INVALIDATE_REQUEST:
      noteRequest(c, r, at, true);
      c.ats.device(r[at + EV_D]!).invalidations.set(r[at + EV_B]!, {
        mm: r[at + EV_MM]!,
        start: r[at + EV_START]!,
        end: r[at + EV_END]!,
        at: c.event,
      });
      break;
    case MSG_INVALIDATE_COMPLETION:
      invalidated(c, c.ats.device(r[at + EV_D]!), r[at + EV_D]!, r[at + EV_B]!);
      break;
    case MSG_PAGE_REQUEST:
      pageRequest(c, r, at);
      break;
    case MSG_PAGE_REQUEST_LOST:
      lost(c, c.ats.device(r[at + EV_D]!), r[at + EV_D]!, r[at + EV_B]!);
      break;
    case MSG_PRG_RESPONSE:
      response(c, r, at);
      break;
    default:
      onCommand(c, r, at);
  }
}

/** The order of requests for translations and for invalidations of a page. */
function noteRequest(c: Context, r: Float64Array, at: number, isWrite: boolean): void {
  if (c.objects !== null) c.objects.requests(r[at + EV_MM]!, r[at + EV_START]!, r[at + EV_END]!, isWrite);
}

// --- I9

function onCommand(c: Context, r: Float64Array, at: number): void {
  switch (r[at + EV_A]) {
    case MSG_CMD_INVALIDATE_IOMMU_PAGES:
    case MSG_QI_PIOTLB:
    case MSG_SMMU_TLBI: {
      const round = roundOf(c);
      if (round.hasFlushedDevices) begin(round);
      const wait = Number.POSITIVE_INFINITY;
      round.flushes.push({ mm: r[at + EV_MM]!, start: r[at + EV_START]!, end: r[at + EV_END]!, wait });
      break;
    }
    case MSG_CMD_COMPLETION_WAIT:
    case MSG_QI_WAIT:
    case MSG_SMMU_SYNC: {
      const round = roundOf(c);
      if (round.hasFlushedDevices) begin(round);
      for (const f of round.flushes) if (f.wait === Number.POSITIVE_INFINITY) f.wait = r[at + EV_B]!;
      break;
    }
    case MSG_COMPLETION_WAIT_DONE:
      if (c.objects !== null) c.objects.commands(true);
      c.ats.stored = r[at + EV_B]!;
      break;
    case MSG_CMD_INVALIDATE_IOTLB_PAGES:
    case MSG_QI_DEVICE_TLB:
    case MSG_SMMU_ATC_INV:
      deviceFlush(c, r, at);
      break;
  }
}

function roundOf(c: Context): Round {
  let round = c.ats.rounds.get(c.actor);
  if (round === undefined) {
    round = new Round();
    c.ats.rounds.set(c.actor, round);
  }
  return round;
}

function begin(round: Round): void {
  round.flushes.length = 0;
  round.hasFlushedDevices = false;
}

function deviceFlush(c: Context, r: Float64Array, at: number): void {
  if (c.objects !== null) c.objects.commands(false);
  const mm = r[at + EV_MM]!;
  const start = r[at + EV_START]!;
  const end = r[at + EV_END]!;
  const round = roundOf(c);
  round.hasFlushedDevices = true;
  const flushes = round.flushes.filter((f) => f.mm === mm && f.start < end && f.end > start);
  if (flushes.length > 0 && flushes.every((f) => f.wait <= c.ats.stored)) return;
  if (!c.finds(I9, null, mm, start - (start % PAGE), 0)) return;
  const range = `${hex(start)}..${hex(end)}`;
  c.say(
    flushes.length === 0
      ? `${c.actorName(c.actor)} had ${c.deviceName(r[at + EV_D]!)} invalidate ${range} without the IOMMU TLB before it.`
      : `${c.actorName(c.actor)} had ${c.deviceName(r[at + EV_D]!)} invalidate ${range} while the IOMMU was not done with its own TLB.`,
  );
}

// --- I10

/** Key of a range: the start of a page is its own; larger ones add log2 of their pages. */
function keyOf(start: number, size: number): number {
  return size === PAGE ? start : start + Math.log2(size / PAGE);
}

/** E_DEV_FILL of a device TLB. One that is older than a completed invalidation is withdrawn already. */
export function onAtcFill(c: Context, r: Float64Array, at: number): void {
  const book = c.ats.device(r[at + EV_D]!);
  const mm = r[at + EV_MM]!;
  const start = r[at + EV_START]!;
  const end = r[at + EV_END]!;
  const pfn = r[at + EV_PFN]!;
  const generation = r[at + EV_GEN]!;
  const asked = book.asked.get(c.actor) ?? c.event;
  const all = book.obtainedOf(mm) ?? book.makeObtained(mm);
  if (end - start !== PAGE) book.hasLarge = true;
  const key = keyOf(start, end - start);
  const there = all.get(key) ?? [];
  if (there.length === 0) all.set(key, there);
  const isWithdrawn = isOvertaken(book, mm, start, end, asked);
  const same = there.find((o) => o.pfn === pfn && o.generation === generation);
  if (same === undefined) {
    if (there.length === KEPT_OF_RANGE) there.shift();
    there.push({ pfn, generation, start, end, asked, isWithdrawn });
  } else if (!isWithdrawn && asked > same.asked) {
    same.asked = asked;
    same.isWithdrawn = false;
  }
}

/** Was the invalidation of a translation that was asked for at `asked` requested later, and completed? */
function isOvertaken(book: AtsBook, mm: number, start: number, end: number, asked: number): boolean {
  for (let n = book.completed.length - 1; n >= 0; n--) {
    const i = book.completed[n]!;
    if (i.at > asked && i.mm === mm && start < i.end && end > i.start) return true;
  }
  return false;
}

/** An Invalidate Completion: what was asked for before its request may not be used any more. */
function invalidated(c: Context, book: AtsBook, device: number, itag: number): void {
  const i = book.invalidations.get(itag);
  if (i === undefined) return;
  book.invalidations.delete(itag);
  if (book.completed.length === KEPT_COMPLETED) book.completed.shift();
  book.completed.push(i);
  const all = book.obtainedOf(i.mm);
  if (all === undefined) return;
  let isWithdrawn = false;
  const withdraw = (there: readonly Obtained[]): void => {
    for (const o of there) {
      if (o.isWithdrawn || o.start >= i.end || o.end <= i.start || o.asked > i.at) continue;
      o.isWithdrawn = true;
      isWithdrawn = true;
    }
  };
  if (!book.hasLarge && (i.end - i.start) / PAGE <= all.size) {
    for (let page = i.start; page < i.end; page += PAGE) withdraw(all.get(page) ?? NONE);
  } else for (const there of all.values()) withdraw(there);
  if (isWithdrawn && c.objects !== null) c.objects.held(i.mm, AGENT_ATC, device, i.start, i.end, true);
}

/** E_DEV_ACCESS through a device TLB. */
export function onAtcAccess(c: Context, r: Float64Array, at: number): void {
  const device = r[at + EV_D]!;
  const book = c.ats.device(device);
  const mm = r[at + EV_MM]!;
  const va = r[at + EV_START]!;
  const page = va - (va % PAGE);
  const pfn = r[at + EV_PFN]!;
  if (c.objects !== null) c.objects.held(mm, AGENT_ATC, device, page, page + PAGE, false);
  if (!isWithdrawn(book, mm, page, pfn, r[at + EV_GEN]!)) return;
  if (!c.finds(I10, null, mm, page, pfn)) return;
  c.say(
    `${c.deviceName(device)} used a translation of page ${hex(page)} to frame ${hex(pfn)} after it had said that the ` +
      'invalidation of the page was complete.',
  );
}

function isWithdrawn(book: AtsBook, mm: number, page: number, pfn: number, generation: number): boolean {
  const all = book.obtainedOf(mm);
  if (all === undefined) return false;
  const found = among(all.get(page) ?? NONE, page, pfn, generation);
  if (!book.hasLarge || (found !== null && !found.isWithdrawn)) return found?.isWithdrawn === true;
  // Through a large one as well as through its page: one that is in order suffices.
  const large = LARGE.map((size) => among(all.get(keyOf(page - (page % size), size)) ?? NONE, page, pfn, generation));
  const any = [found, ...large].filter((o) => o !== null);
  return any.length > 0 && any.every((o) => o.isWithdrawn);
}

/** The translation that was used; of large ones, whose generation is that of their first frame, one that is in order if there is one. */
function among(there: readonly Obtained[], page: number, pfn: number, generation: number): Obtained | null {
  let found: Obtained | null = null;
  for (let i = 0; i < there.length; i++) {
    const o = there[i]!;
    const isLarge = o.end - o.start !== PAGE;
    if (!isLarge && o.generation !== generation) continue;
    if (o.pfn + (page - o.start) / PAGE !== pfn) continue;
    if (!o.isWithdrawn) return o;
    found = o;
  }
  return found;
}

/** The address space is gone. */
export function forgetAts(c: Context, mm: number): void {
  for (const book of c.ats.devices.values()) book.forget(mm);
}

// --- L3

function pageRequest(c: Context, r: Float64Array, at: number): void {
  const flags = r[at + EV_PFN]!;
  const device = r[at + EV_D]!;
  const book = c.ats.device(device);
  if ((flags & PAGE_REQUEST_STOP) !== 0 || book.isDead) return;
  const mm = r[at + EV_MM]!;
  const prg = r[at + EV_B]!;
  const page = r[at + EV_START]!;
  if (c.objects !== null) c.objects.pageRequests(device, true);
  let group = book.groups.get(prg);
  if (group?.isComplete && c.finds(L3, null, mm, page, 0))
    c.say(`${c.deviceName(device)} used PRG index ${prg} again before it was answered.`);
  if (group === undefined || group.isComplete) {
    group = { mm, page, requests: 0, isComplete: false, isLost: false };
    book.groups.set(prg, group);
  }
  group.requests++;
  book.outstanding++;
  if ((flags & PAGE_REQUEST_LAST) !== 0) group.isComplete = true;
  const allowed = r[at + EV_GEN]!;
  if (allowed > 0 && book.outstanding > allowed && c.finds(L3, null, mm, page, 0))
    c.say(`${c.deviceName(device)} has ${book.outstanding} page requests outstanding, where ${allowed} are allowed.`);
}

/** MSG_PAGE_REQUEST_LOST. */
function lost(c: Context, book: AtsBook, device: number, prg: number): void {
  if (c.objects !== null) c.objects.pageRequests(device, true);
  const group = book.groups.get(prg);
  if (group !== undefined) group.isLost = true;
}

function response(c: Context, r: Float64Array, at: number): void {
  const device = r[at + EV_D]!;
  const book = c.ats.device(device);
  const prg = r[at + EV_B]!;
  if (c.objects !== null) c.objects.pageRequests(device, true);
  if (book.isDead) return;
  if (r[at + EV_PFN] === PRG_FAILURE) {
    book.isDead = true;
    book.groups.clear();
    book.outstanding = 0;
    return;
  }
  const group = book.groups.get(prg);
  if (group?.isComplete) {
    book.outstanding -= group.requests;
    book.groups.delete(prg);
    if (group.isLost) lostRound(c, device, group);
    return;
  }
  if (!c.finds(L3, null, r[at + EV_MM]!, group?.page ?? 0, 0)) return;
  const why = group === undefined ? 'no group of that index is outstanding' : 'its last request has not been sent';
  c.say(`PRG index ${prg} of ${c.deviceName(device)} was answered, but ${why}.`);
}

/** A group was answered whose pages nobody looked at: what waits for one of them may ask again (L2). */
function lostRound(c: Context, device: number, group: PageGroup): void {
  const { mm, page, requests } = group;
  const end = page + requests * PAGE;
  if (c.objects !== null) {
    c.objects.entry(mm, page, end, true);
    c.objects.cover(mm, page, end, true);
  }
  for (let at = page; at < end; at += PAGE) c.progress.lost(device, mm, at);
}

/** E_DEV_STATE, running again: its interface was reset. */
export function atsReset(c: Context, device: number): void {
  const book = c.ats.devices.get(device);
  if (c.objects !== null) c.objects.pageRequests(device, true);
  if (book === undefined) return;
  book.isDead = false;
  book.groups.clear();
  book.outstanding = 0;
}

/** E_BIND, BIND_DRAINED: a driver that drains has unbound the address space. */
export function onDrained(c: Context, mm: number): void {
  for (const [device, book] of c.ats.devices) {
    if (c.objects !== null) c.objects.pageRequests(device, false);
    if (book.isDead) continue;
    for (const [prg, group] of book.groups) {
      if (group.mm !== mm || !c.finds(L3, null, mm, group.page, 0)) continue;
      c.say(
        `The PASID of address space ${mm} was given back while PRG index ${prg} of ${c.deviceName(device)} was unanswered.`,
      );
    }
  }
}
