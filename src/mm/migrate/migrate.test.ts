// Moving pages between nodes: the order of entry changes, flushes, notifier moments and frees, against the sequences recorded from a 6.1
// kernel (move-pages, migrate-file, migrate-shared); contents, counts and status words; what fork, mprotect, zap and faults
// make of a page that is on its way.
import { describe, expect, it } from 'vitest';
import { HandMade, SHARED_RW } from '../../../test/support/hand-made.ts';
import { EACCES, EFAULT, ENOENT } from '../../abi/errno.ts';
import { E_RMAP_ADD, E_RMAP_REMOVE, FRAME_TABLE } from '../../abi/events.ts';
import {
  FAULT_FLAG_USER,
  FAULT_FLAG_WRITE,
  MADV_HWPOISON,
  MADV_SOFT_OFFLINE,
  VM_FAULT_HWPOISON,
  VM_READ,
} from '../../abi/mman.ts';
import { PTE_A, PTE_D, PTE_P, PTE_RW, PTE_SOFT_DIRTY, PTE_US } from '../../abi/pte.ts';
import { entryHi } from '../../hw/pte.ts';
import { P_SYSCALL } from '../../sched/points.ts';
import { DONE } from '../../sched/scheduler.ts';
import { checkWorld } from '../check-world.ts';
import { pteOffset, pteTable } from '../fault/page-tables.ts';
import type { Kernel } from '../kernel.ts';
import { pageToNid } from '../page/nodes.ts';
import { tryLockPage, unlockPage } from '../page/page-lock.ts';
import { isMigration, swapPfn } from '../page/pfn-swap.ts';
import { SWP_MIGRATION_READ, SWP_MIGRATION_READ_EXCLUSIVE, SWP_MIGRATION_WRITE, swapType } from '../page/swapops.ts';
import { profile } from '../profile.ts';
import { getPage } from '../rmap/rmap.ts';
import { setPageProt } from '../vma/flags.ts';
import { compactMemory } from './compaction.ts';
import { madviseInjectError } from './memory-failure.ts';
import { doPagesMove, doPagesStat } from './move-pages.ts';

const A = 0x100000000;
const PAGE = 4096;
const span = (a: number, bytes = PAGE): string => `${a.toString(16)},${(a + bytes).toString(16)}`;
const RW = PTE_RW | PTE_D | PTE_A | PTE_SOFT_DIRTY;

class MigrateWorld extends HandMade {
  constructor(numaNodes = 2) {
    super({ numaNodes });
  }

  override record(): void {
    super.record();
    this.k.memory.log.attach({
      onRecord: (ring, at) => {
        if (ring[at] === E_RMAP_ADD) this.log.push(`M(${ring[at + 6]})`);
        if (ring[at] === E_RMAP_REMOVE) this.log.push(`U(${ring[at + 6]})`);
      },
    });
  }

  pfn(address: number): number {
    return this.lo(address) >>> 12;
  }

  hi(address: number): number {
    return entryHi(this.k.memory, pteOffset(pteTable(this.k, this.mm, address), address));
  }

  move(addresses: number[], node: number, all = false): { result: number; status: number[] } {
    const status = new Int32Array(addresses.length).fill(99);
    const targets = addresses.map(() => node);
    const result = this.run(doPagesMove(this.k, this.mm, addresses, targets, status, all));
    return { result, status: [...status] };
  }

  /** Migration entries stand in the place of the page while `body` runs; then it comes back where it was. */
  underMigration(pfn: number, body: () => void): void {
    getPage(this.k, pfn);
    expect(tryLockPage(this.k, pfn)).toBe(true);
    this.run(this.k.fn.tryToMigrate(this.k, pfn, 0));
    body();
    this.run(this.k.fn.removeMigrationPtes(this.k, pfn, pfn, false));
    unlockPage(this.k, pfn);
    this.k.fn.putPage(this.k, pfn);
  }
}

