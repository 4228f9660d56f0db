// An exploration by several workers, with reports in any order and with nodes given away at any time, stopped and resumed from
// its checkpoint, reaches what the enumeration of all interleavings reaches; undisturbed it makes the very same runs as explore().
import { expect, test } from 'vitest';
import { Rng } from '../base/rng.ts';
import { type Checkpoint, Coordinator } from './coordinator.ts';
import { enumerate } from './enumerate.ts';
import { explore } from './explore.ts';
import { JobRunner } from './job-runner.ts';
import { randomToy, toyProgram } from './toy.ts';
import type { Program } from './world.ts';

const seed = Number(process.env['SEED'] ?? 1);
const programs = Number(process.env['PROGRAMS'] ?? 300);
const OPTIONS = { stepsMax: 1000, collectsStates: true };

/** Explores with up to `workers` jobs out at a time; chance decides who goes on, shares, or stops everything. */
function exploreTogether(program: Program, rng: Rng, workers: number, chaos: boolean): Coordinator {
  let c = new Coordinator();
  let runners: JobRunner[] = [];
  for (let turns = 0; !c.isFinished; turns++) {
    expect(turns, 'turns').toBeLessThan(1e6);
    while (runners.length < workers) {
      const next = c.nextJob();
      if (next === null) break;
      runners.push(new JobRunner(program, next.id, next.job, OPTIONS));
    }
    expect(runners.length, 'somebody has a job').toBeGreaterThan(0);
    if (chaos && rng.chance(1, 20)) {
      // Stop: everybody gives all away; or crash: jobs that are out are lost.
      if (rng.chance(1, 2)) for (const r of runners) c.add(r.report('stop'));
      runners = [];
      c = Coordinator.from(JSON.parse(JSON.stringify(c.checkpoint())) as Checkpoint);
      continue;
    }
    const r = runners[rng.below(runners.length)]!;
    let isOver = false;
    for (let runs = rng.below(4); runs > 0 && !isOver; runs--) isOver = !r.next();
    if (isOver || !chaos || rng.chance(1, 2)) {
      const wantsShare = chaos ? rng.chance(1, 2) : runners.length < workers && !c.hasJob;
      const report = r.report(wantsShare ? 'share' : 'go on');
      c.add(structuredClone(report));
      shared += report.handover?.nodes.length ?? 0;
      isOver = report.handover?.isOver === true;
    } else isOver = false;
    if (isOver) runners = runners.filter((x) => x !== r);
  }
  return c;
}

function found(list: readonly { readonly finding: { readonly property: string; readonly tag: string } }[]): string[] {
  return list.map(({ finding }) => `${finding.property} ${finding.tag}`);
}

/** Nodes given away. */
let shared = 0;

test(`one, two and five workers reach what all interleavings reach (SEED=${seed}, PROGRAMS=${programs})`, () => {
  const executions = { alone: 0, together: 0 };
  for (let i = 0, tried = 0; tried < programs; i++) {
    const rng = new Rng(seed * 1_000_003 + i);
    const threads = randomToy(rng, 9);
    const program = toyProgram(threads, { saysWaiting: rng.chance(1, 2) });
    const states = new Set<string>();
    const properties = new Set<string>();
    const whole = enumerate(
      program,
      (world) => {
        states.add(world.finalState!());
        for (const f of world.end(false)) properties.add(`${f.property} ${f.tag}`);
      },
      5000,
    );
    if (!whole.isComplete) continue;
    tried++;
    const alone = explore(program);
    for (const [workers, chaos] of [
      [1, false],
      [2, false],
      [2, true],
      [5, true],
    ] as const) {
      const c = exploreTogether(program, rng, workers, chaos);
      const where = `program ${i}, ${workers} workers, chaos ${chaos}: ${JSON.stringify(threads)}`;
      expect([...c.states].sort(), where).toEqual([...states].sort());
      expect(found(c.witnesses).sort(), where).toEqual([...properties].sort());
      if (workers === 2 && !chaos) executions.together += c.counts.executions;
      if (workers > 1) continue;
      executions.alone += alone.executions;
      const { blocked, steps } = alone;
      expect(c.counts, where).toEqual({ executions: alone.executions, blocked, steps, cut: 0 });
      expect(c.witnesses, where).toEqual(alone.findings);
    }
  }
  expect(shared).toBeGreaterThan(programs / 2);
  // Sharing costs next to nothing: what one explores still sleeps for the other.
  expect(executions.together).toBeLessThan(executions.alone * 1.05);
});
