// Runs a museum entry: looks for the bug in the historic revision until it is found, makes the counterexample short, and looks for
// anything in the fixed revision at the same bounds.
//
// A broken revision is searched where bugs usually are: few preemptions first, then few delays, then chance. A sound one is
// explored: every interleaving, one for each class of equivalent ones, as far as the bounds go.

import { boundedSearch } from '../../explore/bounded.ts';
import { explore } from '../../explore/explore.ts';
import { goalOf } from '../../explore/goal.ts';
import { minimise } from '../../explore/minimise.ts';
import { randomWalk } from '../../explore/random.ts';
import { formatCounterexample } from '../../explore/schedule-string.ts';
import type { Finding, Program, Schedule } from '../../explore/world.ts';
import type { Bug } from './bug.ts';
import { bugPairing, revisionOf, revisionProgram } from './revision.ts';

export interface BugOptions {
  /** Executions of a broken revision at most: the search ends with the finding. */
  readonly executions: number;
  /** Executions of a sound one. */
  readonly soundExecutions: number;
  readonly stepsMax: number;
  readonly seed: number;
  /** Executions that minimising may take. */
  readonly minimiseExecutions: number;
  /** Asked between executions: false ends the search. */
  readonly goOn: () => boolean;
  /** Put around each program. */
  readonly guard: (program: Program) => Program;
}

export const BUG_DEFAULTS: BugOptions = {
  executions: 30_000,
  soundExecutions: 30_000,
  stepsMax: 3000,
  seed: 1,
  minimiseExecutions: 3000,
  goOn: () => true,
  guard: (program) => program,
};

/** A counterexample. */
export interface BugWitness {
  readonly finding: Finding;
  readonly schedule: Schedule;
  readonly steps: number;
  readonly switches: number;
  /** The schedule as text. */
  readonly text: string;
}

export interface RevisionResult {
  readonly revision: string;
  readonly what: string;
  /** Is the bug in it, as the entry says? */
  readonly isBroken: boolean;
  /** Found in a broken revision: the property with the entry's tag; in a sound one: whatever was found first. null: nothing. */
  readonly witness: BugWitness | null;
  /** Every interleaving was seen. Never for a broken one: the search ends with the finding. */
  readonly exhaustive: boolean;
  readonly executions: number;
}

export interface BugResult {
  readonly id: string;
  readonly historic: RevisionResult;
  readonly fixed: RevisionResult;
  readonly others: readonly RevisionResult[];
  /** Each broken revision was found by the tag of the entry, each sound one is clean. */
  readonly isAsTold: boolean;
}

/** Runs all revisions of the entry. */
export function runBug(bug: Bug, options: Partial<BugOptions> = {}): BugResult {
  const run = (name: string): RevisionResult => runRevision(bug, name, options);
  const historic = run('historic');
  const fixed = run('fixed');
  const others = Object.keys(bug.others ?? {}).map(run);
  const isAsTold = [historic, fixed, ...others].every((r) => r.isBroken === (r.witness !== null));
  return { id: bug.id, historic, fixed, others, isAsTold };
}

/** Runs one revision: 'historic', 'fixed' or the name of another. */
export function runRevision(bug: Bug, name: string, options: Partial<BugOptions> = {}): RevisionResult {
  const o = { ...BUG_DEFAULTS, ...options };
  const isBroken = name === 'historic' || bug.others?.[name]?.isBroken === true;
  const program = o.guard(revisionProgram(bug, name));
  const search = isBroken ? findBroken(program, bug.tag, o) : exploreSound(program, o);
  const { found, exhaustive, executions } = search;
  const witness = found === null ? null : shorten(bug, name, program, found, o);
  return { revision: name, what: revisionOf(bug, name).what, isBroken, witness, exhaustive, executions };
}

interface Found {
  readonly finding: Finding;
  readonly schedule: Schedule;
}

