// What is checked: a driver with its device, made for a kernel that runs the driver's notifier design.

import { InputError } from '../../base/assert.ts';
import { type Driver, defineDriver } from '../../device/define-driver.ts';
import {
  createDevice,
  createDriverDevice,
  type Device,
  type DeviceConfig,
  memoryPagesOf,
  SMALL_DEVICE,
} from '../../device/device.ts';
import { deviceInfo } from '../../device/devices.ts';
import type { DesignName } from '../../device/driver-face.ts';
import type { KernelFns } from '../../mm/fns.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { NotifierDesign, NotifierHost } from '../../notifier/host.ts';

export interface Subject {
  /** Name of the driver. */
  readonly name: string;
  /** Name of the notifier design (notifier/designs). */
  readonly design: string;
  /** A design of its own instead of the one of that name. */
  createDesign?(host: NotifierHost): NotifierDesign;
  /** Makes device and driver in a kernel whose design is in force. Engines start no work of their own. */
  create(k: Kernel): Device;
  /** Pages of memory of its own that the device has; none when left out. */
  readonly memoryPages?: number;
  /** The same device with a driver that does nothing: what shows that a property was exercised. */
  readonly nullSubject: Subject | null;
  /** Functions of the kernel that are replaced: livepatches. */
  readonly patches?: Partial<KernelFns>;
}

export interface SubjectOptions {
  /** One of the driver's designs; its first when left out. */
  readonly design?: string;
  /** Engines of the device, 2 when left out. */
  readonly engines?: number;
  /** Other sizes of the device. */
  readonly device?: Partial<DeviceConfig>;
}

/** Sizes of a device at which exploration can be exhaustive. */
export function smallDevice(engines: number): Partial<DeviceConfig> {
  return { ...SMALL_DEVICE, ats: { ...SMALL_DEVICE.ats, engines }, mirror: { engines } };
}

/** An author's driver as what is checked. Throws InputError when the driver is not written for options.design. */
export function subjectOf(driver: Driver, options: SubjectOptions = {}): Subject {
  const design = driver.designs.find((d) => d === (options.design ?? driver.design));
  if (design === undefined)
    throw new InputError(
      `driver ${driver.name}: written for ${driver.designs.join(', ')}, not for "${options.design}"`,
    );
  const config = { ...smallDevice(options.engines ?? 2), ...options.device };
  return subject(driver, design, config, subject(nullDriver(driver, design), design, config, null));
}

function subject(
  driver: Driver,
  design: DesignName,
  config: Partial<DeviceConfig>,
  nullSubject: Subject | null,
): Subject {
  return {
    name: driver.name,
    design,
    create(k) {
      const device = createDriverDevice(k, driver, config);
      device.workload.isStopped = true;
      return device;
    },
    nullSubject,
  };
}

/** A secondary MMU by name (device/devices) with its driver for the design; the null subject is the same, deaf. Throws InputError when
 *  it has no driver for it. */
export function subjectOfDevice(name: string, design: string, options: Omit<SubjectOptions, 'design'> = {}): Subject {
  const info = deviceInfo(name);
  if (info.designs[design] === undefined) {
    const known = Object.keys(info.designs).join(', ');
    throw new InputError(`device ${name}: has no driver for design "${design}"; it has for ${known}`);
  }
  const config = { ...smallDevice(options.engines ?? 2), ...options.device, device: name };
  const made = (isDeaf: boolean, nullSubject: Subject | null): Subject => ({
    name,
    design,
    create(k) {
      const device = createDevice(k, { ...config, isDeaf });
      device.workload.isStopped = true;
      return device;
    },
    memoryPages: memoryPagesOf(config),
    nullSubject,
  });
  return made(false, made(true, null));
}

/** The driver that hears nothing: a walker without callbacks; a mirror that maps what it finds, and never looks again. */
function nullDriver(driver: Driver, design: DesignName): Driver {
  const name = `no-callbacks-${driver.device}`;
  if (driver.device === 'walker') return defineDriver({ name, design, device: 'walker', create: () => ({}) });
  return defineDriver({
    name,
    design,
    device: 'mirror',
    create: (hw) => ({
      *fault({ va, isWrite }) {
        const page = yield* hw.getUserPage(va, isWrite);
        if (page < 0) return page;
        yield* hw.map(va, page, { writable: isWrite });
        hw.putPage(page);
        return 0;
      },
    }),
  });
}
