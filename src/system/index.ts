// The library's entry.

export { errnoName } from '../abi/errno.ts';
export * from '../abi/mman.ts';
export * from '../abi/syscalls.ts';
export { InputError } from '../base/assert.ts';
export type { Device, DeviceConfig } from '../device/device.ts';
export { type KernelConfig, kernelConfig } from '../mm/config.ts';
export { touchPage, userLoad, userStore } from '../mm/cpu-access.ts';
export { Kernel } from '../mm/kernel.ts';
export { createProcess, doClone, doExec, doExit } from '../mm/process/task.ts';
export { PROFILES, profile } from '../mm/profile.ts';
export { SyscallArgs } from '../mm/syscalls/args.ts';
export { syscall } from '../mm/syscalls/table.ts';
export { DESIGNS } from '../notifier/designs.ts';
export { createMachine, type Machine, type MachineConfig } from './machine.ts';