const oneMove = (a: number, from: number, to: number): string[] => [
  `S(CLEAR,${span(a)})`,
  `PT-(${a.toString(16)})`,
  `F(${span(a)},12)`,
  `CPU(${span(a)})`,
  `PC(${span(a)})`,
  `PT+(${a.toString(16)})`,
  `U(${from})`,
  `E(${span(a)})`,
  `M(${to})`,
  `PT+(${a.toString(16)})`,
  `FREE(${from})`,
];

describe('move_pages', () => {
  it('moves anonymous pages one after the other, each old one freed before the next section', () => {
    const w = new MigrateWorld();
    const vma = w.vma(A, A + 4 * PAGE);
    const old = w.anonRange(vma, A, 2);
    w.k.memory.bytes[old[1]! * PAGE + 7] = 42;
    w.record();
    expect(w.move([A, A + PAGE], 1)).toEqual({ result: 0, status: [1, 1] });
    const now = [w.pfn(A), w.pfn(A + PAGE)];
    expect(w.log).toEqual([...oneMove(A, old[0]!, now[0]!), ...oneMove(A + PAGE, old[1]!, now[1]!)]);
    expect(now.map((pfn) => pageToNid(w.k, pfn))).toEqual([1, 1]);
    expect(w.k.memory.bytes[now[1]! * PAGE + 7]).toBe(42);
    expect(w.lo(A) & (PTE_P | RW)).toBe(PTE_P | RW);
    checkWorld(w.k);
  });

  it('leaves pages alone that are there already, tells holes by their status, and goes on', () => {
    const w = new MigrateWorld();
    const vma = w.vma(A, A + 4 * PAGE);
    w.anonRange(vma, A, 1);
    w.anon(vma, A + 2 * PAGE);
    w.record();
    expect(w.move([A, A + PAGE, A + 2 * PAGE, A + 8 * PAGE], 1)).toEqual({
      result: 0,
      status: [1, -EFAULT, 1, -EFAULT],
    });
    w.log = [];
    expect(w.move([A, A + 2 * PAGE], 1)).toEqual({ result: 0, status: [1, 1] });
    expect(w.log).toEqual([]);
    const status = new Int32Array(3);
    w.run(doPagesStat(w.k, w.mm, [A, A + PAGE, A + 2 * PAGE], status));
    expect([...status]).toEqual([1, -EFAULT, 1]);
    checkWorld(w.k);
  });

  it('moves a shared page of two address spaces only with MPOL_MF_MOVE_ALL, section after section', () => {
    const w = new MigrateWorld();
    const inode = w.k.newInode('shmem', '/dev/zero (deleted)', 4 * PAGE);
    const vma = w.vma(A, A + PAGE, SHARED_RW, inode);
    const second = w.vma(A + 8 * PAGE, A + 9 * PAGE, SHARED_RW, inode);
    const old = w.file(vma, A, RW);
    w.file(second, A + 8 * PAGE, PTE_A);
    w.record();
    expect(w.move([A], 1)).toEqual({ result: 0, status: [-EACCES] });
    expect(w.log).toEqual([]);
    expect(w.move([A], 1, true)).toEqual({ result: 0, status: [1] });
    const now = w.pfn(A);
    expect(w.moments).toEqual([
      `S(CLEAR,${span(A)})`,
      `F(${span(A)},12)`,
      `CPU(${span(A)})`,
      `PC(${span(A)})`,
      `U(${old})`,
      `E(${span(A)})`,
      `S(CLEAR,${span(A + 8 * PAGE)})`,
      `F(${span(A + 8 * PAGE)},12)`,
      `CPU(${span(A + 8 * PAGE)})`,
      `PC(${span(A + 8 * PAGE)})`,
      `U(${old})`,
      `E(${span(A + 8 * PAGE)})`,
      `M(${now})`,
      `M(${now})`,
      `FREE(${old})`,
    ]);
    expect([...inode.mapping.pages]).toEqual([[0, now]]);
    expect(w.lo(A + 8 * PAGE) & PTE_D).toBe(0);
    checkWorld(w.k);
  });

  it('leaves a pinned page where it is and counts it', () => {
    const w = new MigrateWorld();
    const vma = w.vma(A, A + 2 * PAGE);
    const [pfn] = w.anonRange(vma, A, 1);
    w.k.pages.refcount[pfn!]! += 1024;
    w.record();
    expect(w.move([A], 1).result).toBe(1);
    expect(w.pfn(A)).toBe(pfn);
    // Tried ten times; the entry comes back each time.
    expect(w.log.filter((l) => l.startsWith('S('))).toHaveLength(10);
    w.k.pages.refcount[pfn!]! -= 1024;
    checkWorld(w.k);
  });

  it('of a page in the swap cache the slot goes along', () => {
    const w = new HandMadeSwap();
    const vma = w.vma(A, A + PAGE);
    const pfn = w.anon(vma, A);
    expect(tryLockPage(w.k, pfn)).toBe(true);
    expect(w.k.fn.addToSwap(w.k, pfn)).toBe(true);
    unlockPage(w.k, pfn);
    const slot = w.k.pages.private[pfn]!;
    expect(w.move([A], 1)).toEqual({ result: 0, status: [1] });
    expect(w.k.swap.cached(slot)).toBe(w.pfn(A));
    checkWorld(w.k);
  });
});

