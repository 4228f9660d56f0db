// A device that mirrors an address space, with memory of its own (lib/test_hmm.c): what the kernel's own test of HMM drives through
// /dev/hmm_dmirror0, and so do scripts. Its table holds a frame for each page number, with the right to write, and marks pages that it has
// for itself. The table is emptied by its interval notifier; sections of its own migrations do not count.

import { EBUSY, EFAULT, ENOENT, EPERM } from '../abi/errno.ts';
import { MMU_NOTIFY_MIGRATE } from '../abi/notifier.ts';
import { PrivateMemory } from '../device/private-memory.ts';
import { HMM_PFN_REQ_FAULT, HMM_PFN_REQ_WRITE, HMM_PFN_VALID, HMM_PFN_WRITE } from '../mm/hmm/range-fault.ts';
import type { Kernel } from '../mm/kernel.ts';
import { unlockPage } from '../mm/page/page-lock.ts';
import type { MmStruct, VmArea } from '../mm/types.ts';
import { IntervalNotifier, type Intervals } from '../notifier/interval.ts';
import type { ListOps } from '../notifier/subscriptions.ts';
import type { KernelPath } from '../sched/path.ts';

/** Pages that a call works on at a time. */
const CHUNK = 64 * 4096;
const PAGES = 1024;

interface Entry {
  readonly pfn: number;
  readonly write: boolean;
  readonly atomic: boolean;
}

/** What an ioctl gives back. */
export interface DmirrorResult {
  result: number;
  cpages: number;
  faults: number;
}

export class Dmirror {
  readonly table = new Map<number, Entry>();
  readonly #k: Kernel;
  readonly #mm: MmStruct;
  readonly #intervals: Intervals<ListOps>;
  readonly #sub: IntervalNotifier;
  readonly #memory: PrivateMemory;

