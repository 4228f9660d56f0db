// mprotect, mremap's moving of entries and the split row against the recorded order of sections and flushes.
import { describe, expect, it } from 'vitest';
import { HandMade, SHARED_RW } from '../../../test/support/hand-made.ts';
import { VM_MAYREAD, VM_MAYWRITE, VM_READ, VM_SOFTDIRTY, VM_WRITE } from '../../abi/mman.ts';
import { SITE_MPROTECT } from '../../abi/notifier.ts';
import {
  PTE_A,
  PTE_D,
  PTE_HI_NX,
  PTE_P,
  PTE_PROTNONE,
  PTE_RW,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_US,
} from '../../abi/pte.ts';
import { checkWorld } from '../check-world.ts';
import { PG_ANON_EXCLUSIVE } from '../page/pages.ts';
import { pteFrame, vmPageProtHi, vmPageProtLo } from '../page/swapops.ts';
import { profile } from '../profile.ts';
import type { VmArea } from '../types.ts';
import { MM_CP_TRY_CHANGE_WRITABLE } from './cp-flags.ts';

const G1 = 0x100000000;
const PAGE = 4096;
const MAY = VM_MAYREAD | VM_MAYWRITE;

/** One mprotect of [start, end) of the VMA to the given VM_READ/VM_WRITE flags, as the system call does it. */
function mprotect(w: HandMade, vma: VmArea, access: number, start = vma.start, end = vma.end): number {
  vma.flags = (vma.flags & ~(VM_READ | VM_WRITE)) | access;
  vma.pageProtLo = vmPageProtLo(vma.flags);
  vma.pageProtHi = vmPageProtHi(vma.flags);
  const tlb = w.k.fn.tlbGatherMmu(w.k, w.mm, false, SITE_MPROTECT);
  const n = w.run(
    w.k.fn.changeProtection(w.k, tlb, vma, start, end, (access & VM_WRITE) !== 0 ? MM_CP_TRY_CHANGE_WRITABLE : 0),
  );
  w.run(w.k.fn.tlbFinishMmu(w.k, tlb));
  return n;
}

