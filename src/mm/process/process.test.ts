import { describe, expect, test } from 'vitest';
import * as A from '../../abi/mman.ts';
import * as NR from '../../abi/syscalls.ts';
import { InputError } from '../../base/assert.ts';
import { touchPage, userLoad, userStore } from '../cpu-access.ts';
import type { Task } from '../types.ts';
import { procMaps, vmFlagNames } from '../vma/proc-maps.ts';
import { World } from '../vma/test-world.ts';
import { closeFd, dup2Fd, dupFd, openFile } from './files.ts';
import type { ProgramLayout } from './layout.ts';
import {
  CLONE_FILES,
  CLONE_THREAD,
  CLONE_VFORK,
  CLONE_VM,
  createProcess,
  doClone,
  doExec,
  doExit,
  doGroupExit,
  isInVfork,
} from './task.ts';

const AT = 0x10000000000;
const ANON = A.MAP_PRIVATE | A.MAP_ANONYMOUS | A.MAP_FIXED;

/** A map that a 6.18 kernel printed right after execve. */
const AFTER_EXECVE = `555555554000-555555565000 r--p 00000000 fe:00 1                          /build/aio_test
555555565000-555555627000 r-xp 00011000 fe:00 1                          /build/aio_test
555555627000-55555566f000 r--p 000d3000 fe:00 1                          /build/aio_test
55555566f000-555555675000 rw-p 0011b000 fe:00 1                          /build/aio_test
555555675000-555555678000 rw-p 00000000 00:00 0 
7ffff7fc2000-7ffff7fc6000 r--p 00000000 00:00 0                          [vvar]
7ffff7fc6000-7ffff7fc8000 r--p 00000000 00:00 0                          [vvar_vclock]
7ffff7fc8000-7ffff7fca000 r-xp 00000000 00:00 0                          [vdso]
7ffff7fca000-7ffff7fcb000 r--p 00000000 fe:00 2                          /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
7ffff7fcb000-7ffff7ff1000 r-xp 00001000 fe:00 2                          /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
7ffff7ff1000-7ffff7ffb000 r--p 00027000 fe:00 2                          /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
7ffff7ffb000-7ffff7fff000 rw-p 00031000 fe:00 2                          /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2
7ffffffde000-7ffffffff000 rw-p 00000000 00:00 0                          [stack]
`;

