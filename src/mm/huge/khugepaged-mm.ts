// Which address spaces khugepaged visits (mm/khugepaged.c khugepaged_enter_vma, __khugepaged_exit): those in which a VMA that may have
// huge pages was faulted in or advised, and children of such. The list is only read between points, so khugepaged_mm_lock needs no object.

import { VM_NOHUGEPAGE } from '../../abi/mman.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { hugepageVmaCheck } from './policy.ts';

/** khugepaged_enter_vma. */
export function khugepagedEnterVma(k: Kernel, vma: VmArea, vmFlags: number): void {
  if (k.huge.khugepagedMms.has(vma.mm) || k.huge.enabled === 'never' || (vmFlags & VM_NOHUGEPAGE) !== 0) return;
  if (hugepageVmaCheck(k, vma, vmFlags, false, true)) k.huge.khugepagedMms.add(vma.mm);
}

/** khugepaged_fork. */
export function khugepagedFork(k: Kernel, child: MmStruct, parent: MmStruct): void {
  if (k.huge.khugepagedMms.has(parent)) k.huge.khugepagedMms.add(child);
}

/** khugepaged_exit. */
export function khugepagedExit(k: Kernel, mm: MmStruct): void {
  k.huge.khugepagedMms.delete(mm);
  if (k.huge.scanMm === mm) {
    k.huge.scanMm = null;
    k.huge.scanAddress = 0;
  }
}
