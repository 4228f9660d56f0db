// Huge pages in shared memory (mm/shmem.c shmem_is_huge): shmem_enabled for the kernel's own mount, which shared anonymous
// memory, memfd and SysV segments use.

import { PMD_SIZE, VM_HUGEPAGE, VM_NOHUGEPAGE } from '../../abi/mman.ts';
import type { Kernel } from '../kernel.ts';
import type { Inode, MmStruct } from '../types.ts';

/** May the pages around `index` of the file be huge? `force`: MADV_COLLAPSE. vmFlags 0 and mm null: not through a mapping. */
export function shmemIsHuge(
  k: Kernel,
  inode: Inode,
  index: number,
  vmFlags: number,
  force: boolean,
  mm: MmStruct | null,
): boolean {
  if (inode.kind !== 'shmem' && inode.kind !== 'anon') return false;
  if ((vmFlags & VM_NOHUGEPAGE) !== 0 || mm?.thpDisabled) return false;
  const setting = k.huge.shmemEnabled;
  if (setting === 'deny') return false;
  if (force || setting === 'force') return true;
  switch (setting) {
    case 'always':
      return true;
    case 'within_size': {
      const end = Math.ceil((index + 1) / 512) * PMD_SIZE;
      return inode.size >= end || (vmFlags & VM_HUGEPAGE) !== 0;
    }
    case 'advise':
      return (vmFlags & VM_HUGEPAGE) !== 0;
    default:
      return false;
  }
}
