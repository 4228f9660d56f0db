// Read-ahead (mm/readahead.c; the mmap half is in mm/filemap.c): which pages of a file come into the page cache together.
//
//   read()      ondemandReadahead: a window that grows while the reader goes on in sequence. Its first page that is not asked
//               for now carries PG_READAHEAD; who meets that page starts the next window
//   mmap fault  read-around: the window of ra_pages around the page that missed, aligned to nothing, whatever was read before
//   MADV_WILLNEED   the range itself, without a mark
//
//        ra.start                       ra.start + ra.size
//        |<-------------- ra.size ------------->|
//        |            |<------ asyncSize ------>|
//                     ^ PG_READAHEAD
//
// Pages are put into the cache locked and in order of index, then read, then unlocked. Read-ahead stops at the end of the file and
// where no frame is free. invalidateLock keeps it from racing with truncation. The state of a window belongs to the open file
// and is changed without a lock, as in Linux.
//
// Kernel names: page_cache_ra_unbounded, do_page_cache_ra, force_page_cache_ra, ondemand_readahead, page_cache_sync_ra,
// page_cache_async_ra, do_sync_mmap_readahead, do_async_mmap_readahead.

import { FRAME_FILE } from '../../abi/events.ts';
import { VM_RAND_READ, VM_SEQ_READ } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_IO } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { unlockPage } from '../page/page-lock.ts';
import { GFP_NOWAIT, PG_READAHEAD, PG_UPTODATE, PG_WRITEBACK } from '../page/pages.ts';
import type { AddressSpace, FileRaState, OpenFile } from '../types.ts';
import { readFromDisk } from './contents.ts';
import { addToPageCache, filePages, noteFile } from './page-cache.ts';

/** Misses after which mmap faults of a file stop reading around (MMAP_LOTSAMISS). */
const MMAP_LOTSAMISS = 100;
/** Pages that force_page_cache_ra reads at a time. */
const FORCED_CHUNK = 512;

/** page_cache_ra_unbounded, clipped to the file (do_page_cache_ra): pages [index, index + count) that are missing. The page
 *  `lookahead` before the end gets PG_READAHEAD when it is new. */
export function* pageCacheRa(
  k: Kernel,
  mapping: AddressSpace,
  index: number,
  count: number,
  lookahead: number,
  isAsync = false,
): KernelPath<void> {
  noteFile(k, mapping, false);
  const last = filePages(mapping) - 1;
  if (last < 0 || index > last) return;
  if (count > last - index) count = last - index + 1;
  const lock = mapping.invalidateLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  const added: number[] = [];
  for (let i = 0; i < count; i++) {
    if (mapping.pages.has(index + i)) continue;
    const pfn = k.fn.allocPage(k, GFP_NOWAIT, FRAME_FILE);
    if (pfn === 0) break;
    addToPageCache(k, mapping, index + i, pfn);
    k.fn.lruAdd(k, pfn);
    if (i === count - lookahead) k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_READAHEAD;
    added.push(pfn);
  }
  if (isAsync && k.diskIsSlow && !k.sched.points) submitReads(k, mapping, added);
  else if (added.length > 0) yield* readPages(k, mapping, added);
  lock.readUnlock();
}

/** Nobody waits for these pages: they are in the cache and not up to date until the disk has delivered. */
function submitReads(k: Kernel, mapping: AddressSpace, added: number[]): void {
  for (const pfn of added) {
    k.readsInFlight.push({ mapping, index: k.pages.index[pfn]! });
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
  }
}

/** read_pages: fills locked pages, each with a reference of the caller, and unlocks them. */
function* readPages(k: Kernel, mapping: AddressSpace, added: number[]): KernelPath<void> {
  const { flags, index } = k.pages;
  if (k.sched.points) yield P_IO;
  for (const pfn of added) {
    readFromDisk(k.memory, mapping, index[pfn]!, pfn);
    flags[pfn] = flags[pfn]! | PG_UPTODATE;
    k.stats.fileReads++;
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
  }
}

/** force_page_cache_ra: the range itself, up to what the device takes at once. */
export function* forcePageCacheRa(k: Kernel, mapping: AddressSpace, index: number, count: number): KernelPath<void> {
  let left = Math.min(count, Math.max(k.config.ioPages, k.config.readAheadPages));
  while (left > 0) {
    const chunk = Math.min(left, FORCED_CHUNK);
    yield* pageCacheRa(k, mapping, index, chunk, 0);
    index += chunk;
    left -= chunk;
  }
}

function getInitRaSize(size: number, max: number): number {
  let rounded = 1;
  while (rounded < size) rounded *= 2;
  if (rounded <= Math.floor(max / 32)) return rounded * 4;
  return rounded <= Math.floor(max / 4) ? rounded * 2 : max;
}

function getNextRaSize(ra: FileRaState, max: number): number {
  if (ra.size < Math.floor(max / 16)) return 4 * ra.size;
  return ra.size <= Math.floor(max / 2) ? 2 * ra.size : max;
}

/** Cached pages that end right before `index`, up to `max` (count_history_pages). */
function countHistoryPages(mapping: AddressSpace, index: number, max: number): number {
  let n = 0;
  while (n < max && index - 1 - n >= 0 && mapping.pages.has(index - 1 - n)) n++;
  return n;
}

