// The judge: one sink on the record that hands every event to the monitors, and says in the end what it amounts to.
// Everything is derived from the events (abi/events); no monitor reads the machine, the kernel or a device.
//
//   entries.ts   page-table stores, frames: windows, I1c and I2 at the free, I24
//   accesses.ts  translations, accesses, walks, messages: I1, I1c, I2, I3, I3c, I4, I4c, I12, L1, L2
//   protocol.ts  sections, system calls, release, bind: I12, I40
//   device-entries.ts   entries that give a page to a device: I15
//   dma.ts       DMA mappings: I14, I20a
//   ats.ts       flushes, invalidations and page requests between IOMMU and device: I9, I10, L3
//   settling.ts  what must hold when a section is complete: I5

import {
  DEV_DONE,
  DEV_FAILED,
  E_BIND,
  E_CALLBACK,
  E_CALLBACK_END,
  E_CPU_ACCESS,
  E_CPU_FILL,
  E_CPU_INVAL,
  E_DEV_ACCESS,
  E_DEV_ATOMIC,
  E_DEV_EXCLUSIVE,
  E_DEV_FILL,
  E_DEV_INVAL,
  E_DEV_MEMORY,
  E_DEV_PART_MAPPED,
  E_DEV_STATE,
  E_DIRTY,
  E_DISCARD,
  E_DMA_MAP,
  E_DMA_UNMAP,
  E_FAULT_END,
  E_FLUSH,
  E_FRAME_ALLOC,
  E_FRAME_FREE,
  E_LAZYFREE,
  E_MM_FREE,
  E_MM_NEW,
  E_MSG,
  E_PIN,
  E_PTE,
  E_PTE_AD,
  E_PWC_FILL,
  E_REFAULT,
  E_RELEASE,
  E_SECTION_END,
  E_SECTION_START,
  E_SUBSCRIBE,
  E_SWAP_IN,
  E_SWAP_OUT,
  E_SYSCALL,
  E_SYSCALL_END,
  E_UNLOCK,
  E_UNPIN,
  E_UNSUBSCRIBE,
  E_VMA_ADD,
  E_VMA_REMOVE,
  E_WALK,
  E_WRITE_OUT,
  EV_A,
  EV_ACTOR,
  EV_PFN,
  EV_STEP,
  EV_TYPE,
} from '../abi/events.ts';
import { LOCK_PAGE, LOCK_PTL } from '../abi/locks.ts';
import type { Footprint } from '../base/footprint.ts';
import type { RecordLog, RecordSink } from '../base/record-log.ts';
import {
  onCpuAccess,
  onCpuFill,
  onCpuInvalidate,
  onDeviceAccess,
  onDeviceFill,
  onDeviceInvalidate,
  onDevicePartMapped,
  onDeviceState,
  onMessage,
  onRefault,
  onWalk,
  onWalkCacheFill,
} from './accesses.ts';
import { Context, type JudgeOptions } from './context.ts';
import { onDeviceAtomic, onDeviceExclusive, onDeviceMemory } from './device-entries.ts';
import { dirtyEntriesCallbackEnd } from './dirty-entries.ts';
import { dmaCallbackEnd, onDma } from './dma.ts';
import { onEntryStore, onFrameAlloc, onFrameFree } from './entries.ts';
import type { Violation } from './findings.ts';
import { onDirty, onDiscard, onLazyfree, onWriteOut, unnoticedAtEnd } from './lost-write.ts';
import {
  onBind,
  onCallback,
  onFaultEnd,
  onFlush,
  onMmFree,
  onMmNew,
  onPtlUnlock,
  onRelease,
  onSectionEnd,
  onSectionStart,
  onSyscall,
  onSyscallEnd,
  onVma,
  stillOpen,
} from './protocol.ts';
import type { ResidencyCourse } from './residency.ts';
import { settleEverything, settleUnlocked } from './settling.ts';
import { onCallbackEnd, onSubscribe, onUnsubscribe } from './subscribers.ts';
import type { Timeline } from './timeline.ts';
import type { WindowCause } from './windows.ts';

