// Every reader finds what was last written: programs through their CPU's TLB, a device through its own and the IOMMU's, interleaved
// at every point by a seeded scheduler, while memory is short and pages are copied, forked, swapped, moved, discarded, written back
// and cut off their files. Each access of a CPU or of the device compares the whole frame that it reached with the twin
// (support/data-twin.ts) in the step in which it happens. After every few operations everybody stops and all counts are recounted.
//
// OPERATIONS=100000 is the full size. A failure names SEED and world; the same two give the same run.
import { describe, expect, it } from 'vitest';
import { ENOMEM } from '../src/abi/errno.ts';
import { E_CPU_ACCESS, E_DEV_ACCESS, EV_A, EV_B, EV_GEN, EV_MM, EV_PFN, EV_START, EV_TYPE } from '../src/abi/events.ts';
import {
  MADV_COLD,
  MADV_DONTFORK,
  MADV_DONTNEED,
  MADV_FREE,
  MADV_PAGEOUT,
  MADV_WIPEONFORK,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
  VM_FAULT_OOM,
} from '../src/abi/mman.ts';
import { NR_madvise, NR_mmap, NR_mprotect, NR_mremap, NR_msync, NR_munmap } from '../src/abi/syscalls.ts';
import { Rng } from '../src/base/rng.ts';
import { GpuSvmDevice } from '../src/device/gpu-svm/gpu-svm.ts';
import { checkWorld } from '../src/mm/check-world.ts';
import { userLoad, userStore } from '../src/mm/cpu-access.ts';
import type { KernelFns } from '../src/mm/fns.ts';
import type { Kernel } from '../src/mm/kernel.ts';
import { PG_DIRTY } from '../src/mm/page/pages.ts';
import { installFile } from '../src/mm/process/files.ts';
import { CLONE_FILES, CLONE_VM, createProcess, doClone, doExec, doExit } from '../src/mm/process/task.ts';
import { SyscallArgs } from '../src/mm/syscalls/args.ts';
import { runTaskWork } from '../src/mm/syscalls/edge.ts';
import { syscall } from '../src/mm/syscalls/table.ts';
import { type Inode, type MmStruct, OpenFile, type Task } from '../src/mm/types.ts';
import type { AtomicPath, KernelPath } from '../src/sched/path.ts';
import { DONE, WaitQueue } from '../src/sched/scheduler.ts';
import { createMachine, type Machine } from '../src/system/machine.ts';
import { FileTwin, MmTwin, PAGE, PageBytes, PageTwin, slotOffset } from './support/data-twin.ts';

const seed = Number(process.env['SEED'] ?? 1);
const operations = Number(process.env['OPERATIONS'] ?? 40000);
const PER_WORLD = 2000;
const CHECK_EVERY = 200;
const BASE = 0x10000000 + 0x200000 - 10 * PAGE;
/** Pages of a thread's own window; the windows of an address space lie side by side. */
const WINDOW = 16;
const TASKS_MAX = 5;
const RW = PROT_READ | PROT_WRITE;
const LAYOUT = { areas: [], startBrk: 0x600000 };
const FILE_PAGES = 12;

interface Life {
  readonly task: Task;
  /** Thread slot: its words and its window. */
  readonly slot: number;
  twin: MmTwin;
}

class World {
  readonly rng: Rng;
  readonly m: Machine;
  readonly k: Kernel;
  readonly mms = new Map<number, MmTwin>();
  readonly files: { readonly twin: FileTwin; readonly inode: Inode; fd: number }[] = [];
  readonly lives = new Set<Life>();
  readonly gate = new WaitQueue();
  isPaused = false;
  waiting = 0;
  threads = 0;
  done = 0;
  compared = 0;
  comparedByDevice = 0;
  deviceStores = 0;
  isOver = false;
  #nextValue = 1;

