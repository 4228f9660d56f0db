// Huge pages of the pool against a naive twin (one byte for each huge page of each process), with everything recounted after every
// operation; and the rules of reservations, shared tables and files one by one.
import { describe, expect, it } from 'vitest';
import { EINVAL, ENOMEM } from '../../abi/errno.ts';
import * as A from '../../abi/mman.ts';
import {
  NR_exit,
  NR_fallocate,
  NR_fork,
  NR_ftruncate,
  NR_madvise,
  NR_mmap,
  NR_mprotect,
  NR_mremap,
  NR_munmap,
} from '../../abi/syscalls.ts';
import { Rng } from '../../base/rng.ts';
import { pudWord, vpnHi } from '../../hw/page-table.ts';
import { entryLo } from '../../hw/pte.ts';
import { checkWorld } from '../check-world.ts';
import { kernelConfig } from '../config.ts';
import { userLoad, userStore } from '../cpu-access.ts';
import { Kernel } from '../kernel.ts';
import { closeFd, openFile } from '../process/files.ts';
import { createProcess } from '../process/task.ts';
import { profile } from '../profile.ts';
import { SyscallArgs } from '../syscalls/args.ts';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from '../syscalls/memfd.ts';
import { mincorePages } from '../syscalls/mincore.ts';
import { syscall } from '../syscalls/table.ts';
import { linuxFns } from '../table.ts';
import type { Inode, Task } from '../types.ts';
import { newHugetlbfsInode } from './file.ts';
import { setNrHugepages } from './pool.ts';

const M2 = 0x200000;
const G1 = 0x40000000;
const RW = A.PROT_READ | A.PROT_WRITE;
const ANON = A.MAP_ANONYMOUS | A.MAP_HUGETLB | A.MAP_FIXED;
const seed = Number(process.env['SEED'] ?? 11);

class World {
  readonly k: Kernel;
  readonly first: Task;

  constructor(hugePages = 8, version = '6.1') {
    const config = kernelConfig({ frames: 512 * (hugePages + 6), hugePages, profile: profile(version) });
    this.k = new Kernel(config, linuxFns);
    const areas = [{ start: 0x400000, end: 0x402000, perms: 'r-xp', offset: 0, path: '/bin/test' }];
    this.first = this.k.sched.run(createProcess(this.k, { areas, startBrk: 0x600000 }));
  }

  call(task: Task, nr: number, ...words: number[]): number {
    const args = new SyscallArgs();
    words.forEach((word, i) => {
      args.set(i, word);
    });
    const r = this.k.sched.run(syscall(this.k, task, nr, args));
    checkWorld(this.k);
    return r;
  }

  fork(task: Task): Task {
    return this.k.tasks.get(this.call(task, NR_fork))!;
  }

  store(task: Task, at: number, byte: number): number {
    const r = this.k.sched.run(userStore(this.k, task, at, byte));
    checkWorld(this.k);
    return r;
  }

  load(task: Task, at: number): number {
    return this.k.sched.run(userLoad(this.k, task, at));
  }

  file(task: Task, size: number): { inode: Inode; fd: number } {
    const inode = newHugetlbfsInode(this.k, '/mnt/huge/f');
    const fd = openFile(this.k, task, inode, true, true);
    expect(this.call(task, NR_ftruncate, fd, size)).toBe(0);
    return { inode, fd };
  }

  /** free, reserved */
  get pool(): [number, number] {
    return [this.k.hugetlb.free.length, this.k.hugetlb.reserved];
  }
}

