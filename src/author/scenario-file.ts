// A scenario from a YAML or JSON file.

import { InputError } from '../base/assert.ts';
import type { Scenario } from '../workload/scenario/scenario.ts';

/** Reads a scenario. Throws InputError naming file, line and field. */
export function readScenarioFile(path: string): Scenario {
  throw new InputError(`${path}: scenarios in YAML or JSON cannot be read yet`);
}
