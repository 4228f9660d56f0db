// Recounts what room huge counts. For tests; part of checkWorld.

import { fail } from '../../base/assert.ts';
import type { Recount } from '../check-scratch.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_ORDER } from '../page/compound.ts';
import { PG_ANON, PG_HUGETLB, PG_SWAPBACKED } from '../page/pages.ts';

/** Huge pages of shared memory: whole in their file, and counted there, in all, and as mapped. khugepaged's list. */
export function checkHuge(k: Kernel, recount: Recount): void {
  let thps = 0;
  for (const inode of k.inodes.values()) {
    const { mapping } = inode;
    if (inode.kind === 'hugetlbfs') continue;
    let huge = 0;
    for (const [index, pfn] of mapping.pages) {
      if (k.pages.order[pfn] === 0) continue;
      huge++;
      const isPlaced = k.pages.order[pfn] === HPAGE_PMD_ORDER && index % 512 === 0 && pfn % 512 === 0;
      if (!isPlaced) fail(`huge page ${pfn} stands at page ${index} of inode ${inode.id}`);
      for (let i = 0; i < 512; i++)
        if (mapping.pages.get(index + i) !== pfn + i) fail(`huge page ${pfn} is whole in inode ${inode.id}`);
    }
    if (huge !== mapping.hugePages)
      fail(`inode ${inode.id} has ${huge} huge pages, hugePages says ${mapping.hugePages}`);
    thps += huge;
  }
  if (thps !== k.huge.shmemThps) fail(`${thps} huge pages of shared memory, shmemThps says ${k.huge.shmemThps}`);
  let mapped = 0;
  for (let i = 0; i < recount.live; i++) {
    const pfn = recount.frames[i]!;
    if (k.pages.compoundMapcount[pfn] === 0) continue;
    if ((k.pages.flags[pfn]! & (PG_ANON | PG_SWAPBACKED | PG_HUGETLB)) === PG_SWAPBACKED) mapped++;
  }
  if (mapped !== k.huge.shmemPmdMapped) fail(`${mapped} mapped whole, shmemPmdMapped says ${k.huge.shmemPmdMapped}`);
  for (const [mm, slot] of k.huge.slots)
    if (slot.mm !== mm || k.mms.get(mm.id) !== mm) fail(`khugepaged's list holds mm ${mm.id}, which exists`);
  const cursor = k.huge.scanSlot;
  if (cursor !== null && k.huge.slots.get(cursor.mm) !== cursor) fail("khugepaged's cursor stands in its list");
}
