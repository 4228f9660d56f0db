// What becomes of a page's contents, as events: a monitor compares these with the stores that reached the frame (check/lost-write.ts).
// Called where the kernel decides, behind `log.on`.

import { E_DIRTY, E_DISCARD, E_LAZYFREE, E_WRITE_OUT } from '../../abi/events.ts';
import type { Kernel } from '../kernel.ts';

function announce(k: Kernel, type: number, pfn: number, a: number): void {
  const m = k.memory;
  // What becomes of memory of a device is its driver's business.
  if (pfn >= k.pages.count) return;
  m.log.emit(type, 0, 0, 0, pfn, m.generation[pfn]!, a, 0, 0, 0);
}

/** PG_dirty was set: the contents will be written out. */
export function announceDirty(k: Kernel, pfn: number): void {
  if (k.memory.log.on) announce(k, E_DIRTY, pfn, 0);
}

/** The contents were copied to where they are kept: KEPT_*. */
export function announceWriteOut(k: Kernel, pfn: number, where: number): void {
  if (k.memory.log.on) announce(k, E_WRITE_OUT, pfn, where);
}

/** The page is dropped, since its contents are kept elsewhere, or by MADV_FREE need not be: KEPT_*. */
export function announceDiscard(k: Kernel, pfn: number, where: number): void {
  if (k.memory.log.on) announce(k, E_DISCARD, pfn, where);
}

/** MADV_FREE: from now on the contents may be forgotten. */
export function announceLazyfree(k: Kernel, pfn: number): void {
  if (k.memory.log.on) announce(k, E_LAZYFREE, pfn, 0);
}
