// What an invalidation descriptor of an Intel IOMMU can name: 2^am pages, naturally aligned (address, address mask), or the whole
// PASID. A range of bytes becomes such blocks in one of two ways:
//
//   split  (Linux to 6.11, intel_flush_svm_range_dev)   block size = the pages of the range, rounded up to a power of two; start is
//          rounded down and end up to it: one block, or two when the range lies across a boundary
//
//            size 4   |---.xx|xx.---|      two blocks of 4
//
//   cover  (Linux 6.12, calculate_psi_aligned_address)  one block: the smallest that contains the range. A range across the boundary
//          of a large block may need a very large one; past the largest that the hardware takes, the whole PASID goes
//
//            |...xx|xx...|                 one block of 8
//
// In both the blocks issued contain the range asked for: blocks.test.ts tries every one of a small space.

import { ALL_ADDRESSES } from '../sva-iommu.ts';

const PAGE = 4096;

/** [start, end), a power of two of pages, naturally aligned; or [0, ALL_ADDRESSES). */
export interface Block {
  readonly start: number;
  readonly end: number;
}

const WHOLE: Block = { start: 0, end: ALL_ADDRESSES };

/** Least power of two that is not less. */
function roundupPowOfTwo(n: number): number {
  let p = 1;
  while (p < n) p *= 2;
  return p;
}

/** Pages that hold [start, end). */
function pagesOf(start: number, end: number): number {
  return Math.ceil(end / PAGE) - Math.floor(start / PAGE);
}

/** As intel_flush_svm_range does it: equal blocks. */
export function splitBlocks(start: number, end: number): Block[] {
  if (end === ALL_ADDRESSES) return [WHOLE];
  const size = roundupPowOfTwo(pagesOf(start, end)) * PAGE;
  const blocks: Block[] = [];
  for (let at = start - (start % size); at < end; at += size) blocks.push({ start: at, end: at + size });
  return blocks;
}

/** As calculate_psi_aligned_address does it: one block of at most 2^`orderMax` pages, else the whole PASID. */
export function coveringBlock(start: number, end: number, orderMax: number): Block {
  if (end === ALL_ADDRESSES) return WHOLE;
  const sizeMax = 2 ** orderMax * PAGE;
  for (let size = roundupPowOfTwo(pagesOf(start, end)) * PAGE; size <= sizeMax; size *= 2) {
    const at = start - (start % size);
    if (at + size >= end) return { start: at, end: at + size };
  }
  return WHOLE;
}
