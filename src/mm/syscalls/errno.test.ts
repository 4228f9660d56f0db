// The errors of the address-space calls in Linux's order of checks: each case violates the named rule, and every later one
// that can be violated with it, so that an order of our own would answer something else.

import { describe, expect, test } from 'vitest';
import * as E from '../../abi/errno.ts';
import * as A from '../../abi/mman.ts';
import * as NR from '../../abi/syscalls.ts';
import type { KernelConfig } from '../config.ts';
import { userLoad, userStore } from '../cpu-access.ts';
import { openFile } from '../process/files.ts';
import { World } from '../vma/test-world.ts';
import { addSeals, memfdCreate } from './memfd.ts';

const ANON = A.MAP_PRIVATE | A.MAP_ANONYMOUS;
const RW = A.PROT_READ | A.PROT_WRITE;
const AT = 0x10000000000;
const TOP = A.TASK_SIZE;
/** Descriptors of fileWorld. */
const FD_RW = 0;
const FD_RO = 1;
const FD_WO = 2;
const FD_DIR = 3;
const FD_SEALED = 4;
const FD_APPEND = 5;

function fileWorld(profileName = '6.1', parts: Partial<KernelConfig> = {}): World {
  const w = new World(profileName, parts);
  const { k, task } = w;
  const inode = k.newInode('regular', '/data', 1 << 20);
  openFile(k, task, inode, true, true);
  openFile(k, task, inode, true, false);
  openFile(k, task, inode, false, true);
  openFile(k, task, k.newInode('directory', '/', 0), true, false);
  const memfd = memfdCreate(k, task, 'sealed', 2);
  expect(addSeals(task, memfd, 8)).toBe(0);
  openFile(k, task, inode, true, true, false, true);
  return w;
}

