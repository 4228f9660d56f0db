// Huge pages of shared memory by their outcomes: which pages are made huge, what is mapped how, what the counts say, and that every
// byte is where it was.
import { expect, test } from 'vitest';
import {
  MADV_DONTNEED,
  MADV_HUGEPAGE,
  MADV_NOHUGEPAGE,
  MADV_PAGEOUT,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  MM_ANONPAGES,
  MM_SHMEMPAGES,
  PROT_READ,
  PROT_WRITE,
} from '../../abi/mman.ts';
import { NR_fork, NR_ftruncate, NR_madvise, NR_mmap, NR_mremap, NR_munmap } from '../../abi/syscalls.ts';
import { checkWorld } from '../check-world.ts';
import type { KernelConfig } from '../config.ts';
import { userLoad, userStore } from '../cpu-access.ts';
import { mincorePages } from '../syscalls/mincore.ts';
import type { Inode, Task } from '../types.ts';
import { shmemFileSetup } from '../vma/shmem-file.ts';
import { World } from '../vma/test-world.ts';
import { isHugeMapped } from './mapped.ts';
import type { ShmemHuge } from './state.ts';

const BLOCK = 0x200000;
const AT = 0x40000000;
const RW = PROT_READ | PROT_WRITE;
const FD = 50;

class Shmem extends World {
  readonly inode: Inode;

  constructor(setting: ShmemHuge = 'always', blocks = 2, parts: Partial<KernelConfig> = {}) {
    super('6.1', { frames: 8192, swapPages: 4096, shmemHuge: setting, ...parts });
    const file = shmemFileSetup(this.k, this.task.mm!, '/memfd:t', blocks * BLOCK, true)!;
    this.task.files.open.set(FD, file);
    this.inode = file.inode;
  }

