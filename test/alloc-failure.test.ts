// Allocations that fail at random places: every operation then ends with ENOMEM or VM_FAULT_OOM (or goes through), no count is off,
// no lock is held, no section open, no gather pending, no half-made child left. Programs run alone with a device bound, one
// operation at a time and a recount after each; then interleaved at every point under the judge.
import { describe, expect, it } from 'vitest';
import { ENOMEM } from '../src/abi/errno.ts';
import { E_SECTION_END, E_SECTION_START } from '../src/abi/events.ts';
import {
  MADV_COLD,
  MADV_DONTNEED,
  MADV_FREE,
  MADV_PAGEOUT,
  MADV_POPULATE_WRITE,
  MADV_WILLNEED,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_POPULATE,
  MAP_PRIVATE,
  MAP_SHARED,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PROT_READ,
  PROT_WRITE,
  VM_FAULT_OOM,
  VM_FAULT_SIGBUS,
  VM_FAULT_SIGSEGV,
} from '../src/abi/mman.ts';
import { NR_madvise, NR_mlock, NR_mmap, NR_mprotect, NR_mremap, NR_msync, NR_munmap } from '../src/abi/syscalls.ts';
import { Rng } from '../src/base/rng.ts';
import { checkWorld } from '../src/mm/check-world.ts';
import { userLoad, userStore } from '../src/mm/cpu-access.ts';
import type { KernelFns } from '../src/mm/fns.ts';
import { FOLL_WRITE } from '../src/mm/gup/flags.ts';
import type { Kernel } from '../src/mm/kernel.ts';
import { PG_ANON, PG_LOCKED } from '../src/mm/page/pages.ts';
import { installFile } from '../src/mm/process/files.ts';
import { CLONE_VM, createProcess, doClone, doExec, doExit } from '../src/mm/process/task.ts';
import { SyscallArgs } from '../src/mm/syscalls/args.ts';
import { syscall } from '../src/mm/syscalls/table.ts';
import { linuxFns } from '../src/mm/table.ts';
import { type AnonVma, type Inode, type MmStruct, OpenFile, type Task } from '../src/mm/types.ts';
import type { AtomicPath, KernelPath } from '../src/sched/path.ts';
import { createMachine, type Machine } from '../src/system/machine.ts';
import { FailingChooser } from './support/failing-chooser.ts';
import { machine, SEED } from './support/judged-machine.ts';

const operations = Number(process.env['OPERATIONS'] ?? 6000);
const PAGE = 4096;
const BASE = 0x3fff0000; // tables of two 1 GiB ranges
const WINDOW = 40;
const RW = PROT_READ | PROT_WRITE;
const LAYOUT = { areas: [], startBrk: 0x600000 };

const PER_WORLD = 1500;

/** dup_mm that leaves a gather pending when the fork fails. */
function* keepsGather(k: Kernel, parent: MmStruct): KernelPath<MmStruct | null> {
  const child = yield* linuxFns.dupMm(k, parent);
  if (child === null) parent.tlbFlushPending++;
  return child;
}

/** __pte_alloc that leaves mmap_lock taken when there is no memory. */
function* forgetsToUnlock(k: Kernel, mm: MmStruct, address: number): KernelPath<number> {
  const table = yield* linuxFns.pteAlloc(k, mm, address);
  if (table === 0) mm.mmapLock.tryRead();
  return table;
}

class World {
  readonly rng: Rng;
  readonly chooser: FailingChooser;
  readonly m: Machine;
  readonly k: Kernel;
  readonly inodes: Inode[];
  readonly tasks: Task[] = [];
  readonly args = new SyscallArgs();
  fds: number[] = [];
  openSections = 0;
  noMemory = 0;

  constructor(seed: number, patches: Partial<KernelFns> = {}) {
    this.rng = new Rng(seed);
    this.chooser = new FailingChooser(new Rng(seed + 1));
    const kernel = {
      frames: 300,
      swapPages: 400,
      cpus: 2,
      injectAllocFailures: true,
      gatherBundle: 4,
      gatherBatchEntries: 6,
    };
    const device = { workload: { seed } };
    this.m = createMachine({ kernel, design: 'linux-6.1', device, chooser: this.chooser, patches });
    this.k = this.m.kernel;
    this.k.memory.log.attach({
      onRecord: (ring, at) => {
        if (ring[at] === E_SECTION_START) this.openSections++;
        if (ring[at] === E_SECTION_END) this.openSections--;
      },
    });
    this.inodes = [this.k.newInode('regular', '/f', 12 * PAGE), this.k.newInode('shmem', '/s', 12 * PAGE)];
    const task = this.run(createProcess(this.k, LAYOUT));
    this.fds = this.inodes.map((inode) => {
      inode.users++;
      return installFile(this.k, task, new OpenFile(inode, true, true));
    });
    this.tasks.push(task);
    expect(this.run(this.m.device!.bind(task.mm!))).toBe(0);
  }

