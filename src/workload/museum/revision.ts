// A revision of a museum entry as the program of an explorer.

import { InputError } from '../../base/assert.ts';
import { createDevice, type DeviceConfig } from '../../device/device.ts';
import type { Program } from '../../explore/world.ts';
import type { NotifierHost } from '../../notifier/host.ts';
import { livepatched } from '../../system/livepatch.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { type ScenarioOptions, scenarioProgram } from '../scenario/scenario-world.ts';
import type { Subject } from '../scenario/subject.ts';
import type { Bug, Revision } from './bug.ts';

/** Sizes of a device at which exploration can be exhaustive. */
const SMALL_DEVICE: Partial<DeviceConfig> = {
  ats: { engines: 1, atcSets: 2, atcWays: 2 },
  iommu: { tlbSets: 2, tlbWays: 2, walkers: 1, executors: 1, pasids: 4 },
  faultWorkers: 1,
};

/** The sizes of the revision on top of the small ones. */
function deviceConfig(revision: Revision): Partial<DeviceConfig> {
  const { device = {} } = revision;
  return {
    ...SMALL_DEVICE,
    ...device,
    ats: { ...SMALL_DEVICE.ats, ...device.ats },
    iommu: { ...SMALL_DEVICE.iommu, ...device.iommu },
  };
}

export function revisionSubject(name: string, revision: Revision): Subject {
  const { design, driver, patches = [] } = revision;
  const Design = typeof design === 'string' ? null : design;
  return {
    name,
    design: typeof design === 'string' ? design : design.name,
    ...(Design !== null && { createDesign: (host: NotifierHost) => new Design(host) }),
    create(k) {
      const config = deviceConfig(revision);
      const device = typeof driver === 'string' ? createDevice(k, { ...config, driver }) : driver(k, config);
      device.workload.isStopped = true;
      return device;
    },
    nullSubject: null,
    patches: livepatched(...(Array.isArray(patches) ? patches : [patches])),
  };
}

/** The bug's scenario in a revision: 'historic', 'fixed' or the name of another. Throws InputError for any other name. */
export function revisionProgram(bug: Bug, name: string, options: ScenarioOptions = {}): Program {
  const other = bug.others?.[name];
  const revision = name === 'historic' ? bug.historic : name === 'fixed' ? bug.fixed : other;
  if (revision === undefined) throw new InputError(`bug ${bug.id}: there is no revision "${name}"`);
  const base = other?.scenario ?? bug.scenario;
  const scenario: Scenario = { ...base, kernel: { ...base.kernel, ...revision.kernel } };
  return scenarioProgram(scenario, revisionSubject(`${bug.id}, ${name}`, revision), options);
}
