// do_mmap and mmap_region (mm/mmap.c): the checks after the system call's own, the flags, the merge or the new VMA.
// mmapLock held for write. Errors come in Linux's order.

import { EACCES, EAGAIN, EEXIST, EINVAL, ENODEV, ENOMEM, EOPNOTSUPP, EOVERFLOW, EPERM } from '../../abi/errno.ts';
import {
  MAP_32BIT,
  MAP_ANONYMOUS,
  MAP_DENYWRITE,
  MAP_DROPPABLE,
  MAP_EXECUTABLE,
  MAP_FIXED,
  MAP_FIXED_NOREPLACE,
  MAP_GROWSDOWN,
  MAP_HUGETLB,
  MAP_LOCKED,
  MAP_NONBLOCK,
  MAP_NORESERVE,
  MAP_POPULATE,
  MAP_PRIVATE,
  MAP_SHARED,
  MAP_SHARED_VALIDATE,
  MAP_STACK,
  MAP_TYPE,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
  USER_PGTABLES_CEILING,
  VM_ACCOUNT,
  VM_DONTDUMP,
  VM_DROPPABLE,
  VM_EXEC,
  VM_GROWSDOWN,
  VM_HUGETLB,
  VM_LOCKED,
  VM_LOCKONFAULT,
  VM_MAYEXEC,
  VM_MAYREAD,
  VM_MAYSHARE,
  VM_MAYWRITE,
  VM_NORESERVE,
  VM_SEALED,
  VM_SHARED,
  VM_SOFTDIRTY,
  VM_SPECIAL,
  VM_SYNC,
  VM_WRITE,
} from '../../abi/mman.ts';
import { done, type KernelPath } from '../../sched/path.ts';
import { khugepagedEnterVma } from '../huge/khugepaged-mm.ts';
import { hugetlbfsMmap } from '../hugetlb/file.ts';
import type { Kernel } from '../kernel.ts';
import { deniesWriteExec } from '../syscalls/prctl.ts';
import type { MmStruct, OpenFile, Task } from '../types.ts';
import { VmArea } from '../types.ts';
import { canDoMlock, mayExpandVm, mlockFutureCheck, vmEnoughMemory, vmStatAccount, vmUnacctMemory } from './account.ts';
import { fput } from './adjust.ts';
import { isAccountable, mapToFlags, protToFlags, setPageProt } from './flags.ts';
import { mergeNew } from './merge.ts';
import { shmemFileSetup } from './shmem-file.ts';
import { getFile } from './split.ts';
import { roundHintToMin } from './unmapped-area.ts';

const MAP_UNINITIALIZED = 0x4000000;
const MAP_ABOVE4G = 0x80;
const MAP_HUGE_2MB = 21 << 26;
const MAP_HUGE_1GB = 30 << 26;
/** Flags that MAP_SHARED_VALIDATE knows. */
const LEGACY_MAP_MASK =
  MAP_SHARED |
  MAP_PRIVATE |
  MAP_FIXED |
  MAP_ANONYMOUS |
  MAP_DENYWRITE |
  MAP_EXECUTABLE |
  MAP_UNINITIALIZED |
  MAP_GROWSDOWN |
  MAP_LOCKED |
  MAP_NORESERVE |
  MAP_POPULATE |
  MAP_NONBLOCK |
  MAP_STACK |
  MAP_HUGETLB |
  MAP_32BIT |
  MAP_ABOVE4G |
  MAP_HUGE_2MB |
  MAP_HUGE_1GB;

/** s_maxbytes of most file systems, in pages: 2^63 - 1 bytes. */
const MAX_LFS_PAGES = 2 ** 51 - 1;

const F_SEAL_WRITE = 0x8;
const F_SEAL_FUTURE_WRITE = 0x10;
const READ_IMPLIES_EXEC = 0x400000;

/** do_mmap: rows 6 to 24 of the table of checks, then mmap_region. `len` is the length as given, at most 2^64 - 1, already
 *  rounded up to pages (2^64 stands for an overflow). Returns the address or -errno. A plain function: mmap_region's path is
 *  the answer. */
