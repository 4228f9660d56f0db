// NUMA hints: which entries get one, what the fault on one does, and that nothing is lost.
// The rules stand in change_pte_range and do_numa_page of a 6.1 kernel.
import { describe, expect, test } from 'vitest';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../abi/mman.ts';
import { PTE_P, PTE_RW } from '../../abi/pte.ts';
import { NR_fork, NR_mmap, NR_mprotect } from '../../abi/syscalls.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryLo } from '../../hw/pte.ts';
import { checkWorld } from '../check-world.ts';
import { userLoad, userStore } from '../cpu-access.ts';
import { pteOffset, pteTable } from '../fault/page-tables.ts';
import { pmdFrame, pmdTransHuge } from '../huge/pmd.ts';
import { doPagesMove } from '../migrate/move-pages.ts';
import { pageToNid } from '../page/nodes.ts';
import { pteFrame, pteProtnone } from '../page/swapops.ts';
import { MPOL_BIND } from '../policy.ts';
import { mbind } from '../syscalls/mempolicy.ts';
import { World } from '../vma/test-world.ts';
import { numaScan } from './hinting.ts';

const PAGE = 4096;
const AT = 0x10000000;
const RW = PROT_READ | PROT_WRITE;

class HintWorld extends World {
  constructor() {
    super('6.1', { numaNodes: 2, frames: 6000, thpEnabled: 'always' });
  }

  map(pages: number): void {
    this.call(NR_mmap, AT, pages * PAGE, RW, MAP_ANONYMOUS | MAP_FIXED | MAP_PRIVATE, -1, 0);
  }

  store(i: number, byte: number): void {
    expect(this.k.sched.run(userStore(this.k, this.task, AT + i * PAGE, byte))).toBe(0);
  }

  load(i: number): number {
    return this.k.sched.run(userLoad(this.k, this.task, AT + i * PAGE));
  }

  move(pages: number, node: number): void {
    const at = Array.from({ length: pages }, (_, i) => AT + i * PAGE);
    const to = at.map(() => node);
    this.k.sched.run(doPagesMove(this.k, this.task.mm!, at, to, new Int32Array(pages), true));
  }

  scan(pages: number): number {
    this.k.sched.current.owner = this.task;
    return this.k.sched.run(numaScan(this.k, this.task.mm!, AT, AT + pages * PAGE));
  }

  lo(i: number): number {
    return entryLo(this.k.memory, pteOffset(pteTable(this.k, this.task.mm!, AT), AT + i * PAGE));
  }

  node(i: number): number {
    return pageToNid(this.k, pteFrame(this.lo(i)));
  }
}

describe('small pages', () => {
  test('a page elsewhere gets a hint; the next access takes it along, contents and right to write too', () => {
    const w = new HintWorld();
    w.map(3);
    for (let i = 0; i < 3; i++) w.store(i, 10 + i);
    w.move(2, 1);
    // The third is on the node of the only task.
    expect(w.scan(3)).toBe(2);
    expect([0, 1, 2].map((i) => pteProtnone(w.lo(i)))).toEqual([true, true, false]);
    expect(w.lo(0) & (PTE_P | PTE_RW)).toBe(PTE_RW);
    checkWorld(w.k);
    expect(w.scan(3)).toBe(0);
    expect(w.load(0)).toBe(10);
    w.store(1, 20);
    expect([0, 1].map((i) => w.node(i))).toEqual([0, 0]);
    expect([w.load(0), w.load(1), w.load(2)]).toEqual([10, 20, 12]);
    checkWorld(w.k);
  });

  test('the zero page, pages shared copy-on-write, and places with a policy of their own get none', () => {
    const w = new HintWorld();
    w.map(4);
    w.load(0);
    w.store(1, 1);
    w.store(2, 2);
    w.move(3, 1);
    const mask = { isNull: false, isFault: false, nodes: [1], maxNode: 64 };
    w.k.sched.run(mbind(w.k, w.task, AT + 2 * PAGE, PAGE, MPOL_BIND, mask, 0));
    expect(w.scan(4)).toBe(1);
    expect(w.load(1)).toBe(1);
    w.move(2, 1);
    w.call(NR_fork);
    expect(w.scan(4)).toBe(0);
  });

  test('mprotect in between decides what the entry may', () => {
    const w = new HintWorld();
    w.map(1);
    w.store(0, 5);
    w.move(1, 1);
    expect(w.scan(1)).toBe(1);
    w.call(NR_mprotect, AT, PAGE, PROT_READ);
    expect(w.lo(0) & (PTE_P | PTE_RW)).toBe(PTE_P);
    expect(w.load(0)).toBe(5);
    checkWorld(w.k);
  });

  test('a pinned page stays, and has its rights back', () => {
    const w = new HintWorld();
    w.map(1);
    w.store(0, 7);
    w.move(1, 1);
    expect(w.scan(1)).toBe(1);
    const pfn = pteFrame(w.lo(0));
    w.k.pages.refcount[pfn]!++;
    expect(w.load(0)).toBe(7);
    expect([w.node(0), w.lo(0) & (PTE_P | PTE_RW)]).toEqual([1, PTE_P | PTE_RW]);
    w.k.pages.refcount[pfn]!--;
    checkWorld(w.k);
  });
});

test('a huge page goes along as a whole', () => {
  const w = new HintWorld();
  w.map(512);
  for (let i = 0; i < 512; i += 64) w.store(i, i >> 6);
  const pmd = pmdWord(w.k.memory, w.task.mm!.pgd, vpnHi(AT), vpnLo(AT));
  const node = (): number => pageToNid(w.k, pmdFrame(entryLo(w.k.memory, pmd)));
  w.move(1, 1);
  expect(node()).toBe(1);
  expect(w.scan(512)).toBe(512);
  expect(pteProtnone(entryLo(w.k.memory, pmd))).toBe(true);
  checkWorld(w.k);
  w.store(1, 99);
  expect([node(), pmdTransHuge(entryLo(w.k.memory, pmd))]).toEqual([0, true]);
  for (let i = 0; i < 512; i += 64) expect(w.load(i)).toBe(i >> 6);
  expect(w.load(1)).toBe(99);
  checkWorld(w.k);
});
