// What programs read is what was last written: random processes that map, write, fork, cut, unmap and move memory, against a naive
// twin that keeps plain bytes. Reverse map, counts and trees are recounted on the way.
import { describe, expect, it } from 'vitest';
import { ENOMEM } from '../src/abi/errno.ts';
import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_EXEC,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
  VM_FAULT_OOM,
  VM_FAULT_SIGBUS,
  VM_FAULT_SIGSEGV,
} from '../src/abi/mman.ts';
import { PTE_D, PTE_P, PTE_RW } from '../src/abi/pte.ts';
import { NR_mmap, NR_mprotect, NR_munmap } from '../src/abi/syscalls.ts';
import { Rng } from '../src/base/rng.ts';
import { pteWord, vpnHi, vpnLo } from '../src/hw/page-table.ts';
import { entryHi, entryLo, ptePfn, writeEntry } from '../src/hw/pte.ts';
import { kernelConfig } from '../src/mm/config.ts';
import { userLoad, userStore } from '../src/mm/cpu-access.ts';
import { patternByte } from '../src/mm/file/contents.ts';
import type { KernelFns } from '../src/mm/fns.ts';
import { Kernel } from '../src/mm/kernel.ts';
import { tryLockPage, unlockPage } from '../src/mm/page/page-lock.ts';
import { installFile } from '../src/mm/process/files.ts';
import { createProcess, doClone, doExit } from '../src/mm/process/task.ts';
import { profile } from '../src/mm/profile.ts';
import { checkIntervals, checkRmap } from '../src/mm/rmap/check.ts';
import { getPage } from '../src/mm/rmap/rmap.ts';
import { TTU_BATCH_FLUSH } from '../src/mm/rmap/unmap.ts';
import { SyscallArgs } from '../src/mm/syscalls/args.ts';
import { syscall } from '../src/mm/syscalls/table.ts';
import { linuxFns } from '../src/mm/table.ts';
import { type Inode, OpenFile, type Task, type VmArea } from '../src/mm/types.ts';
import type { AtomicPath, KernelPath } from '../src/sched/path.ts';

const seed = Number(process.env['SEED'] ?? 1);
const ops = Number(process.env['OPS'] ?? 40000);
const PAGE = 4096;
const BASE = 0x10000000;
/** Pages of the window in which everything is mapped; it spans two page tables. */
const WINDOW = 48;
const FIRST = 0x200000 - 20 * PAGE;

/** The bytes of a file, as long as its largest size ever; size is the present one. */
interface FileTwin {
  inode: Inode;
  bytes: Uint8Array;
  size: number;
}

interface PageTwin {
  prot: number;
  /** Private contents, once they differ from the file's (always for anonymous memory). */
  own: Uint8Array | null;
  file: FileTwin | null;
  index: number;
  shared: boolean;
}

interface ProcessTwin {
  task: Task;
  pages: (PageTwin | null)[];
}

/** How often each operation comes. */
const WEIGHTS = [
  ['store', 380],
  ['load', 300],
  ['compareWhole', 50],
  ['map', 40],
  ['unmap', 25],
  ['protect', 30],
  ['dontNeed', 15],
  ['fork', 15],
  ['exit', 13],
  ['write', 12],
  ['read', 12],
  ['truncate', 8],
  ['punch', 8],
  ['sync', 8],
  ['dropFilePage', 14],
  ['age', 6],
  ['pageOut', 40],
] as const;
const WEIGHT_SUM = WEIGHTS.reduce((sum, [, weight]) => sum + weight, 0);

class Worlds {
  readonly rng: Rng;
  readonly k: Kernel;
  readonly args = new SyscallArgs();
  readonly processes: ProcessTwin[] = [];
  readonly files: FileTwin[] = [];
  readonly fds: number[] = [];

  readonly isTight: boolean;

