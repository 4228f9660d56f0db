// Linux's own meaning of page-table entries: what the kernel writes when the hardware's P bit is clear, and the bits it
// changes when P is set (include/linux/swapops.h, arch/x86/include/asm/pgtable.h and pgtable_64.h). An entry is a pair of
// 32-bit words (abi/pte.ts); nothing here touches memory.
//
//   swap entry   63..59 type   58..9 ~offset   8 zero   7 zero   6,5 zero   3 anon-exclusive   2 uffd-wp   1 soft-dirty   0 zero
//   PROT_NONE    as a present entry with P clear and G set, PFN inverted (against L1TF: the bits name no real memory)
//   none         both words zero
//
// A swap entry whose offset ends in 23 ones has a zero low word, so "none" always looks at both words.

import { VM_EXEC, VM_READ, VM_SHARED, VM_WRITE } from '../../abi/mman.ts';
import {
  PTE_A,
  PTE_D,
  PTE_G,
  PTE_HI_NX,
  PTE_P,
  PTE_PCD,
  PTE_PROTNONE,
  PTE_PWT,
  PTE_RW,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_UFFD_WP,
  PTE_US,
} from '../../abi/pte.ts';

export {
  SWP_DEVICE_EXCLUSIVE_READ,
  SWP_DEVICE_EXCLUSIVE_WRITE,
  SWP_DEVICE_READ,
  SWP_DEVICE_WRITE,
} from '../../abi/pte.ts';

// Bits of a swap entry, in the low word.
export const SWP_SOFT_DIRTY = 0x2;
export const SWP_UFFD_WP = 0x4;
export const SWP_EXCLUSIVE = 0x8;

// Types of a swap entry. Real swap areas come first; the rest are special entries (include/linux/swap.h).
export const MAX_SWAPFILES = 22;
export const SWP_HWPOISON = 22;
export const SWP_MIGRATION_READ = 23;
export const SWP_MIGRATION_READ_EXCLUSIVE = 24;
export const SWP_MIGRATION_WRITE = 25;
export const SWP_PTE_MARKER = 30;
export const SWP_SWAPIN_ERROR = 31;

/** Offset bits that stand in the low word; the other 27 are in the high word. */
const LOW_BITS = 23;
const LOW_MASK = 0x7fffff;
const LOW_SPAN = 0x800000;
const HIGH_MASK = 0x7ffffff;
const TYPE_SHIFT = 27;
/** PFN[20..39] of the high word: all ones in an inverted PFN, as a real one has 20 bits. */
const HI_PFN = 0xfffff;

// Low-word bits that pte_modify keeps (_PAGE_CHG_MASK) beside the PFN: PCD, PWT, special, A, D, soft-dirty, uffd-wp.
const KEPT_LO = PTE_PCD | PTE_PWT | PTE_SPECIAL | PTE_A | PTE_D | PTE_SOFT_DIRTY | PTE_UFFD_WP;

/** pte_none. */
export function pteNone(lo: number, hi: number): boolean {
  return (lo | hi) === 0;
}

/** pte_present: present for Linux, so also a PROT_NONE entry. The hardware looks at PTE_P alone. */
export function ptePresent(lo: number): boolean {
  return (lo & (PTE_P | PTE_PROTNONE)) !== 0;
}

/** pte_protnone: present for Linux only. */
export function pteProtnone(lo: number): boolean {
  return (lo & (PTE_P | PTE_PROTNONE)) === PTE_PROTNONE;
}

/** is_swap_pte: neither none nor present. */
export function pteIsSwap(lo: number, hi: number): boolean {
  return (lo & (PTE_P | PTE_PROTNONE)) === 0 && (lo | hi) !== 0;
}

/** pte_pfn of an entry that is present for Linux (undoes the inversion of PROT_NONE). */
export function pteFrame(lo: number): number {
  return (lo & PTE_P) !== 0 ? lo >>> 12 : ~lo >>> 12;
}

/** pte_special: the zero page and other pages without rmap, RSS and reference. */
export function pteSpecial(lo: number): boolean {
  return (lo & PTE_SPECIAL) !== 0;
}

/** mk_pte, low word: `protLo` is a VMA's pageProtLo. */
export function mkPteLo(pfn: number, protLo: number): number {
  return ((protLo & PTE_P) !== 0 ? pfn << 12 : ~pfn << 12) | protLo;
}

