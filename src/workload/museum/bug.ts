// A museum entry: a historic bug as a program that shows it. Two revisions of one world, the historic one and the fixed one, run
// the same scenario; the bug is found when some interleaving of the first violates the property that it names, and none of the
// second does. What a revision may change, the smallest first:
//
//   patches    functions of the kernel (defineLivepatch)
//   driver     a driver: shipped, defined (defineDriver), or any function that makes a device
//   design     a notifier design, or a class derived from one
//   kernel     limits and sizes

import { InputError } from '../../base/assert.ts';
import { type Driver, isDriver } from '../../device/define-driver.ts';
import type { Device, DeviceConfig } from '../../device/device.ts';
import type { KernelConfig } from '../../mm/config.ts';
import type { Kernel } from '../../mm/kernel.ts';
import { DESIGNS } from '../../notifier/designs.ts';
import type { NotifierDesign, NotifierHost } from '../../notifier/host.ts';
import type { Livepatch } from '../../system/livepatch.ts';
import type { Scenario } from '../scenario/scenario.ts';

/** Tags by which properties are grouped (docs/properties.md). */
export const BUG_TAGS: readonly string[] = [
  'UAF-DATA',
  'UAF-TABLE',
  'STALE-PERM',
  'STALE-MAP',
  'SPLIT-VIEW',
  'LOST-WRITE',
  'UNPAIRED',
  'DEADLOCK',
  'LIVELOCK',
  'LIFETIME',
];

/** A design of one's own: `class Historic extends Linux61 { ... }`. Its instances keep the name of the design they derive from. */
export type DesignClass = new (host: NotifierHost) => NotifierDesign;

/** Makes a device of a kernel whose design is in force. `device`: the sizes of the revision. */
export type DeviceMaker = (k: Kernel, device: Partial<DeviceConfig>) => Device;

/** One revision of the world. */
export interface Revision {
  /** What it does, in a line. */
  readonly what: string;
  /** Name of a design, or a class. */
  readonly design: string | DesignClass;
  /** Name of a shipped driver of the design, a driver (defineDriver), or what makes a device. */
  readonly driver: string | Driver | DeviceMaker;
  readonly device?: Partial<DeviceConfig>;
  readonly patches?: Livepatch | readonly Livepatch[];
  readonly kernel?: Partial<KernelConfig>;
  /** In place of the bug's own, where the program too is another one. */
  readonly scenario?: Scenario;
}

export interface BugDefinition {
  /** Number in the museum; left out for bugs of your own. */
  readonly number?: number;
  /** Short name: lower case, digits and dashes. */
  readonly id: string;
  readonly title: string;
  /** When it was in the kernel, or was found. */
  readonly year: string;
  /** What went wrong, in a sentence. */
  readonly summary: string;
  /** Where it is told: commits, CVE, advisory; and how well that was checked. */
  readonly evidence: string;
  /** The tag of the property that it violates. */
  readonly tag: string;
  /** Steps of the shortest counterexample, estimated from its story. */
  readonly steps: string;
  readonly scenario: Scenario;
  readonly historic: Revision;
  readonly fixed: Revision;
  /** Other revisions of the same world, by name: earlier fixes, regressions, variants. */
  readonly others?: Readonly<Record<string, Revision & { readonly isBroken: boolean }>>;
  /** How it happens, step by step, and what was learned from it. */
  readonly story: string;
}

export type Bug = BugDefinition & { readonly kind: typeof BUG_KIND };

const BUG_KIND = Symbol.for('shootdown.bug');

/** Does a module export a bug? Also one that another copy of this module made. */
export function isBug(value: unknown): value is Bug {
  return typeof value === 'object' && value !== null && (value as { kind?: unknown }).kind === BUG_KIND;
}

const TEXTS = ['title', 'year', 'summary', 'evidence', 'steps', 'story'] as const;

/** A museum entry, or a bug of your own. Throws InputError naming the bug and the field. */
export function defineBug(definition: BugDefinition): Bug {
  const { id } = definition;
  if (typeof id !== 'string' || !/^[a-z0-9][a-z0-9-]*$/.test(id))
    throw new InputError(`bug: id "${id}" is not made of lower-case letters, digits and dashes`);
  const refuse = (field: string, what: string): never => {
    throw new InputError(`bug ${id}: ${field}: ${what}`);
  };
  for (const field of TEXTS) {
    if (typeof definition[field] !== 'string' || definition[field] === '') refuse(field, 'expected a text');
  }
  if (!BUG_TAGS.includes(definition.tag)) refuse('tag', `"${definition.tag}" is not one of ${BUG_TAGS.join(', ')}`);
  const { scenario, historic, fixed, others = {} } = definition;
  if (typeof scenario?.threads !== 'object') refuse('scenario', 'expected a scenario with threads');
  for (const [name, revision] of Object.entries({ historic, fixed, ...others })) {
    if (revision === undefined) refuse(name, 'expected a revision');
    checkRevision(name, revision, refuse);
  }
  return Object.freeze({ ...definition, kind: BUG_KIND }) as Bug;
}

function checkRevision(name: string, r: Revision, refuse: (field: string, what: string) => never): void {
  if (typeof r.what !== 'string') refuse(`${name}.what`, 'expected a text');
  if (typeof r.design === 'string') {
    if (!DESIGNS.some((d) => d.name === r.design))
      refuse(`${name}.design`, `"${r.design}" is not one of ${DESIGNS.map((d) => d.name).join(', ')}`);
  } else if (typeof r.design !== 'function') refuse(`${name}.design`, 'expected the name of a design, or a class');
  if (typeof r.driver !== 'string' && typeof r.driver !== 'function' && !isDriver(r.driver))
    refuse(`${name}.driver`, 'expected the name of a driver, a driver, or a function that makes a device');
}
