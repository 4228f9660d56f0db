// vm_flags and what follows from them: the page protection of entries (vm_get_page_prot, vma_set_page_prot), write-notify,
// and which of total/exec/stack/data_vm a VMA counts in. Kernel: include/linux/mman.h, mm/mmap.c, arch/x86/mm/pgprot.c.

import {
  MAP_GROWSDOWN,
  MAP_LOCKED,
  MAP_STACK,
  MAP_SYNC,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
  VM_DROPPABLE,
  VM_EXEC,
  VM_GROWSDOWN,
  VM_LOCKED,
  VM_NOHUGEPAGE,
  VM_NORESERVE,
  VM_PFNMAP,
  VM_SHARED,
  VM_SOFTDIRTY,
  VM_SYNC,
  VM_UFFD_WP,
  VM_WRITE,
} from '../../abi/mman.ts';
import { PTE_A, PTE_HI_NX, PTE_HI_PKEY_SHIFT, PTE_P, PTE_PROTNONE, PTE_RW, PTE_US } from '../../abi/pte.ts';
import type { Profile } from '../profile.ts';
import type { VmArea } from '../types.ts';

/** protection_map of x86, by the low four flags: READ 1, WRITE 2, EXEC 4, SHARED 8. Private writable maps without RW (COW). */
const PROT_LO = new Int32Array(16);
const PROT_HI = new Int32Array(16);
for (let i = 0; i < 16; i++) {
  const isNone = (i & 7) === 0;
  const isSharedWritable = (i & (VM_SHARED | VM_WRITE)) === (VM_SHARED | VM_WRITE);
  PROT_LO[i] = isNone ? PTE_A | PTE_PROTNONE : PTE_P | PTE_US | PTE_A | (isSharedWritable ? PTE_RW : 0);
  PROT_HI[i] = isNone || (i & VM_EXEC) !== 0 ? 0 : PTE_HI_NX;
}

/** vma_wants_writenotify: the first write of each page must fault, so entries of this shared writable VMA begin read-only. */
export function wantsWriteNotify(vma: VmArea): boolean {
  const f = vma.flags;
  if ((f & (VM_WRITE | VM_SHARED)) !== (VM_WRITE | VM_SHARED)) return false;
  if (vma.file !== null && vma.file.inode.kind === 'regular') return true; // page_mkwrite
  if ((f & VM_SOFTDIRTY) === 0) return true;
  return (f & (VM_UFFD_WP | VM_PFNMAP)) === VM_UFFD_WP;
}

/** vma_wants_manual_pte_write_upgrade: mprotect looks at each entry to decide whether it may be writable at once. */
export function wantsManualWriteUpgrade(vma: VmArea): boolean {
  return (vma.flags & VM_SHARED) !== 0 ? wantsWriteNotify(vma) : (vma.flags & VM_WRITE) !== 0;
}

/** vma_set_page_prot: recomputes vm_page_prot from the flags. */
export function setPageProt(vma: VmArea): void {
  let i = vma.flags & 15;
  if (i >= (VM_SHARED | VM_WRITE) && wantsWriteNotify(vma)) i &= ~VM_SHARED;
  vma.pageProtLo = PROT_LO[i]!;
  vma.pageProtHi = PROT_HI[i]! | (vma.pkey << PTE_HI_PKEY_SHIFT);
}

/** calc_vm_prot_bits: PROT_READ, WRITE and EXEC have the values of VM_READ, WRITE and EXEC. */
export function protToFlags(prot: number): number {
  return prot & (PROT_READ | PROT_WRITE | PROT_EXEC);
}

/** calc_vm_flag_bits. */
export function mapToFlags(profile: Profile, mapFlags: number): number {
  let f = 0;
  if ((mapFlags & MAP_GROWSDOWN) !== 0) f |= VM_GROWSDOWN;
  if ((mapFlags & MAP_LOCKED) !== 0) f |= VM_LOCKED;
  if ((mapFlags & MAP_SYNC) !== 0) f |= VM_SYNC;
  if (profile.mapStackNoHugepage && (mapFlags & MAP_STACK) !== 0) f |= VM_NOHUGEPAGE;
  return f;
}

/** accountable_mapping: private, writable, not NORESERVE. */
export function isAccountable(flags: number): boolean {
  return (flags & (VM_NORESERVE | VM_SHARED | VM_WRITE)) === VM_WRITE;
}

/** VM_DROPPABLE: its pages may go at any time. */
export function isDroppable(flags: number): boolean {
  return (flags & VM_DROPPABLE) === VM_DROPPABLE;
}

export function isDataMapping(flags: number): boolean {
  return (flags & (VM_WRITE | VM_SHARED | VM_GROWSDOWN)) === VM_WRITE;
}

export function isExecMapping(flags: number): boolean {
  return (flags & (VM_EXEC | VM_WRITE | VM_GROWSDOWN)) === VM_EXEC;
}

export function isStackMapping(flags: number): boolean {
  return (flags & VM_GROWSDOWN) !== 0;
}
