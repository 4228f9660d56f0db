// Which recorded calls count as memory calls: those on an address space or on an object that only memory has.

const NAMES = new Set(
  (
    'mmap munmap mremap brk mprotect pkey_mprotect pkey_alloc pkey_free madvise process_madvise msync mincore mlock mlock2 ' +
    'munlock mlockall munlockall remap_file_pages mseal cachestat map_shadow_stack shmget shmat shmdt shmctl memfd_create ' +
    'memfd_secret mbind set_mempolicy get_mempolicy set_mempolicy_home_node migrate_pages move_pages userfaultfd ' +
    'process_vm_readv process_vm_writev process_mrelease'
  ).split(' '),
);

/** Is a call that the tally counts under this name a memory call? Requests to a userfaultfd count under their own names. */
export function isMemoryCall(name: string): boolean {
  return NAMES.has(name) || name.startsWith('UFFDIO_');
}
