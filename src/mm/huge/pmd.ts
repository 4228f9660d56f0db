// Entries of a PMD table as Linux reads them. PS set is a leaf of 2 MiB (even with P clear: PROT_NONE, or made invalid for a
// moment by pmdp_invalidate); P without PS points to a page table; anything else that is not zero is a migration entry.
//
//   low word   31..21 PFN[9..19]   12 PAT (0)   11..0 flags as in abi/pte.ts, PS set      inverted PFN when P is clear
//
// Kernel names: pmd_trans_huge, pmd_present, is_swap_pmd, pmd_pfn, mk_huge_pmd, pmd_modify, pmd_mkinvalid.

import {
  PTE_A,
  PTE_D,
  PTE_P,
  PTE_PCD,
  PTE_PROTNONE,
  PTE_PS,
  PTE_PWT,
  PTE_SOFT_DIRTY,
  PTE_SPECIAL,
  PTE_UFFD_WP,
} from '../../abi/pte.ts';

const PFN_MASK = 0xffe00000 | 0;
/** PFN[20..39], all ones in an inverted PFN. */
const HI_PFN = 0xfffff;
const KEPT = PTE_PCD | PTE_PWT | PTE_SPECIAL | PTE_A | PTE_D | PTE_SOFT_DIRTY | PTE_UFFD_WP | PTE_PS;

/** The entry points to a page table. */
export function pmdIsTable(lo: number): boolean {
  return (lo & (PTE_P | PTE_PS)) === PTE_P;
}

/** pmd_trans_huge: a leaf, present for Linux. */
export function pmdTransHuge(lo: number): boolean {
  return (lo & PTE_PS) !== 0;
}

/** is_swap_pmd: a migration entry. */
export function pmdIsSwap(lo: number, hi: number): boolean {
  return (lo & (PTE_P | PTE_PS | PTE_PROTNONE)) === 0 && (lo | hi) !== 0;
}

/** pmd_pfn of a leaf: the first of its 512 frames. */
export function pmdFrame(lo: number): number {
  return (((lo & PTE_P) !== 0 ? lo : ~lo) & PFN_MASK) >>> 12;
}

function withFrame(pfn: number, flags: number): number {
  return (((flags & PTE_P) !== 0 ? pfn << 12 : ~(pfn << 12)) & PFN_MASK) | flags;
}

/** mk_huge_pmd, low word. */
export function mkHugePmdLo(pfn: number, protLo: number): number {
  return withFrame(pfn, (protLo & 0xfff) | PTE_PS);
}

/** High word of a leaf with these protections. */
export function mkHugePmdHi(protLo: number, protHi: number): number {
  return (protLo & PTE_P) !== 0 ? protHi : protHi | HI_PFN;
}

/** pmd_modify, low word. */
export function pmdModifyLo(lo: number, protLo: number): number {
  return withFrame(pmdFrame(lo), (lo & KEPT) | (protLo & ~KEPT & 0xfff));
}

/** pmd_mkinvalid: no hardware uses it, Linux still sees a leaf. */
export function pmdMkinvalidLo(lo: number): number {
  return withFrame(pmdFrame(lo), lo & 0xfff & ~(PTE_P | PTE_PROTNONE));
}

export function pmdMkinvalidHi(hi: number): number {
  return hi | HI_PFN;
}