interface Search {
  readonly found: Found | null;
  readonly exhaustive: boolean;
  readonly executions: number;
}

/** Deviations up to which bounded searches go. */
const PREEMPTIONS = 3;
const DELAYS = 4;
/** Executions that each way of looking gets at first. */
const FIRST_BUDGET = 50;

/** Looks for a finding with the tag; ends with the first. No way of looking is best for all bugs, so all get a little, then more. */
function findBroken(program: Program, tag: string, o: BugOptions): Search {
  let isSeen = false;
  const watched = watching(program, (findings) => {
    if (findings.some((f) => f.tag === tag)) isSeen = true;
  });
  const { stepsMax, seed } = o;
  const goOn = (): boolean => !isSeen && o.goOn();
  let executions = 0;
  for (let budget = FIRST_BUDGET; executions < o.executions && o.goOn(); budget *= 4) {
    const left = Math.min(budget, o.executions - executions);
    const limits = { executions: left, stepsMax, goOn };
    for (const search of [
      () => boundedSearch(watched, { ...limits, bound: PREEMPTIONS }),
      () => boundedSearch(watched, { ...limits, bound: DELAYS, count: 'delays' }),
      () => randomWalk(watched, { ...limits, seed }),
      () => explored(watched, left, stepsMax, goOn),
    ]) {
      const result = search();
      executions += result.executions;
      const found = result.witnesses.find((w) => w.finding.tag === tag);
      if (found !== undefined) return { found, exhaustive: false, executions };
    }
  }
  return { found: null, exhaustive: false, executions };
}

function explored(program: Program, executionsMax: number, stepsMax: number, goOn: () => boolean) {
  const { executions, findings } = explore(program, { executionsMax, stepsMax, goOn });
  return { executions, witnesses: findings };
}

/** Looks for anything that no documented gap explains, everywhere. */
function exploreSound(program: Program, o: BugOptions): Search {
  const all = explore(program, { executionsMax: o.soundExecutions, stepsMax: o.stepsMax, goOn: o.goOn });
  const found = all.findings.find((w) => w.finding.gap === null) ?? null;
  if (found !== null || all.exhaustive || !o.goOn()) return { found, ...all };
  // Depth first, the exploration has seen one corner. The other searches look where the bug of the broken revision was.
  const limits = { executions: Math.ceil(o.soundExecutions / 3), stepsMax: o.stepsMax, goOn: o.goOn };
  let executions = all.executions;
  for (const search of [
    () => boundedSearch(program, { ...limits, bound: PREEMPTIONS }),
    () => boundedSearch(program, { ...limits, bound: DELAYS, count: 'delays' }),
    () => randomWalk(program, { ...limits, seed: o.seed }),
  ]) {
    const result = search();
    executions += result.executions;
    const other = result.witnesses.find((w) => w.finding.gap === null);
    if (other !== undefined) return { found: other, exhaustive: false, executions };
  }
  return { found: null, exhaustive: false, executions };
}

function watching(program: Program, see: (findings: readonly Finding[]) => void): Program {
  return {
    name: program.name,
    build(chooser, footprint) {
      const world = program.build(chooser, footprint);
      const end = world.end.bind(world);
      world.end = (isCut) => {
        const findings = end(isCut);
        see(findings);
        return findings;
      };
      return world;
    },
  };
}

function shorten(bug: Bug, name: string, program: Program, found: Found, o: BugOptions): BugWitness {
  const limits = { executions: o.minimiseExecutions, goOn: o.goOn };
  const { finding, schedule, switches } = minimise(program, found.schedule, goalOf(found.finding), limits);
  const { design } = revisionOf(bug, name);
  const text = formatCounterexample({
    ...bugPairing(bug, typeof design === 'string' ? design : design.name),
    variant: name === 'historic' ? '' : name,
    bug: bug.id,
    schedule,
  });
  return { finding, schedule, steps: schedule.length, switches, text };
}
