// Page rounding of byte addresses (exact doubles; bit operators would cut them to 32 bits).

/** Rounds down to a page. */
export function pageDown(address: number): number {
  return Math.floor(address / 4096) * 4096;
}

/** PAGE_ALIGN: rounds up to a page. */
export function pageUp(address: number): number {
  return Math.ceil(address / 4096) * 4096;
}

export function isPageAligned(address: number): boolean {
  return address / 4096 === Math.floor(address / 4096);
}

/** `address` mod a power of two `size`, never negative. The % of doubles is a call into C: 15 ns for 1. */
export function modPower(address: number, size: number): number {
  return address - Math.floor(address / size) * size;
}
