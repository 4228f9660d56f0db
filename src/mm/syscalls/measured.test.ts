// What a running Linux 6.18 was seen to answer: guard regions, private mappings of /dev/zero, permissions of SysV segments,
// memory policies and the VMAs that they cut.

import { describe, expect, test } from 'vitest';
import * as E from '../../abi/errno.ts';
import * as A from '../../abi/mman.ts';
import * as NR from '../../abi/syscalls.ts';
import { touchPage } from '../cpu-access.ts';
import { commitCred, withUids } from '../process/cred.ts';
import { openFile } from '../process/files.ts';
import { World } from '../vma/test-world.ts';
import { mbind, type NodeMask, setMempolicy } from './mempolicy.ts';

const ANON = A.MAP_PRIVATE | A.MAP_ANONYMOUS;
const RW = A.PROT_READ | A.PROT_WRITE;
const AT = 0x10000000000;

function touch(w: World, va: number): number {
  return w.k.sched.run(touchPage(w.k, w.task.mm!, 0, va, true)) & A.VM_FAULT_ERROR;
}

describe('guard regions', () => {
  test('an access ends in SIGSEGV; MADV_DONTNEED leaves them, MADV_GUARD_REMOVE takes them away', () => {
    const w = new World('6.18');
    w.call(NR.NR_mmap, AT, 0x4000, RW, ANON | A.MAP_FIXED, -1, 0);
    expect(touch(w, AT + 0x1000)).toBe(0);
    expect(w.call(NR.NR_madvise, AT + 0x1000, 0x2000, A.MADV_GUARD_INSTALL)).toBe(0);
    expect(touch(w, AT + 0x1000)).toBe(A.VM_FAULT_SIGSEGV);
    expect(touch(w, AT)).toBe(0);
    expect(w.call(NR.NR_madvise, AT, 0x4000, A.MADV_DONTNEED)).toBe(0);
    expect(touch(w, AT + 0x2000)).toBe(A.VM_FAULT_SIGSEGV);
    expect(w.call(NR.NR_madvise, AT, 0x4000, A.MADV_POPULATE_WRITE)).toBe(-E.EFAULT);
    expect(w.call(NR.NR_mlock, AT, 0x4000)).toBe(-E.ENOMEM);
    expect(w.call(NR.NR_munlock, AT, 0x4000)).toBe(0);
    expect(w.call(NR.NR_madvise, AT, 0x4000, A.MADV_GUARD_REMOVE)).toBe(0);
    expect(touch(w, AT + 0x2000)).toBe(0);
  });

  test('locked memory takes none; they move with mremap', () => {
    const w = new World('6.18');
    w.call(NR.NR_mmap, AT, 0x2000, RW, ANON | A.MAP_FIXED, -1, 0);
    w.call(NR.NR_mlock, AT, 0x2000);
    expect(w.call(NR.NR_madvise, AT, 0x1000, A.MADV_GUARD_INSTALL)).toBe(-E.EINVAL);
    w.call(NR.NR_munlock, AT, 0x2000);
    expect(w.call(NR.NR_madvise, AT, 0x1000, A.MADV_GUARD_INSTALL)).toBe(0);
    const to = AT + 0x100000;
    const flags = A.MREMAP_MAYMOVE | A.MREMAP_FIXED;
    expect(w.call(NR.NR_mremap, AT, 0x2000, 0x2000, flags, to)).toBe(to);
    expect(touch(w, to)).toBe(A.VM_FAULT_SIGSEGV);
    expect(touch(w, to + 0x1000)).toBe(0);
  });
});

