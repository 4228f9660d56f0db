// How a range of bytes becomes commands of an ARM SMMUv3. Linux: drivers/iommu/arm/arm-smmu-v3 (__arm_smmu_tlb_inv_range,
// arm_smmu_atc_inv_to_cmd, arm_smmu_mm_invalidate_range).
//
//   CMD_TLBI by VA        without range invalidation: a page each. With it: (NUM + 1) * 2^SCALE pages, NUM of 5 bits, so that the
//                         pages fall into commands by the bits of their number, lowest first, and nothing more is invalidated:
//                           77 pages = 0b1001101:   13 * 2^0, then 2 * 2^5
//   CMD_TLBI by ASID      the whole address space; and, without range commands, tlbiOpsMax pages or more
//   CMD_ATC_INV           one power of two of pages, naturally aligned: the least that contains first and last page, found by the
//                         highest bit in which their numbers differ. A range across the boundary of a large block takes a large
//                         block, and a device loses more of its TLB than was asked for
//                           [8 .. 11]   8 ^ 11 = 0b0011   4 pages from 8
//                           [7 .. 8]    7 ^ 8  = 0b1111   16 pages from 0

import { ALL_ADDRESSES } from '../sva-iommu.ts';
import type { ArmSmmuConfig } from './config.ts';

const PAGE = 4096;
/** CMDQ_TLBI_RANGE_NUM_MAX. */
const NUM_MAX = 31;

/** [start, end) that one command invalidates; [0, ALL_ADDRESSES): the ASID, or everything of the SSID. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

const ALL: Span = { start: 0, end: ALL_ADDRESSES };

/** The TLBI commands of a range. */
export function tlbiSpans(start: number, end: number, config: ArmSmmuConfig): Span[] {
  if (end === ALL_ADDRESSES) return [ALL];
  const first = Math.floor(start / PAGE);
  let pages = Math.ceil(end / PAGE) - first;
  const spans: Span[] = [];
  if (!config.hasRangeInvalidation) {
    if (pages >= config.tlbiOpsMax) return [ALL];
    for (let i = 0; i < pages; i++) spans.push({ start: (first + i) * PAGE, end: (first + i + 1) * PAGE });
    return spans;
  }
  for (let at = first * PAGE; pages > 0; ) {
    let unit = 1;
    while (pages % (unit * 2) === 0) unit *= 2;
    const num = (pages / unit) % (NUM_MAX + 1);
    spans.push({ start: at, end: at + num * unit * PAGE });
    at += num * unit * PAGE;
    pages -= num * unit;
  }
  return spans;
}

/** The ATC_INV command of a range. */
export function atcSpan(start: number, end: number): Span {
  if (end === ALL_ADDRESSES) return ALL;
  const first = Math.floor(start / PAGE);
  const last = Math.ceil(end / PAGE) - 1;
  let size = 1;
  while (Math.floor(first / size) !== Math.floor(last / size)) size *= 2;
  const at = (first - (first % size)) * PAGE;
  return { start: at, end: at + size * PAGE };
}
