// A region of a process whose pages an RDMA adapter finds on demand (struct ib_umem_odp): what the driver knows of each page, how pages
// are mapped for DMA and unmapped again. Shared by both forms of the driver (odp-interval.ts, odp-counted.ts).
// Linux: drivers/infiniband/core/umem_odp.c, include/rdma/ib_umem_odp.h.
//
//   pfnList   frame of each page, as it was found
//   dmaList   DMA address of each page, with what the adapter may do in the low two bits; 0: not mapped. The bus addresses of this
//             machine are physical ones
//
// Guards: the umem lock (umem_mutex) guards both lists, npages and the MTT of the key. It is also the "driver's lock" of the notifier
// protocols. In the form with interval subscribers it is a mutex; in the older one a spinlock, since invalidate_page may not sleep.

import { E_DMA_MAP, E_DMA_UNMAP } from '../../abi/events.ts';
import { int32s, uint32s } from '../../base/arena.ts';
import { setPageDirty } from '../../mm/file/page-cache.ts';
import type { Kernel } from '../../mm/kernel.ts';
import { notePage } from '../../mm/rmap/rmap.ts';
import type { MmStruct } from '../../mm/types.ts';
import { IntervalNotifier, type IntervalOps } from '../../notifier/interval.ts';
import { type MemoryKey, type Nic, ODP_READ_ALLOWED_BIT, ODP_WRITE_ALLOWED_BIT } from './nic.ts';

const ODP_RIGHTS = ODP_READ_ALLOWED_BIT | ODP_WRITE_ALLOWED_BIT;
/** MLX5_UMR_MTT_NUM_ENTRIES_ALIGNMENT: entries that a work request writes together. */
const UMR_BLOCK = 8;

// Part in footprints (device/objects); 1 to 11 are the adapter's, the driver's and the queue pairs'.
const PART_LISTS = 12; // [key] of a umem

/** Run of pages [first, first + count) of a umem. */
export interface Block {
  readonly first: number;
  readonly count: number;
}

export class UmemOdp {
  /** Bytes, page aligned, half-open (ib_umem_start, ib_umem_end). */
  readonly start: number;
  readonly end: number;
  readonly writable: boolean;
  readonly mm: MmStruct;
  readonly key: MemoryKey;
  readonly pfnList: Int32Array;
  readonly dmaList: Uint32Array;
  /** Pages mapped for DMA. */
  npages = 0;
  readonly notifier: IntervalNotifier;
  /** Page faults under way, and 1 for whoever made it (mmkey.usecount): it is not freed before. */
  users = 1;
  /** The older form: open sections over the region, how many have ended, and whether the process goes. */
  notifiersCount = 0;
  notifiersSeq = 0;
  isDying = false;

  constructor(mm: MmStruct, start: number, end: number, writable: boolean, key: MemoryKey, ops: IntervalOps) {
    this.mm = mm;
    this.start = start;
    this.end = end;
    this.writable = writable;
    this.key = key;
    const count = (end - start) / 4096;
    this.pfnList = int32s(count);
    this.dmaList = uint32s(count);
    this.notifier = new IntervalNotifier(ops);
  }

  index(va: number): number {
    return Math.floor((va - this.start) / 4096);
  }

  va(index: number): number {
    return this.start + index * 4096;
  }
}

/** ib_umem_odp_map_dma_single_page, of 6.1. A page that is mapped already only has its rights set again. Umem lock held. */
export function mapDmaSinglePage(k: Kernel, nic: Nic, umem: UmemOdp, index: number, pfn: number, rights: number): void {
  nic.note(PART_LISTS, umem.key.id, true);
  const mapped = umem.dmaList[index]!;
  if (mapped === 0) {
    umem.npages++;
    noteDma(k, nic, E_DMA_MAP, pfn);
  }
  umem.pfnList[index] = pfn;
  umem.dmaList[index] = pfn * 4096 + rights;
}

/** ib_umem_odp_unmap_dma_pages of [start, end): the adapter uses none of it any more. What it may have written is marked dirty, before
 *  the kernel takes the entries away. Umem lock held. */
export function unmapDmaPages(k: Kernel, nic: Nic, umem: UmemOdp, start: number, end: number): void {
  const last = umem.index(end);
  for (let i = umem.index(start); i < last; i++)
    unmapDmaPage(k, nic, umem, i, (umem.dmaList[i]! & ODP_WRITE_ALLOWED_BIT) !== 0);
}

export function unmapDmaPage(k: Kernel, nic: Nic, umem: UmemOdp, i: number, isDirty: boolean): void {
  const dma = umem.dmaList[i]!;
  nic.note(PART_LISTS, umem.key.id, dma !== 0);
  if (dma === 0) return;
  const pfn = dma >>> 12;
  noteDma(k, nic, E_DMA_UNMAP, pfn);
  if (isDirty) {
    notePage(k, pfn);
    setPageDirty(k, pfn);
  }
  umem.dmaList[i] = 0;
  umem.npages--;
}

function noteDma(k: Kernel, nic: Nic, type: number, pfn: number): void {
  const m = k.memory;
  if (m.log.on) m.log.emit(type, nic.mm, pfn * 4096, pfn * 4096 + 4096, pfn, m.generation[pfn]!, 0, 0, 0, nic.id);
}

/** The runs of mapped pages of [start, end), as mlx5_ib_invalidate_range zaps them: a run goes on over unmapped pages up to the next
 *  multiple of the block. */
export function zapBlocks(umem: UmemOdp, start: number, end: number): Block[] {
  const blocks: Block[] = [];
  let first = -1;
  const last = umem.index(end);
  for (let i = umem.index(start); i < last; i++) {
    if ((umem.dmaList[i]! & ODP_RIGHTS) !== 0) {
      if (first < 0) first = i;
    } else if (first >= 0 && i % UMR_BLOCK === 0) {
      blocks.push({ first, count: i - first });
      first = -1;
    }
  }
  if (first >= 0) blocks.push({ first, count: last - first });
  return blocks;
}