class HandMadeSwap extends MigrateWorld {
  constructor() {
    super();
    const world = new HandMade({ numaNodes: 2, swapPages: 16 });
    Object.assign(this, { k: world.k, mm: world.mm });
  }
}

describe('a page on its way', () => {
  const types = (w: MigrateWorld, a: number): [boolean, number] => [isMigration(w.hi(a)), swapType(w.hi(a))];

  it('is remembered as writable, exclusive or shared, young and dirty', () => {
    const w = new MigrateWorld();
    const vma = w.vma(A, A + 4 * PAGE);
    for (const [bits, type] of [
      [RW, SWP_MIGRATION_WRITE],
      [PTE_A, SWP_MIGRATION_READ_EXCLUSIVE],
      [PTE_D | PTE_SOFT_DIRTY, SWP_MIGRATION_READ_EXCLUSIVE],
      [0, SWP_MIGRATION_READ_EXCLUSIVE],
    ] as const) {
      const pfn = w.anon(vma, A, bits);
      const before = w.lo(A);
      w.underMigration(pfn, () => {
        expect(types(w, A)).toEqual([true, type]);
        expect(swapPfn(w.lo(A))).toBe(pfn);
        expect([...w.mm.rss]).toEqual([0, 1, 0, 0]);
      });
      // Entries of user memory carry A of the protection: it goes when the page was not young.
      expect(w.lo(A)).toBe(before | PTE_US);
      w.run(w.k.fn.zapPageRangeSingle(w.k, vma, A, A + PAGE, true));
    }
    checkWorld(w.k);
  });

  it('loses the right to write under mprotect and fork', () => {
    const w = new MigrateWorld();
    const vma = w.vma(A, A + PAGE);
    const pfn = w.anon(vma, A);
    w.underMigration(pfn, () => {
      const tlb = w.k.fn.tlbGatherMmu(w.k, w.mm, false, 0);
      vma.flags &= ~2;
      setPageProt(vma);
      w.run(w.k.fn.changeProtection(w.k, tlb, vma, A, A + PAGE, 0));
      w.run(w.k.fn.tlbFinishMmu(w.k, tlb));
      expect(types(w, A)).toEqual([true, SWP_MIGRATION_READ_EXCLUSIVE]);
    });
    expect(w.lo(A) & (PTE_P | PTE_RW)).toBe(PTE_P);
    checkWorld(w.k);
    const child = w.k.newMm()!;
    w.underMigration(pfn, () => {
      const copy = Object.assign(Object.create(Object.getPrototypeOf(vma)), vma, {
        mm: child,
        chain: [],
        anonVma: null,
      });
      child.vmas.insert(copy);
      child.totalVm++;
      w.run(w.k.fn.anonVmaFork(w.k, copy, vma));
      expect(w.run(w.k.fn.copyPageRange(w.k, copy, vma))).toBe(0);
      expect(types(w, A)).toEqual([true, SWP_MIGRATION_READ]);
      expect([...child.rss]).toEqual([0, 1, 0, 0]);
    });
    expect(w.k.pages.mapcount[pfn]).toBe(2);
    checkWorld(w.k);
  });

  it('is forgotten by a zap, and nobody maps it again', () => {
    const w = new MigrateWorld();
    const vma = w.vma(A, A + PAGE);
    const pfn = w.anon(vma, A);
    w.underMigration(pfn, () => w.run(w.k.fn.zapPageRangeSingle(w.k, vma, A, A + PAGE, true)));
    expect([w.lo(A), [...w.mm.rss], w.k.pages.refcount[pfn]]).toEqual([0, [0, 0, 0, 0], 0]);
    checkWorld(w.k);
  });

  it('keeps a fault waiting until it has arrived', () => {
    const w = new MigrateWorld();
    const vma = w.vma(A, A + PAGE, VM_READ | 2);
    const pfn = w.anon(vma, A);
    const { k } = w;
    const order: string[] = [];
    k.sched.points = true;
    const mover = k.sched.spawn('mover', 'cpu', moving(k, pfn, order));
    const toucher = k.sched.spawn('toucher', 'cpu', touching(w, order));
    for (let i = 0; i < 400 && (mover.state !== DONE || toucher.state !== DONE); i++) k.sched.step();
    k.sched.points = false;
    expect(order).toEqual(['entries stand', 'entries gone', 'touched']);
    checkWorld(k);
  });
});

