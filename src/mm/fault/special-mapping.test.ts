// [vdso] and [vvar]: the kernel's pages, the same for every process, counted where Linux counts them.
import { expect, test } from 'vitest';
import { EINVAL } from '../../abi/errno.ts';
import * as A from '../../abi/mman.ts';
import * as NR from '../../abi/syscalls.ts';
import { checkWorld } from '../check-world.ts';
import { userLoad, userStore } from '../cpu-access.ts';
import { createProcess } from '../process/task.ts';
import type { Task } from '../types.ts';
import { World } from '../vma/test-world.ts';

const VVAR = 0x7ffff7ff9000;
const VDSO = 0x7ffff7ffd000;
const PAGE = 4096;

function program(w: World): Task {
  return w.k.sched.run(
    createProcess(w.k, {
      areas: [
        { start: 0x400000, end: 0x402000, perms: 'r-xp', offset: 0, path: '/bin/test' },
        { start: VVAR, end: VDSO, perms: 'r--p', offset: 0, path: '[vvar]' },
        { start: VDSO, end: VDSO + 2 * PAGE, perms: 'r-xp', offset: 0, path: '[vdso]' },
      ],
    }),
  );
}

test('two processes read one image; it is counted as file pages, vvar not at all; exit leaves it', () => {
  const w = new World();
  const [a, b] = [program(w), program(w)];
  const load = (t: Task, at: number): number => w.k.sched.run(userLoad(w.k, t, at));
  expect([load(a, VDSO), load(a, VDSO + 1), load(a, VVAR), load(b, VDSO)]).toEqual([0x7f, 0x45, 0, 0x7f]);
  expect([a.mm!.rss[A.MM_FILEPAGES], a.mm!.rss[A.MM_ANONPAGES]]).toEqual([1, 0]);
  checkWorld(w.k);
  for (const t of [a, b]) w.callAs(t, NR.NR_exit, 0);
  checkWorld(w.k);
  expect(load(program(w), VDSO)).toBe(0x7f);
});

test('dropped and read again, moved whole, not cut; a write copies', () => {
  const w = new World();
  const t = program(w);
  const load = (at: number): number => w.k.sched.run(userLoad(w.k, t, at));
  load(VDSO);
  expect(w.callAs(t, NR.NR_madvise, VDSO, 2 * PAGE, A.MADV_DONTNEED)).toBe(0);
  expect(w.callAs(t, NR.NR_madvise, VDSO, PAGE, A.MADV_FREE)).toBe(-EINVAL);
  expect(w.callAs(t, NR.NR_madvise, VVAR, PAGE, A.MADV_DONTNEED)).toBe(-EINVAL);
  expect(w.callAs(t, NR.NR_munmap, VDSO, PAGE)).toBe(-EINVAL);
  const to = 0x100000000;
  const flags = A.MREMAP_MAYMOVE | A.MREMAP_FIXED;
  expect(w.callAs(t, NR.NR_mremap, VDSO, 2 * PAGE, 2 * PAGE, flags, to)).toBe(to);
  expect(load(to)).toBe(0x7f);
  expect(w.callAs(t, NR.NR_mprotect, to, 2 * PAGE, A.PROT_READ | A.PROT_WRITE)).toBe(0);
  for (const at of [to, to + PAGE]) expect(w.k.sched.run(userStore(w.k, t, at + 8, 5))).toBe(0);
  expect([load(to), load(to + 8), load(to + PAGE + 8)]).toEqual([0x7f, 5, 5]);
  expect([t.mm!.rss[A.MM_FILEPAGES], t.mm!.rss[A.MM_ANONPAGES]]).toEqual([0, 2]);
  checkWorld(w.k);
  expect(w.callAs(t, NR.NR_munmap, to, 2 * PAGE)).toBe(0);
  checkWorld(w.k);
  expect(w.k.sched.run(userLoad(w.k, program(w), VDSO + 8))).toBe(0);
});
