// read and write through the page cache (mm/filemap.c filemap_read, generic_perform_write), and writeback (mm/page-writeback.c).
// A page is written back under its lock: first every shared mapping is made clean and read-only, then the bytes go to the disk,
// so that a later store is seen as a new dirtying.

import { EFAULT } from '../../abi/errno.ts';
import { KEPT_FILE } from '../../abi/events.ts';
import { OBJ_PAGE } from '../../base/footprint.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_IO } from '../../sched/points.ts';
import type { Kernel } from '../kernel.ts';
import { announceWriteOut } from '../page/announce.ts';
import { compoundHead } from '../page/compound.ts';
import { lockPage, lockPageFast, unlockPage } from '../page/page-lock.ts';
import { PG_DIRTY, PG_READAHEAD, PG_WRITEBACK } from '../page/pages.ts';
import { getPage } from '../rmap/rmap.ts';
import type { AddressSpace, Inode, OpenFile } from '../types.ts';
import { patternByte, writeToDisk } from './contents.ts';
import { isCachedAt, isShmem, noteFile, setPageDirty } from './page-cache.ts';
import { pageCacheAsyncRa, pageCacheSyncRa } from './readahead.ts';
import { indicesIn } from './truncate.ts';

/** folio_clear_dirty_for_io: true when the page is to be written. Page lock held. */
function* clearDirtyForIo(k: Kernel, pfn: number): KernelPath<boolean> {
  if ((yield* k.fn.pageMkclean(k, pfn)) > 0) setPageDirty(k, pfn);
  const flags = k.pages.flags;
  const dirty = (flags[pfn]! & PG_DIRTY) !== 0;
  flags[pfn] = flags[pfn]! & ~PG_DIRTY;
  return dirty;
}

/** Page lock held. Shared memory goes to the swap area instead (shmem_writepage); without room it stays dirty. */
export function* writepage(k: Kernel, pfn: number): KernelPath<void> {
  const mapping = k.pages.mapping[pfn] as AddressSpace;
  if (isShmem(mapping)) {
    yield* shmemWritepage(k, mapping, pfn);
    return;
  }
  if (!(yield* clearDirtyForIo(k, pfn))) return;
  k.pages.flags[pfn] = k.pages.flags[pfn]! | PG_WRITEBACK;
  if (k.sched.points) yield P_IO;
  writeToDisk(k.memory, mapping, k.pages.index[pfn]!, pfn);
  announceWriteOut(k, pfn, KEPT_FILE);
  k.pages.flags[pfn] = k.pages.flags[pfn]! & ~PG_WRITEBACK;
}

/** The page, mapped nowhere, moves from the page cache to the swap cache, and its contents to the swap area. */
function* shmemWritepage(k: Kernel, mapping: AddressSpace, pfn: number): KernelPath<void> {
  const pages = k.pages;
  const index = pages.index[pfn]!;
  if (pages.mapcount[pfn]! > 0 || !k.fn.addToSwap(k, pfn)) {
    setPageDirty(k, pfn);
    return;
  }
  const entry = pages.private[pfn]!;
  k.fn.swapDuplicate(k, entry);
  noteFile(k, mapping, true);
  mapping.pages.delete(index);
  mapping.swapped.set(index, entry);
  pages.mapping[pfn] = null;
  k.fn.putPage(k, pfn);
  yield* k.fn.swapWritepage(k, pfn);
}

export function* filemapWriteAndWaitRange(
  k: Kernel,
  mapping: AddressSpace,
  start: number,
  end: number,
): KernelPath<void> {
  if (isShmem(mapping)) return;
  noteFile(k, mapping, false);
  for (const index of indicesIn(mapping.pages, Math.floor(start / 4096), Math.ceil(end / 4096) - 1)) {
    noteFile(k, mapping, false);
    const pfn = mapping.pages.get(index);
    if (pfn === undefined) continue;
    if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_PAGE, pfn, true);
    if ((k.pages.flags[pfn]! & PG_DIRTY) === 0) continue;
    getPage(k, pfn);
    if (k.sched.points || !lockPageFast(k, pfn)) yield* lockPage(k, pfn);
    if (isCachedAt(k, mapping, index, pfn) && (k.pages.flags[pfn]! & PG_DIRTY) !== 0) yield* k.fn.writepage(k, pfn);
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
  }
}

