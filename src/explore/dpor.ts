// Every interleaving of a program, one for each class of equivalent ones: stateless source-set DPOR with sleep sets
// (Abdulla, Aronis, Jonsson, Sagonas: JACM 2017, Algorithm 1), over footprints that are recorded while steps run.
//
// The search is a walk over a tree of prefixes, whose current branch is `nodes`.
//
// When a step is made, each step before it with which it is in a race asks that somebody who may go first in the reversed
// order be tried before that one. An execution whose enabled threads all sleep is equivalent to one seen before and is
// given up (`blocked`).
//
// Data: a thread's step may ask for choices; every answer is tried from the same node, and the thread sleeps afterwards with
// the union of the footprints.
//
// Waiting: an attempt that found that it must wait and changed nothing (World.step answers true) is no step: where it
// happened, the thread counts as not enabled, that is, it sleeps as `waiting` until a step that conflicts with the attempt.
// The attempt's races are those of a step: the lock's holder is asked to let it go first. In the running world the thread
// does stand in the wait queue; what it would answer if it were tried again is known.
//
// A step may take no other thread than its own out of enabled(), and may ask for no choices when it only waits.
//
// A job (explore/job) is the same search below a node that others know as well: nodes up to `floor` are not its own. Races with
// steps from there are demands on those others.

import { Footprint } from '../base/footprint.ts';
import { Answers } from './answers.ts';
import { grown, HappensBefore } from './happens-before.ts';
import type { Demand, Handover, Job } from './job.ts';
import { lowest, Nodes } from './nodes.ts';
import { FootprintStack } from './objects.ts';
import { Share } from './share.ts';
import type { Choice, Program, Schedule, World } from './world.ts';

/** How a run ended. */
export const COMPLETE = 0; // nothing can go on
export const CUT = 1; // it has as many steps as an execution may have
export const BLOCKED = 2; // every thread that could go on sleeps
export const BARREN = 3; // the thread that was to be tried only waits: no execution
export const FINISHED = 4; // there is nothing left to run

/** A step threw, or did other things than when it was made before. */
export class StepError extends Error {
  override readonly name = 'StepError';
  /** Up to the step, and with it. */
  readonly schedule: Schedule;

  constructor(message: string, schedule: Schedule, cause: unknown) {
    super(message, { cause });
    this.schedule = schedule;
  }
}

export class Dpor {
  readonly program: Program;
  readonly #stepsMax: number;
  readonly #footprint = new Footprint();
  readonly #stack = new FootprintStack();
  readonly #order = new HappensBefore();
  readonly #answers = new Answers();
  readonly #nodes = new Nodes();
  readonly #job: Job | null;
  /** Nodes up to this one are shared; here the job's thread steps. 0: none is. */
  #floor = 0;
  #floorThread = -1;
  /** Demands by depth and initials. */
  readonly #demands = new Map<number, Demand>();
  readonly #demanded = new Set<number>();
  /** The world of the last run: at its end after next(). */
  world: World | null = null;

  /** The node where the run is. 0: not begun. */
  #node = 0;
  /** Is #node chosen for the next run already? */
  #isReady = false;
  /** What the running world answers. */
  #physical = 0;
  /** Threads that wait in the running world after an attempt that changed nothing. */
  #attempted = 0;
  /** Thread of each step that the world made; ~thread for an attempt. */
  #made = new Int32Array(64);
  #madeCount = 0;

  /** Runs that were COMPLETE or CUT. */
  executions = 0;
  cut = 0;
  /** Runs that were BLOCKED. */
  blocked = 0;
  /** Steps that worlds made, repeated prefixes among them. */
  steps = 0;

  /** Executions are cut after `stepsMax` steps. */
  constructor(program: Program, stepsMax: number, job: Job | null = null) {
    this.program = program;
    this.#stepsMax = stepsMax;
    this.#job = job;
    if (job === null || job.thread < 0) return;
    this.#floor = job.path.length + 1;
    this.#floorThread = job.thread;
  }

