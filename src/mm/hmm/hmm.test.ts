// Device memory, exclusive access and hmm_range_fault: contents, counts and entries on the way there and back, with forks, holes, pins and
// zaps; the order of moments for what the recordings of HMM's own test do not have (holes, the zero page, two sections).
import { describe, expect, it } from 'vitest';
import { HandMade, SHARED_RW } from '../../../test/support/hand-made.ts';
import { EBUSY, EFAULT, EINVAL, EPERM } from '../../abi/errno.ts';
import { FAULT_FLAG_USER, FAULT_FLAG_WRITE, VM_FAULT_SIGBUS, VM_READ } from '../../abi/mman.ts';
import { PTE_A, PTE_D, PTE_P, PTE_RW, PTE_SPECIAL } from '../../abi/pte.ts';
import { entryHi } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { checkWorld } from '../check-world.ts';
import { pteOffset, pteTable } from '../fault/page-tables.ts';
import type { Kernel } from '../kernel.ts';
import { targetAnywhere } from '../migrate/targets.ts';
import { tryLockPage, unlockPage } from '../page/page-lock.ts';
import { isZoneDevice } from '../page/pages.ts';
import { isDeviceExclusive, isDevicePrivate, swapPfn } from '../page/pfn-swap.ts';
import { SWP_DEVICE_READ, SWP_DEVICE_WRITE, swapType } from '../page/swapops.ts';
import { type MmStruct, VmArea } from '../types.ts';
import { setPageProt } from '../vma/flags.ts';
import { allocDevicePage, type DevPagemap, memremapPages } from './device-memory.ts';
import {
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_WRITE,
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  MIGRATE_VMA_SELECT_SYSTEM,
  MigrateVma,
  migrateDeviceFinalize,
  migrateDevicePages,
  migrateDeviceRange,
  migratePage,
  migratePfn,
} from './migrate-vma.ts';
import { HMM_PFN_ERROR, HMM_PFN_REQ_FAULT, HMM_PFN_REQ_WRITE, HMM_PFN_VALID, HMM_PFN_WRITE } from './range-fault.ts';

const A = 0x100000000;
const PAGE = 4096;
const RW = PTE_RW | PTE_D | PTE_A;
const span = (a: number, bytes = PAGE): string => `${a.toString(16)},${(a + bytes).toString(16)}`;
const OWNER = {};

class HmmWorld extends HandMade {
  readonly map: DevPagemap;
  /** Sections that carried an owner. */
  owned = 0;

  constructor(frames = 4) {
    super({ devicePrivatePages: frames });
    const toRam = (k: Kernel, vma: VmArea, address: number, pfn: number): KernelPath<number> =>
      this.back(k, vma, address, address + PAGE, pfn);
    this.map = memremapPages(this.k, frames, OWNER, { migrateToRam: toRam })!;
  }

  hi(address: number, mm = this.mm): number {
    return entryHi(this.k.memory, pteOffset(pteTable(this.k, mm, address), address));
  }

