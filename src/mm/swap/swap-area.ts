// One swap area: slots of one page each with their use counts (swap_map), the frame that caches each slot, and the stored
// bytes. Slot 0 is the header of a swap file and never handed out, so that 0 can mean "none". Slots are found by a rotating
// cursor, as Linux's cluster scan does on a fresh area. The whole table is swap_info->lock's and never held across a point.
//
// The area is turned on and off at run time (swap/swapoff.ts). On a device that answers at once (brd, zram) a page that only one
// entry needs is read past the swap cache (SWP_SYNCHRONOUS_IO).
//
// Kernel names: swap_info_struct, swap_map, SWAP_HAS_CACHE, SWP_WRITEOK, scan_swap_map_slots, __swap_duplicate,
// __swap_entry_free, vm_swap_full.

import { ENOENT } from '../../abi/errno.ts';
import { float64s, int32s, uint8s, uint32s } from '../../base/arena.ts';
import { assert, fail } from '../../base/assert.ts';

/** Bytes are kept in pieces of 256 pages, made when first written. */
const PIECE_PAGES = 256;
const SWAP_SLOTS_CACHE_SIZE = 64;

export class SwapArea {
  /** Slots of the area; 0 = no swap. */
  pages = 0;
  /** SWP_SYNCHRONOUS_IO. */
  isSynchronous = false;
  /** SWP_WRITEOK: slots are handed out. */
  isWritable = false;
  /** Page-table entries (and shmem slots) that name the slot. */
  #users = uint32s(1);
  /** SWAP_HAS_CACHE. */
  #hasCache = uint8s(1);
  #cache = int32s(1);
  /** What the cache remembers of an evicted page (reclaim/workingset.ts); 0 = nothing. */
  #shadow = float64s(1);
  #bytes: (Uint8Array | null)[] = [];
  #next = 1;
  /** Slots in use now, and the most that ever were. */
  used = 0;
  usedPeak = 0;
  /** Slots that a CPU keeps for the next ones to come (free_swap_slot), and who wants to know when they really go back. */
  #returned = 0;
  onReturned: ((slots: number) => void) | null = null;

  /** `pages` slots; 0 = no swap. */
  constructor(pages: number, isSynchronous = false) {
    if (pages > 0) this.turnOn(pages, isSynchronous);
  }

  /** swapon: an area of `pages` slots. There was none. */
  turnOn(pages: number, isSynchronous: boolean): void {
    assert(this.pages === 0, 'SwapArea.turnOn: the area is off');
    this.pages = pages;
    this.isSynchronous = isSynchronous;
    this.isWritable = true;
    this.#next = 1;
    this.#users = uint32s(pages + 1);
    this.#hasCache = uint8s(pages + 1);
    this.#cache = int32s(pages + 1);
    this.#shadow = float64s(pages + 1);
    this.#bytes = new Array<Uint8Array | null>(Math.ceil((pages + 1) / PIECE_PAGES)).fill(null);
  }

  /** The area is empty: it goes. */
  turnOff(): void {
    assert(this.used === 0, 'SwapArea.turnOff: no slot is in use');
    this.pages = 0;
    this.isWritable = false;
  }

  /** get_nr_swap_pages: slots that can still be had. */
  get free(): number {
    return this.isWritable ? this.pages - this.used : 0;
  }

  /** vm_swap_full: pages that are in memory again should give their slots back. */
  get isNearlyFull(): boolean {
    return this.free * 2 < this.pages;
  }

  /** First slot at or above `from` that is in use, or 0. */
  nextUsed(from: number): number {
    for (let slot = from; slot <= this.pages; slot++) if (this.isUsed(slot)) return slot;
    return 0;
  }

