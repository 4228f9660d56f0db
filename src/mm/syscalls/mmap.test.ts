import { describe, expect, test } from 'vitest';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_NONE, PROT_READ, PROT_WRITE } from '../../abi/mman.ts';
import { NR_brk, NR_mmap, NR_mprotect, NR_munmap } from '../../abi/syscalls.ts';
import { touchPage } from '../cpu-access.ts';
import { doClone, doExit } from '../process/task.ts';
import { World } from '../vma/test-world.ts';

const RW = PROT_READ | PROT_WRITE;
const ANON = MAP_PRIVATE | MAP_ANONYMOUS;
const BASE = 0x7ffff7fff000;

describe('mmap, munmap, mprotect, brk of anonymous memory', () => {
  test('placed top-down below mmap_base, merged with the neighbour, cut by munmap', () => {
    const w = new World();
    expect(w.call(NR_mmap, 0, 0x3000, RW, ANON, -1, 0)).toBe(BASE - 0x3000);
    expect(w.call(NR_mmap, 0, 0x1000, RW, ANON, -1, 0)).toBe(BASE - 0x4000);
    expect(w.maps()).toEqual(['7ffff7ffb000-7ffff7fff000 rw-p']);
    expect(w.call(NR_munmap, BASE - 0x3000, 0x1000)).toBe(0);
    expect(w.maps()).toEqual(['7ffff7ffb000-7ffff7ffc000 rw-p', '7ffff7ffd000-7ffff7fff000 rw-p']);
    expect(w.call(NR_mmap, BASE - 0x3000, 0x1000, RW, ANON | MAP_FIXED, -1, 0)).toBe(BASE - 0x3000);
    expect(w.maps()).toEqual(['7ffff7ffb000-7ffff7fff000 rw-p']);
    expect(w.call(NR_mprotect, BASE - 0x3000, 0x1000, PROT_NONE)).toBe(0);
    expect(w.maps()).toEqual([
      '7ffff7ffb000-7ffff7ffc000 rw-p',
      '7ffff7ffc000-7ffff7ffd000 ---p',
      '7ffff7ffd000-7ffff7fff000 rw-p',
    ]);
    expect(w.call(NR_mprotect, BASE - 0x3000, 0x1000, RW)).toBe(0);
    expect(w.maps()).toEqual(['7ffff7ffb000-7ffff7fff000 rw-p']);
    expect(w.call(NR_brk, 0)).toBe(0x600000);
    expect(w.call(NR_brk, 0x612345)).toBe(0x612345);
    expect(w.maps()[0]).toBe('600000-613000 rw-p');
    expect(w.call(NR_brk, 0x600000)).toBe(0x600000);
    expect(w.maps().length).toBe(1);
  });

  test('memory is touched, unmapped, copied by fork and freed: no frame is left behind', () => {
    const w = new World();
    const { k, task } = w;
    const before = k.pages.free;
    const a = w.call(NR_mmap, 0, 0x8000, RW, ANON, -1, 0);
    for (let i = 0; i < 8; i++) expect(k.sched.run(touchPage(k, task.mm!, 0, a + i * 4096, true))).toBe(0);
    const pid = k.sched.run(doClone(k, task, 0));
    const child = k.tasks.get(pid)!;
    expect(child.mm!.rss[1]).toBe(8);
    expect(w.maps(child)).toEqual(w.maps());
    k.sched.run(doExit(k, child));
    expect(w.call(NR_munmap, a, 0x8000)).toBe(0);
    expect(task.mm!.rss[1]).toBe(0);
    expect(k.pages.free).toBe(before - 2); // the PUD and the PMD table, whose spans hold the stack too
    const committed = k.committed;
    k.sched.run(doExit(k, task));
    expect(committed).toBe(33);
    expect(k.committed).toBe(0);
    expect(k.mms.size).toBe(0);
  });
});
