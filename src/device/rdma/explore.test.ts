// Every interleaving of an operation of mm with the on-demand device, small enough to run them all: nothing is found with the faithful
// driver. That the device was at stake is what the deaf driver shows.
import { expect, it } from 'vitest';
import { exploreRdma } from '../../../test/support/explore-rdma.ts';

const OPERATIONS = [
  'munmap',
  'mprotect-ro',
  'mremap-move',
  'madv-dontneed',
  'fork',
  'exit',
  'writeback',
  'reclaim',
  'reclaim-file',
  'oom-reap',
  'thp-munmap',
  'thp-collapse',
];

it.each(OPERATIONS)('%s: every interleaving is in order', (name) => {
  expect(exploreRdma(name, {})).toEqual({ exhaustive: true, found: [] });
});

it.each(['munmap', 'fork', 'reclaim'])('%s under linux-6.12', (name) => {
  expect(exploreRdma(name, {}, 'linux-6.12')).toEqual({ exhaustive: true, found: [] });
});

it('with children that are freed when their last page goes', () => {
  expect(exploreRdma('munmap', { freesChildren: true })).toEqual({ exhaustive: true, found: [] });
});

it.each(['munmap', 'fork', 'reclaim-file', 'thp-munmap'])('%s, with a driver that registers with nobody', (name) => {
  expect(exploreRdma(name, { mistake: 'deaf' }, 'linux-6.1', 300, true).found).not.toEqual([]);
});
