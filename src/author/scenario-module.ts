// Scenarios that an author's module exports.

import { InputError } from '../base/assert.ts';
import type { Scenario } from '../workload/scenario/scenario.ts';
import { nearPath } from './place.ts';
import type { AuthorModule } from './task.ts';

/** Every export that is a scenario, or a list of them. Throws InputError when there is none. */
export function scenariosOf(module: AuthorModule): Scenario[] {
  const found = Object.values(module.exports)
    .flatMap((value) => (Array.isArray(value) ? value : [value]))
    .filter(isScenario);
  if (found.length === 0)
    throw new InputError(
      `${nearPath(module.path)}: exports no scenario; expected "export default defineScenario({ ... })"`,
    );
  return [...new Set(found)];
}

function isScenario(value: unknown): value is Scenario {
  return typeof value === 'object' && value !== null && 'threads' in value && 'setup' in value && 'name' in value;
}
