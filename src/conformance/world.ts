// The machine on which a script is run again: kernel, processes by their names in the script, files by path, notifiers by number.

import type { ThpEnabled } from '../mm/huge/state.ts';
import { newHugetlbfsInode } from '../mm/hugetlb/file.ts';
import type { Kernel } from '../mm/kernel.ts';
import { pteFrame } from '../mm/page/swapops.ts';
import type { ProgramLayout } from '../mm/process/layout.ts';
import { profile } from '../mm/profile.ts';
import type { MemCgroup } from '../mm/reclaim/mem-cgroup.ts';
import { newMemCgroup } from '../mm/reclaim/memcg.ts';
import { setLruGen } from '../mm/reclaim/mglru.ts';
import { SyscallArgs } from '../mm/syscalls/args.ts';
import { syscall } from '../mm/syscalls/table.ts';
import type { FileKind, Inode, MmStruct, Task } from '../mm/types.ts';
import type { Linux61 } from '../notifier/linux-6.1.ts';
import type { KernelPath } from '../sched/path.ts';
import { type Scheduler, WaitQueue } from '../sched/scheduler.ts';
import { createMachine, type Machine } from '../system/machine.ts';
import { Capture } from './capture.ts';
import { type NotifierMode, RecordingInterval, RecordingNotifier } from './notifiers.ts';

/** Name of the process that makes the calls which the controller of a script makes. */
export const CONTROLLER = 'ctl';

/** A process or thread of a script. */
export interface Process {
  readonly name: string;
  readonly task: Task;
  /** Number of execs: the name of its address space gets as many primes. */
  execs: number;
  /** Real programs: the address space was replaced already when the exec is announced. */
  isExecDone: boolean;
}

/** Processors that fit the mask of an address space. */
const CPUS_MAX = 30;
/** Frames of the simulated memory. */
const FRAMES = 65536;
/** Pages of the recorded machine: two nodes of 1.5 GiB. */
const RAM_PAGES = 786432;

/** A place where notifiers sleep until they are woken. */
export class Gate {
  isOn = false;
  readonly #queue = new WaitQueue();

  *pass(sched: Scheduler): KernelPath<void> {
    yield* sched.waitUntil(() => !this.isOn, this.#queue, 'the recorder');
  }

  wake(sched: Scheduler): void {
    this.isOn = false;
    this.#queue.wakeAll(sched);
  }
}

export class World {
  readonly machine: Machine;
  readonly kernel: Kernel;
  /** Name of its profile: "6.1". */
  readonly version: string;
  readonly capture: Capture;
  /** The memory cgroup that the processes of a script are in. */
  readonly group: MemCgroup;
  readonly processes = new Map<string, Process>();
  /** Descriptors by the names that a script gives them. */
  readonly fds = new Map<string, number>();
  readonly notifiers = new Map<number, RecordingNotifier>();
  readonly intervals = new Map<number, RecordingInterval>();
  readonly files = new Map<string, Inode>();
  /** Programs by path: what an exec makes of an address space. */
  readonly programs = new Map<string, ProgramLayout>();
  /** Paths of the settings that were made before the start, with their values. */
  readonly settings = new Map<string, string>();
  /** Threads that loop in user mode on their CPU while others make calls. */
  readonly spinning = new Set<Process>();
  /** The next start of a section that may block sleeps in the notifier. */
  readonly sleepInStart = new Gate();
  readonly #args = new SyscallArgs();

  /** `kernel`: the release that the recording names ("6.1.0-56-amd64"), which decides on the profile. */
  constructor(cpus: number, settings: ReadonlyMap<string, string>, kernel = '6.1') {
    const version = profile(/^\d+\.\d+/.exec(kernel)?.[0] ?? kernel);
    this.version = version.name;
    for (const [path, value] of settings) this.settings.set(path, value);
    this.machine = createMachine({
      kernel: {
        profile: version,
        frames: FRAMES,
        ramPages: RAM_PAGES,
        cpus: Number.isInteger(cpus) && cpus > 0 ? Math.min(cpus, CPUS_MAX) : 1,
        numaNodes: 2,
        devicePrivatePages: 4096,
        overcommitMode: 1,
        swapPages: this.#swapPages(),
        pkeys: true,
        hugePages: this.#hugePages(),
        // brd is memory.
        swapSynchronous: true,
        thpEnabled: this.#thpEnabled(),
      },
      design: version.notifier,
    });
    this.kernel = this.machine.kernel;
    this.capture = new Capture(this.kernel);
    if (Number(this.settings.get('/sys/kernel/mm/lru_gen/enabled') ?? 0) !== 0) setLruGen(this.kernel, true);
    this.group = newMemCgroup(this.kernel);
  }

  /** Size of the swap area in pages: /dev/ram0 has 64 MiB. */
  #swapPages(): number {
    return this.settings.has('swapon /dev/ram0') ? 16384 : 0;
  }

