// A scenario's machine: kernel, device, tasks and files by name. What a step of a module gets to see.

import { InputError } from '../../base/assert.ts';
import type { Device } from '../../device/device.ts';
import type { Kernel } from '../../mm/kernel.ts';
import { openFile } from '../../mm/process/files.ts';
import type { Inode, Task } from '../../mm/types.ts';
import { UFFD_API, type UserfaultfdCtx } from '../../mm/uffd/context.ts';
import { uffdioApi, uffdOf, userfaultfd } from '../../mm/uffd/ioctl.ts';
import { BASE, type Scenario } from './scenario.ts';

/** Something that a step of the scenario claimed, and that did not hold. */
export interface BrokenClaim {
  readonly tag: string;
  readonly sentence: string;
  /** Scheduler step. */
  readonly step: number;
}

export class ScenarioContext {
  readonly kernel: Kernel;
  readonly device: Device | null;
  readonly scenario: Scenario;
  /** Tasks by name; 'main' is the first. */
  readonly tasks = new Map<string, Task>();
  readonly brokenClaims: BrokenClaim[] = [];
  /** Steps of its script that each thread has completed, by thread id. */
  readonly completed: number[] = [];
  #uffd: UserfaultfdCtx | null = null;
  readonly #files = new Map<string, { readonly inode: Inode; readonly fd: Map<Task, number> }>();

  constructor(kernel: Kernel, device: Device | null, scenario: Scenario) {
    this.kernel = kernel;
    this.device = device;
    this.scenario = scenario;
  }

  /** For `run` steps of modules: what the scenario itself observes, and no monitor can know, as a finding. The step notes what it
   *  looked at (kernel.memory.touch for bytes of a frame), as every step does. */
  claim(holds: boolean, tag: string, sentence: string): void {
    if (!holds) this.brokenClaims.push({ tag, sentence, step: this.kernel.sched.steps });
  }

  /** Byte address of a page. */
  va(page: number): number {
    return BASE + page * 4096;
  }

  task(name: string): Task {
    const task = this.tasks.get(name);
    if (task === undefined) throw new InputError(`scenario ${this.scenario.name}: there is no task "${name}"`);
    return task;
  }

  /** The userfaultfd of the scenario, made for the address space of the task that asks first. */
  userfault(task: Task): UserfaultfdCtx {
    if (this.#uffd === null) {
      const fd = userfaultfd(this.kernel, task, 0);
      if (fd < 0) throw new InputError(`scenario ${this.scenario.name}: userfaultfd answers ${fd}`);
      this.#uffd = uffdOf(task, fd)!;
      uffdioApi(this.kernel, this.#uffd, UFFD_API, 0);
    }
    return this.#uffd;
  }

  inode(name: string): Inode {
    return this.#file(name).inode;
  }

  /** Descriptor of the file in the task, opened for reading and writing at first use. */
  fd(task: Task, name: string): number {
    const { inode, fd } = this.#file(name);
    let n = fd.get(task);
    if (n === undefined) {
      n = openFile(this.kernel, task, inode, true, true);
      fd.set(task, n);
    }
    return n;
  }

  #file(name: string): { readonly inode: Inode; readonly fd: Map<Task, number> } {
    let file = this.#files.get(name);
    if (file === undefined) {
      const memory = this.scenario.memfds?.[name];
      const pages = memory ?? this.scenario.files?.[name] ?? 4;
      const path = memory === undefined ? `/${name}` : `/memfd:${name}`;
      const inode = this.kernel.newInode(memory === undefined ? 'regular' : 'shmem', path, pages * 4096);
      inode.users++;
      file = { inode, fd: new Map() };
      this.#files.set(name, file);
    }
    return file;
  }
}
