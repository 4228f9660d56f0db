// Lock classes as they stand in events (E_LOCK, E_UNLOCK, E_LOCK_CONTENDED: word a), and the flags of word c. Classes from
// LOCK_DYNAMIC on are given out by sched/lock-classes to the locks of drivers.

/** Kernel locks, in rank order (sched/locks). */
export const LOCK_MMAP = 1;
export const LOCK_INVALIDATE = 2;
export const LOCK_PAGE = 3;
export const LOCK_I_MMAP = 4;
export const LOCK_ANON_VMA = 5;
export const LOCK_PTL = 6;
export const LOCK_DRIVER = 7;
export const LOCK_KSM = 8;
/** hugetlb: the fault mutex of a page of a file, and the lock of a VMA against unsharing of its page tables. */
export const LOCK_HUGETLB_FAULT = 9;
export const LOCK_HUGETLB_VMA = 10;
export const LOCK_DYNAMIC = 16;
export const LOCK_NAMES: readonly string[] = [
  '',
  'mmap_lock',
  'invalidate_lock',
  'page lock',
  'i_mmap_rwsem',
  'anon_vma lock',
  'page-table lock',
  'driver lock',
  'ksm_thread_mutex',
  'hugetlb fault mutex',
  'hugetlb VMA lock',
];

/** Held by one alone: a writer, a mutex, a spinlock. */
export const LOCKF_EXCLUSIVE = 1;
/** A trylock: whoever called it would not have waited. */
export const LOCKF_TRYLOCK = 2;
/** A spinlock: nobody may sleep who holds it. Without it the lock sleeps. */
export const LOCKF_SPIN = 4;

// What a thread may sleep for (E_MIGHT_SLEEP, word a).
/** A wake-up: word b is the class that names it. */
export const SLEEP_WAIT = 0;
/** Free memory: an allocation that may reclaim (fs_reclaim of lockdep). */
export const SLEEP_RECLAIM = 1;
/** The return of callbacks under way (synchronize_srcu of the notifiers, as in unregister). */
export const SLEEP_CALLBACKS = 2;
/** The end of open sections (mmu_interval_read_begin, mmu_interval_notifier_remove). */
export const SLEEP_SECTIONS = 3;
