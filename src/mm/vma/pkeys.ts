// Protection keys of an address space (arch/x86/include/asm/pkeys.h, arch/x86/mm/pkeys.c): which ones are given out, and the key that
// memory gets which may only be executed. mmapLock held. What a thread may do with a key (PKRU) is not modelled: no access is
// refused by one.

import { PROT_EXEC, VM_ACCESS_FLAGS, VM_EXEC } from '../../abi/mman.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct, VmArea } from '../types.ts';

export const PKEY_DISABLE_ACCESS = 1;
export const PKEY_DISABLE_WRITE = 2;
const PKEYS = 16;

/** mm_pkey_alloc: the lowest free key, or -1. */
export function allocPkey(mm: MmStruct): number {
  for (let pkey = 0; pkey < PKEYS; pkey++) {
    if ((mm.pkeyMap & (1 << pkey)) !== 0) continue;
    mm.pkeyMap |= 1 << pkey;
    return pkey;
  }
  return -1;
}

/** mm_pkey_is_allocated: may the program name the key? */
export function isPkeyAllocated(k: Kernel, mm: MmStruct, pkey: number): boolean {
  // Without keys in the CPU the map is empty: not even the default key may be named.
  if (!k.config.pkeys || pkey < 0 || pkey >= PKEYS || pkey === mm.executeOnlyPkey) return false;
  return (mm.pkeyMap & (1 << pkey)) !== 0;
}

/** execute_only_pkey: the key of memory without the right to read; 0 when none is free. */
export function executeOnlyPkey(mm: MmStruct): number {
  if (mm.executeOnlyPkey < 0) mm.executeOnlyPkey = allocPkey(mm);
  return Math.max(mm.executeOnlyPkey, 0);
}

/** __arch_override_mprotect_pkey: the key that a VMA has after mprotect with `prot`. `pkey` -1: plain mprotect. */
export function overrideMprotectPkey(mm: MmStruct, vma: VmArea, prot: number, pkey: number): number {
  if (pkey !== -1) return pkey;
  if (prot === PROT_EXEC) return executeOnlyPkey(mm);
  const isExecuteOnly = (vma.flags & VM_ACCESS_FLAGS) === VM_EXEC && vma.pkey === mm.executeOnlyPkey;
  return isExecuteOnly ? 0 : vma.pkey;
}