function layoutOf(maps: string): ProgramLayout {
  const areas = maps
    .trimEnd()
    .split('\n')
    .map((line) => {
      const m = /^([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ \d+ *(.*)$/.exec(line)!;
      const hex = (i: number): number => Number.parseInt(m[i]!, 16);
      return { start: hex(1), end: hex(2), perms: m[3]!, offset: hex(4), path: m[5]! };
    });
  return { areas };
}

describe('programs', () => {
  test('a recorded map is printed again byte for byte; brk and mmap follow it', () => {
    const w = new World('6.18');
    const { k } = w;
    k.inodes.clear();
    const task = k.sched.run(doExecFresh(w));
    // The first inode numbers of this kernel are 2 and 3: the test world's own program has number 1.
    const text = procMaps(task.mm!, k.profile.heapNameStrict).replaceAll(
      /fe:00 (\d)/g,
      (_, n: string) => `fe:00 ${Number(n) - 1}`,
    );
    expect(text).toBe(AFTER_EXECVE);
    expect(w.callAs(task, NR.NR_brk, 0)).toBe(0x555555678000);
    expect(w.callAs(task, NR.NR_mmap, 0, 8192, 3, A.MAP_PRIVATE | A.MAP_ANONYMOUS, -1, 0)).toBe(0x7ffff7fc0000);
  });

  function doExecFresh(w: World): ReturnType<typeof createProcess> {
    return createProcess(w.k, layoutOf(AFTER_EXECVE));
  }

  test('areas that overlap or are no pages are refused with their place', () => {
    const { k } = new World();
    const area = { start: 0x1000, end: 0x3000, perms: 'rw-p', offset: 0, path: '' };
    const run = (...areas: ProgramLayout['areas']): unknown => k.sched.run(createProcess(k, { areas }));
    expect(() => run(area, { ...area, start: 0x2000 })).toThrow(InputError);
    expect(() => run({ ...area, end: 0x3001 })).toThrow(/1000-3001/);
    expect(() => run({ ...area, perms: 'rw' })).toThrow(/"rw"/);
  });

  test('exec takes the old address space down, keeps limits, closes close-on-exec descriptors', () => {
    const w = new World();
    const { k, task } = w;
    const inode = k.newInode('regular', '/f', 4096);
    openFile(k, task, inode, true, false, true);
    openFile(k, task, inode, true, false);
    task.mm!.limits.stack = 1 << 20;
    const old = task.mm!;
    w.call(NR.NR_mmap, AT, 0x2000, 3, ANON, -1, 0);
    k.sched.run(touchPage(k, old, 0, AT, true));
    expect(k.sched.run(doExec(k, task, layoutOf(AFTER_EXECVE)))).toBe(0);
    expect(k.mms.has(old.id)).toBe(false);
    expect(task.mm!.limits.stack).toBe(1 << 20);
    expect([...task.files.open.keys()]).toEqual([1]);
  });
});

describe('fork', () => {
  test('flags of parent and child; contents; accounts', () => {
    const w = new World();
    const { k, task } = w;
    const at = (i: number): number => AT + i * 0x10000;
    for (let i = 0; i < 5; i++) w.call(NR.NR_mmap, at(i), 0x2000, 3, ANON, -1, 0);
    for (let i = 0; i < 5; i++) k.sched.run(userStore(k, task, at(i), 7 + i));
    w.call(NR.NR_madvise, at(0), 0x2000, A.MADV_DONTFORK);
    w.call(NR.NR_madvise, at(1), 0x2000, A.MADV_WIPEONFORK);
    w.call(NR.NR_mlock, at(2), 0x2000);
    const charged = k.committed;
    const child = k.tasks.get(k.sched.run(doClone(k, task, 0)))!;
    const flags = (i: number): string => {
      const vma = child.mm!.vmas.findExact(at(i));
      return vma === null ? 'none' : vmFlagNames(vma);
    };
    expect([0, 1, 2, 3].map(flags)).toEqual([
      'none',
      'rd wr mr mw me ac wf sd',
      'rd wr mr mw me ac sd',
      'rd wr mr mw me ac sd',
    ]);
    expect(k.committed).toBe(2 * charged - 2);
    expect(child.mm!.totalVm).toBe(task.mm!.totalVm - 2);
    expect(child.mm!.lockedVm).toBe(0);
    expect([1, 2, 3].map((i) => k.sched.run(userLoad(k, child, at(i))))).toEqual([0, 9, 10]);
    k.sched.run(userStore(k, child, at(3), 99));
    expect(k.sched.run(userLoad(k, task, at(3)))).toBe(10);
    k.sched.run(doExit(k, child));
    expect(k.committed).toBe(charged);
  });

  test('CLONE_VM shares; the address space goes with its last user', () => {
    const w = new World();
    const { k, task } = w;
    const free = k.pages.free;
    const thread = k.tasks.get(k.sched.run(doClone(k, task, CLONE_VM)))!;
    expect(w.callAs(thread, NR.NR_mmap, AT, 0x2000, 3, ANON, -1, 0)).toBe(AT);
    k.sched.run(doExit(k, task));
    expect(w.maps(thread)).toEqual(['10000000000-10000002000 rw-p']);
    k.sched.run(doExit(k, thread));
    expect(k.mms.size).toBe(0);
    expect(k.pages.free).toBe(free + 1);
  });

  test('a child that cannot be charged leaves the parent as it was', () => {
    const w = new World('6.1', { overcommitMode: 2, ramPages: 100000, overcommitRatio: 10 });
    const { k, task } = w;
    w.call(NR.NR_mmap, AT, 9000 * 4096, 3, ANON, -1, 0);
    w.call(NR.NR_mmap, AT - 0x100000, 0x1000, 3, ANON, -1, 0);
    k.sched.run(userStore(k, task, AT - 0x100000, 5));
    const { committed } = k;
    const { free } = k.pages;
    expect(k.sched.run(doClone(k, task, 0))).toBe(-12);
    expect(k.committed).toBe(committed);
    expect(k.pages.free).toBe(free);
    expect(k.mms.size).toBe(1);
    expect(k.sched.run(userLoad(k, task, AT - 0x100000))).toBe(5);
  });
});

describe('descriptors and stacks', () => {
  test('the lowest free descriptor is given; a mapping keeps its file alive', () => {
    const w = new World();
    const { k, task } = w;
    const inode = k.newInode('regular', '/f', 0x4000);
    expect(openFile(k, task, inode, true, true)).toBe(0);
    expect(dupFd(k, task, 0)).toBe(1);
    expect(dupFd(k, task, 0, 10)).toBe(10);
    expect(k.sched.run(dup2Fd(k, task, 0, 1))).toBe(1);
    w.call(NR.NR_mmap, AT, 0x2000, 1, A.MAP_SHARED | A.MAP_FIXED, 0, 0);
    for (const fd of [0, 1, 10]) expect(k.sched.run(closeFd(k, task, fd))).toBe(0);
    expect(k.sched.run(closeFd(k, task, 0))).toBe(-9);
    expect(inode.users).toBe(1);
    w.call(NR.NR_munmap, AT, 0x2000);
    expect(inode.users).toBe(0);
  });

  test('shared anonymous memory is charged once and given back with its last mapping', () => {
    const w = new World();
    const { k } = w;
    const { committed } = k;
    const before = k.inodes.size;
    w.call(NR.NR_mmap, AT, 0x4000, 3, A.MAP_SHARED | A.MAP_ANONYMOUS | A.MAP_FIXED, -1, 0);
    expect(k.committed).toBe(committed + 4);
    w.call(NR.NR_munmap, AT, 0x2000);
    expect(k.committed).toBe(committed + 4);
    w.call(NR.NR_munmap, AT + 0x2000, 0x2000);
    expect(k.committed).toBe(committed);
    expect(k.inodes.size).toBe(before);
  });

  test('the stack grows to the faulting page, not into the guard gap of an accessible neighbour, not over its limit', () => {
    const w = new World();
    const { k, task } = w;
    const mm = task.mm!;
    const stackStart = (): number => mm.vmas.last()!.start;
    const store = (va: number): number => k.sched.run(userStore(k, task, va, 1));
    expect(store(0x7fffffe00010)).toBe(0);
    expect(stackStart()).toBe(0x7fffffe00000);
    expect(store(0x7fffff7fe000)).toBeLessThan(0); // more than 8 MiB
    w.call(NR.NR_mmap, 0x7fffff900000, 0x1000, 1, ANON, -1, 0);
    expect(store(0x7fffffa00000)).toBeLessThan(0);
    w.call(NR.NR_mprotect, 0x7fffff900000, 0x1000, 0);
    expect(store(0x7fffffa00000)).toBe(0);
    expect(stackStart()).toBe(0x7fffffa00000);
    expect(mm.stackVm).toBe((0x7ffffffff000 - 0x7fffffa00000) / 4096);
  });
});

describe('threads', () => {
  const THREAD = CLONE_VM | CLONE_FILES | CLONE_THREAD;

  function withThreads(): { w: World; threads: Task[] } {
    const w = new World();
    const threads = [0, 1].map(() => w.k.tasks.get(w.k.sched.run(doClone(w.k, w.task, THREAD)))!);
    return { w, threads };
  }

  test('the address space lives until the last thread; the leader may go first', () => {
    const { w, threads } = withThreads();
    const mm = w.task.mm!;
    w.k.sched.run(doExit(w.k, w.task));
    expect([mm.users, w.k.mms.has(mm.id)]).toEqual([2, true]);
    w.k.sched.run(doExit(w.k, threads[0]!));
    w.k.sched.run(doExit(w.k, threads[1]!));
    expect(w.k.mms.has(mm.id)).toBe(false);
  });

  test('exit_group ends every thread of the process, and nobody who only shares its memory', () => {
    const { w, threads } = withThreads();
    const other = w.k.tasks.get(w.k.sched.run(doClone(w.k, w.task, CLONE_VM)))!;
    const mm = w.task.mm!;
    w.k.sched.run(doGroupExit(w.k, threads[1]!));
    expect([w.task, ...threads].map((t) => t.isAlive)).toEqual([false, false, false]);
    expect([other.isAlive, mm.users]).toEqual([true, 1]);
  });

  test('of the threads that exec finds only its caller lives on, alone in the new program', () => {
    const { w, threads } = withThreads();
    const old = w.task.mm!;
    const areas = [{ start: 0x400000, end: 0x401000, perms: 'r-xp', offset: 0, path: '/bin/other' }];
    expect(w.k.sched.run(doExec(w.k, threads[0]!, { areas }))).toBe(0);
    expect([w.task.isAlive, threads[1]!.isAlive, threads[0]!.mm!.users]).toEqual([false, false, 1]);
    expect(w.k.mms.has(old.id)).toBe(false);
  });

  test('the parent of a vfork waits until the child has another address space, or none', () => {
    const w = new World();
    const vfork = (): Task => w.k.tasks.get(w.k.sched.run(doClone(w.k, w.task, CLONE_VM | CLONE_VFORK)))!;
    const first = vfork();
    expect([isInVfork(w.k, w.task), first.mm === w.task.mm]).toEqual([true, true]);
    w.k.sched.run(doExit(w.k, first));
    expect(isInVfork(w.k, w.task)).toBe(false);
    const second = vfork();
    w.k.sched.run(doExec(w.k, second, { areas: [] }));
    expect([isInVfork(w.k, w.task), second.isAlive]).toEqual([false, true]);
  });
});
