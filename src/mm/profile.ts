// A kernel version is a record of named behaviours. mm tests behaviours, never versions.

import { InputError } from '../base/assert.ts';

export interface Profile {
  readonly name: string;
  /** The notifier design that this kernel ships. */
  readonly notifier: string;
  /** Private anonymous mappings whose length is a multiple of 2 MiB are placed on a multiple of 2 MiB (6.7; measured). */
  readonly thpAlignAnon: boolean;
  /** File mappings of at least 2 MiB on file systems with thp_get_unmapped_area (ext4, xfs, btrfs) are placed so that
   *  (address - offset) is a multiple of 2 MiB. */
  readonly thpAlignFile: boolean;
  /** change_pte exists and is called by set_pte_at_notify (until 6.9). */
  readonly changePte: boolean;
  /** Secondary TLBs are flushed from the architecture's flush functions (6.6 and later). */
  readonly archInvalidateSecondaryTlbs: boolean;
  /** mprotect opens one section for each 1 GiB with tables (6.1), or one for each VMA piece (by 6.12). */
  readonly mprotectSectionPerPud: boolean;
  /** MADV_PAGEOUT asks clear_flush_young and flushes at its end (6.1), or neither (by 6.12). */
  readonly pageoutAgesAndFlushes: boolean;
  /** Migration unmaps up to 512 pages, flushes the CPUs once and moves them all (6.3); before, one page after the other. */
  readonly batchedMigration: boolean;
  /** A split huge page leaves dirty small entries (6.4): mprotect may then make them writable at once. */
  readonly splitKeepsDirty: boolean;
  /** A fault from user mode is tried under the lock of its VMA before mmapLock (6.4; for files with map_pages 6.7). */
  readonly perVmaLocks: boolean;
  /** Pages that lost their last user together are freed in the order in which they were queued (6.10, free_unref_folios); before, the last
   *  one first (a list built at its head). */
  readonly freesInOrder: boolean;
  /** Zapping a dirty file page keeps its rmap until the CPUs were flushed (6.2, tlb_delay_rmap). */
  readonly delayedRmap: boolean;
  /** Write protection that mprotect (of a huge entry) or userfaultfd lifts makes the entry of an exclusive page writable at once, dirty or not
   *  (6.2); before, mprotect did so for small dirty ones only. */
  readonly writableAtOnce: boolean;
  /** The section of a probe's breakpoint is the page (by 6.12, recorded); before, 4096 bytes from the probe on. */
  readonly uprobeWholePage: boolean;
  /** Holes of ext4 (6.14 and the late 6.12.y): pages of which only some blocks go are write-protected, so that a write asks for blocks again;
   *  a hole ends with the last page of the file. Before, the range was written back and a hole reached one page further when the
   *  file ended with a page. */
  readonly punchCleansParts: boolean;
  /** MADV_HWPOISON acts as if the caller had met the error (6.11, MF_ACTION_REQUIRED): SIGBUS when what it wrote is lost. */
  readonly hwpoisonInjectKills: boolean;
  /** Reclaim splits the huge entry of a page inside the section in which it unmaps it (6.11); before, in a section of its own. */
  readonly unmapSplitsInSection: boolean;
  /** A huge page's mapping that is split gives up its rmap as a whole, after the small entries have got theirs (6.8). */
  readonly splitRemovesHugeRmap: boolean;
  /** Parts of a huge page that hold nothing but zeros are mapped to the zero page when the page is split (6.12). */
  readonly splitMapsZeroPage: boolean;
  /** hugetlb counts its mappings by functions of its own (6.8, hugetlb_add_new_anon_rmap). */
  readonly hugetlbOwnRmap: boolean;
  /** Pages that wait for an LRU list or for their release together: 15, 31 by 6.9 (PAGEVEC_SIZE). */
  readonly folioBatch: number;
  /** move_pages finds no page in a hole of anonymous memory: -ENOENT (6.12, folio_walk_start); before, -EFAULT. */
  readonly moveHoleIsNoPage: boolean;
  /** The first entry of a page that was swapped in is counted as that of a new page (6.10, folio_add_new_anon_rmap). */
  readonly swapinNewRmap: boolean;
  /** Entries that map a run of one large page are zapped together (6.9): rmap of all, then all are queued. */
  readonly zapBatchesFolio: boolean;
  /** A batch of a gather keeps one place free, as a page with its count takes two (6.9). */
  readonly gatherKeepsRoom: boolean;
  /** A page that is swapped in for reading becomes writable at once when nobody else has it (6.11). */
  readonly swapinWritable: boolean;
  /** Whether others map a large page too is guessed from its counts as a whole (6.10, folio_likely_mapped_shared); before, each part was asked. */
  readonly guessesSharing: boolean;
  /** Reclaim brings the statistics of memory cgroups up to date when enough has changed (until 6.7); later it leaves that to the flush every two
   *  seconds unless that is late (mem_cgroup_flush_stats_ratelimited). */
  readonly reclaimFlushesStats: boolean;
  /** KSM pages are broken by unsharing (6.2), before by write faults. */
  readonly ksmBreaksByUnshare: boolean;
  /** copy_to_user tries the rest byte by byte after a fault that failed, so the fault comes twice (until 6.3). */
  readonly copyUserRetriesBytes: boolean;
  /** mremap moves ranges that span several VMAs when only moving (6.17). */
  readonly mremapMultiVma: boolean;
  /** mseal exists (6.10). */
  readonly mseal: boolean;
  /** MADV_GUARD_INSTALL and MADV_GUARD_REMOVE exist (6.13). */
  readonly madvGuard: boolean;
  /** An area with an anon_vma merges with one without also when forked neighbours are involved as fixed in 6.16. */
  readonly mergeForkedUnfaulted: boolean;
  /** A padded search (thp_get_unmapped_area) that begins aligned takes the upper of the two aligned places (6.8). */
  readonly thpAlignTop: boolean;
  /** MAP_STACK mappings get VM_NOHUGEPAGE (6.7). */
  readonly mapStackNoHugepage: boolean;
  /** mmap between two areas that cannot join each other grows the upper one (until 6.11), later the lower one. */
  readonly mmapMergesNextFirst: boolean;
  /** VMAs with a close operation take part in merges that do not remove them (6.5). */
  readonly mergeKeepsClosers: boolean;
  /** mmap checks limits and overcommit before it unmaps what a MAP_FIXED mapping covers (6.12); before, it left a hole. */
  readonly mmapChecksBeforeUnmap: boolean;
  /** mprotect gives the charge of untouched private memory back when it becomes read-only (6.8). */
  readonly mprotectUncharges: boolean;
  /** process_madvise takes any advice for the caller itself (6.13). */
  readonly processMadviseSelf: boolean;
  /** memfd_create knows MFD_EXEC and MFD_NOEXEC_SEAL (6.3). */
  readonly memfdExec: boolean;
  /** MADV_POPULATE stops at a hole with -ENOMEM instead of skipping it (6.9). */
  readonly madvisePopulateAtOnce: boolean;
  /** Pages of an ext4 file that may be mapped: s_maxbytes was the largest file, and is 2^63 - 1 by 6.18. */
  readonly ext4MmapMaxPages: number;
  /** smaps calls VM_LOCKONFAULT "lf" (6.15 and the late 6.12.y), before "??". */
  readonly smapsNamesLockOnFault: boolean;
  /** munmap keeps mmapLock for write when the next area grows down (until 6.4). */
  readonly munmapNoDowngradeBelowStack: boolean;
  /** /proc/PID/maps: [heap] must overlap the heap (6.6); before, an area that only touched it (bss) was named too. */
  readonly heapNameStrict: boolean;
  /** Guard regions may stand in file mappings and in memory that is not writable (6.15). */
  readonly guardFiles: boolean;
  /** A sealed memfd (F_SEAL_WRITE) may be mapped shared for reading; the mapping can never be written (6.14). */
  readonly sealedReadOnlyMaps: boolean;
  /** MAP_DROPPABLE exists (6.11). */
  readonly mapDroppable: boolean;
  /** Private mappings of /dev/zero are placed as files of the page cache are (6.16). */
  readonly thpAlignZero: boolean;
  /** Requests to a userfaultfd below mmap_min_addr are refused (by 6.18 they are not). */
  readonly uffdMinAddr: boolean;
  /** cachestat is for who may write the file, or owns it (6.14). */
  readonly cachestatNeedsWrite: boolean;
  /** UFFD_FEATURE_* that UFFDIO_API knows. */
  readonly uffdFeatures: number;
  /** The modes of fallocate exclude each other, and FALLOC_FL_WRITE_ZEROES is one (6.17). */
  readonly fallocateModesExclude: boolean;
  /** cachestat exists (6.5). */
  readonly cachestat: boolean;
  /** Memory policies known (MPOL_MAX): MPOL_WEIGHTED_INTERLEAVE came with 6.9. */
  readonly mempolicyModes: number;
  /** Unmapping of huge pages opens a section UNMAP for each VMA inside that of its caller (until 6.1). */
  readonly hugetlbUnmapsInOwnSection: boolean;
  /** Guard regions mark their VMA (VM_MAYBE_GUARD; in 6.18 as measured); before, every one got an anon_vma, now anonymous memory alone. */
  readonly guardMarksVma: boolean;
  /** MREMAP_DONTUNMAP of a part of a locked area cuts it out (6.1, recorded); by 6.12 (recorded) the whole area is no longer locked. */
  readonly dontunmapCutsLocked: boolean;
  /** hugetlb mappings are placed by the search for all files, hints rounded up (by 6.18, measured), or by one of their own. */
  readonly hugetlbGenericSearch: boolean;
  /** A private huge page that goes while its VMA stays leaves its reservation behind (6.9). */
  readonly hugetlbRestoresReservation: boolean;
  /** Long-term pins for writing are refused on shared file mappings whose file system tracks dirty pages (6.5). */
  readonly longtermPinNeedsNoDirtyTracking: boolean;
  /** follow_page finds no page behind a PROT_NONE entry (6.1 to 6.4): move_pages and KSM do not see it. */
  readonly followPageSkipsProtnone: boolean;
  /** A fault that broke copy-on-write says so: VM_FAULT_WRITE (until 6.1). */
  readonly faultReturnsWrite: boolean;
}

