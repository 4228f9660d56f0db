import { describe, expect, test } from 'vitest';
import * as A from '../../abi/mman.ts';
import * as NR from '../../abi/syscalls.ts';
import { Rng } from '../../base/rng.ts';
import { checkWorld } from '../check-world.ts';
import { userLoad, userStore } from '../cpu-access.ts';
import { PG_KSM } from '../page/pages.ts';
import { doClone, doExit } from '../process/task.ts';
import type { Task } from '../types.ts';
import { World } from '../vma/test-world.ts';
import { followMappedPage } from './follow.ts';
import { ksmRun } from './scan.ts';

const AT = 0x100000000;
const ANON = A.MAP_PRIVATE | A.MAP_ANONYMOUS | A.MAP_FIXED;
const page = (i: number): number => AT + i * 4096;

/** Frames mapped by `count` pages from AT. */
function frames(w: World, count: number, task: Task = w.task): number[] {
  return Array.from({ length: count }, (_, i) => {
    const pfn = w.k.sched.run(followMappedPage(w.k, task.mm!, page(i)));
    if (pfn !== 0) w.k.fn.putPage(w.k, pfn);
    return pfn;
  });
}

function mergeable(w: World, values: readonly number[]): void {
  w.call(NR.NR_mmap, AT, values.length * 4096, 3, ANON, -1, 0);
  for (let i = 0; i < values.length; i++) w.k.sched.run(userStore(w.k, w.task, page(i), values[i]!));
  expect(w.call(NR.NR_madvise, AT, values.length * 4096, A.MADV_MERGEABLE)).toBe(0);
}

const scan = (w: World, fullScans: number): void => w.k.sched.run(ksmRun(w.k, fullScans));
const load = (w: World, i: number, task: Task = w.task): number => w.k.sched.run(userLoad(w.k, task, page(i)));
const store = (w: World, i: number, value: number, task: Task = w.task): number =>
  w.k.sched.run(userStore(w.k, task, page(i), value));

