// get_user_pages_fast (mm/gup.c lockless_pages_from_mm): the page tables are walked without mmapLock and without ptl, with interrupts off, which
// keeps the tables from being freed: whoever frees one waits for every CPU to answer. An entry that allows the access gives its page
// when a reference can be had and the entry is still the same afterwards:
//
//   fast GUP: reads the entry
//                                              munmap: clears it, flushes, drops the last reference
//   takes a reference: none left, or the entry has changed: puts it back, goes the slow way
//
// The rest goes the slow way under mmapLock, with faults. Pins: a page that others may share must not be pinned for reading.
//
// Kernel names: gup_pte_range, try_grab_folio, gup_must_unshare, internal_get_user_pages_fast, get_user_pages_unlocked.

import { E_PIN } from '../../abi/events.ts';
import { PTE_P, PTE_RW, PTE_SPECIAL, PTE_US } from '../../abi/pte.ts';
import { entryHi, entryLo, ptePfn } from '../../hw/pte.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_ACCESS } from '../../sched/points.ts';
import { pteOffset, pteTable } from '../fault/page-tables.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead } from '../page/compound.ts';
import { GUP_PIN_COUNTING_BIAS, PG_ANON, PG_ANON_EXCLUSIVE, PG_REFERENCED } from '../page/pages.ts';
import { notePage } from '../rmap/rmap.ts';
import type { MmStruct } from '../types.ts';
import { FOLL_FAST_ONLY, FOLL_GET, FOLL_PIN, FOLL_TOUCH, FOLL_UNLOCKABLE, FOLL_WRITE } from './flags.ts';

export function* gupPteRange(k: Kernel, mm: MmStruct, address: number, flags: number): AtomicPath<number> {
  const { pages, memory: m } = k;
  const table = pteTable(k, mm, address);
  if (table === 0) return 0;
  const word = pteOffset(table, address);
  const lo = entryLo(m, word);
  const hi = entryHi(m, word);
  const wanted = PTE_P | PTE_US | ((flags & FOLL_WRITE) !== 0 ? PTE_RW : 0);
  if ((lo & wanted) !== wanted || (lo & PTE_SPECIAL) !== 0) return 0;
  const pfn = ptePfn(lo);
  const head = compoundHead(pages, pfn);
  if (k.sched.points) yield P_ACCESS;
  notePage(k, head);
  if (pages.refcount[head]! <= 0) return 0;
  const count = (flags & FOLL_PIN) !== 0 ? GUP_PIN_COUNTING_BIAS : 1;
  pages.refcount[head] = pages.refcount[head]! + count;
  if (k.sched.points) yield P_ACCESS;
  // The table, too: a collapse takes it out of the tree with its entries in it.
  const isSame = entryLo(m, word) === lo && entryHi(m, word) === hi && pteTable(k, mm, address) === table;
  const mustUnshare =
    (flags & (FOLL_WRITE | FOLL_PIN)) === FOLL_PIN &&
    (pages.flags[head]! & PG_ANON) !== 0 &&
    (pages.flags[pfn]! & PG_ANON_EXCLUSIVE) === 0;
  if (!isSame || mustUnshare) {
    pages.refcount[head] = pages.refcount[head]! - (count - 1);
    k.fn.putPage(k, head);
    return 0;
  }
  pages.flags[head] = pages.flags[head]! | PG_REFERENCED;
  if ((flags & FOLL_PIN) !== 0 && m.log.on)
    m.log.emit(E_PIN, mm.id, address, address + 4096, pfn, m.generation[pfn]!, flags, 0, 0, 0);
  return pfn;
}

export function* getUserPagesFast(
  k: Kernel,
  mm: MmStruct,
  start: number,
  count: number,
  flags: number,
  out: Int32Array,
): KernelPath<number> {
  const first = start - (start % 4096);
  if ((flags & FOLL_PIN) !== 0) mm.hasPinned = true;
  let done = 0;
  while (done < count) {
    const pfn = yield* k.fn.gupPteRange(k, mm, first + done * 4096, flags);
    if (pfn === 0) break;
    out[done++] = pfn;
  }
  if (done === count || (flags & FOLL_FAST_ONLY) !== 0) return done;
  const rest = yield* getUserPagesUnlocked(k, mm, first + done * 4096, count - done, flags, out.subarray(done));
  return rest < 0 ? (done > 0 ? done : rest) : done + rest;
}

/** get_user_pages_unlocked: takes mmapLock itself; a fault that has to wait may drop it meanwhile. Number of pages or -errno. */
export function* getUserPagesUnlocked(
  k: Kernel,
  mm: MmStruct,
  start: number,
  count: number,
  flags: number,
  out: Int32Array,
): KernelPath<number> {
  const lock = mm.mmapLock;
  const get = (flags & FOLL_PIN) !== 0 ? k.fn.pinUserPages : k.fn.getUserPages;
  let done = 0;
  let wait = 0;
  while (done < count) {
    if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
    // After a fault that dropped the lock one page is got patiently.
    const want = wait > 0 ? 1 : count - done;
    const how = (flags & ~FOLL_FAST_ONLY) | (wait > 0 ? 0 : FOLL_UNLOCKABLE) | FOLL_TOUCH | FOLL_GET;
    const got = yield* get(k, mm, start + done * 4096, want, how, out.subarray(done));
    const dropped = k.gupUnlocked;
    k.gupUnlocked = false;
    if (!dropped) lock.readUnlock();
    if (got < 0) return done > 0 ? done : got;
    done += got;
    wait = dropped ? 1 : 0;
    if (!dropped && got < want) break;
  }
  return done;
}
