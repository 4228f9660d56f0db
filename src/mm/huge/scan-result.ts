// Why a block was not collapsed (mm/khugepaged.c enum scan_result), and what MADV_COLLAPSE makes of it.

import { EAGAIN, EBUSY, EINVAL, ENOMEM } from '../../abi/errno.ts';

export const SCAN_FAIL = 0;
export const SCAN_SUCCEED = 1;
export const SCAN_PMD_NULL = 2;
export const SCAN_PMD_NONE = 3;
export const SCAN_PMD_MAPPED = 4;
export const SCAN_EXCEED_NONE_PTE = 5;
export const SCAN_EXCEED_SWAP_PTE = 6;
export const SCAN_EXCEED_SHARED_PTE = 7;
export const SCAN_PTE_NON_PRESENT = 8;
export const SCAN_PTE_UFFD_WP = 9;
export const SCAN_PTE_MAPPED_HUGEPAGE = 10;
export const SCAN_PAGE_RO = 11;
export const SCAN_LACK_REFERENCED_PAGE = 12;
export const SCAN_PAGE_NULL = 13;
export const SCAN_PAGE_COUNT = 14;
export const SCAN_PAGE_LRU = 15;
export const SCAN_PAGE_LOCK = 16;
export const SCAN_PAGE_ANON = 17;
export const SCAN_PAGE_COMPOUND = 18;
export const SCAN_VMA_NULL = 19;
export const SCAN_VMA_CHECK = 20;
export const SCAN_ADDRESS_RANGE = 21;
export const SCAN_DEL_PAGE_LRU = 22;
export const SCAN_ALLOC_HUGE_PAGE_FAIL = 23;
export const SCAN_TRUNCATED = 24;
export const SCAN_ANY_PROCESS = 25;
export const SCAN_CGROUP_CHARGE_FAIL = 26;

/** madvise_collapse_errno. */
export function collapseErrno(result: number): number {
  switch (result) {
    case SCAN_ALLOC_HUGE_PAGE_FAIL:
      return -ENOMEM;
    case SCAN_CGROUP_CHARGE_FAIL:
    case SCAN_EXCEED_NONE_PTE:
      return -EBUSY;
    case SCAN_PAGE_COUNT:
    case SCAN_PAGE_LOCK:
    case SCAN_PAGE_LRU:
    case SCAN_DEL_PAGE_LRU:
      return -EAGAIN;
    default:
      return -EINVAL;
  }
}

/** After these MADV_COLLAPSE goes on with the next block. */
export function mayGoOn(result: number): boolean {
  switch (result) {
    case SCAN_PMD_NULL:
    case SCAN_PTE_NON_PRESENT:
    case SCAN_PTE_UFFD_WP:
    case SCAN_PAGE_RO:
    case SCAN_LACK_REFERENCED_PAGE:
    case SCAN_PAGE_NULL:
    case SCAN_PAGE_COUNT:
    case SCAN_PAGE_LOCK:
    case SCAN_PAGE_COMPOUND:
    case SCAN_PAGE_LRU:
    case SCAN_DEL_PAGE_LRU:
      return true;
    default:
      return false;
  }
}
