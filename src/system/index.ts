// The library's entry. The judge is "shootdown/check", events in words are "shootdown/report".

export * from '../abi/errno.ts';
export * from '../abi/events.ts';
export * from '../abi/mman.ts';
export * from '../abi/notifier.ts';
export * from '../abi/syscalls.ts';
export { InputError } from '../base/assert.ts';
export type { RecordLog, RecordSink } from '../base/record-log.ts';
export { type Driver, type DriverDefinition, defineDriver, isDriver } from '../device/define-driver.ts';
export type { Device, DeviceConfig } from '../device/device.ts';
export { createDriverDevice } from '../device/device.ts';
export type * from '../device/driver-face.ts';
export { DRIVERS } from '../device/drivers/drivers.ts';
export { type KernelConfig, kernelConfig } from '../mm/config.ts';
export { touchPage, userLoad, userStore } from '../mm/cpu-access.ts';
export type { KernelFns } from '../mm/fns.ts';
export { Kernel } from '../mm/kernel.ts';
export { createProcess, doClone, doExec, doExit } from '../mm/process/task.ts';
export { PROFILES, profile } from '../mm/profile.ts';
export { SyscallArgs } from '../mm/syscalls/args.ts';
export { syscall } from '../mm/syscalls/table.ts';
export { linuxFns } from '../mm/table.ts';
export type { MmStruct, Task } from '../mm/types.ts';
export { DESIGN_VARIANTS, DESIGNS } from '../notifier/designs.ts';
export { Mutex, Rwsem, SpinLocks } from '../sched/locks.ts';
export type { AtomicPath, KernelPath } from '../sched/path.ts';
export { createMachine, Machine, type MachineConfig } from './machine.ts';