const NONE: readonly Violation[] = [];

/** 'gap': every safety violation is a documented gap of the real kernel. */
export type Verdict = 'safe' | 'unsafe' | 'gap' | 'not exercised';

export type DeviceState = 'none' | 'running' | 'done' | 'failed';

export interface JudgeResults {
  readonly verdict: Verdict;
  readonly deviceState: DeviceState;
  readonly events: number;
  readonly steps: number;
  readonly staleReads: number;
  readonly staleWrites: number;
  readonly permissionViolations: number;
  /** Frees of frames that a device had translated, and those while it still held the translation. */
  readonly windows: number;
  readonly windowsOpen: number;
  readonly windowCauses: readonly WindowCause[];
  readonly freedWhileReachable: number;
  readonly pageRequests: number;
  /** Groups of page requests without an answer so far. */
  readonly unanswered: number;
  readonly maxRefaults: number;
  readonly callbacks: number;
  readonly iotlbFlushes: number;
  readonly deviceTlbFlushes: number;
  readonly deviceReads: number;
  readonly deviceWrites: number;
  readonly residentPeak: number;
  readonly pinnedPeak: number;
  readonly orphaned: number;
  readonly orphanedPeak: number;
  readonly swappedPeak: number;
  readonly swapOuts: number;
  readonly swapIns: number;
  readonly safetyViolations: number;
  /** Safety violations that no documented gap explains. */
  readonly unexplained: number;
  readonly livenessFindings: number;
  /** Violations by property, and those explained by documented gap number. */
  readonly byProperty: Readonly<Record<string, number>>;
  readonly byGap: Readonly<Record<string, number>>;
  readonly violations: readonly Violation[];
  readonly timelines: readonly Timeline[];
  readonly residency: ResidencyCourse;
  /** Health of the record itself; both 0 in a sound run. */
  readonly unannouncedStores: number;
  readonly malformed: number;
  /** Entry removals or downgrades outside any section, where a device translates. */
  readonly uncovered: number;
  /** Removals, downgrades and replacements of entries while a device held a translation of the page, or had one in flight: what
   *  there was to get wrong. `exposed`: there was at least one. */
  readonly exposures: number;
  readonly exposed: boolean;
}

export class Judge implements RecordSink {
  readonly #c: Context;

  constructor(options: Partial<JudgeOptions> = {}) {
    this.#c = new Context(options);
  }

  /** Listens to the log from now on. Attach before the first address space is made: what came earlier is not known. */
  attach(log: RecordLog): void {
    this.#c.log = log;
    log.attach(this);
  }

  /** Notes in `footprint` from now on the objects on which findings depend; null: no more. */
  record(footprint: Footprint | null): void {
    this.#c.record(footprint);
  }

  detach(): void {
    this.#c.log?.detach(this);
    this.#c.log = null;
  }

  onRecord(ring: Float64Array, at: number): void {
    const c = this.#c;
    c.ring = ring;
    c.at = at;
    c.event++;
    c.step = ring[at + EV_STEP]!;
    c.actor = ring[at + EV_ACTOR]!;
    dispatch(c, ring, at);
    if (c.event >= c.residency.nextSample) c.residency.sample(c.event, c.step);
  }

  /** The run is over: whatever is still open will never be closed. Not for a run that was cut. */
  finish(): void {
    const c = this.#c;
    unnoticedAtEnd(c);
    settleEverything(c);
    for (const t of c.sections.threads()) {
      stillOpen(c, t, 0, 'ended');
      c.residency.settle(t.actor);
    }
  }