function* moving(k: Kernel, pfn: number, order: string[]) {
  getPage(k, pfn);
  tryLockPage(k, pfn);
  yield* k.fn.tryToMigrate(k, pfn, 0);
  order.push('entries stand');
  for (let i = 0; i < 50; i++) yield P_SYSCALL;
  yield* k.fn.removeMigrationPtes(k, pfn, pfn, false);
  order.push('entries gone');
  unlockPage(k, pfn);
  k.fn.putPage(k, pfn);
}

function* touching(w: MigrateWorld, order: string[]) {
  while (order.length === 0) yield P_SYSCALL;
  expect(yield* w.k.fn.doUserAddrFault(w.k, w.mm, A, FAULT_FLAG_USER | FAULT_FLAG_WRITE)).toBe(0);
  while ((w.lo(A) & PTE_P) === 0) yield* w.k.fn.doUserAddrFault(w.k, w.mm, A, FAULT_FLAG_USER | FAULT_FLAG_WRITE);
  order.push('touched');
}

it('a file page that is not mapped is not found by its address', () => {
  const w = new MigrateWorld();
  const inode = w.k.newInode('regular', '/f', 4 * PAGE);
  const vma = w.vma(A, A + 2 * PAGE, SHARED_RW, inode);
  w.file(vma, A);
  expect(w.move([A, A + PAGE], 1)).toEqual({ result: 0, status: [1, -ENOENT] });
  checkWorld(w.k);
});

