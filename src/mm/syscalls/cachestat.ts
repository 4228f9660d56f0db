// cachestat (mm/filemap.c, 6.5): what of a file is in the page cache.

import { EBADF, EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EPERM } from '../../abi/errno.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead } from '../page/compound.ts';
import { PG_DIRTY, PG_WRITEBACK } from '../page/pages.ts';
import { CAP_FOWNER, capable } from '../process/cred.ts';
import type { OpenFile, Task } from '../types.ts';

/** struct cachestat, pages each. */
export interface CacheStat {
  cached: number;
  dirty: number;
  writeback: number;
}

/** Do the pointers of the call lead somewhere? */
export interface CacheStatPointers {
  readonly isRangeReadable: boolean;
  readonly isAnswerWritable: boolean;
}

/** can_do_cachestat; files that others than their owner may write are not known. */
function mayAskCache(task: Task, file: OpenFile): boolean {
  const { cred } = task.mm!.limits;
  if (file.isWritable || file.inode.kind !== 'regular') return true;
  return cred.euid === file.inode.uid || capable(cred, CAP_FOWNER);
}

/** cachestat(fd, range, answer, flags). `file` undefined: no such descriptor. 0, -EBADF, -EFAULT, -EOPNOTSUPP (hugetlbfs), -EPERM,
 *  -EINVAL, -ENOSYS. */
export function cachestat(
  k: Kernel,
  task: Task,
  file: OpenFile | undefined,
  pointers: CacheStatPointers,
  flags: number,
): number {
  if (!k.profile.cachestat) return -ENOSYS;
  if (file === undefined) return -EBADF;
  if (!pointers.isRangeReadable) return -EFAULT;
  if (file.inode.kind === 'hugetlbfs') return -EOPNOTSUPP;
  if (k.profile.cachestatNeedsWrite && !mayAskCache(task, file)) return -EPERM;
  if (flags !== 0) return -EINVAL;
  return pointers.isAnswerWritable ? 0 : -EFAULT;
}

/** filemap_cachestat of bytes [offset, offset + length); length 0 means to the end of the file. */
export function filemapCachestat(k: Kernel, file: OpenFile, offset: number, length: number): CacheStat {
  const first = Math.floor(offset / 4096);
  const last = length === 0 ? Number.POSITIVE_INFINITY : Math.floor((offset + length - 1) / 4096);
  const stat: CacheStat = { cached: 0, dirty: 0, writeback: 0 };
  for (const [index, pfn] of file.inode.mapping.pages) {
    if (index < first || index > last) continue;
    stat.cached++;
    const flags = k.pages.flags[compoundHead(k.pages, pfn)]!;
    if ((flags & PG_DIRTY) !== 0) stat.dirty++;
    if ((flags & PG_WRITEBACK) !== 0) stat.writeback++;
  }
  return stat;
}
