// munmap and MADV_DONTNEED against the rows of the call-site table (sections, flushes, frees in recorded order), the limits of
// the gather, and what becomes of dirty, young, swapped and special entries.
import { describe, expect, it } from 'vitest';
import { ANON_RW, HandMade, SHARED_RW } from '../../../test/support/hand-made.ts';
import { VM_PFNMAP, VM_SEQ_READ } from '../../abi/mman.ts';
import { PTE_A, PTE_D, PTE_P, PTE_RW, PTE_SPECIAL, PTE_US } from '../../abi/pte.ts';
import { checkWorld } from '../check-world.ts';
import { PG_DIRTY, PG_REFERENCED } from '../page/pages.ts';

const G1 = 0x100000000; // 4 GiB: own PUD and PMD tables
const PAGE = 4096;

describe('munmap', () => {
  it('S, entries, E, tables, flush, R, frees backwards in bundles of 8', () => {
    const w = new HandMade();
    const vma = w.vma(0x13fc00000, 0x140400000);
    const pages = [0x13fc01000, 0x13fc02000, 0x13ffff000, 0x140000000, 0x1403ff000].map((a) => w.anon(vma, a));
    w.record();
    w.munmap([vma], 0x13fc00000, 0x140400000);
    const [a, b, c, d, e] = pages as [number, number, number, number, number];
    const tables = w.log.filter((l) => l.startsWith('GT'));
    // As recorded from a 6.1 kernel for this very layout.
    expect(tables).toEqual([
      'GT(13fc00000)',
      'GT(13fe00000)',
      'GT(100000000)',
      'GT(140000000)',
      'GT(140200000)',
      'GT(140000000)',
      'GT(0)',
    ]);
    expect(w.log.slice(0, 4)).toEqual(['S(UNMAP,13fc00000,140400000)', 'PT-(13fc01000)', `G(${a})`, 'PT-(13fc02000)']);
    expect(w.moments.slice(0, 4)).toEqual([
      'S(UNMAP,13fc00000,140400000)',
      'E(13fc00000,140400000)',
      'F(0,140400000,12,tables)',
      'R(0,140400000)',
    ]);
    const freed = w.moments.slice(4).map((l) => Number(/\d+/.exec(l)?.[0]));
    expect(freed.slice(3, 8)).toEqual([e, d, c, b, a]);
    expect(freed.length).toBe(12);
    expect(w.mm.tablePages).toBe(0);
    expect(Array.from(w.mm.rss)).toEqual([0, 0, 0, 0]);
    checkWorld(w.k);
  });

  it('of untouched memory is S E and nothing else', () => {
    const w = new HandMade();
    const vma = w.vma(G1, G1 + 16 * PAGE);
    w.record();
    w.munmap([vma], G1, G1 + 16 * PAGE);
    expect(w.log).toEqual([`S(UNMAP,100000000,100010000)`, 'E(100000000,100010000)']);
  });

  it('of the middle 2 MiB frees that page table only, with the stride of the level above', () => {
    const w = new HandMade();
    const below = w.vma(G1, G1 + 0x200000);
    const vma = w.vma(G1 + 0x200000, G1 + 0x400000);
    const above = w.vma(G1 + 0x400000, G1 + 0x600000);
    for (const v of [below, vma, above]) w.anon(v, v.start);
    w.k.sched.run(w.k.fn.zapPageRangeSingle(w.k, vma, vma.start, vma.end, true));
    const tables = w.mm.tablePages;
    w.record();
    w.munmap([vma], vma.start, vma.end, below.end, above.start);
    expect(w.moments.slice(0, 4)).toEqual([
      'S(UNMAP,100200000,100400000)',
      'E(100200000,100400000)',
      'F(100200000,100201000,21,tables)',
      'R(100200000,100201000)',
    ]);
    expect(w.mm.tablePages).toBe(tables - 1);
    expect(w.lo(below.start) & PTE_P).toBe(PTE_P);
  });

  it('keeps a table that a neighbour shares', () => {
    const w = new HandMade();
    const a = w.vma(G1, G1 + 4 * PAGE);
    const b = w.vma(G1 + 4 * PAGE, G1 + 8 * PAGE);
    w.anon(a, G1);
    const kept = w.anon(b, b.start);
    const tables = w.mm.tablePages;
    w.record();
    w.munmap([a], G1, G1 + 4 * PAGE, 0, b.start);
    expect(w.moments.slice(1, 4)).toEqual([
      'E(100000000,100004000)',
      'F(100000000,100001000,12)',
      'R(100000000,100001000)',
    ]);
    expect(w.mm.tablePages).toBe(tables);
    expect(w.lo(b.start) >>> 12).toBe(kept);
  });

  it('of the highest user page frees up to the PUD table', () => {
    const w = new HandMade();
    const top = w.vma(0x7ffffffde000, 0x7ffffffff000);
    w.anon(top, 0x7fffffffe000);
    w.record();
    w.munmap([top], top.start, top.end);
    expect(w.log.filter((l) => l.startsWith('GT'))).toEqual([
      'GT(7fffffe00000)',
      'GT(7fffc0000000)',
      'GT(7f8000000000)',
    ]);
    // Recorded: F and R from the base of the 512 GiB to the end of the page.
    expect(w.moments).toContain('R(7f8000000000,7fffffff f000)'.replace(' ', ''));
    expect(w.mm.tablePages).toBe(0);
  });

  it('is a full flush above 33 pages, while R keeps the range', () => {
    for (const [count, range] of [
      [33, 'F(100000000,100021000,12)'],
      [34, 'F(100000000,100022000,12)'],
    ] as const) {
      const w = new HandMade();
      const vma = w.vma(G1, G1 + 64 * PAGE);
      w.anonRange(vma, G1, count);
      const cpu = w.k.cpus[0]!;
      cpu.load(w.mm.id, w.mm.pgd);
      expect(cpu.translate(G1, 0)).toBeGreaterThan(0);
      const keep = w.vma(0x7000000000, 0x7000001000);
      w.anon(keep, keep.start);
      cpu.translate(keep.start, 0);
      w.record();
      w.munmap([vma], G1, G1 + 64 * PAGE, 0, G1 + 64 * PAGE);
      expect(w.moments).toContain(range);
      expect(cpu.tlb.count).toBe(count > 33 ? 0 : 1);
    }
  });

  it('flushes at the end of a raw-frame VMA, before E', () => {
    const w = new HandMade();
    const vma = w.vma(G1, G1 + PAGE, ANON_RW | VM_PFNMAP);
    w.setEntry(G1, (5 << 12) | PTE_P | PTE_US | PTE_SPECIAL, 0);
    w.record();
    w.munmap([vma], G1, G1 + PAGE, 0, G1 + PAGE);
    expect(w.log).toEqual([
      'S(UNMAP,100000000,100001000)',
      'PT-(100000000)',
      'F(100000000,100001000,12)',
      'R(100000000,100001000)',
      'E(100000000,100001000)',
    ]);
  });
});