describe('a broken frame', () => {
  const S = span(A + PAGE);

  it('leaves an entry that answers SIGBUS, and is kept from everybody', () => {
    const w = new MigrateWorld(1);
    const vma = w.vma(A, A + 4 * PAGE);
    const pages = w.anonRange(vma, A, 4);
    w.record();
    expect(w.run(madviseInjectError(w.k, w.mm, A + PAGE, A + 2 * PAGE, MADV_HWPOISON))).toBe(0);
    expect(w.log).toEqual([
      `S(CLEAR,${S})`,
      `PT-(${(A + PAGE).toString(16)})`,
      `F(${S},12)`,
      `CPU(${S})`,
      `PC(${S})`,
      `PT+(${(A + PAGE).toString(16)})`,
      `U(${pages[1]})`,
      `E(${S})`,
    ]);
    expect(w.run(w.k.fn.doUserAddrFault(w.k, w.mm, A + PAGE, FAULT_FLAG_USER)) & VM_FAULT_HWPOISON).not.toBe(0);
    expect([...w.mm.rss]).toEqual([0, 3, 0, 0]);
    checkWorld(w.k);
    expect(w.run(madviseInjectError(w.k, w.mm, A + PAGE, A + 2 * PAGE, MADV_HWPOISON))).toBe(-EFAULT);
    w.run(w.k.fn.zapPageRangeSingle(w.k, vma, A, A + 4 * PAGE, true));
    checkWorld(w.k);
  });

  it('moves its contents first when it is only about to break', () => {
    const w = new MigrateWorld(1);
    const vma = w.vma(A, A + 2 * PAGE);
    const [pfn] = w.anonRange(vma, A, 1);
    w.k.memory.bytes[pfn! * PAGE] = 9;
    expect(w.run(madviseInjectError(w.k, w.mm, A, A + PAGE, MADV_SOFT_OFFLINE))).toBe(0);
    expect([w.pfn(A) !== pfn, w.k.memory.bytes[w.pfn(A) * PAGE], w.k.pages.refcount[pfn!]]).toEqual([true, 9, 1]);
    checkWorld(w.k);
    const free = w.k.pages.free;
    expect(w.run(w.k.fn.softOfflinePage(w.k, hold(w, pfn!)))).toBe(0);
    expect(w.k.pages.free).toBe(free);
    checkWorld(w.k);
  });

  it('of a clean file page costs nothing: it is read again', () => {
    const w = new MigrateWorld(1);
    const inode = w.k.newInode('regular', '/f', 4 * PAGE);
    const vma = w.vma(A, A + PAGE, SHARED_RW & ~2, inode);
    const pfn = w.file(vma, A);
    expect(w.run(w.k.fn.memoryFailure(w.k, hold(w, pfn)))).toBe(0);
    expect([w.lo(A), inode.mapping.pages.size]).toEqual([0, 0]);
    expect(w.run(w.k.fn.doUserAddrFault(w.k, w.mm, A, FAULT_FLAG_USER)) & VM_FAULT_HWPOISON).toBe(0);
    expect(w.pfn(A)).not.toBe(pfn);
    checkWorld(w.k);
  });
});

function hold(w: MigrateWorld, pfn: number): number {
  getPage(w.k, pfn);
  return pfn;
}

describe('compaction', () => {
  it.each(['6.1', '6.12'])('leaves one free part at the bottom, with every page as it was (%s)', (version) => {
    const w = new HandMade({ frames: 4096, numaNodes: 2, profile: profile(version) });
    const vma = w.vma(A, A + 4096 * PAGE);
    const pages = w.anonRange(vma, A, 600);
    for (let i = 0; i < 600; i++) w.k.memory.bytes[pages[i]! * PAGE] = i % 251;
    // Every other page goes: holes.
    for (let i = 0; i < 600; i += 2) w.run(w.k.fn.zapPageRangeSingle(w.k, vma, A + i * PAGE, A + (i + 1) * PAGE, true));
    w.run(compactMemory(w.k));
    checkWorld(w.k);
    for (let i = 1; i < 600; i += 2) {
      const pfn = w.lo(A + i * PAGE) >>> 12;
      expect(w.k.memory.bytes[pfn * PAGE]).toBe(i % 251);
      expect(pageToNid(w.k, pfn)).toBe(0);
    }
    // 300 pages went to the block at the top; below there are tables of the process only.
    w.k.nodes[0]!.drain();
    const free = w.k.nodes[0]!.freeFrames();
    const left: number[] = [];
    for (let pfn = w.k.nodes[0]!.first; pfn < 1536; pfn++) if (free[pfn] === 0) left.push(w.k.pages.purpose[pfn]!);
    expect(left).toEqual(left.map(() => FRAME_TABLE));
    expect(left.length).toBeLessThan(8);
  });
});