  constructor(worldSeed: number, design: string, patches: Partial<KernelFns> = {}, name = '') {
    this.rng = new Rng(worldSeed);
    const sizes = { frames: 110, swapPages: 2000, cpus: 3, strideOn: 3 };
    const kernel = { ...sizes, gatherBundle: 3, gatherBatchEntries: 4 };
    const budget = { engines: 3, refaultBudget: 1_000_000 };
    const gpuSvm = { ...budget, memoryPages: 24 };
    const device = { device: name, ats: { ...budget, atcSets: 4 }, gpuSvm };
    this.m = createMachine({ kernel, design, device, seed: worldSeed, patches });
    this.k = this.m.kernel;
    // Engines of the test's own, which choose their targets from the twin.
    this.m.device!.workload.isStopped = true;
    for (const kind of ['regular', 'shmem'] as const) {
      const inode = this.k.newInode(kind, `/${kind}`, 8 * PAGE);
      this.files.push({ twin: new FileTwin(kind === 'regular' ? inode : null, FILE_PAGES, 8), inode, fd: -1 });
    }
    this.k.memory.log.attach({ onRecord: (ring, at) => this.#see(ring, at) });
  }

  #see(ring: Float64Array, at: number): void {
    const type = ring[at + EV_TYPE]!;
    if (type !== E_CPU_ACCESS && type !== E_DEV_ACCESS) return;
    const va = ring[at + EV_START]!;
    const pfn = ring[at + EV_PFN]!;
    const page = va - (va % PAGE);
    const who = type === E_CPU_ACCESS ? 'a CPU' : 'the device';
    const place = `${who} at ${va.toString(16)} of mm ${ring[at + EV_MM]} in frame ${pfn}`;
    if (ring[at + EV_GEN] !== ring[at + EV_A]) throw new Error(`${place}: the frame was freed since`);
    const twin = this.mms.get(ring[at + EV_MM]!);
    const target = twin?.pages.get(page);
    if (twin === undefined || target === undefined) throw new Error(`${place}: nothing is mapped there`);
    if (type === E_DEV_ACCESS && ring[at + EV_B] === 1) {
      this.deviceStores++;
      const slot = 8 + (va - page - (PAGE - 64)) / 8;
      twin.store(va, slot, this.k.memory.doubles[(pfn * PAGE + va - page) >>> 3]!);
    }
    if (!target.isKnown || target.bytes === null) return;
    this.compared++;
    if (type === E_DEV_ACCESS) this.comparedByDevice++;
    const wrong = target.bytes.compare(this.k, pfn);
    if (wrong !== '') throw new Error(`${place}: ${wrong}`);
  }

  va(slot: number, page: number): number {
    return BASE + (slot * WINDOW + page) * PAGE;
  }

  call(task: Task, nr: number, ...a: number[]): KernelPath<number> {
    return syscall(this.k, task, nr, new SyscallArgs().of(a[0], a[1], a[2], a[3], a[4], a[5]));
  }

  spawn(life: Life): void {
    this.lives.add(life);
    this.threads++;
    this.k.sched.spawn(`program ${life.task.pid}`, 'cpu', this.#live(life));
  }

  /** Waits while the world is recounted. */
  *pause(): KernelPath<void> {
    while (this.isPaused) {
      this.waiting++;
      yield* this.k.sched.waitUntil(() => !this.isPaused, this.gate, 'recount');
      this.waiting--;
    }
  }

  *#live(life: Life): KernelPath<void> {
    const { rng } = this;
    let isAlive = true;
    while (isAlive && !this.isOver) {
      yield* this.pause();
      if (this.isOver) break;
      this.done++;
      if (rng.chance(1, 8)) life.task.cpu = rng.below(3);
      const roll = rng.below(1000);
      if (roll < 600) yield* this.#access(life);
      else if (roll < 660) yield* this.#map(life);
      else if (roll < 690) yield* this.#unmap(life);
      else if (roll < 740) yield* this.#protect(life);
      else if (roll < 780) yield* this.#move(life);
      else if (roll < 880) yield* this.#advise(life);
      else if (roll < 960) yield* this.#fileWork(life);
      else if (roll < 985) yield* this.#fork(life);
      else if (roll < 990 && this.lives.size > 1) yield* this.#exec(life);
      else if (roll < 997 && this.lives.size > 2) isAlive = false;
    }
    yield* this.#exit(life);
    this.threads--;
  }

  #range(life: Life): number[] {
    const from = this.rng.below(WINDOW);
    const count = Math.min(WINDOW - from, 1 + this.rng.below(6));
    return Array.from({ length: count }, (_, i) => this.va(life.slot, from + i));
  }