describe('reservations', () => {
  it('are made by mmap, used by faults, and given back by munmap', () => {
    const w = new World(4);
    expect(w.call(w.first, NR_mmap, G1, 3 * M2, RW, ANON | A.MAP_PRIVATE, -1, 0)).toBe(G1);
    expect(w.pool).toEqual([4, 3]);
    expect(w.call(w.first, NR_mmap, 2 * G1, 2 * M2, RW, ANON | A.MAP_PRIVATE, -1, 0)).toBe(-ENOMEM);
    w.store(w.first, G1 + M2, 1);
    expect(w.pool).toEqual([3, 2]);
    expect(w.call(w.first, NR_munmap, G1 + M2, M2)).toBe(0);
    expect(w.pool).toEqual([4, 2]);
    expect(w.call(w.first, NR_munmap, G1, 3 * M2)).toBe(0);
    expect(w.pool).toEqual([4, 0]);
  });

  it('MAP_NORESERVE promises nothing: the fault that finds no page is a SIGBUS', () => {
    const w = new World(1);
    const flags = ANON | A.MAP_PRIVATE | A.MAP_NORESERVE;
    expect(w.call(w.first, NR_mmap, G1, 2 * M2, RW, flags, -1, 0)).toBe(G1);
    expect(w.store(w.first, G1, 1)).toBe(0);
    expect(w.store(w.first, G1 + M2, 1)).toBe(-A.VM_FAULT_SIGBUS);
  });

  it('of a shared file stay after munmap and go with a truncation', () => {
    const w = new World(4);
    const { fd } = w.file(w.first, 3 * M2);
    w.call(w.first, NR_mmap, G1, 3 * M2, RW, A.MAP_SHARED | A.MAP_FIXED, fd, 0);
    w.store(w.first, G1, 7);
    w.call(w.first, NR_munmap, G1, 3 * M2);
    expect(w.pool).toEqual([3, 2]);
    expect(w.call(w.first, NR_ftruncate, fd, 4096)).toBe(-EINVAL);
    expect(w.call(w.first, NR_ftruncate, fd, M2)).toBe(0);
    expect(w.pool).toEqual([3, 0]);
    expect(w.call(w.first, NR_fallocate, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, M2)).toBe(0);
    expect(w.pool).toEqual([4, 0]);
  });

  it('MADV_DONTNEED gives the page up for good until 6.8, later only the page', () => {
    for (const [version, reserved] of [
      ['6.1', 0],
      ['6.12', 1],
    ] as const) {
      const w = new World(1, version);
      w.call(w.first, NR_mmap, G1, M2, RW, ANON | A.MAP_PRIVATE, -1, 0);
      w.store(w.first, G1, 1);
      expect(w.call(w.first, NR_madvise, G1, M2, A.MADV_DONTNEED)).toBe(0);
      expect(w.pool).toEqual([1, reserved]);
      expect(w.call(w.first, NR_madvise, G1, 4096, A.MADV_DONTNEED)).toBe(0);
      expect(w.call(w.first, NR_madvise, G1 + 4096, M2, A.MADV_DONTNEED)).toBe(-EINVAL);
    }
  });

  it('a parent that cannot copy takes the page from its child', () => {
    const w = new World(1);
    w.call(w.first, NR_mmap, G1, M2, RW, ANON | A.MAP_PRIVATE, -1, 0);
    w.store(w.first, G1, 1);
    const child = w.fork(w.first);
    expect(w.load(child, G1)).toBe(1);
    expect(w.store(w.first, G1, 2)).toBe(0);
    expect(w.load(child, G1)).toBe(-A.VM_FAULT_SIGBUS);
    expect(w.load(w.first, G1)).toBe(2);
  });

  it('the pool grows and shrinks by what is free and unreserved', () => {
    const w = new World(2);
    w.call(w.first, NR_mmap, G1, M2, RW, ANON | A.MAP_PRIVATE, -1, 0);
    expect(setNrHugepages(w.k, 0)).toBe(1);
    checkWorld(w.k);
    expect(setNrHugepages(w.k, 3)).toBe(3);
    checkWorld(w.k);
  });
});