export function doMmap(
  k: Kernel,
  task: Task,
  file: OpenFile | null,
  addr: number,
  len: number,
  prot: number,
  flags: number,
  pgoff: number,
): KernelPath<number> {
  const mm = task.mm!;
  if (len === 0) return done(-EINVAL);
  if ((prot & PROT_READ) !== 0 && (task.personality & READ_IMPLIES_EXEC) !== 0) prot |= PROT_EXEC;
  if ((flags & MAP_FIXED_NOREPLACE) !== 0) flags |= MAP_FIXED;
  if ((flags & MAP_FIXED) === 0) addr = roundHintToMin(k, addr);
  if (len >= 2 ** 64) return done(-ENOMEM);
  if (pgoff + len / 4096 > 2 ** 64) return done(-EOVERFLOW);
  if (mm.vmas.count > k.config.maxMapCount) return done(-ENOMEM);
  addr = k.fn.getUnmappedArea(k, mm, file, addr, len, pgoff, flags);
  if (addr < 0) return done(addr);
  if ((flags & MAP_FIXED_NOREPLACE) !== 0 && mm.vmas.intersects(addr, addr + len) !== null) return done(-EEXIST);
  if ((flags & MAP_LOCKED) !== 0 && !canDoMlock(mm)) return done(-EPERM);
  let vmFlags = protToFlags(prot) | mapToFlags(k.profile, flags) | mm.defFlags | VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;
  if (mlockFutureCheck(mm, vmFlags, len / 4096) < 0) return done(-EAGAIN);
  if (file !== null) {
    const shared = fileMapFlags(k, file, prot, flags, vmFlags, pgoff, len);
    if (shared < 0) return done(shared);
    if ((shared & VM_MAYSHARE) !== 0) {
      vmFlags |= VM_SHARED | VM_MAYSHARE;
      if (!file.isWritable) vmFlags &= ~(VM_MAYWRITE | VM_SHARED);
    }
    if (file.inode.seals !== 0) {
      vmFlags = sealedFlags(k, file, vmFlags);
      if (vmFlags === 0) return done(-EPERM);
    }
  } else if ((flags & MAP_TYPE) === MAP_DROPPABLE && k.profile.mapDroppable) {
    if ((flags & (MAP_LOCKED | MAP_HUGETLB)) !== 0 || (vmFlags & VM_GROWSDOWN) !== 0) return done(-EINVAL);
    pgoff = addr / 4096;
    vmFlags |= VM_DROPPABLE | VM_NORESERVE | VM_DONTDUMP;
  } else if ((flags & MAP_TYPE) === MAP_SHARED) {
    if ((vmFlags & VM_GROWSDOWN) !== 0) return done(-EINVAL);
    pgoff = 0;
    vmFlags |= VM_SHARED | VM_MAYSHARE;
  } else if ((flags & MAP_TYPE) === MAP_PRIVATE) {
    pgoff = addr / 4096;
  } else {
    return done(-EINVAL);
  }
  if (deniesWriteExec(mm, vmFlags, vmFlags)) return done(-EACCES);
  // Huge pages are never overcommitted without MAP_NORESERVE, and always with it.
  const isHuge = file !== null && file.inode.kind === 'hugetlbfs';
  if ((flags & MAP_NORESERVE) !== 0 && (isHuge || k.config.overcommitMode !== 2)) vmFlags |= VM_NORESERVE;
  if (file !== null && file.inode.kind === 'zero') return mmapZero(k, task, file, addr, len, vmFlags, pgoff);
  return k.fn.mmapRegion(k, task, file, addr, len, vmFlags, pgoff);
}

/** Rows 16 to 24: 0 for a private mapping, VM_MAYSHARE for a shared one, or -errno. */
function fileMapFlags(
  k: Kernel,
  file: OpenFile,
  prot: number,
  flags: number,
  vmFlags: number,
  pgoff: number,
  len: number,
): number {
  if (pgoff > maxFilePages(k, file) - len / 4096) return -EOVERFLOW;
  const type = flags & MAP_TYPE;
  if (type === MAP_SHARED || type === MAP_SHARED_VALIDATE) {
    // Plain MAP_SHARED ignores flags that it does not know. No file system here supports MAP_SYNC.
    if (type === MAP_SHARED_VALIDATE && (flags & ~LEGACY_MAP_MASK) !== 0) return -EOPNOTSUPP;
    if ((prot & PROT_WRITE) !== 0 && !file.isWritable) return -EACCES;
    if (file.isAppend && file.isWritable) return -EACCES;
  } else if (type !== MAP_PRIVATE) {
    return -EINVAL;
  }
  if (!file.isReadable) return -EACCES;
  const kind = file.inode.kind;
  // path_noexec: the file systems of nameless things.
  if ((vmFlags & VM_EXEC) !== 0 && (kind === 'pipe' || kind === 'socket' || kind === 'anon')) return -EPERM;
  if (kind !== 'regular' && kind !== 'shmem' && kind !== 'hugetlbfs' && kind !== 'zero') return -ENODEV;
  if ((vmFlags & VM_GROWSDOWN) !== 0) return -EINVAL;
  return type === MAP_PRIVATE ? 0 : VM_MAYSHARE;
}

