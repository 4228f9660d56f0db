// struct kvm: a virtual machine of one process, and what all parts of the driver share. Linux: virt/kvm/kvm_main.c,
// arch/x86/kvm/mmu/{mmu,tdp_mmu}.c.
//
//   mmuLock (rwlock)            sptes; mmuInvalidateSeq, InProgress, RangeStart, RangeEnd
//   slotsLock (mutex)           updates of memslots; srcu: readers of memslots
//   mn_invalidate_lock          mnActiveInvalidateCount (a plain counter here: no step stands inside the lock)
//   each pfn cache's own lock   pfn-cache.ts
//
// What the driver does stands in a table of functions, `fn` (fns.ts), so that mistakes can replace single ones.

import { AGENT_MIRROR, AGENT_MIRROR_TLB, E_DEV_FILL, E_DEV_INVAL } from '../../abi/events.ts';
import { InputError } from '../../base/assert.ts';
import { OBJ_DRIVER } from '../../base/footprint.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct } from '../../mm/types.ts';
import { Mutex } from '../../sched/locks.ts';
import type { KernelPath } from '../../sched/path.ts';
import { RwSpinLock } from '../../sched/rw-spin-lock.ts';
import { WaitQueue } from '../../sched/scheduler.ts';
import { Srcu } from '../../sched/srcu.ts';
import { type KvmConfig, type KvmRules, type MemslotRegion, rulesOf } from './config.ts';
import type { KvmFns } from './fns.ts';
import { hvaOf, type Memslot, MemslotSet } from './memslots.ts';
import type { GfnToPfnCache } from './pfn-cache.ts';
import { LARGE_PAGES, SPTE_W, Sptes } from './sptes.ts';
import { Vcpu } from './vcpu.ts';

// Objects in footprints (OBJ_DRIVER).
const SEQUENCE = 0xc0000000;
const SLOTS = 0xc0000001;
const ACTIVE = 0xc0000002;

/** KVM_MEM_MAX_NR_PAGES rounded down to a power of two: 4 TiB. */
const SLOT_PAGES_MAX = 2 ** 30;
/** End of user addresses, 2^47. */
const USER_END = 2 ** 47;

/** Slots that make every address of the process reachable, at gpa = hva. */
function wholeProcess(): MemslotRegion[] {
  const regions: MemslotRegion[] = [];
  for (let hva = 0; hva < USER_END; hva += SLOT_PAGES_MAX * 4096)
    regions.push({ baseGfn: hva / 4096, pages: SLOT_PAGES_MAX, hva });
  return regions;
}

export class KvmStats {
  faults = 0;
  fastFaults = 0;
  /** Faults that found a section open, or ended since the look-up. */
  retriesOpen = 0;
  retriesSeq = 0;
  zapped = 0;
  remoteFlushes = 0;
  kicks = 0;
  largeMapped = 0;
  largeSplit = 0;
  aged = 0;
  cacheRefreshes = 0;
  apicReloads = 0;
  changePte = 0;
}

export class Kvm {
  readonly k: Kernel;
  readonly mm: MmStruct;
  /** Device id in events. */
  readonly id: number;
  readonly config: KvmConfig;
  readonly rules: KvmRules;
  readonly fn: KvmFns;
  readonly stats: KvmStats;
  /** kvm->memslots, under srcu. */
  memslots: MemslotSet;
  readonly srcu: Srcu;
  readonly slotsLock: Mutex;
  /** Faults that found an invalid slot. */
  readonly slotsQueue = new WaitQueue();
  readonly mmuLock: RwSpinLock;
  readonly sptes: Sptes;
  mmuInvalidateSeq = 0;
  mmuInvalidateInProgress = 0;
  mmuInvalidateRangeStart = 0;
  mmuInvalidateRangeEnd = 0;
  /** Faults that wait for the end of a section: each re-entry of the guest would only find it open again. */
  readonly sectionQueue = new WaitQueue();
  mnActiveInvalidateCount = 0;
  /** mn_memslots_update_rcuwait, and users of pfn caches. */
  readonly activeQueue = new WaitQueue();
  readonly vcpus: Vcpu[] = [];
  readonly pfnCaches: GfnToPfnCache[] = [];
  /** Rights taken from sptes so far: by zaps, for the dirty log, to see accesses. */
  withdrawn = 0;
  /** References of zapped sptes, dropped after the flush (rules.holdsReferences). */
  readonly pendingPuts: number[] = [];
  /** References until the VM is destroyed (rules.pinsApicPage). */
  readonly pinnedPages: number[] = [];

  constructor(k: Kernel, mm: MmStruct, id: number, config: KvmConfig, fn: KvmFns, stats: KvmStats) {
    if (!(config.vcpus >= 1 && config.vcpus <= 8)) throw new InputError(`kvm: ${config.vcpus} vCPUs, not 1 to 8`);
    this.k = k;
    this.mm = mm;
    this.id = id;
    this.config = config;
    this.rules = { ...rulesOf(k.design?.name ?? ''), ...config.rules };
    this.fn = fn;
    this.stats = stats;
    this.memslots = new MemslotSet((config.slots ?? wholeProcess()).map((r, i) => newSlot(i, r)));
    this.srcu = new Srcu(k.sched);
    this.slotsLock = new Mutex(k.sched, k.sched.lockClasses.define('kvm->slots_lock'), 0);
    this.mmuLock = new RwSpinLock(k.sched, k.sched.lockClasses.define('kvm->mmu_lock'), 0);
    this.sptes = new Sptes(k.memory);
    for (let i = 0; i < config.vcpus; i++) this.vcpus.push(new Vcpu(this, i));
  }

  // --- footprints

