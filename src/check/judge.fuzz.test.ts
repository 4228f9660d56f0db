import { expect, test } from 'vitest';
import { E_DEV_INVAL, E_LAZYFREE, EV_WORDS } from '../abi/events.ts';
import { RecordLog } from '../base/record-log.ts';
import { Rng } from '../base/rng.ts';
import { EventScript, PAGE } from './event-script.ts';
import { Judge } from './judge.ts';

const SEED = Number(process.env['SEED'] ?? 20240717);

test('random events of every type never crash the judge, and results can always be asked for', () => {
  const rng = new Rng(SEED);
  const log = new RecordLog(EV_WORDS, 512);
  const judge = new Judge();
  judge.attach(log);
  const odd = [
    0,
    1,
    -1,
    0.5,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
    2 ** 20,
    2 ** 47,
    2 ** 60,
  ];
  const any = (): number =>
    rng.chance(1, 6) ? odd[rng.below(odd.length)]! : rng.chance(1, 2) ? rng.below(8) : rng.below(64) * 4096;
  for (let i = 0; i < 200_000; i++) {
    log.step = i;
    log.actor = rng.below(5);
    log.emit(
      rng.below(E_LAZYFREE + 3),
      rng.below(3),
      any(),
      any(),
      rng.below(40),
      any(),
      any(),
      any(),
      any(),
      rng.below(3),
    );
    if (i % 20_000 === 0) judge.results();
  }
  for (let i = 0; i < 100_000; i++) {
    log.emit(rng.below(E_LAZYFREE + 3), any(), any(), any(), any(), any(), any(), any(), any(), any());
  }
  judge.finish();
  const r = judge.results();
  expect(r.events, `SEED=${SEED}`).toBe(300_000);
  expect(r.malformed).toBeGreaterThan(1000);
  expect(r.safetyViolations).toBeGreaterThan(0);
});

/** The same counts from a list of plain objects, searched from end to end. */
class NaiveWindows {
  windows = 0;
  open = 0;
  staleAccesses = 0;
  #entries = new Map<number, { pfn: number; isTranslated: boolean }>();
  #lastRemoved = new Map<number, boolean>();
  #held: { va: number; pfn: number; gen: number }[] = [];

  map(va: number, pfn: number): void {
    this.unmap(va);
    this.#entries.set(va, { pfn, isTranslated: false });
  }

  unmap(va: number): void {
    const e = this.#entries.get(va);
    if (e !== undefined) this.#lastRemoved.set(e.pfn, e.isTranslated);
    this.#entries.delete(va);
  }

  fill(va: number, pfn: number, gen: number): void {
    this.#held = this.#held.filter((t) => t.va !== va);
    this.#held.push({ va, pfn, gen });
    const e = this.#entries.get(va);
    if (e?.pfn === pfn) e.isTranslated = true;
  }

  invalidate(start: number, end: number): void {
    this.#held = this.#held.filter((t) => t.va < start || t.va >= end);
  }

  free(pfn: number, gen: number): void {
    const isOpen = this.#held.some((t) => t.pfn === pfn && t.gen === gen);
    if (isOpen || this.#lastRemoved.get(pfn) === true) this.windows++;
    if (isOpen) this.open++;
    this.#lastRemoved.delete(pfn);
  }

  maps(pfn: number): boolean {
    return [...this.#entries.values()].some((e) => e.pfn === pfn);
  }

  at(va: number): number {
    return this.#entries.get(va)?.pfn ?? -1;
  }

  held(): { va: number; pfn: number; gen: number }[] {
    return this.#held;
  }
}

test('windows and stale accesses agree with a naive twin over random histories', () => {
  const rng = new Rng(SEED + 1);
  for (let round = 0; round < 60; round++) {
    const s = new EventScript({ keep: 0 });
    const twin = new NaiveWindows();
    const free = [10, 11, 12, 13, 14, 15, 16, 17];
    const used: number[] = [];
    for (let i = 0; i < 400; i++) {
      const va = PAGE + rng.below(12) * 4096;
      s.as(1);
      switch (rng.below(6)) {
        case 0: {
          if (free.length === 0 || twin.at(va) >= 0) break;
          const pfn = free.splice(rng.below(free.length), 1)[0]!;
          used.push(pfn);
          s.alloc(pfn).map(va, pfn);
          twin.map(va, pfn);
          break;
        }
        case 1:
          if (twin.at(va) < 0) break;
          s.unmap(va);
          twin.unmap(va);
          break;
        case 2: {
          // Moves or shares an entry.
          const from = PAGE + rng.below(12) * 4096;
          if (twin.at(from) < 0 || twin.at(va) >= 0) break;
          s.map(va, twin.at(from));
          twin.map(va, twin.at(from));
          if (!rng.chance(1, 2)) break;
          s.unmap(from);
          twin.unmap(from);
          break;
        }
        case 3:
          if (twin.at(va) < 0) break;
          s.as(9).fill(va, twin.at(va));
          twin.fill(va, twin.at(va), s.gen(twin.at(va)));
          break;
        case 4:
          s.as(9).invalidate(va, va + 4096 * (1 + rng.below(20)));
          break;
        default: {
          const gone = used.filter((pfn) => !twin.maps(pfn));
          if (gone.length === 0) break;
          const pfn = gone[rng.below(gone.length)]!;
          twin.free(pfn, s.gen(pfn));
          s.free(pfn);
          used.splice(used.indexOf(pfn), 1);
          free.push(pfn);
        }
      }
      const last = s.log.last(1)[0]!;
      if (last[0] === E_DEV_INVAL) twin.invalidate(last[4]!, last[5]!);
      if (rng.chance(1, 4) && twin.held().length > 0) {
        const t = twin.held()[rng.below(twin.held().length)]!;
        s.as(9).access(t.va, t.pfn, true, t.gen);
        if (t.gen !== s.gen(t.pfn)) twin.staleAccesses++;
      }
    }
    const r = s.results();
    expect([r.windows, r.windowsOpen, r.staleWrites], `SEED=${SEED} round ${round}`).toEqual([
      twin.windows,
      twin.open,
      twin.staleAccesses,
    ]);
    expect(r.malformed + r.unannouncedStores).toBe(0);
  }
});
