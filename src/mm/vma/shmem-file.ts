// Files without a name: shared anonymous memory, memfd, SysV segments. Kernel: __shmem_file_setup, shmem_acct_size
// (mm/shmem.c). The object's size is charged to vm_committed_as once, unless it is NORESERVE.

import type { Kernel } from '../kernel.ts';
import { type Inode, type MmStruct, OpenFile } from '../types.ts';
import { vmEnoughMemory, vmUnacctMemory } from './account.ts';

/** A new unlinked shmem file of `size` bytes, open for reading and writing, shown as `path`; null when overcommit refuses. */
export function shmemFileSetup(
  k: Kernel,
  mm: MmStruct,
  path: string,
  size: number,
  noReserve: boolean,
): OpenFile | null {
  const pages = noReserve ? 0 : Math.ceil(size / 4096);
  if (pages > 0 && vmEnoughMemory(k, mm, pages) < 0) return null;
  const inode = k.newInode('shmem', path, size);
  inode.major = 0;
  inode.minor = 1;
  inode.linkCount = 0;
  inode.isDeleted = true;
  inode.isNoReserve = noReserve;
  inode.chargedPages = pages;
  return openInode(inode, true, true);
}

/** shmem_reacct_size: the charge follows the size. Returns 0 or -ENOMEM. */
export function shmemReacctSize(k: Kernel, mm: MmStruct, inode: Inode, size: number): number {
  if (inode.kind !== 'shmem' || inode.isNoReserve) return 0;
  const more = Math.ceil(size / 4096) - inode.chargedPages;
  if (more > 0) {
    const r = vmEnoughMemory(k, mm, more);
    if (r < 0) return r;
  } else {
    vmUnacctMemory(k, -more);
  }
  inode.chargedPages += more;
  return 0;
}

/** A new open file of the inode. */
export function openInode(inode: Inode, isReadable: boolean, isWritable: boolean, isAppend = false): OpenFile {
  inode.users++;
  return new OpenFile(inode, isReadable, isWritable, isAppend);
}
