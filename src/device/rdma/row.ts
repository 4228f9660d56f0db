// The rows of the RDMA adapter in the table of devices.

import type { Kernel } from '../../mm/kernel.ts';
import type { Device, DeviceConfig } from '../device.ts';
import type { DeviceInfo } from '../devices.ts';
import { mistakeOf } from './mistakes.ts';
import { IntervalOdp } from './odp-interval.ts';
import { RdmaDevice } from './rdma.ts';

const INTERVAL = 'each region an interval subscriber, hmm_range_fault, no page references';

export const RDMA_ODP: DeviceInfo = {
  name: 'rdma-odp',
  kind: 'mirror',
  summary: 'RDMA adapter whose memory regions are paged on demand',
  source: 'drivers/infiniband/core/umem_odp.c, drivers/infiniband/hw/mlx5/odp.c',
  designs: { 'linux-6.1': INTERVAL, 'linux-6.6': INTERVAL, 'linux-6.12': INTERVAL },
  create: createOdp,
};

function createOdp(k: Kernel, config: DeviceConfig): Device {
  return new RdmaDevice(k, config, (nic, full) => {
    const Driver = full.mistake === '' ? (config.isDeaf ? mistakeOf('deaf') : IntervalOdp) : mistakeOf(full.mistake);
    return new Driver(k, nic, full);
  });
}
