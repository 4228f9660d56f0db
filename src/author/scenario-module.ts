// Scenarios that an author's module exports.

import { InputError } from '../base/assert.ts';
import { defineScenario, isScenario } from '../workload/scenario/define-scenario.ts';
import type { Scenario } from '../workload/scenario/scenario.ts';
import { nearPath } from './place.ts';
import type { AuthorModule } from './task.ts';

/** Every export that is a scenario, or a list of them. Throws InputError when there is none. */
export function scenariosOf(module: AuthorModule): Scenario[] {
  const found = Object.values(module.exports)
    .flatMap((value) => (Array.isArray(value) ? value : [value]))
    .filter(looksLikeScenario);
  const path = nearPath(module.path);
  if (found.length === 0)
    throw new InputError(`${path}: exports no scenario; expected "export default defineScenario({ ... })"`);
  return [...new Set(found)].map((scenario) => (isScenario(scenario) ? scenario : checked(path, scenario)));
}

/** A plain object that did not go through defineScenario does so now. */
function checked(path: string, scenario: Scenario): Scenario {
  try {
    return defineScenario(scenario);
  } catch (error) {
    throw error instanceof InputError ? new InputError(`${path}: ${error.message}`) : error;
  }
}

function looksLikeScenario(value: unknown): value is Scenario {
  return typeof value === 'object' && value !== null && 'threads' in value && 'setup' in value && 'name' in value;
}
