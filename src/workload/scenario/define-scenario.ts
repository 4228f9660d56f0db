// Scenarios from modules: typed, and checked when they are defined. A module may do more than a file: `run` steps are kernel paths of its
// own, and the kernel's configuration is free.

import { InputError } from '../../base/assert.ts';
import { checkedScenario, fieldName } from './mistakes.ts';
import type { Scenario, Step } from './scenario.ts';

const BRAND = Symbol.for('shootdown.scenario');

/** Checks the scenario and marks it as one. Throws InputError that names the field. */
export function defineScenario(scenario: Scenario): Scenario {
  const { mistakes } = checkedScenario(withoutPaths(scenario));
  const name = typeof scenario?.name === 'string' ? `scenario ${scenario.name}` : 'scenario';
  const [first] = mistakes;
  if (first !== undefined) throw new InputError(`${name}: ${fieldName(first.path)}${first.what}`);
  const marked = { ...scenario };
  Object.defineProperty(marked, BRAND, { value: true });
  return Object.freeze(marked);
}

/** Was it made by defineScenario? Also across two copies of this package. */
export function isScenario(value: unknown): value is Scenario {
  return typeof value === 'object' && value !== null && BRAND in value;
}

/** What the schema of files can judge: a step with a path of its own stands there as one that has no fields. */
function withoutPaths(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  const { kernel: _, ...rest } = value as Record<string, unknown>;
  const plain = (steps: unknown): unknown => (Array.isArray(steps) ? steps.map(plainStep) : steps);
  const { setup, threads } = rest;
  if (typeof threads !== 'object' || threads === null) return { ...rest, setup: plain(setup) };
  const scripts = Object.entries(threads).map(([name, script]: [string, unknown]) => {
    if (typeof script !== 'object' || script === null) return [name, script];
    return [name, { ...script, steps: plain((script as { steps?: unknown }).steps) }];
  });
  return { ...rest, setup: plain(setup), threads: Object.fromEntries(scripts) };
}

function plainStep(step: unknown): unknown {
  const run = step as Partial<Extract<Step, { do: 'run' }>> | null;
  if (typeof run !== 'object' || run === null || run.do !== 'run') return step;
  return typeof run.path === 'function' && typeof run.name === 'string'
    ? { do: 'bind' }
    : { do: 'run without name or path' };
}