const V6_1: Profile = {
  name: '6.1',
  notifier: 'linux-6.1',
  thpAlignAnon: false,
  thpAlignFile: true,
  changePte: true,
  archInvalidateSecondaryTlbs: false,
  mprotectSectionPerPud: true,
  pageoutAgesAndFlushes: true,
  batchedMigration: false,
  splitKeepsDirty: false,
  perVmaLocks: false,
  freesInOrder: false,
  swapinNewRmap: false,
  reclaimFlushesStats: true,
  guessesSharing: false,
  swapinWritable: false,
  zapBatchesFolio: false,
  gatherKeepsRoom: false,
  ksmBreaksByUnshare: false,
  copyUserRetriesBytes: true,
  folioBatch: 15,
  moveHoleIsNoPage: false,
  delayedRmap: false,
  writableAtOnce: false,
  uprobeWholePage: false,
  punchCleansParts: false,
  hwpoisonInjectKills: false,
  unmapSplitsInSection: false,
  splitRemovesHugeRmap: false,
  splitMapsZeroPage: false,
  hugetlbOwnRmap: false,
  mremapMultiVma: false,
  mseal: false,
  madvGuard: false,
  mergeForkedUnfaulted: false,
  thpAlignTop: false,
  mapStackNoHugepage: false,
  mmapMergesNextFirst: true,
  mergeKeepsClosers: false,
  mmapChecksBeforeUnmap: false,
  mprotectUncharges: false,
  ext4MmapMaxPages: 0xffffffff,
  smapsNamesLockOnFault: false,
  madvisePopulateAtOnce: false,
  memfdExec: false,
  processMadviseSelf: false,
  munmapNoDowngradeBelowStack: true,
  heapNameStrict: false,
  longtermPinNeedsNoDirtyTracking: false,
  followPageSkipsProtnone: true,
  hugetlbUnmapsInOwnSection: true,
  hugetlbRestoresReservation: false,
  hugetlbGenericSearch: false,
  dontunmapCutsLocked: true,
  guardMarksVma: false,
  faultReturnsWrite: true,
  mempolicyModes: 6,
  cachestat: false,
  guardFiles: false,
  uffdMinAddr: true,
  cachestatNeedsWrite: false,
  fallocateModesExclude: false,
  sealedReadOnlyMaps: false,
  mapDroppable: false,
  thpAlignZero: false,
  uffdFeatures: 0x1fff,
};