  map(at = AT, blocks = 2, flags = MAP_SHARED, offset = 0): void {
    expect(this.call(NR_mmap, at, blocks * BLOCK, RW, MAP_FIXED | flags, FD, offset)).toBe(at);
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

  resident(at: number, pages: number): number {
    const out = new Uint8Array(pages);
    expect(this.k.sched.run(mincorePages(this.k, this.task.mm!, at, out))).toBe(0);
    return out.reduce((sum, x) => sum + x, 0);
  }

  get counts(): number[] {
    const { shmemThps, shmemPmdMapped } = this.k.huge;
    return [shmemThps, shmemPmdMapped, this.task.mm!.rss[MM_SHMEMPAGES]!];
  }
}

test('one store makes and maps a whole block; others map it whole by a load', () => {
  const w = new Shmem();
  w.map();
  w.store(AT + 0x5000, 7);
  expect([w.isHuge(AT), w.resident(AT, 1024), ...w.counts]).toEqual([true, 512, 1, 1, 512]);
  w.map(AT + 8 * BLOCK);
  expect(w.load(AT + 8 * BLOCK + 0x5000)).toBe(7);
  expect([w.isHuge(AT + 8 * BLOCK), ...w.counts]).toEqual([true, 1, 1, 1024]);
  checkWorld(w.k);
  w.call(NR_munmap, AT, 2 * BLOCK);
  w.call(NR_munmap, AT + 8 * BLOCK, 2 * BLOCK);
  expect(w.counts).toEqual([1, 0, 0]);
  checkWorld(w.k);
});

test('the setting decides, a mapping that asks or refuses counts, and so does the size', () => {
  // setting, advice (0: none), file in blocks -> huge? Twin: the table of the kernel's documentation.
  const table: [ShmemHuge, number, number, boolean][] = [
    ['never', 0, 1, false],
    ['never', MADV_HUGEPAGE, 1, false],
    ['always', 0, 0.5, true],
    ['always', MADV_NOHUGEPAGE, 1, false],
    ['within_size', 0, 1, true],
    ['within_size', 0, 0.5, false],
    ['within_size', MADV_HUGEPAGE, 0.5, true],
    ['advise', 0, 1, false],
    ['advise', MADV_HUGEPAGE, 1, true],
    ['deny', MADV_HUGEPAGE, 1, false],
    ['force', 0, 0.5, true],
  ];
  for (const [setting, advice, blocks, isHuge] of table) {
    const w = new Shmem(setting, blocks);
    w.map(AT, 1);
    if (advice !== 0) expect(w.call(NR_madvise, AT, BLOCK, advice)).toBe(0);
    w.store(AT, 1);
    expect([setting, advice, blocks, w.inode.mapping.hugePages]).toEqual([setting, advice, blocks, isHuge ? 1 : 0]);
    checkWorld(w.k);
  }
});

test('a mounted tmpfs goes by its own option, unless huge pages are denied or forced', () => {
  for (const [tmpfs, shm, isHuge] of [
    ['always', 'never', true],
    ['always', 'deny', false],
    ['never', 'always', false],
    ['never', 'force', true],
  ] as const) {
    const w = new Shmem(shm, 1, { tmpfsHuge: tmpfs });
    w.inode.mount = 'tmpfs';
    w.map(AT, 1);
    w.store(AT, 1);
    expect([tmpfs, shm, w.inode.mapping.hugePages]).toEqual([tmpfs, shm, isHuge ? 1 : 0]);
  }
});

test('where huge pages are allowed a new mapping lies as the pages of its file do', () => {
  for (const setting of ['never', 'advise', 'always'] as const) {
    const w = new Shmem(setting, 3);
    const small = w.call(NR_mmap, 0, 0x5000, RW, MAP_SHARED, FD, 0);
    for (const offset of [0, 0x7000]) {
      const at = w.call(NR_mmap, 0, 2 * BLOCK, RW, MAP_SHARED, FD, offset);
      // Without them: right below what is there.
      const isAligned = (at - offset) % BLOCK === 0;
      expect([setting, offset, isAligned]).toEqual([setting, offset, setting !== 'never']);
      if (setting === 'never') expect(at).toBeLessThan(small);
    }
  }
});

test('a block with something in it, or no free block of frames: small pages', () => {
  const w = new Shmem('never', 1);
  w.map(AT, 1);
  w.store(AT + 0x3000, 1);
  w.k.huge.shmemEnabled = 'always';
  w.store(AT + 0x8000, 1);
  expect([w.inode.mapping.hugePages, w.inode.mapping.pages.size]).toEqual([0, 2]);
  const poor = new Shmem('always', 1, { frames: 500 });
  poor.map(AT, 1);
  poor.store(AT, 1);
  expect([poor.inode.mapping.hugePages, poor.inode.mapping.pages.size]).toEqual([0, 1]);
});

test('off its alignment a huge page is mapped by small entries', () => {
  const w = new Shmem();
  w.map(AT + 0x1000);
  w.store(AT + 0x1000, 5);
  expect([w.isHuge(AT + 0x1000), ...w.counts]).toEqual([false, 1, 0, 1]);
  expect(w.load(AT + 0x4000)).toBe(0);
  checkWorld(w.k);
});

test('a private mapping reads the huge page whole and writes small copies', () => {
  const w = new Shmem();
  w.map(AT);
  w.store(AT, 1);
  w.store(AT + 0x1000, 2);
  w.map(AT + 8 * BLOCK, 1, MAP_PRIVATE);
  expect(w.load(AT + 8 * BLOCK)).toBe(1);
  expect(w.isHuge(AT + 8 * BLOCK)).toBe(true);
  w.store(AT + 8 * BLOCK + 0x1000, 9);
  expect([w.isHuge(AT + 8 * BLOCK), w.isHuge(AT), w.task.mm!.rss[MM_ANONPAGES]]).toEqual([false, true, 1]);
  expect([w.load(AT + 0x1000), w.load(AT + 8 * BLOCK + 0x1000), w.load(AT + 8 * BLOCK)]).toEqual([2, 9, 1]);
  checkWorld(w.k);
});

test('a fork copies no entry of the file; parts that are dropped clear the whole entry, which comes back', () => {
  const w = new Shmem();
  w.map();
  w.store(AT + 0x2000, 3);
  const child = w.k.tasks.get(w.call(NR_fork))!;
  expect([w.isHuge(AT), w.isHuge(AT, child)]).toEqual([true, false]);
  expect(w.load(AT + 0x2000, child)).toBe(3);
  expect(w.isHuge(AT, child)).toBe(true);
  expect(w.call(NR_madvise, AT, 0x1000, MADV_DONTNEED)).toBe(0);
  expect([w.isHuge(AT), ...w.counts]).toEqual([false, 1, 1, 0]);
  expect(w.load(AT + 0x2000)).toBe(3);
  expect(w.isHuge(AT)).toBe(true);
  checkWorld(w.k);
});

test('mremap moves the entry whole to an aligned place; elsewhere faults map it again', () => {
  const w = new Shmem();
  w.map();
  w.store(AT + 0x3000, 9);
  const aligned = AT + 8 * BLOCK;
  expect(w.call(NR_mremap, AT, 2 * BLOCK, 2 * BLOCK, 3, aligned)).toBe(aligned);
  expect([w.isHuge(aligned), w.load(aligned + 0x3000)]).toEqual([true, 9]);
  const odd = AT + 16 * BLOCK + 0x1000;
  expect(w.call(NR_mremap, aligned, 2 * BLOCK, 2 * BLOCK, 3, odd)).toBe(odd);
  expect([w.counts[1], w.counts[2]]).toEqual([0, 0]);
  expect([w.load(odd + 0x3000), w.isHuge(odd)]).toEqual([9, false]);
  checkWorld(w.k);
});

test('a cut through a huge page splits it: the part beyond the end is free, the rest keeps its bytes', () => {
  const w = new Shmem('always', 1);
  w.map(AT, 1);
  for (let i = 0; i < 512; i++) w.store(AT + i * 4096 + 9, i & 255);
  const free = w.k.pages.free;
  expect(w.call(NR_ftruncate, FD, 100 * 4096 + 10)).toBe(0);
  expect([w.inode.mapping.hugePages, w.inode.mapping.pages.size, w.k.pages.free - free]).toEqual([0, 101, 411]);
  checkWorld(w.k);
  expect(w.call(NR_ftruncate, FD, BLOCK)).toBe(0);
  for (let i = 0; i < 512; i++) expect(w.load(AT + i * 4096 + 9)).toBe(i <= 100 ? i & 255 : 0);
  checkWorld(w.k);
});

test('what only a load made writable is not lost when memory is taken back', () => {
  const w = new Shmem('always', 1);
  w.map(AT, 1);
  expect(w.load(AT)).toBe(0);
  w.store(AT + 0x7000, 5);
  w.call(NR_munmap, AT, BLOCK);
  w.map(AT, 1);
  w.k.huge.shmemEnabled = 'never';
  expect(w.load(AT + 0x7000)).toBe(5);
  expect(w.call(NR_madvise, AT, BLOCK, MADV_PAGEOUT)).toBe(0);
  expect([w.inode.mapping.hugePages, w.inode.mapping.pages.size, w.inode.mapping.swapped.size]).toEqual([0, 0, 512]);
  checkWorld(w.k);
  expect(w.load(AT + 0x7000)).toBe(5);
  checkWorld(w.k);
});
