// Runs a list of calls on the model as host-layout.c does on a real kernel, and compares.

import { errnoName } from '../../src/abi/errno.ts';
import { syscallName } from '../../src/abi/syscalls.ts';
import { kernelConfig } from '../../src/mm/config.ts';
import { touchPage } from '../../src/mm/cpu-access.ts';
import { Kernel } from '../../src/mm/kernel.ts';
import { openFile } from '../../src/mm/process/files.ts';
import type { AreaLayout } from '../../src/mm/process/layout.ts';
import { createProcess, doClone } from '../../src/mm/process/task.ts';
import { profile } from '../../src/mm/profile.ts';
import { SyscallArgs } from '../../src/mm/syscalls/args.ts';
import { memfdCreate } from '../../src/mm/syscalls/memfd.ts';
import { syscall } from '../../src/mm/syscalls/table.ts';
import { linuxFns } from '../../src/mm/table.ts';
import type { Task } from '../../src/mm/types.ts';
import { procMaps, vmFlagNames } from '../../src/mm/vma/proc-maps.ts';
import { type Call, FORK, PRINT_SMAPS } from './calls.ts';

/** One step of the host: what a call returned (hex word), "fork", or a map: "start-end perms offset name | flags". */
export type HostStep = string | readonly string[];

/** Parses the output of host-layout.c. */
export function parseHost(text: string): HostStep[] {
  const steps: HostStep[] = [];
  const lines = text.split('\n');
  for (let i = 0; i < lines.length; i++) {
    const line = lines[i]!;
    if (line !== 'smaps') {
      if (line !== '') steps.push(line);
      continue;
    }
    const map: string[] = [];
    for (i++; i < lines.length && lines[i] !== 'end'; i++) {
      const m = /^([0-9a-f]+-[0-9a-f]+ \S{4}) ([0-9a-f]+) \S+ \S+ *(.*)$/.exec(lines[i]!);
      if (m !== null) map.push(`${m[1]} ${m[2]} ${m[3]}`);
      else if (lines[i]!.startsWith('VmFlags:')) map[map.length - 1] += ` | ${lines[i]!.slice(9).trim()}`;
    }
    // A program that died in the middle leaves half a map.
    if (i === lines.length) break;
    steps.push(map.filter((l) => !l.includes('[vsyscall]')));
  }
  return steps;
}

/** The map of a task in the same form. Soft-dirty and sealed pages have no letters on the recorded kernel's configuration. */
function modelMap(k: Kernel, task: Task): string[] {
  const lines = procMaps(task.mm!, k.profile.heapNameStrict).split('\n').slice(0, -1);
  const out: string[] = [];
  let vma = task.mm!.vmas.first();
  for (const line of lines) {
    const m = /^(\S+ \S{4}) (\S+) \S+ \S+ *(.*)$/.exec(line)!;
    const flags = vmFlagNames(vma!).replace(/ sd\b/, '');
    out.push(`${m[1]} ${m[2]} ${m[3]} | ${flags}`);
    vma = task.mm!.vmas.next(vma!);
  }
  return out;
}

function areas(map: readonly string[]): AreaLayout[] {
  return map.map((line) => {
    const m = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) (.*) \|/.exec(line)!;
    const num = (i: number): number => Number.parseInt(m[i]!, 16);
    return { start: num(1), end: num(2), perms: m[3]!, offset: num(4), path: m[5]! };
  });
}

export interface Difference {
  readonly index: number;
  /** The host's list ended before this call. */
  readonly isEnd: boolean;
  readonly what: string;
  /** The last calls with their results. */
  readonly before: string[];
}

/** Runs the calls; the first difference, or null. `compared` counts what was held against the host. */
export function compareWithHost(
  profileName: string,
  calls: readonly Call[],
  host: readonly HostStep[],
  compared: { calls: number; maps: number } = { calls: 0, maps: 0 },
): Difference | null {
  const k = new Kernel(kernelConfig({ profile: profile(profileName), frames: 16384 }), linuxFns);
  let task: Task | null = null;
  const results: number[] = [];
  const trace: string[] = [];
  const args = new SyscallArgs();
  const differ = (index: number, what: string): Difference => ({
    index,
    isEnd: host[index] === undefined,
    what,
    before: trace.slice(-12),
  });
  const initial = host[1] as readonly string[];
  const startBrk = Number.parseInt(host[0] as string, 16);
  const stack = areas(initial).find((a) => a.path === '[stack]')!;
  task = k.sched.run(createProcess(k, { areas: areas(initial), startBrk, startStack: stack.end - 8 }));
  openFiles(k, task);
  // The host program has touched its own data and stack: they have anon_vmas.
  for (const a of areas(initial)) {
    if (a.perms === 'rw-p') k.sched.run(touchPage(k, task.mm!, 0, a.path === '[stack]' ? a.end - 4096 : a.start, true));
  }
  for (let i = 0; i < calls.length; i++) {
    const call = calls[i]!;
    const step = host[i];
    if (step === undefined) return differ(i, 'the host ended here');
    if (call.nr === FORK) {
      task = k.tasks.get(k.sched.run(doClone(k, task, 0)))!;
      trace.push('fork');
      results.push(0);
    } else if (call.nr === PRINT_SMAPS) {
      results.push(0);
      const ours = modelMap(k, task);
      compared.maps++;
      const at = ours.findIndex((line, n) => line !== step[n]);
      if (at >= 0 || ours.length !== step.length) {
        const n = at < 0 ? ours.length : at;
        return differ(
          i,
          `map line ${n}:\n  ours ${ours.slice(Math.max(0, n - 1), n + 3).join('\n       ')}\n  host ${(step as string[]).slice(Math.max(0, n - 1), n + 3).join('\n       ')}`,
        );
      }
    } else {
      call.args.forEach((arg, j) => {
        if (typeof arg === 'number') args.set(j, arg);
        else args.set(j, results[arg[0]]! + arg[1]);
      });
      const shown = call.args.map((_, j) => (args.hi[j]! * 2 ** 32 + args.lo[j]!).toString(16)).join(', ');
      const result = k.sched.run(syscall(k, task, call.nr, args));
      results.push(result);
      compared.calls++;
      const ours = (result < 0 ? BigInt(result) + (1n << 64n) : BigInt(result)).toString(16);
      trace.push(`${i} ${syscallName(call.nr)}(${shown}) = ${show(step as string)}`);
      if (ours !== step) return differ(i, `${trace.pop()} on the host, here ${show(ours)}`);
    }
  }
  return null;
}

function show(word: string): string {
  const v = BigInt(`0x${word}`);
  return v >= (1n << 64n) - 4096n ? `-${errnoName(Number((1n << 64n) - v))}` : word;
}

/** Descriptors 3 to 5 of host-layout.c. The file is 1 MiB long. */
function openFiles(k: Kernel, task: Task): void {
  const inode = k.newInode('regular', '/tmp/host-layout.file', 1 << 20);
  for (const fd of [0, 1, 2]) task.files.open.set(fd, null as never);
  openFile(k, task, inode, true, true);
  const memfd = memfdCreate(k, task, 'm', 2);
  task.files.open.get(memfd)!.inode.size = 64 * 4096;
  openFile(k, task, inode, true, false);
  for (const fd of [0, 1, 2]) task.files.open.delete(fd);
}
