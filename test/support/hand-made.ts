// For tests of zap and reclaim: a kernel, an address space and pages put in place by hand, and a recorder of everything that
// the notifier design would hear and of the events, in one list of short strings:
//
//   S(CLEAR,100000000,100003000)  E(...)  EO(...)  R(gather range)  F(start,end,stride[,tables])  CPU(...) PC(cleared pte)
//   AF(pages about to be freed)  PT-(va) PT+(va)  G(pfn) GT(table base)  FREE(pfn)  Y(va)
import { E_FLUSH, E_FRAME_FREE, E_GATHER, E_PTE, FRAME_ANON, FRAME_FILE, FRAME_GATHER } from '../../src/abi/events.ts';
import { VM_MAYREAD, VM_MAYWRITE, VM_READ, VM_SHARED, VM_WRITE } from '../../src/abi/mman.ts';
import { MMU_NOTIFY_NAMES } from '../../src/abi/notifier.ts';
import { LEVEL_PTE, PTE_A, PTE_D, PTE_P, PTE_RW, PTE_US } from '../../src/abi/pte.ts';
import { vpnLo } from '../../src/hw/page-table.ts';
import { entryWord, writeEntry } from '../../src/hw/pte.ts';
import { type KernelConfig, kernelConfig } from '../../src/mm/config.ts';
import { pteTable } from '../../src/mm/fault/page-tables.ts';
import { Kernel } from '../../src/mm/kernel.ts';
import { PG_ANON, PG_ANON_EXCLUSIVE, PG_SWAPBACKED, PG_UPTODATE } from '../../src/mm/page/pages.ts';
import { vmPageProtHi, vmPageProtLo } from '../../src/mm/page/swapops.ts';
import { linuxFns } from '../../src/mm/table.ts';
import { type Inode, type MmStruct, OpenFile, VmArea } from '../../src/mm/types.ts';
import type { NotifierDesign, NotifierMm, NotifierRange } from '../../src/notifier/host.ts';
import { QuietDesign } from '../../src/notifier/quiet-design.ts';
import type { AtomicPath, KernelPath } from '../../src/sched/path.ts';

export const ANON_RW = VM_READ | VM_WRITE | VM_MAYREAD | VM_MAYWRITE;
export const SHARED_RW = ANON_RW | VM_SHARED;

const hex = (x: number): string => (x === Number.POSITIVE_INFINITY ? 'max' : x.toString(16));

/** From now on everything that happens is written down, notifier moments of `mm` included. */
export function recordInto(k: Kernel, mm: MmStruct, write: (line: string) => void): void {
  mm.notifiers = { hasSubscribers: true };
  k.design = recorder(write);
  k.memory.log.attach({
    onRecord: (ring, at) => {
      const type = ring[at]!;
      const start = ring[at + 4]!;
      if (type === E_PTE) {
        const level = ring[at + 7]!;
        const isClear = ring[at + 8] === 0 && ring[at + 9] === 0;
        write(`PT${isClear ? '-' : '+'}${level > 0 ? level : ''}(${hex(start)})`);
      } else if (type === E_GATHER) {
        write(ring[at + 8] === 1 ? `GT(${hex(start)})` : `G(${ring[at + 6]})`);
      } else if (type === E_FRAME_FREE) {
        if (ring[at + 8] !== FRAME_GATHER) write(`FREE(${ring[at + 6]})`);
      } else if (type === E_FLUSH) {
        const tables = ring[at + 9] === 1 ? ',tables' : '';
        write(`F(${hex(start)},${hex(ring[at + 5]!)},${ring[at + 8]}${tables})`);
      }
    },
  });
}

export class HandMade {
  readonly k: Kernel;
  readonly mm: MmStruct;
  /** What happened, in order. */
  log: string[] = [];

  constructor(parts: Partial<KernelConfig> = {}) {
    this.k = new Kernel(kernelConfig({ frames: 4096, ...parts }), linuxFns);
    this.mm = this.k.newMm()!;
    this.mm.cpuMask = 1;
  }

  /** Runs a path to its end. */
  run<T>(path: KernelPath<T>): T {
    return this.k.sched.run(path);
  }

  /** From now on everything is written to `log`, notifier moments included. */
  record(): void {
    this.log = [];
    recordInto(this.k, this.mm, (line) => this.log.push(line));
  }

  /** The log without entry changes and gather lines. */
  get moments(): string[] {
    return this.log.filter((l) => !/^(PT|G)/.test(l));
  }

  vma(start: number, end: number, flags = ANON_RW, inode: Inode | null = null): VmArea {
    const file = inode === null ? null : new OpenFile(inode, true, true);
    const vma = new VmArea(this.mm, start, end, flags, file, file === null ? start / 4096 : 0, 0);
    vma.pageProtLo = vmPageProtLo(flags);
    vma.pageProtHi = vmPageProtHi(flags);
    this.mm.vmas.insert(vma);
    this.mm.totalVm += (end - start) / 4096;
    if (file !== null) this.run(this.k.fn.linkFileVma(this.k, vma));
    this.run(this.k.fn.anonVmaPrepare(this.k, vma));
    return vma;
  }

