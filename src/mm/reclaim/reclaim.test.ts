// Reclaim: second chance, active lists, balance with swap, dirty files, kswapd, and an end when nothing can be had.
import { describe, expect, it } from 'vitest';
import { ANON_RW, HandMade, SHARED_RW } from '../../../test/support/hand-made.ts';
import { VM_EXEC, VM_LOCKED } from '../../abi/mman.ts';
import { PTE_A, PTE_D, PTE_P, PTE_RW } from '../../abi/pte.ts';
import { checkWorld } from '../check-world.ts';
import { lockPage, tryLockPage, unlockPage } from '../page/page-lock.ts';
import { GFP_KERNEL, PG_ACTIVE, PG_DIRTY } from '../page/pages.ts';
import { pteFrame } from '../page/swapops.ts';
import { LRU_ACTIVE_ANON, LRU_ACTIVE_FILE, LRU_INACTIVE_ANON } from './state.ts';

const G1 = 0x100000000;
const PAGE = 4096;

function visit(w: HandMade, pages: number[]): number {
  for (const pfn of pages) {
    w.k.fn.lruDel(w.k, pfn);
    w.k.pages.refcount[pfn] = w.k.pages.refcount[pfn]! + 1;
  }
  return w.run(w.k.fn.shrinkFolioList(w.k, pages, false, false));
}

describe('shrinkFolioList', () => {
  it('passes a used page over once, and takes it at the next visit', () => {
    const w = new HandMade({ swapPages: 16 });
    const vma = w.vma(G1, G1 + PAGE);
    const pfn = w.anon(vma, G1);
    expect(visit(w, [pfn])).toBe(0);
    expect(w.lo(G1) & (PTE_P | PTE_A)).toBe(PTE_P);
    expect(visit(w, [pfn])).toBe(1);
    expect(w.lo(G1) & PTE_P).toBe(0);
    checkWorld(w.k);
  });

  it('activates a page that was used again between two visits', () => {
    const w = new HandMade({ swapPages: 16 });
    const vma = w.vma(G1, G1 + PAGE);
    const pfn = w.anon(vma, G1);
    visit(w, [pfn]);
    w.setEntry(G1, w.lo(G1) | PTE_A, 0);
    expect(visit(w, [pfn])).toBe(0);
    expect(w.k.pages.flags[pfn]! & PG_ACTIVE).toBe(PG_ACTIVE);
    expect(w.k.reclaim.root.count[LRU_ACTIVE_ANON]).toBe(1);
    checkWorld(w.k);
  });

  it('keeps a page that a secondary MMU used', () => {
    const w = new HandMade({ swapPages: 16 });
    const vma = w.vma(G1, G1 + PAGE);
    const pfn = w.anon(vma, G1, PTE_RW | PTE_D);
    w.record();
    w.k.design!.young = function* () {
      return true;
    };
    expect(visit(w, [pfn])).toBe(0);
    expect(w.lo(G1) & PTE_P).toBe(PTE_P);
  });

  it('activates executable file pages at the first use, others at the second', () => {
    const w = new HandMade();
    const flags = SHARED_RW | VM_EXEC;
    const vma = w.vma(G1, G1 + PAGE, flags, w.k.newInode('regular', 'x', PAGE));
    const pfn = w.file(vma, G1, PTE_A);
    visit(w, [pfn]);
    expect(w.k.reclaim.root.count[LRU_ACTIVE_FILE]).toBe(1);
    checkWorld(w.k);
  });

  it('does not take pages of locked VMAs, and keeps what another thread has locked', () => {
    const w = new HandMade({ swapPages: 16 });
    const vma = w.vma(G1, G1 + PAGE, ANON_RW | VM_LOCKED);
    const pfn = w.anon(vma, G1, PTE_RW | PTE_D);
    expect(visit(w, [pfn])).toBe(0);
    const free = w.vma(G1 + PAGE, G1 + 2 * PAGE);
    const busy = w.anon(free, free.start, PTE_RW | PTE_D);
    expect(tryLockPage(w.k, busy)).toBe(true);
    expect(visit(w, [busy])).toBe(0);
    unlockPage(w.k, busy);
    expect(visit(w, [busy])).toBe(1);
    w.run(lockPage(w.k, pfn));
    unlockPage(w.k, pfn);
    checkWorld(w.k);
  });

  it('activates when no slot is left, and gives nothing away', () => {
    const w = new HandMade({ swapPages: 1 });
    const vma = w.vma(G1, G1 + 2 * PAGE);
    const pages = [w.anon(vma, G1, PTE_RW | PTE_D), w.anon(vma, G1 + PAGE, PTE_RW | PTE_D)];
    expect(visit(w, pages)).toBe(1);
    expect(w.k.swap.free).toBe(0);
    expect(pteFrame(w.lo(G1 + PAGE))).toBe(pages[1]);
    checkWorld(w.k);
  });
});