  run<T>(path: KernelPath<T> | AtomicPath<T>): T {
    return this.m.run(path);
  }

  /** A system call: a result >= 0, -ENOMEM, or one of `also` negated. */
  call(task: Task, nr: number, a: readonly number[], also: readonly number[] = []): number {
    const r = this.run(syscall(this.k, task, nr, this.args.of(a[0], a[1], a[2], a[3], a[4], a[5])));
    this.expectResult(r, also);
    return r;
  }

  expectResult(r: number, also: readonly number[] = []): void {
    if (r < 0) expect([ENOMEM, ...also], `result ${r}`).toContain(-r);
    if (r === -ENOMEM) this.noMemory++;
  }

  place(): [number, number] {
    const from = this.rng.below(WINDOW);
    return [BASE + from * PAGE, Math.min(WINDOW - from, 1 + this.rng.below(10)) * PAGE];
  }

  step(): string {
    const { rng, k } = this;
    const task = this.tasks[rng.below(this.tasks.length)]!;
    const [va, len] = this.place();
    // No failure, some, many, or all.
    this.chooser.percent = [0, 10, 50, 100][rng.below(4)]!;
    const what = rng.below(30);
    if (what < 4) {
      const which = rng.below(3);
      const kind = rng.chance(1, 2) ? MAP_SHARED : MAP_PRIVATE;
      const flags = MAP_FIXED | kind | (which === 2 ? MAP_ANONYMOUS : 0) | (rng.chance(1, 4) ? MAP_POPULATE : 0);
      this.call(task, NR_mmap, [va, len, RW, flags, which === 2 ? -1 : this.fds[which]!, 0]);
      return 'mmap';
    }
    if (what < 5) {
      this.call(task, NR_munmap, [va, len]);
      return 'munmap';
    }
    if (what < 7) {
      this.call(task, NR_mprotect, [va, len, rng.chance(1, 2) ? PROT_READ : RW]);
      return 'mprotect';
    }
    if (what < 9) {
      const to = BASE + rng.below(WINDOW) * PAGE;
      // EINVAL: overlap; EFAULT: a hole.
      this.call(task, NR_mremap, [va, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to], [22, 14]);
      return 'mremap';
    }
    if (what < 13) {
      const advice = [MADV_DONTNEED, MADV_FREE, MADV_COLD, MADV_PAGEOUT, MADV_WILLNEED, MADV_POPULATE_WRITE][
        rng.below(6)
      ]!;
      // EINVAL: not for this mapping; EBADF: not a file; EFAULT: populate beyond a file's end.
      this.call(task, NR_madvise, [va, len, advice], [22, 9, 14]);
      return `madvise ${advice}`;
    }
    if (what < 14) {
      this.call(task, NR_msync, [va, len, 4]);
      return 'msync';
    }
    if (what < 15) {
      // EAGAIN: could not be faulted in.
      this.call(task, NR_mlock, [va, PAGE], [11]);
      return 'mlock';
    }
    if (what < 17) return this.#fork(task);
    if (what < 18) {
      this.expectResult(this.run(doExec(k, task, LAYOUT)));
      return 'exec';
    }
    if (what < 19) return this.#exit(task);
    if (what < 22) return this.#file();
    if (what < 23) return this.#pin(task, va);
    if (what < 24 && rng.chance(1, 4)) {
      this.run(this.m.device!.unbind());
      this.expectResult(this.run(this.m.device!.bind(task.mm!)));
      return 'bind';
    }
    for (let at = va; at < va + len; at += PAGE) {
      const r = rng.chance(2, 3) ? this.run(userStore(k, task, at, 1)) : this.run(userLoad(k, task, at));
      if (r < 0) expect([VM_FAULT_OOM, VM_FAULT_SIGBUS, VM_FAULT_SIGSEGV]).toContain(-r);
      if (r === -VM_FAULT_OOM) this.noMemory++;
    }
    return 'touch';
  }