  /** Makes the next run and tells how it ended. A world that is COMPLETE or CUT waits for its end(). Throws StepError. */
  next(): number {
    if (this.#node !== 0 && !this.#isReady && !this.#goBack()) return FINISHED;
    this.#isReady = false;
    const outcome = this.#runSafely();
    if (outcome === COMPLETE || outcome === CUT) this.executions++;
    if (outcome === CUT) this.cut++;
    if (outcome === BLOCKED) this.blocked++;
    return outcome;
  }

  #runSafely(): number {
    try {
      return this.#run();
    } catch (error) {
      const thread = this.#node > 0 ? this.#nodes.thread[this.#node]! : -1;
      const name = thread < 0 ? 'the beginning' : this.world!.threadName(thread);
      const what = error instanceof Error ? error.message : String(error);
      const schedule = this.schedule();
      const last = thread < 0 ? [] : [{ thread, answers: this.#answersOf(this.#node) }];
      throw new StepError(
        `${this.program.name}: step ${schedule.length + 1}, ${name}: ${what}`,
        [...schedule, ...last],
        error,
      );
    }
  }

  /** The choices of the last run, attempts that only waited among them. */
  schedule(): Schedule {
    const choices: Choice[] = [];
    let node = 1;
    for (let i = 0; i < this.#madeCount; i++) {
      const made = this.#made[i]!;
      if (made < 0) choices.push({ thread: ~made, answers: [] });
      else choices.push({ thread: made, answers: this.#answersOf(node++) });
    }
    return choices;
  }

  #answersOf(node: number): number[] {
    const { answersAt } = this.#nodes;
    return this.#answers.list(answersAt[node]!, node < this.#node ? answersAt[node + 1]! : this.#answers.end);
  }

  #run(): number {
    const nodes = this.#nodes;
    this.#answers.at = 0;
    this.#attempted = 0;
    this.#madeCount = 0;
    this.#footprint.clear();
    const world = this.program.build(this.#answers, this.#footprint);
    this.world = world;
    this.#physical = world.enabled();
    if (this.#node > 0) this.#repeat(world);
    else if (this.#job !== null && this.#job.thread >= 0) this.#begin(world, this.#job);
    else if (!this.#open(1, 0)) return COMPLETE;
    else if (!this.#chooseFirst(1, 0)) return COMPLETE;
    for (;;) {
      const n = this.#node;
      if (!this.#step(world, n)) {
        const outcome = this.#chooseOther(world, n);
        if (outcome >= 0) return outcome;
        continue;
      }
      const thread = nodes.thread[n]!;
      if (!this.#open(n + 1, n)) return COMPLETE;
      if (n >= this.#stepsMax) return CUT;
      if (!this.#chooseFirst(n + 1, thread)) return this.#isStuck(world, n + 1) ? COMPLETE : BLOCKED;
    }
  }

  /** Makes the steps before the current node once more. */
  #repeat(world: World): void {
    const node = this.#node;
    const { thread, answersAt } = this.#nodes;
    for (let n = 1; n < node; n++) {
      this.#footprint.clear();
      if (world.step(thread[n]!)) throw new Error(`step ${n} of thread ${thread[n]} waits now, and did not before`);
      this.#note(thread[n]!);
    }
    this.steps += node - 1;
    if (this.#answers.at !== answersAt[node])
      throw new Error('the choices before it were others when it was made before');
    this.#physical = world.enabled();
  }

  /** Goes the way to the job's node for the first time. */
  #begin(world: World, job: Job): void {
    const [nodes, stack] = [this.#nodes, this.#stack];
    for (let n = 1; n <= job.path.length; n++) {
      const { thread, answers } = job.path[n - 1]!;
      this.#open(n, 0);
      nodes.backtrack[n] = job.covered[n - 1]!;
      this.#choose(n, thread);
      this.#answers.plan(answers);
      if (!this.#step(world, n)) throw new Error(`step ${n} of a job's path waits`);
    }
    const n = this.#floor;
    this.#open(n, 0);
    nodes.backtrack[n] = job.covered[n - 1]!;
    for (const { thread, touched, isWaiting } of job.sleepers) {
      const from = stack.top;
      stack.pushTouched(touched);
      nodes.keep(n, thread, from, stack.top);
      nodes.putToSleep(n, thread, isWaiting);
    }
    this.#choose(n, job.thread);
    this.#answers.plan(job.answers);
  }

  /** Makes the step chosen at node n. False when the thread only found that it must wait. */
  #step(world: World, n: number): boolean {
    const thread = this.#nodes.thread[n]!;
    const [stack, order, answers] = [this.#stack, this.#order, this.#answers];
    const planned = answers.end;
    this.#footprint.clear();
    this.steps++;
    const hasWaited = world.step(thread);
    if (answers.at !== answers.end) throw new Error('it asks for fewer choices than before');
    const from = stack.top;
    this.#nodes.eventAt[n] = from;
    stack.push(this.#footprint);
    order.order(n, thread, stack.data, from, stack.top, stack.objects.count);
    this.#askForReversals(n, thread);
    if (hasWaited) {
      if (answers.end !== planned) throw new Error('it waits, and asked for a choice');
      this.#note(~thread);
      this.#nodes.keep(n, thread, from, stack.top);
      this.#nodes.putToSleep(n, thread, true);
      this.#attempted |= 1 << thread;
      this.#physical = world.enabled();
      if (((this.#physical >>> thread) & 1) !== 0) throw new Error('it waits, and can go on');
      return false;
    }
    order.commit(n, thread, stack.data, from, stack.top);
    const enabled = world.enabled();
    const lost = this.#physical & ~enabled & ~(1 << thread);
    if (lost !== 0) throw new Error(`it took thread ${lowest(lost)} out of those that can step`);
    this.#note(thread);
    order.enables(n, enabled & ~this.#physical & ~this.#attempted & ~(1 << thread));
    this.#attempted &= ~enabled;
    this.#physical = enabled;
    return true;
  }

  #note(made: number): void {
    if (this.#madeCount === this.#made.length) this.#made = grown(this.#made);
    this.#made[this.#madeCount++] = made;
  }

  /** Each step with which step n is in a race: somebody who may come before it must be tried there. */
  #askForReversals(n: number, thread: number): void {
    // The way to a job's node was somebody else's.
    if (n < this.#floor) return;
    const [order, nodes] = [this.#order, this.#nodes];
    for (let i = 0; i < order.raceCount; i++) {
      const e = order.races[i]!;
      const initials = order.initials(e, n, thread, nodes.backtrack[e]! | nodes.sleep[e]!);
      if (initials === 0) continue;
      const chosen = ((initials >>> thread) & 1) !== 0 ? thread : lowest(initials);
      if (((nodes.enabled[e]! >>> chosen) & 1) === 0)
        throw new Error(`it should come after thread ${chosen} at step ${e}, where that can not step`);
      if (e > this.#floor) nodes.backtrack[e]! |= 1 << chosen;
      else this.#demand(e - 1, initials, chosen);
    }
  }

  #demand(depth: number, initials: number, preferred: number): void {
    const key = depth * 2 ** 31 + initials;
    if (this.#demanded.has(key)) return;
    this.#demanded.add(key);
    this.#demands.set(key, { depth, initials, preferred });
  }

  /** Opens node n after step `before`. False when nothing can go on. */
  #open(n: number, before: number): boolean {
    this.#node = n;
    this.#nodes.open(n, this.#physical | this.#attempted, this.#answers.end, this.#stack.top);
    if (before > 0) this.#inherit(n, before);
    return this.#physical !== 0;
  }

  /** Who sleeps at node n: those whose step commutes with step `before` and led to nothing new before it. */
  #inherit(n: number, before: number): void {
    const [nodes, stack] = [this.#nodes, this.#stack];
    const candidates = (nodes.sleep[before]! | nodes.done[before]!) & ~(1 << nodes.thread[before]!);
    if (candidates === 0) return;
    const waiting = nodes.waiting[before]!;
    let sleep = 0;
    for (let t = 0; candidates >>> t !== 0; t++) {
      if (((candidates >>> t) & 1) === 0) continue;
      const [from, to] = [nodes.fromOf(before, t), nodes.toOf(before, t)];
      nodes.keep(n, t, from, to);
      if (!stack.meets(from, to)) sleep |= 1 << t;
    }
    nodes.sleep[n] = sleep;
    nodes.waiting[n] = waiting & sleep;
    // Whoever stands in a wait queue would find again that it must wait.
    const again = this.#attempted & ~sleep;
    for (let t = 0; again >>> t !== 0; t++) {
      if (((again >>> t) & 1) === 0) continue;
      this.#order.order(n, t, stack.data, nodes.fromOf(n, t), nodes.toOf(n, t), stack.objects.count);
      this.#askForReversals(n, t);
      nodes.putToSleep(n, t, true);
    }
  }

  /** Chooses the first thread of node n: rather the one that stepped last. False when all sleep. */
  #chooseFirst(n: number, previous: number): boolean {
    const able = this.#nodes.enabled[n]! & ~this.#nodes.sleep[n]!;
    if (able === 0) return false;
    const thread = ((able >>> previous) & 1) !== 0 ? previous : lowest(able);
    this.#choose(n, thread);
    this.#nodes.backtrack[n]! |= 1 << thread;
    return true;
  }

  #choose(n: number, thread: number): void {
    this.#nodes.thread[n] = thread;
    this.#nodes.unionAt[n] = this.#stack.top;
  }

  /** The thread chosen at node n only waits there: chooses another. -1, or the outcome when the run ends here. */
  #chooseOther(world: World, n: number): number {
    const nodes = this.#nodes;
    nodes.thread[n] = -1;
    if (n === this.#floor) return BARREN;
    const left = nodes.left(n);
    if (left !== 0) {
      this.#choose(n, lowest(left));
      return -1;
    }
    if (nodes.done[n] !== 0) return BARREN;
    if (this.#chooseFirst(n, n > 1 ? nodes.thread[n - 1]! : 0)) return -1;
    return this.#isStuck(world, n) ? COMPLETE : BLOCKED;
  }

  /** Does every thread that can step at node n only wait? Then all are made to try it. */
  #isStuck(world: World, n: number): boolean {
    if ((this.#nodes.enabled[n]! & ~this.#nodes.waiting[n]!) !== 0) return false;
    for (let t = 0; this.#physical >>> t !== 0; t++) {
      if (((this.#physical >>> t) & 1) === 0) continue;
      this.#footprint.clear();
      this.steps++;
      if (!world.step(t)) throw new Error(`thread ${t} can go on, and waited before`);
      this.#note(~t);
    }
    return true;
  }

  /** Undoes steps until a node has another thread or another answer to try. False when there is none. */
  #goBack(): boolean {
    const [nodes, stack, answers] = [this.#nodes, this.#stack, this.#answers];
    const bottom = Math.max(1, this.#floor);
    for (let n = this.#node; n >= bottom; n--) {
      this.#node = n;
      const thread = nodes.thread[n]!;
      if (thread >= 0) {
        this.#order.undo(n);
        stack.top = nodes.stackAt[n + 1]!;
        const isLast = !answers.next(nodes.answersAt[n]!);
        const union = nodes.unionAt[n]!;
        if (nodes.eventAt[n] !== union) stack.join(union);
        if (!isLast) return true;
        nodes.done[n]! |= 1 << thread;
        nodes.keep(n, thread, union, stack.top);
        nodes.thread[n] = -1;
      }
      const left = n === this.#floor ? 0 : nodes.left(n);
      if (left !== 0) {
        this.#choose(n, lowest(left));
        return true;
      }
    }
    return false;
  }

  /** Demands since the last call. */
  takeDemands(): Demand[] {
    const demands = [...this.#demands.values()];
    this.#demands.clear();
    return demands;
  }

  /** Between runs: is there a node to give away? */
  canShare(): boolean {
    return this.#share().canShare();
  }

  /** Between runs. Gives nodes away: all that are left (`isStopped`: the job is over then), or the uppermost that somebody else
   *  can begin with. Null: there is nothing to give. */
  share(isStopped: boolean): Handover | null {
    const share = this.#share();
    const handover = isStopped || !this.#isReady ? share.all() : share.uppermost();
    this.#floor = share.floor;
    if (this.#floor > 0) this.#floorThread = share.floorThread;
    return handover;
  }

  #share(): Share {
    // What to try next is decided first.
    if (!this.#isReady) this.#isReady = this.#node !== 0 && this.#goBack();
    const top = this.#isReady ? this.#node : 0;
    return new Share(this.#nodes, this.#answers, this.#stack, this.#floor, this.#floorThread, top);
  }
}
