// @ts-check
/**
 * The simulated machine as the benchmarks use it: compiled modules (dist, or --dist DIR), one kernel that lives long, one
 * process that calls through the system-call edge. Preemption points and events are off.
 */
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { option } from './harness.mjs';

const dist = pathToFileURL(`${resolve(option('dist') ?? 'dist')}/`);

/** @param {string} path under dist @returns {Promise<any>} */
export const load = (path) => import(new URL(path, dist).href);

/**
 * @typedef {import('../src/mm/kernel.ts').Kernel} KernelType
 * @typedef {import('../src/mm/types.ts').Task} Task
 * @typedef {import('../src/mm/syscalls/args.ts').SyscallArgs} Args
 * @typedef {import('../src/mm/config.ts').KernelConfig} KernelConfig
 */

/** @type {typeof import('../src/mm/kernel.ts')} */
const { Kernel } = await load('mm/kernel.js');
/** @type {typeof import('../src/mm/config.ts')} */
const { kernelConfig } = await load('mm/config.js');
/** @type {typeof import('../src/mm/table.ts')} */
const { linuxFns } = await load('mm/table.js');
/** @type {typeof import('../src/mm/process/task.ts')} */
const { createProcess, doClone, doExit } = await load('mm/process/task.js');
/** @type {typeof import('../src/mm/syscalls/args.ts')} */
const { SyscallArgs } = await load('mm/syscalls/args.js');
/** @type {typeof import('../src/mm/syscalls/table.ts')} */
const { syscall } = await load('mm/syscalls/table.js');
/** @type {typeof import('../src/mm/cpu-access.ts')} */
const { pageFault, switchMm, tryStore } = await load('mm/cpu-access.js');
/** @type {typeof import('../src/abi/syscalls.ts')} */
const numbers = await load('abi/syscalls.js');

export const { NR_mmap, NR_munmap, NR_mprotect, NR_brk, NR_madvise, NR_mremap } = numbers;

export const PAGE = 4096;
export const PMD_SIZE = 2 << 20;
export const PROT_NONE = 0;
export const PROT_READ = 1;
export const RW = 3;
export const MAP_FIXED = 0x10;
/** MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, as hostref maps. */
export const ANON = 0x4022;
export const MADV_DONTNEED = 4;
export const MREMAP_MOVE_FIXED = 3;

const ACCESS_WRITE = 1;

export class Machine {
  /** @param {Partial<KernelConfig>} [parts] */
  constructor(parts = {}) {
    /** @type {KernelType} */
    this.k = new Kernel(kernelConfig({ frames: 65536, ...parts }), linuxFns);
    /** @type {Args} */
    this.args = new SyscallArgs();
    /** @type {Task} */
    this.task = this.k.sched.run(
      createProcess(this.k, {
        areas: [
          { start: 0x400000, end: 0x402000, perms: 'r-xp', offset: 0, path: '/bin/bench' },
          { start: 0x7ffffffde000, end: 0x7ffffffff000, perms: 'rw-p', offset: 0, path: '[stack]' },
        ],
        startBrk: 0x600000,
      }),
    );
    this.mm = /** @type {NonNullable<Task['mm']>} */ (this.task.mm);
    this.cpu = /** @type {import('../src/hw/cpu.ts').Cpu} */ (this.k.cpus[0]);
    switchMm(this.k, this.cpu, this.mm);
  }

  /**
   * A system call. A result that the host would refuse too is the caller's to judge.
   * @param {number} nr @param {number} a @param {number} b @param {number} c @param {number} d @param {number} e
   * @param {number} f
   */
  call(nr, a, b, c = 0, d = 0, e = 0, f = 0) {
    return this.k.sched.run(syscall(this.k, this.task, nr, this.args.of(a, b, c, d, e, f)));
  }

  /** The same, for calls that must succeed. @param {number} nr @param {number[]} args */
  must(nr, ...args) {
    const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = args;
    const result = this.call(nr, a, b, c, d, e, f);
    if (result < 0) throw new Error(`system call ${nr}(${args.join(', ')}) answers ${result}`);
    return result;
  }

  /** Anonymous memory, aligned, not populated. @param {number} bytes @param {number} align @param {number} prot */
  mapAligned(bytes, align, prot) {
    const room = bytes + align;
    const raw = this.must(NR_mmap, 0, room, prot, ANON, -1, 0);
    const base = Math.ceil(raw / align) * align;
    if (base > raw) this.must(NR_munmap, raw, base - raw);
    if (raw + room > base + bytes) this.must(NR_munmap, base + bytes, raw + room - (base + bytes));
    return base;
  }

  /** Stores one byte in each page, as a program does: through the TLB, with a fault where need be. */
  touch(/** @type {number} */ base, /** @type {number} */ pages) {
    const { k, mm, cpu } = this;
    for (let i = 0; i < pages; i++) {
      const va = base + i * PAGE;
      if (tryStore(cpu, va, 1)) continue;
      const failed = k.sched.run(pageFault(k, mm, va, ACCESS_WRITE));
      if (!tryStore(cpu, va, 1)) throw new Error(`store to ${va.toString(16)}: fault answers ${failed}`);
    }
  }

  /** Stores a byte. @param {number} va @param {number} byte */
  store(va, byte) {
    this.touch(va, 1);
    if (!tryStore(this.cpu, va, byte)) throw new Error(`store to ${va.toString(16)}: no translation`);
  }

  /** fork: the child's pid. */
  fork() {
    const pid = this.k.sched.run(doClone(this.k, this.task, 0));
    if (pid < 0) throw new Error(`fork answers ${pid}`);
    return pid;
  }

  /** exit of a child. @param {number} pid */
  exit(pid) {
    this.k.sched.run(doExit(this.k, /** @type {Task} */ (this.k.tasks.get(pid))));
  }
}

/** Samples for a section of that many pages, as hostref chooses. @param {number} pages */
export const repsFor = (pages) => (pages <= 64 ? 1000 : pages <= 1024 ? 200 : 30);