  *#migrate(k: Kernel, args: MigrateVma, target: (src: number) => KernelPath<number>): KernelPath<number> {
    if ((yield* k.fn.migrateVmaSetup(k, args)) < 0) return VM_FAULT_SIGBUS;
    for (let i = 0; i < args.npages; i++) {
      const src = args.src[i]!;
      if ((src & MIGRATE_PFN_MIGRATE) === 0) continue;
      const from = migratePage(src);
      const to = yield* target(from);
      if (to === 0) continue;
      if (from === 0) k.memory.zero(to);
      else k.memory.copy(to, from);
      args.dst[i] = migratePfn(to) | (src & MIGRATE_PFN_WRITE);
    }
    yield* k.fn.migrateVmaPages(k, args);
    yield* k.fn.migrateVmaFinalize(k, args);
    return 0;
  }

  out(vma: VmArea, start: number, end: number): MigrateVma {
    const args = new MigrateVma(vma, start, end, OWNER, MIGRATE_VMA_SELECT_SYSTEM);
    const { k, map } = this;
    const target = function* (): KernelPath<number> {
      return allocDevicePage(k, map);
    };
    this.run(this.#migrate(this.k, args, target));
    return args;
  }

  back(k: Kernel, vma: VmArea, start: number, end: number, faultPage = 0): KernelPath<number> {
    const args = new MigrateVma(vma, start, end, OWNER, MIGRATE_VMA_SELECT_DEVICE_PRIVATE, faultPage);
    const target = function* (from: number): KernelPath<number> {
      const to = yield* targetAnywhere(k, from);
      if (to !== 0) tryLockPage(k, to);
      return to;
    };
    return this.#migrate(k, args, target);
  }

  fork(vma: VmArea): MmStruct {
    const { k } = this;
    const mm = k.newMm()!;
    const child = new VmArea(mm, vma.start, vma.end, vma.flags, null, vma.pgoff, 0);
    setPageProt(child);
    mm.vmas.insert(child);
    mm.totalVm = vma.mm.totalVm;
    this.run(k.fn.anonVmaFork(k, child, vma));
    expect(this.run(k.fn.copyPageRange(k, child, vma))).toBe(0);
    return mm;
  }

  fault(address: number, flags = FAULT_FLAG_USER, mm = this.mm): number {
    return this.run(this.k.fn.doUserAddrFault(this.k, mm, address, flags));
  }

  hmm(start: number, pages: number, defaultFlags: number, isStale = (): boolean => false, owner: object | null = null) {
    const pfns = new Int32Array(pages);
    const range = {
      mm: this.mm,
      start,
      end: start + pages * PAGE,
      pfns,
      defaultFlags,
      pfnFlagsMask: 0,
      owner,
      isStale,
    };
    const result = this.run(this.k.fn.hmmRangeFault(this.k, range));
    return { result, pfns: [...pfns] };
  }
}

