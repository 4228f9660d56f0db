// What a file's page cache says of itself and of one page (include/linux/pagemap.h).

import { OBJ_FILE, OBJ_PAGE } from '../../base/footprint.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead } from '../page/compound.ts';
import { PG_ANON, PG_UPTODATE } from '../page/pages.ts';
import type { AddressSpace } from '../types.ts';

/** Pages that the file has, the last one perhaps in part. */
export function filePages(mapping: AddressSpace): number {
  return Math.ceil(mapping.inode.size / 4096);
}

/** Is memory its only home (shmem, memfd, shared anonymous)? */
export function isShmem(mapping: AddressSpace): boolean {
  return mapping.inode.kind === 'shmem' || mapping.inode.kind === 'anon';
}

/** Tells the explorer's recorder that this step looks in the file's page cache or at its size, or changes them. */
export function noteFile(k: Kernel, mapping: AddressSpace, isWrite: boolean): void {
  const { footprint } = k.memory;
  if (footprint !== null) footprint.note(OBJ_FILE, mapping.inode.id, isWrite);
}

/** Does the frame still hold that page? Page lock held. */
export function isCachedAt(k: Kernel, mapping: AddressSpace, index: number, page: number): boolean {
  const pages = k.pages;
  const pfn = compoundHead(pages, page);
  const isThere = pages.mapping[pfn] === mapping && pages.index[pfn]! + (page - pfn) === index;
  return isThere && (pages.flags[pfn]! & PG_ANON) === 0;
}

/** folio_test_uptodate of the page that a frame of the cache belongs to. */
export function isUptodate(k: Kernel, page: number): boolean {
  const head = compoundHead(k.pages, page);
  const { footprint } = k.memory;
  if (footprint !== null) footprint.note(OBJ_PAGE, head, false);
  return (k.pages.flags[head]! & PG_UPTODATE) !== 0;
}
