// The order of entry changes, flushes, notifier moments, rmap changes and frees in faults, fork and the rmap-driven
// operations, against the sequences recorded from a 6.1 kernel. M(pfn) and U(pfn): the page is mapped, unmapped.
import { describe, expect, it } from 'vitest';
import { ANON_RW, HandMade, SHARED_RW } from '../../../test/support/hand-made.ts';
import { E_RMAP_ADD, E_RMAP_REMOVE } from '../../abi/events.ts';
import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_USER,
  FAULT_FLAG_WRITE,
  VM_FAULT_MAJOR,
  VM_FAULT_SIGBUS,
  VM_FAULT_SIGSEGV,
  VM_LOCKED,
  VM_READ,
  VM_WRITE,
} from '../../abi/mman.ts';
import { PTE_A, PTE_D, PTE_P, PTE_RW, PTE_SPECIAL } from '../../abi/pte.ts';
import { ptePfn } from '../../hw/pte.ts';
import { FOLL_LONGTERM } from '../gup/flags.ts';
import { SEGV_ACCERR, SEGV_MAPERR } from '../kernel.ts';
import { tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_ANON_EXCLUSIVE, PG_DIRTY, PG_SWAPBACKED } from '../page/pages.ts';
import { SWP_EXCLUSIVE } from '../page/swapops.ts';
import { profile } from '../profile.ts';
import { getPage } from '../rmap/rmap.ts';
import { type Inode, type MmStruct, OpenFile, VmArea } from '../types.ts';
import { setPageProt } from '../vma/flags.ts';

const A = 0x100000000;
const PAGE = 4096;
const W = FAULT_FLAG_USER | FAULT_FLAG_WRITE;
const R = FAULT_FLAG_USER;
const span = (a: number, bytes = PAGE): string => `${a.toString(16)},${(a + bytes).toString(16)}`;

class FaultWorld extends HandMade {
  override record(): void {
    super.record();
    this.k.memory.log.attach({
      onRecord: (ring, at) => {
        if (ring[at] === E_RMAP_ADD) this.log.push(`M(${ring[at + 6]})`);
        if (ring[at] === E_RMAP_REMOVE) this.log.push(`U(${ring[at + 6]})`);
      },
    });
  }

  area(
    pages: number,
    flags = ANON_RW,
    inode: Inode | null = null,
    mm: MmStruct = this.mm,
    start = A,
    pgoff = 0,
  ): VmArea {
    const file = inode === null ? null : new OpenFile(inode, true, true);
    const vma = new VmArea(mm, start, start + pages * PAGE, flags, file, file === null ? start / PAGE : pgoff, 0);
    setPageProt(vma);
    mm.vmas.insert(vma);
    this.run(this.k.fn.linkFileVma(this.k, vma));
    return vma;
  }

  /** A second address space, subscribed too. */
  secondMm(): MmStruct {
    const mm = this.k.newMm()!;
    mm.cpuMask = 1;
    mm.notifiers = this.mm.notifiers;
    return mm;
  }

  fork(vma: VmArea, mm: MmStruct): VmArea {
    const child = new VmArea(mm, vma.start, vma.end, vma.flags, vma.file, vma.pgoff, 0);
    setPageProt(child);
    mm.vmas.insert(child);
    if (vma.anonVma !== null) this.run(this.k.fn.anonVmaFork(this.k, child, vma));
    this.run(this.k.fn.linkFileVma(this.k, child));
    expect(this.run(this.k.fn.copyPageRange(this.k, child, vma))).toBe(0);
    return child;
  }

  fault(address: number, flags: number, mm = this.mm): number {
    return this.run(this.k.fn.doUserAddrFault(this.k, mm, address, flags));
  }

  pfn(address: number): number {
    return ptePfn(this.lo(address));
  }

  takeLog(): string[] {
    const out = this.log;
    this.log = [];
    return out;
  }