describe('device memory', () => {
  it('takes pages and gives them back with contents, rights and counts', () => {
    const w = new HmmWorld();
    const vma = w.vma(A, A + 2 * PAGE);
    const pages = w.anonRange(vma, A, 2);
    w.k.memory.bytes[pages[1]! * PAGE + 5] = 77;
    const free = w.k.pages.free;
    w.out(vma, A, A + 2 * PAGE);
    expect(w.k.pages.free).toBe(free + 2);
    for (const at of [A, A + PAGE]) {
      expect([isDevicePrivate(w.hi(at)), swapType(w.hi(at)), isZoneDevice(w.k.pages, swapPfn(w.lo(at)))]).toEqual([
        true,
        SWP_DEVICE_WRITE,
        true,
      ]);
    }
    expect([...w.mm.rss]).toEqual([0, 2, 0, 0]);
    checkWorld(w.k);
    expect(w.fault(A + PAGE, FAULT_FLAG_USER | FAULT_FLAG_WRITE)).toBe(0);
    expect(w.lo(A + PAGE) & (PTE_P | PTE_RW)).toBe(PTE_P | PTE_RW);
    expect(w.k.memory.bytes[(w.lo(A + PAGE) >>> 12) * PAGE + 5]).toBe(77);
    expect(w.map.free).toHaveLength(3);
    checkWorld(w.k);
  });

  it('is shared by a fork, and comes back once for both', () => {
    const w = new HmmWorld();
    const vma = w.vma(A, A + PAGE);
    const [pfn] = w.anonRange(vma, A, 1);
    w.k.memory.bytes[pfn! * PAGE] = 3;
    w.out(vma, A, A + PAGE);
    const child = w.fork(vma);
    expect([swapType(w.hi(A)), swapType(w.hi(A, child))]).toEqual([SWP_DEVICE_READ, SWP_DEVICE_READ]);
    checkWorld(w.k);
    expect(w.fault(A, FAULT_FLAG_USER, child)).toBe(0);
    const now = w.lo(A) >>> 12;
    expect([w.k.pages.mapcount[now], w.k.memory.bytes[now * PAGE], w.lo(A) & PTE_RW]).toEqual([2, 3, 0]);
    expect(w.map.free).toHaveLength(4);
    checkWorld(w.k);
  });

  it('goes at once when its entry is zapped, without a flush', () => {
    const w = new HmmWorld();
    const vma = w.vma(A, A + PAGE);
    w.anonRange(vma, A, 1);
    w.out(vma, A, A + PAGE);
    w.record();
    w.run(w.k.fn.zapPageRangeSingle(w.k, vma, A, A + PAGE, true));
    expect(w.moments).toEqual([`S(CLEAR,${span(A)})`, `E(${span(A)})`]);
    expect([w.map.free.length, [...w.mm.rss]]).toEqual([4, [0, 0, 0, 0]]);
    checkWorld(w.k);
  });

  it('fills holes and replaces the zero page in one more section, which only ends', () => {
    const w = new HmmWorld();
    const vma = w.vma(A, A + 3 * PAGE);
    w.anonRange(vma, A, 1);
    w.setEntry(A + 2 * PAGE, (w.k.zeroPfn << 12) | PTE_P | PTE_SPECIAL, 0);
    w.record();
    w.out(vma, A, A + 3 * PAGE);
    const [all, rest, zero] = [span(A, 3 * PAGE), span(A + PAGE, 2 * PAGE), span(A + 2 * PAGE)];
    expect(w.moments.filter((l) => !l.startsWith('FREE'))).toEqual([
      `S(MIGRATE,${all})`,
      `F(${span(A)},12)`,
      `CPU(${span(A)})`,
      `F(${all},12,tables)`,
      `CPU(${all})`,
      `E(${all})`,
      `S(MIGRATE,${rest})`,
      `F(${zero},12)`,
      `CPU(${zero})`,
      `PC(${zero})`,
      expect.stringMatching(/^C/),
      `EO(${rest})`,
    ]);
    expect([...w.mm.rss]).toEqual([0, 3, 0, 0]);
    checkWorld(w.k);
  });

  it('does not get a pinned page, nor one of a file', () => {
    const w = new HmmWorld();
    const vma = w.vma(A, A + 2 * PAGE);
    const [pinned] = w.anonRange(vma, A, 1);
    w.k.pages.refcount[pinned!]! += 1024;
    w.out(vma, A, A + PAGE);
    expect(w.lo(A) >>> 12).toBe(pinned);
    w.k.pages.refcount[pinned!]! -= 1024;
    const inode = w.k.newInode('shmem', '/s', PAGE);
    const shared = w.vma(A + 8 * PAGE, A + 9 * PAGE, SHARED_RW, inode);
    const pfn = w.file(shared, A + 8 * PAGE, RW);
    w.out(shared, A + 8 * PAGE, A + 9 * PAGE);
    expect([w.lo(A + 8 * PAGE) >>> 12, w.map.free.length]).toEqual([pfn, 4]);
    checkWorld(w.k);
  });

  it('is emptied when its driver goes', () => {
    const w = new HmmWorld(2);
    const vma = w.vma(A, A + 2 * PAGE);
    const pages = w.anonRange(vma, A, 2);
    w.k.memory.bytes[pages[0]! * PAGE] = 8;
    w.out(vma, A, A + 2 * PAGE);
    const [src, dst] = [new Int32Array(2), new Int32Array(2)];
    w.run(migrateDeviceRange(w.k, src, w.map.first, 2));
    for (let i = 0; i < 2; i++) {
      const to = w.run(targetAnywhere(w.k, migratePage(src[i]!)));
      tryLockPage(w.k, to);
      w.k.memory.copy(to, migratePage(src[i]!));
      dst[i] = migratePfn(to);
    }
    migrateDevicePages(w.k, src, dst, 2);
    w.run(migrateDeviceFinalize(w.k, src, dst, 2));
    expect([w.map.free.length, w.lo(A) & PTE_P, w.k.memory.bytes[(w.lo(A) >>> 12) * PAGE]]).toEqual([2, PTE_P, 8]);
    checkWorld(w.k);
  });

  it('refuses a range that is not of one VMA', () => {
    const w = new HmmWorld();
    const vma = w.vma(A, A + PAGE);
    const args = new MigrateVma(vma, A, A + 2 * PAGE, OWNER, MIGRATE_VMA_SELECT_SYSTEM);
    expect(w.run(w.k.fn.migrateVmaSetup(w.k, args))).toBe(-EINVAL);
  });
});

