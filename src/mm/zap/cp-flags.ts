// What change_protection shall do beside giving entries the VMA's protection (MM_CP_* of include/linux/mm.h).

/** Entries that may be writable become so at once. */
export const MM_CP_TRY_CHANGE_WRITABLE = 1;
/** NUMA hinting: entries lose every right and fault, whatever the VMA allows. */
export const MM_CP_PROT_NUMA = 2;
/** userfaultfd: entries lose the right to write and remember that a monitor must be asked. */
export const MM_CP_UFFD_WP = 4;
/** userfaultfd: entries forget that. */
export const MM_CP_UFFD_WP_RESOLVE = 8;