  /** A few loads and stores, one in four in the window of another thread. */
  *#access(life: Life): KernelPath<void> {
    const { rng, k } = this;
    for (let i = 0; i < 4; i++) {
      const slot = rng.chance(1, 4) ? rng.below(3) : life.slot;
      const va = this.va(slot, rng.below(WINDOW)) + slotOffset(life.slot);
      if (rng.chance(1, 2)) yield* this.#store(life, va, slot === life.slot);
      else {
        const r = yield* userLoad(k, life.task, va, 4);
        if (r < 0 && r !== -VM_FAULT_OOM) this.expectFailure(life, va, slot === life.slot, false);
      }
    }
  }

  /** Only the owner of a window knows for sure that an access must succeed. */
  expectFailure(life: Life, va: number, isOwner: boolean, isWrite: boolean): void {
    const page = life.twin.pages.get(va - (va % PAGE));
    if (!isOwner || page === undefined || !page.isKnown || (isWrite ? !page.isWritable : !page.isReadable)) return;
    if (page.file !== null && page.own === null) return; // the end of the file moves
    throw new Error(`${isWrite ? 'store' : 'load'} at ${va.toString(16)} of mm ${life.task.mm!.id} failed`);
  }

  *#store(life: Life, va: number, isOwner: boolean): KernelPath<void> {
    const { twin } = life;
    const page = twin.pages.get(va - (va % PAGE));
    const value = this.#nextValue++;
    // What is not known may be a file's page, of which others must know.
    if (page?.isUnknown) return;
    if (page !== undefined && page.file !== null && !page.isShared && page.own === null) {
      if (isOwner) yield* this.#copyingStore(life, va, page, value);
      return;
    }
    twin.beginStore(va - (va % PAGE));
    const r = yield* userStore(this.k, life.task, va, value, 4);
    twin.endStore(va - (va % PAGE));
    if (r === 0) twin.store(va, life.slot, value);
    else if (r !== -VM_FAULT_OOM) this.expectFailure(life, va, isOwner, true);
  }

  /** The first store to a private page of a file: it takes over what the file holds at some moment in between. */
  *#copyingStore(life: Life, va: number, page: PageTwin, value: number): KernelPath<void> {
    const at = va - (va % PAGE);
    const file = page.file!;
    const copy = file.pages[page.index]!.copy();
    const source = file.pages[page.index]!;
    const note = (bytes: PageBytes, slot: number, stored: number): void => {
      if (bytes === source) copy.mayBe(slot, stored);
    };
    const { cuts } = file;
    life.twin.begin(at);
    file.copying.add(note);
    const r = yield* userStore(this.k, life.task, va, value, 4);
    file.copying.delete(note);
    if (r === 0) {
      copy.store(life.slot, value);
      page.own = copy;
      if (file.cuts !== cuts || file.cutting > 0) page.isUnknown = true;
    }
    life.twin.end(at, page);
  }

  *#map(life: Life): KernelPath<void> {
    const { rng } = this;
    const range = this.#range(life);
    const isShared = rng.chance(1, 2);
    const which = rng.below(4);
    const file = which < 2 ? this.files[which]! : null;
    const first = file === null ? 0 : rng.below(FILE_PAGES - range.length);
    const shared = file?.twin ?? (isShared ? new FileTwin(null, range.length, range.length) : null);
    const pages = range.map(
      (_, i) => new PageTwin(shared === null ? new PageBytes() : null, shared, first + i, isShared),
    );
    const before = range.map((va, i) => {
      const page = life.twin.begin(va);
      page.next = pages[i]!.bytes;
      return page;
    });
    const flags = MAP_FIXED | (isShared ? MAP_SHARED : MAP_PRIVATE) | (file === null ? MAP_ANONYMOUS : 0);
    const fd = file === null ? -1 : file.fd;
    const r = yield* this.call(life.task, NR_mmap, range[0]!, range.length * PAGE, RW, flags, fd, first * PAGE);
    if (r < 0) expect(r).toBe(-ENOMEM);
    range.forEach((va, i) => {
      life.twin.end(va, r < 0 ? this.#leftAt(life, va, before[i]!) : pages[i]!);
    });
  }

  /** What an operation that failed has left there: the page, or nothing. */
  #leftAt(life: Life, va: number, page: PageTwin): PageTwin | null {
    return life.task.mm!.vmas.findExact(va) === null ? null : page;
  }

  *#unmap(life: Life): KernelPath<void> {
    const range = this.#range(life);
    for (const va of range) life.twin.begin(va);
    expect(yield* this.call(life.task, NR_munmap, range[0]!, range.length * PAGE)).toBe(0);
    for (const va of range) life.twin.end(va, null);
  }

  /** Contents stay as they are: they are compared all the time. */
  *#protect(life: Life): KernelPath<void> {
    const range = this.#range(life);
    const prot = [PROT_NONE, PROT_READ, RW, RW][this.rng.below(4)]!;
    const pages = range.map((va) => life.twin.pages.get(va));
    for (const page of pages) if (page) page.isReadable = page.isWritable = false;
    const r = yield* this.call(life.task, NR_mprotect, range[0]!, range.length * PAGE, prot);
    for (const page of pages) {
      if (!page) break; // a hole ends it
      if (r === 0 || r === -ENOMEM) {
        page.isReadable = prot !== PROT_NONE && r === 0;
        page.isWritable = (prot & PROT_WRITE) !== 0 && r === 0;
      }
    }
  }

  *#move(life: Life): KernelPath<void> {
    const from = this.#range(life);
    const to = this.va(life.slot, this.rng.below(WINDOW - from.length + 1));
    const length = from.length * PAGE;
    if (to < from[0]! + length && from[0]! < to + length) return;
    const moved = from.map((va) => life.twin.begin(va));
    const target = from.map((_, i) => {
      const page = life.twin.begin(to + i * PAGE);
      page.next = moved[i]!.bytes;
      return page;
    });
    const flags = MREMAP_MAYMOVE | MREMAP_FIXED;
    const r = yield* this.call(life.task, NR_mremap, from[0]!, length, length, flags, to);
    from.forEach((va, i) => {
      const page = moved[i]!;
      life.twin.end(va, r === to ? null : this.#leftAt(life, va, page));
      // A move that failed may have unmapped the target.
      life.twin.end(to + i * PAGE, r === to ? page : this.#leftAt(life, to + i * PAGE, target[i]!));
    });
  }

  *#advise(life: Life): KernelPath<void> {
    const { rng, k } = this;
    const range = this.#range(life);
    const length = range.length * PAGE;
    const roll = rng.below(10);
    if (roll < 5) {
      yield* this.call(life.task, NR_madvise, range[0]!, length, rng.chance(3, 4) ? MADV_PAGEOUT : MADV_COLD);
    } else if (roll < 7) {
      const pages = range.map((va) => life.twin.begin(va));
      for (const page of pages) if (page.own !== null) page.next = new PageBytes();
      yield* this.call(life.task, NR_madvise, range[0]!, length, MADV_DONTNEED);
      pages.forEach((page, i) => {
        const fresh = page.next;
        if (page.own !== null) page.own = page.file === null ? fresh : null;
        life.twin.end(range[i]!, this.#leftAt(life, range[i]!, page));
      });
    } else if (roll < 8) {
      yield* k.fn.tryToFreePages(k, 4);
    } else {
      const va = range[0]!;
      const page = life.twin.pages.get(va);
      if (page === undefined || page.own === null || page.file !== null) return;
      life.twin.begin(va);
      const advice = roll === 8 ? MADV_FREE : rng.chance(1, 2) ? MADV_WIPEONFORK : MADV_DONTFORK;
      const r = yield* this.call(life.task, NR_madvise, va, PAGE, advice);
      if (r === 0 && advice === MADV_FREE) page.own.isLazy = true;
      if (r === 0 && advice === MADV_WIPEONFORK) page.isWiped = true;
      if (r === 0 && advice === MADV_DONTFORK) page.isLeftOut = true;
      life.twin.end(va, page);
    }
  }

  *#fileWork(life: Life): KernelPath<void> {
    const { rng, k } = this;
    const roll = rng.below(10);
    const { twin, inode } = this.files[rng.below(2)]!;
    if (roll < 3) {
      const range = this.#range(life);
      yield* this.call(life.task, NR_msync, range[0]!, range.length * PAGE, 4);
    } else if (roll < 5) {
      yield* k.fn.filemapWriteAndWaitRange(k, inode.mapping, 0, inode.size);
    } else if (roll < 8) {
      const index = rng.below(twin.sizePages + 1);
      if (twin.cutting > 0 || index >= twin.sizePages) return;
      twin.writers++;
      const value = this.#nextValue++;
      const bytes = new Uint8Array(new Int32Array([value]).buffer);
      const r = yield* k.fn.fileWrite(k, inode, index * PAGE + slotOffset(life.slot), 4, bytes);
      twin.writers--;
      if (r !== 4) return expect(r).toBe(-ENOMEM) as void;
      for (const note of twin.copying) note(twin.pages[index]!, life.slot, value);
      twin.pages[index]!.store(life.slot, value);
    } else if (twin.cutting === 0 && twin.writers === 0) {
      const isHole = roll === 8;
      const first = rng.below(FILE_PAGES);
      const end = isHole ? Math.min(twin.sizePages, first + 1 + rng.below(4)) : FILE_PAGES;
      yield* this.#cut(
        twin,
        first,
        Math.max(first, end),
        isHole ? k.fn.punchHole(k, inode, first * PAGE, end * PAGE) : k.fn.truncate(k, inode, first * PAGE),
      );
      if (!isHole) twin.sizePages = first;
    }
  }

  /** Pages [first, end) of the file become zeros; with truncation private copies go too. */
  *#cut(file: FileTwin, first: number, end: number, path: KernelPath<number>): KernelPath<void> {
    if (end <= first) return;
    file.cutting++;
    file.cuts++;
    expect(yield* path).toBe(0);
    file.cutting--;
    file.cuts++;
    for (let i = first; i < end; i++) file.pages[i]!.zero();
    for (const { bytes, slot, value } of file.cutStores.splice(0)) bytes.mayBe(slot, value);
    for (const twin of this.mms.values()) {
      for (const [va, page] of twin.pages) {
        if (page.file !== file || page.isShared) continue;
        if (end === FILE_PAGES && page.index >= first) page.own = null;
        twin.disturb(va, page);
      }
    }
  }

  *#fork(life: Life): KernelPath<void> {
    if (this.lives.size >= TASKS_MAX) return;
    const isThread = this.rng.chance(1, 3);
    const slots = new Set([...this.lives].filter((l) => !isThread || l.twin === life.twin).map((l) => l.slot));
    const slot = isThread ? [0, 1, 2].find((s) => !slots.has(s)) : life.slot;
    if (slot === undefined) return;
    const window = isThread ? null : life.twin.beginFork();
    const pid = yield* doClone(this.k, life.task, isThread ? CLONE_VM | CLONE_FILES : 0);
    const twin = window === null ? life.twin : life.twin.endFork(window, pid > 0);
    if (pid < 0) return expect(pid).toBe(-ENOMEM) as void;
    const task = this.k.tasks.get(pid)!;
    this.mms.set(task.mm!.id, twin!);
    this.spawn({ task, slot, twin: twin! });
  }

  #leave(life: Life, mm: MmStruct): (isGone: boolean) => void {
    const isLast = ![...this.lives].some((l) => l !== life && l.twin === life.twin);
    const { twin } = life;
    if (isLast) for (const va of [...twin.pages.keys()]) twin.begin(va);
    return (isGone) => {
      // A fault of the device that is under way keeps the address space.
      if (isLast && isGone && !this.k.mms.has(mm.id)) this.mms.delete(mm.id);
    };
  }

  *#exec(life: Life): KernelPath<void> {
    const old = life.task.mm!;
    const oldTwin = life.twin;
    const left = this.#leave(life, old);
    const r = yield* doExec(this.k, life.task, LAYOUT);
    if (r < 0) {
      expect(r).toBe(-ENOMEM);
      for (const page of oldTwin.pages.values()) page.isUnknown = true;
      return;
    }
    life.twin = new MmTwin();
    left(true);
    this.mms.set(life.task.mm!.id, life.twin);
  }

  *#exit(life: Life): KernelPath<void> {
    const mm = life.task.mm!;
    const left = this.#leave(life, mm);
    this.lives.delete(life);
    yield* doExit(this.k, life.task);
    left(true);
  }

  /** The device's own programs: they go where the twin knows of something, and a little beside. */
  *engine(e: number): KernelPath<void> {
    const { rng, k } = this;
    const { accessor, workload } = this.m.device!;
    for (;;) {
      yield* this.pause();
      const twin = workload.mm === null ? undefined : this.mms.get(workload.mm.id);
      const keys = twin === undefined ? [] : [...twin.pages.keys()];
      if (keys.length === 0) {
        yield* k.sched.sleepSteps(100, 'work');
        continue;
      }
      const va = keys[rng.below(keys.length)]!;
      const page = twin!.pages.get(va)!;
      const isWrite = rng.chance(1, 2) && !page.isUnknown && (page.file === null || page.isShared);
      if (isWrite) twin!.beginStore(va);
      yield* accessor.access(e, va + rng.below(512) * 8, isWrite, va + PAGE);
      if (isWrite) twin!.endStore(va);
    }
  }

  /** The device moves on to another address space now and then. */
  *binder(): KernelPath<void> {
    const device = this.m.device!;
    for (;;) {
      yield* this.pause();
      yield* device.unbind();
      const lives = [...this.lives];
      const mm = lives.length === 0 ? null : lives[this.rng.below(lives.length)]!.task.mm;
      if (mm !== null && mm.users > 0) yield* device.bind(mm);
      yield* this.k.sched.sleepSteps(3000, 'rebind');
    }
  }

  /** Everybody stands still between operations; all counts are recounted. */
  recount(): void {
    const { sched } = this.k;
    this.isPaused = true;
    const gated = sched.threads.filter((t) => /^(program|engine|binder)/.test(t.name) && t.state !== DONE);
    const workers = sched.threads.filter((t) => /^(PPR|IOPF) worker/.test(t.name));
    const isIdle = (): boolean =>
      gated.every(
        (t) => t.state === DONE || t.waitingFor === 'recount' || t.waitingFor === 'work' || t.waitingFor === 'rebind',
      ) &&
      workers.every((t) => t.waitingFor === 'page request work') &&
      !this.k.reclaim.kswapdWanted;
    expect(sched.runUntil(isIdle, 2_000_000), 'stops for the recount').toBe('reached');
    checkWorld(this.k);
    this.isPaused = false;
    this.gate.wakeAll(sched);
  }

  play(count: number): void {
    const { k } = this;
    const task = this.m.run(createProcess(k, LAYOUT));
    for (const f of this.files) {
      f.inode.users++;
      f.fd = installFile(k, task, new OpenFile(f.inode, true, true));
    }
    const twin = new MmTwin();
    this.mms.set(task.mm!.id, twin);
    k.sched.points = true;
    this.spawn({ task, slot: 0, twin });
    k.sched.spawn('kswapd', 'kernel', k.fn.kswapd(k), true);
    k.sched.spawn('binder', 'kernel', this.binder(), true);
    for (let e = 0; e < this.m.device!.accessor.engineCount; e++)
      k.sched.spawn(`engine ${e}`, 'device', this.engine(e), true);
    for (let next = CHECK_EVERY; next <= count; next += CHECK_EVERY) {
      const end = k.sched.runUntil(() => this.done >= next, 20_000_000);
      const waiting = k.sched.threads.filter((t) => t.waitingFor !== '').map((t) => `${t.name}: ${t.waitingFor}`);
      if (end !== 'reached') throw new Error(`${end}: ${waiting.join(', ')}`);
      this.recount();
    }
    this.isOver = true;
    expect(k.sched.runUntil(() => this.threads === 0, 2_000_000)).toBe('reached');
  }

  /** All processes are gone: with the caches dropped every frame is free and swap is empty. */
  checkNothingLeft(framesKept: number): void {
    const { k } = this;
    this.isPaused = true;
    k.sched.runUntil(() => !k.reclaim.kswapdWanted && this.waiting >= 4, 100_000);
    k.sched.points = false;
    this.m.run(this.m.device!.unbind());
    // mmu_notifier_put frees later.
    const isFreed = (): boolean => k.sched.threads.every((t) => !/^free notifier/.test(t.name) || t.state === DONE);
    expect(k.sched.runUntil(isFreed, 100_000)).toBe('reached');
    // The last reference to an address space may be a fault's, whose thread then takes it down; files go at the next edge of a call.
    this.m.run(runTaskWork(k));
    for (const f of this.files) this.m.run(k.fn.evictInode(k, f.inode));
    // A page of the swap cache that reclaim held when its last entry went stays for the next pass, as in Linux.
    this.m.run(k.fn.tryToFreePages(k, k.pages.count));
    checkWorld(k);
    expect([k.mms.size, k.swap.used, k.committed, k.pages.count - k.pages.firstUsable - k.pages.free]).toEqual([
      0,
      0,
      0,
      framesKept,
    ]);
  }
}

