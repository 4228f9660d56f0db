// vm.drop_caches (fs/drop_caches.c): clean pages of files that nobody maps or uses leave the page cache. Nothing is unmapped, so no
// notifier hears of it. Kernel names: drop_pagecache_sb, invalidate_mapping_pages, mapping_evict_folio.

import { KEPT_FILE } from '../../abi/events.ts';
import type { Kernel } from '../kernel.ts';
import { announceDiscard } from '../page/announce.ts';
import { tryLockPage, unlockPage } from '../page/page-lock.ts';
import { PG_DIRTY, PG_WRITEBACK } from '../page/pages.ts';
import { getPage } from '../rmap/rmap.ts';
import { isShmem } from './page-cache.ts';

/** A write to drop_caches: bit 0 is the page cache, bit 1 slab (which has nothing to give here). */
export function dropCaches(k: Kernel, what: number): void {
  if ((what & 1) === 0) return;
  for (const inode of [...k.inodes.values()]) {
    const { mapping } = inode;
    if (isShmem(mapping)) continue;
    for (const pfn of [...mapping.pages.values()]) evict(k, pfn);
  }
}

function evict(k: Kernel, pfn: number): void {
  const { flags, refcount, mapcount } = k.pages;
  if (!tryLockPage(k, pfn)) return;
  getPage(k, pfn);
  const isUnused = mapcount[pfn] === 0 && refcount[pfn] === 2;
  if (isUnused && (flags[pfn]! & (PG_DIRTY | PG_WRITEBACK)) === 0) {
    announceDiscard(k, pfn, KEPT_FILE);
    k.fn.deleteFromPageCache(k, pfn);
  }
  unlockPage(k, pfn);
  k.fn.putPage(k, pfn);
}