  /** A free slot, counted once for the cache; 0 = the area is full. */
  allocate(): number {
    if (this.free === 0) return 0;
    let slot = this.#next;
    while (this.#users[slot] !== 0 || this.#hasCache[slot] !== 0) slot = slot === this.pages ? 1 : slot + 1;
    this.#next = slot === this.pages ? 1 : slot + 1;
    this.#hasCache[slot] = 1;
    this.used++;
    if (this.used > this.usedPeak) this.usedPeak = this.used;
    return slot;
  }

  /** swap_alloc_cluster: `count` free slots in a row, the first a multiple of `count`, each counted once for the cache; the first, or 0. */
  allocateRun(count: number): number {
    if (this.free < count) return 0;
    for (let first = count; first + count <= this.pages + 1; first += count) {
      let i = 0;
      while (i < count && !this.isUsed(first + i)) i++;
      if (i < count) continue;
      this.#hasCache.fill(1, first, first + count);
      this.used += count;
      if (this.used > this.usedPeak) this.usedPeak = this.used;
      return first;
    }
    return 0;
  }

  /** Entries that name the slot (swap_count without the cache flag). */
  users(slot: number): number {
    return this.#users[slot]!;
  }

  isUsed(slot: number): boolean {
    return this.#users[slot] !== 0 || this.#hasCache[slot] !== 0;
  }

  hasCache(slot: number): boolean {
    return this.#hasCache[slot] !== 0;
  }

  /** One more entry. -ENOENT for a free slot. */
  duplicate(slot: number): number {
    if (slot < 1 || slot > this.pages || !this.isUsed(slot)) return -ENOENT;
    this.#users[slot] = this.#users[slot]! + 1;
    return 0;
  }

  /** One entry less. */
  release(slot: number): void {
    assert(slot >= 1 && slot <= this.pages && this.#users[slot]! > 0, 'SwapArea.release: an entry names the slot');
    this.#users[slot] = this.#users[slot]! - 1;
    this.#freeIfUnused(slot);
  }

  /** Frame that caches the slot, or 0. */
  cached(slot: number): number {
    return this.#cache[slot]!;
  }

  setCached(slot: number, pfn: number): void {
    assert(this.#hasCache[slot] === 1 && this.#cache[slot] === 0, 'SwapArea.setCached: the cache owns the slot');
    this.#cache[slot] = pfn;
  }

  /** The cached contents stand in another frame now. */
  moveCached(slot: number, from: number, to: number): void {
    assert(this.#cache[slot] === from, 'SwapArea.moveCached: the slot is cached there');
    this.#cache[slot] = to;
  }

  /** swapcache_prepare: the cache takes a count on a slot that entries use. */
  addCacheCount(slot: number): void {
    assert(this.#hasCache[slot] === 0 && this.#users[slot]! > 0, 'SwapArea.addCacheCount: slot in use and not cached');
    this.#hasCache[slot] = 1;
  }

  dropCached(slot: number): void {
    assert(this.#cache[slot] !== 0, 'SwapArea.dropCached: the slot is cached');
    this.#cache[slot] = 0;
    this.#hasCache[slot] = 0;
    this.#freeIfUnused(slot);
  }

  /** swapcache_clear: gives the count of swapcache_prepare back; no page was cached. */
  dropCacheCount(slot: number): void {
    assert(this.#hasCache[slot] === 1 && this.#cache[slot] === 0, 'SwapArea.dropCacheCount: counted, without a page');
    this.#hasCache[slot] = 0;
    this.#freeIfUnused(slot);
  }

  shadow(slot: number): number {
    return this.#shadow[slot]!;
  }

  setShadow(slot: number, shadow: number): void {
    this.#shadow[slot] = shadow;
  }

  #freeIfUnused(slot: number): void {
    if (this.isUsed(slot)) return;
    this.used--;
    this.#shadow[slot] = 0;
    if (this.#returned === SWAP_SLOTS_CACHE_SIZE) {
      this.onReturned?.(this.#returned);
      this.#returned = 0;
    }
    this.#returned++;
  }

  /** Stores 4096 bytes of `from` at `at`. */
  write(slot: number, from: Uint8Array, at: number): void {
    const i = Math.floor(slot / PIECE_PAGES);
    let piece = this.#bytes[i]!;
    if (piece === null) {
      piece = new Uint8Array(PIECE_PAGES * 4096);
      this.#bytes[i] = piece;
    }
    piece.set(from.subarray(at, at + 4096), (slot % PIECE_PAGES) * 4096);
  }

  /** Copies the stored 4096 bytes to `to` at `at`. */
  read(slot: number, to: Uint8Array, at: number): void {
    const piece = this.#bytes[Math.floor(slot / PIECE_PAGES)]!;
    assert(piece !== null, 'SwapArea.read: the slot was written');
    const from = (slot % PIECE_PAGES) * 4096;
    to.set(piece.subarray(from, from + 4096), at);
  }

  /** Counts and cache agree. Throws. */
  checkInvariants(): void {
    let used = 0;
    for (let slot = 1; slot <= this.pages; slot++) {
      if (this.isUsed(slot)) used++;
      if (this.#cache[slot] !== 0 && this.#hasCache[slot] !== 1)
        fail(`SwapArea: slot ${slot} is cached and counted so`);
    }
    assert(used === this.used, `SwapArea: ${used} slots in use, count says ${this.used}`);
    assert(this.#users[0] === 0 && this.#hasCache[0] === 0, 'SwapArea: slot 0 is never used');
  }
}
