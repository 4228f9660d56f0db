// The text of a task that explores one munmap against the author's driver, for workers that run what is built.

import { fileURLToPath } from 'node:url';

const DIST = fileURLToPath(new URL('../../dist/', import.meta.url));

export const EXPLORE_TASK = `
import { driverOf } from '${DIST}author/driver-module.js';
import { explore } from '${DIST}explore/explore.js';
import { guardedProgram } from '${DIST}workload/guard/guarded-program.js';
import { watchedDriver } from '${DIST}workload/guard/watched-driver.js';
import { scenarioProgram } from '${DIST}workload/scenario/scenario-world.js';
import { subjectOf } from '${DIST}workload/scenario/subject.js';

const scenario = {
  name: 'munmap',
  summary: 'one page goes while the device uses it',
  setup: [{ do: 'mmap', at: 0 }, { do: 'store', at: 0 }],
  threads: {
    munmap: { steps: [{ do: 'munmap', at: 0 }] },
    device: { on: 'device', steps: [{ do: 'load', at: 0 }] },
  },
};

export const run = (modules, options, host) => {
  const driver = watchedDriver(driverOf(modules[0]), host.heart, host.placeOf);
  const program = guardedProgram(scenarioProgram(scenario, subjectOf(driver)), host.heart);
  const r = explore(program, { executionsMax: 60, stepsMax: 2000 });
  return { cut: r.cut > 0, findings: r.findings.map(({ finding: f }) => f.property + ' ' + f.tag + ': ' + f.sentence) };
};
`;