describe('page tables', () => {
  it('a place that nobody chose is the highest multiple of 2 MiB with room', () => {
    const w = new World(4);
    const flags = A.MAP_ANONYMOUS | A.MAP_HUGETLB | A.MAP_PRIVATE;
    const top = 0x7ffff7fff000;
    w.call(w.first, NR_mmap, 0, 4096, RW, A.MAP_ANONYMOUS | A.MAP_PRIVATE, -1, 0);
    const at = w.call(w.first, NR_mmap, 0, 4096, RW, flags, -1, 0);
    expect([at % M2, top - at < 2 * M2 + 4096]).toEqual([0, true]);
    expect(w.call(w.first, NR_mmap, 0, M2, RW, flags, -1, 0)).toBe(at - M2);
  });

  it('edges inside a huge page are EINVAL everywhere', () => {
    const w = new World(4);
    expect(w.call(w.first, NR_mmap, G1 + 4096, M2, RW, ANON | A.MAP_PRIVATE, -1, 0)).toBe(-EINVAL);
    expect(w.call(w.first, NR_mmap, G1, 4096, RW, ANON | A.MAP_PRIVATE, -1, 0)).toBe(G1);
    expect(w.call(w.first, NR_munmap, G1, 4096)).toBe(-EINVAL);
    expect(w.call(w.first, NR_mprotect, G1, 4096, A.PROT_READ)).toBe(-EINVAL);
    expect(w.call(w.first, NR_mremap, G1, M2, 2 * M2, A.MREMAP_MAYMOVE)).toBe(-EINVAL);
  });

  it('processes share the table of a GiB until one of them changes it', () => {
    const w = new World(4);
    const { fd } = w.file(w.first, G1);
    const flags = A.MAP_SHARED | A.MAP_FIXED | A.MAP_NORESERVE;
    w.call(w.first, NR_mmap, G1, G1, RW, flags, fd, 0);
    w.store(w.first, G1 + 5 * M2, 5);
    const child = w.fork(w.first);
    expect(w.load(child, G1 + 5 * M2)).toBe(5);
    const tableOf = (t: Task): number => entryLo(w.k.memory, pudWord(w.k.memory, t.mm!.pgd, vpnHi(G1))) >>> 12;
    expect(tableOf(child)).toBe(tableOf(w.first));
    w.store(child, G1 + 6 * M2, 6);
    expect(w.load(w.first, G1 + 6 * M2)).toBe(6);
    const vec = new Uint8Array(512);
    w.k.sched.run(mincorePages(w.k, w.first.mm!, G1 + 6 * M2, vec));
    expect(vec[511]).toBe(1);
    expect(w.call(w.first, NR_mprotect, G1, M2, A.PROT_READ)).toBe(0);
    expect(tableOf(w.first)).toBe(0);
    expect(w.load(w.first, G1 + 6 * M2)).toBe(6);
    expect(tableOf(w.first)).not.toBe(tableOf(child));
    w.call(w.first, NR_munmap, G1, G1);
    expect(w.load(child, G1 + 5 * M2)).toBe(5);
    w.call(child, NR_exit, 0);
    w.k.sched.run(closeFd(w.k, w.first, fd));
    checkWorld(w.k);
  });
});

/** One process of the random programs, and its bytes by huge page. */
interface Process {
  readonly task: Task;
  readonly bytes: Map<number, { cell: { byte: number }; isShared: boolean; isWritable: boolean }>;
}

const SLOTS = 6;
const slot = (i: number): number => G1 + i * M2;

