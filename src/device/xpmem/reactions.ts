// What XPMEM does when the kernel's design tells it something. It has to ask other partitions and wait for their answers, so what it can
// do depends on whether it may sleep, and on whether the design says so:
//
//   pte-notifiers         cannot ask in `clear`, under a page-table lock; asks when a VMA is closed
//   mmu-notifiers-andrea  the same for invalidate_page; asks in invalidate_range, which may not sleep and comes late
//   mmu-notifiers-v4, v5  begin may sleep unless it says atomic (the first proposals: never, for they walk the list under RCU); then pages
//                         are held until the partitions have answered. Single pages: rmap notifiers, with the page lock. invalidate_page
//                         is left out
//   linux-2.6.27, 2011    asks in start and waits, as it must: under RCU, where it may not. Nothing can be done in invalidate_page
//   linux-3.7             start may sleep, and invalidate_page, outside the page-table lock
//   invalidate-range      start may sleep; invalidate_page, under the page-table lock, holds the page, and asks
//   linux-6.1 ... 6.12    start may sleep unless it is not blockable: then pages are held
//
// Holding is sound where the caller still has a reference, or the entry is still there: the frame cannot go meanwhile, and what reclaim,
// migration or KSM wanted with the page they give up, as for any page with one reference too many.

import type { Kernel } from '../../mm/kernel.ts';
import type { NotifierDesign } from '../../notifier/host.ts';
import { InvalidateRangeDesign } from '../../notifier/invalidate-range.ts';
import { Linux37 } from '../../notifier/linux-2.6.27.ts';
import { Linux61 } from '../../notifier/linux-6.1.ts';
import { Linux66 } from '../../notifier/linux-6.6.ts';
import { MmuNotifiersV4 } from '../../notifier/mmu-notifiers-v4.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import type { MirrorReactions } from '../subscribe-mirror.ts';
import { deferBack, type Segment, takeBack } from './segment.ts';

const ALL = Number.POSITIVE_INFINITY;

/** Do the calls of the design say when they may not sleep? If not, the driver waits, whether it may or not. */
function saysWhetherItMaySleep(design: NotifierDesign | null): boolean {
  if (design instanceof MmuNotifiersV4 || design instanceof Linux37) return true;
  return design instanceof Linux61 || design instanceof Linux66;
}

/** The reactions of the segment under the kernel's design. */
export function reactionsOf(k: Kernel, x: Segment): MirrorReactions {
  const isTold = saysWhetherItMaySleep(k.design);
  const isV4 = k.design instanceof MmuNotifiersV4;
  const isOutsidePtl = k.design instanceof Linux37;
  const hasInvalidatePage = isOutsidePtl || k.design instanceof InvalidateRangeDesign;
  return {
    *rangeStart(range) {
      const exports = x.block(range.start, range.end);
      if (!isTold || range.canSleep) yield* takeBack(x, exports, range.start, range.end);
      else deferBack(x, exports, range.start, range.end);
      return 0;
    },
    *rangeEnd() {
      x.unblock();
    },
    *release() {
      x.touch(true);
      x.isDead = true;
      x.seq++;
      x.changed.wakeAll(k.sched);
      const exports = x.exportsOf(0, ALL);
      // invalidate_all, and the release of V5, run under RCU whatever begin does.
      if (isV4) deferBack(x, exports, 0, ALL);
      else yield* takeBack(x, exports, 0, ALL);
    },
    ...(hasInvalidatePage && { invalidatePage: (address: number) => invalidatePage(x, address, isOutsidePtl) }),
    ...(isV4 && { rmapInvalidatePage: (pfn: number) => rmapInvalidatePage(x, pfn) }),
  };
}

/** The entry was cleared. Outside the page-table lock it may wait (the type cannot say so of one that may not elsewhere). */
function invalidatePage(x: Segment, address: number, maySleep: boolean): AtomicPath<void> {
  return takePage(x, address, maySleep) as unknown as AtomicPath<void>;
}

function* takePage(x: Segment, address: number, maySleep: boolean): KernelPath<void> {
  x.touch(true);
  x.seq++;
  const exports = x.exportsOf(address, address + 4096);
  if (maySleep) yield* takeBack(x, exports, address, address + 4096);
  else deferBack(x, exports, address, address + 4096);
}

/** The page goes, wherever it is mapped: its lock is held, so that nobody exports it again. */
function* rmapInvalidatePage(x: Segment, pfn: number): KernelPath<void> {
  x.touch(true);
  x.seq++;
  for (const e of [...x.exports].filter((y) => y.pfn === pfn)) yield* takeBack(x, [e], e.page, e.page + 4096);
}
