// The shortest executions that reach a goal: depth first with sleep sets (Godefroid), a bound on the length that falls with
// each one found, and the program run again for every leaf. Sleep sets leave one order of each set of orders that are the same
// execution (causality.ts); equal executions have equal lengths, so a bound on the length takes nothing away.
//
// When it ends by itself no execution with fewer steps reaches the goal. That rests on the footprints being whole
// (test/footprints.test.ts is the law).

import { conflict, type Touched, touchedOf } from './causality.ts';
import { type Goal, GoalWatch } from './goal.ts';
import { lowest } from './nodes.ts';
import { Run } from './run.ts';
import { ChoiceTree } from './tree.ts';
import type { Program, Schedule } from './world.ts';

export interface ShortestOptions {
  /** Executions with more steps are of no interest. */
  readonly stepsMax: number;
  readonly executions: number;
  /** Answers other than the first in one execution. */
  readonly answersMax: number;
  /** The goal may be that all wait: attempts that only find that they must wait belong to it. Otherwise an execution with one is
   *  longer than it need be. */
  readonly mayWait: boolean;
  readonly goOn?: () => boolean;
}

export interface ShortestResult {
  /** One execution for each of the different ones (not mere reorderings) with the fewest steps. */
  readonly schedules: readonly Schedule[];
  readonly executions: number;
  /** No execution with fewer steps reaches the goal. */
  readonly isComplete: boolean;
}

/** Different shortest executions that are kept. */
const KEPT_MAX = 1000;

/** A step that was tried here: it sleeps until a step in conflict with it is made. */
interface Tried {
  readonly thread: number;
  readonly touched: Touched;
  /** Other threads that it made able to step, or unable. */
  readonly changed: number;
}

class Node {
  readonly enabled: number;
  readonly sleep: Tried[];
  thread: number;
  /** Answers of the thread's step that are still to be tried. */
  answers = new ChoiceTree();
  /** Answers other than the first that the steps before used. */
  readonly answersUsed: number;
  /** What the step touched, over all its answers. */
  touched: Touched = { objects: [], writes: [] };
  changed = 0;
  /** The same with the answers at hand. */
  now: Touched = { objects: [], writes: [] };
  nowChanged = 0;

  constructor(enabled: number, sleep: Tried[], thread: number, answersUsed: number) {
    this.enabled = enabled;
    this.sleep = sleep;
    this.thread = thread;
    this.answersUsed = answersUsed;
  }

  /** Threads to try here, and not tried or asleep. 0: none. */
  get open(): number {
    let set = this.enabled;
    for (const s of this.sleep) set &= ~(1 << s.thread);
    return set;
  }
}

export function shortestExecutions(program: Program, goal: Goal, options: ShortestOptions): ShortestResult {
  const nodes: Node[] = [];
  let stepsMax = options.stepsMax;
  let schedules: Schedule[] = [];
  let executions = 0;
  do {
    if (executions >= options.executions || options.goOn?.() === false)
      return { schedules, executions, isComplete: false };
    executions++;
    const found = runLeaf(program, goal, nodes, stepsMax, options);
    if (found === null) continue;
    if (found.length < stepsMax || schedules.length === 0) schedules = [];
    stepsMax = found.length;
    if (schedules.length < KEPT_MAX) schedules.push(found);
  } while (advance(nodes));
  return { schedules, executions, isComplete: true };
}

/** Runs along the nodes and on from there. The schedule when it reaches the goal. */
function runLeaf(
  program: Program,
  goal: Goal,
  nodes: Node[],
  stepsMax: number,
  options: ShortestOptions,
): Schedule | null {
  let depth = 0;
  let answersUsed = 0;
  const { answersMax, mayWait } = options;
  const execution = new Run(program, (n) => {
    if (n === 1 || answersUsed >= answersMax) return 0;
    const a = nodes[depth]!.answers.choose(Array.from({ length: n }, (_, i) => i));
    if (a !== 0) answersUsed++;
    return a;
  });
  const watch = new GoalWatch(execution, goal);
  for (; depth < stepsMax && execution.enabled !== 0; depth++) {
    let node = nodes[depth];
    if (node === undefined) {
      const sleep = depth === 0 ? [] : stillAsleep(nodes[depth - 1]!, execution.enabled);
      node = new Node(execution.enabled, sleep, -1, answersUsed);
      if (node.open === 0) return null;
      node.thread = lowest(node.open);
      nodes.push(node);
    }
    node.answers.restart();
    const hasWaited = execution.step(node.thread);
    if (depth === nodes.length - 1) {
      node.now = touchedOf(execution.footprint);
      node.touched = unite(node.touched, node.now);
      node.nowChanged = (node.enabled ^ execution.enabled) & ~(1 << node.thread);
      node.changed |= node.nowChanged;
    }
    if (watch.isReached()) return execution.schedule();
    if (hasWaited && !mayWait) return null;
  }
  return null;
}

/** What sleeps behind the node's step: all that slept or was tried before it, unless the step may have to do with it. */
function stillAsleep(node: Node, enabled: number): Tried[] {
  const isApart = (s: Tried): boolean =>
    (s.changed & (1 << node.thread)) === 0 &&
    (node.nowChanged & (1 << s.thread)) === 0 &&
    !conflict(s.touched, node.now);
  return node.sleep.filter((s) => (enabled & (1 << s.thread)) !== 0 && isApart(s));
}

function unite(a: Touched, b: Touched): Touched {
  if (a.objects.length === 0) return b;
  const objects = [...a.objects];
  const writes = [...a.writes];
  b.objects.forEach((object, i) => {
    const at = objects.indexOf(object);
    if (at < 0) {
      objects.push(object);
      writes.push(b.writes[i]!);
    } else if (b.writes[i]) writes[at] = true;
  });
  return { objects, writes };
}

/** On to the next leaf: other answers of the last step, then another thread in its place. */
function advance(nodes: Node[]): boolean {
  while (nodes.length > 0) {
    const node = nodes[nodes.length - 1]!;
    if (node.answers.advance()) return true;
    node.sleep.push({ thread: node.thread, touched: node.touched, changed: node.changed });
    if (node.open !== 0) {
      node.thread = lowest(node.open);
      node.answers = new ChoiceTree();
      node.touched = { objects: [], writes: [] };
      node.changed = 0;
      return true;
    }
    nodes.pop();
  }
  return false;
}