  /** An anonymous page, written and exclusive, mapped at `address`. Its frame. */
  anon(vma: VmArea, address: number, bits = PTE_RW | PTE_D | PTE_A): number {
    const { k, mm } = this;
    const pfn = k.fn.allocPage(k, 0, FRAME_ANON);
    k.memory.zero(pfn);
    k.pages.flags[pfn] = PG_SWAPBACKED | PG_UPTODATE;
    k.fn.pageAddNewAnonRmap(k, pfn, vma, address);
    k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_ANON | PG_ANON_EXCLUSIVE;
    k.fn.lruAdd(k, pfn);
    mm.rss[1] = mm.rss[1]! + 1;
    this.setEntry(address, (pfn << 12) | PTE_P | PTE_US | bits, 0);
    return pfn;
  }

  anonRange(vma: VmArea, start: number, count: number): number[] {
    return Array.from({ length: count }, (_, i) => this.anon(vma, start + i * 4096));
  }

  /** A page of the file's cache (made when missing) mapped at `address`. */
  file(vma: VmArea, address: number, bits = PTE_A): number {
    const { k, mm } = this;
    const mapping = vma.file!.inode.mapping;
    const index = vma.pgoff + (address - vma.start) / 4096;
    let pfn = mapping.pages.get(index) ?? 0;
    if (pfn === 0) {
      pfn = k.fn.allocPage(k, 0, FRAME_FILE);
      k.memory.zero(pfn);
      const isShmem = vma.file!.inode.kind === 'shmem';
      k.pages.flags[pfn] = PG_UPTODATE | (isShmem ? PG_SWAPBACKED : 0);
      k.pages.mapping[pfn] = mapping;
      k.pages.index[pfn] = index;
      mapping.pages.set(index, pfn);
      k.fn.lruAdd(k, pfn);
    }
    k.pages.refcount[pfn] = k.pages.refcount[pfn]! + 1;
    k.fn.pageAddFileRmap(k, pfn, vma, address);
    const counter = vma.file!.inode.kind === 'shmem' ? 3 : 0;
    mm.rss[counter] = mm.rss[counter]! + 1;
    this.setEntry(address, (pfn << 12) | PTE_P | PTE_US | bits, 0);
    return pfn;
  }

  setEntry(address: number, lo: number, hi: number): void {
    const table = this.run(this.k.fn.pteAlloc(this.k, this.mm, address));
    writeEntry(this.k.memory, entryWord(table, vpnLo(address) & 511), lo, hi, this.mm.id, address, LEVEL_PTE);
  }

  /** Low word of the entry for `address`, 0 when there is no table. */
  lo(address: number): number {
    const table = pteTable(this.k, this.mm, address);
    return table === 0 ? 0 : this.k.memory.words[entryWord(table, vpnLo(address) & 511)]!;
  }

  /** munmap of whole VMAs, as do_mas_align_munmap does it after the VMAs left the tree. */
  munmap(vmas: VmArea[], start: number, end: number, prevEnd = 0, nextStart = 0x7ffffffff000): void {
    const { k, mm } = this;
    for (const vma of vmas) {
      mm.vmas.remove(vma);
      mm.totalVm -= (vma.end - vma.start) / 4096;
    }
    this.run(unmap(k, mm, vmas, start, end, prevEnd, nextStart));
  }
}

function* unmap(
  k: Kernel,
  mm: MmStruct,
  vmas: VmArea[],
  start: number,
  end: number,
  prevEnd: number,
  nextStart: number,
): KernelPath<void> {
  const tlb = k.fn.tlbGatherMmu(k, mm, false, 0);
  yield* k.fn.unmapVmas(k, tlb, vmas, start, end);
  yield* k.fn.freePgtables(k, tlb, vmas, prevEnd, nextStart);
  yield* k.fn.tlbFinishMmu(k, tlb);
}

function recorder(say: (line: string) => void): NotifierDesign {
  function* note(line: string): AtomicPath<void> {
    say(line);
  }
  class Recorder extends QuietDesign {
    readonly name = 'recorder';

    override *invalidateRangeStart(r: NotifierRange): KernelPath<number> {
      say(`S(${MMU_NOTIFY_NAMES[r.event]},${hex(r.start)},${hex(r.end)})`);
      return 0;
    }

    override *invalidateRangeEnd(r: NotifierRange, onlyEnd: boolean): KernelPath<void> {
      say(`${onlyEnd ? 'EO' : 'E'}(${hex(r.start)},${hex(r.end)})`);
    }

    override pteClearedAndFlushed(_mm: NotifierMm, start: number, end: number): AtomicPath<void> {
      return note(`PC(${hex(start)},${hex(end)})`);
    }

    override changePte(_mm: NotifierMm, address: number): AtomicPath<void> {
      return note(`C(${hex(address)})`);
    }

    override gatherFlushed(_mm: NotifierMm, start: number, end: number): AtomicPath<void> {
      return note(`R(${hex(start)},${hex(end)})`);
    }

    override cpuTlbFlushed(_mm: NotifierMm, start: number, end: number): AtomicPath<void> {
      return note(`CPU(${hex(start)},${hex(end)})`);
    }

    override pagesAboutToBeFreed(_mm: NotifierMm, start: number, end: number): AtomicPath<void> {
      return note(`AF(${hex(start)},${hex(end)})`);
    }

    override *young(_mm: NotifierMm, start: number): AtomicPath<boolean> {
      say(`Y(${hex(start)})`);
      return false;
    }
  }
  return new Recorder();
}
