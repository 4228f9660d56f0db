// The multi-generational LRU: what is evicted, what is spared, what looking around tells, and back to the ordinary lists.
import { describe, expect, it } from 'vitest';
import { HandMade } from '../../../test/support/hand-made.ts';
import { PTE_A, PTE_D, PTE_P, PTE_RW } from '../../abi/pte.ts';
import { checkWorld } from '../check-world.ts';
import { setLruGen } from './mglru.ts';

const G1 = 0x100000000;
const PAGE = 4096;

/** Whether each page from G1 on is mapped. */
function mapped(w: HandMade, count: number): boolean[] {
  return Array.from({ length: count }, (_, i) => (w.lo(G1 + i * PAGE) & PTE_P) !== 0);
}

describe('mglru', () => {
  it('evicts 64 pages, the oldest first, and leaves the rest', () => {
    const w = new HandMade({ swapPages: 512 });
    const vma = w.vma(G1, G1 + 100 * PAGE);
    for (let i = 0; i < 100; i++) w.anon(vma, G1 + i * PAGE, PTE_RW | PTE_D);
    setLruGen(w.k, true);
    checkWorld(w.k);
    expect(w.run(w.k.fn.tryToFreePages(w.k, 32))).toBe(64);
    expect(mapped(w, 100)).toEqual(Array.from({ length: 100 }, (_, i) => i >= 64));
    checkWorld(w.k);
  });

  it('asks about one used page, and spares all that were used around it without asking', () => {
    const w = new HandMade({ swapPages: 512 });
    const vma = w.vma(G1, G1 + 64 * PAGE);
    for (let i = 0; i < 64; i++) w.anon(vma, G1 + i * PAGE, PTE_RW | PTE_D | PTE_A);
    const { lruGen } = w.k.reclaim;
    expect(lruGen).toBe(null);
    setLruGen(w.k, true);
    let asked = 0;
    const { folioReferenced } = w.k.fn;
    w.k.fn.folioReferenced = (...args) => {
      asked++;
      return folioReferenced(...args);
    };
    const pages = Array.from({ length: 64 }, (_, i) => w.lo(G1 + i * PAGE) >>> 12);
    for (const pfn of pages) {
      w.k.fn.lruDel(w.k, pfn);
      w.k.pages.refcount[pfn] = w.k.pages.refcount[pfn]! + 1;
    }
    expect(w.run(w.k.fn.shrinkFolioList(w.k, pages, false, false, null, true))).toBe(0);
    expect(asked).toBe(1);
    for (let i = 0; i < 64; i++) expect(w.lo(G1 + i * PAGE) & PTE_A).toBe(0);
    checkWorld(w.k);
  });

  it('hands every page back when it is switched off', () => {
    const w = new HandMade({ swapPages: 512 });
    const vma = w.vma(G1, G1 + 40 * PAGE);
    for (let i = 0; i < 40; i++) w.anon(vma, G1 + i * PAGE, PTE_RW | PTE_D);
    const before = w.k.reclaim.root.count.reduce((a, b) => a + b, 0);
    setLruGen(w.k, true);
    expect(w.k.reclaim.root.count.reduce((a, b) => a + b, 0)).toBe(0);
    setLruGen(w.k, false);
    expect(w.k.reclaim.root.count.reduce((a, b) => a + b, 0)).toBe(before);
    checkWorld(w.k);
  });
});