  constructor(worldSeed: number, frames: number, swapPages: number, livepatch: Partial<KernelFns> = {}) {
    this.rng = new Rng(worldSeed);
    this.isTight = frames < 1000;
    const config = kernelConfig({ frames, swapPages, profile: profile('6.1'), cpus: 2 });
    this.k = new Kernel(config, { ...linuxFns, ...livepatch });
    const task = this.run(createProcess(this.k, { areas: [], startBrk: 0x600000 }));
    for (let i = 0; i < 3; i++) {
      const kind = i === 2 ? 'shmem' : 'regular';
      const size = i === 0 ? 12 * PAGE : i === 1 ? 7 * PAGE + 1234 : 10 * PAGE;
      const inode = this.k.newInode(kind, `/file${i}`, size);
      const bytes = new Uint8Array(20 * PAGE);
      if (kind === 'regular') for (let b = 0; b < size; b++) bytes[b] = patternByte(inode.id, b);
      this.files.push({ inode, bytes, size });
      inode.users++;
      this.fds.push(installFile(this.k, task, new OpenFile(inode, true, true)));
    }
    this.processes.push({ task, pages: new Array<PageTwin | null>(WINDOW).fill(null) });
  }

  run<T>(path: KernelPath<T>): T {
    return this.k.sched.run(path);
  }

  call(task: Task, nr: number, ...a: number[]): number {
    return this.run(syscall(this.k, task, nr, this.args.of(a[0], a[1], a[2], a[3], a[4], a[5])));
  }

  va(page: number): number {
    return BASE + FIRST + page * PAGE;
  }

  randomRange(): [number, number] {
    const from = this.rng.below(WINDOW);
    return [from, Math.min(WINDOW, from + 1 + this.rng.below(this.rng.chance(1, 4) ? 24 : 6))];
  }

  map(p: ProcessTwin): void {
    const [from, to] = this.randomRange();
    const prot = this.rng.chance(1, 6) ? PROT_READ : this.rng.chance(1, 12) ? PROT_NONE : PROT_READ | PROT_WRITE;
    const kind = this.rng.below(4);
    const shared = this.rng.chance(1, 2);
    let file: FileTwin | null = null;
    let first = 0;
    let fd = -1;
    let flags = MAP_FIXED | (shared ? MAP_SHARED : MAP_PRIVATE);
    if (kind >= 2) {
      const which = this.rng.below(3);
      file = this.files[which]!;
      fd = this.fds[which]!;
      first = this.rng.below(8);
    } else flags |= MAP_ANONYMOUS;
    const length = (to - from) * PAGE;
    expect(this.call(p.task, NR_mmap, this.va(from), length, prot, flags, fd, first * PAGE)).toBe(this.va(from));
    if (kind < 2 && shared) {
      // Its own object: as a file that nobody else can open.
      const inode = p.task.mm!.vmas.findExact(this.va(from))!.file!.inode;
      file = { inode, bytes: new Uint8Array(length), size: length };
    }
    for (let i = from; i < to; i++) {
      const own = file === null ? new Uint8Array(PAGE) : null;
      p.pages[i] = { prot, own, file, index: first + i - from, shared };
    }
  }

  unmap(p: ProcessTwin): void {
    const [from, to] = this.randomRange();
    expect(this.call(p.task, NR_munmap, this.va(from), (to - from) * PAGE)).toBe(0);
    for (let i = from; i < to; i++) p.pages[i] = null;
  }

  protect(p: ProcessTwin): void {
    const [from, to] = this.randomRange();
    const prot = [PROT_NONE, PROT_READ, PROT_READ | PROT_WRITE, PROT_READ | PROT_EXEC, PROT_READ | PROT_WRITE][
      this.rng.below(5)
    ]!;
    if (p.pages.slice(from, to).includes(null)) return;
    expect(this.call(p.task, NR_mprotect, this.va(from), (to - from) * PAGE, prot)).toBe(0);
    for (let i = from; i < to; i++) p.pages[i]!.prot = prot;
  }

  /** MADV_DONTNEED of what is mapped in one VMA. */
  dontNeed(p: ProcessTwin): void {
    const [from, to] = this.randomRange();
    const vma = p.task.mm!.vmas.findExact(this.va(from));
    if (vma === null) return;
    const end = Math.min(vma.end, this.va(to));
    this.run(this.k.fn.zapPageRangeSingle(this.k, vma, this.va(from), end, true));
    for (let i = from; this.va(i) < end; i++) {
      const page = p.pages[i]!;
      if (page.own !== null) page.own = page.file === null ? new Uint8Array(PAGE) : null;
    }
  }

