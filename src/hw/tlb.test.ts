// Tlb and WalkCache against naive twins: maps from the place of an entry to what was entered there last. Replacement falls
// out of that (what is entered where another entry stood takes its place), so answers must agree exactly.
import { describe, expect, it } from 'vitest';
import { Rng } from '../base/rng.ts';
import { TLB_1G, TLB_2M, TLB_4K, TLB_SIZE_BYTES, Tlb, WalkCache } from './tlb.ts';

const seed = Number(process.env['SEED'] ?? 1);
const GIB = 2 ** 30;

interface Translation {
  asid: number;
  start: number;
  size: number;
  pfn: number;
  flags: number;
  generation: number;
}

class NaiveTlb {
  readonly at = new Map<number, Translation>();

  /** The smallest translation of the address. */
  find(asid: number, va: number): number {
    let best = -1;
    for (const [at, t] of this.at) {
      if (t.asid !== asid || va < t.start || va >= t.start + TLB_SIZE_BYTES[t.size]!) continue;
      if (best < 0 || t.size < this.at.get(best)!.size) best = at;
    }
    return best;
  }

  drop(isVictim: (t: Translation) => boolean): number {
    let dropped = 0;
    for (const [at, t] of this.at) {
      if (!isVictim(t)) continue;
      this.at.delete(at);
      dropped++;
    }
    return dropped;
  }
}

const hiOf = (va: number): number => Math.floor(va / GIB);
const loOf = (va: number): number => Math.floor(va / 4096) % 2 ** 18;
const BASES = [0, 0x7fff_c000_0000, 0x55_4000_0000, 0x4000_0000];

function randomPage(rng: Rng): number {
  const base = BASES[rng.below(BASES.length)]!;
  return rng.chance(1, 2) ? base + rng.below(24) * 4096 : base + rng.below(5) * 0x200000 + rng.below(3) * 4096;
}

function compare(tlb: Tlb, naive: NaiveTlb, claim: string): void {
  const twins = [...naive.at.values()];
  if (tlb.count !== twins.length) throw new Error(`${claim}: count ${tlb.count}, not ${twins.length}`);
  const large = twins.filter((t) => t.size !== TLB_4K).length;
  if (tlb.largeCount !== large) throw new Error(`${claim}: largeCount ${tlb.largeCount}, not ${large}`);
}

/** Random operations on both; `large`: one insertion in so many is of 2 MiB or 1 GiB (0: none). */
function run(rng: Rng, tlb: Tlb, steps: number, large: number): NaiveTlb {
  const naive = new NaiveTlb();
  const asid = (): number => 1 + rng.below(3);
  for (let step = 0; step < steps; step++) {
    const va = randomPage(rng);
    const claim = `step ${step} va ${va.toString(16)}`;
    const what = rng.below(100);
    if (what < 45) {
      const size = large > 0 && rng.chance(1, large) ? 1 + rng.below(2) : TLB_4K;
      const t: Translation = {
        asid: asid(),
        start: va - (va % TLB_SIZE_BYTES[size]!),
        size,
        pfn: rng.below(2 ** 20),
        flags: rng.below(4096),
        generation: rng.u32(),
      };
      const same = [...naive.at].find(([, o]) => o.asid === t.asid && o.start === t.start && o.size === t.size);
      const at = tlb.insert(t.asid, hiOf(va), loOf(va), size, t.pfn, t.flags, t.generation);
      if (same !== undefined) expect(at, claim).toBe(same[0]);
      naive.at.set(at, t);
    } else if (what < 90) {
      const a = asid();
      const at = tlb.find(a, hiOf(va), loOf(va));
      if (at !== naive.find(a, va)) throw new Error(`${claim}: found ${at}, not ${naive.find(a, va)}`);
      const t = naive.at.get(at);
      if (t !== undefined) {
        const entry = { asid: tlb.asid(at), start: tlb.address(at), size: tlb.size(at) };
        const data = { pfn: tlb.pfn(at), flags: tlb.flags(at), generation: tlb.generation(at) };
        expect({ ...entry, ...data }, claim).toEqual(t);
      }
    } else if (what < 99) {
      // Any bytes: one page, a few, just above the limit of the short way, gigabytes, everything.
      const start = rng.chance(1, 2) ? va : va + rng.below(4096);
      const length = [1, 4096, 5 * 4096, 32 * 4096, 33 * 4096, 0x400000, GIB, Number.POSITIVE_INFINITY][rng.below(8)]!;
      const a = asid();
      const dropped = naive.drop(
        (t) => t.asid === a && t.start < start + length && t.start + TLB_SIZE_BYTES[t.size]! > start,
      );
      expect(tlb.invalidateRange(a, start, start + length), claim).toBe(dropped);
    } else {
      const a = rng.chance(1, 4) ? -1 : asid();
      expect(tlb.invalidateAsid(a), claim).toBe(naive.drop((t) => a < 0 || t.asid === a));
    }
    compare(tlb, naive, claim);
  }
  return naive;
}