  private constructor(k: Kernel, mm: MmStruct, intervals: Intervals<ListOps>) {
    this.#k = k;
    this.#mm = mm;
    this.#intervals = intervals;
    const self = this;
    this.#sub = new IntervalNotifier({
      *invalidate(sub, range, seq): KernelPath<boolean> {
        if (range.event === MMU_NOTIFY_MIGRATE && range.owner === self) return true;
        intervals.setSeq(sub, seq);
        self.#forget(range.start, range.end);
        return true;
      },
    });
    const memory = PrivateMemory.create(k, this, PAGES, {
      arrived: (vpn, pfn, write) => void this.table.set(vpn, { pfn, write, atomic: false }),
      leaves: (vpn) => void this.table.delete(vpn),
    });
    if (memory === null) throw new Error(`dmirror: the kernel has no ${PAGES} pages for the memory of the device`);
    this.#memory = memory;
  }

  /** fops_open: the whole address space is mirrored from now on. */
  static *open(k: Kernel, mm: MmStruct, intervals: Intervals<ListOps>): KernelPath<Dmirror> {
    const d = new Dmirror(k, mm, intervals);
    yield* intervals.insert(d.#sub, mm, 0, 0x7ffffffff000);
    return d;
  }

  #forget(start: number, end: number): void {
    for (const vpn of this.table.keys()) if (vpn * 4096 >= start && vpn * 4096 < end) this.table.delete(vpn);
  }

  /** Runs `body` with mmapLock held for read. */
  *#underMmapLock<T>(body: () => KernelPath<T>): KernelPath<T> {
    const lock = this.#mm.mmapLock;
    if (this.#k.sched.points || !lock.tryRead()) yield* lock.readLock();
    const result = yield* body();
    lock.readUnlock();
    return result;
  }

  /** The pieces of [start, end): of one VMA each, and no longer than a chunk. `body` answers 0 or -errno. */
  *#eachPiece(
    start: number,
    end: number,
    body: (vma: VmArea, from: number, to: number) => KernelPath<number>,
  ): KernelPath<number> {
    for (let at = start; at < end; ) {
      const vma = this.#mm.vmas.findExact(at);
      if (vma === null) return -EFAULT;
      const next = Math.min(end, at + CHUNK, vma.end);
      const result = yield* body(vma, at, next);
      if (result < 0) return result;
      at = next;
    }
    return 0;
  }

  /** HMM_DMIRROR_MIGRATE_TO_DEV. */
  *migrateToDevice(start: number, end: number): KernelPath<DmirrorResult> {
    const result = yield* this.#underMmapLock(() =>
      this.#eachPiece(start, end, (vma, from, to) => this.#memory.toDevice(vma, from, to)),
    );
    if (result < 0) return { result, cpages: 0, faults: 0 };
    return yield* this.access(start, end, false);
  }

  /** HMM_DMIRROR_MIGRATE_TO_SYS. */
  *migrateToSystem(start: number, end: number): KernelPath<DmirrorResult> {
    const counted = { result: 0, cpages: 0, faults: 0 };
    counted.result = yield* this.#underMmapLock(() =>
      this.#eachPiece(start, end, (vma, from, to) => this.#pieceToSystem(vma, from, to, counted)),
    );
    return counted;
  }

  *#pieceToSystem(vma: VmArea, from: number, to: number, counted: DmirrorResult): KernelPath<number> {
    const tried = yield* this.#memory.toRam(vma, from, to);
    if (tried > 0) counted.cpages += tried;
    return tried < 0 ? tried : 0;
  }

  /** HMM_DMIRROR_EXCLUSIVE. */
  *exclusive(start: number, end: number): KernelPath<DmirrorResult> {
    const result = yield* this.#underMmapLock(() =>
      this.#eachPiece(start, end, (_vma, from, to) => this.#takePiece(from, to)),
    );
    if (result < 0) return { result, cpages: 0, faults: 0 };
    return yield* this.access(start, end, false);
  }

  *#takePiece(from: number, to: number): KernelPath<number> {
    const k = this.#k;
    const pages = new Int32Array((to - from) / 4096);
    const got = yield* k.fn.makeDeviceExclusiveRange(k, this.#mm, from, to, pages, null);
    let mapped = 0;
    for (let i = 0; i < got; i++) {
      if (pages[i] === 0) continue;
      if (got === pages.length) {
        this.table.set(from / 4096 + i, { pfn: pages[i]!, write: true, atomic: true });
        mapped++;
      }
      unlockPage(k, pages[i]!);
      k.fn.putPage(k, pages[i]!);
    }
    return got < 0 ? got : mapped < pages.length ? -EBUSY : 0;
  }

  /** HMM_DMIRROR_CHECK_EXCLUSIVE: -EPERM when the device still has a page for itself. */
  checkExclusive(start: number, end: number): DmirrorResult {
    const isHeld = [...this.table].some(([vpn, e]) => e.atomic && vpn * 4096 >= start && vpn * 4096 < end);
    return { result: isHeld ? -EPERM : 0, cpages: 0, faults: 0 };
  }

  /** HMM_DMIRROR_READ and HMM_DMIRROR_WRITE: pages that the device has no entry for are faulted in. */
  *access(start: number, end: number, isWrite: boolean): KernelPath<DmirrorResult> {
    const out: DmirrorResult = { result: 0, cpages: 0, faults: 0 };
    for (;;) {
      out.result = this.#reach(start, end, isWrite, out);
      if (out.result !== -ENOENT) return out;
      const failed = yield* this.#fault(start + out.cpages * 4096, end, isWrite);
      if (failed < 0) {
        out.result = failed;
        return out;
      }
      out.faults++;
    }
  }

  #reach(start: number, end: number, isWrite: boolean, out: DmirrorResult): number {
    for (let at = start + out.cpages * 4096; at < end; at += 4096) {
      const entry = this.table.get(at / 4096);
      if (entry === undefined || (isWrite && !entry.write)) return -ENOENT;
      out.cpages++;
    }
    return 0;
  }

  /** dmirror_fault, dmirror_range_fault. */
  *#fault(start: number, end: number, isWrite: boolean): KernelPath<number> {
    const k = this.#k;
    for (let at = start; at < end; ) {
      const to = Math.min(end, at + CHUNK);
      const pfns = new Int32Array((to - at) / 4096);
      const seq = yield* this.#intervals.readBegin(this.#sub);
      const isStale = (): boolean => this.#intervals.readRetry(this.#sub, seq);
      const result = yield* this.#underMmapLock(() =>
        k.fn.hmmRangeFault(k, {
          mm: this.#mm,
          start: at,
          end: to,
          pfns,
          defaultFlags: HMM_PFN_REQ_FAULT | (isWrite ? HMM_PFN_REQ_WRITE : 0),
          pfnFlagsMask: 0,
          owner: this,
          isStale,
        }),
      );
      if (result === -EBUSY || (result === 0 && isStale())) continue;
      if (result < 0) return result;
      for (let i = 0; i < pfns.length; i++) {
        const word = pfns[i]!;
        if ((word & HMM_PFN_VALID) === 0) continue;
        this.table.set(at / 4096 + i, { pfn: word & 0xfffff, write: (word & HMM_PFN_WRITE) !== 0, atomic: false });
      }
      at = to;
    }
    return 0;
  }
}
