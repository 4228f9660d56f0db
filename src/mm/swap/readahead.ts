// What a swap fault reads (mm/swap_state.c): the page, and with it swapped neighbours that will be wanted soon.
//
//   anonymous    neighbours in the VMA, in one page table (swap_vma_readahead): the window of 2^page_cluster pages at most
//                grows with the hits of what was read ahead before, and lies on the side to which the faults move
//   shmem        neighbours in the swap area (swap_cluster_readahead)
//
// Pages that were read ahead carry PG_READAHEAD until somebody finds them, which counts as a hit. The window of a VMA is kept
// without a lock, as in Linux.
//
// Kernel names: swapin_readahead, swap_ra_info, __swapin_nr_pages, lookup_swap_cache.

import { PMD_SIZE } from '../../abi/mman.ts';
import { pteWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead } from '../page/compound.ts';
import { PG_READAHEAD } from '../page/pages.ts';
import { isRealSwap, pteIsSwap, swapOffset } from '../page/swapops.ts';
import { SwapReadahead, type VmArea } from '../types.ts';
import { readSwapCache } from './swap-cache.ts';

/** Hits that a window remembers (SWAP_RA_HITS_MAX). */
const HITS_MAX = 63;
/** SWAP_RA_ORDER_CEILING. */
const WINDOW_ORDER_MAX = 5;

/** __swapin_nr_pages: size of the next window. */
function swapinNrPages(previous: number, offset: number, hits: number, max: number, previousWindow: number): number {
  let pages = hits + 2;
  if (pages === 2) {
    if (offset !== previous + 1 && offset !== previous - 1) pages = 1;
  } else {
    let rounded = 4;
    while (rounded < pages) rounded *= 2;
    pages = rounded;
  }
  return Math.max(Math.min(pages, max), previousWindow >> 1);
}

function readaheadOf(vma: VmArea): SwapReadahead {
  vma.swapRa ??= new SwapReadahead();
  return vma.swapRa;
}

/** lookup_swap_cache: frame (referenced) that caches the slot, or 0. `vma`: whose fault looks. */
export function lookupSwapCache(k: Kernel, entry: number, vma: VmArea | null, address: number): number {
  const page = k.swap.cached(entry);
  if (page === 0) return 0;
  const { flags, refcount } = k.pages;
  const pfn = compoundHead(k.pages, page);
  refcount[pfn] = refcount[pfn]! + 1;
  const wasReadAhead = (flags[pfn]! & PG_READAHEAD) !== 0;
  flags[pfn] = flags[pfn]! & ~PG_READAHEAD;
  if (vma !== null) {
    const ra = readaheadOf(vma);
    ra.page = Math.floor(address / 4096);
    if (wasReadAhead) ra.hits = Math.min(ra.hits + 1, HITS_MAX);
  } else if (wasReadAhead) k.reclaim.swapinHits++;
  return page;
}

/** swapin_readahead: the slot that the fault at `address` needs (`vma` null: shmem), after its neighbours. Frame (referenced) or 0. */
export function* swapinReadahead(k: Kernel, entry: number, vma: VmArea | null, address: number): KernelPath<number> {
  if (k.config.pageCluster > 0) {
    if (vma !== null) yield* readVmaWindow(k, vma, address);
    else yield* readCluster(k, entry);
  }
  return yield* readSwapCache(k, entry);
}

/** swap_vma_readahead without the page itself. */
function* readVmaWindow(k: Kernel, vma: VmArea, address: number): KernelPath<void> {
  const max = 1 << Math.min(k.config.pageCluster, WINDOW_ORDER_MAX);
  const page = Math.floor(address / 4096);
  const ra = readaheadOf(vma);
  const previous = ra.page;
  const window = swapinNrPages(previous, page, ra.hits, max, ra.window);
  ra.page = page;
  ra.window = window;
  ra.hits = 0;
  if (window === 1) return;
  const left = (window - 1) >> 1;
  const first = page === previous + 1 ? page : previous === page + 1 ? page - window + 1 : page - left;
  const last = page === previous + 1 ? page + window : previous === page + 1 ? page + 1 : page + window - left;
  const table = Math.floor(address / PMD_SIZE) * PMD_SIZE;
  const start = Math.max(first * 4096, vma.start, table);
  const end = Math.min(last * 4096, vma.end, table + PMD_SIZE);
  const m = k.memory;
  for (let at = start; at < end; at += 4096) {
    const word = pteWord(m, vma.mm.pgd, vpnHi(at), vpnLo(at));
    if (word < 0) break;
    const lo = entryLo(m, word);
    const hi = entryHi(m, word);
    if (!pteIsSwap(lo, hi) || !isRealSwap(hi)) continue;
    const pfn = yield* readSwapCache(k, swapOffset(lo, hi), at !== page * 4096);
    if (pfn !== 0) k.fn.putPage(k, pfn);
  }
}

/** swap_cluster_readahead without the page itself. */
function* readCluster(k: Kernel, entry: number): KernelPath<void> {
  const r = k.reclaim;
  const hits = r.swapinHits;
  r.swapinHits = 0;
  const pages = swapinNrPages(r.swapinPrevious, entry, hits, 1 << k.config.pageCluster, r.swapinWindow);
  if (hits === 0) r.swapinPrevious = entry;
  r.swapinWindow = pages;
  if (pages === 1) return;
  const start = entry & ~(pages - 1);
  const end = Math.min(entry | (pages - 1), k.swap.pages);
  for (let slot = Math.max(start, 1); slot <= end; slot++) {
    if (k.swap.users(slot) === 0) continue;
    const pfn = yield* readSwapCache(k, slot, slot !== entry);
    if (pfn !== 0) k.fn.putPage(k, pfn);
  }
}
