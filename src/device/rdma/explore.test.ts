// Every interleaving of an operation of mm with the on-demand device, small enough to run them all: nothing is found with the faithful
// driver, and what each of the mistakes does is found. That the device was at stake is what the deaf driver shows.
import { expect, it } from 'vitest';
import { explore } from '../../explore/explore.ts';
import { operationOf, scenarioOf } from '../../workload/operations/operations.ts';
import type { Scenario } from '../../workload/scenario/scenario.ts';
import { scenarioProgram } from '../../workload/scenario/scenario-world.ts';
import { createDevice, SMALL_DEVICE } from '../device.ts';
import type { RdmaConfig } from './config.ts';

function run(scenario: Scenario, rdma: Partial<RdmaConfig>, design = 'linux-6.1', executionsMax = 5000) {
  const program = scenarioProgram(scenario, {
    name: 'rdma-odp',
    design,
    create: (k) => createDevice(k, { ...SMALL_DEVICE, device: 'rdma-odp', rdma: { ...SMALL_DEVICE.rdma, ...rdma } }),
    nullSubject: null,
  });
  const result = explore(program, { executionsMax });
  return { exhaustive: result.exhaustive, found: [...new Set(result.findings.map((f) => f.finding.property))] };
}

const OPERATIONS = [
  'munmap',
  'munmap-neighbour',
  'map-fixed',
  'mprotect-ro',
  'mremap-move',
  'madv-dontneed',
  'fork',
  'exit',
  'writeback',
  'reclaim',
  'reclaim-file',
  'migrate',
  'oom-reap',
  'thp-munmap',
  'thp-collapse',
];

it.each(OPERATIONS)('%s: every interleaving is in order', (name) => {
  expect(run(scenarioOf(operationOf(name)!), {})).toEqual({ exhaustive: true, found: [] });
});

it.each(['munmap', 'fork', 'reclaim'])('%s under linux-6.12', (name) => {
  expect(run(scenarioOf(operationOf(name)!), {}, 'linux-6.12')).toEqual({ exhaustive: true, found: [] });
});

it.each(['munmap', 'fork', 'reclaim-file', 'thp-munmap'])('%s, with a driver that registers with nobody', (name) => {
  expect(run(scenarioOf(operationOf(name)!), { mistake: 'deaf' }, 'linux-6.1', 300).found.length).toBeGreaterThan(0);
});
