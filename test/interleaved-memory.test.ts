// Threads that fault, fork, write, cut and swap at the same time, with every preemption point on and a seeded scheduler: private
// memory keeps its bytes, nothing deadlocks, and afterwards all counts, trees and frames are as they should be.
import { describe, expect, it } from 'vitest';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
  VM_FAULT_OOM,
} from '../src/abi/mman.ts';
import { NR_mmap, NR_mprotect, NR_munmap } from '../src/abi/syscalls.ts';
import { Rng } from '../src/base/rng.ts';
import { kernelConfig } from '../src/mm/config.ts';
import { userLoad, userStore } from '../src/mm/cpu-access.ts';
import { FOLL_LONGTERM, FOLL_WRITE } from '../src/mm/gup/flags.ts';
import { Kernel } from '../src/mm/kernel.ts';
import { installFile } from '../src/mm/process/files.ts';
import { CLONE_FILES, CLONE_VM, createProcess, doClone, doExit } from '../src/mm/process/task.ts';
import { checkIntervals, checkRmap } from '../src/mm/rmap/check.ts';
import { SyscallArgs } from '../src/mm/syscalls/args.ts';
import { syscall } from '../src/mm/syscalls/table.ts';
import { linuxFns } from '../src/mm/table.ts';
import { type Inode, OpenFile, type Task } from '../src/mm/types.ts';
import type { KernelPath } from '../src/sched/path.ts';
import { P_RECLAIM } from '../src/sched/points.ts';
import { RandomChooser } from '../src/sched/scheduler.ts';

const seed = Number(process.env['SEED'] ?? 1);
const rounds = Number(process.env['ROUNDS'] ?? 40);
const worlds = Number(process.env['WORLDS'] ?? 24);
const PAGE = 4096;
const BASE = 0x10000000 + 0x200000 - 3 * PAGE;
const RW = PROT_READ | PROT_WRITE;

class Machine {
  readonly k: Kernel;
  readonly rng: Rng;
  readonly inode: Inode;
  readonly shm: Inode;
  fd = 0;
  shmFd = 0;
  running = 0;

  constructor(worldSeed: number, frames: number) {
    this.rng = new Rng(worldSeed);
    this.k = new Kernel(kernelConfig({ frames, swapPages: 256, cpus: 3 }), linuxFns, new RandomChooser(this.rng));
    this.inode = this.k.newInode('regular', '/f', 8 * PAGE);
    this.shm = this.k.newInode('shmem', '/s', 8 * PAGE);
  }

  process(): Task {
    const task = this.k.sched.run(createProcess(this.k, { areas: [], startBrk: 0x600000 }));
    for (const inode of [this.inode, this.shm]) inode.users++;
    this.fd = installFile(this.k, task, new OpenFile(this.inode, true, true));
    this.shmFd = installFile(this.k, task, new OpenFile(this.shm, true, true));
    return task;
  }

  spawn(name: string, path: KernelPath<unknown>): void {
    this.running++;
    this.k.sched.spawn(name, 'cpu', this.#counted(path));
  }

  *#counted(path: KernelPath<unknown>): KernelPath<void> {
    yield* path;
    this.running--;
  }

  *call(task: Task, nr: number, ...a: number[]): KernelPath<number> {
    return yield* syscall(this.k, task, nr, new SyscallArgs().of(a[0], a[1], a[2], a[3], a[4], a[5]));
  }

  /** A program in its own 8 pages from `base`: what it stored in private memory it must load again. */
  *program(task: Task, base: number, depth: number): KernelPath<void> {
    const { k, rng } = this;
    const bytes = new Map<number, number>();
    const map = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;
    expect(yield* this.call(task, NR_mmap, base, 8 * PAGE, RW, map, -1, 0)).toBe(base);
    const own = base + 0x1000000;
    for (let round = 0; round < rounds; round++) {
      const va = base + rng.below(8) * PAGE + rng.below(4);
      const roll = rng.below(20);
      if (roll < 7) {
        const value = rng.below(256);
        const r = yield* userStore(k, task, va, value);
        if (r === 0) bytes.set(va, value);
        else expect(r).toBe(-VM_FAULT_OOM);
      } else if (roll < 13) {
        const r = yield* userLoad(k, task, va);
        if (r !== -VM_FAULT_OOM) expect(r).toBe(bytes.get(va) ?? 0);
      } else if (roll < 15) {
        yield* this.useFiles(task, own);
      } else if (roll === 15) {
        const page = va - (va % PAGE);
        expect(yield* this.call(task, NR_munmap, page, PAGE)).toBe(0);
        expect(yield* this.call(task, NR_mmap, page, PAGE, RW, map, -1, 0)).toBe(page);
        for (let i = 0; i < 4; i++) bytes.delete(page + i);
      } else if (roll === 16) {
        const page = va - (va % PAGE);
        expect(yield* this.call(task, NR_mprotect, page, PAGE, PROT_READ)).toBe(0);
        expect(yield* this.call(task, NR_mprotect, page, PAGE, RW)).toBe(0);
      } else if (roll === 17) {
        yield* this.pinAndCheck(task, va - (va % PAGE));
      } else if (depth < 1) {
        const pid = yield* doClone(k, task, 0);
        if (pid > 0) {
          const child = k.tasks.get(pid)!;
          child.cpu = rng.below(3);
          this.spawn(`child ${pid}`, this.child(child, base, new Map(bytes)));
        }
      }
    }
    for (const [va, value] of bytes) {
      const r = yield* userLoad(k, task, va);
      if (r !== -VM_FAULT_OOM) expect(r).toBe(value);
    }
    yield* doExit(k, task);
  }

