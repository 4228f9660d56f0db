// The law of the reduced search: on random small programs it reaches exactly the final states and exactly the findings that
// the enumeration of all interleavings reaches. PROGRAMS is the number of programs (10,000 at full size).
import { expect, test } from 'vitest';
import { Rng } from '../base/rng.ts';
import { enumerate } from './enumerate.ts';
import { type ExploreResult, explore } from './explore.ts';
import { randomToy, type ToyOp, toyProgram } from './toy.ts';
import type { Finding, World } from './world.ts';

const seed = Number(process.env['SEED'] ?? 1);
const programs = Number(process.env['PROGRAMS'] ?? 1500);
const EXECUTIONS_MAX = 20_000;

/** What executions lead to. */
class Seen {
  readonly states = new Set<string>();
  readonly findings = new Set<string>();

  note(world: World, findings: readonly Finding[]): void {
    this.states.add(world.finalState!());
    for (const f of findings) this.findings.add(`${f.property} ${f.tag}: ${f.sentence}`);
  }

  list(): { readonly states: string[]; readonly findings: string[] } {
    return { states: [...this.states].sort(), findings: [...this.findings].sort() };
  }
}

function reduced(threads: ToyOp[][], saysWaiting = true): { readonly seen: Seen; readonly result: ExploreResult } {
  const seen = new Seen();
  const visit = ({ world, findings }: { world: World; findings: readonly Finding[] }): void =>
    seen.note(world, findings);
  return { seen, result: explore(toyProgram(threads, { saysWaiting }), { visit }) };
}

test(`the reduced search reaches what all interleavings reach (SEED=${seed}, PROGRAMS=${programs})`, () => {
  let all = 0;
  let few = 0;
  for (let i = 0, tried = 0; tried < programs; i++) {
    const threads = randomToy(new Rng(seed * 1_000_003 + i), 9);
    const seen = new Seen();
    const whole = enumerate(toyProgram(threads), (world) => seen.note(world, world.end(false)), EXECUTIONS_MAX);
    if (!whole.isComplete) continue;
    tried++;
    for (const saysWaiting of [true, false]) {
      const r = reduced(threads, saysWaiting);
      const where = `program ${i}, ${saysWaiting ? 'with' : 'without'} waiting: ${JSON.stringify(threads)}`;
      expect(r.result.exhaustive, where).toBe(true);
      expect(r.seen.list(), where).toEqual(seen.list());
      if (saysWaiting) few += r.result.executions;
    }
    all += whole.executions;
  }
  expect(few * 5).toBeLessThan(all);
});