  fork(p: ProcessTwin): void {
    if (this.processes.length >= 4) return;
    const pid = this.run(doClone(this.k, p.task, 0));
    if (pid === -ENOMEM && this.isTight) return; // the half-made child is gone, the parent goes on
    expect(pid).toBeGreaterThan(0);
    const task = this.k.tasks.get(pid)!;
    task.cpu = this.rng.below(2);
    const pages = p.pages.map((x) => (x === null ? null : { ...x, own: x.own === null ? null : x.own.slice() }));
    this.processes.push({ task, pages });
  }

  exit(p: ProcessTwin): void {
    if (this.processes.length < 2) return;
    this.run(doExit(this.k, p.task));
    this.processes.splice(this.processes.indexOf(p), 1);
  }

  expected(page: PageTwin, offset: number): number {
    if (page.own !== null) return page.own[offset]!;
    return page.file!.bytes[page.index * PAGE + offset]!;
  }

  /** The failure that an access must end with, or 0. */
  failure(page: PageTwin | null, write: boolean): number {
    if (page === null || (write ? (page.prot & PROT_WRITE) === 0 : page.prot === PROT_NONE)) return VM_FAULT_SIGSEGV;
    // A private page that was copied stays, whatever becomes of the file behind it, until truncate takes it.
    if (page.own === null && page.file !== null && page.index * PAGE >= page.file.size) return VM_FAULT_SIGBUS;
    return 0;
  }

  /** Few places of a page, so that a load often meets a byte that was stored. */
  offset(): number {
    return this.rng.below(8) * 585;
  }

  load(p: ProcessTwin): void {
    const i = this.rng.below(WINDOW);
    const page = p.pages[i]!;
    const offset = this.offset();
    const got = this.run(userLoad(this.k, p.task, this.va(i) + offset));
    if (got === -VM_FAULT_OOM && this.isTight) return;
    const failure = this.failure(page, false);
    expect(got, `load of page ${i} + ${offset}`).toBe(failure !== 0 ? -failure : this.expected(page, offset));
  }

  store(p: ProcessTwin): void {
    const i = this.rng.below(WINDOW);
    const page = p.pages[i]!;
    const offset = this.offset();
    const value = this.rng.below(256);
    // What is stored behind the end of a file lives until the page is written back: not of interest here.
    if (page?.file && page.shared && page.index * PAGE + offset >= page.file.size) return;
    const got = this.run(userStore(this.k, p.task, this.va(i) + offset, value));
    if (got === -VM_FAULT_OOM && this.isTight) return;
    const failure = this.failure(page, true);
    expect(got, `store to page ${i} + ${offset}`).toBe(failure !== 0 ? -failure : 0);
    if (failure !== 0) return;
    if (page.file !== null && page.shared) {
      page.file.bytes[page.index * PAGE + offset] = value;
      return;
    }
    page.own ??= page.file!.bytes.slice(page.index * PAGE, (page.index + 1) * PAGE);
    page.own[offset] = value;
  }

  /** Every byte of a page, through the page tables as a debugger reads. */
  compareWhole(p: ProcessTwin): void {
    const i = this.rng.below(WINDOW);
    const page = p.pages[i]!;
    const bytes = new Uint8Array(PAGE);
    const got = this.run(this.k.fn.accessRemoteVm(this.k, p.task.mm!, this.va(i), bytes, false));
    if (page === null || (page.prot & PROT_READ) === 0 || this.failure(page, false) !== 0) {
      expect(got).toBeLessThan(0);
      return;
    }
    expect(got).toBe(PAGE);
    const want = page.own ?? page.file!.bytes.subarray(page.index * PAGE, (page.index + 1) * PAGE);
    expect(Buffer.compare(bytes, want), `page ${i}`).toBe(0);
  }

