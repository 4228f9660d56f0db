// How hard migrate_pages tries, and for whom (include/linux/migrate_mode.h).

// enum migrate_mode.
export const MIGRATE_ASYNC = 0;
export const MIGRATE_SYNC_LIGHT = 1;
export const MIGRATE_SYNC = 2;

// enum migrate_reason.
export const MR_COMPACTION = 0;
export const MR_MEMORY_FAILURE = 1;
export const MR_SYSCALL = 3;
export const MR_MEMPOLICY_MBIND = 4;
export const MR_NUMA_MISPLACED = 5;
