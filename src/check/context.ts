// What all monitors share: the books kept from the record, the record at hand, and where findings go. A monitor is a set
// of plain functions over this; none of them ever sees the machine.

import { AGENT_ATC, AGENT_IOTLB } from '../abi/events.ts';
import { float64s } from '../base/arena.ts';
import type { Footprint } from '../base/footprint.ts';
import type { RecordLog } from '../base/record-log.ts';
import { AtsProtocol, forgetAts } from './ats.ts';
import { DeviceEntries } from './device-entries.ts';
import { DirtyEntries } from './dirty-entries.ts';
import { DmaMappings } from './dma.ts';
import { Findings, type Violation } from './findings.ts';
import { Frames } from './frames.ts';
import { LostWrites } from './lost-write.ts';
import { Objects } from './objects.ts';
import { Progress } from './progress.ts';
import { Promises } from './promises.ts';
import {
  ALL_GAPS,
  GAP_CLOSED_LATE,
  GAP_PART_MAPPED,
  LATE_CLOSE_PROPERTIES,
  PASSED_OVER_PROPERTIES,
  type Property,
} from './properties.ts';
import { Replacements } from './replacements.ts';
import { Residency } from './residency.ts';
import { type Section, Sections } from './sections.ts';
import { ShadowTables } from './shadow-tables.ts';
import { Subscribers } from './subscribers.ts';
import { collectTimeline, type Timeline } from './timeline.ts';
import { Translations } from './translations.ts';
import { Windows } from './windows.ts';

/** What a caller may choose; every field has a default. */
export interface JudgeOptions {
  /** Violations kept with text, for each property. */
  readonly keep: number;
  /** Timelines kept: of the first violation of each of the first properties that fail. */
  readonly timelines: number;
  /** Lines of one timeline. */
  readonly timelineLines: number;
  /** Refaults of one access in a row, without any change in between, that are still in order. */
  readonly refaultBound: number;
  /** Refaults of one access, without any change in between, whose requests were lost to a full queue: so many are in order. */
  readonly lostBound: number;
  /** Numbers of the documented gaps that count as explanations for the design under test. */
  readonly documentedGaps: readonly number[];
  /** Names for texts. */
  readonly actorName: (actor: number) => string;
  readonly deviceName: (device: number) => string;
}

export const DEFAULT_OPTIONS: JudgeOptions = {
  keep: 20,
  timelines: 4,
  timelineLines: 40,
  refaultBound: 2,
  lostBound: 64,
  documentedGaps: ALL_GAPS,
  actorName: (actor) => `thread ${actor}`,
  deviceName: (device) => `device ${device}`,
};

/** An address space, as far as the record told. */
export class MmBook {
  /** A device was bound to it, or made a translation of it (pins do not count). */
  hasDevice = false;
  /** release has returned. */
  isReleased = false;
  /** Its device lets go when its mapping is closed, not at release (E_BIND). */
  isClosedLate = false;
  /** Devices unbound from it; 0, the IOMMU, stands for every device behind it. */
  readonly unbound = new Set<number>();
  /** Pages with an entry in a range that its driver does not take for mapped (E_DEV_PART_MAPPED). */
  readonly partMapped = new Set<number>();
  /** VMAs by start: end and vm_flags. */
  readonly vmas = new Map<number, { end: number; flags: number }>();

  isUnbound(agent: number, device: number): boolean {
    return this.unbound.has(device) || (this.unbound.has(0) && (agent === AGENT_IOTLB || agent === AGENT_ATC));
  }
}

/** Things counted that are no violations. */
export class Tally {
  staleReads = 0;
  staleWrites = 0;
  permissionViolations = 0;
  pageRequests = 0;
  maxRefaults = 0;
  callbacks = 0;
  /** INVALIDATE_IOMMU_PAGES commands. */
  iotlbFlushes = 0;
  /** INVALIDATE_IOTLB_PAGES commands. */
  deviceTlbFlushes = 0;
  deviceReads = 0;
  deviceWrites = 0;
  /** Data frames freed while a device translation of them was not withdrawn. */
  freedWhileReachable = 0;
  /** Removals or downgrades of an entry outside any section of the thread, in an address space that a device translates. */
  uncovered = 0;
  /** Removals and downgrades of entries while a device held a translation of the page, or used one afterwards. */
  exposures = 0;
  /** Sections that opened over a page that a device had translated. Counted for explorers alone (Judge.record). */
  sectionsOverHeld = 0;
  swapOuts = 0;
  swapIns = 0;
  /** Entry stores whose old value is not what the record said before. */
  unannouncedStores = 0;
  /** Records that name no possible frame or level. */
  malformed = 0;
}

