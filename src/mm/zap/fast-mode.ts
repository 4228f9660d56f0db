// tlb_fast_mode (include/asm-generic/tlb.h until 3.9): on a kernel for one CPU nothing is gathered; a page is freed in the moment in
// which its entry is cleared, and the CPU's TLB is flushed at the end. No CPU can use the page meanwhile: the one there is runs
// the unmapping. A device can.
//
//   gathered                            fast mode
//     clears V                            clears V, frees F1
//     clears V2                           clears V2, frees F2
//     flushes                             flushes
//     frees F1, F2
//
// There is no moment at which a page is unmapped and not free, so no notifier can have a call there. The proposal of 2011 turned
// the mode off for an mm with notifiers, in the generic gather. 3.10 removed it.

import type { KernelFns } from '../fns.ts';
import type { Kernel } from '../kernel.ts';
import { compoundHead } from '../page/compound.ts';
import { PG_SWAPCACHE } from '../page/pages.ts';
import { freeSwapCache } from '../swap/swap-cache.ts';
import type { MmStruct } from '../types.ts';

/** tlb_fast_mode(tlb). */
function isFast(k: Kernel, mm: MmStruct): boolean {
  if (k.config.cpus > 1) return false;
  return k.design === null || k.design.allowsFastMode(mm, k.config.gatherIsOwn);
}

/** tlb_remove_page of such a kernel: what takes the place of `gather`. */
export function fastModeRemovePage(gather: KernelFns['tlbRemovePage']): KernelFns['tlbRemovePage'] {
  return (k, tlb, pfn, address, isTable, size = 4096) => {
    const { mm } = tlb;
    if (!isFast(k, mm)) return gather(k, tlb, pfn, address, isTable, size);
    // The CPU's TLB may keep the entry until the flush, but runs nothing that uses it. Here other threads of the program may be
    // scheduled in between, so it goes at once.
    if (isTable) k.cpus[0]!.invalidateAll(mm.id);
    else k.cpus[0]!.invalidateRange(mm.id, address, address + size);
    const head = compoundHead(k.pages, pfn);
    if (!isTable && (k.pages.flags[head]! & PG_SWAPCACHE) !== 0) freeSwapCache(k, head);
    k.fn.putPage(k, head);
    return false;
  };
}