/** Number of bytes, or -ENOMEM before the first one. `bytes` null: the file's own pattern. Grows the file. */
export function* fileWrite(
  k: Kernel,
  inode: Inode,
  offset: number,
  length: number,
  bytes: Uint8Array | null,
): KernelPath<number> {
  const mapping = inode.mapping;
  let done = 0;
  while (done < length) {
    const at = offset + done;
    const index = Math.floor(at / 4096);
    const from = at % 4096;
    const count = Math.min(4096 - from, length - done);
    // The page is made as if the file reached there already; what it holds beyond the old end is zeros.
    const oldSize = inode.size;
    noteFile(k, mapping, at + count > oldSize);
    if (at + count > oldSize) inode.size = at + count;
    const pfn = yield* k.fn.filemapGetPage(k, mapping, index);
    if (pfn < 0) {
      if (oldSize < inode.size) inode.size = oldSize;
      return done > 0 ? done : pfn;
    }
    if (k.sched.points || !lockPageFast(k, pfn)) yield* lockPage(k, pfn);
    const still = isCachedAt(k, mapping, index, pfn);
    if (still) {
      copyIn(k, inode, pfn * 4096 + from, at, count, bytes === null ? null : bytes.subarray(done, done + count));
      setPageDirty(k, pfn);
      k.fn.markPageAccessed(k, compoundHead(k.pages, pfn));
      done += count;
    }
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
  }
  return done;
}

function copyIn(k: Kernel, inode: Inode, to: number, offset: number, count: number, bytes: Uint8Array | null): void {
  k.memory.touch(Math.floor(to / 4096), true);
  if (bytes !== null) k.memory.bytes.set(bytes, to);
  else for (let i = 0; i < count; i++) k.memory.bytes[to + i] = patternByte(inode.id, offset + i);
}

/** Reads [offset, offset + length) up to the end of the file. Bytes, or -ENOMEM before the first one. With `file` pages are read
 *  ahead of the reader (filemap_get_pages); a hole of shared memory reads as zeros and stays one. */
export function* fileRead(
  k: Kernel,
  inode: Inode,
  offset: number,
  length: number,
  out: Uint8Array | null,
  file: OpenFile | null = null,
): KernelPath<number> {
  const { mapping } = inode;
  const shmem = isShmem(mapping);
  let done = 0;
  while (done < length && offset + done < inode.size) {
    const at = offset + done;
    const index = Math.floor(at / 4096);
    const from = at % 4096;
    const wanted = Math.min(4096 - from, length - done);
    noteFile(k, mapping, false);
    if (shmem && !mapping.pages.has(index) && !mapping.swapped.has(index)) {
      const count = Math.min(wanted, inode.size - at);
      if (out !== null) out.fill(0, done, done + count);
      done += count;
      continue;
    }
    if (!shmem && file !== null) yield* readAheadOf(k, file, index, Math.ceil((offset + length) / 4096) - index);
    const pfn = yield* k.fn.filemapGetPage(k, mapping, index);
    if (pfn < 0) return done > 0 || pfn === -EFAULT ? done : pfn;
    const count = Math.min(wanted, inode.size - at);
    k.memory.touch(pfn, false);
    if (count > 0 && out !== null) out.set(k.memory.bytes.subarray(pfn * 4096 + from, pfn * 4096 + from + count), done);
    // Several reads of one page count as one use of it.
    if (file === null || Math.floor((file.ra.prevPos - 1) / 4096) !== index)
      k.fn.markPageAccessed(k, compoundHead(k.pages, pfn));
    k.fn.putPage(k, pfn);
    if (count <= 0) break;
    done += count;
    if (file !== null) file.ra.prevPos = at + count;
  }
  return done;
}

/** The read-ahead of a read() that wants `count` pages from `index` on: the first is missing, or marked. */
function* readAheadOf(k: Kernel, file: OpenFile, index: number, count: number): KernelPath<void> {
  const pfn = file.inode.mapping.pages.get(index);
  if (pfn === undefined) yield* pageCacheSyncRa(k, file, index, count);
  else if ((k.pages.flags[pfn]! & PG_READAHEAD) !== 0) yield* pageCacheAsyncRa(k, file, pfn, index, count);
}