describe('changeProtection', () => {
  it('opens a section for each 1 GiB from its first populated 2 MiB, and flushes once after the last', () => {
    const w = new HandMade();
    const vma = w.vma(0x13fc00000, 0x140400000);
    for (const a of [0x13fc01000, 0x13fc02000, 0x13ffff000, 0x140000000, 0x1403ff000]) w.anon(vma, a);
    w.record();
    expect(mprotect(w, vma, VM_READ)).toBe(5);
    // As recorded for this layout.
    expect(w.moments).toEqual([
      'S(PROTECTION_VMA,13fc00000,140000000)',
      'E(13fc00000,140000000)',
      'S(PROTECTION_VMA,140000000,140400000)',
      'E(140000000,140400000)',
      'F(13fc01000,140400000,12)',
      'R(13fc01000,140400000)',
    ]);
    checkWorld(w.k);
  });

  it('announces from the first populated PMD piece on, and nothing for a hole of 1 GiB', () => {
    const w = new HandMade();
    const vma = w.vma(G1, G1 + 0xc0000000);
    w.anon(vma, G1 + 0x80000000 + 0x600000 + 3 * PAGE);
    w.record();
    mprotect(w, vma, VM_READ);
    expect(w.moments).toEqual([
      'S(PROTECTION_VMA,180600000,1c0000000)',
      'E(180600000,1c0000000)',
      'F(180603000,180604000,12)',
      'R(180603000,180604000)',
    ]);
    const empty = new HandMade();
    const none = empty.vma(G1, G1 + 0xc0000000);
    empty.record();
    mprotect(empty, none, VM_READ);
    expect(empty.log).toEqual([]);
  });

  it('opens one section for the piece of the VMA by 6.12', () => {
    const w = new HandMade({ profile: profile('6.12') });
    const vma = w.vma(0x13fc00000, 0x140400000);
    for (const a of [0x13fe01000, 0x140000000]) w.anon(vma, a);
    w.record();
    mprotect(w, vma, VM_READ);
    expect(w.moments.slice(0, 2)).toEqual(['S(PROTECTION_VMA,13fc00000,140400000)', 'E(13fc00000,140400000)']);
    // Secondary TLBs are flushed with what the CPUs flushed: everything, as the range exceeds 33 pages.
    expect(w.moments.slice(2)).toEqual(['F(13fe01000,140001000,12)', 'R(0,max)']);
  });

  it('flushes for RW -> RO -> RW of exclusive pages, and gives W back at once', () => {
    const w = new HandMade();
    const vma = w.vma(G1, G1 + 4 * PAGE);
    vma.flags |= VM_SOFTDIRTY;
    const pfn = w.anon(vma, G1);
    const shared = w.anon(vma, G1 + PAGE);
    w.k.pages.flags[shared] = w.k.pages.flags[shared]! & ~PG_ANON_EXCLUSIVE;
    w.setEntry(G1 + PAGE, (shared << 12) | PTE_P | PTE_US | PTE_A | PTE_D, 0);
    mprotect(w, vma, VM_READ);
    expect(w.lo(G1)).toBe((pfn << 12) | PTE_P | PTE_US | PTE_A | PTE_D);
    w.record();
    mprotect(w, vma, VM_READ | VM_WRITE);
    expect(w.lo(G1) & PTE_RW).toBe(PTE_RW);
    expect(w.lo(G1 + PAGE) & PTE_RW).toBe(0);
    expect(w.moments.slice(2)).toEqual(['F(100000000,100001000,12)', 'R(100000000,100001000)']);
  });

  it('RO -> RW of clean pages and of zero pages changes no entry: S E alone', () => {
    const w = new HandMade();
    const vma = w.vma(G1, G1 + 4 * PAGE, MAY | VM_READ | VM_SOFTDIRTY);
    const file = w.vma(
      G1 + 4 * PAGE,
      G1 + 8 * PAGE,
      (SHARED_RW & ~VM_WRITE) | VM_SOFTDIRTY,
      w.k.newInode('shmem', 'm', 65536),
    );
    const nx = PTE_HI_NX;
    w.setEntry(G1, (w.k.zeroPfn << 12) | PTE_P | PTE_US | PTE_A | PTE_SPECIAL, nx);
    const clean = w.file(file, file.start, PTE_A);
    const dirty = w.file(file, file.start + PAGE, PTE_A | PTE_D);
    w.setEntry(file.start, (clean << 12) | PTE_P | PTE_US | PTE_A, nx);
    w.setEntry(file.start + PAGE, (dirty << 12) | PTE_P | PTE_US | PTE_A | PTE_D, nx);
    w.record();
    mprotect(w, vma, VM_READ | VM_WRITE);
    expect(w.log).toEqual(['S(PROTECTION_VMA,100000000,100004000)', 'E(100000000,100004000)']);
    // Write-notify: pageProt of the shared mapping stays read-only.
    w.log = [];
    file.flags |= VM_WRITE;
    const tlb = w.k.fn.tlbGatherMmu(w.k, w.mm, false, SITE_MPROTECT);
    w.run(w.k.fn.changeProtection(w.k, tlb, file, file.start, file.end, MM_CP_TRY_CHANGE_WRITABLE));
    w.run(w.k.fn.tlbFinishMmu(w.k, tlb));
    expect(w.lo(file.start) & PTE_RW).toBe(0);
    expect(w.lo(file.start + PAGE) & PTE_RW).toBe(PTE_RW);
    expect(w.moments.slice(-1)).toEqual(['R(100005000,100006000)']);
  });

  it('PROT_NONE hides the page with an inverted PFN; the way back needs no flush', () => {
    const w = new HandMade();
    const vma = w.vma(G1, G1 + PAGE);
    const pfn = w.anon(vma, G1);
    mprotect(w, vma, 0);
    const lo = w.lo(G1);
    expect(lo & (PTE_P | PTE_PROTNONE)).toBe(PTE_PROTNONE);
    expect(lo >>> 12).toBe(~pfn & 0xfffff);
    checkWorld(w.k);
    w.record();
    mprotect(w, vma, VM_READ);
    expect(pteFrame(w.lo(G1))).toBe(pfn);
    expect(w.lo(G1) & PTE_P).toBe(PTE_P);
    expect(w.moments).toEqual(['S(PROTECTION_VMA,100000000,100001000)', 'E(100000000,100001000)']);
    checkWorld(w.k);
  });
});

describe('vmaAdjustTransHuge', () => {
  it('announces the 2 MiB block only when it lies in the VMA and its 1 GiB has a PMD table', () => {
    const w = new HandMade();
    const vma = w.vma(G1, G1 + 0x600000);
    w.record();
    w.run(w.k.fn.vmaAdjustTransHuge(w.k, vma, G1, G1 + 0x201000));
    expect(w.log).toEqual([]);
    w.anon(vma, G1 + 0x400000);
    w.log = [];
    w.run(w.k.fn.vmaAdjustTransHuge(w.k, vma, G1 + 0x200000, G1 + 0x201000));
    expect(w.log).toEqual(['S(CLEAR,100200000,100400000)', 'EO(100200000,100400000)']);
    w.log = [];
    const small = w.vma(G1 + 0x600000, G1 + 0x601000);
    w.run(w.k.fn.vmaAdjustTransHuge(w.k, small, small.start, small.end));
    expect(w.log).toEqual([]);
  });
});

