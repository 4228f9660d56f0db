// The older form of the on-demand driver under the designs before interval subscribers: where the design says enough for a count and a
// sequence nothing is found, and where it does not the device goes wrong by itself.
import { expect, it } from 'vitest';
import { exploreRdma } from '../../../test/support/explore-rdma.ts';

it.each([
  ['invalidate-range', 'munmap'],
  ['invalidate-range', 'fork'],
  ['invalidate-range', 'writeback'],
  ['free-pages-2011', 'munmap'],
  ['linux-2.6.27', 'munmap'],
  ['linux-2.6.27', 'mprotect-ro'],
  ['linux-2.6.27', 'reclaim-file'],
  ['mmu-notifiers-v4', 'munmap'],
  ['mmu-notifiers-v4', 'fork'],
])('%s, %s: every interleaving is in order', (design, name) => {
  expect(exploreRdma(name, {}, design)).toEqual({ exhaustive: true, found: [] });
});

it.each([
  ['mmu-notifiers-v4', 'mprotect-ro', 'I3'],
  ['mmu-notifiers-andrea', 'munmap', 'I1'],
  ['mmu-notifiers-andrea', 'fork', 'I3'],
  ['pte-notifiers', 'munmap', 'I1'],
  ['pte-notifiers', 'writeback', 'I20'],
])('%s, %s: the device uses what it must not', (design, name, property) => {
  expect(exploreRdma(name, {}, design, 400).found).toContain(property);
});

it.each([
  ['count-only', 'munmap'],
  ['seq-only', 'munmap'],
  ['page-unheard', 'reclaim'],
  ['deaf', 'munmap'],
])('mistake %s is found', (mistake, name) => {
  expect(exploreRdma(name, { mistake }, 'invalidate-range', 2000, true).found).not.toEqual([]);
});
