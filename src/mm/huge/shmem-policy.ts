// Huge pages in shared memory (mm/shmem.c shmem_is_huge). Each mount has its huge= option: that of the kernel's own mount, which
// shared anonymous memory, memfd and SysV segments use, is shmem_enabled. Its values deny and force stand above every mount.

import { VM_HUGEPAGE, VM_NOHUGEPAGE } from '../../abi/mman.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_NR } from '../page/compound.ts';
import type { Inode, MmStruct } from '../types.ts';
import type { ShmemHuge } from './state.ts';

/** SHMEM_SB(inode->i_sb)->huge. */
export function mountHuge(k: Kernel, inode: Inode): ShmemHuge {
  return inode.mount === 'tmpfs' ? k.huge.tmpfsHuge : k.huge.shmemEnabled;
}

/** May the pages around `index` of the file be huge? `force`: MADV_COLLAPSE. vmFlags 0 and mm null: not through a mapping. */
export function shmemIsHuge(
  k: Kernel,
  inode: Inode,
  index: number,
  vmFlags: number,
  force: boolean,
  mm: MmStruct | null,
): boolean {
  if (inode.kind !== 'shmem' || inode.mount === 'none') return false;
  if ((vmFlags & VM_NOHUGEPAGE) !== 0 || mm?.thpDisabled) return false;
  const { shmemEnabled } = k.huge;
  if (shmemEnabled === 'deny') return false;
  if (force || shmemEnabled === 'force') return true;
  const isAdvised = (vmFlags & VM_HUGEPAGE) !== 0;
  switch (mountHuge(k, inode)) {
    case 'always':
      return true;
    case 'within_size': {
      const end = Math.ceil((index + 1) / HPAGE_PMD_NR) * HPAGE_PMD_NR;
      return Math.ceil(inode.size / 4096) >= end || isAdvised;
    }
    case 'advise':
      return isAdvised;
    default:
      return false;
  }
}
