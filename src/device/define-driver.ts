// A driver as its author writes it: one module that names a notifier design and a kind of device, and reacts.
//
//   export default defineDriver({
//     name: 'my-iommu',
//     design: 'linux-6.1',
//     device: 'walker',
//     create(hw) {
//       return {
//         *invalidateRange(start, end) { yield* hw.flushRange(start, end); },
//         *release() { yield* hw.tearDown(); },
//       };
//     },
//   });
//
// `create` runs once for each address space that the device is bound to; variables in it are the driver's state. The design
// says which callbacks there are, and which of them may sleep: those that may not are AtomicPaths, so that a step of hw that
// sleeps is a type error in them. A callback that does nothing slow may be a plain function.

import { InputError } from '../base/assert.ts';
import type { Callbacks, DesignName, DeviceKind, Hw } from './driver-face.ts';

/** Every callback and hook, by design; order as in the header of the kernel. */
export const CALLBACK_NAMES: Readonly<Record<DesignName, readonly string[]>> = {
  pinned: [],
  'pte-notifiers': ['clear', 'close'],
  'mmu-notifiers-andrea': ['release', 'agePage', 'invalidatePage', 'invalidateRange'],
  'mmu-notifiers-v4': [
    'release',
    'invalidateAll',
    'agePage',
    'invalidatePage',
    'invalidateRangeBegin',
    'invalidateRangeEnd',
    'rmapInvalidatePage',
  ],
  'linux-2.6.27': [
    'release',
    'clearFlushYoung',
    'changePte',
    'invalidatePage',
    'invalidateRangeStart',
    'invalidateRangeEnd',
  ],
  'free-pages-2011': [
    'release',
    'clearFlushYoung',
    'testYoung',
    'changePte',
    'invalidatePage',
    'invalidateRangeStart',
    'invalidateRangeEnd',
    'invalidateRangeFreePages',
  ],
  'invalidate-range': [
    'release',
    'clearFlushYoung',
    'testYoung',
    'changePte',
    'invalidatePage',
    'invalidateRangeStart',
    'invalidateRangeEnd',
    'invalidateRange',
  ],
  'linux-6.1': [
    'release',
    'clearFlushYoung',
    'clearYoung',
    'testYoung',
    'changePte',
    'invalidateRangeStart',
    'invalidateRangeEnd',
    'invalidateRange',
    'invalidate',
  ],
  'linux-6.6': [
    'release',
    'clearFlushYoung',
    'clearYoung',
    'testYoung',
    'changePte',
    'invalidateRangeStart',
    'invalidateRangeEnd',
    'archInvalidateSecondaryTlbs',
    'invalidate',
  ],
  'linux-6.12': [
    'release',
    'clearFlushYoung',
    'clearYoung',
    'testYoung',
    'invalidateRangeStart',
    'invalidateRangeEnd',
    'archInvalidateSecondaryTlbs',
    'invalidate',
  ],
};

const HOOKS = ['bind', 'unbind'];
const DEVICE_KINDS: readonly string[] = ['walker', 'mirror'];
/** Also across two copies of this package. */
const BRAND = Symbol.for('shootdown.driver');

/** What an author passes to defineDriver. */
export interface DriverDefinition<D extends DesignName, K extends DeviceKind> {
  readonly name: string;
  /** The notifier design that it is written for; or several, the first being the one that is used unless another is asked for. */
  readonly design: D | readonly D[];
  /** 'walker': an IOMMU that walks the CPUs' page table, with a device TLB. 'mirror': a table that the driver fills. */
  readonly device: K;
  /** Of a driver that is wrong on purpose: what it gets wrong, and the properties by which that shows. */
  readonly mistake?: string;
  readonly breaks?: readonly string[];
  /** The callbacks for one bound address space. */
  create(hw: Hw<D, K>): Callbacks<D, K>;
}

/** A driver, whatever its design. */
export interface Driver {
  readonly name: string;
  readonly design: DesignName;
  readonly designs: readonly DesignName[];
  readonly device: DeviceKind;
  readonly mistake: string;
  readonly breaks: readonly string[];
  /** Makes the callbacks; `hw` is that of `device`. They are checked by whoever calls it. */
  create(hw: unknown): unknown;
}

