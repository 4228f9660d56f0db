// The ring against a plain array of everything emitted; sinks against the same array; the footprint against a list.
import { describe, expect, it } from 'vitest';
import { Footprint } from './footprint.ts';
import { RecordLog, type RecordSink } from './record-log.ts';
import { Rng } from './rng.ts';

const seed = Number(process.env['SEED'] ?? 1);

class Recorder implements RecordSink {
  readonly records: number[][] = [];
  onRecord(ring: Float64Array, at: number): void {
    this.records.push([...ring.subarray(at, at + 12)]);
  }
}

function emit(log: RecordLog, rng: Rng): number[] {
  const w = Array.from({ length: 10 }, () =>
    rng.chance(1, 9) ? Number.POSITIVE_INFINITY : rng.u32() * 65536 - 2 ** 40,
  );
  log.emit(w[0]!, w[1]!, w[2]!, w[3]!, w[4]!, w[5]!, w[6]!, w[7]!, w[8]!, w[9]!);
  return [w[0]!, log.step, log.actor, ...w.slice(1)];
}

describe(`RecordLog (SEED=${seed})`, () => {
  for (const capacity of [1, 7, 64]) {
    it(`keeps the last ${capacity} records and shows each to every sink of its time`, () => {
      const rng = new Rng(seed);
      const log = new RecordLog(12, capacity);
      const all: number[][] = [];
      const sinks = [0, 1, 2].map(() => ({ sink: new Recorder(), expected: [] as number[][], attached: false }));
      let keep = false;
      for (let i = 0; i < 600; i++) {
        const s = sinks[rng.below(3)]!;
        if (rng.chance(1, 10)) {
          if (s.attached) log.detach(s.sink);
          else log.attach(s.sink);
          s.attached = !s.attached;
        }
        if (rng.chance(1, 20)) {
          keep = !keep;
          log.keep(keep);
        }
        expect(log.on).toBe(keep || sinks.some((x) => x.attached));
        log.step = i;
        log.actor = rng.below(5);
        const record = emit(log, rng);
        all.push(record);
        for (const x of sinks) if (x.attached) x.expected.push(record);
        const n = rng.below(capacity + 3);
        const kept = all.slice(Math.max(0, all.length - Math.min(n, capacity)));
        expect(log.last(n).map((r) => [...r])).toEqual(n === 0 ? [] : kept);
      }
      expect(log.count).toBe(600);
      for (const x of sinks) {
        expect(x.expected.length).toBeGreaterThan(0);
        expect(x.sink.records).toEqual(x.expected);
      }
    });
  }

  it('gives copies, which later records leave alone', () => {
    const rng = new Rng(seed);
    const log = new RecordLog(12, 2);
    const record = emit(log, rng);
    const [copy] = log.last(1);
    for (let i = 0; i < 5; i++) emit(log, rng);
    expect([...copy!]).toEqual(record);
  });

  it('refuses a ring that holds no record', () => {
    expect(() => new RecordLog(11, 4)).toThrow('RecordLog');
    expect(() => new RecordLog(12, 0)).toThrow('RecordLog');
  });
});

describe(`Footprint (SEED=${seed})`, () => {
  it('lists what was noted, in order, until cleared; kinds do not mix', () => {
    const rng = new Rng(seed);
    const f = new Footprint();
    for (let round = 0; round < 20; round++) {
      const noted = Array.from({ length: rng.below(40) }, () => [1 + rng.below(7), rng.u32(), rng.below(2)] as const);
      for (const [kind, id, write] of noted) f.note(kind, id, write === 1);
      const listed = Array.from({ length: f.length }, (_, i) => [
        Math.floor(f.object(i) / 2 ** 32),
        f.object(i) % 2 ** 32,
        f.isWrite(i) ? 1 : 0,
      ]);
      expect(listed).toEqual(noted);
      f.clear();
      expect(f.length).toBe(0);
    }
  });
});