/** Walkers of the same build as the first: they take a smaller share of the operations. */
function isMaker(name: string): boolean {
  return name === 'intel-svm' || name === 'arm-smmu-sva';
}

/** The driver of the IOMMU keeps its empty table. */
describe.each([
  ['linux-6.1', '', 1],
  ['invalidate-range', '', 1],
  ['linux-6.1', 'gpu-svm-memory', 0],
  ['linux-6.12', 'intel-svm', 1],
  ['linux-6.12', 'arm-smmu-sva', 1],
])(`%s, device "%s": what was written is read (SEED=${seed}, OPERATIONS=${operations})`, (design, name, framesKept) => {
  it('by programs and by the device, and nothing is left behind', () => {
    const total = { compared: 0, comparedByDevice: 0, deviceStores: 0, swapIns: 0, cowCopies: 0, toGpu: 0 };
    const share = isMaker(name) ? 16 : 2;
    const worlds = Math.ceil(operations / share / PER_WORLD);
    for (let world = 0; world < worlds; world++) {
      const w = new World(seed * 1000 + world, design, {}, name);
      try {
        w.play(PER_WORLD);
        w.checkNothingLeft(framesKept);
      } catch (error) {
        throw new Error(`SEED=${seed} world ${world} operation ${w.done}: ${(error as Error).message}`, {
          cause: error,
        });
      }
      total.compared += w.compared;
      total.comparedByDevice += w.comparedByDevice;
      total.deviceStores += w.deviceStores;
      total.swapIns += w.k.stats.swapIns;
      total.cowCopies += w.k.stats.cowCopies;
      if (w.m.device instanceof GpuSvmDevice && w.m.device.driver.memory !== null)
        total.toGpu += w.m.device.driver.memory.toGpu;
    }
    if (process.env['OPERATIONS']) console.log(design, name, JSON.stringify(total));
    expect(total.compared).toBeGreaterThan(worlds * 1000);
    expect(total.comparedByDevice).toBeGreaterThan(worlds * 300);
    if (name === 'gpu-svm-memory') expect(total.toGpu).toBeGreaterThan(worlds * 5);
    expect(Math.min(total.deviceStores, total.swapIns, total.cowCopies)).toBeGreaterThan(worlds * 20);
  }, 3_600_000);
});

