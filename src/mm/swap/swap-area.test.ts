// The swap area against a naive twin: counts, cache flag, stored bytes, and slots that are handed out once.
import { expect, it } from 'vitest';
import { HandMade } from '../../../test/support/hand-made.ts';
import { Rng } from '../../base/rng.ts';
import { checkWorld } from '../check-world.ts';
import { SwapArea } from './swap-area.ts';

const seed = Number(process.env['SEED'] ?? 3);

interface Slot {
  users: number;
  cache: boolean;
  byte: number;
}

it(`agrees with a twin over random operations (SEED=${seed})`, () => {
  const rng = new Rng(seed);
  const area = new SwapArea(40);
  const twin = new Map<number, Slot>();
  const page = new Uint8Array(8192);
  for (let i = 0; i < 20_000; i++) {
    const slots = [...twin.keys()];
    const slot = slots[rng.below(Math.max(1, slots.length))];
    const s = slot === undefined ? undefined : twin.get(slot);
    const kind = rng.below(6);
    if (kind === 0) {
      const got = area.allocate();
      if (twin.size === 40) expect(got).toBe(0);
      else {
        expect(got >= 1 && got <= 40 && !twin.has(got)).toBe(true);
        area.setCached(got, 1000 + got);
        const byte = rng.below(256);
        page.fill(byte, 100, 4196);
        area.write(got, page, 100);
        twin.set(got, { users: 0, cache: true, byte });
      }
    } else if (slot === undefined || s === undefined) {
      expect(area.used).toBe(0);
    } else if (kind === 1 || kind === 2) {
      expect(area.duplicate(slot)).toBe(0);
      s.users++;
    } else if (kind === 3 && s.users > 0) {
      area.release(slot);
      s.users--;
    } else if (kind === 4 && s.cache) {
      area.dropCached(slot);
      s.cache = false;
    } else if (kind === 5) {
      area.read(slot, page, 4096);
      expect([page[4096], page[8191]]).toEqual([s.byte, s.byte]);
    }
    for (const [n, t] of twin) if (t.users === 0 && !t.cache) twin.delete(n);
    expect(area.used).toBe(twin.size);
    for (const [n, t] of twin) {
      if (area.users(n) !== t.users || area.cached(n) !== (t.cache ? 1000 + n : 0))
        throw new Error(`step ${i} slot ${n}`);
    }
  }
  area.checkInvariants();
  expect(area.usedPeak).toBe(40);
});

it('refuses a slot that is not in use', () => {
  const area = new SwapArea(4);
  expect(area.duplicate(1)).toBeLessThan(0);
  expect(area.duplicate(9)).toBeLessThan(0);
  expect(() => area.release(2)).toThrow('SwapArea.release');
  expect(new SwapArea(0).allocate()).toBe(0);
});

it('a page that is read back stays cached until nobody needs its slot', () => {
  const w = new HandMade({ swapPages: 8 });
  const vma = w.vma(0x100000000, 0x100001000);
  w.anon(vma, vma.start);
  w.run(w.k.fn.madvisePageout(w.k, vma, vma.start, vma.end));
  const slot = 1;
  expect([w.k.swap.users(slot), w.k.swap.cached(slot)]).toEqual([1, 0]);
  const pfn = w.run(w.k.fn.readSwapCache(w.k, slot));
  expect(w.k.swap.cached(slot)).toBe(pfn);
  expect(w.run(w.k.fn.readSwapCache(w.k, slot))).toBe(pfn);
  w.k.fn.putPage(w.k, pfn);
  w.k.fn.putPage(w.k, pfn);
  checkWorld(w.k);
  w.munmap([vma], vma.start, vma.end);
  expect([w.k.swap.used, w.k.pages.refcount[pfn]]).toEqual([0, 0]);
  checkWorld(w.k);
});
