// Reclaim of a memory cgroup decides by statistics that are flushed once enough has changed.
import { describe, expect, it } from 'vitest';
import { ANON_RW, HandMade } from '../../../test/support/hand-made.ts';
import { CgroupStats } from './cgroup-stats.ts';
import { memCgroupAttach } from './mem-cgroup.ts';
import { memoryReclaim, newMemCgroup } from './memcg.ts';
import { LRU_ACTIVE_ANON, LRU_INACTIVE_ANON } from './state.ts';

const G1 = 0x100000000;
const PAGE = 4096;

/** Changes of one page each until a flush is due. */
function changesUntilDue(stats: CgroupStats): number {
  let n = 0;
  for (; !stats.isFlushDue; n++) stats.updated(1);
  return n;
}

describe('CgroupStats', () => {
  it('is due after more batches of 65 changes than there are CPUs', () => {
    expect(changesUntilDue(new CgroupStats(1))).toBe(2 * 65);
    expect(changesUntilDue(new CgroupStats(4))).toBe(5 * 65);
  });

  it('takes a large change for as many batches of 64 as it holds, and forgets the rest', () => {
    const stats = new CgroupStats(1);
    stats.updated(127);
    expect(stats.isFlushDue).toBe(false);
    expect(changesUntilDue(stats)).toBe(65);
    stats.flushed();
    stats.updated(128);
    expect(stats.isFlushDue).toBe(true);
  });

  it('begins anew after a flush, but for the changes of a batch that is not full', () => {
    const stats = new CgroupStats(1);
    changesUntilDue(stats);
    stats.updated(10);
    stats.flushed();
    expect(changesUntilDue(stats)).toBe(2 * 65 - 10);
  });
});

/** A world whose address space belongs to a group with `pages` anonymous pages on its lists. */
function groupOf(pages: number) {
  const w = new HandMade({ swapPages: 256 });
  const group = newMemCgroup(w.k);
  memCgroupAttach(w.k, w.mm, group);
  const vma = w.vma(G1, G1 + pages * PAGE, ANON_RW);
  const made: number[] = [];
  for (let i = 0; i < pages; i++) made.push(w.anon(vma, G1 + i * PAGE));
  for (const pfn of made) w.k.fn.lruDel(w.k, pfn);
  for (const pfn of made) w.k.pages.memcg[pfn] = group.id;
  for (const pfn of made) w.k.fn.lruAdd(w.k, pfn);
  return { w, group, made };
}

describe('a look of reclaim at a group', () => {
  it('counts the pages of a batch that is on its way to the list only when that is drained', () => {
    const { w, group } = groupOf(20);
    expect(group.lruvec.count[LRU_INACTIVE_ANON]).toBe(20);
    expect(w.k.reclaim.joining(group, LRU_INACTIVE_ANON)).toBe(5);
    w.k.reclaim.drainJoining();
    expect(w.k.reclaim.joining(group, LRU_INACTIVE_ANON)).toBe(0);
  });

  it('goes on believing in inactive pages that are active by now, until enough has changed', () => {
    const { w, group, made } = groupOf(8);
    changesUntilDue(w.k.reclaim.stats);
    w.k.reclaim.drainJoining();
    w.k.reclaim.flushStats();
    for (const pfn of made) for (let use = 0; use < 2; use++) w.k.fn.markPageAccessed(w.k, pfn);
    expect(group.lruvec.count[LRU_ACTIVE_ANON]).toBe(8);
    // Nothing is inactive, and by the statistics the inactive list is long enough: not one page is looked at.
    expect(w.run(memoryReclaim(w.k, group, 1))).toBeLessThan(0);
    expect(group.lruvec.count[LRU_ACTIVE_ANON]).toBe(8);
    w.k.reclaim.stats.updated(128);
    expect(w.run(memoryReclaim(w.k, group, 1))).toBe(0);
  });
});
