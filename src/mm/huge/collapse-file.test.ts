// Collapse of shared memory and khugepaged's rounds: outcomes, contents, the order of sections, flushes and frees, and what is left when
// a block does not let itself be collapsed.
import { describe, expect, it } from 'vitest';
import { recordInto } from '../../../test/support/hand-made.ts';
import { EAGAIN, EINVAL } from '../../abi/errno.ts';
import {
  MADV_COLLAPSE,
  MADV_HUGEPAGE,
  MADV_NOHUGEPAGE,
  MADV_PAGEOUT,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  MM_SHMEMPAGES,
  PROT_READ,
  PROT_WRITE,
} from '../../abi/mman.ts';
import { NR_exit, NR_fork, NR_madvise, NR_mmap, NR_prctl } from '../../abi/syscalls.ts';
import { checkWorld } from '../check-world.ts';
import { userLoad, userStore } from '../cpu-access.ts';
import { pteTable } from '../fault/page-tables.ts';
import { PR_GET_THP_DISABLE, PR_SET_THP_DISABLE } from '../syscalls/prctl.ts';
import type { Inode, Task } from '../types.ts';
import { openInode, shmemFileSetup } from '../vma/shmem-file.ts';
import { World } from '../vma/test-world.ts';
import { khugepagedScan } from './khugepaged.ts';
import { isHugeMapped } from './mapped.ts';
import type { ShmemHuge } from './state.ts';

const BLOCK = 0x200000;
const AT = 0x40000000;
const OTHER = AT + 16 * BLOCK;
const RW = PROT_READ | PROT_WRITE;
const FD = 50;

class Collapse extends World {
  readonly inode: Inode;

  /** Two mappings of a file of one block, with a byte in every 37th page of the first. */
  constructor(setting: ShmemHuge = 'never', flags = MAP_SHARED) {
    super('6.1', { frames: 8192, swapPages: 4096, shmemHuge: setting === 'always' ? 'never' : setting });
    const file = shmemFileSetup(this.k, this.task.mm!, '/memfd:t', BLOCK, true)!;
    this.task.files.open.set(FD, file);
    this.inode = file.inode;
    expect(this.call(NR_mmap, AT, BLOCK, RW, MAP_FIXED | MAP_SHARED, FD, 0)).toBe(AT);
    expect(this.call(NR_mmap, OTHER, BLOCK, RW, MAP_FIXED | flags, FD, 0)).toBe(OTHER);
    for (let i = 0; i < 512; i += 37) this.store(AT + i * 4096, i & 255);
    this.k.huge.shmemEnabled = setting;
  }

  store(at: number, byte: number): void {
    expect(this.k.sched.run(userStore(this.k, this.task, at, byte))).toBe(0);
  }

  load(at: number): number {
    return this.k.sched.run(userLoad(this.k, this.task, at));
  }

  isHuge(at: number, task: Task = this.task): boolean {
    return isHugeMapped(this.k, task.mm!.vmas.find(at)!, at);
  }

  /** Every byte is where it was. */
  checkContents(at = AT): void {
    for (let i = 0; i < 512; i++) expect([i, this.load(at + i * 4096)]).toEqual([i, i % 37 === 0 ? i & 255 : 0]);
  }

  scan(pages = 4096): number {
    return this.k.sched.run(khugepagedScan(this.k, pages));
  }

  collapse(at = AT): number {
    return this.call(NR_madvise, at, BLOCK, MADV_COLLAPSE);
  }
}

