// Performs a program on this kernel as host.c does on the running one, and gives the same kinds of results.

import { EINVAL, ENOMEM } from '../../src/abi/errno.ts';
import { TASK_SIZE, VM_FAULT_HWPOISON, VM_FAULT_SIGBUS } from '../../src/abi/mman.ts';
import { NR_exit } from '../../src/abi/syscalls.ts';
import { Arena } from '../../src/base/arena.ts';
import { type KernelConfig, kernelConfig } from '../../src/mm/config.ts';
import { touchPage, userLoad, userStore } from '../../src/mm/cpu-access.ts';
import { Kernel } from '../../src/mm/kernel.ts';
import { openFile } from '../../src/mm/process/files.ts';
import type { AreaLayout } from '../../src/mm/process/layout.ts';
import { createProcess, doClone } from '../../src/mm/process/task.ts';
import { SyscallArgs } from '../../src/mm/syscalls/args.ts';
import { memfdCreate } from '../../src/mm/syscalls/memfd.ts';
import { mincorePages } from '../../src/mm/syscalls/mincore.ts';
import { syscall } from '../../src/mm/syscalls/table.ts';
import { linuxFns } from '../../src/mm/table.ts';
import type { Task } from '../../src/mm/types.ts';
import { procMaps, vmFlagNames } from '../../src/mm/vma/proc-maps.ts';
import {
  FILE_PAGES,
  OP_FORK,
  OP_FORK_RUN,
  OP_LOAD,
  OP_MAPS,
  OP_MINCORE,
  OP_SMAPS,
  OP_STORE,
  OP_SWEEP,
  type Op,
} from './program.ts';
import { HelperReach, REFUSED } from './reach.ts';
import type { HostRun, Result } from './results.ts';

const SIGNAL = 2 ** 32;
const SIGBUS = 7;
const SIGSEGV = 11;
const arena = new Arena();

/** A line of maps without device and inode: "start-end perms offset name". */
export function mapsLines(text: string): string[] {
  const out: string[] = [];
  for (const line of text.split('\n')) {
    const m = /^(\S+ \S{4} \S+) \S+ \S+ *(.*)$/.exec(line);
    if (m !== null && m[2] !== '[vsyscall]') out.push(`${m[1]} ${m[2]}`.trimEnd());
  }
  return out;
}

/** Of smaps: the lines of maps, each with its VmFlags. */
export function smapsLines(text: string): string[] {
  const out: string[] = [];
  for (const line of text.split('\n')) {
    const m = /^([0-9a-f]+-[0-9a-f]+ \S{4} \S+) \S+ \S+ *(.*)$/.exec(line);
    if (m !== null) out.push(`${m[1]} ${m[2]}`.trimEnd());
    else if (line.startsWith('VmFlags:')) out[out.length - 1] += ` | ${line.slice(9).trim()}`;
  }
  return out.filter((line) => !line.includes('[vsyscall]'));
}

/** The areas of a layout that host.c printed. */
function areasOf(layout: string): AreaLayout[] {
  return mapsLines(layout).map((line) => {
    const m = /^([0-9a-f]+)-([0-9a-f]+) (\S{4}) ([0-9a-f]+) ?(.*)$/.exec(line)!;
    const hex = (i: number): number => Number.parseInt(m[i]!, 16);
    return { start: hex(1), end: hex(2), perms: m[3]!, offset: hex(4), path: m[5]! };
  });
}

export function hexWord(value: number): string {
  return (value < 0 ? BigInt(value) + (1n << 64n) : BigInt(value)).toString(16);
}

/** One run of a program on this kernel, operation by operation. */
export class Model {
  readonly k: Kernel;
  task: Task;
  /** Numbers that operations returned, for arguments that name them. */
  readonly #values: number[] = [];
  readonly #args = new SyscallArgs();
  readonly #helper: HelperReach;

  constructor(host: HostRun, config: Partial<KernelConfig>, path: string) {
    arena.reset();
    this.k = Arena.use(arena, () => new Kernel(kernelConfig(config), linuxFns));
    const { k } = this;
    const areas = areasOf(host.layout);
    this.#helper = new HelperReach(areas);
    const stack = areas.find((a) => a.path === '[stack]')!;
    const first = k.sched.run(createProcess(k, { areas, startBrk: host.startBrk, startStack: stack.end - 8 }));
    this.#openFiles(first, path);
    // host.c has written to its data and its stack, and reads its text, before it forks the child that runs the program.
    for (const a of areas) {
      if (a.perms === 'rw-p')
        k.sched.run(touchPage(k, first.mm!, 0, a.path === '[stack]' ? a.end - 4096 : a.start, true));
    }
    this.task = k.tasks.get(k.sched.run(doClone(k, first, 0)))!;
  }

