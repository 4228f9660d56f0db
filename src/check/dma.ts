// Monitor of DMA mappings, for devices whose driver announces them (E_DMA_MAP, E_DMA_UNMAP): a device reaches a frame only while it is
// mapped for it (I14), and what it may have stored is marked dirty before the callback that unmapped the page returns (I20a):
//
//   driver, in its callback                 adapter                        kernel
//     table cleared, device waited for
//     page unmapped for DMA
//                                             still uses its copy: I14
//     (dirty not marked: I20a)
//     callback returns                                                       clears the entry, whose D knows nothing of the device
//                                                                            the page is clean: dropped
//
// A frame may be mapped several times, by one device as by several.

import { EV_D, EV_MM, EV_PFN, EV_START } from '../abi/events.ts';
import type { Context } from './context.ts';
import { I14, I20A } from './properties.ts';
import { hex } from './text.ts';

const FRAMES = 2 ** 20;

export class DmaMappings {
  /** Devices that ever mapped something. */
  readonly devices = new Set<number>();
  /** Times that a frame is mapped, by device * FRAMES + pfn. */
  readonly mapped = new Map<number, number>();
  /** Event of the last store of a device to a frame. */
  readonly storedAt = new Map<number, number>();
  /** Frames unmapped in the callback that a thread is in, after the device had stored to them. */
  readonly unmapped = new Map<number, { readonly pfn: number; readonly mm: number; readonly storedAt: number }[]>();
}

/** E_DMA_MAP, E_DMA_UNMAP. */
export function onDma(c: Context, r: Float64Array, at: number, isMap: boolean): void {
  const { dma } = c;
  const pfn = r[at + EV_PFN]!;
  const key = r[at + EV_D]! * FRAMES + pfn;
  if (c.objects !== null) c.objects.saved(pfn, true);
  const count = (dma.mapped.get(key) ?? 0) + (isMap ? 1 : -1);
  dma.devices.add(r[at + EV_D]!);
  if (count > 0) dma.mapped.set(key, count);
  else dma.mapped.delete(key);
  const storedAt = dma.storedAt.get(key);
  // Of a page that is mapped twice the last one to go answers for both.
  if (isMap || count > 0 || storedAt === undefined) return;
  dma.storedAt.delete(key);
  const list = dma.unmapped.get(c.actor) ?? [];
  list.push({ pfn, mm: r[at + EV_MM]!, storedAt });
  dma.unmapped.set(c.actor, list);
}

/** An access of a device that maps what it uses. */
export function onDmaAccess(c: Context, r: Float64Array, at: number, isStore: boolean): void {
  const pfn = r[at + EV_PFN]!;
  const device = r[at + EV_D]!;
  const key = device * FRAMES + pfn;
  if (c.objects !== null) c.objects.saved(pfn, isStore);
  if (isStore) c.dma.storedAt.set(key, c.event);
  if (c.dma.mapped.has(key)) return;
  const page = r[at + EV_START]! - (r[at + EV_START]! % 4096);
  if (!c.finds(I14, null, r[at + EV_MM]!, page, pfn)) return;
  c.say(
    `${c.deviceName(device)} ${isStore ? 'wrote' : 'read'} frame ${hex(pfn)} for page ${hex(page)}, which its driver does not have ` +
      'mapped for DMA.',
  );
}

/** A callback of the thread returns. */
export function dmaCallbackEnd(c: Context): void {
  const list = c.dma.unmapped.get(c.actor);
  if (list === undefined) return;
  c.dma.unmapped.delete(c.actor);
  for (const { pfn, mm, storedAt } of list) {
    if (c.objects !== null) c.objects.saved(pfn, false);
    if (c.frames.dirtyAt[pfn]! > storedAt) continue;
    const page = c.frames.lastPage[pfn]!;
    if (!c.finds(I20A, null, mm, page, pfn)) continue;
    c.say(
      `A callback took frame ${hex(pfn)} from a device that had stored to it, and returned without marking it dirty.`,
    );
  }
}
