// Rows of the soak with huge pages of shared memory: an unlinked file of 8 MiB that every process has open, mapped shared or private
// (then only read), in its own alignment or off it, cut, punched, written and read by calls, aged, collapsed, while the settings
// change. The twin knows one byte for each page of the file; pages that are mapped lead there.
import {
  MADV_COLD,
  MADV_COLLAPSE,
  MADV_DONTNEED,
  MADV_HUGEPAGE,
  MADV_NOHUGEPAGE,
  MADV_PAGEOUT,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  PROT_READ,
  PROT_WRITE,
} from '../../src/abi/mman.ts';
import { NR_fallocate, NR_ftruncate, NR_madvise, NR_mmap, NR_mremap, NR_munmap } from '../../src/abi/syscalls.ts';
import { khugepagedScan } from '../../src/mm/huge/khugepaged.ts';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE } from '../../src/mm/syscalls/memfd.ts';
import { shmemFileSetup } from '../../src/mm/vma/shmem-file.ts';
import { expectEqual, type Process, protect, type RandomMemory, type TwinCell } from './random-memory.ts';

const PAGE = 4096;
const FD = 60;
const FILE_PAGES = 2048;
const FILE_SIZE = FILE_PAGES * PAGE;
const BLOCK = 0x200000;
/** Where the file is mapped: page i at its own place, or one page further. */
const AREA = 0x180000000;
const AREA_PAGES = FILE_PAGES + 1;

/** What the twin knows of the file: a byte for each page. */
const cellsOf = new WeakMap<RandomMemory, TwinCell[]>();

function cells(w: RandomMemory): TwinCell[] {
  let known = cellsOf.get(w);
  if (known === undefined) {
    known = Array.from({ length: FILE_PAGES }, () => ({ byte: 0, lazy: false }));
    cellsOf.set(w, known);
    const task = w.processes[0]!.task;
    const file = shmemFileSetup(w.k, task.mm!, '/memfd:soak', FILE_SIZE, true)!;
    for (const p of w.processes) {
      if (p !== w.processes[0]) file.refcount++;
      p.task.files.open.set(FD, file);
    }
  }
  return known;
}

/** Pages of the file, or of the area: whole blocks, a few, or anything. */
function piece(w: RandomMemory, pages = FILE_PAGES): { first: number; count: number } {
  const { rng } = w;
  const kind = rng.below(3);
  if (kind === 0) {
    const block = rng.below(4);
    return { first: block * 512, count: (1 + rng.below(4 - block)) * 512 };
  }
  const first = rng.below(pages);
  return { first, count: 1 + rng.below(kind === 1 ? Math.min(16, pages - first) : pages - first) };
}

function map(w: RandomMemory, p: Process): void {
  const file = cells(w);
  const { first, count } = piece(w);
  const at = AREA + (first + (w.rng.chance(1, 4) ? 1 : 0)) * PAGE;
  const isShared = w.rng.chance(3, 4);
  const prot = isShared ? PROT_READ | PROT_WRITE : PROT_READ;
  const flags = MAP_FIXED | (isShared ? MAP_SHARED : MAP_PRIVATE);
  expectEqual('mmap', w.call(p, NR_mmap, at, count * PAGE, prot, flags, FD, first * PAGE), at);
  for (let i = 0; i < count; i++)
    p.twin.set(at + i * PAGE, { readable: true, writable: isShared, shared: true, cell: file[first + i]! });
}

function unmap(w: RandomMemory, p: Process): void {
  const { first, count } = piece(w, AREA_PAGES);
  expectEqual('munmap', w.call(p, NR_munmap, AREA + first * PAGE, count * PAGE), 0);
  for (let i = 0; i < count; i++) p.twin.delete(AREA + (first + i) * PAGE);
}

function isPrivate(p: Process, at: number): boolean {
  const page = p.twin.get(at);
  return page !== undefined && !page.writable;
}

function changeRights(w: RandomMemory, p: Process): void {
  const { first, count } = piece(w, AREA_PAGES);
  // Private pages stay as they are: a store would make a copy that the twin does not know.
  for (let i = 0; i < count; i++) {
    const vma = p.task.mm!.vmas.findExact(AREA + (first + i) * PAGE);
    if (vma !== null && (vma.flags & 8) === 0 && isPrivate(p, AREA + (first + i) * PAGE)) return;
  }
  protect(w, p, AREA + first * PAGE, count * PAGE);
}

function move(w: RandomMemory, p: Process): void {
  const { first, count } = piece(w, AREA_PAGES);
  const from = AREA + first * PAGE;
  const length = count * PAGE;
  const vma = p.task.mm!.vmas.findExact(from);
  if (vma === null || from + length > vma.end) return;
  const to = AREA + 4 * BLOCK + PAGE * 4096 + (w.rng.chance(2, 3) ? first * PAGE : w.rng.below(512) * PAGE);
  const moveTo = (a: number, b: number): void => {
    expectEqual('mremap', w.call(p, NR_mremap, a, length, length, MREMAP_MAYMOVE | MREMAP_FIXED, b), b);
    w.moved(p, a, b, length);
  };
  // There and back, with a look at it in between.
  moveTo(from, to);
  w.access(p, to + w.rng.below(count) * PAGE, w.rng.chance(1, 2), 2);
  moveTo(to, from);
}