test('/dev/zero: private mappings keep name and offset and merge, shared ones get a file each', () => {
  const w = new World('6.18');
  const fd = openFile(w.k, w.task, w.k.newInode('zero', '/dev/zero', 0), true, true);
  for (const [at, offset] of [
    [AT, 0x1000],
    [AT + 0x1000, 0x2000],
  ] as const)
    expect(w.call(NR.NR_mmap, at, 0x1000, RW, A.MAP_PRIVATE | A.MAP_FIXED, fd, offset)).toBe(at);
  expect(w.task.mm!.vmas.findExact(AT)).toMatchObject({ start: AT, end: AT + 0x2000, file: null, pgoff: 1 });
  expect(touch(w, AT)).toBe(0);
  const shared = AT + 0x10000;
  for (const at of [shared, shared + 0x1000]) w.call(NR.NR_mmap, at, 0x1000, RW, A.MAP_SHARED | A.MAP_FIXED, fd, 0);
  const [a, b] = [w.task.mm!.vmas.findExact(shared)!, w.task.mm!.vmas.findExact(shared + 0x1000)!];
  expect(a.file!.inode.path).toBe('/dev/zero');
  expect(a.file!.inode).not.toBe(b.file!.inode);
});

test('SysV: another user gets what the mode says, and may not remove the segment', () => {
  const w = new World('6.18');
  const IPC_CREAT = 0o1000;
  const closed = w.call(NR.NR_shmget, 1, 0x1000, IPC_CREAT | 0o600);
  const readable = w.call(NR.NR_shmget, 2, 0x1000, IPC_CREAT | 0o644);
  const { limits } = w.task.mm!;
  commitCred(limits, withUids(limits.cred, 65534, 65534, 65534));
  expect(w.call(NR.NR_shmget, 1, 0x1000, 0o600)).toBe(-E.EACCES);
  expect(w.call(NR.NR_shmat, closed, 0, 0)).toBe(-E.EACCES);
  expect(w.call(NR.NR_shmat, readable, 0, 0)).toBe(-E.EACCES);
  expect(w.call(NR.NR_shmat, readable, 0, 0o10000)).toBeGreaterThan(0);
  expect(w.call(NR.NR_shmctl, readable, 0, 0)).toBe(-E.EPERM);
  // Without CAP_IPC_LOCK a limit of 0 forbids locking.
  limits.memlock = 0;
  expect(w.call(NR.NR_mlock, AT, 0x1000)).toBe(-E.EPERM);
});

describe('memory policies', () => {
  const mask = (nodes: number[], maxNode = 64): NodeMask => ({ isNull: false, isFault: false, nodes, maxNode });

  test('mbind cuts VMAs, equal policies merge again', () => {
    const w = new World('6.18');
    w.call(NR.NR_mmap, AT, 0x3000, RW, ANON | A.MAP_FIXED, -1, 0);
    const count = w.task.mm!.vmas.count;
    const bind = (start: number, len: number, mode: number, nodes: number[]): number =>
      w.k.sched.run(mbind(w.k, w.task, start, len, mode, mask(nodes), 0));
    expect(bind(AT + 0x1000, 0x1000, 2, [0])).toBe(0);
    expect(w.task.mm!.vmas.count).toBe(count + 2);
    expect(bind(AT, 0x3000, 2, [0])).toBe(0);
    expect(w.task.mm!.vmas.count).toBe(count);
    // A hole is an error, but not for the default policy.
    expect(bind(AT + 0x1000, 0x3000, 2, [0])).toBe(-E.EFAULT);
    expect(bind(AT + 0x1000, 0x3000, 0, [])).toBe(0);
    expect(bind(AT + 0x100000, 0x1000, 0, [])).toBe(-E.EFAULT);
  });

  test.each<[string, number, NodeMask, number]>([
    ['an unknown mode', 0x1d0f, mask([0]), -E.EINVAL],
    ['default with nodes', 0, mask([0]), -E.EINVAL],
    ['bind to nothing', 2, mask([]), -E.EINVAL],
    ['bind to a node that is not there', 2, mask([1]), -E.EINVAL],
    ['preferred without nodes: local', 1, mask([]), 0],
    ['static and relative at once', 2 | 0xc000, mask([0]), -E.EINVAL],
    ['maxnode 0 is 2^64 - 1 bits', 1, mask([], 0), -E.EINVAL],
    ['maxnode 1: no bit is read', 0, { ...mask([], 1), isFault: true }, 0],
    ['a mask that cannot be read', 2, { ...mask([]), isFault: true }, -E.EFAULT],
  ])('set_mempolicy: %s', (_, mode, nodes, result) => {
    const w = new World('6.18');
    expect(setMempolicy(w.k, w.task, mode, nodes)).toBe(result);
  });
});