describe(`Tlb (SEED=${seed})`, () => {
  const shapes = [
    { sets: 1, ways: 1, large: 3 },
    { sets: 8, ways: 4, large: 6 },
    { sets: 16, ways: 2, large: 0 },
    { sets: 4, ways: 8, large: 200 },
  ];
  for (const { sets, ways, large } of shapes) {
    it(`agrees with a map: ${sets} sets, ${ways} ways, one in ${large} large`, () => {
      const tlb = new Tlb(sets, ways);
      const naive = run(new Rng(seed), tlb, 26_000, large);
      for (let at = 0; at < tlb.entries.length; at += 4) expect(tlb.isUsed(at)).toBe(naive.at.has(at));
    });
  }

  it('replaces the oldest of a set', () => {
    const tlb = new Tlb(4, 3);
    for (let i = 0; i < 20; i++) {
      tlb.insert(1, 0, i * 4, TLB_4K, i + 1, 1, 0);
      for (let j = 0; j <= i; j++) expect(tlb.find(1, 0, j * 4) >= 0, `entry ${j} after ${i}`).toBe(j > i - 3);
    }
  });

  it('looks for the smaller leaf first, and finds the larger when that is gone', () => {
    const tlb = new Tlb(8, 4);
    tlb.insert(1, 3, 5, TLB_1G, 0x40000, 1, 0);
    tlb.insert(1, 3, 5, TLB_2M, 0x200, 1, 0);
    tlb.insert(1, 3, 5, TLB_4K, 7, 1, 0);
    for (const size of [TLB_4K, TLB_2M, TLB_1G]) {
      const at = tlb.find(1, 3, 5);
      expect(tlb.size(at)).toBe(size);
      tlb.drop(at);
    }
    expect([tlb.find(1, 3, 5), tlb.count, tlb.largeCount]).toEqual([-1, 0, 0]);
  });
});

describe(`WalkCache (SEED=${seed})`, () => {
  it('agrees with a map of slots', () => {
    const rng = new Rng(seed);
    const cache = new WalkCache(8);
    const naive = new Map<number, { asid: number; span: number; table: number; gen: number; rights: number }>();
    for (let step = 0; step < 40_000; step++) {
      const va = randomPage(rng) + rng.below(512) * 4096;
      const asid = 1 + rng.below(3);
      const span = Math.floor(va / 0x200000);
      const slot = cache.find(asid, hiOf(va), loOf(va));
      const twin = [...naive].find(([, e]) => e.asid === asid && e.span === span);
      if (slot !== (twin?.[0] ?? -1)) throw new Error(`step ${step}: slot ${slot}, not ${twin?.[0]}`);
      if (twin !== undefined) {
        const { table, gen, rights } = twin[1];
        expect([cache.table[slot], cache.gen[slot], cache.rights[slot]]).toEqual([table, gen, rights]);
      }
      if (rng.chance(1, 2)) {
        const e = { asid, span, table: rng.below(2 ** 20), gen: rng.u32(), rights: rng.below(16) };
        cache.insert(asid, hiOf(va), loOf(va), e.table, e.gen, e.rights);
        const at = cache.find(asid, hiOf(va), loOf(va));
        if (at < 0) throw new Error(`step ${step}: not found after insert`);
        naive.set(at, e);
      } else if (rng.chance(1, 20)) {
        const a = rng.chance(1, 4) ? -1 : asid;
        const victims = [...naive].filter(([, e]) => a < 0 || e.asid === a);
        for (const [at] of victims) naive.delete(at);
        expect(cache.invalidateAsid(a)).toBe(victims.length);
      }
      if (cache.count !== naive.size) throw new Error(`step ${step}: count ${cache.count}, not ${naive.size}`);
    }
  });
});