  /** Runs with the page locked and isolated (one more reference), as reclaim does. */
  locked<T>(pfn: number, f: () => T): T {
    getPage(this.k, pfn);
    expect(tryLockPage(this.k, pfn)).toBe(true);
    const result = f();
    unlockPage(this.k, pfn);
    return result;
  }
}

/** Swap entries without a swap area. */
function withSwapEntry(w: FaultWorld, pfn: number, entry: number): void {
  w.k.pages.private[pfn] = entry;
  w.k.fn.swapDuplicate = () => 0;
  w.k.fn.swapFree = () => undefined;
}

describe('faults', () => {
  it('first write of anonymous memory: tables, rmap, entry, no moment', () => {
    const w = new FaultWorld();
    const vma = w.area(4);
    w.record();
    expect(w.fault(A + 123, W)).toBe(0);
    const pfn = w.pfn(A);
    expect(w.takeLog()).toEqual(['PT+3(0)', 'PT+2(100000000)', 'PT+1(100000000)', `M(${pfn})`, 'PT+(100000000)']);
    expect(w.lo(A) & (PTE_P | PTE_RW | PTE_D | PTE_A)).toBe(PTE_P | PTE_RW | PTE_D | PTE_A);
    expect(vma.anonVma).not.toBeNull();
    expect([...w.mm.rss]).toEqual([0, 1, 0, 0]);
  });

  it('read of anonymous memory maps the zero page without rmap; the later write is a copy with the full sequence', () => {
    const w = new FaultWorld();
    w.area(4);
    w.record();
    expect(w.fault(A, R)).toBe(0);
    expect(w.lo(A) & (PTE_SPECIAL | PTE_RW)).toBe(PTE_SPECIAL);
    expect(w.pfn(A)).toBe(w.k.zeroPfn);
    w.takeLog();
    expect(w.fault(A, W)).toBe(0);
    const s = span(A);
    expect(w.takeLog()).toEqual([
      `S(CLEAR,${s})`,
      `PT-(${A.toString(16)})`,
      `F(${s},12)`,
      `CPU(${s})`,
      `PC(${s})`,
      `M(${w.pfn(A)})`,
      `C(${A.toString(16)})`,
      `PT+(${A.toString(16)})`,
      `EO(${s})`,
    ]);
  });

  it('copy on write after fork: S PT- F R map C PT+ unmap EO; the other owner then reuses, and no moment is heard', () => {
    const w = new FaultWorld();
    const vma = w.area(4);
    w.fault(A, W);
    w.k.memory.bytes[w.pfn(A) * PAGE + 7] = 42;
    const child = w.fork(vma, w.secondMm());
    const old = w.pfn(A);
    w.record();
    expect(w.fault(A, W)).toBe(0);
    const s = span(A);
    expect(w.pfn(A)).not.toBe(old);
    expect(w.takeLog()).toEqual([
      `S(CLEAR,${s})`,
      'PT-(100000000)',
      `F(${s},12)`,
      `CPU(${s})`,
      `PC(${s})`,
      `M(${w.pfn(A)})`,
      'C(100000000)',
      'PT+(100000000)',
      `U(${old})`,
      `EO(${s})`,
    ]);
    expect(w.k.memory.bytes[w.pfn(A) * PAGE + 7]).toBe(42);
    expect(w.fault(A, W, child.mm)).toBe(0);
    expect(w.takeLog()).toEqual(['PT+(100000000)']);
    expect(w.k.pages.flags[old]! & PG_ANON_EXCLUSIVE).toBe(PG_ANON_EXCLUSIVE);
  });

  it('a kernel without change_pte copies with no such moment', () => {
    const w = new FaultWorld({ profile: profile('6.12') });
    w.area(1);
    w.fault(A, R);
    w.record();
    w.fault(A, W);
    expect(w.log.filter((l) => l.startsWith('C('))).toEqual([]);
    expect(w.log.at(-1)).toBe(`EO(${span(A)})`);
  });

  it('shared file: a read maps it read-only with its cached neighbours, the first write upgrades, without a moment', () => {
    const w = new FaultWorld();
    const inode = w.k.newInode('regular', '/f', 40 * PAGE);
    for (const i of [0, 3, 17]) w.k.fn.putPage(w.k, w.run(w.k.fn.filemapGetPage(w.k, inode.mapping, i)));
    const vma = w.area(32, SHARED_RW, inode);
    w.record();
    expect(w.fault(A + PAGE, R)).toBe(VM_FAULT_MAJOR);
    const mapped = Array.from({ length: 32 }, (_, i) => i).filter((i) => w.lo(A + i * PAGE) !== 0);
    expect(mapped).toEqual([0, 1, 3]);
    expect(w.lo(A + PAGE) & PTE_RW).toBe(0);
    w.takeLog();
    expect(w.fault(A + PAGE, W)).toBe(0);
    expect(w.takeLog()).toEqual([`PT+(${(A + PAGE).toString(16)})`]);
    expect(w.lo(A + PAGE) & (PTE_RW | PTE_D)).toBe(PTE_RW | PTE_D);
    expect(w.k.pages.flags[w.pfn(A + PAGE)]! & PG_DIRTY).toBe(PG_DIRTY);
    expect(vma.anonVma).toBeNull();
  });

  it('a page that must be read: one fault reads it with mmapLock dropped, the second maps it; the fault is major', () => {
    const w = new FaultWorld();
    const inode = w.k.newInode('regular', '/f', 4 * PAGE);
    w.area(4, SHARED_RW, inode);
    let locked = true;
    const read = w.k.fn.filemapGetPage;
    w.k.fn.filemapGetPage = function* (k, mapping, index) {
      locked = w.mm.mmapLock.isLocked;
      return yield* read(k, mapping, index);
    };
    expect(w.fault(A, R | FAULT_FLAG_ALLOW_RETRY)).toBe(VM_FAULT_MAJOR);
    expect(locked).toBe(false);
    expect([w.k.stats.faults, w.k.stats.majorFaults]).toEqual([2, 1]);
    expect(w.k.pages.refcount[w.pfn(A)]).toBe(2);
    expect(w.mm.mmapLock.isLocked).toBe(false);
  });

  it('private file: write of a none entry copies without a moment; write of a mapped page is the copy row', () => {
    const w = new FaultWorld();
    const inode = w.k.newInode('regular', '/f', 4 * PAGE);
    w.area(4, ANON_RW, inode);
    w.record();
    w.fault(A, W);
    expect(w.log.filter((l) => !/^(PT|M)/.test(l))).toEqual([]);
    expect([...w.mm.rss]).toEqual([0, 1, 0, 0]);
    w.fault(A + PAGE, R);
    w.takeLog();
    w.fault(A + PAGE, W);
    expect(w.takeLog().map((l) => l.replace(/\(.*/, ''))).toEqual([
      'S',
      'PT-',
      'F',
      'CPU',
      'PC',
      'M',
      'C',
      'PT+',
      'U',
      'EO',
    ]);
    // The first fault read the whole file around its page; the read mapped the other two along.
    expect([...w.mm.rss]).toEqual([2, 2, 0, 0]);
  });

  it('refusals: no VMA MAPERR, no right ACCERR, beyond the end of the file SIGBUS', () => {
    const w = new FaultWorld();
    const inode = w.k.newInode('regular', '/f', PAGE + 1);
    w.area(4, VM_READ, inode);
    expect(w.fault(A - 1, R)).toBe(VM_FAULT_SIGSEGV);
    expect(w.k.faultCode).toBe(SEGV_MAPERR);
    expect(w.fault(A, W)).toBe(VM_FAULT_SIGSEGV);
    expect(w.k.faultCode).toBe(SEGV_ACCERR);
    expect(w.fault(A + PAGE, R) & VM_FAULT_SIGBUS).toBe(0);
    expect(w.fault(A + 2 * PAGE, R)).toBe(VM_FAULT_SIGBUS);
    expect(w.mm.mmapLock.isLocked).toBe(false);
  });
});

describe('fork', () => {
  it('a copy-on-write VMA has one PROTECTION_PAGE pair on the parent, a shared one and an unfaulted one none', () => {
    const w = new FaultWorld();
    const anon = w.area(4);
    const untouched = w.area(4, ANON_RW, null, w.mm, A + 16 * PAGE);
    const shared = w.area(4, SHARED_RW, w.k.newInode('shmem', '/s', 4 * PAGE), w.mm, A + 32 * PAGE);
    w.fault(A + PAGE, W);
    w.fault(untouched.start, R);
    w.fault(shared.start, W);
    w.record();
    const child = w.secondMm();
    child.notifiers = null;
    for (const vma of [anon, untouched, shared]) w.fork(vma, child);
    const pfn = w.pfn(A + PAGE);
    expect(w.log.filter((l) => !/^PT\+\d/.test(l))).toEqual([
      `S(PROTECTION_PAGE,${span(A, 4 * PAGE)})`,
      `M(${pfn})`,
      `PT+(${(A + PAGE).toString(16)})`,
      `PT+(${(A + PAGE).toString(16)})`,
      `E(${span(A, 4 * PAGE)})`,
    ]);
    expect(w.lo(A + PAGE) & PTE_RW).toBe(0);
    expect(w.k.pages.flags[pfn]! & PG_ANON_EXCLUSIVE).toBe(0);
  });

  it('a pinned page stays the parent’s own and writable; the child has a copy at once', () => {
    const w = new FaultWorld();
    const vma = w.area(2);
    w.fault(A, W);
    w.fault(A + PAGE, W);
    const out = new Int32Array(1);
    expect(w.run(w.k.fn.pinUserPages(w.k, w.mm, A, 1, FOLL_LONGTERM, out))).toBe(1);
    const child = w.secondMm();
    w.fork(vma, child);
    expect(w.pfn(A)).toBe(out[0]);
    expect(w.lo(A) & PTE_RW).toBe(PTE_RW);
    expect(w.k.pages.mapcount[out[0]!]).toBe(1);
    expect(w.lo(A + PAGE) & PTE_RW).toBe(0);
    expect(child.rss[1]).toBe(2);
    w.k.fn.unpinUserPage(w.k, out[0]!, true);
    expect(w.k.pages.refcount[out[0]!]).toBe(1);
  });
});

describe('page_mkclean', () => {
  it('one pair for each shared VMA of the range in offset order, entries changed only where writable or dirty', () => {
    const w = new FaultWorld();
    const inode = w.k.newInode('regular', '/f', 16 * PAGE);
    const other = w.secondMm();
    const first = w.area(4, SHARED_RW, inode, other, A, 0);
    const late = w.area(4, SHARED_RW, inode, w.mm, A, 2);
    w.area(4, ANON_RW, inode, w.mm, A + 64 * PAGE, 0); // private: not visited
    w.area(2, SHARED_RW, inode, w.mm, A + 128 * PAGE, 3); // never touched
    w.fault(A + PAGE, W); // index 3
    w.fault(A + 3 * PAGE, R, other); // index 3, clean
    w.record();
    other.notifiers = w.mm.notifiers;
    const pfn = w.pfn(A + PAGE);
    expect(w.locked(pfn, () => w.run(w.k.fn.pageMkclean(w.k, pfn)))).toBe(1);
    const [a, b, c] = [first.start + 3 * PAGE, late.start + PAGE, A + 128 * PAGE].map((x) => span(x));
    const hex = (A + PAGE).toString(16);
    expect(w.log).toEqual([
      `S(PROTECTION_PAGE,${a})`,
      `E(${a})`,
      `S(PROTECTION_PAGE,${b})`,
      `PT-(${hex})`,
      `F(${b},12)`,
      `CPU(${b})`,
      `PC(${b})`,
      `PT+(${hex})`,
      `E(${b})`,
      `S(PROTECTION_PAGE,${c})`,
      `E(${c})`,
    ]);
    expect(w.lo(A + PAGE) & (PTE_RW | PTE_D)).toBe(0);
  });
});

describe('try_to_unmap', () => {
  it('anonymous page of two processes: a complete pair each, swap entry in place before R', () => {
    const w = new FaultWorld();
    const vma = w.area(2);
    w.fault(A, W);
    const child = w.secondMm();
    w.fork(vma, child);
    const pfn = w.pfn(A);
    withSwapEntry(w, pfn, 77);
    w.record();
    child.notifiers = w.mm.notifiers;
    expect(w.locked(pfn, () => w.run(w.k.fn.tryToUnmap(w.k, pfn, 0)))).toBe(true);
    const s = span(A);
    const one = ['PT-(100000000)', `F(${s},12)`, `CPU(${s})`, 'PT+(100000000)', `PC(${s})`, `U(${pfn})`];
    expect(w.log).toEqual([`S(CLEAR,${s})`, ...one, `E(${s})`, `S(CLEAR,${s})`, ...one, `E(${s})`]);
    expect([...w.mm.rss, ...child.rss]).toEqual([0, 0, 1, 0, 0, 0, 1, 0]);
    expect(w.lo(A) & SWP_EXCLUSIVE).toBe(0);
  });

  it('the walk ends with the last mapping, and an exclusive page leaves an exclusive entry', () => {
    const w = new FaultWorld();
    const vma = w.area(2);
    w.fault(A + PAGE, W);
    w.fork(vma, w.secondMm());
    w.fault(A, W);
    const pfn = w.pfn(A);
    withSwapEntry(w, pfn, 5);
    w.record();
    expect(w.locked(pfn, () => w.run(w.k.fn.tryToUnmap(w.k, pfn, 0)))).toBe(true);
    expect(w.log.filter((l) => l.startsWith('S('))).toEqual([`S(CLEAR,${span(A)})`]);
    expect(w.lo(A) & SWP_EXCLUSIVE).toBe(SWP_EXCLUSIVE);
  });

  it('file page: no entry is left, the dirty bit goes to the page', () => {
    const w = new FaultWorld();
    const inode = w.k.newInode('shmem', '/s', 4 * PAGE);
    w.area(4, SHARED_RW, inode);
    w.fault(A, W);
    const pfn = w.pfn(A);
    w.k.pages.flags[pfn] = w.k.pages.flags[pfn]! & ~PG_DIRTY;
    w.record();
    expect(w.locked(pfn, () => w.run(w.k.fn.tryToUnmap(w.k, pfn, 0)))).toBe(true);
    const s = span(A);
    expect(w.log).toEqual([
      `S(CLEAR,${s})`,
      'PT-(100000000)',
      `F(${s},12)`,
      `CPU(${s})`,
      `PC(${s})`,
      `U(${pfn})`,
      `E(${s})`,
    ]);
    expect(w.lo(A)).toBe(0);
    expect(w.k.pages.flags[pfn]! & PG_DIRTY).toBe(PG_DIRTY);
    expect([...w.mm.rss]).toEqual([0, 0, 0, 0]);
  });

  it('MADV_FREE page: clean goes with R, dirty comes back without', () => {
    for (const dirty of [false, true]) {
      const w = new FaultWorld();
      w.area(1);
      w.fault(A, W);
      const pfn = w.pfn(A);
      w.k.pages.flags[pfn] = w.k.pages.flags[pfn]! & ~PG_SWAPBACKED;
      w.setEntry(A, dirty ? w.lo(A) : w.lo(A) & ~PTE_D, 0);
      w.record();
      expect(w.locked(pfn, () => w.run(w.k.fn.tryToUnmap(w.k, pfn, 0)))).toBe(!dirty);
      const s = span(A);
      const tail = dirty ? ['PT+(100000000)'] : [`PC(${s})`, `U(${pfn})`];
      expect(w.log).toEqual([`S(CLEAR,${s})`, 'PT-(100000000)', `F(${s},12)`, `CPU(${s})`, ...tail, `E(${s})`]);
      expect(w.k.pages.flags[pfn]! & PG_SWAPBACKED).toBe(dirty ? PG_SWAPBACKED : 0);
    }
  });

  it('a locked VMA, a pinned exclusive page and a full swap count leave the entry as it was', () => {
    for (const why of ['locked', 'pinned', 'count']) {
      const w = new FaultWorld();
      const vma = w.area(1, why === 'locked' ? ANON_RW | VM_LOCKED : ANON_RW);
      w.fault(A, W);
      const pfn = w.pfn(A);
      withSwapEntry(w, pfn, 9);
      if (why === 'count') w.k.fn.swapDuplicate = () => -12;
      if (why === 'pinned') w.run(w.k.fn.pinUserPages(w.k, w.mm, A, 1, FOLL_LONGTERM, new Int32Array(1)));
      const before = w.lo(A);
      w.record();
      expect(w.locked(pfn, () => w.run(w.k.fn.tryToUnmap(w.k, pfn, 0)))).toBe(false);
      expect(w.lo(A), why).toBe(before);
      expect(w.log[0]).toBe(`S(CLEAR,${span(A)})`);
      expect(w.log.at(-1)).toBe(`E(${span(A)})`);
      expect(w.log.some((l) => l.startsWith('PC('))).toBe(false);
      expect(w.k.pages.mapcount[pfn]).toBe(1);
      expect(vma.mm.rss[1]).toBe(1);
    }
  });
});

describe('folio_referenced', () => {
  it('takes A from each mapping and asks each address space, without a section or a flush', () => {
    const w = new FaultWorld();
    const vma = w.area(1);
    w.fault(A, W);
    const child = w.secondMm();
    w.fork(vma, child); // the child's entry is old
    const pfn = w.pfn(A);
    w.record();
    child.notifiers = w.mm.notifiers;
    expect(w.run(w.k.fn.folioReferenced(w.k, pfn, false))).toBe(1);
    expect(w.log).toEqual(['PT+(100000000)', 'Y(100000000)', 'Y(100000000)']);
    w.takeLog();
    expect(w.run(w.k.fn.folioReferenced(w.k, pfn, false))).toBe(0);
    expect(w.log).toEqual(['Y(100000000)', 'Y(100000000)']);
    expect(w.lo(A) & PTE_A).toBe(0);
  });

  it('stops at a locked VMA before it asks, and is -1 when the rmap lock is taken', () => {
    const w = new FaultWorld();
    const vma = w.area(1, ANON_RW | VM_LOCKED);
    w.fault(A, W);
    const pfn = w.pfn(A);
    w.record();
    expect(w.run(w.k.fn.folioReferenced(w.k, pfn, false))).toBe(0);
    expect(w.k.referencedVmFlags & VM_LOCKED).toBe(VM_LOCKED);
    expect(w.log).toEqual([]);
    vma.anonVma!.root.lock.tryWrite();
    expect(w.run(w.k.fn.folioReferenced(w.k, pfn, false))).toBe(-1);
  });
});

describe('truncate and punch hole', () => {
  function world(): { w: FaultWorld; inode: Inode } {
    const w = new FaultWorld();
    const inode = w.k.newInode('regular', '/f', 8 * PAGE);
    // Offsets run against addresses.
    w.area(4, ANON_RW, inode, w.mm, A, 4);
    w.area(4, SHARED_RW, inode, w.mm, A + 64 * PAGE, 0);
    w.fault(A + PAGE, W); // private copy of index 5
    w.fault(A + 67 * PAGE, W); // shared index 3
    return { w, inode };
  }

  it('truncate: two full rounds over the VMAs in file-offset order, private copies go too', () => {
    const { w, inode } = world();
    const shared = w.pfn(A + 67 * PAGE);
    w.record();
    expect(w.run(w.k.fn.truncate(w.k, inode, 2 * PAGE + 100))).toBe(0);
    const round = [
      `S(CLEAR,${span(A + 67 * PAGE)})`,
      `E(${span(A + 67 * PAGE)})`,
      `S(CLEAR,${span(A, 4 * PAGE)})`,
      `E(${span(A, 4 * PAGE)})`,
    ];
    expect(w.log.filter((l) => /^[SE]\(/.test(l))).toEqual([...round, ...round]);
    const freed = w.log.indexOf(`FREE(${shared})`);
    expect(freed).toBeGreaterThan(w.log.indexOf(round[3]!));
    expect(freed).toBeLessThan(w.log.lastIndexOf(round[0]!));
    expect([w.lo(A + PAGE), w.lo(A + 67 * PAGE)]).toEqual([0, 0]);
    expect([...w.mm.rss]).toEqual([0, 0, 0, 0]);
  });

  it('punch hole: the range is written back, then one round, private copies stay', () => {
    const { w, inode } = world();
    w.record();
    expect(w.run(w.k.fn.punchHole(w.k, inode, 3 * PAGE, 7 * PAGE))).toBe(0);
    expect(w.log.filter((l) => /^[SE]\(/.test(l))).toEqual([
      `S(PROTECTION_PAGE,${span(A + 67 * PAGE)})`,
      `E(${span(A + 67 * PAGE)})`,
      `S(CLEAR,${span(A + 67 * PAGE)})`,
      `E(${span(A + 67 * PAGE)})`,
      `S(CLEAR,${span(A, 3 * PAGE)})`,
      `E(${span(A, 3 * PAGE)})`,
    ]);
    expect(w.lo(A + PAGE) & PTE_P).toBe(PTE_P);
    expect([...w.mm.rss]).toEqual([0, 1, 0, 0]);
  });
});

describe('pins', () => {
  it('a read-only pin of a page shared by fork unshares it first, with the copy row', () => {
    const w = new FaultWorld();
    const vma = w.area(1);
    w.fault(A, W);
    w.fork(vma, w.secondMm());
    const old = w.pfn(A);
    w.record();
    const out = new Int32Array(1);
    expect(w.run(w.k.fn.pinUserPages(w.k, w.mm, A, 1, FOLL_LONGTERM, out))).toBe(1);
    expect(out[0]).not.toBe(old);
    expect(w.takeLog().map((l) => l.replace(/\(.*/, ''))).toEqual([
      'S',
      'PT-',
      'F',
      'CPU',
      'PC',
      'M',
      'C',
      'PT+',
      'U',
      'EO',
    ]);
    expect(w.lo(A) & PTE_RW).toBe(0);
    // The owner's write goes to the pinned page: reuse.
    expect(w.fault(A, W)).toBe(0);
    expect(w.pfn(A)).toBe(out[0]);
    expect(w.takeLog()).toEqual(['PT+(100000000)']);
  });

  it('rights and holes: the number of pages before the failure, or -EFAULT', () => {
    const w = new FaultWorld();
    w.area(2, VM_READ);
    w.area(1, VM_READ | VM_WRITE, null, w.mm, A + 2 * PAGE);
    const out = new Int32Array(8);
    expect(w.run(w.k.fn.getUserPages(w.k, w.mm, A, 8, 0, out))).toBe(3);
    expect(w.run(w.k.fn.getUserPages(w.k, w.mm, A, 1, 1, out))).toBe(-14);
    expect(w.run(w.k.fn.getUserPages(w.k, w.mm, A + 3 * PAGE, 1, 0, out))).toBe(-14);
    expect(w.k.pages.refcount[w.k.zeroPfn]).toBe(4);
  });
});
