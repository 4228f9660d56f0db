import { expect, test } from 'vitest';
import * as A from '../../abi/mman.ts';
import * as NR from '../../abi/syscalls.ts';
import { checkWorld } from '../check-world.ts';
import { userLoad } from '../cpu-access.ts';
import { openFile } from '../process/files.ts';
import { doClone } from '../process/task.ts';
import type { Inode, Task } from '../types.ts';
import { World } from '../vma/test-world.ts';
import { uprobeRegister, uprobeUnregister } from './uprobes.ts';

const AT = 0x100000000;
const OFFSET = 0x1080;
const BREAKPOINT = 0xcc;

interface Text {
  readonly w: World;
  readonly inode: Inode;
  readonly fd: number;
}

function text(): Text {
  const w = new World();
  const inode = w.k.newInode('regular', '/bin/probed', 0x3000);
  const fd = openFile(w.k, w.task, inode, true, true);
  return { w, inode, fd };
}

const map = (t: Text, at: number, task = t.w.task): number =>
  t.w.callAs(task, NR.NR_mmap, at, 0x3000, A.PROT_READ | A.PROT_EXEC, A.MAP_PRIVATE | A.MAP_FIXED, t.fd, 0);

const byteAt = (t: Text, address: number, task: Task = t.w.task): number =>
  t.w.k.sched.run(userLoad(t.w.k, task, address));

test('every private executable mapping gets the breakpoint, now and later; the file does not', () => {
  const t = text();
  const { k } = t.w;
  map(t, AT);
  const original = byteAt(t, AT + OFFSET);
  const child = k.tasks.get(k.sched.run(doClone(k, t.w.task, 0)))!;
  expect(k.sched.run(uprobeRegister(k, t.inode, OFFSET))).toBe(0);
  expect([byteAt(t, AT + OFFSET), byteAt(t, AT + OFFSET, child)]).toEqual([BREAKPOINT, BREAKPOINT]);
  expect(byteAt(t, AT + OFFSET + 1)).not.toBe(BREAKPOINT);
  map(t, AT + 0x10000);
  expect(byteAt(t, AT + 0x10000 + OFFSET)).toBe(BREAKPOINT);
  t.w.call(NR.NR_mmap, AT + 0x20000, 0x3000, A.PROT_READ, A.MAP_SHARED | A.MAP_FIXED, t.fd, 0);
  expect(byteAt(t, AT + 0x20000 + OFFSET)).toBe(original);
  checkWorld(k);
  expect(k.sched.run(uprobeUnregister(k, t.inode, OFFSET))).toBe(0);
  for (const at of [AT, AT + 0x10000]) expect(byteAt(t, at + OFFSET)).toBe(original);
  expect(byteAt(t, AT + OFFSET, child)).toBe(original);
  // The copies are gone: only pages of the file are mapped.
  expect([t.w.task.mm!.rss[A.MM_ANONPAGES], child.mm!.rss[A.MM_ANONPAGES]]).toEqual([0, 0]);
  checkWorld(k);
});

test('a page that was changed otherwise stays a copy when the probe goes', () => {
  const t = text();
  const { k } = t.w;
  map(t, AT);
  const original = byteAt(t, AT + OFFSET);
  k.sched.run(k.fn.accessRemoteVm(k, t.w.task.mm!, AT + 0x1001, Uint8Array.of(7), true, true));
  expect(k.sched.run(uprobeRegister(k, t.inode, OFFSET))).toBe(0);
  expect(k.sched.run(uprobeUnregister(k, t.inode, OFFSET))).toBe(0);
  expect([byteAt(t, AT + OFFSET), byteAt(t, AT + 0x1001)]).toEqual([original, 7]);
  expect(t.w.task.mm!.rss[A.MM_ANONPAGES]).toBe(1);
  checkWorld(k);
});

test('beyond the end of the file, or where there is none, there is nothing to do', () => {
  const t = text();
  const { k } = t.w;
  expect(k.sched.run(uprobeRegister(k, t.inode, 0x3000))).toBe(-22);
  expect(k.sched.run(uprobeUnregister(k, t.inode, OFFSET))).toBe(-22);
});

test('a debugger writes into a copy of private text, and not at all into what is shared and read-only', () => {
  const t = text();
  const { k } = t.w;
  map(t, AT);
  t.w.call(NR.NR_mmap, AT + 0x20000, 0x3000, A.PROT_READ, A.MAP_SHARED | A.MAP_FIXED, t.fd, 0);
  const mm = t.w.task.mm!;
  const poke = (at: number): number => k.sched.run(k.fn.accessRemoteVm(k, mm, at, Uint8Array.of(9), true, true));
  const before = byteAt(t, AT + 0x20000);
  byteAt(t, AT);
  expect([poke(AT), poke(AT), poke(AT + 0x20000)]).toEqual([1, 1, -14]);
  expect([byteAt(t, AT), byteAt(t, AT + 0x20000)]).toEqual([9, before]);
  expect(k.stats.cowCopies).toBe(1);
  checkWorld(k);
});
