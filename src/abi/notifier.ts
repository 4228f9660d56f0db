// enum mmu_notifier_event (include/linux/mmu_notifier.h, 6.1) and the places in mm that open a section.
export const MMU_NOTIFY_UNMAP = 0;
export const MMU_NOTIFY_CLEAR = 1;
export const MMU_NOTIFY_PROTECTION_VMA = 2;
export const MMU_NOTIFY_PROTECTION_PAGE = 3;
export const MMU_NOTIFY_SOFT_DIRTY = 4;
export const MMU_NOTIFY_RELEASE = 5;
export const MMU_NOTIFY_MIGRATE = 6;
export const MMU_NOTIFY_EXCLUSIVE = 7;
export const MMU_NOTIFY_NAMES: readonly string[] = [
  'UNMAP',
  'CLEAR',
  'PROTECTION_VMA',
  'PROTECTION_PAGE',
  'SOFT_DIRTY',
  'RELEASE',
  'MIGRATE',
  'EXCLUSIVE',
];

// Sites: which code path announces a moment. A design that did not cover a path, or covered it with another callback,
// decides by these (2.6.27 told rmap-driven unmaps by invalidate_page, for instance).
export const SITE_MUNMAP = 0;
export const SITE_ZAP = 1; // madvise DONTNEED
export const SITE_MPROTECT = 2;
export const SITE_MREMAP = 3;
export const SITE_FORK = 4;
export const SITE_COW = 5;
export const SITE_TRY_TO_UNMAP = 6;
export const SITE_MKCLEAN = 7;
export const SITE_MADV_FREE = 8;
export const SITE_EXIT = 9;
export const SITE_SPLIT_PMD = 10;
export const SITE_EXEC = 11;
export const SITE_MADV_COLD = 12;
export const SITE_SOFT_DIRTY = 13;
export const SITE_MIGRATE = 14;
export const SITE_KSM = 15;
export const SITE_COLLAPSE = 16;
export const SITE_HUGETLB = 17;
export const SITE_OOM_REAP = 18;
export const SITE_EXCLUSIVE = 19;
export const SITE_MIGRATE_VMA = 20;
export const SITE_TRUNCATE = 21; // unmap_mapping_range: truncate, hole punch; under i_mmap_lock
export const SITE_UPGRADE = 22; // a fault makes an entry more permissive, on architectures that flush then
export const SITE_NAMES: readonly string[] = [
  'munmap',
  'zap',
  'mprotect',
  'mremap',
  'fork',
  'cow',
  'try_to_unmap',
  'mkclean',
  'madv_free',
  'exit',
  'split_pmd',
  'exec',
  'madv_cold',
  'soft_dirty',
  'migrate',
  'ksm',
  'collapse',
  'hugetlb',
  'oom_reap',
  'exclusive',
  'migrate_vma',
  'truncate',
  'upgrade',
];
