// Which memory may have huge pages (mm/huge_memory.c hugepage_vma_check, include/linux/huge_mm.h transhuge_vma_suitable). A page
// fault asks with inPf: it tests alignment itself and may be the first of its VMA; khugepaged and smaps ask for the VMA as a whole.

import { PMD_SIZE, VM_HUGEPAGE, VM_HUGETLB, VM_NOHUGEPAGE, VM_SPECIAL } from '../../abi/mman.ts';
import type { Kernel } from '../kernel.ts';
import type { VmArea } from '../types.ts';
import { modPower } from '../vma/address.ts';
import { shmemIsHuge } from './shmem-policy.ts';

/** transhuge_vma_suitable: the block at `haddr` lies in the VMA, and a file's pages lie as the block wants them. */
export function transhugeVmaSuitable(vma: VmArea, haddr: number): boolean {
  if (vma.file !== null && modPower(vma.start - vma.pgoff * 4096, PMD_SIZE) !== 0) return false;
  return haddr >= vma.start && haddr + PMD_SIZE <= vma.end;
}

/** hugepage_vma_check. `enforceSysfs`: false for MADV_COLLAPSE, which asks only whether it is possible. */
export function hugepageVmaCheck(
  k: Kernel,
  vma: VmArea,
  vmFlags: number,
  inPf: boolean,
  enforceSysfs: boolean,
): boolean {
  if ((vmFlags & VM_NOHUGEPAGE) !== 0 || vma.mm.thpDisabled) return false;
  if ((vmFlags & (VM_SPECIAL | VM_HUGETLB)) !== 0 || vma.name === '[vdso]' || vma.name === '[vvar]') return false;
  if (!inPf && !transhugeVmaSuitable(vma, Math.floor(vma.end / PMD_SIZE) * PMD_SIZE - PMD_SIZE)) return false;
  const { file } = vma;
  const isShmem = file !== null && (file.inode.kind === 'shmem' || file.inode.kind === 'anon');
  if (!inPf && isShmem) return shmemIsHuge(k, file.inode, vma.pgoff, vmFlags, !enforceSysfs, vma.mm);
  const { enabled } = k.huge;
  if (enforceSysfs && (enabled === 'never' || (enabled !== 'always' && (vmFlags & VM_HUGEPAGE) === 0))) return false;
  if (file !== null) return false;
  return vma.anonVma !== null || inPf;
}
