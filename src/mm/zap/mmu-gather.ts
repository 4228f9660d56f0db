// mmu_gather: what an unmapping has cleared and not yet flushed, and the pages to free after the flush.
import type { MmStruct } from '../types.ts';

export class MmuGather {
  readonly mm: MmStruct;
  readonly fullMm: boolean;
  /** Range cleared since the last flush; start > end: empty. */
  start = Number.POSITIVE_INFINITY;
  end = 0;
  freedTables = false;
  /** SITE_* of the operation, for the moments. */
  site = 0;

  constructor(mm: MmStruct, fullMm: boolean) {
    this.mm = mm;
    this.fullMm = fullMm;
  }
}