function advise(w: RandomMemory, p: Process): void {
  const { first, count } = piece(w, AREA_PAGES);
  const all = [MADV_DONTNEED, MADV_COLD, MADV_PAGEOUT, MADV_HUGEPAGE, MADV_HUGEPAGE, MADV_NOHUGEPAGE, MADV_COLLAPSE];
  w.call(p, NR_madvise, AREA + first * PAGE, count * PAGE, all[w.rng.below(all.length)]!);
}

/** A block of the file, mapped in its place, with small pages in it, is collapsed: by MADV_COLLAPSE, or by khugepaged, which is told first. */
function collapse(w: RandomMemory, p: Process): void {
  const file = cells(w);
  const first = w.rng.below(4) * 512;
  const at = AREA + first * PAGE;
  const { huge } = w.k;
  const { shmemEnabled } = huge;
  huge.shmemEnabled = 'never';
  const flags = MAP_FIXED | MAP_SHARED;
  expectEqual('mmap', w.call(p, NR_mmap, at, BLOCK, PROT_READ | PROT_WRITE, flags, FD, first * PAGE), at);
  for (let i = 0; i < 512; i++)
    p.twin.set(at + i * PAGE, { readable: true, writable: true, shared: true, cell: file[first + i]! });
  w.access(p, at + w.rng.below(500) * PAGE, true, 6);
  if (w.rng.chance(1, 2)) w.call(p, NR_madvise, at, BLOCK, MADV_COLLAPSE);
  else {
    huge.shmemEnabled = 'always';
    w.call(p, NR_madvise, at, BLOCK, MADV_HUGEPAGE);
    w.run(khugepagedScan(w.k));
  }
  huge.shmemEnabled = shmemEnabled;
  w.access(p, at + w.rng.below(500) * PAGE, w.rng.chance(1, 2), 6);
}

function cut(w: RandomMemory, p: Process): void {
  const file = cells(w);
  const { first, count } = piece(w);
  let end = first + count;
  if (w.rng.chance(1, 3)) {
    end = FILE_PAGES;
    expectEqual('ftruncate', w.call(p, NR_ftruncate, FD, first * PAGE), 0);
    expectEqual('ftruncate', w.call(p, NR_ftruncate, FD, FILE_SIZE), 0);
  } else {
    const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    expectEqual('fallocate', w.call(p, NR_fallocate, FD, mode, first * PAGE, count * PAGE), 0);
  }
  for (let i = first; i < end; i++) file[i]!.byte = 0;
}

/** write() and read() of a few pages. Only the first byte of each counts. */
function transfer(w: RandomMemory, p: Process): void {
  const file = cells(w);
  const first = w.rng.below(FILE_PAGES - 4);
  const inode = p.task.files.open.get(FD)!.inode;
  const bytes = new Uint8Array(4 * PAGE);
  if (w.rng.chance(1, 2)) {
    for (let i = 0; i < 4; i++) bytes[i * PAGE] = w.rng.below(256);
    const done = w.run(w.k.fn.fileWrite(w.k, inode, first * PAGE, bytes.length, bytes));
    for (let i = 0; i * PAGE < done; i++) file[first + i]!.byte = bytes[i * PAGE]!;
    return;
  }
  const done = w.run(w.k.fn.fileRead(w.k, inode, first * PAGE, bytes.length, bytes));
  for (let i = 0; i * PAGE < done; i++)
    expectEqual(`byte of page ${first + i}`, bytes[i * PAGE], file[first + i]!.byte);
}

function access(w: RandomMemory, p: Process): void {
  const isWrite = w.rng.chance(2, 3);
  for (let i = 0; i < 12; i++) w.access(p, AREA + w.rng.below(AREA_PAGES) * PAGE, isWrite, 1 + w.rng.below(3));
}

function settings(w: RandomMemory): void {
  const { huge } = w.k;
  const all = ['always', 'always', 'within_size', 'advise', 'never', 'deny', 'force'] as const;
  huge.shmemEnabled = all[w.rng.below(all.length)]!;
}

function khugepaged(w: RandomMemory): void {
  const { huge } = w.k;
  huge.enabled = (['always', 'madvise'] as const)[w.rng.below(2)]!;
  w.run(khugepagedScan(w.k, 512 * (1 + w.rng.below(8))));
  huge.enabled = 'madvise';
}

const hasRoom = (w: RandomMemory): boolean => w.k.pages.count >= 4096;

export const SHMEM_OPERATIONS = [
  { weight: 16, name: 'shmem map', when: hasRoom, run: map },
  { weight: 6, name: 'shmem unmap', when: hasRoom, run: unmap },
  { weight: 8, name: 'shmem mprotect', when: hasRoom, run: changeRights },
  { weight: 8, name: 'shmem mremap', when: hasRoom, run: move },
  { weight: 16, name: 'shmem madvise', when: hasRoom, run: advise },
  { weight: 8, name: 'shmem collapse', when: hasRoom, run: collapse },
  { weight: 8, name: 'shmem cut', when: hasRoom, run: cut },
  { weight: 10, name: 'shmem transfer', when: hasRoom, run: transfer },
  { weight: 50, name: 'shmem access', when: hasRoom, run: access },
  { weight: 3, name: 'shmem_enabled', when: hasRoom, run: settings },
  { weight: 4, name: 'khugepaged', when: hasRoom, run: khugepaged },
];
