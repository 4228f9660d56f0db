// Random programs on the running kernel and on this one, until one differs.

import type { KernelConfig } from '../../src/mm/config.ts';
import { type Counts, compareProgram, type Difference, newCounts } from './compare.ts';
import { randomProgram } from './generate.ts';
import type { HostKernel } from './host.ts';
import { explain } from './known-differences.ts';
import { Model } from './model.ts';
import { OP_FORK_RUN, type Op } from './program.ts';
import type { HostRun } from './results.ts';
import { shrink } from './shrink.ts';

/** Operations of one program. */
const PROGRAM = 400;
/** Programs given to the host at once. */
const BATCH = 25;
/** How often a program is tried again before its difference is believed. */
const REPEATS = 2;

export interface Failure {
  readonly seed: number;
  readonly ops: readonly Op[];
  readonly difference: Difference;
}

export interface Outcome {
  readonly counts: Counts;
  programs: number;
  /** Known differences, by name. */
  readonly known: Map<string, number>;
  /** Programs that differed once and not again. */
  unsteady: number;
  failure: Failure | null;
}

export interface Limits {
  readonly operations: number;
  readonly until: number;
  readonly progress: (outcome: Outcome, seed: number) => void;
}

/** Seeds from `first` on. */
export function difftest(host: HostKernel, config: Partial<KernelConfig>, first: number, limits: Limits): Outcome {
  const outcome: Outcome = { counts: newCounts(), programs: 0, known: new Map(), unsteady: 0, failure: null };
  const features = { mseal: config.profile?.mseal ?? false };
  for (let seed = first; outcome.counts.operations < limits.operations && Date.now() < limits.until; seed += BATCH) {
    const programs = Array.from({ length: BATCH }, (_, i) => randomProgram(programSeed(seed + i), PROGRAM, features));
    const runs = host.run(programs);
    for (let i = 0; i < BATCH; i++) {
      const d = compareProgram(programs[i]!, runs[i]!, config, host.path, outcome.counts);
      outcome.programs++;
      if (d !== null && !isExplained(outcome, d)) {
        const again = confirm(host, config, programs[i]!);
        if (again === null) outcome.unsteady++;
        else if (!isExplained(outcome, again)) {
          outcome.failure = { seed: seed + i, ops: programs[i]!, difference: again };
          return outcome;
        }
      }
    }
    limits.progress(outcome, seed + BATCH);
  }
  return outcome;
}

function programSeed(seed: number): number {
  return Math.imul(seed, 0x9e3779b1) >>> 0;
}

function isExplained(outcome: Outcome, d: Difference): boolean {
  const row = explain(d);
  if (row !== null) outcome.known.set(row.name, (outcome.known.get(row.name) ?? 0) + 1);
  return row !== null;
}

/** The difference of a program, if it is there every time. */
export function confirm(host: HostKernel, config: Partial<KernelConfig>, ops: readonly Op[]): Difference | null {
  let d: Difference | null = null;
  for (let i = 0; i < REPEATS; i++) {
    d = compareProgram(ops, host.run([ops])[0]!, config, host.path);
    if (d === null) return null;
  }
  return d;
}

/** The shortest program that still differs from the running kernel, unexplained, with its difference. */
export function shrinkFailure(host: HostKernel, config: Partial<KernelConfig>, failure: Failure): Failure {
  const run = (ops: readonly Op[]): Difference | null => {
    if (ops.length === 0) return null;
    const d = compareProgram(ops, host.run([ops])[0]!, config, host.path);
    return d !== null && explain(d) === null ? d : null;
  };
  const plain = concrete(failure.ops, host.run([failure.ops])[0]!, config, host.path);
  if (run(plain) === null) return failure;
  const ops = shrink(plain, (some) => run(some) !== null);
  return { seed: failure.seed, ops, difference: run(ops) ?? failure.difference };
}

/** The program with plain numbers for results of earlier operations. */
function concrete(ops: readonly Op[], host: HostRun, config: Partial<KernelConfig>, path: string): Op[] {
  const model = new Model(host, config, path);
  const out: Op[] = [];
  const walk = (from: number, to: number): void => {
    for (let i = from; i < to; i++) {
      const op = ops[i]!;
      out[i] = { nr: op.nr, args: op.args.map((_, j) => model.word(op, j)) };
      if (op.nr === OP_FORK_RUN) {
        const parent = model.task;
        const end = Math.min(to, i + 1 + (op.args[0] as number));
        model.task = model.fork();
        walk(i + 1, end);
        model.exit();
        model.task = parent;
        i = end - 1;
      } else model.perform(op, i);
    }
  };
  walk(0, ops.length);
  return out;
}