describe('KSM', () => {
  test('of two equal pages the one found second stays; later ones join it; a write breaks one off', () => {
    const w = new World();
    mergeable(w, [5, 5, 5, 5]);
    const before = frames(w, 4);
    scan(w, 3);
    expect(frames(w, 4)).toEqual([before[1], before[1], before[1], before[1]]);
    expect([w.k.ksm.pagesShared, w.k.ksm.pagesSharing]).toEqual([1, 3]);
    checkWorld(w.k);
    expect(store(w, 1, 6)).toBe(0);
    expect([0, 1, 2, 3].map((i) => load(w, i))).toEqual([5, 6, 5, 5]);
    scan(w, 2);
    expect([w.k.ksm.pagesShared, w.k.ksm.pagesSharing]).toEqual([1, 2]);
    checkWorld(w.k);
    expect(w.call(NR.NR_madvise, AT, 0x4000, A.MADV_UNMERGEABLE)).toBe(0);
    expect(new Set(frames(w, 4)).size).toBe(4);
    expect([0, 1, 2, 3].map((i) => load(w, i))).toEqual([5, 6, 5, 5]);
    checkWorld(w.k);
    scan(w, 1);
    expect(w.k.ksm.isEmpty).toBe(true);
  });

  test('pages of zeros become the zero page when that is wanted', () => {
    const w = new World();
    w.k.ksm.useZeroPages = true;
    mergeable(w, [0, 0, 0]);
    scan(w, 3);
    expect(frames(w, 3)).toEqual([w.k.zeroPfn, w.k.zeroPfn, w.k.zeroPfn]);
    expect([w.k.ksm.pagesShared, w.task.mm!.rss[A.MM_ANONPAGES]]).toEqual([0, 0]);
    store(w, 1, 7);
    expect([0, 1, 2].map((i) => load(w, i))).toEqual([0, 7, 0]);
    checkWorld(w.k);
  });

  test('a page with a reference that is no mapping is left alone', () => {
    const w = new World();
    mergeable(w, [9, 9]);
    const [held] = frames(w, 2);
    w.k.pages.refcount[held!]!++;
    scan(w, 4);
    expect(new Set(frames(w, 2)).size).toBe(2);
    w.k.pages.refcount[held!]!--;
    scan(w, 2);
    expect(new Set(frames(w, 2)).size).toBe(1);
    checkWorld(w.k);
  });

  test('a full KSM page gets a duplicate; duplicates that empty go', () => {
    const w = new World();
    w.k.ksm.maxPageSharing = 3;
    mergeable(w, new Array(8).fill(3));
    scan(w, 6);
    const { ksm } = w.k;
    expect(ksm.stableNodeChains).toBe(1);
    expect(ksm.pagesShared + ksm.pagesSharing).toBe(8);
    checkWorld(w.k);
    for (let i = 0; i < 8; i++) store(w, i, 10 + i);
    scan(w, 3);
    expect(ksm.pagesShared).toBe(0);
    checkWorld(w.k);
  });

  test('fork copies the mappings and rmap finds them; the child exits; the parent moves its pages away', () => {
    const w = new World();
    const { k } = w;
    mergeable(w, [4, 4, 4]);
    scan(w, 3);
    const child = k.tasks.get(k.sched.run(doClone(k, w.task, 0)))!;
    expect(frames(w, 3, child)).toEqual(frames(w, 3));
    checkWorld(k);
    scan(w, 2);
    checkWorld(k);
    expect(k.ksm.pagesShared + k.ksm.pagesSharing).toBe(6);
    store(w, 0, 8, child);
    expect([load(w, 0), load(w, 0, child)]).toEqual([4, 8]);
    const to = AT + 0x100000;
    w.call(NR.NR_mremap, AT, 0x3000, 0x3000, A.MREMAP_MAYMOVE | A.MREMAP_FIXED, to);
    expect(k.sched.run(userLoad(k, w.task, to + 0x2000))).toBe(4);
    checkWorld(k);
    k.sched.run(doExit(k, child));
    checkWorld(k);
    scan(w, 2);
    expect(k.mms.size).toBe(1);
    checkWorld(k);
  });

  test('KSM pages go to swap and come back, to every place that maps them', () => {
    const w = new World('6.1', { swapPages: 64 });
    mergeable(w, [2, 2, 2, 7]);
    scan(w, 3);
    for (let round = 0; round < 3; round++) {
      w.k.sched.run(w.k.fn.tryToFreePages(w.k, 32));
      checkWorld(w.k);
    }
    expect(w.k.stats.swapOuts).toBe(2);
    expect([0, 1, 2, 3].map((i) => load(w, i))).toEqual([2, 2, 2, 7]);
    checkWorld(w.k);
    store(w, 2, 1);
    expect([0, 1, 2, 3].map((i) => load(w, i))).toEqual([2, 2, 1, 7]);
    scan(w, 3);
    checkWorld(w.k);
  });

  const seed = Number(process.env.SEED ?? 11);
  test(`contents and counts survive random writes, scans, forks, reclaim and unmapping (seed ${seed})`, () => {
    const w = new World('6.1', { swapPages: 256 });
    const { k } = w;
    k.ksm.maxPageSharing = 4;
    const rng = new Rng(seed);
    const count = 24;
    const twins = new Map<Task, number[]>();
    mergeable(w, new Array(count).fill(1));
    twins.set(w.task, new Array(count).fill(1));
    for (let step = 0; step < 400; step++) {
      const tasks = [...twins.keys()];
      const task = tasks[rng.below(tasks.length)]!;
      const values = twins.get(task)!;
      const i = rng.below(count);
      const what = rng.below(20);
      if (what < 9) {
        values[i] = rng.below(4);
        expect(store(w, i, values[i]!, task)).toBe(0);
      } else if (what < 14) scan(w, 1 + rng.below(2));
      else if (what === 14) k.sched.run(k.fn.tryToFreePages(k, 1 + rng.below(8)));
      else if (what === 15 && tasks.length < 4) {
        const child = k.tasks.get(k.sched.run(doClone(k, task, 0)))!;
        twins.set(child, [...values]);
      } else if (what === 16 && tasks.length > 1) {
        k.sched.run(doExit(k, task));
        twins.delete(task);
      } else if (what === 17) {
        const n = 1 + rng.below(4);
        w.callAs(task, NR.NR_madvise, page(i), Math.min(n, count - i) * 4096, A.MADV_DONTNEED);
        values.fill(0, i, Math.min(count, i + n));
      } else if (what === 18) k.ksm.useZeroPages = !k.ksm.useZeroPages;
      else {
        const advice = rng.below(3) === 0 ? A.MADV_UNMERGEABLE : A.MADV_MERGEABLE;
        expect(w.callAs(task, NR.NR_madvise, page(i), (count - i) * 4096, advice)).toBe(0);
      }
      checkWorld(k);
      if (step % 10 === 0) for (const [t, twin] of twins) expect(twin.map((_, at) => load(w, at, t))).toEqual(twin);
    }
    let merged = 0;
    for (let pfn = 1; pfn < k.pages.count; pfn++) if ((k.pages.flags[pfn]! & PG_KSM) !== 0) merged++;
    expect(merged + k.ksm.fullScans).toBeGreaterThan(50);
  });
});
