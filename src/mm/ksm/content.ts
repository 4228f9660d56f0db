// The bytes of pages as KSM looks at them: order (memcmp), equality, and a checksum that tells a page that changes from one that
// rests. Linux uses xxhash; which function it is shows nowhere, since equal pages are compared byte by byte before they merge.

import type { PhysMemory } from '../../hw/phys.ts';
import type { Kernel } from '../kernel.ts';

const WORDS = 1024;

/** memcmp_pages: < 0, 0 or > 0, by the first byte that differs. */
export function memcmpPages(k: Kernel, a: number, b: number): number {
  const m = k.memory;
  m.touch(a, false);
  m.touch(b, false);
  const { words, bytes } = m;
  const from = a * WORDS;
  const to = b * WORDS;
  for (let i = 0; i < WORDS; i++) {
    if (words[from + i] === words[to + i]) continue;
    for (let at = i * 4; ; at++) {
      const difference = bytes[a * 4096 + at]! - bytes[b * 4096 + at]!;
      if (difference !== 0) return difference;
    }
  }
  return 0;
}

/** pages_identical. */
export function pagesIdentical(k: Kernel, a: number, b: number): boolean {
  return memcmpPages(k, a, b) === 0;
}

/** calc_checksum: 32 bits over the whole page. */
export function calcChecksum(memory: PhysMemory, pfn: number): number {
  memory.touch(pfn, false);
  const { words } = memory;
  let h = 0x811c9dc5;
  for (let i = pfn * WORDS, end = i + WORDS; i < end; i++) {
    h = Math.imul(h ^ words[i]!, 0x85ebca6b);
    h = (h << 13) | (h >>> 19);
  }
  h = Math.imul(h ^ (h >>> 16), 0xc2b2ae35);
  return h ^ (h >>> 15);
}
