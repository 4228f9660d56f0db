// The law of the reduced search: on random small programs it reaches exactly the final states and exactly the findings that
// the enumeration of all interleavings reaches. PROGRAMS is the number of programs (10,000 at full size).
import { expect, test } from 'vitest';
import { Rng } from '../base/rng.ts';
import type { KernelPath } from '../sched/path.ts';
import { P_SYSCALL } from '../sched/points.ts';
import { enumerate } from './enumerate.ts';
import { type ExploreResult, explore } from './explore.ts';
import { pathsProgram, type Shared, type SharedPath } from './paths-program.ts';
import { randomToy, toyProgram } from './toy.ts';
import type { Finding, Program, World } from './world.ts';

const seed = Number(process.env['SEED'] ?? 1);
const programs = Number(process.env['PROGRAMS'] ?? 700);
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

function reduced(program: Program): { readonly seen: Seen; readonly result: ExploreResult } {
  const seen = new Seen();
  const visit = ({ world, findings }: { world: World; findings: readonly Finding[] }): void =>
    seen.note(world, findings);
  return { seen, result: explore(program, { visit }) };
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
      const r = reduced(toyProgram(threads, { saysWaiting }));
      const where = `program ${i}, ${saysWaiting ? 'with' : 'without'} waiting: ${JSON.stringify(threads)}`;
      expect(r.result.exhaustive, where).toBe(true);
      expect(r.seen.list(), where).toEqual(seen.list());
      if (saysWaiting) few += r.result.executions;
    }
    all += whole.executions;
  }
  expect(few * 5).toBeLessThan(all);
});

/** A path over real locks: sections that hold one, accesses between, waits. Chance decides before it runs. */
function randomPath(rng: Rng): SharedPath {
  const parts = Array.from(
    { length: 1 + rng.below(2) },
    () => [rng.below(8), rng.below(2), rng.below(2), rng.below(3)] as const,
  );
  return function* (s) {
    for (const [kind, lock, value, add] of parts) yield* randomPart(s, kind, lock, value, add);
  };
}

function* randomPart(s: Shared, kind: number, lock: number, value: number, add: number): KernelPath<void> {
  switch (kind) {
    case 0:
      yield* s.mutex(lock).lock();
      s.set(value, s.get(value) + add);
      yield P_SYSCALL;
      s.mutex(lock).unlock();
      return;
    case 1:
      yield* s.rwsem(lock).readLock();
      s.set(2, s.get(2) + s.get(value));
      yield P_SYSCALL;
      s.rwsem(lock).readUnlock();
      return;
    case 2:
      yield* s.rwsem(lock).writeLock();
      s.set(value, add);
      yield P_SYSCALL;
      if (add === 1) {
        s.rwsem(lock).downgrade();
        yield P_SYSCALL;
        s.rwsem(lock).readUnlock();
      } else s.rwsem(lock).writeUnlock();
      return;
    case 3: {
      const epoch = s.srcu.readLock();
      yield P_SYSCALL;
      s.set(2, s.get(2) * 2 + s.get(value));
      s.srcu.readUnlock(epoch);
      return;
    }
    case 4:
      s.set(value, s.get(value) + 1);
      yield* s.srcu.synchronize();
      s.set(2, s.get(2) * 2 + 1);
      return;
    case 5:
      yield* s.untilSet(value);
      s.set(value, 0);
      return;
    default:
      s.set(value, add);
      yield P_SYSCALL;
  }
}

test(`so it does on the kernel's own locks and wait queues (SEED=${seed}, PROGRAMS=${programs})`, () => {
  for (let i = 0, tried = 0; tried < programs / 5; i++) {
    const rng = new Rng(seed * 1_000_003 + i);
    const program = pathsProgram(
      `random ${i}`,
      3,
      Array.from({ length: 2 + rng.below(2) }, () => randomPath(rng)),
    );
    const seen = new Seen();
    const whole = enumerate(program, (world) => seen.note(world, world.end(false)), EXECUTIONS_MAX);
    if (!whole.isComplete) continue;
    tried++;
    const r = reduced(program);
    expect(r.result.exhaustive, program.name).toBe(true);
    expect(r.seen.list(), program.name).toEqual(seen.list());
  }
});
