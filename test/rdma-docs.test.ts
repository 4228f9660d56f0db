// The timeline in docs/devices/rdma.md is what the program prints. UPDATE=1 writes it.
import { fileURLToPath } from 'node:url';
import { test } from 'vitest';
import { NR_munmap } from '../src/abi/syscalls.ts';
import { expectTimeline } from './support/first-timeline.ts';

const page = fileURLToPath(new URL('../docs/devices/rdma.md', import.meta.url));

test('the timeline of a fault that does not look at the sequence again', () => {
  expectTimeline(page, {
    device: { device: 'rdma-odp', rdma: { mistake: 'no-retry-check', engines: 1, childPages: 512 } },
    deviceName: 'adapter',
    access: 'peer',
    call: 'munmap',
    path: (m, task, va) => m.call(task, NR_munmap, va, 4096),
  });
});
