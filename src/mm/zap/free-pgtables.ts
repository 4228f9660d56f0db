// Freeing page tables that no VMA needs any more (mm/memory.c free_pgtables, free_pgd_range). A table goes only when its whole
// span lies between `floor` (end of the VMA before) and `ceiling` (start of the VMA after). First the VMAs leave the rmap
// trees, so that no rmap walk comes upon a table on its way out; then each table is unlinked and queued in the gather. Hardware
// walkers may still stand in it: the flush before the frame is freed is what stops them. No section is open here.
//
// Locks: mmapLock (read is enough: the VMAs are detached, nobody else can find these tables).

import { PGDIR_SIZE, PMD_SIZE, PUD_SIZE, TASK_SIZE, VM_HUGETLB } from '../../abi/mman.ts';
import { LEVEL_PGD, LEVEL_PMD, LEVEL_PUD, PTE_P, PTE_PS } from '../../abi/pte.ts';
import { vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryLo, entryWord, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_TABLE_UNLINKED } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import type { VmArea } from '../types.ts';
import { modPower } from '../vma/address.ts';
import { isInRmap } from '../vma/adjust.ts';
import { CLEARED_P4DS, CLEARED_PMDS, CLEARED_PUDS, type MmuGather } from './mmu-gather.ts';
import { nextPopulatedPmd, nextPopulatedPud } from './walk-range.ts';

/** Above every user table: what a ceiling of 0 means in Linux. */
const NO_CEILING = 0x800000000000;

export function* freePgtables(
  k: Kernel,
  tlb: MmuGather,
  vmas: readonly VmArea[],
  prevEnd: number,
  nextStart: number,
): KernelPath<void> {
  const ceiling = nextStart >= TASK_SIZE ? NO_CEILING : nextStart;
  for (let i = 0; i < vmas.length; ) {
    const start = vmas[i]!.start;
    let last = vmas[i++]!;
    if (isInRmap(last)) yield* unlinkFromRmap(k, last);
    // Nearby VMAs share one call: they share tables.
    while (i < vmas.length && mayShareCall(last, vmas[i]!)) {
      last = vmas[i++]!;
      if (isInRmap(last)) yield* unlinkFromRmap(k, last);
    }
    const above = i < vmas.length ? vmas[i]!.start : ceiling;
    const tables = k.fn.freePgdRange(k, tlb, start, last.end, prevEnd, above);
    if (tables !== null) yield* tables;
  }
}

/** hugetlb VMAs are freed one by one. */
function mayShareCall(last: VmArea, next: VmArea): boolean {
  return next.start <= last.end + PMD_SIZE && ((last.flags | next.flags) & VM_HUGETLB) === 0;
}

function* unlinkFromRmap(k: Kernel, vma: VmArea): KernelPath<void> {
  if (vma.chain.length > 0) yield* k.fn.unlinkAnonVmas(k, vma);
  if (vma.file !== null) yield* k.fn.unlinkFileVma(k, vma);
}

/** Does the table of span `size` whose entries cover [address, end) hold nothing of a neighbour? */
function isAlone(address: number, end: number, floor: number, ceiling: number, size: number): boolean {
  const start = address - modPower(address, size);
  return start >= floor && end <= ceiling - modPower(ceiling, size);
}

/** The tables that lie wholly between `floor` and `ceiling`; null when there can be none. */
export function freePgdRange(
  k: Kernel,
  tlb: MmuGather,
  addr: number,
  end: number,
  floor: number,
  ceiling: number,
): KernelPath<void> | null {
  addr -= modPower(addr, PMD_SIZE);
  if (addr < floor) addr += PMD_SIZE;
  if (ceiling >= NO_CEILING) ceiling = NO_CEILING;
  const pmdCeiling = ceiling - modPower(ceiling, PMD_SIZE);
  if (end > pmdCeiling) end -= PMD_SIZE;
  return addr >= end ? null : freeTablesIn(k, tlb, addr, end, floor, ceiling);
}

function* freeTablesIn(
  k: Kernel,
  tlb: MmuGather,
  addr: number,
  end: number,
  floor: number,
  ceiling: number,
): KernelPath<void> {
  const m = k.memory;
  const root = tlb.mm.pgd;
  while (addr < end) {
    const pgdEnd = Math.min(end, addr - (addr % PGDIR_SIZE) + PGDIR_SIZE);
    const pgd = entryWord(root, vpnHi(addr) >>> 9);
    if ((entryLo(m, pgd) & PTE_P) !== 0) {
      const pudTable = entryLo(m, pgd) >>> 12;
      for (let at = nextPopulatedPud(m, root, addr, pgdEnd); at < pgdEnd; ) {
        const to = Math.min(pgdEnd, at - modPower(at, PUD_SIZE) + PUD_SIZE);
        const pud = entryWord(pudTable, vpnHi(at) & 511);
        yield* freePmdRange(k, tlb, entryLo(m, pud) >>> 12, at, to);
        if (isAlone(at, to, floor, ceiling, PUD_SIZE))
          yield* freeTable(k, tlb, pud, at - modPower(at, PUD_SIZE), LEVEL_PUD);
        at = nextPopulatedPud(m, root, to, pgdEnd);
      }
      if (isAlone(addr, pgdEnd, floor, ceiling, PGDIR_SIZE)) {
        yield* freeTable(k, tlb, pgd, addr - (addr % PGDIR_SIZE), LEVEL_PGD);
      }
    }
    addr = pgdEnd;
  }
}

/** The page tables under one PMD table. */
function* freePmdRange(k: Kernel, tlb: MmuGather, pmdTable: number, addr: number, end: number): KernelPath<void> {
  const m = k.memory;
  const root = tlb.mm.pgd;
  for (let at = nextPopulatedPmd(m, root, addr, end); at < end; ) {
    const word = entryWord(pmdTable, vpnLo(at) >>> 9);
    const base = at - modPower(at, PMD_SIZE);
    if ((entryLo(m, word) & (PTE_P | PTE_PS)) === PTE_P) yield* freeTable(k, tlb, word, base, LEVEL_PMD);
    at = nextPopulatedPmd(m, root, base + PMD_SIZE, end);
  }
}

/** Unlinks the table that the entry at `word` (of `level`, translating from `base`) points to, and queues its frame. */
function* freeTable(k: Kernel, tlb: MmuGather, word: number, base: number, level: number): KernelPath<void> {
  const m = k.memory;
  const table = entryLo(m, word) >>> 12;
  writeEntry(m, word, 0, 0, tlb.mm.id, base, level);
  tlb.mm.tablePages--;
  const cleared = level === LEVEL_PMD ? CLEARED_PMDS : level === LEVEL_PUD ? CLEARED_PUDS : CLEARED_P4DS;
  tlb.addRange(base, base + 4096, cleared);
  tlb.freedTables = true;
  if (k.sched.points) yield P_TABLE_UNLINKED;
  if (!k.fn.tlbRemovePage(k, tlb, table, base, true)) return;
  yield* k.fn.tlbFlushMmuTlbonly(k, tlb);
  yield* k.fn.tlbFlushMmuFree(k, tlb);
}
