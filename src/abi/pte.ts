// AMD64 long-mode page-table entries as two 32-bit words (AMD64 APM vol. 2, section 5.3).
//
//   low  word   0 P   1 RW  2 US  3 PWT  4 PCD  5 A  6 D  7 PS/PAT  8 G  9 SW1  10 SW2  11 SW3  12..31 PFN[0..19]
//   high word   0..19 PFN[20..39]  (zero here: a PFN has 20 bits)   26 SW4   27..30 pkey   31 NX
//
// Linux's names for the software bits: SW1 special, SW2 uffd-wp, SW3 soft-dirty, SW4 devmap.
export const PTE_P = 0x1;
export const PTE_RW = 0x2;
export const PTE_US = 0x4;
export const PTE_PWT = 0x8;
export const PTE_PCD = 0x10;
export const PTE_A = 0x20;
export const PTE_D = 0x40;
export const PTE_PS = 0x80;
export const PTE_G = 0x100;
/** Present for Linux, not for the hardware: P clear, G set, PFN inverted (_PAGE_PROTNONE). */
export const PTE_PROTNONE = 0x100;
export const PTE_SPECIAL = 0x200;
export const PTE_UFFD_WP = 0x400;
export const PTE_SOFT_DIRTY = 0x800;
/** Protection key: bits 59..62. */
export const PTE_HI_PKEY_SHIFT = 27;
export const PTE_HI_NX = 0x80000000 | 0;
export const PTE_PFN_SHIFT = 12;
/** Non-leaf user entry: P RW US A D. */
export const PTE_TABLE = 0x67;

/** Levels of a walk, leaf level first. */
export const LEVEL_PTE = 0;
export const LEVEL_PMD = 1;
export const LEVEL_PUD = 2;
export const LEVEL_PGD = 3;

// Types of swap entries that let a device use a page which the CPUs cannot (the type is in the five highest bits of the high word).
export const SWP_DEVICE_WRITE = 26;
export const SWP_DEVICE_READ = 27;
export const SWP_DEVICE_EXCLUSIVE_WRITE = 28;
export const SWP_DEVICE_EXCLUSIVE_READ = 29;
