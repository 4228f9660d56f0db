// Search with a bound on deviations (Musuvathi and Qadeer, Iterative context bounding, PLDI 2007; Emmi, Qadeer and Rakamaric, Delay-
// bounded scheduling, POPL 2011). Most bugs need few of them, and the number of executions grows with the bound alone:
//
//   preemptions  a switch away from a thread that could go on costs one; who follows a thread that waits is free
//   delays       any thread but the usual one (Run.usual) costs one; polynomial also where threads wait for each other all the
//                time, as device, IOMMU and fault worker do
//
// Bounds 0, 1, 2 ... one after the other, always in the same order. A bound whose tree was seen is exhausted: no execution with so
// few deviations, so few answers other than the first and at most stepsMax steps has a finding that is not among the witnesses.

import { type Goal, isGoal } from './goal.ts';
import { lowest } from './nodes.ts';
import { Run } from './run.ts';
import { type SearchLimits, type SearchResult, Tally } from './search.ts';
import { ChoiceTree } from './tree.ts';
import type { Finding, Program } from './world.ts';

export interface BoundedOptions extends SearchLimits {
  /** Highest bound. */
  readonly bound: number;
  /** What is counted: 'preemptions' when left out. */
  readonly count?: 'preemptions' | 'delays';
  /** Stop behind the first bound at which this was found (its tree is seen to the end). */
  readonly stopsAt?: Goal | 'any';
}

export interface BoundedResult extends SearchResult {
  /** Highest bound whose tree was seen to the end, -1 when none was. */
  readonly exhausted: number;
  /** Executions at each bound; those of lower bounds are among them again. */
  readonly perBound: readonly number[];
}

/** All executions with at most `bound` deviations, least deviations first. */
export function boundedSearch(program: Program, options: BoundedOptions): BoundedResult {
  const tally = new Tally(program, options);
  const perBound: number[] = [];
  let exhausted = -1;
  for (let bound = 0; bound <= options.bound; bound++) {
    const before = tally.executions;
    const isSeen = searchOneBound(program, tally, bound, options.count === 'delays');
    perBound.push(tally.executions - before);
    if (!isSeen) break;
    exhausted = bound;
    if (tally.witnesses.some((w) => options.stopsAt === 'any' || isStop(w.finding, options.stopsAt))) break;
  }
  return { ...tally.result(exhausted === options.bound), exhausted, perBound };
}

function isStop(finding: Finding, goal: Goal | undefined): boolean {
  return goal !== undefined && isGoal(finding, goal);
}

/** False when a limit ended it. */
function searchOneBound(program: Program, tally: Tally, bound: number, isDelay: boolean): boolean {
  const tree = new ChoiceTree();
  do {
    if (!tally.goesOn()) return false;
    tally.ended(runLeaf(program, tree, tally, bound, isDelay));
  } while (tree.advance());
  return true;
}

function runLeaf(program: Program, tree: ChoiceTree, tally: Tally, bound: number, isDelay: boolean): Run {
  let answersLeft = tally.answersMax;
  const execution = new Run(program, (n) => {
    if (n === 1 || answersLeft === 0) return 0;
    const a = tree.choose(Array.from({ length: n }, (_, i) => i));
    if (a !== 0) answersLeft--;
    return a;
  });
  let left = bound;
  while (execution.enabled !== 0 && execution.length < tally.stepsMax) {
    const { enabled, last, usual } = execution;
    const others = enabled & ~(1 << usual);
    const isFree = !isDelay && usual !== last;
    if (others === 0 || (left === 0 && !isFree)) {
      execution.step(usual);
      continue;
    }
    const options = [usual];
    for (let set = others; set !== 0; set &= set - 1) {
      const t = lowest(set);
      // To stay with a thread that ran for too long is a deviation.
      if (left > 0 || t !== last) options.push(t);
    }
    const chosen = options.length === 1 ? usual : tree.choose(options);
    if (chosen !== usual && (!isFree || chosen === last)) left--;
    execution.step(chosen);
  }
  return execution;
}
