// checkWorld notices: a world in use, one number of it changed at a time, by hand.
import { expect, it } from 'vitest';
import { PTE_P, PTE_RW } from '../src/abi/pte.ts';
import { checkWorld } from '../src/mm/check-world.ts';
import {
  PG_ANON,
  PG_ANON_EXCLUSIVE,
  PG_BUDDY,
  PG_HUGETLB,
  PG_KSM,
  PG_LRU,
  PG_SWAPCACHE,
  PG_TABLE,
} from '../src/mm/page/pages.ts';
import { RandomMemory } from './support/random-memory.ts';

const seed = Number(process.env['SEED'] ?? 3);

function usedWorld(): RandomMemory {
  const w = new RandomMemory(seed, { numaNodes: 2 });
  for (let i = 0; i < 200; i++) w.step();
  return w;
}

const w = usedWorld();
const { pages, memory } = w.k;

/** The frame for which `is` is true. */
function frame(is: (pfn: number, flags: number) => boolean): number {
  for (let pfn = 1; pfn < pages.count; pfn++) if (is(pfn, pages.flags[pfn]!)) return pfn;
  throw new Error('no such frame: choose another seed');
}

const mapped = frame((pfn, f) => pages.mapcount[pfn] === 1 && (f & (PG_ANON | PG_LRU)) === (PG_ANON | PG_LRU));
const exclusive = frame((pfn, f) => pages.mapcount[pfn] === 1 && (f & PG_ANON_EXCLUSIVE) !== 0 && isWritable(pfn));
const table = frame((_pfn, f) => (f & PG_TABLE) !== 0);
const block = frame((_pfn, f) => f === PG_BUDDY);
const listed = frame((pfn, f) => (f & PG_LRU) !== 0 && pages.next[pfn] !== 0 && pages.prev[pfn] !== 0);
const swapped = frame((_pfn, f) => (f & PG_SWAPCACHE) !== 0);

/** Does an entry let the CPU write to the page? */
function isWritable(pfn: number): boolean {
  for (let t = 1; t < pages.count; t++) {
    if ((pages.flags[t]! & PG_TABLE) === 0) continue;
    for (let i = 0; i < 1024; i += 2) {
      const lo = memory.words[t * 1024 + i]!;
      if (lo >>> 12 === pfn && (lo & (PTE_P | PTE_RW)) === (PTE_P | PTE_RW)) return true;
    }
  }
  return false;
}

type Cells = { [index: number]: number };

it.each<[string, Cells, number, (was: number) => number]>([
  ['a reference too many', pages.refcount, mapped, (n) => n + 1],
  ['a reference too few', pages.refcount, mapped, (n) => n - 1],
  ['a reference of a free frame', pages.refcount, block, () => 1],
  ['a table referenced twice', pages.refcount, table, (n) => n + 1],
  ['a mapping too many', pages.mapcount, mapped, (n) => n + 1],
  ['a mapping too few', pages.mapcount, mapped, (n) => n - 1],
  ['a mapping of a free frame', pages.mapcount, block, () => 1],
  ['a mapping of a free frame by a huge entry', pages.compoundMapcount, block + 1, () => 1],
  ['a mapping by a huge entry', pages.compoundMapcount, mapped, () => 1],
  ['a page at another offset', pages.index, mapped, (n) => n + 7],
  ['a page that is not exclusive', pages.flags, exclusive, (f) => f & ~PG_ANON_EXCLUSIVE],
  ['a page on no list', pages.flags, mapped, (f) => f & ~PG_LRU],
  ['a table on a list', pages.flags, table, (f) => f | PG_LRU],
  ['a table without its flag', pages.flags, table, (f) => f & ~PG_TABLE],
  ['a KSM page without a stable node', pages.flags, mapped, (f) => f | PG_KSM],
  ['a free frame on a list', pages.flags, block + 1, (f) => f | PG_LRU],
  ['a free frame of the pool', pages.flags, block + 1, (f) => f | PG_HUGETLB],
  ['a free frame of the swap cache', pages.flags, block + 1, (f) => f | PG_SWAPCACHE],
  ['a free frame of the stable tree', pages.flags, block + 1, (f) => f | PG_KSM],
  ['a free block without its mark', pages.flags, block, () => 0],
  ['a free block of another order', pages.private, block, (n) => n + 1],
  ['a free list that ends early', pages.next, block, () => mapped],
  ['a list whose links differ', pages.prev, listed, (n) => n + 1],
  ['a list that is cut', pages.next, listed, () => 0],
  ['a page of another swap slot', pages.private, swapped, (n) => n + 1],
  ['a page that left the swap cache', pages.flags, swapped, (f) => f & ~PG_SWAPCACHE],
  ['an entry that nobody knows', memory.words, table * 1024 + 511 * 2, () => (mapped << 12) | PTE_P | 4],
  ['resident pages', w.processes[0]!.task.mm!.rss, 1, (n) => n + 1],
])('%s', (_name, cells, at, change) => {
  checkWorld(w.k);
  const was = cells[at]!;
  cells[at] = change(was);
  expect(cells[at]).not.toBe(was);
  try {
    expect(() => checkWorld(w.k)).toThrow();
  } finally {
    cells[at] = was;
  }
  checkWorld(w.k);
});

it.each<[string, () => () => void]>([
  [
    'pages of VMAs',
    () => {
      const mm = w.processes[0]!.task.mm!;
      mm.totalVm++;
      return () => mm.totalVm--;
    },
  ],
  [
    'an anon_vma without one of its VMAs',
    () => {
      const vma = anonVmaOwner();
      const { chains } = vma.anonVma!;
      const gone = chains.pop()!;
      return () => chains.push(gone);
    },
  ],
  [
    'a VMA without its chain',
    () => {
      const vma = anonVmaOwner();
      const gone = vma.chain.pop()!;
      return () => vma.chain.push(gone);
    },
  ],
  [
    'a swap slot with one entry more',
    () => {
      const slot = w.k.swap.nextUsed(1);
      w.k.swap.duplicate(slot);
      return () => w.k.swap.release(slot);
    },
  ],
  [
    'the number of free frames',
    () => {
      pages.free++;
      return () => pages.free--;
    },
  ],
])('%s', (_name, change) => {
  const restore = change();
  try {
    expect(() => checkWorld(w.k)).toThrow();
  } finally {
    restore();
  }
  checkWorld(w.k);
});

function anonVmaOwner() {
  for (const p of w.processes) {
    const { vmas } = p.task.mm!;
    for (let v = vmas.first(); v !== null; v = vmas.next(v)) if (v.anonVma !== null) return v;
  }
  throw new Error('no anonymous memory');
}
