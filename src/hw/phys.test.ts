// Frames and page-table entries: contents against plain arrays, events and footprints against the list of what was done.
import { describe, expect, it } from 'vitest';
import { E_PTE, E_PTE_AD } from '../abi/events.ts';
import { PTE_A, PTE_D } from '../abi/pte.ts';
import { InputError } from '../base/assert.ts';
import { Footprint, OBJ_ENTRY } from '../base/footprint.ts';
import { Rng } from '../base/rng.ts';
import { FRAMES_MAX, PhysMemory } from './phys.ts';
import { entryHi, entryLo, entryWord, orEntry, ptePfn, writeEntry } from './pte.ts';

const seed = Number(process.env['SEED'] ?? 1);

describe(`PhysMemory (SEED=${seed})`, () => {
  for (const shared of [false, true]) {
    it(`zeroes and copies whole frames and nothing else (${shared ? 'shared' : 'plain'} buffer)`, () => {
      const rng = new Rng(seed);
      const m = new PhysMemory(8, shared);
      expect(m.bytes.buffer instanceof SharedArrayBuffer).toBe(shared);
      const twin = new Array<number>(8 * 4096).fill(0);
      for (let step = 0; step < 200; step++) {
        const to = rng.below(8);
        const from = (to + 1 + rng.below(7)) % 8;
        const what = rng.below(4);
        if (what === 0) {
          m.zero(to);
          twin.fill(0, to * 4096, (to + 1) * 4096);
        } else if (what === 1) {
          m.copy(to, from);
          twin.splice(to * 4096, 4096, ...twin.slice(from * 4096, (from + 1) * 4096));
        } else {
          for (const at of [to * 4096, to * 4096 + 4095, to * 4096 + rng.below(4096)]) {
            m.bytes[at] = twin[at] = rng.below(256);
          }
        }
        if (m.bytes.some((b, i) => b !== twin[i])) throw new Error(`step ${step}: contents differ`);
      }
      expect(twin.some((b) => b !== 0)).toBe(true);
    });
  }

  it('views the same little-endian bytes as words and doubles', () => {
    const m = new PhysMemory(2);
    m.words[entryWord(1, 3)] = 0x04030201;
    expect([...m.bytes.subarray(4096 + 24, 4096 + 28)]).toEqual([1, 2, 3, 4]);
    m.doubles[512] = -2.5;
    expect(new DataView(m.bytes.buffer).getFloat64(4096, true)).toBe(-2.5);
  });

  it('counts generations per frame, from 0, as 32-bit numbers', () => {
    const m = new PhysMemory(4);
    m.generation[2] = 2 ** 32 - 1;
    m.generation[3]!++;
    expect([...m.generation]).toEqual([0, 0, 2 ** 32 - 1, 1]);
    m.zero(2);
    m.copy(3, 2);
    expect([...m.generation]).toEqual([0, 0, 2 ** 32 - 1, 1]);
  });

  it('refuses impossible sizes, naming them', () => {
    for (const frames of [-1, 0, 1, 2.5, Number.NaN, Number.POSITIVE_INFINITY, FRAMES_MAX + 1]) {
      expect(() => new PhysMemory(frames), `${frames}`).toThrow(InputError);
      expect(() => new PhysMemory(frames)).toThrow(`frames: ${frames} `);
    }
    expect(new PhysMemory(2).bytes.length).toBe(8192);
  });

  it('refuses to copy a frame onto itself', () => {
    expect(() => new PhysMemory(4).copy(2, 2)).toThrow('onto itself');
  });
});

describe(`entries (SEED=${seed})`, () => {
  it('each store is one event with the new and the old words, and none when nobody listens', () => {
    const rng = new Rng(seed);
    const m = new PhysMemory(16);
    const twin = new Map<number, [number, number]>();
    for (let step = 0; step < 4000; step++) {
      const table = 1 + rng.below(15);
      const index = rng.chance(1, 2) ? rng.below(4) : 508 + rng.below(4);
      const word = entryWord(table, index);
      const level = rng.below(4);
      const span = 4096 * 512 ** level;
      const va = rng.below(512) * span;
      const [oldLo, oldHi] = twin.get(word) ?? [0, 0];
      const isOr = rng.chance(1, 3);
      const bits = [PTE_A, PTE_D, PTE_A | PTE_D][rng.below(3)]!;
      const lo = isOr ? oldLo | bits : rng.u32() | 0;
      const hi = isOr ? oldHi : rng.u32() | 0;
      m.log.keep(rng.chance(1, 2));
      const count = m.log.count;

      if (isOr) orEntry(m, word, bits, 7, va, level);
      else writeEntry(m, word, lo, hi, 7, va, level);

      twin.set(word, [lo, hi]);
      expect([entryLo(m, word), entryHi(m, word), ptePfn(lo)]).toEqual([lo, hi, Math.floor((lo >>> 0) / 4096)]);
      expect(m.log.count - count).toBe(m.log.on ? 1 : 0);
      if (m.log.on) {
        const type = isOr ? E_PTE_AD : E_PTE;
        expect([...m.log.last(1)[0]!]).toEqual([type, 0, 0, 7, va, va + span, table, level, lo, hi, oldLo, oldHi]);
      }
    }
    for (let word = 0; word < m.words.length; word += 2) {
      const [lo, hi] = twin.get(word) ?? [0, 0];
      if (m.words[word] !== lo || m.words[word + 1] !== hi) throw new Error(`word ${word}: a store went astray`);
    }
  });

  it('notes one read or write of the entry in the footprint, with events on or off', () => {
    const m = new PhysMemory(4);
    const recorder = new Footprint();
    m.footprint = recorder;
    const word = entryWord(3, 511);
    for (const on of [false, true]) {
      m.log.keep(on);
      const acts: [() => unknown, boolean][] = [
        [() => entryLo(m, word), false],
        [() => writeEntry(m, word, 1, 0, 1, 0, 0), true],
        [() => orEntry(m, word, PTE_A, 1, 0, 0), true],
      ];
      for (const [act, isWrite] of acts) {
        recorder.clear();
        act();
        expect([recorder.length, recorder.object(0), recorder.isWrite(0)]).toEqual([
          1,
          OBJ_ENTRY * 2 ** 32 + word,
          isWrite,
        ]);
      }
    }
  });
});