/** file_mmap_size_max: the pages that a file may have; devices and pipes have no end. */
function maxFilePages(k: Kernel, file: OpenFile): number {
  const { kind } = file.inode;
  if (kind === 'regular') return k.profile.ext4MmapMaxPages;
  return kind === 'shmem' || kind === 'hugetlbfs' || kind === 'socket' ? MAX_LFS_PAGES : 2 ** 52 - 1;
}

/** memfd_check_seals_mmap, mapping_map_writable: 0 when the seals forbid the mapping. */
function sealedFlags(k: Kernel, file: OpenFile, vmFlags: number): number {
  const { seals } = file.inode;
  if ((vmFlags & VM_SHARED) === 0 || (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) === 0) return vmFlags;
  if ((vmFlags & VM_WRITE) !== 0) return 0;
  // mmapRegion refuses what may become writable under F_SEAL_WRITE.
  return (seals & F_SEAL_WRITE) !== 0 && !k.profile.sealedReadOnlyMaps ? vmFlags : vmFlags & ~VM_MAYWRITE;
}

/** mmap_zero: a shared mapping of /dev/zero gets a file of its own (shmem_zero_setup), a private one is anonymous memory. */
function* mmapZero(
  k: Kernel,
  task: Task,
  device: OpenFile,
  addr: number,
  len: number,
  vmFlags: number,
  pgoff: number,
): KernelPath<number> {
  const mm = task.mm!;
  if ((vmFlags & VM_SHARED) === 0) {
    return yield* k.fn.mmapRegion(k, task, null, addr, len, vmFlags, pgoff, device);
  }
  const file = shmemFileSetup(k, mm, '/dev/zero', len, (vmFlags & VM_NORESERVE) !== 0);
  if (file === null) return -ENOMEM;
  const at = yield* k.fn.mmapRegion(k, task, file, addr, len, vmFlags, pgoff);
  fput(k, file);
  return at;
}

/** Pages of mappings inside [addr, end) (count_vma_pages_range), and those of them that are VM_ACCOUNT. */
function countVmaPages(mm: MmStruct, addr: number, end: number, onlyFlags: number): number {
  let pages = 0;
  for (let v = mm.vmas.intersects(addr, end); v !== null && v.start < end; v = v.treeNext as VmArea | null) {
    if (onlyFlags === 0 || (v.flags & onlyFlags) !== 0)
      pages += (Math.min(end, v.end) - Math.max(addr, v.start)) / 4096;
  }
  return pages;
}

/** vms_gather_munmap_vmas: cuts the VMAs at the edges of what will go. The cuts stay, even if the mapping then fails. 0, -ENOMEM
 *  (map count) or -EPERM (sealed). */
function* gatherVmas(k: Kernel, mm: MmStruct, start: number, end: number): KernelPath<number> {
  let vma = mm.vmas.intersects(start, end);
  if (vma !== null && vma.start < start) {
    if (end < vma.end && mm.vmas.count >= k.config.maxMapCount) return -ENOMEM;
    if ((vma.flags & VM_SEALED) !== 0) return -EPERM;
    const r = yield* k.fn.splitVma(k, mm, vma, start, true);
    if (r < 0) return r;
  }
  for (; vma !== null && vma.start < end; vma = vma.treeNext as VmArea | null) {
    if ((vma.flags & VM_SEALED) !== 0) return -EPERM;
    const r = vma.end > end ? yield* k.fn.splitVma(k, mm, vma, end, false) : 0;
    if (r < 0) return r;
  }
  return 0;
}

/** call_mmap of the files that have something to say: more flags for the VMA, or -errno. */
function callMmap(mm: MmStruct, file: OpenFile, vmFlags: number, pages: number): number {
  const { inode } = file;
  // daxdev_mapping_supported: no file of a disk here is memory.
  if (inode.kind === 'regular' && (vmFlags & VM_SYNC) !== 0) return -EOPNOTSUPP;
  if (!inode.isSecret) return 0;
  if ((vmFlags & VM_MAYSHARE) === 0) return -EINVAL;
  return mlockFutureCheck(mm, vmFlags | VM_LOCKED, pages) < 0 ? -EAGAIN : VM_LOCKED | VM_DONTDUMP;
}

/** mmap_region: rows 25 to 29. What the new mapping covers is unmapped here; an error after that leaves the hole. `shown`: the
 *  file of anonymous memory that has one. */
