// Which scenarios a check runs: operations by name, pairs as "a+b", or scenarios of the user's own.

import { InputError } from '../../base/assert.ts';
import { OPERATIONS, operationOf, PAIRS, pairScenario, scenarioOf } from '../operations/operations.ts';
import type { Scenario } from '../scenario/scenario.ts';

/** Names of everything that `shootdown check` runs when nothing is said. */
export function allOperationNames(withPairs = true): string[] {
  const names = OPERATIONS.map((o) => o.name);
  return withPairs ? [...names, ...PAIRS.map(([a, b]) => `${a}+${b}`)] : names;
}

/** Is it the name of two operations at once? */
export function isPair(name: string): boolean {
  return name.split('+').every((part) => operationOf(part) !== undefined) && name.includes('+');
}

/** Scenarios as they are, operations by name. Throws InputError for a name that is neither an operation nor a pair. */
export function scenariosFor(wanted: readonly (string | Scenario)[]): Scenario[] {
  return wanted.map((w) => (typeof w === 'string' ? scenarioNamed(w) : w));
}

/** The scenario of an operation, or of a pair "a+b". Throws InputError for a name that is neither. */
export function scenarioNamed(name: string): Scenario {
  const parts = name.split('+');
  const [a, b] = parts.map((part) => operationOf(part));
  if (a !== undefined && parts.length === 1) return scenarioOf(a);
  if (a !== undefined && b !== undefined && parts.length === 2) return pairScenario(a, b);
  const unknown = parts.find((part) => operationOf(part) === undefined) ?? name;
  throw new InputError(
    `operation: "${unknown}" is none of ${OPERATIONS.map((o) => o.name).join(', ')}, or two joined by +`,
  );
}
