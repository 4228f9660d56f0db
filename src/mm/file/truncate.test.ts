// What cutting, growing, punching and zeroing a file announces. Expected callbacks: as seen on Linux 6.1 with ext4.
import { describe, expect, test } from 'vitest';
import { HandMade, SHARED_RW } from '../../../test/support/hand-made.ts';
import { PTE_A, PTE_D, PTE_RW } from '../../abi/pte.ts';
import { PG_DIRTY } from '../page/pages.ts';
import type { Inode, VmArea } from '../types.ts';

const BASE = 0x100000000;
const PAGE = 4096;

/** Eight pages of a regular file of `pages` pages, mapped shared; the first `pages` of them dirty. */
function world(pages: number): { w: HandMade; inode: Inode; vma: VmArea } {
  const w = new HandMade();
  const inode = w.k.newInode('regular', '/file', pages * PAGE);
  const vma = w.vma(BASE, BASE + 8 * PAGE, SHARED_RW, inode);
  for (let i = 0; i < pages; i++) {
    const pfn = w.file(vma, BASE + i * PAGE, PTE_RW | PTE_D | PTE_A);
    w.k.pages.flags[pfn] = w.k.pages.flags[pfn]! | PG_DIRTY;
  }
  w.record();
  return { w, inode, vma };
}

const starts = (w: HandMade): string[] => w.moments.filter((m) => m.startsWith('S('));
const hex = (page: number): string => (BASE + page * PAGE).toString(16);
const clear = (from: number, to: number): string => `S(CLEAR,${hex(from)},${hex(to)})`;

describe('truncate of a regular file', () => {
  test('unmaps what lies beyond the new end twice, whether the file shrinks, stays or grows', () => {
    for (const size of [3, 5, 6]) {
      const { w, inode } = world(5);
      expect(w.run(w.k.fn.truncate(w.k, inode, size * PAGE))).toBe(0);
      expect(inode.size).toBe(size * PAGE);
      expect(starts(w)).toEqual([clear(size, 8), clear(size, 8)]);
    }
  });

  test('a file that grows keeps its pages', () => {
    const { w, inode } = world(5);
    w.run(w.k.fn.truncate(w.k, inode, 6 * PAGE));
    expect([...inode.mapping.pages.keys()]).toEqual([0, 1, 2, 3, 4]);
    expect(w.log.filter((l) => l.startsWith('PT-'))).toEqual([]);
  });
});

describe('holes of a regular file', () => {
  test('nothing is punched beyond the end of the file', () => {
    const { w, inode } = world(5);
    expect(w.run(w.k.fn.punchHole(w.k, inode, 5 * PAGE, 8 * PAGE))).toBe(0);
    expect(w.moments).toEqual([]);
  });

  test('a hole across the end stops behind the page that contains the end', () => {
    const { w, inode } = world(5);
    inode.size = 4 * PAGE + 100;
    w.run(w.k.fn.punchHole(w.k, inode, 4 * PAGE, 8 * PAGE));
    expect(starts(w).filter((m) => m.includes('CLEAR'))).toEqual([clear(4, 5)]);
  });

  test('punching writes the range back first, zeroing does not', () => {
    for (const isPunch of [true, false]) {
      const { w, inode } = world(5);
      w.run(w.k.fn[isPunch ? 'punchHole' : 'zeroRange'](w.k, inode, PAGE, 2 * PAGE));
      const cleaned = `S(PROTECTION_PAGE,${hex(1)},${hex(2)})`;
      expect(starts(w)).toEqual(isPunch ? [cleaned, clear(1, 2)] : [clear(1, 2)]);
      expect(inode.mapping.pages.has(1)).toBe(false);
    }
  });
});

test('fork puts the copy of a file mapping right after its parent, before younger mappings of the same offset', () => {
  const { w, inode, vma } = world(2);
  const younger = w.vma(BASE + 0x100000, BASE + 0x100000 + 8 * PAGE, SHARED_RW, inode);
  const child = w.run(w.k.fn.dupMm(w.k, w.mm))!;
  const copies = [...inode.mapping.iMmap];
  expect(copies.map((v) => [v.mm, v.start])).toEqual([
    [w.mm, vma.start],
    [child, vma.start],
    [w.mm, younger.start],
    [child, younger.start],
  ]);
});

test('a hole inside one page, from its first byte on, leaves zeros there and the rest as it was', () => {
  for (const kind of ['regular', 'shmem'] as const) {
    const w = new HandMade();
    const inode = w.k.newInode(kind, '/file', 2 * PAGE);
    const bytes = new Uint8Array(PAGE).fill(7);
    expect(w.run(w.k.fn.fileWrite(w.k, inode, PAGE, PAGE, bytes))).toBe(PAGE);
    w.run(w.k.fn.punchHole(w.k, inode, PAGE, PAGE + 0x318));
    const out = new Uint8Array(PAGE);
    expect(w.run(w.k.fn.fileRead(w.k, inode, PAGE, PAGE, out))).toBe(PAGE);
    expect([kind, ...out.subarray(0x316, 0x31a), out[0]]).toEqual([kind, 0, 0, 7, 7, 0]);
  }
});
