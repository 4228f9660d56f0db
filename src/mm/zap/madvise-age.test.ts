// MADV_FREE, MADV_COLD, MADV_PAGEOUT: order of young tests, sections, flushes and frees as recorded, and what pages become.
import { describe, expect, it } from 'vitest';
import { ANON_RW, HandMade, SHARED_RW } from '../../../test/support/hand-made.ts';
import { EINVAL } from '../../abi/errno.ts';
import { VM_LOCKED } from '../../abi/mman.ts';
import { PTE_A, PTE_D, PTE_P, PTE_RW } from '../../abi/pte.ts';
import { checkWorld } from '../check-world.ts';
import { PG_ACTIVE, PG_DIRTY, PG_SWAPBACKED, PG_SWAPCACHE } from '../page/pages.ts';
import { pteFrame } from '../page/swapops.ts';
import { profile } from '../profile.ts';
import { LRU_INACTIVE_ANON, LRU_INACTIVE_FILE } from '../reclaim/state.ts';

const G1 = 0x100000000;
const PAGE = 4096;

describe('MADV_FREE', () => {
  it('one section, old and clean entries, flush after it, nothing freed', () => {
    const w = new HandMade();
    const vma = w.vma(G1, G1 + 8 * PAGE);
    const pages = w.anonRange(vma, G1, 8);
    w.record();
    expect(w.run(w.k.fn.madviseFree(w.k, vma, G1, G1 + 4 * PAGE))).toBe(0);
    expect(w.moments).toEqual([
      'S(CLEAR,100000000,100004000)',
      'E(100000000,100004000)',
      'F(100000000,100004000,12)',
      'R(100000000,100004000)',
    ]);
    expect(w.lo(G1) & (PTE_P | PTE_RW | PTE_A | PTE_D)).toBe(PTE_P | PTE_RW);
    expect(w.lo(G1 + 4 * PAGE) & PTE_D).toBe(PTE_D);
    expect(w.k.pages.flags[pages[0]!]! & PG_SWAPBACKED).toBe(0);
    expect([w.k.reclaim.root.count[LRU_INACTIVE_FILE], w.k.reclaim.root.count[LRU_INACTIVE_ANON]]).toEqual([4, 4]);
    checkWorld(w.k);
  });

  it('drops swapped pages at once and refuses files', () => {
    const w = new HandMade({ swapPages: 16 });
    const vma = w.vma(G1, G1 + 8 * PAGE);
    w.anonRange(vma, G1, 2);
    w.run(w.k.fn.madvisePageout(w.k, vma, vma.start, vma.end));
    expect(w.k.swap.used).toBe(2);
    expect(w.mm.rss[2]).toBe(2);
    w.run(w.k.fn.madviseFree(w.k, vma, vma.start, vma.end));
    expect([w.k.swap.used, w.mm.rss[2], w.lo(G1)]).toEqual([0, 0, 0]);
    const file = w.vma(G1 + 8 * PAGE, G1 + 9 * PAGE, SHARED_RW, w.k.newInode('regular', 'f', PAGE));
    expect(w.run(w.k.fn.madviseFree(w.k, file, file.start, file.end))).toBe(-EINVAL);
    checkWorld(w.k);
  });

  it('lets reclaim discard a clean page without swap, and saves one written again', () => {
    const w = new HandMade();
    const vma = w.vma(G1, G1 + 2 * PAGE);
    w.anonRange(vma, G1, 2);
    w.run(w.k.fn.madviseFree(w.k, vma, vma.start, vma.end));
    w.setEntry(G1, w.lo(G1) | PTE_D, 0); // written after the advice
    const kept = pteFrame(w.lo(G1));
    w.record();
    expect(w.run(w.k.fn.tryToFreePages(w.k, 2))).toBe(1);
    expect(w.moments.filter((l) => !/^(CPU|FREE)/.test(l))).toEqual([
      'Y(100000000)',
      'S(CLEAR,100000000,100001000)',
      'F(100000000,100001000,12)',
      'E(100000000,100001000)',
      'Y(100001000)',
      'S(CLEAR,100001000,100002000)',
      'F(100001000,100002000,12)',
      'PC(100001000,100002000)',
      'E(100001000,100002000)',
    ]);
    expect(w.moments.at(-1)).toMatch(/^FREE/);
    expect(pteFrame(w.lo(G1))).toBe(kept);
    expect(w.k.pages.flags[kept]! & PG_SWAPBACKED).toBe(PG_SWAPBACKED);
    expect(w.lo(G1 + PAGE)).toBe(0);
    checkWorld(w.k);
  });
});

