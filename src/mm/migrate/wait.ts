// Waiting for a migration to end (mm/migrate.c migration_entry_wait, mm/filemap.c migration_entry_wait_on_locked). The entry holds no
// reference on the page, which may be freed as soon as the entry is gone; so the waiter joins the page's queue under the ptl
// that guards the entry, takes no reference, and looks at the entry again when it was woken.
//
//   fault: sees the entry under ptl, queues up, drops ptl
//                                              migration: replaces the entry under ptl, unlocks the page: wakes the queue
//   fault: returns, the access is tried again

import { assert } from '../../base/assert.ts';
import { OBJ_PAGE } from '../../base/footprint.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_SLEEP } from '../../sched/points.ts';
import { SLEEPING } from '../../sched/scheduler.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead } from '../page/compound.ts';
import { PG_LOCKED } from '../page/pages.ts';
import { isMigration, swapPfn } from '../page/pfn-swap.ts';
import { pteIsSwap } from '../page/swapops.ts';

/** migration_entry_wait: returns when the entry at `word` is no migration entry, or its page was unlocked once. */
export function* migrationEntryWait(k: Kernel, word: number): KernelPath<void> {
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const lo = entryLo(k.memory, word);
  const hi = entryHi(k.memory, word);
  if (!pteIsSwap(lo, hi) || !isMigration(hi)) {
    k.ptl.unlock(ptl);
    return;
  }
  const pfn = compoundHead(k.pages, swapPfn(lo));
  const { footprint } = k.memory;
  if (footprint !== null) footprint.note(OBJ_PAGE, pfn, true);
  assert((k.pages.flags[pfn]! & PG_LOCKED) !== 0, 'migrationEntryWait: a page under migration is locked');
  k.pageLockQueues.add(pfn, k.sched.current);
  k.ptl.unlock(ptl);
  k.sched.prepareWait(SLEEPING, 'migration');
  yield P_SLEEP;
}
