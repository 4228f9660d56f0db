// What hugetlb keeps beside the ordinary fields of a VMA and a file (vm_private_data; hugetlbfs_inode_info and the table of
// fault mutexes).
//
// Order of locks: fault mutex of the page, lock of the VMA, i_mmap_rwsem, page lock, page-table lock. Kernel names:
// hugetlb_fault_mutex_table, struct hugetlb_vma_lock, HPAGE_RESV_OWNER, HPAGE_RESV_UNMAPPED.

import { LOCK_HUGETLB_FAULT, LOCK_HUGETLB_VMA } from '../../abi/locks.ts';
import { Mutex, Rwsem } from '../../sched/locks.ts';
import type { Scheduler } from '../../sched/scheduler.ts';
import type { ReserveMap } from './reserve-map.ts';

/** Numbers of locks in footprints have 24 bits. */
const INSTANCE_MASK = 0xffffff;

export class HugetlbVma {
  /** Private mappings of the process that made them: which reservations were used (HPAGE_RESV_OWNER when there is a map). */
  reserve: ReserveMap | null = null;
  /** A page was taken from this VMA for its parent's sake: the next fault there fails (HPAGE_RESV_UNMAPPED). */
  isUnmapped = false;
  /** Shared mappings: read to use an entry that may stand in a shared table, write to unshare it. */
  lock: Rwsem | null = null;
}

export class HugetlbFile {
  /** Indices that shared mappings have reserved or use. */
  readonly reserve: ReserveMap;
  readonly #sched: Scheduler;
  readonly #inode: number;
  readonly #mutexes = new Map<number, Mutex>();

  constructor(sched: Scheduler, inode: number, reserve: ReserveMap) {
    this.#sched = sched;
    this.#inode = inode;
    this.reserve = reserve;
  }

  /** The fault mutex of huge page `index`. */
  faultMutex(index: number): Mutex {
    let mutex = this.#mutexes.get(index);
    if (mutex === undefined) {
      mutex = new Mutex(this.#sched, LOCK_HUGETLB_FAULT, (this.#inode * 4096 + index) & INSTANCE_MASK);
      this.#mutexes.set(index, mutex);
    }
    return mutex;
  }
}

/** hugetlb_vma_lock_alloc. `start`: of the VMA, to tell its lock from others. */
export function newVmaLock(sched: Scheduler, mm: number, start: number): Rwsem {
  return new Rwsem(sched, LOCK_HUGETLB_VMA, (mm * 65536 + Math.floor(start / 0x200000)) & INSTANCE_MASK);
}
