// The bytes of a huge page (clear_huge_page, copy_user_huge_page), frame by frame.

import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_NR } from '../page/compound.ts';

export function clearHugePage(k: Kernel, head: number): void {
  for (let i = 0; i < HPAGE_PMD_NR; i++) k.memory.zero(head + i);
}

export function copyHugePage(k: Kernel, to: number, from: number): void {
  for (let i = 0; i < HPAGE_PMD_NR; i++) k.memory.copy(to + i, from + i);
}