const V6_6: Profile = {
  ...V6_1,
  name: '6.6',
  notifier: 'linux-6.6',
  archInvalidateSecondaryTlbs: true,
  batchedMigration: true,
  splitKeepsDirty: true,
  perVmaLocks: true,
  delayedRmap: true,
  writableAtOnce: true,
  ksmBreaksByUnshare: true,
  copyUserRetriesBytes: false,
  mergeKeepsClosers: true,
  munmapNoDowngradeBelowStack: false,
  memfdExec: true,
  cachestat: true,
  uffdFeatures: 0x7fff,
  heapNameStrict: true,
  longtermPinNeedsNoDirtyTracking: true,
  followPageSkipsProtnone: false,
  hugetlbUnmapsInOwnSection: false,
  faultReturnsWrite: false,
};

const V6_12: Profile = {
  ...V6_6,
  name: '6.12',
  notifier: 'linux-6.12',
  thpAlignAnon: true,
  freesInOrder: true,
  swapinNewRmap: true,
  reclaimFlushesStats: false,
  guessesSharing: true,
  swapinWritable: true,
  zapBatchesFolio: true,
  gatherKeepsRoom: true,
  folioBatch: 31,
  moveHoleIsNoPage: true,
  uprobeWholePage: true,
  punchCleansParts: true,
  hwpoisonInjectKills: true,
  unmapSplitsInSection: true,
  splitRemovesHugeRmap: true,
  splitMapsZeroPage: true,
  hugetlbOwnRmap: true,
  hugetlbRestoresReservation: true,
  thpAlignTop: true,
  mapStackNoHugepage: true,
  mmapMergesNextFirst: false,
  dontunmapCutsLocked: false,
  mmapChecksBeforeUnmap: true,
  mprotectUncharges: true,
  madvisePopulateAtOnce: true,
  smapsNamesLockOnFault: true,
  changePte: false,
  mprotectSectionPerPud: false,
  pageoutAgesAndFlushes: false,
  mseal: true,
  mempolicyModes: 7,
  mapDroppable: true,
  uffdFeatures: 0x1ffff,
};

const V6_18: Profile = {
  ...V6_12,
  name: '6.18',
  hugetlbGenericSearch: true,
  guardMarksVma: true,
  mremapMultiVma: true,
  madvGuard: true,
  mergeForkedUnfaulted: true,
  ext4MmapMaxPages: 2 ** 51 - 1,
  processMadviseSelf: true,
  guardFiles: true,
  uffdMinAddr: false,
  cachestatNeedsWrite: true,
  fallocateModesExclude: true,
  sealedReadOnlyMaps: true,
  thpAlignZero: true,
};

export const PROFILES: readonly Profile[] = [V6_1, V6_6, V6_12, V6_18];

/** The preset of that name; throws InputError for an unknown one. */
export function profile(name: string): Profile {
  const p = PROFILES.find((x) => x.name === name);
  if (p === undefined)
    throw new InputError(`kernel: "${name}" is not one of ${PROFILES.map((x) => x.name).join(', ')}`);
  return p;
}