describe('mmap', () => {
  const huge = 2 ** 44;
  test.each<[string, number[], number]>([
    ['1 offset unaligned, before the bad descriptor', [0, 0, RW, 2, 99, 5], -E.EINVAL],
    ['2 bad descriptor, before length 0', [0, 0, RW, 2, 99, 0], -E.EBADF],
    ['3 MAP_HUGETLB on a plain file', [0, 0, RW, 2 | A.MAP_HUGETLB, FD_RW, 0], -E.EINVAL],
    ['4 unknown huge page size', [0, 0x1000, RW, ANON | A.MAP_HUGETLB | (5 << 26), -1, 0], -E.EINVAL],
    ['4 no huge pages in the pool', [0, 0x1000, RW, ANON | A.MAP_HUGETLB, -1, 0], -E.ENOMEM],
    ['6 length 0, before an unaligned fixed address', [AT + 1, 0, RW, ANON | A.MAP_FIXED, -1, 0], -E.EINVAL],
    ['7 length overflows', [AT + 1, -1, RW, ANON | A.MAP_FIXED, -1, 0], -E.ENOMEM],
    ['10 length above TASK_SIZE', [AT + 1, 2 ** 47, RW, ANON | A.MAP_FIXED, -1, 0], -E.ENOMEM],
    ['10 fixed range beyond TASK_SIZE, before alignment', [TOP - 1, 0x1000, RW, ANON | A.MAP_FIXED, -1, 0], -E.ENOMEM],
    [
      '11 fixed address unaligned, before the map type',
      [AT + 1, 0x1000, RW, A.MAP_ANONYMOUS | A.MAP_FIXED, -1, 0],
      -E.EINVAL,
    ],
    [
      '13 FIXED_NOREPLACE over a mapping, before the map type',
      [0x400000, 0x1000, RW, A.MAP_ANONYMOUS | A.MAP_FIXED_NOREPLACE, -1, 0],
      -E.EEXIST,
    ],
    ['16 offset beyond the largest file, before EACCES', [0, 0x1000, RW, A.MAP_SHARED, FD_RO, huge], -E.EOVERFLOW],
    [
      '17 SHARED_VALIDATE with an unknown flag, before EACCES',
      [0, 0x1000, RW, A.MAP_SHARED_VALIDATE | A.MAP_SYNC, FD_RO, 0],
      -E.EOPNOTSUPP,
    ],
    ['18 shared writable mapping of a read-only file', [0, 0x1000, RW, A.MAP_SHARED, FD_RO, 0], -E.EACCES],
    ['19 shared mapping of an append-only file', [0, 0x1000, 1, A.MAP_SHARED, FD_APPEND, 0], -E.EACCES],
    ['20 file not readable, before GROWSDOWN', [0, 0x1000, 1, A.MAP_PRIVATE | A.MAP_GROWSDOWN, FD_WO, 0], -E.EACCES],
    ['22 no f_op->mmap, before GROWSDOWN', [0, 0x1000, 1, A.MAP_PRIVATE | A.MAP_GROWSDOWN, FD_DIR, 0], -E.ENODEV],
    ['23 GROWSDOWN on a file', [0, 0x1000, 1, A.MAP_PRIVATE | A.MAP_GROWSDOWN, FD_RW, 0], -E.EINVAL],
    [
      '23 GROWSDOWN on shared memory',
      [0, 0x1000, 1, A.MAP_SHARED | A.MAP_ANONYMOUS | A.MAP_GROWSDOWN, -1, 0],
      -E.EINVAL,
    ],
    ['24 no map type', [0, 0x1000, 1, A.MAP_ANONYMOUS, -1, 0], -E.EINVAL],
    ['24 no map type on a file', [0, 0x1000, 1, 0, FD_RW, 0], -E.EINVAL],
    [
      '24 SHARED_VALIDATE is none for anonymous memory',
      [0, 0x1000, 1, A.MAP_SHARED_VALIDATE | A.MAP_ANONYMOUS, -1, 0],
      -E.EINVAL,
    ],
    ['25 shared writable mapping of a sealed memfd', [0, 0x1000, RW, A.MAP_SHARED, FD_SEALED, 0], -E.EPERM],
  ])('%s', (_name, args, errno) => {
    expect(fileWorld().call(NR.NR_mmap, ...args)).toBe(errno);
  });

  test('9 map_count above the limit, before the place is looked at', () => {
    const w = new World('6.1', { maxMapCount: 3 });
    for (const i of [0, 1])
      expect(w.call(NR.NR_mmap, AT + i * 0x4000, 0x1000, RW, ANON | A.MAP_FIXED, -1, 0)).toBeGreaterThan(0);
    expect(w.call(NR.NR_mmap, AT + 1, 0x1000, RW, ANON | A.MAP_FIXED, -1, 0)).toBe(-E.ENOMEM);
  });

  test('12 below mmap_min_addr without CAP_SYS_RAWIO, before FIXED_NOREPLACE', () => {
    const w = new World('6.1', { capSysRawio: false });
    expect(w.call(NR.NR_mmap, 0x1000, 0x500000, RW, ANON | A.MAP_FIXED_NOREPLACE, -1, 0)).toBe(-E.EPERM);
  });

  test('14 and 15 RLIMIT_MEMLOCK: none at all EPERM, too small EAGAIN, before EACCES', () => {
    const w = fileWorld('6.1', { capIpcLock: false });
    const mm = w.task.mm!;
    mm.limits.memlock = 0;
    const args = [0, 0x3000, RW, A.MAP_SHARED | A.MAP_LOCKED, FD_RO, 0];
    expect(w.call(NR.NR_mmap, ...args)).toBe(-E.EPERM);
    mm.limits.memlock = 0x2000;
    expect(w.call(NR.NR_mmap, ...args)).toBe(-E.EAGAIN);
    expect(w.call(NR.NR_mlockall, A.MCL_FUTURE)).toBe(0);
    expect(w.call(NR.NR_mmap, 0, 0x3000, RW, ANON, -1, 0)).toBe(-E.EAGAIN);
  });

  test('26 RLIMIT_AS counts what MAP_FIXED will replace, and nothing is unmapped', () => {
    const w = new World();
    const mm = w.task.mm!;
    w.call(NR.NR_mmap, AT, 0x4000, RW, ANON | A.MAP_FIXED, -1, 0);
    mm.limits.as = mm.totalVm * 4096;
    expect(w.call(NR.NR_mmap, AT, 0x4000, 1, ANON | A.MAP_FIXED, -1, 0)).toBe(AT);
    expect(w.call(NR.NR_mmap, AT + 0x2000, 0x4000, RW, ANON | A.MAP_FIXED, -1, 0)).toBe(-E.ENOMEM);
    expect(w.maps()).toEqual(['10000000000-10000004000 r--p']);
  });

  test.each([
    ['6.1', ['10000000000-10000001000 rw-p']],
    // The cut at the edge of what would have gone stays (measured).
    ['6.18', ['10000000000-10000001000 rw-p', '10000001000-10000002000 rw-p']],
  ] as const)('28 overcommit refuses: %s has left %j', (profileName, left) => {
    const w = new World(profileName, { overcommitMode: 2, ramPages: 200000, overcommitRatio: 10 });
    w.call(NR.NR_mmap, AT, 0x2000, RW, ANON | A.MAP_FIXED, -1, 0);
    expect(w.call(NR.NR_mmap, AT + 0x1000, 0x8000000, RW, ANON | A.MAP_FIXED, -1, 0)).toBe(-E.ENOMEM);
    expect(w.maps()).toEqual(left);
  });
});

