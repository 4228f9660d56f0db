// Page tables put by for the day when a huge entry is split: one for each leaf of anonymous memory, so that a split never has to
// allocate. They hang on the page of the PMD table (pmd_huge_pte), in a ring: the last one put in is taken first, then the ring
// is walked. Guarded by the ptl of the PMD table. A deposited table is counted in mm.tablePages and has one reference.
//
// The ring is intrusive: pages.private of the PMD table names its head (0 = none), pages.next and prev of the tables link it.
// Kernel names: pgtable_trans_huge_deposit, pgtable_trans_huge_withdraw, zap_deposited_table.

import { assert, fail } from '../../base/assert.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { allocTable, allocTableSlow } from '../numa/alloc.ts';
import { PG_TABLE } from '../page/pages.ts';
import { notePage } from '../rmap/rmap.ts';
import type { MmStruct } from '../types.ts';

/** pte_alloc_one: a table that no entry points to yet, zeroed, or 0. */
export function* pteAllocOne(k: Kernel): KernelPath<number> {
  let table = allocTable(k);
  if (table === 0) table = yield* allocTableSlow(k);
  if (table === 0) return 0;
  k.memory.zero(table);
  k.pages.flags[table] = k.pages.flags[table]! | PG_TABLE;
  return table;
}

/** pte_free: a table that no entry points to and no walker can reach. */
export function pteFree(k: Kernel, table: number): void {
  k.pages.flags[table] = k.pages.flags[table]! & ~PG_TABLE;
  k.fn.putPage(k, table);
}

/** pgtable_trans_huge_deposit, with mm_inc_nr_ptes. */
export function deposit(k: Kernel, mm: MmStruct, pmdTable: number, table: number): void {
  const { private: first, next, prev } = k.pages;
  notePage(k, pmdTable);
  const head = first[pmdTable]!;
  if (head === 0) {
    next[table] = prev[table] = table;
  } else {
    // list_add: right behind the old head.
    const after = next[head]!;
    next[head] = table;
    prev[table] = head;
    next[table] = after;
    prev[after] = table;
  }
  first[pmdTable] = table;
  mm.tablePages++;
}

/** pgtable_trans_huge_withdraw. The table stays counted. */
export function withdraw(k: Kernel, pmdTable: number): number {
  const { private: first, next, prev } = k.pages;
  notePage(k, pmdTable);
  const table = first[pmdTable]!;
  assert(table !== 0, 'withdraw: a table was deposited');
  const after = next[table]!;
  if (after === table) {
    first[pmdTable] = 0;
  } else {
    const before = prev[table]!;
    next[before] = after;
    prev[after] = before;
    first[pmdTable] = after;
  }
  next[table] = prev[table] = 0;
  return table;
}

/** zap_deposited_table: at once, without the gather: no walker ever saw it. */
export function zapDepositedTable(k: Kernel, mm: MmStruct, pmdTable: number): void {
  const table = withdraw(k, pmdTable);
  mm.tablePages--;
  pteFree(k, table);
}

/** The tables deposited with a PMD table. For checkers. */
export function depositsOf(k: Kernel, pmdTable: number): number[] {
  const out: number[] = [];
  const head = k.pages.private[pmdTable]!;
  for (let t = head; t !== 0; ) {
    out.push(t);
    if (k.pages.prev[k.pages.next[t]!] !== t) fail(`deposits of PMD table ${pmdTable}: links of ${t}`);
    t = k.pages.next[t]!;
    if (t === head) break;
  }
  return out;
}
