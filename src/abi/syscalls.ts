// Numbers of the x86-64 system calls that the kernel models (arch/x86/entry/syscalls/syscall_64.tbl).
export const NR_mmap = 9;
export const NR_mprotect = 10;
export const NR_munmap = 11;
export const NR_brk = 12;
export const NR_mremap = 25;
export const NR_msync = 26;
export const NR_mincore = 27;
export const NR_madvise = 28;
export const NR_shmget = 29;
export const NR_shmat = 30;
export const NR_shmctl = 31;
export const NR_clone = 56;
export const NR_fork = 57;
export const NR_vfork = 58;
export const NR_execve = 59;
export const NR_exit = 60;
export const NR_shmdt = 67;
export const NR_fsync = 74;
export const NR_fdatasync = 75;
export const NR_truncate = 76;
export const NR_ftruncate = 77;
export const NR_mlock = 149;
export const NR_munlock = 150;
export const NR_mlockall = 151;
export const NR_munlockall = 152;
export const NR_prctl = 157;
export const NR_remap_file_pages = 216;
export const NR_exit_group = 231;
export const NR_fallocate = 285;
export const NR_memfd_create = 319;
export const NR_mlock2 = 325;
export const NR_pkey_mprotect = 329;
export const NR_pkey_alloc = 330;
export const NR_pkey_free = 331;
export const NR_process_madvise = 440;
export const NR_mseal = 462;

const NAMES: Readonly<Record<number, string>> = {
  9: 'mmap',
  10: 'mprotect',
  11: 'munmap',
  12: 'brk',
  25: 'mremap',
  26: 'msync',
  27: 'mincore',
  28: 'madvise',
  29: 'shmget',
  30: 'shmat',
  31: 'shmctl',
  56: 'clone',
  57: 'fork',
  58: 'vfork',
  59: 'execve',
  60: 'exit',
  67: 'shmdt',
  74: 'fsync',
  75: 'fdatasync',
  76: 'truncate',
  77: 'ftruncate',
  149: 'mlock',
  150: 'munlock',
  151: 'mlockall',
  152: 'munlockall',
  157: 'prctl',
  216: 'remap_file_pages',
  231: 'exit_group',
  285: 'fallocate',
  319: 'memfd_create',
  325: 'mlock2',
  329: 'pkey_mprotect',
  330: 'pkey_alloc',
  331: 'pkey_free',
  440: 'process_madvise',
  462: 'mseal',
};

/** Name of a system call number. */
export function syscallName(nr: number): string {
  return NAMES[nr] ?? `syscall_${nr}`;
}
