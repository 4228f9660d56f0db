// The huge zero page (mm/huge_memory.c): 2 MiB of zeros that every first read of a block may map. Made at first use; each mm that
// maps it holds one reference until it ends, however many entries it has. Not in rmap and RSS, as the small one.

import { FRAME_KERNEL } from '../../abi/events.ts';
import { OBJ_LIST } from '../../base/footprint.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_NR, HPAGE_PMD_ORDER } from '../page/compound.ts';
import { GFP_NOWAIT } from '../page/pages.ts';
import type { MmStruct } from '../types.ts';

/** In footprints: the page and its count. */
const LIST_HUGE_ZERO = 12;

function note(k: Kernel): void {
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_LIST, LIST_HUGE_ZERO, true);
}

/** mm_get_huge_zero_page: its head, or 0 when there is no memory for it. */
export function mmGetHugeZeroPage(k: Kernel, mm: MmStruct): number {
  note(k);
  const { huge } = k;
  if (mm.hasHugeZeroPage) return huge.zeroPfn;
  if (huge.zeroPfn === 0) {
    const head = k.fn.allocPages(k, GFP_NOWAIT, HPAGE_PMD_ORDER, FRAME_KERNEL);
    if (head === 0) return 0;
    for (let i = 0; i < HPAGE_PMD_NR; i++) k.memory.zero(head + i);
    huge.zeroPfn = head;
    huge.zeroRefs = 1;
  }
  huge.zeroRefs++;
  mm.hasHugeZeroPage = true;
  return huge.zeroPfn;
}

/** mm_put_huge_zero_page: the mm ends. */
export function mmPutHugeZeroPage(k: Kernel, mm: MmStruct): void {
  if (!mm.hasHugeZeroPage) return;
  note(k);
  mm.hasHugeZeroPage = false;
  k.huge.zeroRefs--;
}

/** shrink_huge_zero_page_scan: without users the page goes back. Frames freed. */
export function shrinkHugeZeroPage(k: Kernel): number {
  if (k.huge.zeroPfn === 0) return 0;
  note(k);
  if (k.huge.zeroRefs > 1) return 0;
  const head = k.huge.zeroPfn;
  k.huge.zeroPfn = 0;
  k.huge.zeroRefs = 0;
  k.fn.putPage(k, head);
  return HPAGE_PMD_NR;
}

/** is_huge_zero_pmd, by frame. */
export function isHugeZero(k: Kernel, pfn: number): boolean {
  return pfn !== 0 && pfn === k.huge.zeroPfn;
}
