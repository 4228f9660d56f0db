// Random programs of several processes, an operation at a time, against judges that know nothing of the kernel's reasons:
//
//   contents    a naive twin that knows one byte for each page of each process (private, shared, given up lazily)
//   counts      checkWorld after every operation (I20-I31)
//   entries     a shadow of every page table, rebuilt from E_PTE and E_PTE_AD alone, equals the real bytes, so that a store
//               without its event fails
//
// and no CPU access may hit a frame of another generation than its translation had. Memory is short: reclaim runs all the time.
// An operation is a row of OPERATIONS: a weight, a name, and what performs it on kernel and twin alike.
import { EACCES, EFAULT, EIO, ENOMEM } from '../../src/abi/errno.ts';
import { E_CPU_ACCESS, E_FRAME_ALLOC, E_FRAME_FREE, E_PTE, E_PTE_AD, FRAME_TABLE } from '../../src/abi/events.ts';
import {
  MADV_COLD,
  MADV_COLLAPSE,
  MADV_DONTNEED,
  MADV_FREE,
  MADV_HUGEPAGE,
  MADV_MERGEABLE,
  MADV_NOHUGEPAGE,
  MADV_PAGEOUT,
  MADV_UNMERGEABLE,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/abi/mman.ts';
import { NR_exit, NR_fork, NR_madvise, NR_mmap, NR_mprotect, NR_mremap, NR_munmap } from '../../src/abi/syscalls.ts';
import { Rng } from '../../src/base/rng.ts';
import { pteWord, vpnHi, vpnLo } from '../../src/hw/page-table.ts';
import { checkWorld } from '../../src/mm/check-world.ts';
import { type KernelConfig, kernelConfig } from '../../src/mm/config.ts';
import { userLoad, userStore } from '../../src/mm/cpu-access.ts';
import type { KernelFns } from '../../src/mm/fns.ts';
import { khugepagedScan } from '../../src/mm/huge/khugepaged.ts';
import { Kernel } from '../../src/mm/kernel.ts';
import { ksmRun } from '../../src/mm/ksm/scan.ts';
import { doPagesMove, doPagesStat } from '../../src/mm/migrate/move-pages.ts';
import { numaScan } from '../../src/mm/numa/hinting.ts';
import { PG_KSM } from '../../src/mm/page/pages.ts';
import * as P from '../../src/mm/policy.ts';
import { createProcess } from '../../src/mm/process/task.ts';
import { setLruGen } from '../../src/mm/reclaim/mglru.ts';
import { SyscallArgs } from '../../src/mm/syscalls/args.ts';
import { mbind, migratePages, type NodeMask } from '../../src/mm/syscalls/mempolicy.ts';
import { syscall } from '../../src/mm/syscalls/table.ts';
import { linuxFns } from '../../src/mm/table.ts';
import { clearRefs } from '../../src/mm/track/clear-refs.ts';
import { pageIdleGet, pageIdleSet } from '../../src/mm/track/page-idle.ts';
import type { Task } from '../../src/mm/types.ts';
import type { KernelPath } from '../../src/sched/path.ts';
import { SHMEM_OPERATIONS } from './random-shmem.ts';
import { uffdFill, uffdProtect } from './random-uffd.ts';

export const PAGE = 4096;
/** Two windows: one within a few page tables, one that crosses a 1 GiB boundary. */
const WINDOWS = [0x10000000, 0x3ff00000];
const WINDOW_PAGES = 260;
/** Two places of 4 MiB, aligned. */
const BIG = [0x80000000, 0x140000000];
const TASKS_MAX = 4;

/** What the twin knows of a page: its byte, and whether it may have become 0 by itself (MADV_FREE). */
export interface TwinCell {
  byte: number;
  lazy: boolean;
}

interface TwinPage {
  readonly readable: boolean;
  readonly writable: boolean;
  readonly shared: boolean;
  readonly cell: TwinCell;
}

/** Pages of a process by address. */
type TwinMm = Map<number, TwinPage>;

/** One process and what the twin knows of it. */
export interface Process {
  readonly task: Task;
  readonly twin: TwinMm;
}

interface Operation {
  readonly weight: number;
  readonly name: string;
  /** Can it be done now? Always, when left out. */
  readonly when?: (w: RandomMemory) => boolean;
  readonly run: (w: RandomMemory, p: Process) => void;
}

export class RandomMemory {
  readonly rng: Rng;
  readonly k: Kernel;
  readonly processes: Process[] = [];
  readonly #shadow = new Map<number, Int32Array>();
  /** Shadows of tables that are gone, to be used again. */
  readonly #spare: Int32Array[] = [];
  readonly #args = new SyscallArgs();
  /** Slots whose page in the swap cache was copied by a fault (ksm_might_need_to_copy). */
  readonly #copied = new Set<number>();
  #staleAccesses = 0;
  #steps = 0;

  constructor(seed: number, config: Partial<KernelConfig> = {}, patch: Partial<KernelFns> = {}) {
    this.rng = new Rng(seed);
    this.k = new Kernel(
      kernelConfig({ frames: 320, swapPages: 3000, ...config }),
      this.#watched({ ...linuxFns, ...patch }),
    );
    this.k.memory.log.attach({ onRecord: (ring, at) => this.#see(ring, at) });
    const areas = [{ start: 0x400000, end: 0x402000, perms: 'r-xp', offset: 0, path: '/bin/test' }];
    const task = this.run(createProcess(this.k, { areas, startBrk: 0x600000 }));
    this.processes.push({ task, twin: new Map() });
  }

  #watched(fns: KernelFns): KernelFns {
    const copied = this.#copied;
    const { ksmMightNeedToCopy } = fns;
    fns.ksmMightNeedToCopy = function* (k, pfn, vma, address) {
      const page = yield* ksmMightNeedToCopy(k, pfn, vma, address);
      if (page > 0 && page !== pfn) copied.add(k.pages.private[pfn]!);
      return page;
    };
    return fns;
  }

  run<T>(path: KernelPath<T>): T {
    return this.k.sched.run(path);
  }

  call(p: Process, nr: number, ...a: number[]): number {
    return this.run(syscall(this.k, p.task, nr, this.#args.of(a[0], a[1], a[2], a[3], a[4], a[5])));
  }

  /** Performs one operation and judges. Throws with the operation's name. */
  step(): void {
    const operation = this.#pickOperation();
    try {
      operation.run(this, this.processes[this.rng.below(this.processes.length)]!);
      checkWorld(this.k);
      if (this.#steps % 20 === 0) this.#compareShadow();
      if (this.#staleAccesses > 0) throw new Error('a CPU reached a frame through a stale translation');
    } catch (e) {
      throw new Error(`step ${this.#steps} ${operation.name}: ${(e as Error).message}`, { cause: e });
    }
    this.#steps++;
  }

  /** By weight, of those that can be done now. */
  #pickOperation(): Operation {
    let sum = 0;
    for (const o of OPERATIONS) if (o.when === undefined || o.when(this)) sum += o.weight;
    let at = this.rng.below(sum);
    return OPERATIONS.find((o) => {
      if (o.when !== undefined && !o.when(this)) return false;
      at -= o.weight;
      return at < 0;
    })!;
  }

  /** Ends every process; nothing may be left. */
  end(): void {
    for (const p of this.processes.splice(0)) this.call(p, NR_exit, 0);
    // KSM and khugepaged hold the struct of an address space until they come by.
    this.run(ksmRun(this.k, 2));
    this.run(khugepagedScan(this.k));
    checkWorld(this.k);
    // The original of a copied page stays in the swap cache, named by nobody, until reclaim comes by.
    const { swap } = this.k;
    const left = [...this.#copied].filter((slot) => swap.users(slot) === 0 && swap.cached(slot) !== 0).length;
    expectEqual(
      'address spaces, swap slots and committed pages',
      [this.k.mms.size, swap.used, this.k.committed],
      [0, left, 0],
    );
  }

  /** A page of the windows. */
  address(): number {
    return WINDOWS[this.rng.below(2)]! + this.rng.below(WINDOW_PAGES) * PAGE;
  }

  length(): number {
    return (1 + this.rng.below(this.rng.chance(1, 6) ? 200 : 16)) * PAGE;
  }

  /** What mmap of private or shared memory does to the twin. */
  mapped(p: Process, start: number, length: number, shared: boolean): void {
    for (let a = start; a < start + length; a += PAGE)
      p.twin.set(a, { readable: true, writable: true, shared, cell: { byte: 0, lazy: false } });
  }

  /** What a move of memory does to the twin. */
  moved(p: Process, from: number, to: number, length: number): void {
    for (let at = 0; at < length; at += PAGE) p.twin.delete(to + at);
    for (let at = 0; at < length; at += PAGE) {
      const page = p.twin.get(from + at);
      if (page === undefined) continue;
      p.twin.set(to + at, page);
      p.twin.delete(from + at);
    }
  }

  /** Writes or reads up to `count` pages from `start` on and compares what happens with the twin. */
  access(p: Process, start: number, isWrite: boolean, count = 30): void {
    for (let i = 0; i < count; i++) {
      const a = start + i * PAGE;
      const page = p.twin.get(a);
      if (isWrite) this.#store(p, a, page);
      else this.#load(p, a, page);
    }
  }

  #store(p: Process, a: number, page: TwinPage | undefined): void {
    const byte = this.rng.below(256);
    const r = this.run(userStore(this.k, p.task, a, byte));
    const isAllowed = page?.writable === true;
    if ((r === 0) !== isAllowed) differs(`may write at 0x${a.toString(16)}`, r === 0, isAllowed);
    if (r !== 0) return;
    page!.cell.byte = byte;
    page!.cell.lazy = false;
  }

  #load(p: Process, a: number, page: TwinPage | undefined): void {
    const r = this.run(userLoad(this.k, p.task, a));
    const isAllowed = page?.readable === true;
    if (r >= 0 !== isAllowed) differs(`may read at 0x${a.toString(16)}`, r >= 0, isAllowed);
    if (r < 0) return;
    const { cell } = page!;
    if (cell.lazy && r === 0) cell.byte = 0;
    if (r !== cell.byte) differs(`byte at 0x${a.toString(16)}`, r, cell.byte);
  }

  #see(ring: Float64Array, at: number): void {
    const type = ring[at]!;
    const pfn = ring[at + 6]!;
    if (type === E_PTE || type === E_PTE_AD) {
      const va = ring[at + 4]!;
      const level = ring[at + 7]!;
      const pages = level < 2 ? vpnLo(va) : vpnHi(va);
      const word = 2 * ((level & 1) === 0 ? pages & 511 : pages >>> 9);
      const table = this.#shadow.get(pfn)!;
      if (table[word] !== ring[at + 10] || table[word + 1] !== ring[at + 11])
        throw new Error(`an entry of table ${pfn} changed unseen`);
      table[word] = ring[at + 8]!;
      table[word + 1] = ring[at + 9]!;
    } else if (type === E_FRAME_ALLOC && ring[at + 8] === FRAME_TABLE) {
      this.#shadow.set(pfn, this.#spare.pop()?.fill(0) ?? new Int32Array(1024));
    } else if (type === E_FRAME_FREE) {
      const table = this.#shadow.get(pfn);
      if (table === undefined) return;
      this.#spare.push(table);
      this.#shadow.delete(pfn);
    } else if (type === E_CPU_ACCESS && ring[at + 7] !== ring[at + 8]) this.#staleAccesses++;
  }

  #compareShadow(): void {
    const words = this.k.memory.words;
    for (const [pfn, table] of this.#shadow) {
      for (let i = 0; i < 1024; i++)
        if (table[i] !== words[pfn * 1024 + i]) throw new Error(`table ${pfn} word ${i} was stored without an event`);
    }
  }
}

function differs(what: string, actual: unknown, expected: unknown): never {
  throw new Error(`${what}: ${actual}, the twin says ${expected}`);
}

export function expectEqual(what: string, actual: unknown, expected: unknown): void {
  if (actual === expected) return;
  const [a, e] = [JSON.stringify(actual), JSON.stringify(expected)];
  if (a !== e) differs(what, a, e);
}

function mmap(w: RandomMemory, p: Process): void {
  const [start, length] = [w.address(), w.length()];
  const shared = w.rng.chance(1, 4);
  const flags = MAP_FIXED | MAP_ANONYMOUS | (shared ? MAP_SHARED : MAP_PRIVATE);
  expectEqual('mmap', w.call(p, NR_mmap, start, length, PROT_READ | PROT_WRITE, flags, -1, 0), start);
  w.mapped(p, start, length, shared);
}

function munmap(w: RandomMemory, p: Process): void {
  const [start, length] = [w.address(), w.length()];
  expectEqual('munmap', w.call(p, NR_munmap, start, length), 0);
  for (let a = start; a < start + length; a += PAGE) p.twin.delete(a);
}

function mprotect(w: RandomMemory, p: Process): void {
  protect(w, p, w.address(), w.length());
}

export function protect(w: RandomMemory, p: Process, start: number, length: number): void {
  const prot = [PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE][w.rng.below(3)]!;
  const r = w.call(p, NR_mprotect, start, length, prot);
  let a = start;
  for (; a < start + length && p.twin.has(a); a += PAGE) {
    const page = p.twin.get(a)!;
    p.twin.set(a, { ...page, readable: prot !== PROT_NONE, writable: (prot & PROT_WRITE) !== 0 });
  }
  expectEqual('mprotect succeeds', r === 0, a === start + length);
}

/** Moves a piece of one VMA elsewhere. */
function mremap(w: RandomMemory, p: Process): void {
  const { rng } = w;
  const from = p.task.mm!.vmas.find(w.address());
  if (from === null || from.start < WINDOWS[0]! || from.end > BIG[0]!) return;
  const pages = (from.end - from.start) / PAGE;
  const skip = rng.chance(1, 2) ? 0 : rng.below(pages);
  const start = from.start + skip * PAGE;
  const length = rng.chance(1, 2) ? (pages - skip) * PAGE : (1 + rng.below(pages - skip)) * PAGE;
  // Half of the time to the same place within a 2 MiB block, so that tables move whole.
  const to = rng.chance(1, 2) ? w.address() : WINDOWS[rng.below(2)]! + ((start - WINDOWS[0]!) % 0x200000);
  if (to < start + length && start < to + length) return;
  expectEqual('mremap', w.call(p, NR_mremap, start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
  w.moved(p, start, to, length);
}

/** 4 MiB that move by their page tables. */
function moveTables(w: RandomMemory, p: Process): void {
  const length = 0x400000;
  const here = BIG[p.twin.has(BIG[0]!) ? 0 : 1]!;
  const there = here === BIG[0] ? BIG[1]! : BIG[0]!;
  if (!p.twin.has(here)) {
    const flags = MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE;
    w.call(p, NR_mmap, here, length, PROT_READ | PROT_WRITE, flags, -1, 0);
    w.mapped(p, here, length, false);
  }
  w.access(p, here + w.rng.below(1000) * PAGE, true);
  expectEqual('mremap', w.call(p, NR_mremap, here, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, there), there);
  w.moved(p, here, there, length);
  w.access(p, there + w.rng.below(1000) * PAGE, false);
}

function madvise(w: RandomMemory, p: Process): void {
  const [start, length] = [w.address(), w.length()];
  const advice = [MADV_DONTNEED, MADV_FREE, MADV_COLD, MADV_PAGEOUT][w.rng.below(4)]!;
  // FREE stops at the first shared VMA: advise page by page, which is also a harder test of the gather.
  const piece = advice === MADV_FREE ? PAGE : length;
  for (let at = start; at < start + length; at += piece) {
    const r = w.call(p, NR_madvise, at, piece, advice);
    for (let a = at; a < at + piece; a += PAGE) {
      const page = p.twin.get(a);
      if (page === undefined || page.shared) continue;
      if (advice === MADV_DONTNEED) p.twin.set(a, { ...page, cell: { byte: 0, lazy: false } });
      else if (advice === MADV_FREE && r === 0) page.cell.lazy = true;
    }
  }
}

function fork(w: RandomMemory, p: Process): void {
  const pid = w.call(p, NR_fork);
  if (pid <= 0) throw new Error(`fork: ${pid}`);
  const twin: TwinMm = new Map();
  for (const [a, page] of p.twin) twin.set(a, page.shared ? page : { ...page, cell: { ...page.cell } });
  w.processes.push({ task: w.k.tasks.get(pid)!, twin });
}

function exit(w: RandomMemory, p: Process): void {
  w.call(p, NR_exit, 0);
  w.processes.splice(w.processes.indexOf(p), 1);
}

/** Merging is allowed, forbidden, or done. */
function ksm(w: RandomMemory, p: Process): void {
  const { k, rng } = w;
  const advice = [MADV_MERGEABLE, MADV_MERGEABLE, MADV_UNMERGEABLE][rng.below(3)]!;
  if (rng.chance(1, 3)) w.call(p, NR_madvise, w.address(), w.length(), advice);
  if (rng.chance(1, 8)) k.ksm.useZeroPages = !k.ksm.useZeroPages;
  w.run(ksmRun(k, 1 + rng.below(2)));
}

/** Accesses are forgotten; frames are marked idle, and asked. */
function track(w: RandomMemory, p: Process): void {
  const { k, rng } = w;
  if (rng.chance(1, 2)) expectEqual('clear_refs', w.run(clearRefs(k, p.task.mm!, 1 + rng.below(5))), 0);
  for (let i = 0; i < 10; i++) w.run(pageIdleSet(k, rng.below(k.pages.count)));
  w.run(pageIdleGet(k, rng.below(k.pages.count)));
}

/** A debugger writes what it likes, but not into what is shared and cannot be written. */
function poke(w: RandomMemory, p: Process): void {
  const a = w.address();
  const byte = w.rng.below(256);
  const page = p.twin.get(a);
  const r = w.run(w.k.fn.accessRemoteVm(w.k, p.task.mm!, a, Uint8Array.of(byte), true, true));
  expectEqual(
    `a debugger may write at 0x${a.toString(16)}`,
    r === 1,
    page !== undefined && (page.writable || !page.shared),
  );
  if (r !== 1) return;
  page!.cell.byte = byte;
  page!.cell.lazy = false;
}

/** 8 MiB that may have huge pages: where there is memory for them. */
const HUGE = 0xc0000000;
const HUGE_SIZE = 0x800000;
const BLOCK = 0x200000;

/** A piece of the huge area: whole blocks, parts of one, or anything. */
function hugePiece(w: RandomMemory): { start: number; length: number } {
  const { rng } = w;
  const block = rng.below(4);
  const kind = rng.below(3);
  if (kind === 0) return { start: HUGE + block * BLOCK, length: (1 + rng.below(4 - block)) * BLOCK };
  const start = HUGE + block * BLOCK + rng.below(512) * PAGE;
  const most = (HUGE + HUGE_SIZE - start) / PAGE;
  return { start, length: (1 + rng.below(kind === 1 ? Math.min(most, 16) : most)) * PAGE };
}

function hugeMmap(w: RandomMemory, p: Process): void {
  const { start, length } = hugePiece(w);
  const flags = MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE;
  expectEqual('mmap', w.call(p, NR_mmap, start, length, PROT_READ | PROT_WRITE, flags, -1, 0), start);
  w.mapped(p, start, length, false);
  if (w.rng.chance(4, 5)) w.call(p, NR_madvise, start, length, MADV_HUGEPAGE);
}

function hugeUnmap(w: RandomMemory, p: Process): void {
  const { start, length } = hugePiece(w);
  expectEqual('munmap', w.call(p, NR_munmap, start, length), 0);
  for (let a = start; a < start + length; a += PAGE) p.twin.delete(a);
}

function hugeMprotect(w: RandomMemory, p: Process): void {
  const { start, length } = hugePiece(w);
  protect(w, p, start, length);
}

function hugeMremap(w: RandomMemory, p: Process): void {
  const { start, length } = hugePiece(w);
  const vma = p.task.mm!.vmas.findExact(start);
  if (vma === null || start + length > vma.end) return;
  const blocks = Math.floor((HUGE + HUGE_SIZE - length) / BLOCK) - HUGE / BLOCK;
  const to = HUGE + w.rng.below(blocks + 1) * BLOCK + (w.rng.chance(2, 3) ? start % BLOCK : 0);
  if (to + length > HUGE + HUGE_SIZE || (to < start + length && start < to + length)) return;
  expectEqual('mremap', w.call(p, NR_mremap, start, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, to), to);
  w.moved(p, start, to, length);
}

function hugeMadvise(w: RandomMemory, p: Process): void {
  const { start, length } = hugePiece(w);
  const all = [MADV_DONTNEED, MADV_FREE, MADV_COLD, MADV_PAGEOUT, MADV_NOHUGEPAGE, MADV_HUGEPAGE, MADV_COLLAPSE];
  const advice = all[w.rng.below(all.length)]!;
  w.call(p, NR_madvise, start, length, advice);
  for (let a = start; a < start + length; a += PAGE) {
    const page = p.twin.get(a);
    if (page === undefined) continue;
    if (advice === MADV_DONTNEED) p.twin.set(a, { ...page, cell: { byte: 0, lazy: false } });
    else if (advice === MADV_FREE) page.cell.lazy = true;
  }
}

/** A few pages far apart, so that huge pages come to be. */
function hugeAccess(w: RandomMemory, p: Process): void {
  const isWrite = w.rng.chance(2, 3);
  for (let i = 0; i < 12; i++) w.access(p, HUGE + w.rng.below(HUGE_SIZE / PAGE) * PAGE, isWrite, 1 + w.rng.below(3));
}

const hasRoomForHuge = (w: RandomMemory): boolean => w.k.pages.count >= 4096;

/** Frame at an address, or 0. */
function frameAt(w: RandomMemory, p: Process, address: number): number {
  const word = pteWord(w.k.memory, p.task.mm!.pgd, vpnHi(address), vpnLo(address));
  return word < 0 ? 0 : w.k.memory.words[word]! >>> 12;
}

/** Pages go to the other node, and every status says where they are. One that KSM put at several addresses goes where the last says. */
function movePages(w: RandomMemory, p: Process): void {
  const count = 1 + w.rng.below(24);
  const start = w.address();
  const addresses = Array.from({ length: count }, (_, i) => start + i * PAGE);
  const targets = addresses.map(() => w.rng.below(2));
  const status = new Int32Array(count).fill(99);
  const mm = p.task.mm!;
  const result = w.run(doPagesMove(w.k, mm, addresses, targets, status, w.rng.chance(1, 2)));
  if (result === -ENOMEM) return;
  // The reverse map of a merged page does not know what a child mapped by fork: such a page cannot be moved, and ends the call.
  if (result > 0 && addresses.some((a) => (w.k.pages.flags[frameAt(w, p, a)]! & PG_KSM) !== 0)) return;
  expectEqual('move_pages', result, 0);
  const now = new Int32Array(count);
  w.run(doPagesStat(w.k, mm, addresses, now));
  const frames = addresses.map((a) => frameAt(w, p, a));
  for (let i = 0; i < count; i++) {
    const last = frames.findLastIndex((frame, j) => j === i || (frame === frames[i] && status[j]! >= 0));
    if (status[i]! >= 0) expectEqual(`node of page ${i}`, now[i], targets[last]);
    else if (status[i] !== -EACCES) expectEqual(`why page ${i} was not moved`, status[i], now[i]);
  }
}

const RANDOM_MODES = [P.MPOL_DEFAULT, P.MPOL_PREFERRED, P.MPOL_INTERLEAVE, P.MPOL_LOCAL, P.MPOL_PREFERRED_MANY];

/** A policy for a range, with its pages moved or left; sometimes all pages of the process go from one node to the other. */
function policies(w: RandomMemory, p: Process): void {
  const mask = (nodes: number[]): NodeMask => ({ isNull: false, isFault: false, nodes, maxNode: 64 });
  if (w.rng.chance(1, 6)) {
    const from = w.rng.below(2);
    const left = w.run(migratePages(w.k, p.task, p.task, mask([from]), mask([1 - from])));
    if (left !== -ENOMEM) expectEqual('migrate_pages left pages or moved all', left >= 0, true);
    return;
  }
  const mode = RANDOM_MODES[w.rng.below(RANDOM_MODES.length)]!;
  const nodes = mode === P.MPOL_DEFAULT || mode === P.MPOL_LOCAL ? [] : w.rng.chance(1, 2) ? [0, 1] : [w.rng.below(2)];
  const start = w.address();
  const length = w.length();
  const result = w.run(mbind(w.k, p.task, start, length, mode, mask(nodes), [0, 1, 2, 3, 4][w.rng.below(5)]!));
  let isMapped = false;
  let hasHole = false;
  for (let a = start; a < start + length; a += PAGE) {
    if (p.twin.has(a)) isMapped = true;
    else hasHole = true;
  }
  const isRefused = mode === P.MPOL_DEFAULT ? !isMapped : hasHole;
  if (!isRefused) expectEqual('mbind is refused', [0, -EIO, -ENOMEM].includes(result), true);
  else expectEqual('mbind of a hole', [-EFAULT, -EIO].includes(result), true);
}

/** Hints of NUMA balancing: every right goes, and comes back with the next access. */
function numaHints(w: RandomMemory, p: Process): void {
  const start = w.address();
  w.k.sched.current.owner = p.task;
  w.run(numaScan(w.k, p.task.mm!, start, start + w.length()));
  w.access(p, start, w.rng.chance(1, 2), 4);
}

const OPERATIONS: readonly Operation[] = [
  { weight: 14, name: 'mmap', run: mmap },
  { weight: 6, name: 'munmap', run: munmap },
  { weight: 8, name: 'mprotect', run: mprotect },
  { weight: 6, name: 'mremap', run: mremap },
  { weight: 12, name: 'madvise', run: madvise },
  { weight: 4, name: 'fork', when: (w) => w.processes.length < TASKS_MAX, run: fork },
  { weight: 2, name: 'exit', when: (w) => w.processes.length > 1, run: exit },
  { weight: 1, name: 'lru_gen/enabled', run: (w) => setLruGen(w.k, w.k.reclaim.lruGen === null) },
  { weight: 2, name: 'reclaim', run: (w) => w.run(w.k.fn.tryToFreePages(w.k, 1 + w.rng.below(40))) },
  { weight: 3, name: 'move tables', run: moveTables },
  { weight: 6, name: 'ksm', run: ksm },
  { weight: 3, name: 'track', run: track },
  { weight: 4, name: 'poke', run: poke },
  { weight: 8, name: 'move pages', when: (w) => w.k.nodes.length > 1, run: movePages },
  { weight: 5, name: 'policies', when: (w) => w.k.nodes.length > 1, run: policies },
  { weight: 5, name: 'numa hints', when: (w) => w.k.nodes.length > 1, run: numaHints },
  { weight: 3, name: 'uffd protect', run: uffdProtect },
  { weight: 3, name: 'uffd fill', run: uffdFill },
  { weight: 14, name: 'read', run: (w, p) => w.access(p, w.address(), false) },
  { weight: 29, name: 'write', run: (w, p) => w.access(p, w.address(), true) },
  { weight: 16, name: 'huge mmap', when: hasRoomForHuge, run: hugeMmap },
  { weight: 8, name: 'huge munmap', when: hasRoomForHuge, run: hugeUnmap },
  { weight: 14, name: 'huge mprotect', when: hasRoomForHuge, run: hugeMprotect },
  { weight: 14, name: 'huge mremap', when: hasRoomForHuge, run: hugeMremap },
  { weight: 20, name: 'huge madvise', when: hasRoomForHuge, run: hugeMadvise },
  { weight: 50, name: 'huge access', when: hasRoomForHuge, run: hugeAccess },
  ...SHMEM_OPERATIONS,
];