/** swap_writepage that believes it has written. */
function* forgetsToWrite(k: Kernel, pfn: number): KernelPath<void> {
  k.pages.flags[pfn] = k.pages.flags[pfn]! & ~PG_DIRTY;
}

describe(`the same test finds (SEED=${seed})`, () => {
  const nothing = function* (): AtomicPath<void> {};
  const none = function* (): KernelPath<void> {};
  const broken: readonly (readonly [string, Partial<KernelFns>])[] = [
    ['a copy on write without the CPU flush', { flushTlbPage: nothing }],
    ['a fork without the flush', { flushTlbMm: nothing }],
    ['a gather that the device does not hear of', { mmuNotifierGatherFlushed: nothing }],
    ['sections without end callbacks', { mmuNotifierInvalidateRangeEnd: none }],
    ['copies and swap-outs that the device does not hear of', { mmuNotifierPteCleared: nothing }],
    ['pages that are not written to swap', { swapWritepage: forgetsToWrite }],
    ['a truncation that leaves mappings', { unmapMappingRange: none }],
  ];
  for (const [name, patches] of broken) {
    it(name, () => {
      expect(() => {
        for (let world = 0; world < 30; world++) new World(seed * 1000 + world, 'linux-6.1', patches).play(PER_WORLD);
      }).toThrow();
    });
  }
});