describe('MADV_COLLAPSE of shared memory', () => {
  it('gathers what is there, holes and swapped pages, and maps the page whole where it was asked for', () => {
    for (const isSwapped of [false, true]) {
      const w = new Collapse();
      if (isSwapped) w.call(NR_madvise, AT, BLOCK, MADV_PAGEOUT);
      expect(w.inode.mapping.swapped.size).toBe(isSwapped ? 14 : 0);
      expect(w.collapse()).toBe(0);
      expect([w.isHuge(AT), w.inode.mapping.hugePages, w.inode.mapping.swapped.size]).toEqual([true, 1, 0]);
      w.checkContents();
      checkWorld(w.k);
    }
  });

  it('leaves other mappings their page tables; asked there, it takes the table and maps the page whole', () => {
    const w = new Collapse();
    expect(w.load(OTHER)).toBe(0);
    expect(w.collapse()).toBe(0);
    expect([w.isHuge(OTHER), pteTable(w.k, w.task.mm!, OTHER) !== 0]).toEqual([false, true]);
    w.checkContents(OTHER);
    expect(w.task.mm!.rss[MM_SHMEMPAGES]).toBe(1024);
    checkWorld(w.k);
    expect(w.collapse(OTHER)).toBe(0);
    expect([w.isHuge(OTHER), w.k.huge.shmemPmdMapped]).toEqual([true, 1]);
    w.checkContents(OTHER);
    checkWorld(w.k);
  });

  it('a page that somebody holds ends it: EAGAIN, and the same pages are there as before', () => {
    const w = new Collapse();
    const before = [...w.inode.mapping.pages].sort((a, b) => a[0] - b[0]);
    const pfn = w.k.sched.run(w.k.fn.filemapGetPage(w.k, w.inode.mapping, 370));
    // Found out by the look before the collapse, or (with the look left out) by the count when the page is to be frozen.
    expect(w.collapse()).toBe(-EAGAIN);
    const result = w.k.sched.run(w.k.fn.collapseFile(w.k, w.task.mm!, AT, w.inode.mapping, 0, false));
    expect(result).toBe(14); // SCAN_PAGE_COUNT
    w.k.fn.putPage(w.k, pfn);
    expect([...w.inode.mapping.pages].sort((a, b) => a[0] - b[0])).toEqual(before);
    expect([w.inode.mapping.hugePages, w.isHuge(AT)]).toEqual([0, false]);
    w.checkContents();
    checkWorld(w.k);
    expect(w.collapse()).toBe(0);
    checkWorld(w.k);
  });

  it('a private mapping that was written keeps its table, and hears that it could not be collapsed', () => {
    const w = new Collapse('never', MAP_PRIVATE);
    w.store(OTHER + 0x1000, 9);
    expect(w.collapse(OTHER)).toBe(-EINVAL);
    // The file is collapsed all the same.
    expect([w.inode.mapping.hugePages, w.load(OTHER + 0x1000), w.load(OTHER + 37 * 4096)]).toEqual([1, 9, 37]);
    checkWorld(w.k);
  });

  it('is refused for files on disks, for memory that says no, and where the kernel or the program forbids it', () => {
    const w = new Collapse();
    const disk = w.k.newInode('regular', '/data', BLOCK);
    w.task.files.open.set(51, openInode(disk, true, false));
    const at = OTHER + 8 * BLOCK;
    w.call(NR_mmap, at, BLOCK, PROT_READ, MAP_FIXED | MAP_PRIVATE, 51, 0);
    expect(w.load(at)).toBeGreaterThanOrEqual(0);
    expect(w.collapse(at)).toBe(-EINVAL);
    w.k.huge.shmemEnabled = 'deny';
    expect(w.collapse()).toBe(-EINVAL);
    w.k.huge.shmemEnabled = 'never';
    expect(w.call(NR_prctl, PR_SET_THP_DISABLE, 1)).toBe(0);
    expect([w.call(NR_prctl, PR_GET_THP_DISABLE), w.collapse()]).toEqual([1, -EINVAL]);
    expect([w.call(NR_prctl, PR_SET_THP_DISABLE, 0), w.call(NR_prctl, PR_GET_THP_DISABLE)]).toEqual([0, 0]);
    expect([w.call(NR_prctl, PR_SET_THP_DISABLE, 1, 1), w.call(NR_prctl, PR_GET_THP_DISABLE, 1)]).toEqual([
      -EINVAL,
      -EINVAL,
    ]);
    w.call(NR_madvise, AT, BLOCK, MADV_NOHUGEPAGE);
    expect(w.collapse()).toBe(-EINVAL);
    w.call(NR_madvise, AT, BLOCK, MADV_HUGEPAGE);
    expect(w.collapse()).toBe(0);
  });

  it('a section for each small page, then one around the page table, which is freed right after it', () => {
    const w = new Collapse();
    const table = pteTable(w.k, w.task.mm!, AT);
    const old = [...w.inode.mapping.pages.values()];
    const log: string[] = [];
    recordInto(w.k, w.task.mm!, (line) => log.push(line));
    expect(w.collapse()).toBe(0);
    const at = AT.toString(16);
    const end = (AT + BLOCK).toString(16);
    const isFirst = (l: string): boolean => l === `S(CLEAR,${at},${end})`;
    const block = log.findIndex(isFirst);
    const before = log.slice(0, block);
    for (let i = 0; i < 14; i++) {
      const page = (AT + i * 37 * 4096).toString(16);
      const next = (AT + i * 37 * 4096 + 4096).toString(16);
      const first = before.indexOf(`S(CLEAR,${page},${next})`);
      expect(before[first + 1]).toBe(`PT-(${page})`);
      expect(before.indexOf(`E(${page},${next})`)).toBeGreaterThan(first);
    }
    // Old pages are freed before the table goes: nobody can reach them, as their sections are over.
    expect(before.filter((l) => l.startsWith('FREE'))).toEqual(old.map((pfn) => `FREE(${pfn})`));
    expect(log.slice(block)).toEqual([
      `S(CLEAR,${at},${end})`,
      `PT-1(${at})`,
      `F(${at},${end},12,tables)`,
      'CPU(0,max)',
      `E(${at},${end})`,
      `FREE(${table})`,
      `PT+1(${at})`,
    ]);
  });
});

