// struct page as flat arrays by PFN, and the flags. Free lists are in buddy.ts, the allocator in allocator.ts.

import { float64s, int32s, uint8s } from '../../base/arena.ts';
import type { PhysMemory } from '../../hw/phys.ts';
import type { KernelConfig } from '../config.ts';
import type { StableNode } from '../ksm/state.ts';
import type { AddressSpace, AnonVma } from '../types.ts';

// Page flags.
export const PG_LOCKED = 1 << 0;
export const PG_REFERENCED = 1 << 1;
export const PG_UPTODATE = 1 << 2;
export const PG_DIRTY = 1 << 3;
export const PG_LRU = 1 << 4;
export const PG_ACTIVE = 1 << 5;
export const PG_UNEVICTABLE = 1 << 6;
export const PG_MLOCKED = 1 << 7;
export const PG_SWAPBACKED = 1 << 8;
export const PG_SWAPCACHE = 1 << 9;
export const PG_WRITEBACK = 1 << 10;
export const PG_ANON = 1 << 11;
export const PG_ANON_EXCLUSIVE = 1 << 12;
export const PG_TABLE = 1 << 13;
export const PG_RESERVED = 1 << 14;
export const PG_RECLAIM = 1 << 15;
/** Mark of read-ahead: the same bit, as in Linux. */
export const PG_READAHEAD = PG_RECLAIM;
export const PG_WORKINGSET = 1 << 16;
/** The frame is broken: nobody gets it any more. */
export const PG_HWPOISON = 1 << 24;
/** First frame of a free block; its order is in `private`. */
export const PG_BUDDY = 1 << 17;
/** A KSM page (PAGE_MAPPING_KSM): anonymous, and its mapping is a stable node. */
export const PG_KSM = 1 << 18;
/** Idle page tracking: not used since it was marked; used since, as a cleared A bit told. */
export const PG_IDLE = 1 << 19;
export const PG_YOUNG = 1 << 20;
/** LRU_REFS_MASK, two bits: uses beyond PG_REFERENCED and PG_WORKINGSET (the multi-generational LRU). */
export const LRU_REFS_SHIFT = 21;
export const LRU_REFS_MASK = 3 << LRU_REFS_SHIFT;

/** Huge page of the hugetlb pool, and one that takes its reservation back when it is freed unused (HPageRestoreReserve). */
export const PG_HUGETLB = 1 << 25;
export const PG_HUGETLB_RESTORE = 1 << 26;
/** Every frame of a compound page, head and tails: hot loops look at the flags first. */
export const PG_COMPOUND = 1 << 27;

// Identities of OBJ_LIST in footprints.
/** The buddy lists, and the number of free frames where it decides something. */
export const LIST_FREE = 1;
export const LIST_LRU = 2;
export const LIST_SWAP = 3;
/** Pages leaving the LRU lists: they commute with each other and with pages that come, but not with a scan. */
export const LIST_LRU_LEAVE = 4;
/** Numbers of anon_vmas: whoever makes one takes the next. */
export const LIST_ANON_VMA = 5;
/** KSM's list of address spaces and its trees. */
export const LIST_KSM = 6;
/** The pool of huge pages. */
export const LIST_HUGETLB = 7;
/** Free frames of CPU 0; the next numbers are those of the other CPUs. */
export const LIST_PCP = 16;

/** Added to refcount for each FOLL_PIN. */
export const GUP_PIN_COUNTING_BIAS = 1024;

// gfp: what an allocation may do.
export const GFP_KERNEL = 0; // may sleep and reclaim, not below the min watermark
export const GFP_NOWAIT = 1; // fails at once below the min watermark; wakes kswapd
export const GFP_ATOMIC = 2; // may use half of the reserve
export const GFP_MEMALLOC = 4; // reclaim itself: may use all of it

/** is_zone_device_page: memory of a device, which no CPU reaches. Its frames stand behind those of RAM. */
export function isZoneDevice(pages: Pages, pfn: number): boolean {
  return pfn >= pages.count;
}

export class Pages {
  /** Frames of RAM; frames of device memory (struct page with MEMORY_DEVICE_PRIVATE) follow up to `end`. */
  readonly count: number;
  readonly end: number;
  readonly refcount: Int32Array;
  /** Number of page-table entries that map the page (Linux stores this minus one). */
  readonly mapcount: Int32Array;
  /** Compound pages (page/compound.ts). Order of the block, in its head; 0 for a small page. */
  readonly order: Uint8Array;
  /** Head of the block that a tail page belongs to; 0 = not a tail. */
  readonly head: Int32Array;
  /** Mappings of the whole block by one entry (PMD), in its head. */
  readonly compoundMapcount: Int32Array;
  /** Pins of the block (FOLL_PIN), in its head. */
  readonly pincount: Int32Array;
  readonly flags: Int32Array;
  /** anon_vma of an anonymous page (PG_ANON), address_space of a cached one, stable node of a KSM page (PG_KSM). */
  readonly mapping: (AnonVma | AddressSpace | StableNode | null)[];
  /** Page offset in the anon_vma's linear space or in the file. */
  readonly index: Float64Array;
  /** Swap entry of a swap-cache page; order of a free block. */
  readonly private: Int32Array;
  /** FRAME_* of its last allocation. */
  readonly purpose: Uint8Array;
  /** Memory cgroup that the page is charged to, by number; 0 = the root, or free. */
  readonly memcg: Uint8Array;
  /** Links of the list that the page is on (LRU, free list). */
  readonly next: Int32Array;
  readonly prev: Int32Array;
  /** Free frames now. */
  free = 0;
  readonly #memory: PhysMemory;
  #reservedTop: number;

  constructor(config: KernelConfig, memory: PhysMemory) {
    this.count = config.frames;
    const n = config.frames + config.devicePrivatePages;
    this.end = n;
    this.refcount = int32s(n);
    this.mapcount = int32s(n);
    this.order = uint8s(n);
    this.head = int32s(n);
    this.compoundMapcount = int32s(n);
    this.pincount = int32s(n);
    this.flags = int32s(n);
    this.mapping = new Array<AnonVma | AddressSpace | StableNode | null>(n).fill(null);
    this.index = float64s(n);
    this.private = int32s(n);
    this.purpose = uint8s(n);
    this.memcg = uint8s(n);
    this.next = int32s(n);
    this.prev = int32s(n);
    this.#memory = memory;
    this.#reservedTop = 1;
    this.flags[0] = PG_RESERVED;
  }

  /** A frame taken before the allocator starts (zero page); lowest first. */
  takeReserved(): number {
    const pfn = this.#reservedTop++;
    this.flags[pfn] = PG_RESERVED;
    this.refcount[pfn] = 1;
    this.#memory.zero(pfn);
    return pfn;
  }

  /** First frame that the allocator owns. */
  get firstUsable(): number {
    return this.#reservedTop;
  }
}
