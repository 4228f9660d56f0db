// The table and the slots against naive twins: a map of pages, a list of slots. SEED from the environment.
import { expect, test } from 'vitest';
import { Rng } from '../../base/rng.ts';
import { PhysMemory } from '../../hw/phys.ts';
import { newSlot } from './kvm.ts';
import { gfnOf, hvaOf, type Memslot, MemslotSet } from './memslots.ts';
import { LARGE_PAGES, SPTE_LARGE, SPTE_PRESENT, SPTE_R, Sptes } from './sptes.ts';
import { VcpuTlb } from './vcpu-tlb.ts';

const seed = Number(process.env['SEED'] ?? 1);

/** Guest frames near each other and far apart: every level has several tables. */
function anyGfn(rng: Rng): number {
  return rng.below(4) * 0x8000000 + rng.below(3) * 0x40000 + rng.below(3) * 512 + rng.below(512);
}

test(`sptes: random leaves, large and small, against a map of pages (SEED=${seed})`, () => {
  const memory = new PhysMemory(4096);
  const sptes = new Sptes(memory);
  const rng = new Rng(seed);
  /** Page -> first page of its leaf, frame, generation. */
  const twin = new Map<number, readonly [number, number, number]>();
  const takeOut = (first: number, pages: number): void => {
    for (let g = first; g < first + pages; g++) twin.delete(g);
  };
  for (let i = 0; i < 15_000; i++) {
    const gfn = anyGfn(rng);
    const roll = rng.below(10);
    if (roll < 5) {
      if (sptes.find(gfn) !== 0) continue;
      const pfn = 1 + rng.below(4000);
      sptes.set(sptes.place(gfn, 0), 0, gfn, (pfn << 12) | SPTE_PRESENT | SPTE_R);
      twin.set(gfn, [gfn, pfn, memory.generation[pfn]!]);
    } else if (roll === 5) {
      const first = gfn - (gfn % LARGE_PAGES);
      if (sptes.next(first, first + LARGE_PAGES) !== 0) continue;
      if (sptes.place(first, 1) < 0) sptes.dropTable(first);
      sptes.set(sptes.place(first, 1), 1, first, (1024 << 12) | SPTE_PRESENT | SPTE_R | SPTE_LARGE);
      for (let k = 0; k < LARGE_PAGES; k++) twin.set(first + k, [first, 1024 + k, memory.generation[1024 + k]!]);
    } else if (roll === 6) {
      const spte = sptes.find(gfn);
      if (spte === 0) continue;
      const { at, level, first } = sptes;
      if (level === 1 && rng.chance(1, 2)) {
        sptes.splitLarge(at, first);
        for (let k = 0; k < LARGE_PAGES; k++)
          twin.set(first + k, [first + k, ...twin.get(first + k)!.slice(1)] as never);
      } else {
        sptes.set(at, level, first, 0);
        takeOut(first, level === 1 ? LARGE_PAGES : 1);
      }
    } else if (roll === 7) memory.generation[1 + rng.below(4000)]!++;
    else {
      const spte = sptes.find(gfn);
      const known = twin.get(gfn);
      const i = gfn - sptes.first;
      const found = spte === 0 ? undefined : [sptes.first, (spte >>> 12) + i, sptes.generationAt(sptes.at, i)];
      expect(found).toEqual(known);
      const end = gfn + rng.below(0x50000);
      const next = sptes.next(gfn, end) === 0 ? -1 : sptes.first;
      const firsts = [...twin.entries()].filter(([g]) => g >= gfn && g < end).map(([, [first]]) => first);
      expect(next).toBe(firsts.length === 0 ? -1 : Math.min(...firsts));
    }
    if (i % 64 === 0) expect(sptes.count).toBe(new Set([...twin.values()].map(([first]) => first)).size);
    if (i % 100 === 99 && rng.chance(1, 8)) {
      sptes.reset();
      twin.clear();
    }
  }
});

test(`memslots: look-ups against a list (SEED=${seed})`, () => {
  const rng = new Rng(seed);
  for (let round = 0; round < 200; round++) {
    const slots: Memslot[] = [];
    let gfn = 0;
    for (let id = 0; id < 1 + rng.below(8); id++) {
      gfn += rng.below(4);
      const pages = 1 + rng.below(6);
      // Addresses may overlap: several slots show the same memory.
      slots.push(newSlot(id, { baseGfn: gfn, pages, hva: rng.below(24) * 4096 }));
      gfn += pages;
    }
    const set = new MemslotSet(slots);
    for (let i = 0; i < 40; i++) {
      const g = rng.below(60);
      const owner = slots.find((s) => g >= s.baseGfn && g < s.baseGfn + s.pages) ?? null;
      expect(set.ofGfn(g)).toBe(owner);
      if (owner !== null) expect(gfnOf(owner, hvaOf(owner, g) + 17)).toBe(g);
      const start = rng.below(40) * 4096;
      const end = start + 1 + rng.below(5 * 4096);
      const hit = slots.filter((s) => s.hva < end && s.hvaEnd > start);
      expect(new Set(set.ofRange(start, end))).toEqual(new Set(hit));
      expect(set.ofHva(start) === null).toBe(slots.every((s) => start < s.hva || start >= s.hvaEnd));
    }
  }
  expect(() => newSlot(0, { baseGfn: 0, pages: 0, hva: 0 })).toThrow(/slot 0: 0 pages from gfn 0/);
});

test(`TLB: against a map, with flushes (SEED=${seed})`, () => {
  const tlb = new VcpuTlb();
  const rng = new Rng(seed);
  let twin = new Map<number, number>();
  for (let i = 0; i < 40_000; i++) {
    const page = rng.below(40) * 0x1000007 + rng.below(20);
    if (rng.chance(1, 400)) {
      tlb.flush();
      twin = new Map();
    } else if (rng.chance(1, 2)) {
      tlb.insert(page, page, i % 1000, i & 1, i);
      twin.set(page, i);
    }
    const at = tlb.find(page);
    expect(at < 0 ? undefined : tlb.generation[at]).toBe(twin.get(page));
  }
  expect(tlb.stateWords().length).toBe(twin.size * 3);
});
