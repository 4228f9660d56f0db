// Random programs against three independent judges:
//
//   contents    a naive twin that knows one byte for each page of each process (private, shared, lazily freed)
//   counts      checkWorld after every operation
//   entries     a shadow of every page table rebuilt from E_PTE and E_PTE_AD alone equals the real bytes, so that a store
//               without its event fails
//
// and no CPU access may hit a frame of another generation than its translation had. Memory is short: reclaim runs all the time.
import { expect, it } from 'vitest';
import { E_CPU_ACCESS, E_FRAME_ALLOC, E_FRAME_FREE, E_PTE, E_PTE_AD, FRAME_TABLE } from '../abi/events.ts';
import {
  MADV_COLD,
  MADV_DONTNEED,
  MADV_FREE,
  MADV_PAGEOUT,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../abi/mman.ts';
import { NR_exit, NR_fork, NR_madvise, NR_mmap, NR_mprotect, NR_mremap, NR_munmap } from '../abi/syscalls.ts';
import { Rng } from '../base/rng.ts';
import { vpnHi, vpnLo } from '../hw/page-table.ts';
import { checkWorld } from './check-world.ts';
import { kernelConfig } from './config.ts';
import { userLoad, userStore } from './cpu-access.ts';
import type { KernelFns } from './fns.ts';
import { Kernel } from './kernel.ts';
import { createProcess } from './process/task.ts';
import { SyscallArgs } from './syscalls/args.ts';
import { syscall } from './syscalls/table.ts';
import { linuxFns } from './table.ts';
import type { Task } from './types.ts';

const seed = Number(process.env['SEED'] ?? 7);
const PAGE = 4096;
// Two windows: one within a few page tables, one that crosses a 1 GiB boundary.
const WINDOWS = [0x10000000, 0x3ff00000];
const WINDOW_PAGES = 260;
/** Two places of 4 MiB, aligned. */
const BIG = [0x80000000, 0x140000000];

/** What the twin knows of a page: its byte, and whether it may have become 0 by itself (MADV_FREE). */
interface Cell {
  byte: number;
  lazy: boolean;
}

interface TwinPage {
  readable: boolean;
  writable: boolean;
  shared: boolean;
  cell: Cell;
}

type TwinMm = Map<number, TwinPage>;

class Program {
  readonly rng: Rng;
  readonly k: Kernel;
  readonly shadow = new Map<number, Int32Array>();
  readonly twins = new Map<Task, TwinMm>();
  readonly args = new SyscallArgs();
  staleAccesses = 0;

  constructor(seed: number, patch: Partial<KernelFns> = {}) {
    this.rng = new Rng(seed);
    this.k = new Kernel(kernelConfig({ frames: 320, swapPages: 3000, cpus: 1 }), { ...linuxFns, ...patch });
    this.k.memory.log.attach({ onRecord: (ring, at) => this.#see(ring, at) });
    const areas = [{ start: 0x400000, end: 0x402000, perms: 'r-xp', offset: 0, path: '/bin/test' }];
    const task = this.run(createProcess(this.k, { areas, startBrk: 0x600000 }));
    this.twins.set(task, new Map());
  }

  run<T>(path: Generator<unknown, T, void>): T {
    return this.k.sched.run(path as never);
  }

  call(task: Task, nr: number, ...a: number[]): number {
    return this.run(syscall(this.k, task, nr, this.args.of(a[0], a[1], a[2], a[3], a[4], a[5])));
  }

  #see(ring: Float64Array, at: number): void {
    const type = ring[at]!;
    const pfn = ring[at + 6]!;
    if (type === E_PTE || type === E_PTE_AD) {
      const va = ring[at + 4]!;
      const level = ring[at + 7]!;
      const index = [vpnLo(va) & 511, vpnLo(va) >>> 9, vpnHi(va) & 511, vpnHi(va) >>> 9][level]!;
      const table = this.shadow.get(pfn)!;
      const [oldLo, oldHi] = [table[2 * index], table[2 * index + 1]];
      if (oldLo !== ring[at + 10] || oldHi !== ring[at + 11])
        throw new Error(`an entry of table ${pfn} changed unseen`);
      table[2 * index] = ring[at + 8]!;
      table[2 * index + 1] = ring[at + 9]!;
    } else if (type === E_FRAME_ALLOC && ring[at + 8] === FRAME_TABLE) {
      this.shadow.set(pfn, new Int32Array(1024));
    } else if (type === E_FRAME_FREE) {
      this.shadow.delete(pfn);
    } else if (type === E_CPU_ACCESS && ring[at + 7] !== ring[at + 8]) {
      this.staleAccesses++;
    }
  }

  compareShadow(): void {
    const words = this.k.memory.words;
    for (const [pfn, table] of this.shadow) {
      for (let i = 0; i < 1024; i++) {
        if (table[i] !== words[pfn * 1024 + i]) throw new Error(`table ${pfn} word ${i} was stored without an event`);
      }
    }
  }

  address(): number {
    return WINDOWS[this.rng.below(2)]! + this.rng.below(WINDOW_PAGES) * PAGE;
  }

  length(): number {
    return (1 + this.rng.below(this.rng.chance(1, 6) ? 200 : 16)) * PAGE;
  }

  step(): string {
    const { rng } = this;
    const tasks = [...this.twins.keys()];
    const task = tasks[rng.below(tasks.length)]!;
    const twin = this.twins.get(task)!;
    const start = this.address();
    const len = this.length();
    const kind = rng.below(100);
    if (kind < 14) return this.#mmap(task, twin, start, len);
    if (kind < 20) return this.#munmap(task, twin, start, len);
    if (kind < 28) return this.#mprotect(task, twin, start, len);
    if (kind < 34) return this.#mremap(task, twin);
    if (kind < 46) return this.#madvise(task, twin, start, len);
    if (kind < 50 && tasks.length < 4) return this.#fork(task, twin);
    if (kind < 52 && tasks.length > 1) return this.#exit(task);
    if (kind < 54) return this.#reclaim();
    if (kind < 57) return this.#moveTables(task, twin);
    return this.#access(task, twin, start, rng.chance(2, 3));
  }

  #mmap(task: Task, twin: TwinMm, start: number, len: number): string {
    const shared = this.rng.chance(1, 4);
    const flags = MAP_FIXED | MAP_ANONYMOUS | (shared ? MAP_SHARED : MAP_PRIVATE);
    expect(this.call(task, NR_mmap, start, len, PROT_READ | PROT_WRITE, flags, -1, 0)).toBe(start);
    for (let a = start; a < start + len; a += PAGE) {
      twin.set(a, { readable: true, writable: true, shared, cell: { byte: 0, lazy: false } });
    }
    return 'mmap';
  }

  #munmap(task: Task, twin: TwinMm, start: number, len: number): string {
    expect(this.call(task, NR_munmap, start, len)).toBe(0);
    for (let a = start; a < start + len; a += PAGE) twin.delete(a);
    return 'munmap';
  }

  #mprotect(task: Task, twin: TwinMm, start: number, len: number): string {
    const prot = [PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE][this.rng.below(3)]!;
    const r = this.call(task, NR_mprotect, start, len, prot);
    let a = start;
    for (; a < start + len && twin.has(a); a += PAGE) {
      const p = twin.get(a)!;
      twin.set(a, { ...p, readable: prot !== PROT_NONE, writable: (prot & PROT_WRITE) !== 0 });
    }
    expect(r === 0).toBe(a === start + len);
    return 'mprotect';
  }

  /** Moves a piece of one VMA elsewhere. */
  #mremap(task: Task, twin: TwinMm): string {
    const { rng } = this;
    const from = task.mm!.vmas.find(this.address());
    if (from === null || from.start < WINDOWS[0]! || from.end > BIG[0]!) return 'mremap: none';
    const pages = (from.end - from.start) / PAGE;
    const skip = rng.chance(1, 2) ? 0 : rng.below(pages);
    const start = from.start + skip * PAGE;
    const len = rng.chance(1, 2) ? (pages - skip) * PAGE : (1 + rng.below(pages - skip)) * PAGE;
    // Half of the time to the same place within a 2 MiB block, so that tables move whole.
    const to = rng.chance(1, 2) ? this.address() : WINDOWS[rng.below(2)]! + ((start - WINDOWS[0]!) % 0x200000);
    if (to < start + len && start < to + len) return 'mremap: overlap';
    const r = this.call(task, NR_mremap, start, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    expect(r).toBe(to);
    for (let at = 0; at < len; at += PAGE) twin.delete(to + at);
    for (let at = 0; at < len; at += PAGE) {
      twin.set(to + at, twin.get(start + at)!);
      twin.delete(start + at);
    }
    return 'mremap';
  }

  /** 4 MiB that move by their page tables. */
  #moveTables(task: Task, twin: TwinMm): string {
    const len = 0x400000;
    const here = BIG[twin.has(BIG[0]!) ? 0 : 1]!;
    const there = here === BIG[0] ? BIG[1]! : BIG[0]!;
    if (!twin.has(here)) {
      this.call(task, NR_mmap, here, len, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
      for (let a = here; a < here + len; a += PAGE) {
        twin.set(a, { readable: true, writable: true, shared: false, cell: { byte: 0, lazy: false } });
      }
    }
    this.#access(task, twin, here + this.rng.below(1000) * PAGE, true);
    expect(this.call(task, NR_mremap, here, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, there)).toBe(there);
    for (let at = 0; at < len; at += PAGE) {
      twin.set(there + at, twin.get(here + at)!);
      twin.delete(here + at);
    }
    this.#access(task, twin, there + this.rng.below(1000) * PAGE, false);
    return 'move tables';
  }

  #madvise(task: Task, twin: TwinMm, start: number, len: number): string {
    const advice = [MADV_DONTNEED, MADV_FREE, MADV_COLD, MADV_PAGEOUT][this.rng.below(4)]!;
    // FREE stops at the first shared VMA: advise page by page, which is also a harder test of the gather.
    const pieces = advice === MADV_FREE ? len / PAGE : 1;
    for (let i = 0; i < pieces; i++) {
      const at = start + i * PAGE;
      const piece = advice === MADV_FREE ? PAGE : len;
      const r = this.call(task, NR_madvise, at, piece, advice);
      for (let a = at; a < at + piece; a += PAGE) {
        const p = twin.get(a);
        if (p === undefined || p.shared) continue;
        if (advice === MADV_DONTNEED) twin.set(a, { ...p, cell: { byte: 0, lazy: false } });
        else if (advice === MADV_FREE && r === 0) p.cell.lazy = true;
      }
    }
    return 'madvise';
  }

  #reclaim(): string {
    this.run(this.k.fn.tryToFreePages(this.k, 1 + this.rng.below(40)));
    return 'reclaim';
  }

  #fork(task: Task, twin: TwinMm): string {
    const pid = this.call(task, NR_fork);
    expect(pid).toBeGreaterThan(0);
    const copy: TwinMm = new Map();
    for (const [a, p] of twin) copy.set(a, p.shared ? { ...p } : { ...p, cell: { ...p.cell } });
    this.twins.set(this.k.tasks.get(pid)!, copy);
    return 'fork';
  }

  #exit(task: Task): string {
    this.call(task, NR_exit, 0);
    this.twins.delete(task);
    return 'exit';
  }

  #access(task: Task, twin: TwinMm, start: number, isWrite: boolean): string {
    for (let i = 0; i < 30; i++) {
      const a = start + i * PAGE;
      const p = twin.get(a);
      if (isWrite) {
        const byte = this.rng.below(256);
        const r = this.run(userStore(this.k, task, a, byte));
        expect([a, r === 0]).toEqual([a, p?.writable === true]);
        if (r === 0) {
          p!.cell.byte = byte;
          p!.cell.lazy = false;
        }
      } else {
        const r = this.run(userLoad(this.k, task, a));
        expect([a, r >= 0]).toEqual([a, p?.readable === true]);
        if (r < 0) continue;
        const { cell } = p!;
        if (cell.lazy && r === 0) cell.byte = 0;
        expect([a, r]).toEqual([a, cell.byte]);
      }
    }
    return isWrite ? 'write' : 'read';
  }
}

