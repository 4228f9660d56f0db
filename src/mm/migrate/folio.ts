// A page of any size in its VMAs (mm/internal.h vma_address, vma_address_end; include/linux/mm.h folio_mapped).

import { totalMapcount } from '../page/compound.ts';
import type { Pages } from '../page/pages.ts';
import { vmaAddress } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';

/** folio_mapped: does any entry map a part of the page? */
export function isMapped(pages: Pages, head: number): boolean {
  return pages.order[head] === 0 ? pages.mapcount[head]! > 0 : totalMapcount(pages, head) > 0;
}

/** vma_address: where the VMA maps the page, or its first part that the VMA covers. */
export function firstAddress(pages: Pages, vma: VmArea, head: number): number {
  const address = vmaAddress(vma, pages.index[head]!);
  return address < vma.start ? vma.start : address;
}

/** vma_address_end. */
export function endAddress(pages: Pages, vma: VmArea, head: number): number {
  const end = vmaAddress(vma, pages.index[head]! + (1 << pages.order[head]!));
  return end > vma.end ? vma.end : end;
}

/** Frame of the page that belongs at `address`. */
export function subpageAt(pages: Pages, vma: VmArea, head: number, address: number): number {
  return head + (vma.pgoff + (address - vma.start) / 4096 - pages.index[head]!);
}