/** mk_pte, high word. */
export function mkPteHi(protLo: number, protHi: number): number {
  return (protLo & PTE_P) !== 0 ? protHi : protHi | HI_PFN;
}

/** pte_mkdirty: D and soft-dirty. */
export function pteMkdirty(lo: number): number {
  return lo | PTE_D | PTE_SOFT_DIRTY;
}

/** maybe_mkwrite: RW when the VMA may write. */
export function pteMaybeMkwrite(lo: number, vmFlags: number): number {
  return (vmFlags & VM_WRITE) !== 0 ? lo | PTE_RW : lo;
}

/** pte_modify, low word: the entry with another protection; keeps PFN, A, D and the software bits. The result of a
 *  change between present and PROT_NONE has its PFN inverted. */
export function pteModifyLo(lo: number, protLo: number): number {
  const flags = (lo & KEPT_LO) | (protLo & ~KEPT_LO & 0xfff);
  const pfn = pteFrame(lo);
  return ((flags & PTE_P) !== 0 ? pfn << 12 : ~pfn << 12) | flags;
}

/** pte_modify, high word, for an entry whose new low word is made of `protLo`. */
export function pteModifyHi(protLo: number, protHi: number): number {
  return (protLo & PTE_P) !== 0 ? protHi : protHi | HI_PFN;
}

/** swp_entry_to_pte, low word. `offset` < 2^50. */
export function mkSwapLo(offset: number): number {
  return (~offset & LOW_MASK) << (32 - LOW_BITS);
}

/** swp_entry_to_pte, high word. */
export function mkSwapHi(type: number, offset: number): number {
  return (type << TYPE_SHIFT) | (~Math.floor(offset / LOW_SPAN) & HIGH_MASK);
}

/** swp_type. */
export function swapType(hi: number): number {
  return hi >>> TYPE_SHIFT;
}

/** swp_offset: the slot of a swap area, or the PFN of a migration entry. */
export function swapOffset(lo: number, hi: number): number {
  return (~hi & HIGH_MASK) * LOW_SPAN + (~(lo >>> (32 - LOW_BITS)) & LOW_MASK);
}

/** !non_swap_entry: the entry names a slot of a swap area. */
export function isRealSwap(hi: number): boolean {
  return hi >>> TYPE_SHIFT < MAX_SWAPFILES;
}

/** pte_marker_uffd_wp as an entry: make_pte_marker(PTE_MARKER_UFFD_WP). */
export const UFFD_WP_MARKER_LO = mkSwapLo(1);
export const UFFD_WP_MARKER_HI = mkSwapHi(SWP_PTE_MARKER, 1);

/** make_pte_marker(PTE_MARKER_GUARD). */
export const GUARD_MARKER_LO = mkSwapLo(4);
export const GUARD_MARKER_HI = mkSwapHi(SWP_PTE_MARKER, 4);

/** is_guard_swp_entry; soft-dirty does not count. */
export function isGuardMarker(lo: number, hi: number): boolean {
  return (lo & ~SWP_SOFT_DIRTY) === GUARD_MARKER_LO && hi === GUARD_MARKER_HI;
}

/** is_pte_marker, of an entry that is not present. */
export function isPteMarker(lo: number, hi: number): boolean {
  return (lo | hi) !== 0 && hi >>> TYPE_SHIFT === SWP_PTE_MARKER;
}

/** pte_none_mostly: none, or a marker. */
export function pteNoneMostly(lo: number, hi: number): boolean {
  return (lo | hi) === 0 || (!ptePresent(lo) && hi >>> TYPE_SHIFT === SWP_PTE_MARKER);
}

// protection_map: bits of an entry for (VM_READ, VM_WRITE, VM_EXEC, VM_SHARED).
const USER_RO = PTE_P | PTE_US | PTE_A;

/** vm_get_page_prot, low word: private writable memory gets no RW (copy on write). */
export function vmPageProtLo(vmFlags: number): number {
  if ((vmFlags & (VM_READ | VM_WRITE | VM_EXEC)) === 0) return PTE_A | PTE_G;
  return (vmFlags & (VM_WRITE | VM_SHARED)) === (VM_WRITE | VM_SHARED) ? USER_RO | PTE_RW : USER_RO;
}

/** vm_get_page_prot, high word. */
export function vmPageProtHi(vmFlags: number): number {
  return (vmFlags & (VM_READ | VM_WRITE | VM_EXEC)) === 0 || (vmFlags & VM_EXEC) !== 0 ? 0 : PTE_HI_NX;
}
