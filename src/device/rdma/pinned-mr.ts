// Registered memory without page faults: the pages of a region are pinned when it is registered, and its MTT is written once.
// Linux: drivers/infiniband/core/umem.c (ib_umem_get, __ib_umem_release).
//
// The pins count against RLIMIT_MEMLOCK (mm.pinnedVm). Pages that must stay movable are migrated first (FOLL_LONGTERM). What the program
// unmaps afterwards stays with the adapter: not freed, but no longer what the program sees.

import { EINVAL, ENOMEM } from '../../abi/errno.ts';
import { FOLL_LONGTERM, FOLL_WRITE } from '../../mm/gup/flags.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import { isWritableAccess, type MemoryKey, type Nic } from './nic.ts';

/** Pages pinned by one call (PAGE_SIZE / sizeof(struct page *)). */
const BATCH = 512;

export interface PinnedMr {
  readonly key: MemoryKey;
  readonly mm: MmStruct;
  /** First page. */
  readonly start: number;
  readonly pfns: Int32Array;
  readonly writable: boolean;
}

/** ib_umem_get of [va, va + length), and the key over it. -EINVAL: empty; -ENOMEM: over RLIMIT_MEMLOCK without CAP_IPC_LOCK; or what
 *  pin_user_pages answers. */
export function* ibUmemGet(
  k: Kernel,
  nic: Nic,
  mm: MmStruct,
  va: number,
  length: number,
  access: number,
): KernelPath<PinnedMr | number> {
  const start = va - (va % 4096);
  const count = Math.ceil((va + length - start) / 4096);
  if (length <= 0) return -EINVAL;
  if (mm.pinnedVm + count > mm.limits.memlock / 4096 && !mm.limits.capIpcLock) return -ENOMEM;
  mm.pinnedVm += count;
  const writable = isWritableAccess(access);
  const pfns = new Int32Array(count);
  const flags = FOLL_LONGTERM | (writable ? FOLL_WRITE : 0);
  for (let done = 0; done < count; ) {
    const part = Math.min(BATCH, count - done);
    if (k.sched.points || !mm.mmapLock.tryRead()) yield* mm.mmapLock.readLock();
    const got = yield* k.fn.pinUserPages(k, mm, start + done * 4096, part, flags, pfns.subarray(done, done + part));
    mm.mmapLock.readUnlock();
    if (got <= 0) {
      for (let i = 0; i < done; i++) k.fn.unpinUserPage(k, pfns[i]!, false);
      mm.pinnedVm -= count;
      return got < 0 ? got : -ENOMEM;
    }
    done += got;
  }
  const key = nic.createKey(va, va + length, access, false);
  pfns.forEach((pfn, i) => {
    nic.setMtt(key, start + i * 4096, pfn, writable);
  });
  return { key, mm, start, pfns, writable };
}

/** __ib_umem_release, after the adapter has forgotten the key. What it could write is marked dirty. */
export function* ibUmemRelease(k: Kernel, nic: Nic, mr: PinnedMr): KernelPath<void> {
  const end = mr.start + mr.pfns.length * 4096;
  nic.destroyKey(mr.key);
  yield* nic.zap(mr.key, mr.start, end);
  for (const pfn of mr.pfns) k.fn.unpinUserPage(k, pfn, mr.writable);
  mr.mm.pinnedVm -= mr.pfns.length;
}
