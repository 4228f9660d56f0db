// What a row of the list of operations says.

import type { Scenario, Step, ThreadScript } from '../scenario/scenario.ts';
import type { Base } from './bases.ts';

export interface Operation {
  readonly name: string;
  /** What happens, in a line. */
  readonly summary: string;
  readonly base: Base;
  /** The thread that does it; other threads of the operation by name. */
  readonly thread: ThreadScript;
  readonly others?: Readonly<Record<string, ThreadScript>>;
  /** Accesses of the device instead of the base's. */
  readonly device?: readonly Step[];
  /** Beside the base's. */
  readonly kernel?: Scenario['kernel'];
  /** Steps added to the setup of the base. */
  readonly setup?: readonly Step[];
  /** May be paired with any other: it needs nothing but a page. */
  readonly isAnyBase?: boolean;
  /** Where an execution takes very many steps. */
  readonly bounds?: Scenario['bounds'];
  /** Left out: the device is bound before the setup. */
  readonly bound?: boolean;
}

/** A device that only stores, or only loads: what keeps an operation of many steps small enough to be explored to the end. */
export const STORE: Partial<Operation> = { device: [{ do: 'store', at: 0 }] };
export const LOAD: Partial<Operation> = { device: [{ do: 'load', at: 0 }] };

export function op(name: string, summary: string, base: Base, steps: Step[], more: Partial<Operation> = {}): Operation {
  return { name, summary, base, thread: { steps }, ...more };
}
