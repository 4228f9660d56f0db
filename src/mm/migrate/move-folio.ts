// The page's place in its cache, its state and its contents go to another frame (mm/migrate.c). Both pages locked, the old one
// mapped nowhere. Everybody who may refer to the old page is counted: the isolation, and the cache; one reference more, from a
// pin, a look-up under way or a batch, and the page stays.
//
// Kernel names: migrate_folio, folio_migrate_mapping, folio_expected_refs, folio_migrate_flags, folio_migrate_copy, move_to_new_folio.

import { EAGAIN } from '../../abi/errno.ts';
import { assert } from '../../base/assert.ts';
import { OBJ_LIST } from '../../base/footprint.ts';
import { noteFile } from '../file/page-cache.ts';
import type { Kernel } from '../kernel.ts';
import { ksmMigratePage } from '../ksm/rmap-walk.ts';
import { announceDirty } from '../page/announce.ts';
import {
  isZoneDevice,
  LIST_SWAP,
  PG_ACTIVE,
  PG_ANON,
  PG_DIRTY,
  PG_KSM,
  PG_MLOCKED,
  PG_REFERENCED,
  PG_SWAPBACKED,
  PG_SWAPCACHE,
  PG_UNEVICTABLE,
  PG_UPTODATE,
  PG_WORKINGSET,
} from '../page/pages.ts';
import { notePage } from '../rmap/rmap.ts';
import type { AddressSpace } from '../types.ts';

/** Flags that say what the page is and how it was used; they follow the contents. */
const MOVED =
  PG_REFERENCED | PG_UPTODATE | PG_ACTIVE | PG_UNEVICTABLE | PG_WORKINGSET | PG_DIRTY | PG_SWAPBACKED | PG_MLOCKED;

/** The cache that holds the page: its file's, the swap cache (null) or none (undefined). */
function cacheOf(k: Kernel, pfn: number): AddressSpace | null | undefined {
  const flags = k.pages.flags[pfn]!;
  if ((flags & PG_SWAPCACHE) !== 0) return null;
  return (flags & PG_ANON) !== 0 ? undefined : ((k.pages.mapping[pfn] as AddressSpace | null) ?? undefined);
}

/** folio_migrate_mapping. `extra`: references of the caller beside the isolation. 0 or -EAGAIN. */
export function folioMigrateMapping(k: Kernel, dst: number, src: number, extra: number): number {
  const { pages } = k;
  const cache = cacheOf(k, src);
  const nr = 1 << pages.order[src]!;
  notePage(k, src);
  if (pages.refcount[src] !== 1 + extra + (cache === undefined ? 0 : nr)) return -EAGAIN;
  notePage(k, dst);
  pages.mapping[dst] = pages.mapping[src]!;
  pages.index[dst] = pages.index[src]!;
  pages.flags[dst] = pages.flags[dst]! | (pages.flags[src]! & (PG_SWAPBACKED | PG_ANON));
  if (cache === undefined) return 0;
  for (let i = 0; i < nr; i++) {
    if (cache === null) replaceInSwapCache(k, src + i, dst + i);
    else {
      noteFile(k, cache, true);
      cache.pages.set(pages.index[src]! + i, dst + i);
    }
  }
  pages.refcount[dst] = pages.refcount[dst]! + nr;
  pages.refcount[src] = pages.refcount[src]! - nr;
  return 0;
}

function replaceInSwapCache(k: Kernel, src: number, dst: number): void {
  const { pages } = k;
  const entry = pages.private[src]!;
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_LIST, LIST_SWAP, true);
  pages.private[dst] = entry;
  k.swap.moveCached(entry, src, dst);
  pages.flags[dst] = pages.flags[dst]! | PG_SWAPCACHE;
  pages.flags[src] = pages.flags[src]! & ~PG_SWAPCACHE;
}

/** folio_migrate_flags. */
export function folioMigrateFlags(k: Kernel, dst: number, src: number): void {
  const { flags, mapping } = k.pages;
  const moved = flags[src]! & MOVED;
  // A page of a device is on no list, and neither active nor locked in memory.
  flags[dst] = flags[dst]! | (isZoneDevice(k.pages, dst) ? moved & ~(PG_ACTIVE | PG_UNEVICTABLE | PG_MLOCKED) : moved);
  if ((moved & PG_DIRTY) !== 0) announceDirty(k, dst);
  if ((flags[src]! & PG_KSM) !== 0) ksmMigratePage(k, dst, src);
  flags[src] = flags[src]! & ~(PG_ACTIVE | PG_UNEVICTABLE | PG_MLOCKED | PG_DIRTY | PG_REFERENCED);
  if ((flags[src]! & PG_ANON) === 0) mapping[src] = null;
}

/** folio_copy. */
export function folioCopy(k: Kernel, dst: number, src: number): void {
  const nr = 1 << k.pages.order[src]!;
  for (let i = 0; i < nr; i++) k.memory.copy(dst + i, src + i);
}

/** move_to_new_folio: mapping, contents, state. 0 or -EAGAIN, and nothing has changed. */
export function moveToNewFolio(k: Kernel, dst: number, src: number): number {
  assert(k.pages.order[dst] === k.pages.order[src], 'moveToNewFolio: pages of one size');
  const result = k.fn.folioMigrateMapping(k, dst, src, 0);
  if (result < 0) return result;
  folioCopy(k, dst, src);
  folioMigrateFlags(k, dst, src);
  return 0;
}