  /** vm.nr_hugepages. */
  #hugePages(): number {
    return Number(this.settings.get('/proc/sys/vm/nr_hugepages') ?? 0);
  }

  #thpEnabled(): ThpEnabled {
    return (this.settings.get('/sys/kernel/mm/transparent_hugepage/enabled') ?? 'madvise') as ThpEnabled;
  }

  get design(): Linux61 {
    return this.kernel.design as unknown as Linux61;
  }

  run<T>(path: KernelPath<T>): T {
    return this.machine.run(path);
  }

  /** Lets kernel threads that have something to do finish it. Not after each call: target and controller run as SCHED_FIFO, so that
   *  workers get the CPU only when those wait for them. */
  settle(): void {
    const { sched } = this.kernel;
    while (sched.runnableCount > 0 && sched.step()) {
      // Each step may end a thread or put it to sleep.
    }
  }

  process(name: string): Process {
    const p = this.processes.get(name);
    if (p === undefined) throw new Error(`conformance: no process ${name}`);
    return p;
  }

  /** `isWatched`: the recorder watches its address space from now on. */
  addProcess(name: string, task: Task, isWatched = true): Process {
    const p: Process = { name, task, execs: 0, isExecDone: false };
    this.processes.set(name, p);
    if (isWatched && task.mm !== null && !this.capture.mmNames.has(task.mm.id)) this.nameMm(task.mm, name);
    return p;
  }

  nameMm(mm: MmStruct, name: string): void {
    if (name !== CONTROLLER) this.capture.mmNames.set(mm.id, name);
  }

  /** The process's address space; throws when it has none (the script calls for a process that has ended). */
  mmOf(p: Process): MmStruct {
    if (p.task.mm === null) throw new Error(`conformance: process ${p.name} has no address space`);
    return p.task.mm;
  }

  /** The CPU runs this process from now on. Another address space's translations are not kept, and it gets no more flushes. */
  switchTo(p: Process): void {
    // What is read before the start belongs to the controller.
    this.kernel.reclaim.activeGroup = this.capture.isOn ? (p.task.mm?.memcg ?? 0) : 0;
    this.kernel.sched.boot.cpu = p.task.cpu;
    for (const cpu of this.kernel.cpus) cpu.isLazy = cpu.id !== p.task.cpu;
    for (const other of this.spinning) this.kernel.cpus[other.task.cpu]!.isLazy = false;
    const cpu = this.kernel.cpus[p.task.cpu]!;
    const mm = p.task.mm;
    if (mm !== null && cpu.asid === mm.id) {
      mm.cpuMask |= 1 << cpu.id;
      return;
    }
    const old = this.kernel.mms.get(cpu.asid);
    if (old !== undefined) {
      cpu.tlb.invalidateAsid(old.id);
      cpu.walkCache.invalidateAsid(old.id);
      old.cpuMask &= ~(1 << cpu.id);
    }
    if (mm === null) return;
    cpu.load(mm.id, mm.pgd);
    mm.cpuMask |= 1 << cpu.id;
  }

  /** A system call with the given 64-bit words: numbers, or hex strings as recordings have them. */
  syscall(p: Process, nr: number, ...words: (number | string)[]): KernelPath<number> {
    const args = this.#args;
    for (let i = 0; i < 6; i++) {
      const word = words[i] ?? 0;
      if (typeof word === 'number') args.set(i, word);
      else {
        const digits = word.replace(/^0x/, '').padStart(16, '0');
        args.setWords(i, Number.parseInt(digits.slice(0, -8), 16), Number.parseInt(digits.slice(-8), 16));
      }
    }
    return syscall(this.kernel, p.task, nr, args);
  }

  /** The file of that path, made when nobody has named it before. */
  inode(path: string, kind: FileKind = 'regular', size = 0): Inode {
    const known = this.files.get(path);
    if (known !== undefined) return known;
    const inode = kind === 'hugetlbfs' ? newHugetlbfsInode(this.kernel, path) : this.kernel.newInode(kind, path, size);
    // A small ext4 (below 512 MiB) has small blocks.
    if (path.startsWith('/mnt/ext4/')) inode.blockSize = 1024;
    if (path.startsWith('/mnt/tmpfs/')) inode.mount = 'tmpfs';
    this.files.set(path, inode);
    return inode;
  }

  newNotifier(id: number, mode: NotifierMode): RecordingNotifier {
    const { archInvalidateSecondaryTlbs } = this.kernel.profile;
    return new RecordingNotifier(id, mode, this.capture, pteFrame, this.sleepInStart, archInvalidateSecondaryTlbs);
  }

  newInterval(id: number): RecordingInterval {
    return new RecordingInterval(id, this.capture, (sub, seq) => this.design.intervals.setSeq(sub, seq));
  }
}