describe('exclusive access', () => {
  it('takes the page from every CPU until one touches it; fork gives it back', () => {
    const w = new HmmWorld();
    const vma = w.vma(A, A + 2 * PAGE);
    const pfns = w.anonRange(vma, A, 2);
    const pages = new Int32Array(2);
    expect(w.run(w.k.fn.makeDeviceExclusiveRange(w.k, w.mm, A, A + 2 * PAGE, pages, OWNER))).toBe(2);
    expect([...pages]).toEqual(pfns);
    for (const pfn of pages) {
      unlockPage(w.k, pfn);
      w.k.fn.putPage(w.k, pfn);
    }
    expect([isDeviceExclusive(w.hi(A)), w.k.pages.mapcount[pfns[0]!], [...w.mm.rss]]).toEqual([true, 0, [0, 2, 0, 0]]);
    checkWorld(w.k);
    w.record();
    expect(w.fault(A)).toBe(0);
    expect(w.moments).toEqual([`S(EXCLUSIVE,${span(A)})`, `E(${span(A)})`]);
    expect([w.lo(A) >>> 12, w.lo(A) & PTE_RW]).toEqual([pfns[0], PTE_RW]);
    const child = w.fork(vma);
    expect([w.lo(A + PAGE) >>> 12, w.lo(A + PAGE) & PTE_RW, [...child.rss]]).toEqual([pfns[1], 0, [0, 2, 0, 0]]);
    checkWorld(w.k);
  });

  it('ends with the mapping', () => {
    const w = new HmmWorld();
    const vma = w.vma(A, A + PAGE);
    const [pfn] = w.anonRange(vma, A, 1);
    const pages = new Int32Array(1);
    w.run(w.k.fn.makeDeviceExclusiveRange(w.k, w.mm, A, A + PAGE, pages, OWNER));
    unlockPage(w.k, pfn!);
    w.k.fn.putPage(w.k, pfn!);
    w.run(w.k.fn.zapPageRangeSingle(w.k, vma, A, A + PAGE, true));
    expect([w.k.pages.refcount[pfn!], [...w.mm.rss]]).toEqual([0, [0, 0, 0, 0]]);
    checkWorld(w.k);
  });
});

describe('hmm_range_fault', () => {
  it('tells what is mapped, and faults in what is asked for', () => {
    const w = new HmmWorld();
    const vma = w.vma(A, A + 4 * PAGE);
    const [pfn] = w.anonRange(vma, A, 1);
    expect(w.hmm(A, 2, 0)).toEqual({ result: 0, pfns: [pfn! | HMM_PFN_VALID | HMM_PFN_WRITE, 0] });
    const read = w.hmm(A, 3, HMM_PFN_REQ_FAULT);
    expect(read).toEqual({
      result: 0,
      pfns: [pfn! | HMM_PFN_VALID | HMM_PFN_WRITE, ...[1, 2].map(() => w.k.zeroPfn | HMM_PFN_VALID)],
    });
    const written = w.hmm(A, 2, HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE);
    expect(written.pfns[1]).toBe((w.lo(A + PAGE) >>> 12) | HMM_PFN_VALID | HMM_PFN_WRITE);
    checkWorld(w.k);
  });

  it('answers holes, unreadable memory, read-only memory and a moved sequence', () => {
    const w = new HmmWorld();
    w.vma(A, A + PAGE, VM_READ);
    w.vma(A + PAGE, A + 2 * PAGE, 0);
    expect(w.hmm(A + PAGE, 2, 0)).toEqual({ result: 0, pfns: [HMM_PFN_ERROR, HMM_PFN_ERROR] });
    expect(w.hmm(A + PAGE, 1, HMM_PFN_REQ_FAULT).result).toBe(-EFAULT);
    expect(w.hmm(A + 2 * PAGE, 1, HMM_PFN_REQ_FAULT).result).toBe(-EFAULT);
    expect(w.hmm(A, 1, HMM_PFN_REQ_FAULT | HMM_PFN_REQ_WRITE).result).toBe(-EPERM);
    expect(w.hmm(A, 1, HMM_PFN_REQ_FAULT, () => true).result).toBe(-EBUSY);
  });

  it('leaves the caller its own device memory and brings that of others back', () => {
    const w = new HmmWorld();
    const vma = w.vma(A, A + PAGE);
    w.anonRange(vma, A, 1);
    w.out(vma, A, A + PAGE);
    const pfn = swapPfn(w.lo(A));
    expect(w.hmm(A, 1, HMM_PFN_REQ_FAULT, undefined, OWNER).pfns).toEqual([pfn | HMM_PFN_VALID | HMM_PFN_WRITE]);
    expect(w.hmm(A, 1, HMM_PFN_REQ_FAULT, undefined, {}).pfns).toEqual([
      (w.lo(A) >>> 12) | HMM_PFN_VALID | HMM_PFN_WRITE,
    ]);
    expect(w.map.free).toHaveLength(4);
    checkWorld(w.k);
  });
});
