// What all devices share: their number in events, and the count of callbacks that their design made.

import type { Kernel } from '../mm/kernel.ts';

/** Device id in events. */
export const DEVICE_ID = 1;

/** Callbacks that the kernel's design has made so far, by CB_*. */
export function callbackCounts(k: Kernel): number[] {
  const design = k.design as { readonly list?: { readonly callbackCounts: Float64Array } } | null;
  return Array.from(design?.list?.callbackCounts ?? []);
}