  /** Is anybody inside a section? */
  get hasOpenSection(): boolean {
    for (const t of this.#c.sections.threads()) if (t.open.length > 0) return true;
    return false;
  }

  /** Violations so far, without building the whole result. */
  get violationCount(): number {
    return this.#c.findings.safety + this.#c.findings.liveness;
  }

  /** Did a device hold a translation of a page that an operation was about to change, or changed? */
  get wasAtStake(): boolean {
    return this.#c.tally.exposures > 0 || this.#c.tally.sectionsOverHeld > 0;
  }

  /** As in the results, without building them. */
  get exposures(): number {
    return this.#c.tally.exposures;
  }

  /** Violations kept from number `n` on: the first of each property, address space and page. Cheap; asked after every step. */
  findingsSince(n: number): readonly Violation[] {
    const { kept } = this.#c.findings;
    return n >= kept.length ? NONE : kept.slice(n);
  }

  results(): JudgeResults {
    const c = this.#c;
    const { tally, findings, residency, windows } = c;
    return {
      verdict: verdictOf(findings.safety, findings.unexplained, windows.windows),
      deviceState: deviceStateOf(c.deviceState, tally.deviceReads + tally.deviceWrites + tally.pageRequests > 0),
      events: c.event,
      steps: c.step,
      staleReads: tally.staleReads,
      staleWrites: tally.staleWrites,
      permissionViolations: tally.permissionViolations,
      windows: windows.windows,
      windowsOpen: windows.open,
      windowCauses: windows.causes(),
      freedWhileReachable: tally.freedWhileReachable,
      pageRequests: tally.pageRequests,
      unanswered: c.ats.unanswered,
      maxRefaults: tally.maxRefaults,
      callbacks: tally.callbacks,
      iotlbFlushes: tally.iotlbFlushes,
      deviceTlbFlushes: tally.deviceTlbFlushes,
      deviceReads: tally.deviceReads,
      deviceWrites: tally.deviceWrites,
      residentPeak: residency.residentPeak,
      pinnedPeak: residency.pinnedPeak,
      orphaned: residency.orphanedTotal,
      orphanedPeak: residency.orphanedPeak,
      swappedPeak: residency.swappedPeak,
      swapOuts: tally.swapOuts,
      swapIns: tally.swapIns,
      safetyViolations: findings.safety,
      unexplained: findings.unexplained,
      livenessFindings: findings.liveness,
      byProperty: Object.fromEntries(findings.counts),
      byGap: Object.fromEntries([...findings.gaps].map(([gap, n]) => [String(gap), n])),
      violations: [...findings.kept],
      timelines: [...c.timelines],
      residency: residency.course(c.event, c.step),
      unannouncedStores: tally.unannouncedStores,
      malformed: tally.malformed,
      uncovered: tally.uncovered,
      exposures: tally.exposures,
      exposed: tally.exposures > 0,
    };
  }
}

/** The rule: unsafe beats gap beats not exercised beats safe. Liveness findings do not count. */
export function verdictOf(safety: number, unexplained: number, windows: number): Verdict {
  if (unexplained > 0) return 'unsafe';
  if (safety > 0) return 'gap';
  return windows === 0 ? 'not exercised' : 'safe';
}

/** Worst state over the devices. One that never said anything of its state runs if it was seen at work. */
function deviceStateOf(states: ReadonlyMap<number, number>, wasSeen: boolean): DeviceState {
  if (states.size === 0) return wasSeen ? 'running' : 'none';
  let isDone = true;
  for (const state of states.values()) {
    if (state === DEV_FAILED) return 'failed';
    if (state !== DEV_DONE) isDone = false;
  }
  return isDone ? 'done' : 'running';
}

function dispatch(c: Context, r: Float64Array, at: number): void {
  switch (r[at + EV_TYPE]) {
    case E_PTE:
    case E_PTE_AD:
      onEntryStore(c, r, at);
      break;
    case E_FRAME_ALLOC:
      onFrameAlloc(c, r, at);
      break;
    case E_FRAME_FREE:
      onFrameFree(c, r, at);
      break;
    case E_CPU_FILL:
      onCpuFill(c, r, at);
      break;
    case E_CPU_INVAL:
      onCpuInvalidate(c, r, at);
      break;
    case E_CPU_ACCESS:
      onCpuAccess(c, r, at);
      break;
    case E_FLUSH:
      onFlush(c, r, at);
      break;
    case E_DEV_FILL:
      onDeviceFill(c, r, at);
      break;
    case E_DEV_INVAL:
      onDeviceInvalidate(c, r, at);
      break;
    case E_DEV_ACCESS:
      onDeviceAccess(c, r, at);
      break;
    case E_WALK:
      onWalk(c, r, at);
      break;
    case E_PWC_FILL:
      onWalkCacheFill(c, r, at);
      break;
    case E_MSG:
      onMessage(c, r, at);
      break;
    case E_REFAULT:
      onRefault(c, r, at);
      break;
    case E_DEV_STATE:
      onDeviceState(c, r, at);
      break;
    case E_DEV_MEMORY:
      onDeviceMemory(c, r, at);
      break;
    case E_DEV_EXCLUSIVE:
      onDeviceExclusive(c, r, at);
      break;
    case E_DEV_ATOMIC:
      onDeviceAtomic(c, r, at);
      break;
    case E_DEV_PART_MAPPED:
      onDevicePartMapped(c, r, at);
      break;
    default:
      dispatchKernel(c, r, at);
      break;
  }
}

function dispatchKernel(c: Context, r: Float64Array, at: number): void {
  switch (r[at + EV_TYPE]) {
    case E_SECTION_START:
      onSectionStart(c, r, at);
      break;
    case E_SECTION_END:
      onSectionEnd(c, r, at);
      break;
    case E_CALLBACK:
      onCallback(c, r, at);
      break;
    case E_CALLBACK_END:
      onCallbackEnd(c, r, at);
      if (c.dma.unmapped.size > 0) dmaCallbackEnd(c);
      if (c.dirtyEntries.isWatching) dirtyEntriesCallbackEnd(c);
      break;
    case E_SUBSCRIBE:
      onSubscribe(c, r, at);
      break;
    case E_UNSUBSCRIBE:
      onUnsubscribe(c, r, at);
      break;
    case E_SYSCALL:
      onSyscall(c, r, at);
      break;
    case E_SYSCALL_END:
      onSyscallEnd(c, r, at);
      break;
    case E_FAULT_END:
      onFaultEnd(c);
      break;
    case E_BIND:
      onBind(c, r, at);
      break;
    case E_RELEASE:
      onRelease(c, r, at);
      break;
    case E_MM_NEW:
      onMmNew(c, r, at);
      break;
    case E_MM_FREE:
      onMmFree(c, r, at);
      break;
    case E_PIN:
      c.residency.pin(r[at + EV_PFN]!);
      break;
    case E_UNPIN:
      c.residency.unpin(r[at + EV_PFN]!);
      break;
    case E_VMA_ADD:
      onVma(c, r, at, true);
      break;
    case E_VMA_REMOVE:
      onVma(c, r, at, false);
      break;
    case E_UNLOCK:
      if (r[at + EV_A] === LOCK_PTL) onPtlUnlock(c);
      else if (r[at + EV_A] === LOCK_PAGE && c.rmapNotifiers.size > 0) settleUnlocked(c, c.sections.thread(c.actor));
      break;
    case E_DIRTY:
      onDirty(c, r, at);
      break;
    case E_WRITE_OUT:
      onWriteOut(c, r, at);
      break;
    case E_DMA_MAP:
    case E_DMA_UNMAP:
      onDma(c, r, at, r[at + EV_TYPE] === E_DMA_MAP);
      break;
    case E_DISCARD:
      onDiscard(c, r, at);
      break;
    case E_LAZYFREE:
      onLazyfree(c, r, at);
      break;
    case E_SWAP_OUT:
      c.tally.swapOuts++;
      break;
    case E_SWAP_IN:
      c.tally.swapIns++;
      break;
  }
}