/** First missing page at or after `index`, looking at `max` pages (page_cache_next_miss). */
function nextMiss(mapping: AddressSpace, index: number, max: number): number {
  for (let i = 0; i < max; i++) if (!mapping.pages.has(index + i)) return index + i;
  return index + max;
}

/** Sets the window of a read of `count` pages at `index`: its first page was met and is marked (`isMarked`), or is missing. False
 *  when there is nothing to read ahead; then `ra` is untouched. */
function setWindow(
  mapping: AddressSpace,
  ra: FileRaState,
  index: number,
  count: number,
  max: number,
  isMarked: boolean,
): boolean {
  const expected = ra.start + ra.size - ra.asyncSize;
  if (index !== 0 && (index === expected || index === ra.start + ra.size)) {
    ra.start += ra.size;
    ra.size = getNextRaSize(ra, max);
    ra.asyncSize = ra.size;
    return true;
  }
  if (index !== 0 && isMarked) {
    const start = nextMiss(mapping, index + 1, max);
    if (start - index > max) return false;
    ra.start = start;
    ra.size = start - index + count;
    ra.size = getNextRaSize(ra, max);
    ra.asyncSize = ra.size;
    return true;
  }
  const distance = index - Math.floor(ra.prevPos / 4096);
  if (index === 0 || count > max || distance === 0 || distance === 1) {
    ra.start = index;
    ra.size = getInitRaSize(count, max);
    ra.asyncSize = ra.size > count ? ra.size - count : ra.size;
    return true;
  }
  // Traces that a sequential reader left in the cache (try_context_readahead).
  let size = countHistoryPages(mapping, index, max);
  if (size <= count) return false;
  if (size >= index) size *= 2;
  ra.start = index;
  ra.size = Math.min(size + count, max);
  ra.asyncSize = 1;
  return true;
}

/** ondemand_readahead. */
function* ondemandReadahead(
  k: Kernel,
  file: OpenFile,
  index: number,
  count: number,
  isMarked: boolean,
): KernelPath<void> {
  const { ra } = file;
  const { mapping } = file.inode;
  const { readAheadPages, ioPages } = k.config;
  const max = count > readAheadPages && ioPages > readAheadPages ? Math.min(count, ioPages) : readAheadPages;
  noteFile(k, mapping, false);
  if (!setWindow(mapping, ra, index, count, max, isMarked)) {
    // A small read somewhere: as it is.
    if (!isMarked) yield* pageCacheRa(k, mapping, index, count, 0);
    return;
  }
  // The mark would be met by this very read: take the next window at once.
  if (index === ra.start && ra.size === ra.asyncSize) {
    const more = getNextRaSize(ra, max);
    if (ra.size + more <= max) {
      ra.asyncSize = more;
      ra.size += more;
    } else {
      ra.size = max;
      ra.asyncSize = max >> 1;
    }
  }
  yield* pageCacheRa(k, mapping, ra.start, ra.size, ra.asyncSize, isMarked);
}

/** page_cache_sync_ra: a read of `count` pages missed the one at `index`. */
export function pageCacheSyncRa(k: Kernel, file: OpenFile, index: number, count: number): KernelPath<void> {
  return ondemandReadahead(k, file, index, k.config.readAheadPages === 0 ? 1 : count, false);
}

/** page_cache_async_ra: a reader met the marked page `pfn`. */
export function* pageCacheAsyncRa(
  k: Kernel,
  file: OpenFile,
  pfn: number,
  index: number,
  count: number,
): KernelPath<void> {
  const { flags } = k.pages;
  if (k.config.readAheadPages === 0) return;
  // PG_reclaim is the same bit.
  if ((flags[pfn]! & PG_WRITEBACK) !== 0) return;
  flags[pfn] = flags[pfn]! & ~PG_READAHEAD;
  yield* ondemandReadahead(k, file, index, count, true);
}

/** What a mapping's fault that missed reads around it; null: only its page. */
export function syncMmapReadahead(k: Kernel, file: OpenFile, vmFlags: number, index: number): KernelPath<void> | null {
  const { ra } = file;
  const pages = k.config.readAheadPages;
  if ((vmFlags & VM_RAND_READ) !== 0 || pages === 0) return null;
  if ((vmFlags & VM_SEQ_READ) !== 0) return pageCacheSyncRa(k, file, index, pages);
  if (ra.mmapMiss < MMAP_LOTSAMISS * 10) ra.mmapMiss++;
  if (ra.mmapMiss > MMAP_LOTSAMISS) return null;
  ra.start = Math.max(0, index - (pages >> 1));
  ra.size = pages;
  ra.asyncSize = pages >> 2;
  return pageCacheRa(k, file.inode.mapping, ra.start, ra.size, ra.asyncSize);
}

/** do_async_mmap_readahead: the page is in the cache; null unless it is marked. */
export function asyncMmapReadahead(
  k: Kernel,
  file: OpenFile,
  vmFlags: number,
  index: number,
  pfn: number,
): KernelPath<void> | null {
  const { ra } = file;
  const pages = k.config.readAheadPages;
  if ((vmFlags & VM_RAND_READ) !== 0 || pages === 0) return null;
  if (ra.mmapMiss > 0) ra.mmapMiss--;
  return (k.pages.flags[pfn]! & PG_READAHEAD) === 0 ? null : pageCacheAsyncRa(k, file, pfn, index, pages);
}
