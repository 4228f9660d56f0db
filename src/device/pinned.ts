// A device with a DMA table of its own, filled once with pinned pages: RDMA without on-demand paging, vfio. No notifier, no
// faults. Linux: drivers/infiniband/core/umem.c (ib_umem_get, ib_umem_release), drivers/vfio/vfio_iommu_type1.c.
//
// Registration pins the pages of a range for as long as the device may use it (FOLL_LONGTERM) and charges them to
// RLIMIT_MEMLOCK. Nothing that the program does to the range reaches the device:
//
//   program                        device
//                                    registered V -> F1, pinned
//     munmap(V), mmap(V)
//     writes V: a new page F2        reads V: still F1. Not freed, so not unsafe; but not what the program sees either
//
// Such pages are counted as orphans. The application deregisters a range that it has unmapped some time later; that is
// a call of its own to the driver, not a notification.

import { ENOMEM } from '../abi/errno.ts';
import { AGENT_PIN, DEV_RUNNING, E_DEV_ACCESS, E_DEV_FILL, E_DEV_INVAL } from '../abi/events.ts';
import { VM_READ, VM_WRITE } from '../abi/mman.ts';
import { PTE_P } from '../abi/pte.ts';
import { pteWord, vpnHi, vpnLo } from '../hw/page-table.ts';
import { entryLo, ptePfn } from '../hw/pte.ts';
import { FOLL_LONGTERM, FOLL_WRITE } from '../mm/gup/flags.ts';
import type { Kernel } from '../mm/kernel.ts';
import type { MmStruct, VmArea } from '../mm/types.ts';
import type { KernelPath } from '../sched/path.ts';
import { P_DEV_ACCESS, P_DEV_TRANSLATE, P_DRIVER } from '../sched/points.ts';
import { ACCESS_DONE, ACCESS_INVALID, type Accessor } from './accessor.ts';

const DEVICE_WORDS = 4096 - 64;
const onePage = new Int32Array(1);

/** A registered range and the frames that the device's table has for it. */
class Registration {
  readonly start: number;
  readonly end: number;
  readonly isWritable: boolean;
  readonly pfns: Int32Array;
  readonly generations: Float64Array;
  /** Step at which the program was seen to have unmapped all of it; 0 = it has not. */
  unmappedAtStep = 0;
  /** Pages that the address space no longer maps here. */
  orphans = 0;

  constructor(start: number, end: number, isWritable: boolean, pfns: Int32Array) {
    this.start = start;
    this.end = end;
    this.isWritable = isWritable;
    this.pfns = pfns;
    this.generations = new Float64Array(pfns.length);
  }
}

export interface PinnedConfig {
  readonly engines: number;
  /** Pages of one registration at most: of a larger VMA a window around the address that the device uses. */
  readonly registrationPagesMax: number;
  /** Steps from the unmapping of a range to its deregistration by the application. */
  readonly deregisterDelaySteps: number;
}

export const PINNED_DEFAULTS: PinnedConfig = { engines: 4, registrationPagesMax: 4096, deregisterDelaySteps: 2000 };

export class PinnedDevice implements Accessor {
  readonly id: number;
  readonly k: Kernel;
  readonly config: PinnedConfig;
  readonly state = DEV_RUNNING;
  mm: MmStruct | null = null;
  readonly registrations: Registration[] = [];
  /** Ranges that could not be registered, by start: not tried again while the VMA stands. */
  readonly #refused = new Set<number>();
  #lastFound: Registration | null = null;
  /** Step at which orphans are counted next: a count reads an entry for each pinned page. */
  #nextCount = 0;
  /** Two engines do not register the same range at once. */
  #isRegistering = false;
  reads = 0;
  writes = 0;
  hits = 0;
  pinnedPages = 0;
  pinnedPagesMax = 0;
  orphanPages = 0;
  orphanPagesMax = 0;
  registered = 0;
  registrationsRefused = 0;
  lastRead = 0;
  /** The first registration that was refused, in words; null while none was. */
  refusal: string | null = null;

  constructor(k: Kernel, id: number, config: Partial<PinnedConfig> = {}) {
    this.k = k;
    this.id = id;
    this.config = { ...PINNED_DEFAULTS, ...config };
  }

  get engineCount(): number {
    return this.config.engines;
  }

  // --- accesses

  tryAccess(engine: number, va: number, isWrite: boolean): boolean {
    const r = this.#find(va, isWrite);
    if (r === null) return false;
    this.#reach(r, engine, va, isWrite);
    return true;
  }