describe('tryToFreePages', () => {
  it('swaps out, and a fault brings every byte back', () => {
    const w = new HandMade({ frames: 512, swapPages: 512 });
    const vma = w.vma(G1, G1 + 1024 * PAGE);
    const bytes = w.k.memory.bytes;
    // Twice as many pages as there are frames.
    for (let i = 0; i < 900; i++) {
      const r = w.run(w.k.fn.handleMmFault(w.k, vma, G1 + i * PAGE, 1));
      expect(r & 0x1).toBe(0);
      bytes.fill(i & 255, pteFrame(w.lo(G1 + i * PAGE)) * 4096, pteFrame(w.lo(G1 + i * PAGE)) * 4096 + 4096);
    }
    expect(w.k.stats.swapOuts).toBeGreaterThan(400);
    checkWorld(w.k);
    for (let i = 0; i < 900; i += 7) {
      w.run(w.k.fn.handleMmFault(w.k, vma, G1 + i * PAGE, 0));
      const at = pteFrame(w.lo(G1 + i * PAGE)) * 4096;
      expect([i, bytes[at], bytes[at + 4095]]).toEqual([i, i & 255, i & 255]);
    }
    checkWorld(w.k);
    w.munmap([vma], vma.start, vma.end);
    checkWorld(w.k);
    expect([w.k.swap.used, w.k.pages.free]).toEqual([0, 512 - w.k.buddy.first - 1]);
  });

  it('ends in VM_FAULT_OOM when there is no swap and nothing else to give', () => {
    const w = new HandMade({ frames: 256 });
    const vma = w.vma(G1, G1 + 1024 * PAGE);
    let i = 0;
    let r = 0;
    while (i < 1024 && ((r = w.run(w.k.fn.handleMmFault(w.k, vma, G1 + i * PAGE, 1))) & 1) === 0) i++;
    expect(r & 1).toBe(1);
    expect(i).toBeGreaterThan(200);
    checkWorld(w.k);
  });

  it('takes clean file pages before it swaps, and writes dirty ones back when there is nothing else', () => {
    const w = new HandMade({ frames: 512 });
    const inode = w.k.newInode('regular', 'f', 64 * PAGE);
    const vma = w.vma(G1, G1 + 64 * PAGE, SHARED_RW, inode);
    for (let i = 0; i < 8; i++) w.file(vma, G1 + i * PAGE, PTE_RW | PTE_D);
    for (let i = 0; i < 8; i++) {
      const pfn = inode.mapping.pages.get(i)!;
      w.k.pages.flags[pfn] = w.k.pages.flags[pfn]! | PG_DIRTY;
    }
    expect(w.run(w.k.fn.tryToFreePages(w.k, 4))).toBeGreaterThan(0);
    expect(inode.mapping.disk.size).toBeGreaterThan(0);
    checkWorld(w.k);
  });

  it('ages the active list when the inactive one is short', () => {
    const w = new HandMade({ swapPages: 64 });
    const vma = w.vma(G1, G1 + 64 * PAGE);
    const pages = w.anonRange(vma, G1, 40);
    for (const pfn of pages) {
      w.k.fn.markPageAccessed(w.k, pfn);
      w.k.fn.markPageAccessed(w.k, pfn);
    }
    expect(w.k.reclaim.root.count[LRU_ACTIVE_ANON]).toBe(40);
    w.run(w.k.fn.shrinkActiveList(w.k, w.k.reclaim.root, false, 10, null));
    expect([w.k.reclaim.root.count[LRU_ACTIVE_ANON], w.k.reclaim.root.count[LRU_INACTIVE_ANON]]).toEqual([30, 10]);
    // The oldest first.
    expect(pages.slice(0, 10).every((p) => (w.k.pages.flags[p]! & PG_ACTIVE) === 0)).toBe(true);
    expect(w.run(w.k.fn.tryToFreePages(w.k, 5))).toBeGreaterThanOrEqual(5);
    checkWorld(w.k);
  });
});

describe('kswapd', () => {
  it('sleeps until memory is low and works until it is high again', () => {
    const w = new HandMade({ frames: 512, swapPages: 512, watermarkMin: 8, watermarkLow: 32, watermarkHigh: 64 });
    const t = w.k.sched.spawn('kswapd', 'kernel', w.k.fn.kswapd(w.k), true);
    w.k.sched.stepThread(t);
    expect(t.waitingFor).toBe('kswapd: work');
    const vma = w.vma(G1, G1 + 1024 * PAGE);
    for (let i = 0; w.k.pages.free > 32; i++) w.run(w.k.fn.handleMmFault(w.k, vma, G1 + i * PAGE, 1));
    const extra = w.k.fn.allocPage(w.k, GFP_KERNEL, 5);
    expect(t.state).toBe(0);
    while (t.state === 0) w.k.sched.stepThread(t);
    expect(w.k.pages.free).toBeGreaterThanOrEqual(64);
    expect(w.k.reclaim.kswapdWanted).toBe(false);
    w.k.fn.putPage(w.k, extra);
    checkWorld(w.k);
  });
});