describe('MADV_COLD', () => {
  it('no section; one flush and R of what was young', () => {
    const w = new HandMade();
    const vma = w.vma(G1, G1 + 8 * PAGE);
    const pages = w.anonRange(vma, G1, 4);
    w.k.fn.lruDel(w.k, pages[1]!);
    w.k.pages.flags[pages[1]!] = w.k.pages.flags[pages[1]!]! | PG_ACTIVE;
    w.k.fn.lruAdd(w.k, pages[1]!);
    w.record();
    expect(w.run(w.k.fn.madviseCold(w.k, vma, vma.start, vma.end))).toBe(0);
    expect(w.moments).toEqual(['F(100000000,100004000,12)', 'R(100000000,100004000)']);
    expect(w.k.pages.flags[pages[1]!]! & PG_ACTIVE).toBe(0);
    w.log = [];
    w.run(w.k.fn.madviseCold(w.k, vma, vma.start, vma.end));
    expect(w.log).toEqual([]);
    checkWorld(w.k);
  });

  it('refuses locked memory', () => {
    const w = new HandMade();
    const vma = w.vma(G1, G1 + PAGE, ANON_RW | VM_LOCKED);
    expect(w.run(w.k.fn.madviseCold(w.k, vma, vma.start, vma.end))).toBe(-EINVAL);
    expect(w.run(w.k.fn.madvisePageout(w.k, vma, vma.start, vma.end))).toBe(-EINVAL);
  });
});

describe('MADV_PAGEOUT', () => {
  it('per page Y, S, flush, explicit call, E; frees backwards; the flush of the aging comes last', () => {
    const w = new HandMade({ swapPages: 64 });
    const vma = w.vma(G1, G1 + 8 * PAGE);
    const pages = w.anonRange(vma, G1, 3);
    for (const [i, pfn] of pages.entries()) w.k.memory.bytes.fill(65 + i, pfn * 4096, pfn * 4096 + 4096);
    w.record();
    w.run(w.k.fn.madvisePageout(w.k, vma, vma.start, vma.end));
    const unmapped = [0, 1, 2].flatMap((i) => {
      const a = (G1 + i * PAGE).toString(16);
      const b = (G1 + (i + 1) * PAGE).toString(16);
      return [`Y(${a})`, `S(CLEAR,${a},${b})`, `F(${a},${b},12)`, `PC(${a},${b})`, `E(${a},${b})`];
    });
    expect(w.moments.filter((l) => !l.startsWith('CPU'))).toEqual([
      ...unmapped,
      `FREE(${pages[2]})`,
      `FREE(${pages[1]})`,
      `FREE(${pages[0]})`,
      'F(100000000,100003000,12)',
      'R(100000000,100003000)',
    ]);
    expect([w.k.swap.used, w.k.stats.swapOuts, w.mm.rss[1], w.mm.rss[2]]).toEqual([3, 3, 0, 3]);
    checkWorld(w.k);
    // The contents come back.
    expect(w.run(w.k.fn.handleMmFault(w.k, vma, G1 + PAGE, 0)) & 1).toBe(0);
    expect(w.k.memory.bytes[pteFrame(w.lo(G1 + PAGE)) * 4096 + 7]).toBe(66);
    checkWorld(w.k);
  });

  it('unmaps dirty file pages and leaves them in the cache', () => {
    const w = new HandMade();
    const vma = w.vma(G1, G1 + 2 * PAGE, SHARED_RW, w.k.newInode('regular', 'f', 2 * PAGE));
    const dirty = w.file(vma, G1, PTE_A | PTE_RW | PTE_D);
    const clean = w.file(vma, G1 + PAGE, PTE_A);
    w.run(w.k.fn.madvisePageout(w.k, vma, vma.start, vma.end));
    const cached = vma.file!.inode.mapping.pages;
    expect([cached.get(0), cached.get(1)]).toEqual([dirty, undefined]);
    expect([w.lo(G1), w.lo(G1 + PAGE)]).toEqual([0, 0]);
    expect(w.k.pages.flags[dirty]! & PG_DIRTY).toBe(PG_DIRTY);
    expect(w.k.pages.refcount[clean]).toBe(0);
    checkWorld(w.k);
  });

  it('keeps pinned pages and pages that others map too', () => {
    const w = new HandMade({ swapPages: 16 });
    const vma = w.vma(G1, G1 + 2 * PAGE);
    const pinned = w.anon(vma, G1);
    w.k.pages.refcount[pinned] = w.k.pages.refcount[pinned]! + 1024;
    w.run(w.k.fn.madvisePageout(w.k, vma, vma.start, vma.end));
    expect(pteFrame(w.lo(G1))).toBe(pinned);
    expect(w.k.pages.flags[pinned]! & PG_SWAPCACHE).toBe(0);
    checkWorld(w.k);
  });

  it('by 6.12 neither asks who used the pages nor flushes at the end', () => {
    const w = new HandMade({ swapPages: 16, profile: profile('6.12') });
    const vma = w.vma(G1, G1 + 2 * PAGE);
    w.anon(vma, G1);
    w.record();
    w.run(w.k.fn.madvisePageout(w.k, vma, vma.start, vma.end));
    expect(w.moments.filter((l) => /^[YR]/.test(l))).toEqual([]);
    expect(w.mm.rss[2]).toBe(1);
  });
});
