// A secondary MMU of src/device/devices as what is explored, and what a mistake of its driver is caught by.
import { LockOrder } from '../../src/check/lock-order.ts';
import { createDevice, type DeviceConfig, memoryPagesOf, SMALL_DEVICE } from '../../src/device/device.ts';
import { boundedSearch } from '../../src/explore/bounded.ts';
import { explore } from '../../src/explore/explore.ts';
import { randomWalk } from '../../src/explore/random.ts';
import type { Finding, Program } from '../../src/explore/world.ts';
import { scenarioNamed } from '../../src/workload/check/plan.ts';
import type { Scenario } from '../../src/workload/scenario/scenario.ts';
import { scenarioProgram } from '../../src/workload/scenario/scenario-world.ts';
import type { Subject } from '../../src/workload/scenario/subject.ts';

/** The device under the design, in sizes for exploration. `locks` watches its kernel. */
export function deviceSubject(config: Partial<DeviceConfig>, design: string, locks: LockOrder | null = null): Subject {
  const make = (isDeaf: boolean): Subject => ({
    name: config.device!,
    design,
    create(k) {
      locks?.attach(k.memory.log, { lockName: (c) => k.sched.lockClasses.name(c) });
      const device = createDevice(k, { ...SMALL_DEVICE, ...config, isDeaf });
      device.workload.isStopped = true;
      return device;
    },
    memoryPages: memoryPagesOf({ ...SMALL_DEVICE, ...config }),
    nullSubject: isDeaf ? null : make(true),
  });
  return make(false);
}

export interface Search {
  readonly scenario: string | Scenario;
  /** Executions with at most so many preemptions, instead of all in order. */
  readonly preemptions?: number;
  /** Random executions instead. */
  readonly walks?: number;
  /** Executions at most. */
  readonly executions?: number;
}

/** The findings of a search, until one satisfies `isWanted` (null when none did): "I1: ...", gaps as "I12 gap 15: ...". */
export function search(
  config: Partial<DeviceConfig>,
  design: string,
  how: Search,
  isWanted: (property: string, gap: number | null) => boolean,
): string | null {
  const locks = new LockOrder();
  const subject = deviceSubject(config, design, locks);
  const scenario = typeof how.scenario === 'string' ? scenarioNamed(how.scenario) : how.scenario;
  const program: Program = scenarioProgram(scenario, subject);
  const { executions = 4000 } = how;
  let found: string | null = null;
  const look = (findings: readonly Finding[]): boolean => {
    const f = findings.find((x) => isWanted(x.property, x.gap));
    if (f !== undefined && found === null) found = textOf(f);
    return found === null;
  };
  if (how.preemptions !== undefined) {
    const { witnesses } = boundedSearch(program, { bound: how.preemptions, executions, stopsAt: 'any' });
    look(witnesses.map((w) => w.finding));
  } else if (how.walks !== undefined) {
    for (let from = 0; from < how.walks && found === null; from += 20)
      look(randomWalk(program, { seed: 1, from, executions: 20 }).witnesses.map((w) => w.finding));
  } else explore(program, { executionsMax: executions, visit: (e) => look(e.findings) });
  const lock = locks.findings.find((f) => isWanted(f.property, f.gap));
  return found ?? (lock === undefined ? null : textOf(lock));
}

function textOf(f: Pick<Finding, 'property' | 'gap' | 'sentence'>): string {
  return `${f.property}${f.gap === null ? '' : ` gap ${f.gap}`}: ${f.sentence}`;
}