  write(): void {
    const f = this.files[this.rng.below(3)]!;
    const offset = this.rng.below(Math.min(f.size + 2 * PAGE, 19 * PAGE));
    const bytes = new Uint8Array(1 + this.rng.below(PAGE)).map(() => this.rng.below(256));
    expect(this.run(this.k.fn.fileWrite(this.k, f.inode, offset, bytes.length, bytes))).toBe(bytes.length);
    f.bytes.set(bytes, offset);
    f.size = Math.max(f.size, offset + bytes.length);
  }

  read(): void {
    const f = this.files[this.rng.below(3)]!;
    const offset = this.rng.below(f.size + PAGE);
    const out = new Uint8Array(1 + this.rng.below(2 * PAGE));
    const want = Math.max(0, Math.min(out.length, f.size - offset));
    expect(this.run(this.k.fn.fileRead(this.k, f.inode, offset, out.length, out))).toBe(want);
    expect(Buffer.compare(out.subarray(0, want), f.bytes.subarray(offset, offset + want))).toBe(0);
  }

  truncate(): void {
    const f = this.files[this.rng.below(3)]!;
    const size = this.rng.below(12 * PAGE);
    expect(this.run(this.k.fn.truncate(this.k, f.inode, size))).toBe(0);
    f.bytes.fill(0, Math.min(size, f.size));
    if (size < f.size) this.dropCopies(f, Math.ceil(size / PAGE));
    f.size = size;
  }

  /** Truncation takes private copies beyond the new end too. */
  dropCopies(f: FileTwin, first: number): void {
    for (const p of this.processes)
      for (const page of p.pages) if (page !== null && page.file === f && page.index >= first) page.own = null;
  }

  punch(): void {
    const f = this.files[this.rng.below(3)]!;
    const start = this.rng.below(f.size + 1);
    const end = Math.min(f.size, start + this.rng.below(3 * PAGE));
    if (end <= start) return;
    expect(this.run(this.k.fn.punchHole(this.k, f.inode, start, end))).toBe(0);
    f.bytes.fill(0, start, end);
  }

  sync(): void {
    const f = this.files[this.rng.below(3)]!;
    this.run(this.k.fn.filemapWriteAndWaitRange(this.k, f.inode.mapping, 0, f.size));
  }

  /** Takes a clean page of a file out of all mappings and the cache, as reclaim does. */
  dropFilePage(): void {
    const { k } = this;
    const f = this.files[this.rng.below(2)]!;
    const index = this.rng.below(12);
    const pfn = f.inode.mapping.pages.get(index);
    if (pfn === undefined) return;
    getPage(k, pfn);
    expect(tryLockPage(k, pfn)).toBe(true);
    expect(this.run(k.fn.tryToUnmap(k, pfn, TTU_BATCH_FLUSH))).toBe(true);
    this.run(k.fn.tryToUnmapFlush(k));
    this.run(k.fn.writepage(k, pfn));
    expect(k.pages.refcount[pfn]).toBe(2);
    k.fn.deleteFromPageCache(k, pfn);
    unlockPage(k, pfn);
    k.fn.putPage(k, pfn);
  }

  /** MADV_PAGEOUT: clean file pages stay cached, anonymous and shared ones go to swap. */
  pageOut(p: ProcessTwin): void {
    const [from, to] = this.randomRange();
    const vma = p.task.mm!.vmas.findExact(this.va(from));
    if (vma !== null) this.run(this.k.fn.madvisePageout(this.k, vma, this.va(from), Math.min(vma.end, this.va(to))));
  }

  age(): void {
    const { k } = this;
    const f = this.files[this.rng.below(3)]!;
    for (const pfn of f.inode.mapping.pages.values()) this.run(k.fn.folioReferenced(k, pfn, false));
  }

  step(): void {
    const p = this.processes[this.rng.below(this.processes.length)]!;
    if (this.rng.chance(1, 8)) p.task.cpu = this.rng.below(2);
    let roll = this.rng.below(WEIGHT_SUM);
    const op = WEIGHTS.find(([, weight]) => (roll -= weight) < 0)![0];
    this[op](p);
  }

