// Where a new mapping goes: get_unmapped_area (mm/mmap.c), the two searches of x86 (arch/x86/kernel/sys_x86_64.c) and
// thp_get_unmapped_area (mm/huge_memory.c). mmapLock held for write. Nothing is changed.

import { EINVAL, ENOMEM, EPERM } from '../../abi/errno.ts';
import { MAP_32BIT, MAP_FIXED, MAP_SHARED, PMD_SIZE, TASK_SIZE } from '../../abi/mman.ts';
import { mountHuge } from '../huge/shmem-policy.ts';
import type { Kernel } from '../kernel.ts';
import type { Inode, MmStruct, OpenFile, VmArea } from '../types.ts';
import { isPageAligned, modPower, pageDown, pageUp } from './address.ts';

const LOW_32BIT = 0x40000000;
const HIGH_32BIT = 0x80000000;
const MIN_GAP = 0x8000000;

/** mmap_base (no randomisation): top of the top-down area below a stack of at most `stackLimit` bytes. */
export function mmapBase(stackLimit: number, stackGuardGap: number): number {
  const gap = stackLimit + stackGuardGap;
  return pageUp(TASK_SIZE - Math.min(Math.max(gap, MIN_GAP), pageDown((TASK_SIZE / 6) * 5)));
}

/** TASK_UNMAPPED_BASE: where the bottom-up area begins. */
export const LEGACY_BASE = pageUp(TASK_SIZE / 3);

/** round_hint_to_min. */
export function roundHintToMin(k: Kernel, hint: number): number {
  const addr = pageDown(hint);
  return addr !== 0 && addr < k.config.mmapMinAddr ? pageUp(k.config.mmapMinAddr) : addr;
}

/** vm_start_gap: first byte that must stay free below a VMA. */
export function vmStartGap(vma: VmArea): number {
  return vma.start > vma.startGap ? vma.start - vma.startGap : 0;
}

/** get_unmapped_area. Returns the address, -ENOMEM (no room, or beyond TASK_SIZE), -EINVAL (MAP_FIXED unaligned), -EPERM
 *  (below mmap_min_addr without CAP_SYS_RAWIO). `addr` is a hint, or the place itself with MAP_FIXED. */
export function getUnmappedArea(
  k: Kernel,
  mm: MmStruct,
  file: OpenFile | null,
  addr: number,
  len: number,
  pgoff: number,
  flags: number,
): number {
  if (len > TASK_SIZE) return -ENOMEM;
  let found: number;
  if (file !== null && file.inode.kind === 'hugetlbfs') {
    found = hugetlbUnmappedArea(mm, addr, len, flags, k.profile.hugetlbGenericSearch);
  } else if (file !== null) {
    const { kind } = file.inode;
    const isThpZero = k.profile.thpAlignZero && kind === 'zero' && (flags & MAP_SHARED) === 0;
    const isThpFile = (k.profile.thpAlignFile && kind === 'regular') || isThpZero;
    if (kind === 'shmem') found = shmemUnmappedArea(k, mm, file.inode, addr, len, pgoff, flags);
    else found = isThpFile ? thpUnmappedArea(k, mm, addr, len, pgoff, flags) : topDown(mm, addr, len, flags);
  } else if ((flags & MAP_SHARED) === 0 && k.profile.thpAlignAnon && addr === 0 && modPower(len, PMD_SIZE) === 0) {
    found = thpUnmappedArea(k, mm, addr, len, 0, flags);
  } else {
    const isShared = (flags & MAP_SHARED) !== 0;
    found = isShared ? shmemUnmappedArea(k, mm, null, addr, len, 0, flags) : topDown(mm, addr, len, flags);
  }
  if (found < 0) return found;
  if (found > TASK_SIZE - len) return -ENOMEM;
  if (!isPageAligned(found)) return -EINVAL;
  if (found < k.config.mmapMinAddr && !mm.limits.capSysRawio) return -EPERM;
  return found;
}

/** A loff_t that may have overflown: the last offsets of a file do. */
function signed64(offset: number): number {
  return offset >= 2 ** 63 ? offset - 2 ** 64 : offset;
}

/** thp_get_unmapped_area: searches for length + 2 MiB and moves up to where (address - offset) is a multiple of 2 MiB;
 *  without room for that, the plain search. */