  *access(engine: number, va: number, isWrite: boolean, _groupEnd: number): KernelPath<number> {
    if (this.k.sched.points) yield P_DEV_TRANSLATE;
    if (this.#find(va, isWrite) === null && !(yield* this.#registerFor(va, isWrite))) return ACCESS_INVALID;
    if (!this.tryAccess(engine, va, isWrite)) return ACCESS_INVALID;
    if (this.k.sched.points) yield P_DEV_ACCESS;
    return ACCESS_DONE;
  }

  #find(va: number, isWrite: boolean): Registration | null {
    const last = this.#lastFound;
    if (last !== null && va >= last.start && va < last.end && (!isWrite || last.isWritable)) return last;
    for (const r of this.registrations) {
      if (va < r.start || va >= r.end || (isWrite && !r.isWritable)) continue;
      this.#lastFound = r;
      return r;
    }
    return null;
  }

  #reach(r: Registration, engine: number, va: number, isWrite: boolean): void {
    const { memory } = this.k;
    const i = Math.floor((va - r.start) / 4096);
    const pfn = r.pfns[i]!;
    this.hits++;
    if (isWrite) memory.doubles[(pfn * 4096 + DEVICE_WORDS) / 8 + engine] = ++this.writes;
    else {
      this.reads++;
      this.lastRead = memory.doubles[(pfn * 4096 + (va % 4096) - (va % 8)) / 8]!;
    }
    if (!memory.log.on) return;
    const at = isWrite ? va - (va % 4096) + DEVICE_WORDS + engine * 8 : va - (va % 8);
    const now = memory.generation[pfn]!;
    const w = isWrite ? 1 : 0;
    memory.log.emit(E_DEV_ACCESS, this.mm!.id, at, at + 8, pfn, r.generations[i]!, now, w, AGENT_PIN, this.id);
  }

  // --- registration

  /** Registers the VMA of the address, when the device first uses it. */
  *#registerFor(va: number, isWrite: boolean): KernelPath<boolean> {
    const mm = this.mm;
    if (mm === null || this.#isRegistering || mm.isExiting) return false;
    this.#isRegistering = true;
    yield* mm.mmapLock.readLock();
    const vma = mm.isExiting ? null : mm.vmas.findExact(va);
    const result = vma === null || (isWrite && (vma.flags & VM_WRITE) === 0) ? -1 : yield* this.register(mm, vma, va);
    mm.mmapLock.readUnlock();
    this.#isRegistering = false;
    return result >= 0;
  }

  /** ib_umem_get of the VMA, or of the window of it that contains the address; mmapLock R held. Returns pages pinned, or -ENOMEM: over RLIMIT_MEMLOCK without CAP_IPC_LOCK, or
   *  pages could not be allocated. */
  *register(mm: MmStruct, vma: VmArea, va: number): KernelPath<number> {
    const { k } = this;
    const window = this.config.registrationPagesMax * 4096;
    const start = vma.start + Math.floor((va - vma.start) / window) * window;
    const end = Math.min(vma.end, start + window);
    const count = (end - start) / 4096;
    const isWritable = (vma.flags & VM_WRITE) !== 0;
    if ((vma.flags & VM_READ) === 0 || this.#refused.has(start)) return -ENOMEM;
    const limitPages = mm.limits.memlock / 4096;
    const isOverLimit = mm.pinnedVm + count > limitPages && !mm.limits.capIpcLock;
    const pfns = new Int32Array(isOverLimit ? 0 : count);
    let pinned = -ENOMEM;
    if (!isOverLimit) {
      mm.pinnedVm += count;
      pinned = yield* k.fn.pinUserPages(k, mm, start, count, FOLL_LONGTERM | (isWritable ? FOLL_WRITE : 0), pfns);
    }
    if (pinned !== count) {
      const why = isOverLimit ? -ENOMEM : yield* this.#undo(mm, start, pinned, count, isWritable, pfns);
      this.registrationsRefused++;
      this.#refused.add(start);
      // A range that reaches beyond the end of its file cannot be pinned at all (-EFAULT): no application registers it.
      if (why === -ENOMEM) {
        const reason = isOverLimit ? 'over RLIMIT_MEMLOCK' : 'no memory';
        this.refusal ??= `pin of ${count} pages at 0x${start.toString(16)} refused: ${reason}`;
      }
      return why;
    }
    this.#enter(mm, new Registration(start, end, isWritable, pfns));
    return count;
  }

  /** Drops the pins of a range that could be pinned only in part; the errno of the first page that could not. */
  *#undo(
    mm: MmStruct,
    start: number,
    pinned: number,
    count: number,
    isWritable: boolean,
    pfns: Int32Array,
  ): KernelPath<number> {
    const { k } = this;
    const done = Math.max(0, pinned);
    const flags = FOLL_LONGTERM | (isWritable ? FOLL_WRITE : 0);
    const next = pinned < 0 ? pinned : yield* k.fn.pinUserPages(k, mm, start + done * 4096, 1, flags, onePage);
    if (next === 1) k.fn.unpinUserPage(k, onePage[0]!, false);
    for (let i = 0; i < done; i++) k.fn.unpinUserPage(k, pfns[i]!, false);
    mm.pinnedVm -= count;
    return next < 0 ? next : -ENOMEM;
  }

  #enter(mm: MmStruct, r: Registration): void {
    const { memory } = this.k;
    for (let i = 0; i < r.pfns.length; i++) {
      const pfn = r.pfns[i]!;
      const va = r.start + i * 4096;
      r.generations[i] = memory.generation[pfn]!;
      if (!memory.log.on) continue;
      const w = r.isWritable ? 1 : 0;
      memory.log.emit(E_DEV_FILL, mm.id, va, va + 4096, pfn, r.generations[i]!, w, 0, AGENT_PIN, this.id);
    }
    this.registrations.unshift(r);
    this.registered++;
    this.pinnedPages += r.pfns.length;
    this.pinnedPagesMax = Math.max(this.pinnedPagesMax, this.pinnedPages);
  }

  /** ib_umem_release: the table's entries go, then the pins. Nothing when somebody else is at it already. */
  *deregister(r: Registration): KernelPath<void> {
    const { k } = this;
    const mm = this.mm!;
    const at = this.registrations.indexOf(r);
    if (at < 0) return;
    this.registrations.splice(at, 1);
    this.#lastFound = null;
    if (k.memory.log.on) k.memory.log.emit(E_DEV_INVAL, mm.id, r.start, r.end, 0, 0, 0, 0, AGENT_PIN, this.id);
    if (k.sched.points) yield P_DRIVER;
    for (let i = 0; i < r.pfns.length; i++) k.fn.unpinUserPage(k, r.pfns[i]!, r.isWritable);
    mm.pinnedVm -= r.pfns.length;
    this.pinnedPages -= r.pfns.length;
    this.orphanPages -= r.orphans;
  }

  /** What the application does from time to time: looks which ranges it has unmapped, and deregisters those for which it did
   *  so long enough ago. Counts orphans. */
  *maintain(): KernelPath<void> {
    const { mm, k } = this;
    if (mm === null) return;
    this.#refused.clear();
    if (k.sched.steps >= this.#nextCount) {
      this.#countOrphans(mm);
      this.#nextCount = k.sched.steps + Math.max(256, this.pinnedPages);
    }
    for (const r of [...this.registrations]) {
      const isUnmapped = mm.vmas.intersects(r.start, r.end) === null;
      if (!isUnmapped) r.unmappedAtStep = 0;
      else if (r.unmappedAtStep === 0) r.unmappedAtStep = k.sched.steps + 1;
      if (isUnmapped && k.sched.steps >= r.unmappedAtStep + this.config.deregisterDelaySteps) yield* this.deregister(r);
    }
  }

  #countOrphans(mm: MmStruct): void {
    const m = this.k.memory;
    let total = 0;
    for (const r of this.registrations) {
      let orphans = 0;
      for (let i = 0; i < r.pfns.length; i++) {
        const va = r.start + i * 4096;
        const word = pteWord(m, mm.pgd, vpnHi(va), vpnLo(va));
        const lo = word < 0 ? 0 : entryLo(m, word);
        if ((lo & PTE_P) === 0 || ptePfn(lo) !== r.pfns[i]) orphans++;
      }
      r.orphans = orphans;
      total += orphans;
    }
    this.orphanPages = total;
    this.orphanPagesMax = Math.max(this.orphanPagesMax, total);
  }

  /** The application closes the device: everything is deregistered. */
  *close(): KernelPath<void> {
    while (this.registrations.length > 0) yield* this.deregister(this.registrations[0]!);
    this.mm = null;
  }
}