  /** The child sees the memory as it was at fork, whatever the parent writes now, and writes its own. */
  *child(task: Task, base: number, bytes: Map<number, number>): KernelPath<void> {
    const { k } = this;
    for (const [va, value] of bytes) {
      const r = yield* userLoad(k, task, va);
      if (r !== -VM_FAULT_OOM) expect(r).toBe(value);
      yield* userStore(k, task, va, value ^ 0xff);
    }
    yield* this.program(task, base + 0x4000000, 1);
  }

  /** Shared mappings of both files; their ends move, so that SIGBUS is an answer too. */
  *useFiles(task: Task, at: number): KernelPath<void> {
    const fd = this.rng.chance(1, 2) ? this.fd : this.shmFd;
    const flags = MAP_FIXED | (this.rng.chance(2, 3) ? MAP_SHARED : MAP_PRIVATE);
    expect(yield* this.call(task, NR_mmap, at, 8 * PAGE, RW, flags, fd, 0)).toBe(at);
    for (let i = 0; i < 4; i++) {
      const va = at + this.rng.below(8) * PAGE;
      if (this.rng.chance(1, 2)) yield* userStore(this.k, task, va, 7);
      else yield* userLoad(this.k, task, va);
    }
    if (this.rng.chance(1, 2)) yield* this.call(task, NR_munmap, at, 8 * PAGE);
  }

  /** A pinned page stays the one that the program writes. */
  *pinAndCheck(task: Task, page: number): KernelPath<void> {
    const { k } = this;
    const mm = task.mm!;
    const out = new Int32Array(1);
    yield* mm.mmapLock.readLock();
    const got = yield* k.fn.pinUserPages(k, mm, page, 1, FOLL_WRITE | FOLL_LONGTERM, out);
    mm.mmapLock.readUnlock();
    if (got !== 1) return;
    const value = this.rng.below(256);
    // Behind the bytes that the program itself keeps account of.
    if ((yield* userStore(k, task, page + 100, value)) === 0) expect(k.memory.bytes[out[0]! * PAGE + 100]).toBe(value);
    k.fn.unpinUserPage(k, out[0]!, true);
  }

  *fileWork(): KernelPath<void> {
    const { k, rng } = this;
    for (let i = 0; i < rounds; i++) {
      const inode = rng.chance(1, 2) ? this.inode : this.shm;
      const roll = rng.below(4);
      if (roll === 0) yield* k.fn.truncate(k, inode, rng.below(8 * PAGE));
      else if (roll === 1) yield* k.fn.fileWrite(k, inode, rng.below(7 * PAGE), PAGE, new Uint8Array(PAGE).fill(i));
      else if (roll === 2) yield* k.fn.filemapWriteAndWaitRange(k, inode.mapping, 0, 8 * PAGE);
      else yield* k.fn.punchHole(k, inode, rng.below(4 * PAGE), (4 + rng.below(4)) * PAGE);
    }
  }

  *reclaimer(): KernelPath<void> {
    while (this.running > 1) {
      yield P_RECLAIM;
      yield* this.k.fn.tryToFreePages(this.k, 1 + this.rng.below(4));
    }
  }
}

describe(`threads interleaved at every point (SEED=${seed})`, () => {
  it('private memory keeps its bytes, nothing deadlocks, every count agrees afterwards', () => {
    for (let world = 0; world < worlds; world++) {
      const m = new Machine(seed * 1000 + world, world % 2 === 0 ? 160 : 110);
      const { k } = m;
      const first = m.process();
      const second = m.process();
      second.cpu = 1;
      const twinPid = k.sched.run(doClone(k, first, CLONE_VM | CLONE_FILES));
      const twin = k.tasks.get(twinPid)!;
      twin.cpu = 2;
      k.sched.points = true;
      m.spawn('first', m.program(first, BASE, 0));
      m.spawn('second', m.program(second, BASE, 0));
      m.spawn('thread of first', m.program(twin, BASE + 8 * PAGE, 0));
      m.spawn('files', m.fileWork());
      m.spawn('reclaim', m.reclaimer());
      const end = k.sched.runUntil(() => m.running === 0, 300_000);
      const waiting = k.sched.threads.filter((t) => t.waitingFor !== '').map((t) => `${t.name}: ${t.waitingFor}`);
      expect(`${end} ${waiting}`, `SEED=${seed} world ${world}`).toBe('reached ');
      k.sched.points = false;
      checkRmap(k);
      checkIntervals(k);
      expect(k.mms.size).toBe(0);
      for (const inode of [m.inode, m.shm]) k.sched.run(k.fn.evictInode(k, inode));
      expect([k.pages.free, k.swap.used]).toEqual([k.pages.count - k.pages.firstUsable, 0]);
    }
  }, 60000);
});