  /** Descriptors 3 to 5 of host.c. */
  #openFiles(task: Task, path: string): void {
    const { k } = this;
    const inode = k.newInode('regular', path, FILE_PAGES * 4096);
    for (let i = 0; i < FILE_PAGES; i++) inode.mapping.disk.set(i, new Uint8Array(4096).fill(i + 1));
    for (const fd of [0, 1, 2]) task.files.open.set(fd, null as never);
    openFile(k, task, inode, true, true);
    const memfd = memfdCreate(k, task, 'm', 2);
    task.files.open.get(memfd)!.inode.size = FILE_PAGES * 4096;
    openFile(k, task, inode, true, false);
    for (const fd of [0, 1, 2]) task.files.open.delete(fd);
  }

  /** The argument as a number; words above 2^53 are rounded. */
  word(op: Op, j: number): number {
    const arg = op.args[j] ?? 0;
    return typeof arg === 'number' ? arg : (this.#values[arg[0]] ?? 0) + arg[1];
  }

  /** Performs operation `i`; undefined for those without a result of their own. `forkRun` bodies are the caller's business. */
  perform(op: Op, i: number): Result | undefined {
    const { k } = this;
    const words = op.args.map((_, j) => this.word(op, j));
    if (this.#helper.includes(op.nr, words)) {
      this.#values[i] = REFUSED;
      return op.nr === OP_MINCORE ? [hexWord(REFUSED)] : hexWord(REFUSED);
    }
    switch (op.nr) {
      case OP_FORK:
        this.task = this.fork();
        return undefined;
      case OP_FORK_RUN:
        return undefined;
      case OP_MAPS:
        return procMaps(this.task.mm!, k.profile.heapNameStrict);
      case OP_SMAPS:
        return this.#smaps();
      case OP_LOAD:
        return hexWord(this.#load(this.word(op, 0)));
      case OP_STORE:
        return hexWord(this.#store(this.word(op, 0), this.word(op, 1)));
      case OP_SWEEP:
        return Array.from({ length: this.word(op, 1) }, (_, n) => hexWord(this.#load(this.word(op, 0) + n * 4096)));
      case OP_MINCORE:
        return this.#mincore(this.word(op, 0), this.word(op, 1));
      default: {
        for (let j = 0; j < 6; j++) this.#args.set(j, words[j] ?? 0);
        const result = k.sched.run(syscall(k, this.task, op.nr, this.#args));
        this.#values[i] = result;
        return hexWord(result);
      }
    }
  }

  fork(): Task {
    const pid = this.k.sched.run(doClone(this.k, this.task, 0));
    if (pid < 0) throw new Error(`fork: ${pid}`);
    return this.k.tasks.get(pid)!;
  }

  exit(): void {
    this.k.sched.run(syscall(this.k, this.task, NR_exit, this.#args.of(0)));
  }

  #failed(fault: number): number {
    const isBus = (fault & (VM_FAULT_SIGBUS | VM_FAULT_HWPOISON)) !== 0;
    return SIGNAL + (isBus ? SIGBUS : SIGSEGV) * 65536 + this.k.faultCode;
  }

  #load(at: number): number {
    if (at < 0 || at >= TASK_SIZE) return SIGNAL + SIGSEGV * 65536 + 1;
    const r = this.k.sched.run(userLoad(this.k, this.task, at));
    return r < 0 ? this.#failed(-r) : r;
  }

  #store(at: number, byte: number): number {
    if (at < 0 || at >= TASK_SIZE) return SIGNAL + SIGSEGV * 65536 + 1;
    const r = this.k.sched.run(userStore(this.k, this.task, at, byte));
    return r < 0 ? this.#failed(-r) : 0;
  }

  #mincore(start: number, length: number): Result {
    if (start % 4096 !== 0) return [hexWord(-EINVAL)];
    if (start < 0 || start + length > TASK_SIZE) return [hexWord(-ENOMEM)];
    const out = new Uint8Array(Math.ceil(length / 4096));
    const r = this.k.sched.run(mincorePages(this.k, this.task.mm!, start, out));
    return r < 0 ? [hexWord(r)] : ['0', ...Array.from(out, String)];
  }

  #smaps(): string {
    const { profile } = this.k;
    const lines = procMaps(this.task.mm!, profile.heapNameStrict).split('\n').slice(0, -1);
    let vma = this.task.mm!.vmas.first();
    let text = '';
    for (const line of lines) {
      text += `${line}\nVmFlags: ${vmFlagNames(vma!, profile.smapsNamesLockOnFault)}\n`;
      vma = this.task.mm!.vmas.next(vma!);
    }
    return text;
  }
}