  #fork(task: Task): string {
    if (this.tasks.length >= 5) return 'fork: enough';
    const before = this.k.mms.size;
    const pid = this.run(doClone(this.k, task, this.rng.chance(1, 4) ? CLONE_VM : 0));
    this.expectResult(pid);
    if (pid > 0) this.tasks.push(this.k.tasks.get(pid)!);
    else expect(this.k.mms.size).toBe(before);
    return 'fork';
  }

  #exit(task: Task): string {
    if (this.tasks.length === 1) return 'exit: last';
    this.tasks.splice(this.tasks.indexOf(task), 1);
    expect(this.run(doExit(this.k, task))).toBe(0);
    return 'exit';
  }

  #file(): string {
    const { k, rng } = this;
    const inode = this.inodes[rng.below(2)]!;
    const roll = rng.below(5);
    const at = rng.below(12 * PAGE);
    if (roll === 0) this.expectResult(this.run(k.fn.truncate(k, inode, at)));
    else if (roll === 1) this.expectResult(this.run(k.fn.punchHole(k, inode, at, at + 2 * PAGE)));
    else if (roll === 2) this.expectResult(this.run(k.fn.fileRead(k, inode, at, 3 * PAGE, null)));
    else if (roll === 3) this.run(k.fn.tryToFreePages(k, 8));
    else this.expectResult(this.run(k.fn.fileWrite(k, inode, at, 2 * PAGE, null)));
    return 'file';
  }

  #pin(task: Task, va: number): string {
    const { k } = this;
    const out = new Int32Array(3);
    const { mmapLock } = task.mm!;
    expect(mmapLock.tryRead()).toBe(true);
    const n = this.run(k.fn.pinUserPages(k, task.mm!, va, 3, FOLL_WRITE, out));
    mmapLock.readUnlock();
    this.expectResult(n, [14]);
    for (let i = 0; i < n; i++) k.fn.unpinUserPage(k, out[i]!, true);
    return 'pin';
  }

  /** Nothing is left standing: locks, sections, gathers. */
  checkQuiet(): void {
    const { k } = this;
    // The device's page requests may be under way.
    const workers = k.sched.threads.filter((t) => t.name.startsWith('PPR worker'));
    expect(k.sched.runUntil(() => workers.every((t) => t.waitingFor === 'page request work'), 100_000)).toBe('reached');
    this.chooser.percent = 0;
    expect(this.openSections, 'open sections').toBe(0);
    for (const mm of k.mms.values()) {
      expect([mm.mmapLock.isLocked, mm.tlbFlushPending], `mm ${mm.id}: mmap_lock, gathers`).toEqual([false, 0]);
    }
    for (const inode of k.inodes.values())
      expect(inode.mapping.iMmapRwsem.isLocked, `i_mmap of ${inode.id}`).toBe(false);
    for (let pfn = 1; pfn < k.pages.count; pfn++) {
      const flags = k.pages.flags[pfn]!;
      if (k.ptl.isLocked(pfn) || (flags & PG_LOCKED) !== 0) throw new Error(`frame ${pfn} is locked, flags ${flags}`);
      if ((flags & PG_ANON) !== 0 && (k.pages.mapping[pfn] as AnonVma).root.lock.isLocked)
        throw new Error(`the anon_vma of frame ${pfn} is locked`);
    }
  }
}

/** Plays operations with a recount; throws at the first thing that is wrong. */
function play(w: World, count: number, label: string): void {
  for (let i = 0; i < count; i++) {
    let what = '';
    try {
      what = w.step();
      w.checkQuiet();
      if (i % 4 === 0) checkWorld(w.k);
    } catch (error) {
      throw new Error(`${label} operation ${i} ${what}: ${(error as Error).message}`, { cause: error });
    }
  }
}

describe(`failing allocations (SEED=${SEED}, OPERATIONS=${operations})`, () => {
  it('one operation at a time: every count right, nothing left locked, open or pending', () => {
    let noMemory = 0;
    let failures = 0;
    for (let world = 0; world * PER_WORLD < operations; world++) {
      const w = new World(SEED * 1000 + world);
      play(w, Math.min(PER_WORLD, operations - world * PER_WORLD), `SEED=${SEED} world ${world}`);
      for (const task of w.tasks) w.run(doExit(w.k, task));
      w.run(w.m.device!.unbind());
      for (const inode of w.inodes) w.run(w.k.fn.evictInode(w.k, inode));
      checkWorld(w.k);
      expect([w.k.mms.size, w.k.swap.used, w.k.committed]).toEqual([0, 0, 0]);
      noMemory += w.noMemory;
      failures += w.chooser.failures;
    }
    expect(noMemory).toBeGreaterThan(operations / 20);
    expect(failures).toBeGreaterThan(operations / 4);
  });

  it('a failure that leaves a gather or a lock behind is found', () => {
    const sabotage: Partial<KernelFns>[] = [{ dupMm: keepsGather }, { pteAlloc: forgetsToUnlock }];
    for (const patch of sabotage) expect(() => play(new World(SEED, patch), PER_WORLD, 'sabotage')).toThrow('sabotage');
  });

  it('interleaved at every point: nothing but documented gaps, every count right afterwards', () => {
    let failures = 0;
    let ended = 0;
    for (let i = 0; i < 4; i++) {
      const seed = SEED * 100 + i;
      const chooser = new FailingChooser(new Rng(seed));
      const r = machine({
        seed,
        chooser,
        kernel: { injectAllocFailures: true },
        mutate: () => {
          chooser.percent = 30;
        },
        atEnd: (k) => {
          ended++;
          checkWorld(k);
          expect([k.mms.size, k.swap.used, k.committed]).toEqual([0, 0, 0]);
        },
      });
      expect(r.violations.filter((v) => v.gap === null && v.property !== 'L1')).toEqual([]);
      expect([r.unannouncedStores, r.malformed, r.uncovered]).toEqual([0, 0, 0]);
      failures += chooser.failures;
    }
    expect(ended).toBe(4);
    expect(failures).toBeGreaterThan(100);
  });
});
