// A huge page on its way to other frames: its PMD entry is a migration entry. Kernel names: pmd_migration_entry_wait.

import { entryHi, entryLo } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { lockPage, lockPageFast, unlockPage } from '../page/page-lock.ts';
import { swapPfn } from '../page/pfn-swap.ts';
import { getPage } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';
import { pmdIsSwap } from './pmd.ts';

/** Waits for the page lock; the access is tried again. */
export function* pmdMigrationEntryWait(k: Kernel, _vma: VmArea, word: number): KernelPath<number> {
  const lo = entryLo(k.memory, word);
  if (!pmdIsSwap(lo, entryHi(k.memory, word))) return 0;
  const head = swapPfn(lo);
  getPage(k, head);
  if (k.sched.points || !lockPageFast(k, head)) yield* lockPage(k, head);
  unlockPage(k, head);
  k.fn.putPage(k, head);
  return 0;
}