export function* mmapRegion(
  k: Kernel,
  task: Task,
  file: OpenFile | null,
  addr: number,
  len: number,
  vmFlags: number,
  pgoff: number,
  shown: OpenFile | null = null,
): KernelPath<number> {
  const mm = task.mm!;
  const end = addr + len;
  const pages = len / 4096;
  if (file !== null && (vmFlags & (VM_SHARED | VM_MAYWRITE)) === (VM_SHARED | VM_MAYWRITE)) {
    if ((file.inode.seals & F_SEAL_WRITE) !== 0) return -EPERM;
  }
  const isCovering = mm.vmas.intersects(addr, end) !== null;
  if (isCovering && k.profile.mmapChecksBeforeUnmap) {
    const r = yield* gatherVmas(k, mm, addr, end);
    if (r < 0) return r;
  }
  if (!mayExpandVm(mm, vmFlags, pages)) {
    if (!isCovering || !mayExpandVm(mm, vmFlags, pages - countVmaPages(mm, addr, end, 0))) return -ENOMEM;
  }
  const isHuge = file !== null && file.inode.kind === 'hugetlbfs';
  const isCharged = !isHuge && isAccountable(vmFlags);
  if (isCovering) {
    if (isCharged && k.profile.mmapChecksBeforeUnmap) {
      const more = pages - countVmaPages(mm, addr, end, VM_ACCOUNT);
      if (more > 0) {
        if (vmEnoughMemory(k, mm, more) < 0) return -ENOMEM;
        vmUnacctMemory(k, more);
      }
    }
    const r = yield* k.fn.doMunmap(k, mm, addr, end, false);
    if (r < 0) return k.profile.mmapChecksBeforeUnmap ? r : -ENOMEM;
  }
  if (isCharged) {
    if (isCovering && k.profile.mmapChecksBeforeUnmap) k.committed += pages;
    else if (vmEnoughMemory(k, mm, pages) < 0) return -ENOMEM;
    vmFlags |= VM_ACCOUNT;
  }
  if (file !== null) {
    const r = callMmap(mm, file, vmFlags, pages);
    if (r < 0) {
      if (isCharged) vmUnacctMemory(k, pages);
      return r;
    }
    vmFlags |= r;
  }
  const isSharedAnon = file === null && (vmFlags & VM_SHARED) !== 0;
  const next = mm.vmas.find(end);
  const prev = next === null ? mm.vmas.last() : (next.treePrev as VmArea | null);
  const merge = isSharedAnon ? null : mergeNew(k, prev, next, addr, end, vmFlags, null, file ?? shown, pgoff);
  let vma = merge === null ? null : yield* merge;
  if (vma === null) {
    if (isSharedAnon) {
      file = shmemFileSetup(k, mm, '/dev/zero', len, (vmFlags & VM_NORESERVE) !== 0);
      if (file === null) return -ENOMEM;
      file.inode.isDeleted = true;
    } else {
      getFile(file);
    }
    vma = new VmArea(mm, addr, end, vmFlags | VM_SOFTDIRTY, file, pgoff, k.config.stackGuardGap);
    if (isHuge) {
      const r = hugetlbfsMmap(k, vma);
      if (r < 0) return yield* failedMmap(k, vma, r);
      vmFlags = vma.flags;
    }
    vma.shownFile = shown;
    setPageProt(vma);
    vma.isByMmap = true;
    k.fn.linkVma(k, mm, vma);
    if (file !== null) yield* k.fn.linkFileVma(k, vma);
    if (mm.notifiers !== null) k.design?.vmaMapped(vma);
  }
  khugepagedEnterVma(k, vma, vma.flags);
  vmStatAccount(mm, vmFlags, pages);
  if ((vmFlags & VM_LOCKED) !== 0) {
    if ((vmFlags & (VM_SPECIAL | VM_HUGETLB)) !== 0) vma.flags &= ~(VM_LOCKED | VM_LOCKONFAULT);
    else mm.lockedVm += pages;
  }
  if (file !== null && k.uprobes.length > 0) yield* k.fn.uprobeMmap(k, vma);
  vma.flags |= VM_SOFTDIRTY;
  return addr;
}

/** The file would not be mapped after all: what it may have mapped already is taken away again (nothing), with the section for it. */
function* failedMmap(k: Kernel, vma: VmArea, error: number): KernelPath<number> {
  const { mm, file, start, end } = vma;
  fput(k, file!);
  vma.file = null;
  const next = mm.vmas.find(end);
  const prev = next === null ? mm.vmas.last() : (next.treePrev as VmArea | null);
  const ceiling = next === null ? USER_PGTABLES_CEILING : next.start;
  vma.flags &= ~VM_HUGETLB;
  yield* k.fn.unmapRegion(k, mm, [vma], start, end, prev === null ? 0 : prev.end, ceiling);
  return error;
}
