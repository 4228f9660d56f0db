// Recounts what room huge counts. For tests; part of checkWorld.

import { assert } from '../../base/assert.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_ORDER } from '../page/compound.ts';
import { PG_ANON, PG_HUGETLB, PG_SWAPBACKED } from '../page/pages.ts';

/** Huge pages of shared memory: whole in their file, and counted there, in all, and as mapped. khugepaged's list. */
export function checkHuge(k: Kernel): void {
  let thps = 0;
  for (const inode of k.inodes.values()) {
    const { mapping } = inode;
    if (inode.kind === 'hugetlbfs') continue;
    let huge = 0;
    for (const [index, pfn] of mapping.pages) {
      if (k.pages.order[pfn] === 0) continue;
      huge++;
      const isPlaced = k.pages.order[pfn] === HPAGE_PMD_ORDER && index % 512 === 0 && pfn % 512 === 0;
      assert(isPlaced, `huge page ${pfn} stands at page ${index} of inode ${inode.id}`);
      for (let i = 0; i < 512; i++)
        assert(mapping.pages.get(index + i) === pfn + i, `huge page ${pfn} is whole in inode ${inode.id}`);
    }
    assert(huge === mapping.hugePages, `inode ${inode.id} has ${huge} huge pages, hugePages says ${mapping.hugePages}`);
    thps += huge;
  }
  assert(thps === k.huge.shmemThps, `${thps} huge pages of shared memory, shmemThps says ${k.huge.shmemThps}`);
  let mapped = 0;
  for (let pfn = 1; pfn < k.pages.count; pfn++) {
    if (k.pages.compoundMapcount[pfn] === 0) continue;
    if ((k.pages.flags[pfn]! & (PG_ANON | PG_SWAPBACKED | PG_HUGETLB)) === PG_SWAPBACKED) mapped++;
  }
  for (const [mm, slot] of k.huge.slots)
    assert(slot.mm === mm && k.mms.get(mm.id) === mm, `khugepaged's list holds mm ${mm.id}, which exists`);
  const cursor = k.huge.scanSlot;
  assert(cursor === null || k.huge.slots.get(cursor.mm) === cursor, "khugepaged's cursor stands in its list");
  assert(mapped === k.huge.shmemPmdMapped, `${mapped} mapped whole, shmemPmdMapped says ${k.huge.shmemPmdMapped}`);
}