describe('gather limits', () => {
  const zapped = (pages: number, parts = {}): { w: HandMade; first: number[] } => {
    const w = new HandMade({ frames: 16384, ...parts });
    const vma = w.vma(G1, G1 + 32768 * PAGE);
    const pfns = w.anonRange(vma, G1, pages);
    w.record();
    w.run(w.k.fn.zapPageRangeSingle(w.k, vma, G1, G1 + 32768 * PAGE, true));
    return { w, first: pfns };
  };

  it('flushes when the 9698th page is added, between S and E, and goes on at the next page', () => {
    const { w, first } = zapped(9699);
    const n = (8 + 19 * 510).toString();
    expect(n).toBe('9698');
    const m = w.moments;
    expect(m.slice(0, 4)).toEqual([
      'S(CLEAR,100000000,108000000)',
      'AF(100000000,1025e2000)',
      'F(100000000,1025e2000,12)',
      'R(100000000,1025e2000)',
    ]);
    expect(m[4]).toBe(`FREE(${first[7]})`);
    expect(m.slice(4, 4 + 9698).every((l) => l.startsWith('FREE'))).toBe(true);
    expect(m.slice(4 + 9698)).toEqual([
      'E(100000000,108000000)',
      'F(1025e2000,1025e3000,12)',
      'R(1025e2000,1025e3000)',
      `FREE(${first[9698]})`,
    ]);
    expect(w.k.stats.forcedFlushes).toBe(1);
    checkWorld(w.k);
  });

  it('needs no flush inside for 9697 pages, and frees batch by batch, each backwards', () => {
    const { w, first } = zapped(9697);
    expect(w.k.stats.forcedFlushes).toBe(0);
    const expected = [...first.slice(0, 8).reverse()];
    for (let at = 8; at < 9697; at += 510) expected.push(...first.slice(at, at + 510).reverse());
    expect(w.moments.filter((l) => l.startsWith('FREE'))).toEqual(expected.map((p) => `FREE(${p})`));
  });

  it('takes one frame at exactly 8 and one more each 510 pages, and gives them back', () => {
    for (const [pages, batches] of [
      [7, 0],
      [8, 1],
      [517, 1],
      [518, 2],
      [1028, 3],
    ] as const) {
      const w = new HandMade();
      const vma = w.vma(G1, G1 + 2048 * PAGE);
      w.anonRange(vma, G1, pages);
      const free = w.k.pages.free;
      const tlb = w.k.fn.tlbGatherMmu(w.k, w.mm, false, 0);
      w.run(w.k.fn.unmapPageRange(w.k, tlb, vma, vma.start, vma.end, true));
      expect([pages, tlb.batches.length]).toEqual([pages, batches]);
      w.run(w.k.fn.tlbFinishMmu(w.k, tlb));
      expect(w.k.pages.free).toBe(free + pages);
    }
  });

  it('flushes every 8 pages when no batch can be had', () => {
    const w = new HandMade({ frames: 1024, watermarkMin: 64 });
    const vma = w.vma(G1, G1 + 512 * PAGE);
    w.anonRange(vma, G1, 20);
    const held: number[] = [];
    for (let pfn = 0; (pfn = w.k.fn.allocPage(w.k, 1, 5)) !== 0; ) held.push(pfn);
    w.record();
    // Pages freed by the first flush would serve the second batch: keep them away.
    const freePage = w.k.fn.freePage;
    w.k.fn.freePage = (k, pfn): void => {
      freePage(k, pfn);
      while (k.fn.allocPage(k, 1, 5) !== 0);
    };
    w.run(w.k.fn.zapPageRangeSingle(w.k, vma, vma.start, vma.end, true));
    expect(w.moments.filter((l) => l.startsWith('R'))).toEqual([
      'R(100000000,100008000)',
      'R(100008000,100010000)',
      'R(100010000,100014000)',
    ]);
    expect(w.k.stats.gatherBatchFailures).toBe(2);
  });

  it('flushes the whole mm when another gather is open on it', () => {
    const w = new HandMade();
    const vma = w.vma(G1, G1 + 8 * PAGE);
    w.anon(vma, G1);
    const other = w.k.fn.tlbGatherMmu(w.k, w.mm, false, 0);
    w.record();
    w.run(w.k.fn.zapPageRangeSingle(w.k, vma, G1, G1 + PAGE, true));
    w.run(w.k.fn.zapPageRangeSingle(w.k, vma, G1 + PAGE, G1 + 2 * PAGE, true));
    w.run(w.k.fn.tlbFinishMmu(w.k, other));
    expect(w.moments.map((l) => l.replace(/FREE.*/, 'FREE'))).toEqual([
      'S(CLEAR,100000000,100001000)',
      'E(100000000,100001000)',
      'F(0,max,12,tables)',
      'R(max,max)',
      'FREE',
      // Even a gather that cleared nothing.
      'S(CLEAR,100001000,100002000)',
      'E(100001000,100002000)',
      'F(0,max,12,tables)',
      'R(max,max)',
    ]);
    expect(w.mm.tlbFlushPending).toBe(0);
  });
});