/** Runs steps with checks; throws at the first thing that is wrong. */
function soak(p: Program, steps: number, label: string): void {
  for (let i = 0; i < steps; i++) {
    let what = '';
    try {
      what = p.step();
      if (i % 2 === 0) checkWorld(p.k);
      if (i % 20 === 0) p.compareShadow();
      if (p.staleAccesses > 0) throw new Error('a CPU reached a frame through a stale translation');
    } catch (e) {
      throw new Error(`${label} step ${i} ${what}: ${(e as Error).message}`, { cause: e });
    }
  }
}

it(`random programs keep contents, counts and entries right (SEED=${seed})`, () => {
  for (let round = 0; round < 4; round++) {
    const p = new Program(seed * 1000 + round);
    soak(p, 450, `SEED=${seed} round ${round}`);
    for (const task of [...p.twins.keys()]) p.call(task, NR_exit, 0);
    checkWorld(p.k);
    expect([p.k.mms.size, p.k.swap.used, p.k.committed]).toEqual([0, 0, 0]);
  }
});

it('the judges notice a kernel without TLB flushes, without swap_free, or without its rmap', () => {
  const sabotage: Partial<KernelFns>[] = [
    { flushTlbMmRange: function* () {} },
    { swapFree: () => {} },
    { pageRemoveRmap: () => {} },
    { lruDel: () => {} },
  ];
  for (const patch of sabotage) expect(() => soak(new Program(seed, patch), 450, 'sabotage')).toThrow('sabotage step');
});