  noteSequence(isWrite: boolean): void {
    this.#note(SEQUENCE, isWrite);
  }

  noteSlots(isWrite: boolean): void {
    this.#note(SLOTS, isWrite);
  }

  noteActive(isWrite: boolean): void {
    this.#note(ACTIVE, isWrite);
  }

  #note(object: number, isWrite: boolean): void {
    const { footprint } = this.k.memory;
    if (footprint !== null) footprint.note(OBJ_DRIVER, object, isWrite);
  }

  // --- slots

  /** Address in the process of a guest frame; -1 when no slot has it. */
  hvaOfGfn(gfn: number): number {
    const slot = this.memslots.ofGfn(gfn);
    return slot === null ? -1 : hvaOf(slot, gfn);
  }

  /** Guest physical address of an address of the process, in a slot that shows it; -1 when none does. */
  gpaOf(hva: number): number {
    const slot = this.memslots.ofHva(hva);
    return slot === null ? -1 : slot.baseGfn * 4096 + (hva - slot.hva);
  }

  // --- sections

  /** Is a section open that blocks the address? */
  isBlocked(hva: number): boolean {
    if (this.mmuInvalidateInProgress === 0) return false;
    if (!this.rules.checksRange) return true;
    return hva >= this.mmuInvalidateRangeStart && hva < this.mmuInvalidateRangeEnd;
  }

  /** The guest would enter, fault and find the section open, again and again: the vCPU stands here until it is closed. */
  *sectionEnd(hva: number): KernelPath<void> {
    const isClosed = (): boolean => {
      this.noteSequence(false);
      return !this.isBlocked(hva);
    };
    yield* this.k.sched.waitUntil(isClosed, this.sectionQueue, 'the end of a section');
  }

  // --- events of the table

  /** The leaf at sptes.at was installed or lost W. */
  emitMapped(slot: Memslot, first: number, level: number, spte: number): void {
    const { memory } = this.k;
    if (!memory.log.on) return;
    const pages = level === 1 ? LARGE_PAGES : 1;
    const w = (spte & SPTE_W) !== 0 ? 1 : 0;
    const { at } = this.sptes;
    for (let i = 0; i < pages; i++) {
      const va = hvaOf(slot, first + i);
      const generation = this.sptes.generationAt(at, i);
      memory.log.emit(
        E_DEV_FILL,
        this.mm.id,
        va,
        va + 4096,
        (spte >>> 12) + i,
        generation,
        w,
        0,
        AGENT_MIRROR,
        this.id,
      );
    }
  }

  /** A leaf of the slot left the table: its frame (with its generation) and whether the guest may have stored through it. Pages that
   *  another slot still shows and maps are not announced. */
  emitZapped(slot: Memslot, first: number, pages: number, pfn: number, generation: number, isDirty: boolean): void {
    const { log } = this.k.memory;
    if (!log.on) return;
    const start = hvaOf(slot, first);
    const end = start + pages * 4096;
    if (!this.memslots.hasAliases) {
      if (isDirty) log.emit(E_DEV_INVAL, this.mm.id, start, end, pfn, generation, 1, 0, AGENT_MIRROR, this.id);
      else log.emit(E_DEV_INVAL, this.mm.id, start, end, 0, 0, 0, 0, AGENT_MIRROR, this.id);
      return;
    }
    for (let va = start; va < start + pages * 4096; va += 4096) {
      const isMapped = this.memslots
        .ofRange(va, va + 4096)
        .some((s) => this.sptes.find(s.baseGfn + (va - s.hva) / 4096) !== 0);
      if (!isMapped) log.emit(E_DEV_INVAL, this.mm.id, va, va + 4096, 0, 0, 0, 0, AGENT_MIRROR, this.id);
    }
  }

  /** No vCPU uses a translation of [start, end) that it had before. */
  emitFlushed(start: number, end: number): void {
    const { log } = this.k.memory;
    if (log.on) log.emit(E_DEV_INVAL, this.mm.id, start, end, 0, 0, 0, 0, AGENT_MIRROR_TLB, this.id);
  }

  /** All that the driver and the vCPUs keep, as numbers. */
  stateWords(): number[] {
    const { mmuInvalidateSeq, mmuInvalidateInProgress, mmuInvalidateRangeStart, mmuInvalidateRangeEnd } = this;
    const slots = this.memslots.slots.flatMap((s) => [s.id, s.baseGfn, s.pages, s.hva, ...[...(s.dirty ?? [])].sort()]);
    return [
      mmuInvalidateSeq,
      mmuInvalidateInProgress,
      mmuInvalidateRangeStart,
      mmuInvalidateRangeEnd,
      this.mnActiveInvalidateCount,
      this.mmuLock.count,
      ...slots,
      -2,
      ...this.sptes.stateWords(),
      ...this.vcpus.flatMap((v) => [-3, ...v.stateWords()]),
      ...this.pfnCaches.flatMap((c) => [-4, ...c.stateWords()]),
    ];
  }
}

export function newSlot(id: number, r: MemslotRegion): Memslot {
  if (!(r.pages > 0) || r.hva % 4096 !== 0 || !Number.isInteger(r.baseGfn) || r.baseGfn < 0)
    throw new InputError(`kvm: slot ${id}: ${r.pages} pages from gfn ${r.baseGfn} at address ${r.hva} is no memslot`);
  return {
    id,
    baseGfn: r.baseGfn,
    pages: r.pages,
    hva: r.hva,
    hvaEnd: r.hva + r.pages * 4096,
    isReadonly: r.isReadonly === true,
    isInvalid: false,
    dirty: r.logsDirty === true ? new Set() : null,
  };
}