describe('other calls', () => {
  const cases: [string, number, number[], number][] = [
    ['munmap unaligned, before length 0', NR.NR_munmap, [AT + 1, 0], -E.EINVAL],
    ['munmap beyond TASK_SIZE', NR.NR_munmap, [TOP - 0x1000, 0x2000], -E.EINVAL],
    ['munmap length 0', NR.NR_munmap, [AT, 0], -E.EINVAL],
    ['munmap length 2^64-4096', NR.NR_munmap, [AT, -4096], -E.EINVAL],
    ['munmap of nothing', NR.NR_munmap, [AT + 0x100000, 0x1000], 0],
    [
      'mprotect both GROWS, before alignment',
      NR.NR_mprotect,
      [AT + 1, 0, A.PROT_GROWSDOWN | A.PROT_GROWSUP],
      -E.EINVAL,
    ],
    ['mprotect unaligned, before length 0', NR.NR_mprotect, [AT + 1, 0, 0], -E.EINVAL],
    ['mprotect length 0, before bad bits', NR.NR_mprotect, [AT, 0, 0x100], 0],
    ['mprotect wraps around, before bad bits', NR.NR_mprotect, [AT, -4096, 0x100], -E.ENOMEM],
    ['mprotect bad bits, before the hole', NR.NR_mprotect, [AT + 0x100000, 0x1000, 0x100], -E.EINVAL],
    ['mprotect GROWSDOWN on a plain area', NR.NR_mprotect, [AT, 0x1000, A.PROT_GROWSDOWN], -E.EINVAL],
    ['mprotect hole at the start', NR.NR_mprotect, [AT - 0x1000, 0x2000, 1], -E.ENOMEM],
    ['mprotect more than MAY allows', NR.NR_mprotect, [AT + 0x10000, 0x1000, RW], -E.EACCES],
    ['pkey_mprotect with a key', NR.NR_pkey_mprotect, [AT, 0x1000, 1, 3], -E.EINVAL],
    ['mremap unknown flag', NR.NR_mremap, [AT, 0x1000, 0x1000, 8], -E.EINVAL],
    ['mremap FIXED without MAYMOVE', NR.NR_mremap, [AT, 0x1000, 0x1000, 2, AT + 0x20000], -E.EINVAL],
    ['mremap DONTUNMAP with two lengths', NR.NR_mremap, [AT, 0x1000, 0x2000, 5], -E.EINVAL],
    ['mremap unaligned, before no VMA', NR.NR_mremap, [AT + 0x100001, 0x1000, 0x1000, 0], -E.EINVAL],
    ['mremap new length 0', NR.NR_mremap, [AT, 0x1000, 0, 0], -E.EINVAL],
    [
      'mremap without a VMA, before the overlap',
      NR.NR_mremap,
      [AT + 0x100000, 0x1000, 0x1000, 3, AT + 0x100000],
      -E.EFAULT,
    ],
    ['mremap overlap', NR.NR_mremap, [AT, 0x2000, 0x2000, 3, AT + 0x1000], -E.EINVAL],
    ['mremap private old length 0', NR.NR_mremap, [AT, 0, 0x1000, 1], -E.EINVAL],
    ['mremap across the end', NR.NR_mremap, [AT, 0x6000, 0x8000, 1], -E.EFAULT],
    ['mremap growing into a neighbour', NR.NR_mremap, [AT, 0x4000, 0x18000, 0], -E.ENOMEM],
    ['madvise unknown advice, before alignment', NR.NR_madvise, [AT + 1, 0x1000, 77], -E.EINVAL],
    ['madvise unaligned', NR.NR_madvise, [AT + 1, 0, 4], -E.EINVAL],
    ['madvise length overflow', NR.NR_madvise, [AT, -1, 4], -E.EINVAL],
    ['madvise length 0', NR.NR_madvise, [AT, 0, 4], 0],
    ['madvise hole', NR.NR_madvise, [AT - 0x1000, 0x2000, 0], -E.ENOMEM],
    ['madvise FREE on a file', NR.NR_madvise, [AT + 0x10000, 0x1000, A.MADV_FREE], -E.EINVAL],
    ['madvise WIPEONFORK on a file', NR.NR_madvise, [AT + 0x10000, 0x1000, A.MADV_WIPEONFORK], -E.EINVAL],
    ['madvise REMOVE on anonymous memory', NR.NR_madvise, [AT, 0x1000, A.MADV_REMOVE], -E.EINVAL],
    ['madvise REMOVE without write permission', NR.NR_madvise, [AT + 0x10000, 0x1000, A.MADV_REMOVE], -E.EACCES],
    [
      'madvise POPULATE_WRITE on read-only memory',
      NR.NR_madvise,
      [AT + 0x10000, 0x1000, A.MADV_POPULATE_WRITE],
      -E.EINVAL,
    ],
    ['mlock overflow', NR.NR_mlock, [AT, -0x1000], -E.EINVAL],
    ['mlock length 0', NR.NR_mlock, [AT, 0], 0],
    ['mlock hole', NR.NR_mlock, [AT + 0x3000, 0x2000], -E.ENOMEM],
    ['mlock2 unknown flag', NR.NR_mlock2, [AT, 0x1000, 2], -E.EINVAL],
    ['munlock hole', NR.NR_munlock, [AT + 0x3000, 0x2000], -E.ENOMEM],
    ['mlockall nothing', NR.NR_mlockall, [0], -E.EINVAL],
    ['mlockall ONFAULT alone', NR.NR_mlockall, [A.MCL_ONFAULT], -E.EINVAL],
    ['msync bad flags, before alignment', NR.NR_msync, [AT + 1, 0x1000, 8], -E.EINVAL],
    ['msync ASYNC and SYNC', NR.NR_msync, [AT, 0x1000, A.MS_ASYNC | A.MS_SYNC], -E.EINVAL],
    ['msync wraps around', NR.NR_msync, [AT, -4096, A.MS_ASYNC], -E.ENOMEM],
    ['msync hole', NR.NR_msync, [AT + 0x3000, 0x2000, A.MS_ASYNC], -E.ENOMEM],
    ['mincore unaligned, before the range', NR.NR_mincore, [AT + 1, -1, 0], -E.EINVAL],
    ['mincore beyond user space', NR.NR_mincore, [TOP - 0x1000, 0x2000, 0], -E.ENOMEM],
    ['mincore vector beyond user space, before the hole', NR.NR_mincore, [AT + 0x100000, 0x1000, TOP], -E.EFAULT],
    ['mincore hole', NR.NR_mincore, [AT + 0x100000, 0x1000, AT], -E.ENOMEM],
    ['remap_file_pages with protection', NR.NR_remap_file_pages, [AT, 0x1000, 1, 0, 0], -E.EINVAL],
    ['remap_file_pages on private memory', NR.NR_remap_file_pages, [AT, 0x1000, 0, 0, 0], -E.EINVAL],
    ['shmget without IPC_CREAT', NR.NR_shmget, [77, 0x1000, 0], -E.ENOENT],
    ['shmget size 0', NR.NR_shmget, [0, 0, 0o600], -E.EINVAL],
    ['shmat of no segment', NR.NR_shmat, [5, 0, 0], -E.EINVAL],
    ['shmdt of nothing', NR.NR_shmdt, [AT, 0, 0], -E.EINVAL],
    ['ftruncate negative, before the descriptor', NR.NR_ftruncate, [99, -1], -E.EINVAL],
    ['ftruncate bad descriptor', NR.NR_ftruncate, [99, 0], -E.EBADF],
    ['ftruncate not writable', NR.NR_ftruncate, [FD_RO, 0], -E.EINVAL],
    ['fallocate length 0', NR.NR_fallocate, [FD_RO, 0, 0, 0], -E.EINVAL],
    ['fallocate punch without KEEP_SIZE, before EBADF', NR.NR_fallocate, [FD_RO, 2, 0, 1], -E.EOPNOTSUPP],
    ['fallocate not writable', NR.NR_fallocate, [FD_RO, 0, 0, 1], -E.EBADF],
    ['mseal before 6.10', NR.NR_mseal, [AT, 0x1000, 0], -E.ENOSYS],
    ['unknown call', 999, [], -E.ENOSYS],
  ];
  test.each(cases)('%s', (_name, nr, args, errno) => {
    const w = fileWorld();
    // Four private pages; at + 0x10000 a shared read-only mapping of a read-only descriptor.
    w.call(NR.NR_mmap, AT, 0x4000, RW, ANON | A.MAP_FIXED, -1, 0);
    w.call(NR.NR_mmap, AT + 0x10000, 0x4000, 1, A.MAP_SHARED | A.MAP_FIXED, FD_RO, 0);
    const before = w.maps();
    expect(w.call(nr, ...args)).toBe(errno);
    if (errno < 0 && nr !== NR.NR_mlock && nr !== NR.NR_madvise) expect(w.maps()).toEqual(before);
  });

  test('mremap FIXED across the end of its VMA: 6.1 has unmapped the target, 6.18 nothing', () => {
    for (const [name, holes] of [
      ['6.1', 1],
      ['6.18', 0],
    ] as const) {
      const w = new World(name);
      w.call(NR.NR_mmap, AT, 0x2000, RW, ANON | A.MAP_FIXED, -1, 0);
      w.call(NR.NR_mmap, AT + 0x10000, 0x4000, RW, ANON | A.MAP_FIXED, -1, 0);
      expect(w.call(NR.NR_mremap, AT, 0x3000, 0x4000, 3, AT + 0x10000)).toBe(-E.EFAULT);
      expect(w.maps().length).toBe(2 - holes);
    }
  });

  test('mprotect changes the areas before the failing one', () => {
    const w = fileWorld();
    w.call(NR.NR_mmap, AT, 0x2000, RW, ANON | A.MAP_FIXED, -1, 0);
    w.call(NR.NR_mmap, AT + 0x2000, 0x2000, 1, A.MAP_SHARED | A.MAP_FIXED, FD_RO, 0);
    w.call(NR.NR_mprotect, AT, 0x2000, 1);
    expect(w.call(NR.NR_mprotect, AT, 0x4000, RW)).toBe(-E.EACCES);
    expect(w.maps()).toEqual(['10000000000-10000002000 rw-p', '10000002000-10000004000 r--s']);
  });

  test('brk answers the old break to every refusal', () => {
    const w = new World();
    expect(w.call(NR.NR_brk, 0x5ff000)).toBe(0x600000);
    w.call(NR.NR_mmap, 0x610000, 0x1000, RW, ANON | A.MAP_FIXED, -1, 0);
    expect(w.call(NR.NR_brk, 0x610000)).toBe(0x600000);
    expect(w.call(NR.NR_brk, 0x60f000)).toBe(0x60f000);
    expect(w.call(NR.NR_brk, -1)).toBe(0x60f000);
    w.task.mm!.limits.data = 0x1000;
    expect(w.call(NR.NR_brk, 0x60f001)).toBe(0x60f000);
  });

  test('munmap in the middle of one area is refused at the map limit, trimming is not', () => {
    const w = new World('6.1', { maxMapCount: 3 });
    w.call(NR.NR_mmap, AT, 0x4000, RW, ANON | A.MAP_FIXED, -1, 0);
    expect(w.call(NR.NR_munmap, AT + 0x1000, 0x1000)).toBe(-E.ENOMEM);
    expect(w.call(NR.NR_munmap, AT, 0x1000)).toBe(0);
    expect(w.call(NR.NR_mprotect, AT + 0x2000, 0x1000, 1)).toBe(-E.ENOMEM);
    expect(w.call(NR.NR_madvise, AT + 0x2000, 0x1000, A.MADV_RANDOM)).toBe(-E.EAGAIN);
  });

  test('mseal refuses unmapping, moving and changing', () => {
    const w = new World('6.18');
    w.call(NR.NR_mmap, AT, 0x3000, 1, ANON | A.MAP_FIXED, -1, 0);
    expect(w.call(NR.NR_mseal, AT, 0x4000, 0)).toBe(-E.ENOMEM);
    expect(w.call(NR.NR_mseal, AT + 0x1000, 0x1000, 0)).toBe(0);
    expect(w.call(NR.NR_munmap, AT, 0x3000)).toBe(-E.EPERM);
    expect(w.call(NR.NR_mprotect, AT + 0x1000, 0x1000, RW)).toBe(-E.EPERM);
    expect(w.call(NR.NR_mremap, AT + 0x1000, 0x1000, 0x1000, 3, AT + 0x10000)).toBe(-E.EPERM);
    expect(w.call(NR.NR_madvise, AT + 0x1000, 0x1000, A.MADV_DONTNEED)).toBe(-E.EPERM);
    expect(w.call(NR.NR_mmap, AT, 0x3000, RW, ANON | A.MAP_FIXED, -1, 0)).toBe(-E.EPERM);
  });

  test('sealed mappings of files may lose their contents, private ones too; sealed anonymous memory may not', () => {
    const w = fileWorld('6.18');
    w.call(NR.NR_mmap, AT, 0x1000, RW, A.MAP_PRIVATE | A.MAP_FIXED, FD_RW, 0);
    const inFile = w.k.sched.run(userLoad(w.k, w.task, AT));
    expect(inFile).not.toBe(7);
    w.call(NR.NR_mmap, AT + 0x10000, 0x1000, RW, ANON | A.MAP_FIXED, -1, 0);
    for (const at of [AT, AT + 0x10000]) {
      expect(w.k.sched.run(userStore(w.k, w.task, at, 7))).toBe(0);
      expect(w.call(NR.NR_mprotect, at, 0x1000, 1)).toBe(0);
      expect(w.call(NR.NR_mseal, at, 0x1000, 0)).toBe(0);
    }
    expect(w.call(NR.NR_madvise, AT, 0x1000, A.MADV_DONTNEED)).toBe(0);
    expect(w.k.sched.run(userLoad(w.k, w.task, AT))).toBe(inFile);
    expect(w.call(NR.NR_madvise, AT + 0x10000, 0x1000, A.MADV_DONTNEED)).toBe(-E.EPERM);
    expect(w.k.sched.run(userLoad(w.k, w.task, AT + 0x10000))).toBe(7);
  });

  test('MADV_REMOVE is a hole punched by fallocate: its limits are those of the file', () => {
    const w = fileWorld('6.18');
    const memfd = memfdCreate(w.k, w.task, 'm', 2);
    const shared = A.MAP_SHARED | A.MAP_FIXED;
    expect(w.call(NR.NR_mmap, AT, 0x1000, RW, shared, FD_RW, 2 ** 44)).toBe(AT);
    expect(w.call(NR.NR_mmap, AT + 0x1000, 0x1000, RW, shared, memfd, 2 ** 44)).toBe(AT + 0x1000);
    expect(w.call(NR.NR_madvise, AT, 0x1000, A.MADV_REMOVE)).toBe(-E.EFBIG);
    expect(w.call(NR.NR_madvise, AT + 0x1000, 0x1000, A.MADV_REMOVE)).toBe(0);
    expect(addSeals(w.task, memfd, 0x10)).toBe(0);
    expect(w.call(NR.NR_madvise, AT + 0x1000, 0x1000, A.MADV_REMOVE)).toBe(-E.EPERM);
  });
});
