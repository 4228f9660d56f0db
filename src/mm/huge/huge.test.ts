// Huge pages by their outcomes: what is mapped how, what the counts say, and that every byte is where it was.
import { expect, test } from 'vitest';
import {
  MADV_COLLAPSE,
  MADV_DONTNEED,
  MADV_HUGEPAGE,
  MADV_HWPOISON,
  MADV_PAGEOUT,
  MADV_SOFT_OFFLINE,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MM_ANONPAGES,
  MM_SWAPENTS,
  PROT_READ,
  PROT_WRITE,
} from '../../abi/mman.ts';
import { NR_fork, NR_madvise, NR_mmap, NR_mremap, NR_munmap } from '../../abi/syscalls.ts';
import { checkWorld } from '../check-world.ts';
import { userLoad, userStore } from '../cpu-access.ts';
import type { Task } from '../types.ts';
import { World } from '../vma/test-world.ts';
import { deposit, depositsOf, withdraw } from './deposit.ts';
import { khugepagedScan } from './khugepaged.ts';
import { isHugeMapped } from './mapped.ts';

const BLOCK = 0x200000;
const AT = 0x40000000;
const RW = PROT_READ | PROT_WRITE;

class Huge extends World {
  constructor(blocks = 1, advise = true) {
    super('6.1', { frames: 8192, swapPages: 4096 });
    this.call(NR_mmap, AT, blocks * BLOCK, RW, MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    if (advise) this.call(NR_madvise, AT, blocks * BLOCK, MADV_HUGEPAGE);
  }

  store(at: number, byte: number, task: Task = this.task): void {
    expect(this.k.sched.run(userStore(this.k, task, at, byte))).toBe(0);
  }

  load(at: number, task: Task = this.task): number {
    return this.k.sched.run(userLoad(this.k, task, at));
  }

  isHuge(at: number, task: Task = this.task): boolean {
    return isHugeMapped(this.k, task.mm!.vmas.find(at)!, at);
  }

  get rss(): number {
    return this.task.mm!.rss[MM_ANONPAGES]!;
  }
}

test('a write maps a whole block, a read the huge zero page; only the first counts', () => {
  const w = new Huge(2);
  const before = w.rss;
  w.store(AT + 0x5000, 7);
  expect([w.isHuge(AT), w.rss - before, w.load(AT + 0x5000), w.load(AT + 0x6000)]).toEqual([true, 512, 7, 0]);
  expect(w.load(AT + BLOCK)).toBe(0);
  expect([w.isHuge(AT + BLOCK), w.rss - before]).toEqual([true, 512]);
  checkWorld(w.k);
});

test('without the advice, and where the block does not fit, pages are small', () => {
  const w = new Huge(1, false);
  w.store(AT, 1);
  expect([w.isHuge(AT), w.rss]).toEqual([false, 1]);
});

test('a part that goes splits the mapping; the page is freed when its last part goes', () => {
  const w = new Huge();
  for (let i = 0; i < 512; i++) w.store(AT + i * 4096, i & 255);
  const free = w.k.pages.free;
  expect(w.call(NR_madvise, AT + 0x1000, 0x2000, MADV_DONTNEED)).toBe(0);
  expect([w.isHuge(AT), w.k.pages.free - free, w.k.huge.splitQueue.size]).toEqual([false, 0, 1]);
  expect([w.load(AT + 0x1000), w.load(AT + 0x3000)]).toEqual([0, 3]);
  checkWorld(w.k);
  expect(w.call(NR_munmap, AT, BLOCK)).toBe(0);
  expect(w.k.huge.splitQueue.size).toBe(0);
  checkWorld(w.k);
});

test('reclaim gets the unmapped part of a huge page back', () => {
  const w = new Huge();
  for (let i = 0; i < 512; i++) w.store(AT + i * 4096, i & 255);
  w.call(NR_madvise, AT, BLOCK / 2, MADV_DONTNEED);
  const free = w.k.pages.free;
  expect(w.k.sched.run(w.k.fn.deferredSplitScan(w.k, 8))).toBe(1);
  expect(w.k.pages.free - free).toBe(256);
  for (let i = 256; i < 512; i++) expect(w.load(AT + i * 4096)).toBe(i & 255);
  checkWorld(w.k);
});

test('fork shares the page whole; a write copies one part of it, and both sides keep their contents', () => {
  const w = new Huge();
  w.store(AT, 1);
  w.store(AT + 0x1000, 2);
  const child = w.k.tasks.get(w.call(NR_fork))!;
  expect([w.isHuge(AT), w.isHuge(AT, child)]).toEqual([true, true]);
  w.store(AT + 0x1000, 3);
  expect([w.isHuge(AT), w.isHuge(AT, child)]).toEqual([false, true]);
  expect([w.load(AT + 0x1000), w.load(AT + 0x1000, child), w.load(AT), w.load(AT, child)]).toEqual([3, 2, 1, 1]);
  checkWorld(w.k);
});

test('mremap moves the entry whole to an aligned place, in parts to any other', () => {
  const w = new Huge();
  w.store(AT + 0x3000, 9);
  const aligned = AT + 8 * BLOCK;
  expect(w.call(NR_mremap, AT, BLOCK, BLOCK, 3, aligned)).toBe(aligned);
  expect([w.isHuge(aligned), w.load(aligned + 0x3000)]).toEqual([true, 9]);
  const odd = AT + 16 * BLOCK + 0x1000;
  expect(w.call(NR_mremap, aligned, BLOCK, BLOCK, 3, odd)).toBe(odd);
  expect([w.isHuge(odd), w.load(odd + 0x3000)]).toEqual([false, 9]);
  checkWorld(w.k);
});

test('MADV_COLLAPSE gathers what is there and zeros; khugepaged does it by itself', () => {
  for (const isAsked of [true, false]) {
    const w = new Huge(1, false);
    for (let i = 0; i < 40; i++) w.store(AT + i * 3 * 4096, i + 1);
    w.call(NR_madvise, AT, BLOCK, MADV_HUGEPAGE);
    if (isAsked) expect(w.call(NR_madvise, AT, BLOCK, MADV_COLLAPSE)).toBe(0);
    else expect(w.k.sched.run(khugepagedScan(w.k))).toBe(1);
    expect([w.isHuge(AT), w.rss]).toEqual([true, 512]);
    for (let i = 0; i < 40; i++) expect(w.load(AT + i * 3 * 4096)).toBe(i + 1);
    expect(w.load(AT + 4096)).toBe(0);
    checkWorld(w.k);
  }
});

test('a broken frame, and one that will break: the page is split, the rest of it stays', () => {
  for (const advice of [MADV_HWPOISON, MADV_SOFT_OFFLINE]) {
    const w = new Huge();
    for (let i = 0; i < 8; i++) w.store(AT + i * 4096, i + 1);
    expect(w.call(NR_madvise, AT + 5 * 4096, 4096, advice)).toBe(0);
    expect([w.isHuge(AT), w.rss]).toEqual([false, advice === MADV_HWPOISON ? 511 : 512]);
    for (let i = 0; i < 8; i++) if (i !== 5 || advice === MADV_SOFT_OFFLINE) expect(w.load(AT + i * 4096)).toBe(i + 1);
    checkWorld(w.k);
  }
});

test('swapped out whole, read back in small pages', () => {
  const w = new Huge();
  for (let i = 0; i < 512; i++) w.store(AT + i * 4096, i & 255);
  expect(w.call(NR_madvise, AT, BLOCK, MADV_PAGEOUT)).toBe(0);
  expect([w.rss, w.task.mm!.rss[MM_SWAPENTS]]).toEqual([0, 512]);
  checkWorld(w.k);
  for (let i = 0; i < 512; i += 7) expect(w.load(AT + i * 4096)).toBe(i & 255);
  checkWorld(w.k);
});

test('deposited tables come back the last one first, then in a ring', () => {
  const w = new World();
  const [pmd, a, b, c] = [100, 101, 102, 103];
  w.k.pages.private[pmd] = 0;
  for (const table of [a, b, c]) deposit(w.k, w.task.mm!, pmd, table);
  expect(depositsOf(w.k, pmd)).toEqual([c, a, b]);
  expect([withdraw(w.k, pmd), withdraw(w.k, pmd), withdraw(w.k, pmd)]).toEqual([c, a, b]);
  expect(depositsOf(w.k, pmd)).toEqual([]);
});