  play(count: number): void {
    for (let i = 0; i < count; i++) {
      try {
        this.step();
        if (i % 8 === 0) this.checkTlbs();
        if (i % 200 === 0) this.check();
      } catch (error) {
        throw new Error(`SEED=${seed} operation ${i}: ${(error as Error).message}`, { cause: error });
      }
    }
  }

  /** Between operations no CPU may hold a translation that the page tables do not give. */
  checkTlbs(): void {
    const m = this.k.memory;
    for (const { tlb } of this.k.cpus) {
      for (let at = 0; at < tlb.entries.length; at += 4) {
        const mm = tlb.isUsed(at) ? this.k.mms.get(tlb.asid(at)) : undefined;
        if (mm === undefined) continue;
        const va = tlb.address(at);
        const word = pteWord(m, mm.pgd, vpnHi(va), vpnLo(va));
        const lo = word < 0 ? 0 : entryLo(m, word);
        const agrees = (lo & PTE_P) !== 0 && ptePfn(lo) === tlb.pfn(at) && (tlb.flags(at) & PTE_RW & ~lo) === 0;
        expect(agrees, `CPU TLB of mm ${mm.id} at ${va.toString(16)}`).toBe(true);
      }
    }
  }

  check(): void {
    checkRmap(this.k);
    checkIntervals(this.k);
  }
}

describe(`reads return what was last written (SEED=${seed})`, () => {
  // Frames and swap slots: roomy, with swapping on request, and so small that allocations reclaim.
  const sizes: readonly (readonly [number, number])[] = [
    [4096, 0],
    [4096, 512],
    [84, 512],
  ];
  for (const [world, [frames, swapPages]] of sizes.entries()) {
    it(`${frames} frames, ${swapPages} swap slots: ${ops} operations of up to four processes agree with plain bytes`, () => {
      const w = new Worlds(seed * 1000 + world, frames, swapPages);
      w.play(ops);
      w.check();
      while (w.processes.length > 1) w.exit(w.processes[0]!);
      w.run(doExit(w.k, w.processes[0]!.task));
      w.check();
      expect(w.k.mms.size).toBe(0);
      for (const f of w.files) w.run(w.k.fn.evictInode(w.k, f.inode));
      for (let pfn = 1; pfn < w.k.pages.count; pfn++) expect(w.k.pages.mapcount[pfn]).toBe(0);
      w.k.buddy.checkInvariants();
      expect(w.k.swap.used).toBe(0);
      if (swapPages > 0) expect(w.k.stats.swapIns).toBeGreaterThan(ops / 500);
      expect(w.k.pages.free).toBe(w.k.pages.count - w.k.pages.firstUsable);
    }, 60000);
  }
});

describe(`the same test finds a kernel that forgets a flush (SEED=${seed})`, () => {
  const nothing = function* (): AtomicPath<void> {};
  const broken: readonly (readonly [string, Partial<KernelFns>])[] = [
    ['copy on write without the CPU flush', { flushTlbPage: nothing }],
    ['fork without the flush of the parent', { flushTlbMm: nothing }],
    ['reclaim without its postponed flush', { tryToUnmapFlush: nothing }],
    ['a copy that is not made', { wpPageCopy: skipCopy }],
    ['munmap without the flush of the gather', { tlbFlushMmuTlbonly: nothing }],
  ];
  for (const [name, livepatch] of broken) {
    it(name, () => {
      expect(() => new Worlds(seed * 1000, 4096, 512, livepatch).play(20000)).toThrow(/SEED/);
    });
  }
});

/** COW that hands the shared page to the writer. */
function* skipCopy(k: Kernel, vma: VmArea, address: number, oldPfn: number): KernelPath<number> {
  const word = pteWord(k.memory, vma.mm.pgd, vpnHi(address), vpnLo(address));
  const lo = entryLo(k.memory, word) | PTE_RW | PTE_D;
  writeEntry(k.memory, word, lo, entryHi(k.memory, word), vma.mm.id, address, 0);
  if (oldPfn !== 0) k.fn.putPage(k, oldPfn);
  return 0;
}