describe('zapPteRange', () => {
  it('forces a flush for a dirty file page, under ptl, and frees what was queued before it', () => {
    const w = new HandMade();
    const anon = w.vma(G1, G1 + 2 * PAGE);
    const inode = w.k.newInode('regular', '/f', 4 * PAGE);
    const file = w.vma(G1 + 2 * PAGE, G1 + 4 * PAGE, SHARED_RW, inode);
    const a = w.anon(anon, G1);
    const f = w.file(file, G1 + 2 * PAGE, PTE_A | PTE_RW | PTE_D);
    const clean = w.file(file, G1 + 3 * PAGE, PTE_A);
    let lockedAtFlush = false;
    const flush = w.k.fn.flushTlbMmRange;
    w.k.fn.flushTlbMmRange = (k, mm, start, end, stride, tables, site) => {
      lockedAtFlush ||= k.sched.current.atomicDepth > 0;
      return flush(k, mm, start, end, stride, tables, site);
    };
    w.record();
    w.munmap([anon, file], G1, G1 + 4 * PAGE, 0, G1 + 4 * PAGE);
    expect(lockedAtFlush).toBe(true);
    expect(w.moments).toEqual([
      'S(UNMAP,100000000,100004000)',
      'AF(100000000,100004000)',
      'F(100000000,100004000,12)',
      'R(100000000,100004000)',
      `FREE(${a})`,
      'E(100000000,100004000)',
    ]);
    expect(w.k.pages.flags[f]! & PG_DIRTY).toBe(PG_DIRTY);
    expect(w.k.pages.flags[clean]! & PG_DIRTY).toBe(0);
    // The page cache still holds both.
    expect([w.k.pages.refcount[f], w.k.pages.refcount[clean]]).toEqual([1, 1]);
  });

  it('marks young file pages accessed unless the VMA is read sequentially', () => {
    for (const flags of [SHARED_RW, SHARED_RW | VM_SEQ_READ]) {
      const w = new HandMade();
      const vma = w.vma(G1, G1 + PAGE, flags, w.k.newInode('regular', '/f', PAGE));
      const f = w.file(vma, G1, PTE_A);
      w.munmap([vma], G1, G1 + PAGE);
      expect((w.k.pages.flags[f]! & PG_REFERENCED) !== 0).toBe(flags === SHARED_RW);
    }
  });

  it('keeps private copies when only the file mapping goes (evenCows false)', () => {
    const w = new HandMade();
    const vma = w.vma(G1, G1 + 2 * PAGE, ANON_RW, w.k.newInode('regular', '/f', 2 * PAGE));
    const own = w.anon(vma, G1);
    w.file(vma, G1 + PAGE);
    w.run(w.k.fn.zapPageRangeSingle(w.k, vma, vma.start, vma.end, false));
    expect(w.lo(G1) >>> 12).toBe(own);
    expect(w.lo(G1 + PAGE)).toBe(0);
    expect(Array.from(w.mm.rss)).toEqual([0, 1, 0, 0]);
  });

  it('records the range of a zero page but neither counts nor queues it', () => {
    const w = new HandMade();
    const vma = w.vma(G1, G1 + 4 * PAGE);
    w.setEntry(G1 + PAGE, (w.k.zeroPfn << 12) | PTE_P | PTE_US | PTE_SPECIAL | PTE_A, 0);
    w.record();
    w.run(w.k.fn.zapPageRangeSingle(w.k, vma, vma.start, vma.end, true));
    expect(w.log).toEqual([
      'S(CLEAR,100000000,100004000)',
      'PT-(100001000)',
      'E(100000000,100004000)',
      'F(100001000,100002000,12)',
      'R(100001000,100002000)',
    ]);
  });
});
