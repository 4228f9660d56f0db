// Entries that are not present and still name a page (include/linux/swapops.h): a page that is on its way to another frame, in
// memory of a device, kept from the CPU while a device has it for itself, or broken. Layout of any swap entry
// (page/swapops.ts); the offset is
//
//   39..0   PFN (20 bits here)      40  A, 41  D: of the entry before a migration (SWP_MIG_YOUNG, SWP_MIG_DIRTY)
//
// The 23 low bits of the offset stand in the low word, so a PFN does too; A and D are bits 17 and 18 of the high word. All inverted.
//
//   type                        rmap   reference   RSS    made by
//   migration                   no     no          yes    try_to_migrate, split of a huge page, migrate_vma
//   device private              yes    yes         yes    remove_migration_ptes to a page of a device
//   device exclusive            no     yes         yes    make_device_exclusive_range
//   hwpoison                    no     no          no     try_to_unmap of a broken page
//
// Kernel names: is_migration_entry, make_readable_exclusive_migration_entry, is_device_private_entry, pfn_swap_entry_to_page,
// make_migration_entry_young, make_migration_entry_dirty.

import {
  mkSwapHi,
  mkSwapLo,
  SWP_DEVICE_EXCLUSIVE_READ,
  SWP_DEVICE_EXCLUSIVE_WRITE,
  SWP_DEVICE_READ,
  SWP_DEVICE_WRITE,
  SWP_HWPOISON,
  SWP_MIGRATION_READ,
  SWP_MIGRATION_READ_EXCLUSIVE,
  SWP_MIGRATION_WRITE,
  swapType,
} from './swapops.ts';

const YOUNG_HI = 1 << 17;
const DIRTY_HI = 1 << 18;
const TYPE_MASK = 0xf8000000 | 0;

/** pfn_swap_entry_to_page: the frame that the entry names. */
export function swapPfn(lo: number): number {
  return (~lo >>> 9) & 0xfffff;
}

/** swp_entry(type, pfn), low word. */
export function mkPfnSwapLo(pfn: number): number {
  return mkSwapLo(pfn);
}

/** swp_entry(type, pfn), high word: neither A nor D. */
export function mkPfnSwapHi(type: number): number {
  return mkSwapHi(type, 0);
}

/** The entry with another type; PFN, A and D stay. */
export function withSwapType(hi: number, type: number): number {
  return (hi & ~TYPE_MASK) | (type << 27);
}

export function isMigration(hi: number): boolean {
  const type = swapType(hi);
  return type >= SWP_MIGRATION_READ && type <= SWP_MIGRATION_WRITE;
}

export function isDevicePrivate(hi: number): boolean {
  const type = swapType(hi);
  return type === SWP_DEVICE_WRITE || type === SWP_DEVICE_READ;
}

export function isDeviceExclusive(hi: number): boolean {
  const type = swapType(hi);
  return type === SWP_DEVICE_EXCLUSIVE_WRITE || type === SWP_DEVICE_EXCLUSIVE_READ;
}

export function isHwpoison(hi: number): boolean {
  return swapType(hi) === SWP_HWPOISON;
}

/** is_pfn_swap_entry, and hwpoison. */
export function isPfnSwap(hi: number): boolean {
  const type = swapType(hi);
  return type >= SWP_HWPOISON && type <= SWP_DEVICE_EXCLUSIVE_READ;
}

/** Type of the migration entry for a page-table entry that was writable, or whose anonymous page belongs to one mm. */
export function migrationType(isWritable: boolean, isExclusive: boolean): number {
  return isWritable ? SWP_MIGRATION_WRITE : isExclusive ? SWP_MIGRATION_READ_EXCLUSIVE : SWP_MIGRATION_READ;
}

/** High word of a migration entry that remembers A and D. */
export function mkMigrationHi(type: number, isYoung: boolean, isDirty: boolean): number {
  let hi = mkPfnSwapHi(type);
  if (isYoung) hi &= ~YOUNG_HI;
  if (isDirty) hi &= ~DIRTY_HI;
  return hi;
}

export function isMigrationYoung(hi: number): boolean {
  return (hi & YOUNG_HI) === 0;
}

export function isMigrationDirty(hi: number): boolean {
  return (hi & DIRTY_HI) === 0;
}

/** The type without the right to write, as fork (`isAnon` false: the page is shared from now on) and mprotect leave it. */
export function readOnlyType(type: number, keepsExclusive: boolean): number {
  if (type === SWP_MIGRATION_WRITE) return keepsExclusive ? SWP_MIGRATION_READ_EXCLUSIVE : SWP_MIGRATION_READ;
  if (type === SWP_MIGRATION_READ_EXCLUSIVE) return keepsExclusive ? type : SWP_MIGRATION_READ;
  if (type === SWP_DEVICE_WRITE) return SWP_DEVICE_READ;
  return type === SWP_DEVICE_EXCLUSIVE_WRITE ? SWP_DEVICE_EXCLUSIVE_READ : type;
}
