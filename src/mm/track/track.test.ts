import { describe, expect, test } from 'vitest';
import * as A from '../../abi/mman.ts';
import { PTE_A, PTE_RW, PTE_SOFT_DIRTY } from '../../abi/pte.ts';
import * as NR from '../../abi/syscalls.ts';
import { Rng } from '../../base/rng.ts';
import { entryHi, entryLo } from '../../hw/pte.ts';
import { checkWorld } from '../check-world.ts';
import { userLoad, userStore } from '../cpu-access.ts';
import { pteOffset, pteTable } from '../fault/page-tables.ts';
import { pteFrame, pteIsSwap, SWP_SOFT_DIRTY } from '../page/swapops.ts';
import { World } from '../vma/test-world.ts';
import { clearRefs } from './clear-refs.ts';
import { DamonContext, DamonRegion, damonAdvance } from './damon.ts';
import { pageIdleGet, pageIdleSet } from './page-idle.ts';

const AT = 0x100000000;
const ANON = A.MAP_PRIVATE | A.MAP_ANONYMOUS | A.MAP_FIXED;
const page = (i: number): number => AT + i * 4096;

function written(pages: number, parts = {}): World {
  const w = new World('6.1', parts);
  w.call(NR.NR_mmap, AT, pages * 4096, 3, ANON, -1, 0);
  for (let i = 0; i < pages; i++) w.k.sched.run(userStore(w.k, w.task, page(i), i + 1));
  return w;
}

function lo(w: World, i: number): number {
  const mm = w.task.mm!;
  return entryLo(w.k.memory, pteOffset(pteTable(w.k, mm, page(i)), page(i)));
}

const clear = (w: World, type: number): number => w.k.sched.run(clearRefs(w.k, w.task.mm!, type));

describe('clear_refs', () => {
  test('4: exactly the pages written since are soft-dirty; nothing is lost', () => {
    const w = written(8);
    expect(clear(w, 4)).toBe(0);
    for (let i = 0; i < 8; i++) expect(lo(w, i) & (PTE_SOFT_DIRTY | PTE_RW)).toBe(0);
    expect(w.task.mm!.vmas.find(AT)!.flags & A.VM_SOFTDIRTY).toBe(0);
    for (const i of [1, 4, 5]) expect(w.k.sched.run(userStore(w.k, w.task, page(i), 99))).toBe(0);
    for (let i = 0; i < 8; i++) {
      expect((lo(w, i) & PTE_SOFT_DIRTY) !== 0).toBe([1, 4, 5].includes(i));
      expect(w.k.sched.run(userLoad(w.k, w.task, page(i)))).toBe([1, 4, 5].includes(i) ? 99 : i + 1);
    }
    checkWorld(w.k);
  });

  test('4: swapped pages too; a new mapping is soft-dirty as a whole', () => {
    const w = written(4, { swapPages: 64 });
    w.call(NR.NR_madvise, AT, 0x4000, A.MADV_PAGEOUT);
    expect(clear(w, 4)).toBe(0);
    for (let i = 0; i < 4; i++) {
      const word = pteOffset(pteTable(w.k, w.task.mm!, page(i)), page(i));
      expect(pteIsSwap(lo(w, i), entryHi(w.k.memory, word))).toBe(true);
      expect(lo(w, i) & SWP_SOFT_DIRTY).toBe(0);
    }
    w.k.sched.run(userLoad(w.k, w.task, page(2)));
    expect(lo(w, 2) & PTE_SOFT_DIRTY).toBe(0);
    w.call(NR.NR_mmap, page(16), 0x1000, 3, ANON, -1, 0);
    expect(w.task.mm!.vmas.find(page(16))!.flags & A.VM_SOFTDIRTY).not.toBe(0);
  });

  test('1 to 3 take A from what they name; 5 resets the highest RSS; others are refused', () => {
    const w = written(2);
    expect([clear(w, 3), lo(w, 0) & PTE_A]).toEqual([0, PTE_A]);
    expect([clear(w, 2), lo(w, 0) & PTE_A]).toEqual([0, 0]);
    w.task.mm!.hiwaterRss = 1000;
    expect([clear(w, 5), w.task.mm!.hiwaterRss]).toEqual([0, 2]);
    expect([clear(w, 0), clear(w, 6), clear(w, Number.NaN)]).toEqual([-22, -22, -22]);
  });
});

test('a page is idle until it is used', () => {
  const w = written(3);
  const frames = [0, 1, 2].map((i) => pteFrame(lo(w, i)));
  const isIdle = (): boolean[] => frames.map((pfn) => w.k.sched.run(pageIdleGet(w.k, pfn)));
  expect(isIdle()).toEqual([false, false, false]);
  for (const pfn of frames) w.k.sched.run(pageIdleSet(w.k, pfn));
  // The CPU's own translations do not show until they are gone.
  w.k.cpus[0]!.invalidateAll(w.task.mm!.id);
  expect(isIdle()).toEqual([true, true, true]);
  w.k.sched.run(userLoad(w.k, w.task, page(1)));
  expect(isIdle()).toEqual([true, false, true]);
  checkWorld(w.k);
});

describe('DAMON', () => {
  const seed = Number(process.env.SEED ?? 3);

  test(`regions stay a partition of the target and follow what is used (seed ${seed})`, () => {
    const pages = 256;
    const w = written(pages);
    const end = page(pages);
    const ctx = new DamonContext(w.task.mm!, [new DamonRegion(AT, end)], new Rng(seed));
    let hot = 0;
    let cold = 0;
    for (let round = 0; round < 60; round++) {
      for (let i = 0; i < pages / 4; i++) w.k.sched.run(userLoad(w.k, w.task, page(i)));
      w.k.cpus[0]!.invalidateAll(w.task.mm!.id);
      w.k.sched.run(damonAdvance(w.k, ctx, ctx.sampleUs));
      let at = AT;
      for (const r of ctx.regions) {
        expect(r.start).toBe(at);
        expect(r.size).toBeGreaterThanOrEqual(4096);
        expect(r.size % 4096).toBe(0);
        at = r.end;
        const share = (from: number, to: number): number => Math.max(0, Math.min(r.end, to) - Math.max(r.start, from));
        hot += r.accesses * share(AT, page(pages / 4));
        cold += r.accesses * share(page(pages / 2), end);
      }
      expect(at).toBe(end);
      expect(ctx.regions.length).toBeLessThanOrEqual(ctx.maxRegions);
    }
    // The hot quarter is half as large as the cold half, and still counts for more.
    expect(hot).toBeGreaterThan(cold);
    checkWorld(w.k);
  });
});