function thpUnmappedArea(k: Kernel, mm: MmStruct, addr: number, len: number, pgoff: number, flags: number): number {
  const off = pgoff * 4096;
  const offAlign = Math.ceil(off / PMD_SIZE) * PMD_SIZE;
  const offEnd = signed64(off + len);
  const offFrom = signed64(offAlign);
  if (offEnd > offFrom && offEnd - offFrom >= PMD_SIZE) {
    const found = topDown(mm, addr, len + PMD_SIZE, flags);
    if (found === addr) return addr;
    if (found >= 0) {
      const sub = modPower(off - found, PMD_SIZE);
      return sub === 0 && k.profile.thpAlignTop ? found + PMD_SIZE : found + sub;
    }
  }
  return topDown(mm, addr, len, flags);
}

/** shmem_get_unmapped_area: where the mount has huge pages, a place that lies in its 2 MiB as the file's pages do. `inode` null: shared
 *  anonymous memory. */
function shmemUnmappedArea(
  k: Kernel,
  mm: MmStruct,
  inode: Inode | null,
  hint: number,
  len: number,
  pgoff: number,
  flags: number,
): number {
  const addr = topDown(mm, hint, len, flags);
  const { shmemEnabled } = k.huge;
  if (addr < 0 || !isPageAligned(addr) || addr > TASK_SIZE - len || shmemEnabled === 'deny') return addr;
  if (len < PMD_SIZE || (flags & MAP_FIXED) !== 0 || hint === addr) return addr;
  const setting = inode === null ? shmemEnabled : inode.mount === 'none' ? 'never' : mountHuge(k, inode);
  if (shmemEnabled !== 'force' && setting === 'never') return addr;
  const offset = modPower(pgoff * 4096, PMD_SIZE);
  if ((offset !== 0 && offset + len < 2 * PMD_SIZE) || modPower(addr, PMD_SIZE) === offset) return addr;
  const wide = topDown(mm, hint, len + PMD_SIZE - 4096, flags);
  if (wide < 0 || !isPageAligned(wide)) return addr;
  const at = modPower(wide, PMD_SIZE);
  const moved = wide + offset - at + (at > offset ? PMD_SIZE : 0);
  return moved > TASK_SIZE - len ? addr : moved;
}

/** hugetlb_get_unmapped_area: whole huge pages only. `isGeneric`: the search is the architecture's for all files; before, hugetlb had one
 *  of its own, which rounded hints down and did not know MAP_32BIT. */
function hugetlbUnmappedArea(mm: MmStruct, hint: number, len: number, flags: number, isGeneric: boolean): number {
  if (len % PMD_SIZE !== 0) return -EINVAL;
  if (len > TASK_SIZE) return -ENOMEM;
  if ((flags & MAP_FIXED) !== 0) return hint % PMD_SIZE !== 0 ? -EINVAL : hint;
  const mask = PMD_SIZE - 4096;
  if (isGeneric) return topDown(mm, Math.ceil(hint / PMD_SIZE) * PMD_SIZE, len, flags, mask);
  return topDown(mm, hint - modPower(hint, PMD_SIZE), len, flags & ~MAP_32BIT, mask);
}

/** arch_get_unmapped_area_topdown. */
function topDown(mm: MmStruct, hint: number, len: number, flags: number, alignMask = 0): number {
  if (len > TASK_SIZE) return -ENOMEM;
  if ((flags & MAP_FIXED) !== 0) return hint;
  if ((flags & MAP_32BIT) === 0) {
    if (hint !== 0) {
      const addr = pageDown(hint);
      // A hint that cannot be used is dropped: the search begins at mmap_base, not near it.
      if (addr <= TASK_SIZE - len) {
        const vma = mm.vmas.find(addr);
        if (vma === null || addr + len <= vmStartGap(vma)) return addr;
      }
    }
    const found = mm.vmas.gapTopDown(4096, mm.mmapBase, len, alignMask, 0);
    if (found >= 0) return found;
  }
  return bottomUp(mm, hint, len, flags, alignMask);
}

/** arch_get_unmapped_area. */
function bottomUp(mm: MmStruct, hint: number, len: number, flags: number, alignMask: number): number {
  const is32 = (flags & MAP_32BIT) !== 0;
  const begin = is32 ? LOW_32BIT : mm.legacyBase;
  const end = is32 ? HIGH_32BIT : TASK_SIZE;
  if (len > end) return -ENOMEM;
  if (hint !== 0) {
    const addr = pageUp(hint);
    const vma = mm.vmas.find(addr);
    if (end - len >= addr && (vma === null || addr + len <= vmStartGap(vma))) return addr;
  }
  const found = mm.vmas.gapBottomUp(begin, end, len, alignMask, 0);
  return found >= 0 ? found : -ENOMEM;
}
