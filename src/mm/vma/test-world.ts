// A kernel and a process for the tests of rooms vma, syscalls and process.

import { type KernelConfig, kernelConfig } from '../config.ts';
import type { KernelFns } from '../fns.ts';
import { Kernel } from '../kernel.ts';
import { createProcess } from '../process/task.ts';
import { profile } from '../profile.ts';
import { SyscallArgs } from '../syscalls/args.ts';
import { syscall } from '../syscalls/table.ts';
import { linuxFns } from '../table.ts';
import type { Task } from '../types.ts';
import { vmaPerms } from './proc-maps.ts';

export class World {
  readonly k: Kernel;
  readonly task: Task;
  readonly args = new SyscallArgs();

  constructor(profileName = '6.1', parts: Partial<KernelConfig> = {}, fns: Partial<KernelFns> = {}) {
    this.k = new Kernel(kernelConfig({ frames: 4096, ...parts, profile: profile(profileName) }), {
      ...linuxFns,
      ...fns,
    });
    this.task = this.k.sched.run(
      createProcess(this.k, {
        areas: [
          { start: 0x400000, end: 0x402000, perms: 'r-xp', offset: 0, path: '/bin/test' },
          { start: 0x7ffffffde000, end: 0x7ffffffff000, perms: 'rw-p', offset: 0, path: '[stack]' },
        ],
        startBrk: 0x600000,
      }),
    );
  }

  /** Runs a system call of the process; numbers only. */
  call(nr: number, ...args: number[]): number {
    return this.callAs(this.task, nr, ...args);
  }

  callAs(task: Task, nr: number, ...args: number[]): number {
    const [a, b, c, d, e, f] = args;
    return this.k.sched.run(syscall(this.k, task, nr, this.args.of(a, b, c, d, e, f)));
  }

  /** "start-end perms" of each VMA but program and stack, addresses in hex. */
  maps(task: Task = this.task): string[] {
    const lines: string[] = [];
    for (let v = task.mm!.vmas.first(); v !== null; v = task.mm!.vmas.next(v)) {
      if (v.start >= 0x7ffffffde000 || v.end <= 0x402000) continue;
      lines.push(`${v.start.toString(16)}-${v.end.toString(16)} ${vmaPerms(v)}`);
    }
    return lines;
  }
}
