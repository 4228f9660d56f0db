// Page-table pages on demand (__pud_alloc, __pmd_alloc, __pte_alloc), top-down. A new table is filled with zeros before
// its entry becomes visible. The entry is written under the ptl of the table that holds it; who comes second gives his back.

import { VM_FAULT_OOM } from '../../abi/mman.ts';
import { LEVEL_PGD, LEVEL_PMD, LEVEL_PUD, PTE_P, PTE_PS, PTE_TABLE } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo, entryWord, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { allocTable, allocTableSlow } from '../numa/alloc.ts';
import { PG_TABLE } from '../page/pages.ts';
import { commitTableCharge } from '../reclaim/mem-cgroup.ts';
import type { MmStruct } from '../types.ts';

const SPAN = [4096, 0x200000, 0x40000000, 0x8000000000];

/** Frame of the page table that holds the PTE of `address`, or 0 when there is none (or a larger leaf stands there). */
export function pteTable(k: Kernel, mm: MmStruct, address: number): number {
  const m = k.memory;
  const hi = vpnHi(address);
  const pgd = entryLo(m, entryWord(mm.pgd, hi >>> 9));
  if ((pgd & PTE_P) === 0) return 0;
  const pud = entryLo(m, entryWord(pgd >>> 12, hi & 511));
  if ((pud & (PTE_P | PTE_PS)) !== PTE_P) return 0;
  const pmd = entryLo(m, entryWord(pud >>> 12, vpnLo(address) >>> 9));
  return (pmd & (PTE_P | PTE_PS)) === PTE_P ? pmd >>> 12 : 0;
}

/** Word index of the PTE of `address` in page table `table`. */
export function pteOffset(table: number, address: number): number {
  return (table << 10) + ((vpnLo(address) & 511) << 1);
}

/** pud_alloc's table: frame of the PUD table for `address`, made when missing; 0 when out of memory. */
export function pudAlloc(k: Kernel, mm: MmStruct, address: number): KernelPath<number> {
  return tableAlloc(k, mm, entryWord(mm.pgd, vpnHi(address) >>> 9), address, LEVEL_PGD);
}

/** pmd_alloc's table: frame of the PMD table for `address`, made when missing; 0 when out of memory or below a 1 GiB leaf. */
export function* pmdAlloc(k: Kernel, mm: MmStruct, address: number): KernelPath<number> {
  const pud = yield* pudAlloc(k, mm, address);
  if (pud === 0) return 0;
  return yield* tableAlloc(k, mm, entryWord(pud, vpnHi(address) & 511), address, LEVEL_PUD);
}

/** pte_alloc: frame of the page table for `address`, made when missing; 0 when out of memory or below a larger leaf. */
export function pteAlloc(k: Kernel, mm: MmStruct, address: number): KernelPath<number> {
  const word = pmdWord(k.memory, mm.pgd, vpnHi(address), vpnLo(address));
  return word >= 0 ? tableAlloc(k, mm, word, address, LEVEL_PMD) : pteAllocFromTop(k, mm, address);
}

/** The same where a table above is missing as well. */
function* pteAllocFromTop(k: Kernel, mm: MmStruct, address: number): KernelPath<number> {
  const pmd = yield* pmdAlloc(k, mm, address);
  if (pmd === 0) return 0;
  return yield* tableAlloc(k, mm, entryWord(pmd, vpnLo(address) >>> 9), address, LEVEL_PMD);
}

/** The result of a fault that got no table: out of memory, or somebody mapped a huge page meanwhile and the access is tried again. */
export function withoutTable(k: Kernel, mm: MmStruct, address: number): number {
  const word = pmdWord(k.memory, mm.pgd, vpnHi(address), vpnLo(address));
  return word >= 0 && (entryLo(k.memory, word) | entryHi(k.memory, word)) !== 0 ? 0 : VM_FAULT_OOM;
}

/** Frame of the table that the entry at `word` points to, made when the entry is none. */
function* tableAlloc(k: Kernel, mm: MmStruct, word: number, address: number, level: number): KernelPath<number> {
  const m = k.memory;
  const lo = entryLo(m, word);
  if ((lo & PTE_P) !== 0) return (lo & PTE_PS) === 0 ? lo >>> 12 : 0;
  let table = allocTable(k);
  if (table === 0) table = yield* allocTableSlow(k);
  if (table === 0) return 0;
  m.zero(table);
  k.pages.flags[table] = k.pages.flags[table]! | PG_TABLE;
  k.pages.private[table] = 0; // no page tables deposited (huge/deposit.ts)
  const holder = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(holder)) yield* k.ptl.lock(holder);
  const now = entryLo(m, word);
  if ((now | entryHi(m, word)) === 0) {
    writeEntry(m, word, (table << 12) | PTE_TABLE, 0, mm.id, address - (address % SPAN[level]!), level);
    if (mm.memcg !== 0) commitTableCharge(k, k.reclaim.groups[mm.memcg]!, table);
    mm.tablePages++;
    k.ptl.unlock(holder);
    return table;
  }
  k.ptl.unlock(holder);
  k.pages.flags[table] = k.pages.flags[table]! & ~PG_TABLE;
  k.fn.putPage(k, table);
  return (now & (PTE_P | PTE_PS)) === PTE_P ? now >>> 12 : 0;
}
