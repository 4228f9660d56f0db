// What is checked: a driver with its device, made for a kernel that runs the driver's notifier design.

import type { Device } from '../../device/device.ts';
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
  /** The same device with a driver that does nothing: what shows that a property was exercised. */
  readonly nullSubject: Subject | null;
  /** Functions of the kernel that are replaced: livepatches. */
  readonly patches?: Partial<KernelFns>;
}
