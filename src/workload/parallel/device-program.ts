// A scenario with one of the shipped devices, from plain data: what a worker can make by itself.

import { createDevice, type DeviceConfig, memoryPagesOf } from '../../device/device.ts';
import type { Program } from '../../explore/world.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { scenarioProgram } from '../scenario/scenario-world.ts';

/** A scenario without functions, and a device. */
export interface DeviceProgram {
  readonly scenario: Scenario;
  /** Name of the notifier design (notifier/designs). */
  readonly design: string;
  readonly device: Partial<DeviceConfig>;
}

/** The program that runs the scenario with the device. */
export function deviceProgram({ scenario, design, device: config }: DeviceProgram): Program {
  return scenarioProgram(scenario, {
    name: config.driver ?? 'the default driver',
    design,
    create(k) {
      const device = createDevice(k, config);
      device.workload.isStopped = true;
      return device;
    },
    memoryPages: memoryPagesOf(config),
    nullSubject: null,
  });
}