export class Context {
  readonly options: JudgeOptions;
  readonly frames = new Frames();
  readonly tables = new ShadowTables();
  readonly deviceEntries = new DeviceEntries();
  readonly held = new Translations();
  readonly sections = new Sections();
  readonly lost = new LostWrites();
  readonly dma = new DmaMappings();
  readonly dirtyEntries = new DirtyEntries();
  readonly subscribers = new Subscribers();
  /** External reverse maps (E_SUBSCRIBE, b = 1), by subscriber. */
  readonly rmapNotifiers = new Set<number>();
  readonly promises = new Promises();
  readonly replacements = new Replacements();
  readonly windows = new Windows();
  readonly progress = new Progress();
  readonly ats = new AtsProtocol();
  readonly residency = new Residency(this.frames);
  readonly tally = new Tally();
  readonly findings: Findings;
  readonly timelines: Timeline[] = [];
  readonly deviceState = new Map<number, number>();
  readonly mms = new Map<number, MmBook>();
  #lastMm = -1;
  #lastBook: MmBook | null = null;
  #found: { property: Property; gap: number | null; mm: number; page: number; pfn: number } | null = null;
  /** The record at hand: its place in the ring, its number, step and actor. */
  ring: Float64Array = float64s(0);
  at = 0;
  event = 0;
  step = 0;
  actor = 0;
  log: RecordLog | null = null;
  /** Where the monitors note what their findings depend on; null while nobody explores. */
  objects: Objects | null = null;

  constructor(options: Partial<JudgeOptions>) {
    this.options = { ...DEFAULT_OPTIONS, ...options };
    this.findings = new Findings(this.options.keep, this.options.documentedGaps);
  }

  record(footprint: Footprint | null): void {
    this.objects = footprint === null ? null : new Objects(footprint);
    this.sections.objects = this.objects;
    this.held.objects = this.objects;
  }

  book(mm: number): MmBook {
    if (mm === this.#lastMm && this.#lastBook !== null) return this.#lastBook;
    let book = this.mms.get(mm);
    if (book === undefined) {
      book = new MmBook();
      this.mms.set(mm, book);
    }
    this.#lastMm = mm;
    this.#lastBook = book;
    return book;
  }

  forgetMm(mm: number): void {
    this.mms.delete(mm);
    this.held.forget(mm);
    this.deviceEntries.forget(mm);
    this.tables.forget(mm);
    if (this.ats.devices.size > 0) forgetAts(this, mm);
    this.#lastMm = -1;
    this.#lastBook = null;
  }

  /** Counts a violation at the record at hand. True when it is the first about this page: the caller then words it with `say`. */
  finds(property: Property, documented: number | null, mm: number, page: number, pfn: number): boolean {
    const gap = documented ?? this.#gapOfDriver(property, mm, page);
    if (!this.findings.count(property, gap, mm, page, pfn)) return false;
    this.#found = { property, gap: this.findings.isExplained(gap) ? gap : null, mm, page, pfn };
    return true;
  }

  #gapOfDriver(property: Property, mm: number, page: number): number | null {
    if (this.#isClosedLate(property, mm)) return GAP_CLOSED_LATE;
    const isPassedOver = PASSED_OVER_PROPERTIES.includes(property) && this.book(mm).partMapped.has(page);
    return isPassedOver ? GAP_PART_MAPPED : null;
  }

  /** Gap 15: the address space has exited, and its device was not told. */
  #isClosedLate(property: Property, mm: number): boolean {
    if (mm === 0 || !LATE_CLOSE_PROPERTIES.includes(property) || !this.book(mm).isClosedLate) return false;
    if (this.objects !== null) this.objects.book(mm, false);
    return this.book(mm).isReleased;
  }

  /** Keeps the violation that `finds` has just asked for, with its text, and the timeline of the first of its property. */
  say(text: string): void {
    const { property, gap, mm, page, pfn } = this.#found!;
    const { id, tag, kind } = property;
    const violation: Violation = { property: id, tag, kind, step: this.step, mm, page, pfn, text, gap };
    this.findings.kept.push(violation);
    if (this.timelines.length >= this.options.timelines) return;
    if (this.timelines.some((t) => t.violation.property === id)) return;
    this.timelines.push(collectTimeline(this.ring, this.at, { mm, page, pfn }, this.options.timelineLines, violation));
  }

  /** The section is complete and judged. */
  retire(s: Section): void {
    if (this.promises.size > 0) this.promises.retired(s.serial);
    if (this.replacements.size > 0) this.replacements.retired(s.serial);
    this.sections.retire(s);
  }

  actorName(actor: number): string {
    return this.options.actorName(actor);
  }

  deviceName(device: number): string {
    return this.options.deviceName(device);
  }
}