function randomRun(version: string, steps: number, run: number): void {
  const rng = new Rng(seed * 1000 + run);
  const w = new World(7, version);
  const list: Process[] = [{ task: w.first, bytes: new Map() }];
  for (let step = 0; step < steps; step++) {
    const p = list[rng.below(list.length)]!;
    const at = slot(rng.below(SLOTS));
    const length = (1 + rng.below(2)) * M2;
    const inside = [...p.bytes.keys()].filter((a) => a >= at && a < at + length);
    switch (rng.below(9)) {
      case 0: {
        const isShared = rng.chance(1, 3);
        const flags = ANON | (isShared ? A.MAP_SHARED : A.MAP_PRIVATE) | (rng.chance(1, 4) ? A.MAP_NORESERVE : 0);
        const r = w.call(p.task, NR_mmap, at, length, RW, flags, -1, 0);
        for (let a = at; a < at + length; a += M2) {
          if (r === at) p.bytes.set(a, { cell: { byte: 0 }, isShared, isWritable: true });
          else p.bytes.delete(a);
        }
        break;
      }
      case 1:
        expect(w.call(p.task, NR_munmap, at, length)).toBe(0);
        for (const a of inside) p.bytes.delete(a);
        break;
      case 2: {
        const isWritable = rng.chance(1, 2);
        if (inside.length * M2 < length) break;
        expect(w.call(p.task, NR_mprotect, at, length, isWritable ? RW : A.PROT_READ)).toBe(0);
        for (const a of inside) p.bytes.set(a, { ...p.bytes.get(a)!, isWritable });
        break;
      }
      case 3:
        w.call(p.task, NR_madvise, at, length, A.MADV_DONTNEED);
        for (const a of inside) if (!p.bytes.get(a)!.isShared) p.bytes.get(a)!.cell.byte = 0;
        break;
      case 4: {
        if (list.length >= 3 || rng.chance(1, 2)) break;
        // Where a page was taken away for the parent's sake, the child finds neither it nor the mark.
        const kept = [...p.bytes].filter(([a]) => !p.task.mm!.vmas.findExact(a)!.hugetlb!.isUnmapped);
        const bytes = new Map(kept.map(([a, c]) => [a, { ...c, cell: c.isShared ? c.cell : { ...c.cell } }]));
        list.push({ task: w.fork(p.task), bytes });
        break;
      }
      case 5: {
        const to = slot(SLOTS + rng.below(SLOTS));
        const from = p.task.mm!.vmas.findExact(at);
        if (from === null || from.start !== at) break;
        const size = from.end - from.start;
        const r = w.call(p.task, NR_mremap, at, size, size, A.MREMAP_MAYMOVE | A.MREMAP_FIXED, to);
        if (r !== to) break;
        const moved = [...p.bytes].filter(([a]) => a >= at && a < at + size);
        for (let a = to; a < to + size; a += M2) p.bytes.delete(a);
        for (const [a] of moved) p.bytes.delete(a);
        for (const [a, c] of moved) p.bytes.set(a + to - at, c);
        break;
      }
      default:
        access(w, rng, p);
    }
    if (list.length > 1 && rng.chance(1, 30)) {
      w.call(p.task, NR_exit, 0);
      list.splice(list.indexOf(p), 1);
    }
  }
  for (const p of list) w.call(p.task, NR_exit, 0);
  expect(w.pool).toEqual([7, 0]);
}

function access(w: World, rng: Rng, p: Process): void {
  for (const [a, { cell, isWritable }] of p.bytes) {
    const at = a + rng.below(512) * 4096;
    const isShort = w.k.hugetlb.available <= 0;
    const vma = p.task.mm!.vmas.findExact(a)!;
    if (rng.chance(1, 2)) {
      const byte = 1 + rng.below(255);
      const r = w.store(p.task, a, byte);
      if (r === 0) cell.byte = byte;
      else if (isWritable) expect([isShort || vma.hugetlb!.isUnmapped, r]).toEqual([true, -A.VM_FAULT_SIGBUS]);
      expect(r === 0 && !isWritable).toBe(false);
    } else {
      const r = w.load(p.task, a);
      if (r >= 0) expect(r).toBe(cell.byte);
      else expect(isShort || vma.hugetlb!.isUnmapped).toBe(true);
    }
    if (w.load(p.task, at) < 0) expect(w.k.hugetlb.available <= 0 || vma.hugetlb!.isUnmapped).toBe(true);
  }
}

describe('random programs', () => {
  for (const version of ['6.1', '6.18'])
    it(`keep contents, counts and reservations right on ${version} (SEED=${seed})`, () => {
      for (let run = 0; run < 4; run++) randomRun(version, 150, run);
    });
});
