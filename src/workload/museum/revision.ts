// A revision of a museum entry as the program of an explorer.

import { InputError } from '../../base/assert.ts';
import { isDriver } from '../../device/define-driver.ts';
import { createDevice, createDriverDevice, type Device, type DeviceConfig } from '../../device/device.ts';
import { type Pairing, scenarioDigest } from '../../explore/schedule-string.ts';
import type { Program } from '../../explore/world.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { NotifierHost } from '../../notifier/host.ts';
import { livepatched } from '../../system/livepatch.ts';
import type { Scenario } from '../scenario/scenario.ts';
import { type ScenarioOptions, scenarioProgram } from '../scenario/scenario-world.ts';
import { type Subject, smallDevice } from '../scenario/subject.ts';
import type { Bug, Revision } from './bug.ts';

/** The sizes of the revision on top of the small ones. */
function deviceConfig(revision: Revision): Partial<DeviceConfig> {
  const { device = {} } = revision;
  const small = smallDevice(1);
  return {
    ...small,
    ...device,
    ats: { ...small.ats, ...device.ats },
    iommu: { ...small.iommu, ...device.iommu },
    mirror: { ...small.mirror, ...device.mirror },
  };
}

function deviceOf(k: Kernel, driver: Revision['driver'], config: Partial<DeviceConfig>): Device {
  if (typeof driver === 'string') return createDevice(k, { ...config, driver });
  return isDriver(driver) ? createDriverDevice(k, driver, config) : driver(k, config);
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
      const device = deviceOf(k, driver, config);
      device.workload.isStopped = true;
      return device;
    },
    nullSubject: null,
    patches: livepatched(...(Array.isArray(patches) ? patches : [patches])),
  };
}

/** 'historic', 'fixed' or the name of another. Throws InputError for any other name. */
export function revisionOf(bug: Bug, name: string): Revision {
  const revision = name === 'historic' ? bug.historic : name === 'fixed' ? bug.fixed : bug.others?.[name];
  if (revision === undefined) throw new InputError(`bug ${bug.id}: there is no revision "${name}"`);
  return revision;
}

/** The scenario of a revision: the bug's own unless it has another, with the revision's limits. */
export function revisionScenario(bug: Bug, revision: Revision): Scenario {
  const base = revision.scenario ?? bug.scenario;
  return { ...base, kernel: { ...base.kernel, ...revision.kernel } };
}

/** What a schedule string says of a bug: for whom the schedule is. */
export function bugPairing(bug: Bug, design: string): Pairing {
  const operation = bug.scenario.name;
  return { operation, driver: '', design, digest: scenarioDigest(operation, bug.id, design) };
}

/** The bug's scenario in a revision. */
export function revisionProgram(bug: Bug, name: string, options: ScenarioOptions = {}): Program {
  const revision = revisionOf(bug, name);
  return scenarioProgram(revisionScenario(bug, revision), revisionSubject(`${bug.id}, ${name}`, revision), options);
}
