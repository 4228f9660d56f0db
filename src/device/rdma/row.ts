// The rows of the RDMA adapter in the table of devices.

import type { Kernel } from '../../mm/kernel.ts';
import type { Device, DeviceConfig } from '../device.ts';
import type { DeviceInfo } from '../devices.ts';
import { intervalsOf } from '../driver-ops.ts';
import { PinnedTableDevice } from '../pinned-device.ts';
import { countedMistakeOf, mistakeOf } from './mistakes.ts';
import { CountedOdp } from './odp-counted.ts';
import { IntervalOdp } from './odp-interval.ts';
import { RdmaDevice } from './rdma.ts';

const INTERVAL = 'each region an interval subscriber, hmm_range_fault, no page references';
const COUNTED = 'one subscriber; a count of open sections and a sequence number for each region';

export const RDMA_ODP: DeviceInfo = {
  name: 'rdma-odp',
  kind: 'mirror',
  summary: 'RDMA adapter whose memory regions are paged on demand',
  source: 'drivers/infiniband/core/umem_odp.c, drivers/infiniband/hw/mlx5/odp.c',
  designs: {
    'pte-notifiers': 'drops a page when reclaim is about to clear its entry; nothing holds faults off',
    'mmu-notifiers-andrea': 'drops single pages in time, ranges when their pages are free; no references',
    'mmu-notifiers-v4': 'as 3.19, but the end has no range: sections count for all regions',
    'linux-2.6.27': COUNTED,
    'free-pages-2011': COUNTED,
    'invalidate-range': `${COUNTED} (Linux 3.19, the first with it)`,
    'linux-6.1': INTERVAL,
    'linux-6.6': INTERVAL,
    'linux-6.12': INTERVAL,
  },
  create: createOdp,
};

function createOdp(k: Kernel, config: DeviceConfig): Device {
  const hasIntervals = k.design !== null && intervalsOf(k.design) !== null;
  return new RdmaDevice(k, config, (nic, full) => {
    const mistake = config.isDeaf ? 'deaf' : full.mistake;
    if (hasIntervals) return new (mistake === '' ? IntervalOdp : mistakeOf(mistake))(k, nic, full);
    return new (mistake === '' ? CountedOdp : countedMistakeOf(mistake))(k, nic, full);
  });
}

export const RDMA_PINNED: DeviceInfo = {
  name: 'rdma-pinned',
  kind: 'pinned',
  summary: 'RDMA adapter whose memory regions are pinned when they are registered',
  source: 'drivers/infiniband/core/umem.c',
  designs: { pinned: 'pins the pages of a region for as long as it is registered (FOLL_LONGTERM); no notifier' },
  create: (k, config) => new PinnedTableDevice(k, config, 'rdma-pinned'),
};