describe('movePageTables', () => {
  /** Moves the VMA's whole range to `to`; the new VMA is in the tree afterwards, the old one gone. */
  function move(w: HandMade, vma: VmArea, to: number): VmArea {
    const len = vma.end - vma.start;
    const moved = w.vma(to, to + len, vma.flags);
    const { k } = w;
    // copy_vma: same pgoff, chains to the same anon_vmas.
    w.run(k.fn.unlinkAnonVmas(k, moved));
    moved.anonVma = vma.anonVma;
    moved.pgoff = vma.pgoff;
    w.run(k.fn.anonVmaClone(k, moved, vma));
    const done = w.run(k.fn.movePageTables(k, vma, vma.start, moved, to, len, false));
    expect(done).toBe(len);
    return moved;
  }

  it('moves page tables whole when both sides are aligned, one flush for each', () => {
    const w = new HandMade();
    const vma = w.vma(G1, G1 + 0x400000);
    const pages = w.anonRange(vma, G1, 8);
    const last = w.anon(vma, G1 + 0x3ff000);
    w.record();
    const moved = move(w, vma, 0x140000000);
    // As recorded.
    expect(w.moments).toEqual([
      'S(UNMAP,100000000,100400000)',
      'F(100000000,100200000,12,tables)',
      'CPU(0,max)',
      'F(100200000,100400000,12,tables)',
      'CPU(0,max)',
      'E(100000000,100400000)',
    ]);
    expect(w.log.filter((l) => l.startsWith('PT')).slice(-4)).toEqual([
      'PT-1(100000000)',
      'PT+1(140000000)',
      'PT-1(100200000)',
      'PT+1(140200000)',
    ]);
    expect(pages.map((_, i) => pteFrame(w.lo(moved.start + i * PAGE)))).toEqual(pages);
    expect(pteFrame(w.lo(moved.start + 0x3ff000))).toBe(last);
    w.munmap([vma], vma.start, vma.end, 0, moved.start);
    checkWorld(w.k);
  });

  it('moves entries one by one otherwise; each extent with a present entry is flushed whole', () => {
    const w = new HandMade();
    const vma = w.vma(0x140000000, 0x140400000);
    const pages = w.anonRange(vma, vma.start, 8);
    w.anon(vma, 0x1403ff000);
    w.record();
    const moved = move(w, vma, 0x180001000);
    expect(w.moments.filter((l) => !l.startsWith('CPU'))).toEqual([
      'S(UNMAP,140000000,140400000)',
      'F(140000000,1401ff000,12,tables)',
      'F(1403ff000,140400000,12,tables)',
      'E(140000000,140400000)',
    ]);
    expect(pages.map((_, i) => pteFrame(w.lo(moved.start + i * PAGE)))).toEqual(pages);
    expect(w.lo(moved.start) & PTE_SOFT_DIRTY).toBe(PTE_SOFT_DIRTY);
    w.munmap([vma], vma.start, vma.end, 0, moved.start);
    checkWorld(w.k);
  });

  it('moves a PMD table whole when 1 GiB is aligned on both sides', () => {
    const w = new HandMade();
    const vma = w.vma(0x40000000, 0xc0000000);
    const a = w.anon(vma, 0x40001000);
    const b = w.anon(vma, 0x80002000);
    w.record();
    const moved = move(w, vma, 0x8000000000);
    expect(w.log.filter((l) => l.startsWith('PT') && l.includes('2('))).toEqual([
      'PT-2(40000000)',
      'PT+2(8000000000)',
      'PT-2(80000000)',
      'PT+2(8040000000)',
    ]);
    expect([pteFrame(w.lo(moved.start + PAGE)), pteFrame(w.lo(moved.start + 0x40002000))]).toEqual([a, b]);
    w.munmap([vma], vma.start, vma.end, 0, moved.start);
    checkWorld(w.k);
  });

  it('stops where no table can be had and says how far it came', () => {
    const w = new HandMade({ frames: 256 });
    const vma = w.vma(G1, G1 + 0x400000);
    w.anon(vma, G1 + PAGE);
    w.anon(vma, G1 + 0x300000);
    const to = w.vma(0x8000001000, 0x8000401000);
    while (w.k.fn.allocPage(w.k, 1, 5) !== 0);
    expect(w.run(w.k.fn.movePageTables(w.k, vma, G1, to, to.start, 0x400000, false))).toBe(0);
  });
});