describe('khugepaged', () => {
  it('collapses shared memory where the mount allows it; the next access maps the page whole', () => {
    const w = new Collapse('always');
    w.k.huge.enabled = 'always';
    expect(w.scan()).toBe(0);
    w.call(NR_madvise, AT, BLOCK, MADV_HUGEPAGE);
    expect(w.scan()).toBeGreaterThan(0);
    expect([w.inode.mapping.hugePages, w.isHuge(AT), pteTable(w.k, w.task.mm!, AT)]).toEqual([1, false, 0]);
    w.checkContents();
    expect(w.isHuge(AT)).toBe(true);
    checkWorld(w.k);
  });

  it('comes again to small entries of a huge page: the table goes', () => {
    const w = new Collapse('always');
    w.k.huge.enabled = 'always';
    expect(w.load(OTHER)).toBe(0);
    expect(w.collapse()).toBe(0);
    expect(w.load(OTHER)).toBe(0);
    expect(pteTable(w.k, w.task.mm!, OTHER)).not.toBe(0);
    w.call(NR_madvise, OTHER, BLOCK, MADV_HUGEPAGE);
    w.scan();
    w.scan();
    expect(pteTable(w.k, w.task.mm!, OTHER)).toBe(0);
    checkWorld(w.k);
    w.checkContents(OTHER);
    expect(w.isHuge(OTHER)).toBe(true);
  });

  it('leaves blocks alone that are too empty or too far in swap', () => {
    for (const [field, value, isOut] of [
      ['maxPtesNone', 511, false],
      ['maxPtesNone', 498, false],
      ['maxPtesNone', 497, false],
      ['maxPtesSwap', 13, true],
      ['maxPtesSwap', 14, true],
    ] as const) {
      const w = new Collapse('always');
      w.k.huge.enabled = 'always';
      w.k.huge[field] = value;
      if (isOut) w.call(NR_madvise, AT, BLOCK, MADV_PAGEOUT);
      w.call(NR_madvise, AT, BLOCK, MADV_HUGEPAGE);
      w.scan();
      // 14 pages of 512 are there: 498 are not. All that is out counts as missing, too.
      const isWanted = field === 'maxPtesNone' ? value >= 498 : false;
      expect([field, value, w.inode.mapping.hugePages]).toEqual([field, value, isWanted ? 1 : 0]);
    }
  });

  it('visits who asked, as the policy says, and whose parents did; who exits is forgotten', () => {
    const w = new World('6.1', { frames: 16384 });
    const { huge } = w.k;
    const blockAt = (i: number): number => AT + i * 4 * BLOCK;
    const flags = MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE;
    huge.enabled = 'madvise';
    w.call(NR_mmap, blockAt(0), BLOCK, RW, flags, -1, 0);
    expect(w.k.sched.run(userStore(w.k, w.task, blockAt(0), 1))).toBe(0);
    expect(huge.slots.size).toBe(0);
    w.call(NR_madvise, blockAt(0), BLOCK, MADV_HUGEPAGE);
    expect([...huge.slots.keys()]).toEqual([w.task.mm]);
    const child = w.k.tasks.get(w.call(NR_fork))!;
    expect([...huge.slots.keys()]).toEqual([w.task.mm, child.mm]);
    // A scan of one entry: the cursor stays at the first address space.
    expect(w.k.sched.run(khugepagedScan(w.k, 1))).toBe(0);
    expect(huge.scanSlot?.mm).toBe(w.task.mm);
    const childMm = child.mm!;
    w.callAs(child, NR_exit, 0);
    expect([...huge.slots.keys()]).toEqual([w.task.mm]);
    expect(w.k.mms.has(childMm.id)).toBe(false);
    checkWorld(w.k);
    // Where the cursor stands the struct stays until khugepaged comes by.
    const mm = w.task.mm!;
    w.call(NR_exit, 0);
    expect([huge.slots.has(mm), w.k.mms.has(mm.id)]).toEqual([true, true]);
    w.k.sched.run(khugepagedScan(w.k));
    expect([huge.slots.size, w.k.mms.size, huge.scanSlot]).toEqual([0, 0, null]);
    checkWorld(w.k);
  });

  it('goes through an address space a given number of entries at a time', () => {
    const w = new World('6.1', { frames: 16384 });
    w.k.huge.enabled = 'madvise';
    w.call(NR_mmap, AT, 4 * BLOCK, RW, MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    for (let i = 0; i < 4; i++) expect(w.k.sched.run(userStore(w.k, w.task, AT + i * BLOCK, i + 1))).toBe(0);
    w.call(NR_madvise, AT, 4 * BLOCK, MADV_HUGEPAGE);
    const huge = (): boolean[] => [0, 1, 2, 3].map((i) => isHugeMapped(w.k, w.task.mm!.vmas.find(AT)!, AT + i * BLOCK));
    expect(w.k.sched.run(khugepagedScan(w.k, 512))).toBe(1);
    expect(huge()).toEqual([true, false, false, false]);
    expect(w.k.sched.run(khugepagedScan(w.k, 1024))).toBe(2);
    expect(huge()).toEqual([true, true, true, false]);
    expect(w.k.sched.run(khugepagedScan(w.k, 4096))).toBe(1);
    for (let i = 0; i < 4; i++) expect(w.k.sched.run(userLoad(w.k, w.task, AT + i * BLOCK))).toBe(i + 1);
    checkWorld(w.k);
  });
});