/** Was it made by defineDriver? For loaders of modules. */
export function isDriver(value: unknown): value is Driver {
  return typeof value === 'object' && value !== null && BRAND in value;
}

/** Checks the definition and makes it a driver. Throws InputError: which field, and what was expected. */
export function defineDriver<const D extends DesignName, const K extends DeviceKind>(
  definition: DriverDefinition<D, K>,
): Driver {
  const d: unknown = definition;
  if (typeof d !== 'object' || d === null) throw new InputError(`defineDriver: takes an object, not ${kindOf(d)}`);
  const { name, design, device, create, mistake = '', breaks = [] } = definition;
  if (typeof name !== 'string' || !/^[\w.-]+$/.test(name))
    throw new InputError(`driver: name is ${show(name)}, not a word of letters, digits, ".", "-" and "_"`);
  const designs = (Array.isArray(design) ? design : [design]) as readonly DesignName[];
  const known = Object.keys(CALLBACK_NAMES);
  if (designs.length === 0) throw new InputError(`driver ${name}: design is empty; one of ${known.join(', ')}`);
  for (const one of designs) {
    if (!known.includes(one))
      throw new InputError(`driver ${name}: design ${show(one)} is not one of ${known.join(', ')}`);
  }
  if (!DEVICE_KINDS.includes(device))
    throw new InputError(`driver ${name}: device ${show(device)} is not one of ${DEVICE_KINDS.join(', ')}`);
  if (typeof create !== 'function')
    throw new InputError(`driver ${name}: create(hw) is ${create === undefined ? 'missing' : kindOf(create)}`);
  const driver: Driver = {
    name,
    design: designs[0]!,
    designs: [...designs],
    device,
    mistake,
    breaks: [...breaks],
    create: (hw) => create.call(definition, hw as Hw<D, K>),
  };
  Object.defineProperty(driver, BRAND, { value: true });
  return Object.freeze(driver);
}

/** Callbacks as they are called: any of them may be missing. */
export type AnyCallbacks = Readonly<Record<string, ((...args: unknown[]) => unknown) | undefined>>;

/** Checks what create() returned. Throws InputError that names the callback, the design and what the design has. */
export function checkCallbacks(driver: Driver, design: DesignName, made: unknown): AnyCallbacks {
  if (typeof made !== 'object' || made === null)
    throw new InputError(`driver ${driver.name}: create(hw) returned ${kindOf(made)}, not an object of callbacks`);
  const names = CALLBACK_NAMES[design];
  const isMirror = driver.device === 'mirror';
  for (const [name, value] of Object.entries(made)) {
    if (value === undefined) continue;
    if (name === 'fault' && !isMirror)
      throw new InputError(
        `driver ${driver.name}: fault is for a mirror; a walker's page requests are served by the kernel`,
      );
    if (name !== 'fault' && !names.includes(name) && !HOOKS.includes(name)) {
      const all = [...names, ...HOOKS, ...(isMirror ? ['fault'] : [])].join(', ');
      throw new InputError(`driver ${driver.name}: callback ${name} is not one of design ${design}, which has ${all}`);
    }
    if (typeof value !== 'function')
      throw new InputError(`driver ${driver.name}: callback ${name} is ${kindOf(value)}, not a function`);
  }
  const callbacks = made as AnyCallbacks;
  if (isMirror && callbacks['fault'] === undefined)
    throw new InputError(`driver ${driver.name}: a mirror needs fault(request), which fills its table`);
  if (callbacks['archInvalidateSecondaryTlbs'] !== undefined) {
    for (const name of ['invalidateRangeStart', 'invalidateRangeEnd']) {
      if (callbacks[name] === undefined) continue;
      throw new InputError(
        `driver ${driver.name}: under design ${design} a driver has archInvalidateSecondaryTlbs (a TLB) or ${name} (a mirror), not both`,
      );
    }
  }
  return callbacks;
}

function kindOf(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  return Array.isArray(value) ? 'an array' : `${typeof value === 'object' ? 'an' : 'a'} ${typeof value}`;
}

function show(value: unknown): string {
  return typeof value === 'string' ? `"${value}"` : kindOf(value);
}
