// The allocator against a naive twin (a set of free frames), and the watermark rules.
import { describe, expect, it } from 'vitest';
import { FRAME_ANON } from '../../abi/events.ts';
import { Rng } from '../../base/rng.ts';
import { kernelConfig } from '../config.ts';
import { Kernel } from '../kernel.ts';
import { linuxFns } from '../table.ts';
import { watermarks } from './allocator.ts';
import { Buddy } from './buddy.ts';
import { GFP_ATOMIC, GFP_KERNEL, GFP_MEMALLOC, GFP_NOWAIT } from './pages.ts';

const seed = Number(process.env['SEED'] ?? 20261);

function kernel(parts: Parameters<typeof kernelConfig>[0]): Kernel {
  return new Kernel(kernelConfig(parts), linuxFns);
}

describe('Buddy', () => {
  it(`agrees with a set of free frames over random blocks (SEED=${seed})`, () => {
    const rng = new Rng(seed);
    const k = kernel({ frames: 3001, cpus: 2 });
    const b = k.buddy;
    const free = new Set<number>();
    for (let pfn = b.first; pfn < 3001; pfn++) free.add(pfn);
    const held: { pfn: number; order: number }[] = [];
    for (let step = 0; step < 100_000; step++) {
      const order = rng.chance(9, 10) ? 0 : rng.below(11);
      // Runs of mostly taking and mostly giving, so that memory runs full and empty.
      if (rng.chance(step % 8000 < 4000 ? 3 : 1, 4)) {
        const pfn = order === 0 ? b.takeFrame(rng.below(2)) : b.takeBlock(order);
        if (pfn === 0) {
          if (order === 0) expect(free.size).toBe(0);
          continue;
        }
        if (pfn % (1 << order) !== 0) throw new Error(`step ${step}: block ${pfn} not aligned to order ${order}`);
        for (let i = 0; i < 1 << order; i++) {
          if (!free.delete(pfn + i)) throw new Error(`step ${step}: frame ${pfn + i} handed out twice`);
        }
        held.push({ pfn, order });
      } else if (held.length > 0) {
        const at = rng.below(held.length);
        const h = held[at]!;
        held[at] = held[held.length - 1]!;
        held.pop();
        if (h.order === 0) b.giveFrame(rng.below(2), h.pfn);
        else b.giveBlock(h.pfn, h.order);
        for (let i = 0; i < 1 << h.order; i++) free.add(h.pfn + i);
      }
      if (k.pages.free !== free.size) throw new Error(`step ${step}: ${k.pages.free} free, twin has ${free.size}`);
      if (step % 500 === 0) {
        b.checkInvariants();
        expect(b.freeFrames().reduce((n, x) => n + x, 0)).toBe(free.size);
      }
    }
    for (const h of held) b.giveBlock(h.pfn, h.order);
    b.drain();
    b.checkInvariants();
    expect(b.buddyInfo()).toEqual(kernel({ frames: 3001 }).buddy.buddyInfo());
  });

  it('hands out low frames first and the last one given first (LIFO)', () => {
    const k = kernel({ frames: 4096 });
    const a = k.buddy.takeFrame(0);
    const b = k.buddy.takeFrame(0);
    expect([a, b]).toEqual([k.buddy.first, k.buddy.first + 1]);
    k.buddy.giveFrame(0, a);
    k.buddy.giveFrame(0, b);
    expect(k.buddy.takeFrame(0)).toBe(b);
    expect(k.buddy.takeFrame(0)).toBe(a);
  });

  it('finds frames that stand on another CPU list', () => {
    const k = kernel({ frames: 64, cpus: 2 });
    while (k.buddy.takeFrame(0) !== 0);
    k.buddy.giveFrame(1, 7);
    expect(k.buddy.takeFrame(0)).toBe(7);
    expect(k.buddy.takeFrame(0)).toBe(0);
  });
});

describe('allocPage', () => {
  it('leaves each kind of request its reserve', () => {
    const k = kernel({ frames: 128, watermarkMin: 8, watermarkLow: 12, watermarkHigh: 20 });
    const fill = (gfp: number): number => {
      while (k.fn.allocPage(k, gfp, FRAME_ANON) !== 0);
      return k.pages.free;
    };
    expect(k.reclaim.kswapdWanted).toBe(false);
    expect(fill(GFP_NOWAIT)).toBe(8);
    expect(k.reclaim.kswapdWanted).toBe(true);
    expect(fill(GFP_KERNEL)).toBe(8);
    expect(fill(GFP_ATOMIC)).toBe(4);
    expect(fill(GFP_MEMALLOC)).toBe(0);
    expect(k.stats.framesPeak).toBe(128);
  });

  it('starts a new generation when a frame is given back, and frees on the last reference only', () => {
    const k = kernel({ frames: 64 });
    const pfn = k.fn.allocPage(k, GFP_KERNEL, FRAME_ANON);
    const before = k.memory.generation[pfn];
    const free = k.pages.free;
    k.pages.refcount[pfn] = 2;
    k.fn.putPage(k, pfn);
    expect([k.pages.free, k.memory.generation[pfn]]).toEqual([free, before]);
    k.fn.putPage(k, pfn);
    expect([k.pages.free, k.memory.generation[pfn]]).toEqual([free + 1, before! + 1]);
    expect(() => k.fn.putPage(k, pfn)).toThrow('putPage');
    k.buddy.checkInvariants();
  });

  it('fails when the chooser says so, and not otherwise', () => {
    let answer = 1;
    const chooser = { choose: (): number => answer };
    const k = new Kernel(kernelConfig({ frames: 64, injectAllocFailures: true }), linuxFns, chooser);
    expect(k.fn.allocPage(k, GFP_KERNEL, FRAME_ANON)).toBe(0);
    expect(k.sched.run(k.fn.allocPagesSlow(k, GFP_KERNEL, FRAME_ANON))).toBe(0);
    answer = 0;
    expect(k.fn.allocPage(k, GFP_KERNEL, FRAME_ANON)).toBeGreaterThan(0);
  });

  it('answers 0 from the slow path when nothing can be reclaimed', () => {
    const k = kernel({ frames: 64 });
    while (k.fn.allocPage(k, GFP_KERNEL, FRAME_ANON) !== 0);
    expect(k.sched.run(k.fn.allocPagesSlow(k, GFP_KERNEL, FRAME_ANON))).toBe(0);
  });

  it('derives watermarks as the kernel does, without eating a small memory', () => {
    for (const [frames, min] of [
      [32, 1],
      [1024, 16],
      [65536, 512],
      [1 << 20, 2048],
    ] as const) {
      const w = watermarks(kernelConfig({ frames }));
      expect(w.min).toBe(min);
      expect(w.low).toBeGreaterThan(w.min);
      expect(w.high).toBeGreaterThan(w.low);
    }
  });

  it('is built over whatever memory there is', () => {
    for (const frames of [4, 5, 33, 1023, 1025]) {
      const k = kernel({ frames });
      expect(k.pages.free).toBe(frames - k.buddy.first);
      k.buddy.checkInvariants();
      expect(k.buddy).toBeInstanceOf(Buddy);
    }
  });
});
