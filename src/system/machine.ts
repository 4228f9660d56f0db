// Puts a machine together: memory, CPUs, kernel instance, notifier design and one device, from one configuration.
//
//   const m = createMachine({ kernel: { frames: 4096 }, design: 'linux-6.1', device: {}, seed: 7 });
//   const task = m.run(createProcess(m.kernel, { areas: [] }));
//   m.run(m.device!.bind(task.mm!));

import { Rng } from '../base/rng.ts';
import { createDevice, type Device, type DeviceConfig, memoryPagesOf } from '../device/device.ts';
import { type KernelConfig, kernelConfig } from '../mm/config.ts';
import type { KernelFns } from '../mm/fns.ts';
import { Kernel } from '../mm/kernel.ts';
import { notifierHost } from '../mm/notifier-host.ts';
import { SyscallArgs } from '../mm/syscalls/args.ts';
import { syscall } from '../mm/syscalls/table.ts';
import { linuxFns } from '../mm/table.ts';
import type { Task } from '../mm/types.ts';
import { designInfo } from '../notifier/designs.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import { type Chooser, DONE, RandomChooser } from '../sched/scheduler.ts';

export interface MachineConfig {
  readonly kernel?: Partial<KernelConfig>;
  /** Name of the notifier design; none when left out. */
  readonly design?: string;
  /** A device under that design; none when left out. */
  readonly device?: Partial<DeviceConfig>;
  /** Seed of the scheduler's choices. */
  readonly seed?: number;
  /** Who makes the scheduler's choices instead; `seed` is then not used. */
  readonly chooser?: Chooser;
  /** Livepatches: functions that replace those of the kernel as shipped. */
  readonly patches?: Partial<KernelFns>;
}

export class Machine {
  readonly kernel: Kernel;
  readonly device: Device | null;

  constructor(kernel: Kernel, device: Device | null) {
    this.kernel = kernel;
    this.device = device;
  }

  /** Runs a kernel path to its end; other threads run while it waits. */
  run<T>(path: KernelPath<T> | AtomicPath<T>): T {
    return this.kernel.sched.run(path);
  }

  /** System call `nr` of the task with the given words (exact integers; negative ones are sign-extended). */
  call(task: Task, nr: number, ...words: number[]): KernelPath<number> {
    const args = new SyscallArgs();
    words.forEach((word, i) => {
      args.set(i, word);
    });
    return syscall(this.kernel, task, nr, args);
  }

  /** Runs the paths as threads of their own, interleaved with each other, the device and the kernel's threads: at every
   *  preemption point the seed decides who goes on. 'reached': all have ended. 'stuck': nothing can run. 'limit': stepsMax
   *  steps were made. */
  interleave(
    threads: Readonly<Record<string, KernelPath<unknown>>>,
    stepsMax = Number.POSITIVE_INFINITY,
  ): 'reached' | 'stuck' | 'limit' {
    const { sched } = this.kernel;
    const spawned = Object.entries(threads).map(([name, path]) => sched.spawn(name, 'cpu', path));
    const before = sched.points;
    sched.points = true;
    const end = sched.runUntil(() => spawned.every((t) => t.state === DONE), stepsMax);
    sched.points = before;
    return end;
  }
}

/** A machine of that configuration. Throws InputError for impossible ones. */
export function createMachine(config: MachineConfig = {}): Machine {
  const chooser = config.chooser ?? new RandomChooser(new Rng(config.seed ?? 1));
  const parts = config.kernel ?? {};
  // A device brings the memory of its own that it has.
  const devicePrivatePages = (parts.devicePrivatePages ?? 0) + memoryPagesOf(config.device ?? {});
  const kernel = new Kernel(
    kernelConfig({ ...parts, devicePrivatePages }),
    { ...linuxFns, ...config.patches },
    chooser,
  );
  if (config.design !== undefined) kernel.design = designInfo(config.design).create(notifierHost(kernel));
  return new Machine(kernel, config.device === undefined ? null : createDevice(kernel, config.device));
}
