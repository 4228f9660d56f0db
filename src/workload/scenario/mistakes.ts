// What is wrong with a scenario, in words: first what the schema sees, then what it cannot say.

import type * as z from 'zod';
import { quoteInput } from '../input-error.ts';
import type { Scenario, Step } from './scenario.ts';
import { scenarioSchema } from './schema.ts';

type Issue = z.core.$ZodIssue;
type Path = readonly PropertyKey[];

/** Something wrong with a field. */
export interface Mistake {
  readonly path: Path;
  readonly what: string;
  /** The name of the field is what is wrong, not its value. */
  readonly isKey: boolean;
}

/** The value as a scenario; or null and what is wrong with it, at least one thing. */
export function checkedScenario(value: unknown): {
  readonly scenario: Scenario | null;
  readonly mistakes: readonly Mistake[];
} {
  const result = scenarioSchema.safeParse(value);
  if (!result.success) return { scenario: null, mistakes: result.error.issues.map((issue) => mistakeOf(issue, value)) };
  const { $schema: _, ...scenario } = result.data;
  const mistakes = meaning(scenario);
  return { scenario: mistakes.length === 0 ? scenario : null, mistakes };
}

/** Text that may stand in a message of one line. */
export function oneLine(text: string): string {
  return quoteInput(text.split('\n')[0]!, 200);
}

/** A value as it stands in the file, cut. */
function shown(value: unknown): string {
  if (value === undefined) return 'nothing';
  if (typeof value === 'string') return `"${quoteInput(value, 40)}"`;
  if (Array.isArray(value)) return 'a list';
  return typeof value === 'object' && value !== null ? 'a map' : String(value);
}

const KINDS: Readonly<Record<string, string>> = {
  object: 'a map of fields',
  record: 'a map of names',
  array: 'a list',
  string: 'a text',
  number: 'a number',
  int: 'an integer',
  boolean: 'true or false',
};

function mistakeOf(issue: Issue, root: unknown): Mistake {
  const { path } = issue;
  const value = at(root, path);
  const mistake = (what: string): Mistake => ({ path, what, isKey: false });
  switch (issue.code) {
    case 'invalid_type': {
      const kind = KINDS[issue.expected] ?? issue.expected;
      return mistake(value === undefined ? `is missing; expected ${kind}` : `${shown(value)} is not ${kind}`);
    }
    case 'unrecognized_keys': {
      const key = issue.keys[0]!;
      return { path: [...path, key], what: 'there is no such field here', isKey: true };
    }
    case 'invalid_value':
      return mistake(noneOf(value, issue.values));
    case 'invalid_union':
      return mistake(
        'options' in issue ? noneOf(value, issue.options as readonly unknown[]) : noneOf(value, [0, 1, 2]),
      );
    case 'too_small':
      return mistake(`${shown(value)} is less than ${issue.minimum}`);
    case 'too_big':
      return mistake(
        issue.origin === 'number' || issue.origin === 'int'
          ? `${shown(value)} is more than ${issue.maximum}`
          : `is longer than ${issue.maximum}`,
      );
    case 'not_multiple_of':
      return mistake(`${shown(value)} is not a multiple of ${issue.divisor}`);
    case 'invalid_key':
      return {
        path,
        what: 'is not a name: expected a letter, then letters, digits, "_", "-", ".", "+" and spaces',
        isKey: true,
      };
    case 'invalid_format':
      return mistake(
        `${shown(value)} is not a name: expected a letter, then letters, digits, "_", "-", ".", "+" and spaces`,
      );
    default:
      return mistake(oneLine(issue.message));
  }
}

function noneOf(value: unknown, options: readonly unknown[]): string {
  const list = options.join(', ');
  return value === undefined ? `is missing; expected one of ${list}` : `${shown(value)} is none of ${list}`;
}

/** What a schema cannot say: names that must be there, and what a device can do. */
function meaning(scenario: Scenario): Mistake[] {
  const mistakes: Mistake[] = [];
  const mistake = (path: Path, what: string): number => mistakes.push({ path, what, isKey: false });
  const tasks = new Set(['main']);
  for (const step of scenario.setup) if (step.do === 'fork') tasks.add(step.as ?? 'child');
  for (const [name, thread] of Object.entries(scenario.threads)) {
    const path = ['threads', name];
    if (thread.task !== undefined && !tasks.has(thread.task))
      mistake(
        [...path, 'task'],
        `"${thread.task}" is none of ${[...tasks].join(', ')}: a fork of the setup names a task`,
      );
    if (thread.on !== 'device') continue;
    thread.steps.forEach((step, i) => {
      if (!isAccess(step))
        mistake([...path, 'steps', i, 'do'], `a device cannot do "${step.do}"; it can do load, store`);
      else if (step.by === 'cpu') mistake([...path, 'steps', i, 'by'], 'a device thread cannot access as a CPU');
    });
  }
  return mistakes;
}

function isAccess(step: Step): step is Extract<Step, { by?: unknown }> {
  return step.do === 'load' || step.do === 'store';
}

function at(root: unknown, path: Path): unknown {
  let value = root;
  for (const key of path) {
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, key)) return undefined;
    value = (value as Record<PropertyKey, unknown>)[key];
  }
  return value;
}

/** "setup[2].do: "; nothing for the whole. */
export function fieldName(path: Path): string {
  let text = '';
  for (const key of path) {
    if (typeof key === 'number') text += `[${key}]`;
    else text += `${text === '' ? '' : '.'}${quoteInput(String(key), 40)}`;
  }
  return text === '' ? '' : `${text}: `;
}
