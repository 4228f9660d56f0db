// Every interleaving of a program, one for each class of equivalent ones: stateless source-set DPOR with sleep sets
// (Abdulla, Aronis, Jonsson, Sagonas: JACM 2017, Algorithm 1), over footprints that are recorded while steps run.
//
// The search is a walk over a tree of prefixes. Node n stands before step n of the current execution (steps are numbered
// from 1) and holds
//
//   enabled    threads that can step there
//   sleep      threads whose step there leads to nothing new, each with the footprint that its step has there
//   waiting    those of them that would only find that they must wait
//   done       threads whose subtrees are finished (their footprints are kept like those of sleepers)
//   backtrack  threads that must be tried there
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

import { Footprint } from '../base/footprint.ts';
import { Answers } from './answers.ts';
import { grown, HappensBefore } from './happens-before.ts';
import { FootprintStack } from './objects.ts';
import type { Choice, Program, Schedule, World } from './world.ts';

const LANES = 32;

/** How a run ended. */
export const COMPLETE = 0; // nothing can go on
export const CUT = 1; // it has as many steps as an execution may have
export const BLOCKED = 2; // every thread that could go on sleeps
export const BARREN = 3; // the thread that was to be tried only waits: no execution
export const FINISHED = 4; // there is nothing left to run

export class Dpor {
  readonly program: Program;
  readonly #stepsMax: number;
  readonly #footprint = new Footprint();
  readonly #stack = new FootprintStack();
  readonly #order = new HappensBefore();
  readonly #answers = new Answers();
  /** The world of the last run: at its end after next(). */
  world: World | null = null;

  // By node.
  #thread = new Int32Array(64);
  #enabled = new Int32Array(64);
  #sleep = new Int32Array(64);
  #waiting = new Int32Array(64);
  #done = new Int32Array(64);
  #backtrack = new Int32Array(64);
  /** First answer of the node's step. */
  #answersAt = new Int32Array(64);
  /** Top of the footprint stack when the node was opened. */
  #stackAt = new Int32Array(64);
  /** Where the union of the footprints of the node's step starts, over the answers tried so far. */
  #unionAt = new Int32Array(64);
  /** Where the footprint of the node's step starts, for the answer that is tried. */
  #eventAt = new Int32Array(64);
  /** By node and thread: footprints of those that sleep or are done. */
  #from = new Int32Array(64 * LANES);
  #to = new Int32Array(64 * LANES);

  /** The node where the run is. 0: not begun. */
  #node = 0;
  /** What the running world answers. */
  #physical = 0;
  /** Threads that wait in the running world after an attempt that changed nothing. */
  #attempted = 0;
  /** The world's own order of steps, attempts among them. */
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
  constructor(program: Program, stepsMax: number) {
    this.program = program;
    this.#stepsMax = stepsMax;
  }

  /** Makes the next run and tells how it ended. A world that is COMPLETE or CUT waits for its end(). */
  next(): number {
    if (this.#node !== 0 && !this.#goBack()) return FINISHED;
    const outcome = this.#run();
    if (outcome === COMPLETE || outcome === CUT) this.executions++;
    if (outcome === CUT) this.cut++;
    if (outcome === BLOCKED) this.blocked++;
    return outcome;
  }

  /** The choices of the last run, attempts that only waited among them. */
  schedule(): Schedule {
    const choices: Choice[] = [];
    let node = 1;
    for (let i = 0; i < this.#madeCount; i++) {
      const made = this.#made[i]!;
      if (made < 0) {
        choices.push({ thread: ~made, answers: [] });
        continue;
      }
      const [from, to] = [this.#answersAt[node]!, this.#answersEnd(node)];
      choices.push({ thread: made, answers: [...this.#answers.values.subarray(from, to)] });
      node++;
    }
    return choices;
  }

  #answersEnd(node: number): number {
    return node + 1 <= this.#node ? this.#answersAt[node + 1]! : this.#answers.end;
  }

  #run(): number {
    const world = this.program.build(this.#answers, this.#footprint);
    this.world = world;
    this.#answers.at = 0;
    this.#attempted = 0;
    this.#madeCount = 0;
    this.#physical = world.enabled();
    if (this.#node === 0) {
      if (!this.#open(1, 0)) return COMPLETE;
      if (!this.#chooseFirst(1, 0)) return COMPLETE;
    } else this.#repeat(world);
    for (;;) {
      const n = this.#node;
      if (!this.#step(world, n)) {
        const outcome = this.#chooseOther(world, n);
        if (outcome >= 0) return outcome;
        continue;
      }
      const thread = this.#thread[n]!;
      if (!this.#open(n + 1, n)) return COMPLETE;
      if (n >= this.#stepsMax) return CUT;
      if (!this.#chooseFirst(n + 1, thread)) return this.#isStuck(world, n + 1) ? COMPLETE : BLOCKED;
    }
  }

  /** Makes the steps before the current node once more. */
  #repeat(world: World): void {
    const node = this.#node;
    for (let n = 1; n < node; n++) {
      this.#footprint.clear();
      this.#note(this.#thread[n]!);
      if (world.step(this.#thread[n]!)) this.#fail(n, 'waits now, and did not before');
    }
    this.steps += node - 1;
    if (this.#answers.at !== this.#answersAt[node]) this.#fail(node, 'is preceded by other choices than before');
    this.#physical = world.enabled();
  }

  /** Makes the step chosen at node n. False when the thread only found that it must wait. */
  #step(world: World, n: number): boolean {
    const thread = this.#thread[n]!;
    const [stack, order, answers] = [this.#stack, this.#order, this.#answers];
    const asked = answers.end;
    this.#footprint.clear();
    this.steps++;
    const hasWaited = world.step(thread);
    if (answers.at !== answers.end) this.#fail(n, 'asked for fewer choices than before');
    const from = stack.top;
    this.#eventAt[n] = from;
    stack.push(this.#footprint);
    order.order(n, thread, stack.data, from, stack.top, stack.objects.count);
    this.#askForReversals(n, thread);
    if (hasWaited) {
      if (answers.end !== asked) this.#fail(n, 'waits, and asked for a choice');
      this.#note(~thread);
      this.#putToWait(n, thread, from, stack.top);
      this.#attempted |= 1 << thread;
      this.#physical = world.enabled();
      if (((this.#physical >>> thread) & 1) !== 0) this.#fail(n, 'waits, and can go on');
      return false;
    }
    this.#note(thread);
    order.commit(n, thread, stack.data, from, stack.top);
    const enabled = world.enabled();
    const lost = this.#physical & ~enabled & ~(1 << thread);
    if (lost !== 0) this.#fail(n, `took thread ${lowest(lost)} out of those that can step`);
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
    const order = this.#order;
    for (let i = 0; i < order.raceCount; i++) {
      const e = order.races[i]!;
      const initials = order.initials(e, n, thread, this.#backtrack[e]! | this.#sleep[e]!);
      if (initials === 0) continue;
      const chosen = ((initials >>> thread) & 1) !== 0 ? thread : lowest(initials);
      if (((this.#enabled[e]! >>> chosen) & 1) === 0)
        this.#fail(e, `should come after thread ${chosen}, which can not step`);
      this.#backtrack[e]! |= 1 << chosen;
    }
  }

  #putToWait(n: number, thread: number, from: number, to: number): void {
    this.#sleep[n]! |= 1 << thread;
    this.#waiting[n]! |= 1 << thread;
    this.#from[n * LANES + thread] = from;
    this.#to[n * LANES + thread] = to;
  }

  /** Opens node n after step `before`. False when nothing can go on. */
  #open(n: number, before: number): boolean {
    if (n >= this.#thread.length) this.#grow();
    this.#node = n;
    this.#enabled[n] = this.#physical | this.#attempted;
    this.#thread[n] = -1;
    this.#done[n] = 0;
    this.#backtrack[n] = 0;
    this.#sleep[n] = 0;
    this.#waiting[n] = 0;
    this.#answersAt[n] = this.#answers.end;
    this.#stackAt[n] = this.#stack.top;
    if (before > 0) this.#inherit(n, before);
    return this.#physical !== 0;
  }

  /** Who sleeps at node n: those whose step commutes with step `before` and led to nothing new before it. */
  #inherit(n: number, before: number): void {
    const stack = this.#stack;
    const thread = this.#thread[before]!;
    const candidates = (this.#sleep[before]! | this.#done[before]!) & ~(1 << thread);
    const waiting = this.#waiting[before]!;
    if (candidates === 0) return;
    let sleep = 0;
    for (let t = 0; candidates >>> t !== 0; t++) {
      if (((candidates >>> t) & 1) === 0) continue;
      const at = before * LANES + t;
      const [from, to] = [this.#from[at]!, this.#to[at]!];
      this.#from[n * LANES + t] = from;
      this.#to[n * LANES + t] = to;
      if (!stack.meets(from, to)) sleep |= 1 << t;
    }
    this.#sleep[n] = sleep;
    this.#waiting[n] = waiting & sleep;
    // Whoever stands in a wait queue would find again that it must wait.
    const again = this.#attempted & ~sleep;
    for (let t = 0; again >>> t !== 0; t++) {
      if (((again >>> t) & 1) === 0) continue;
      const at = n * LANES + t;
      this.#order.order(n, t, stack.data, this.#from[at]!, this.#to[at]!, stack.objects.count);
      this.#askForReversals(n, t);
      this.#putToWait(n, t, this.#from[at]!, this.#to[at]!);
    }
  }

  /** Chooses the first thread of node n: rather the one that stepped last. False when all sleep. */
  #chooseFirst(n: number, previous: number): boolean {
    const able = this.#enabled[n]! & ~this.#sleep[n]!;
    if (able === 0) return false;
    this.#choose(n, ((able >>> previous) & 1) !== 0 ? previous : lowest(able));
    this.#backtrack[n]! |= 1 << this.#thread[n]!;
    return true;
  }

  #choose(n: number, thread: number): void {
    this.#thread[n] = thread;
    this.#unionAt[n] = this.#stack.top;
  }

  /** The thread chosen at node n only waits there: chooses another. -1, or the outcome when the run ends here. */
  #chooseOther(world: World, n: number): number {
    this.#thread[n] = -1;
    const left = this.#backtrack[n]! & ~this.#done[n]! & ~this.#sleep[n]!;
    if (left !== 0) {
      this.#choose(n, lowest(left));
      return -1;
    }
    if (this.#done[n] !== 0) return BARREN;
    if (this.#chooseFirst(n, n > 1 ? this.#thread[n - 1]! : 0)) return -1;
    return this.#isStuck(world, n) ? COMPLETE : BLOCKED;
  }

  /** Does every thread that can step at node n only wait? Then all are made to try it. */
  #isStuck(world: World, n: number): boolean {
    if ((this.#enabled[n]! & ~this.#waiting[n]!) !== 0) return false;
    for (let t = 0; this.#physical >>> t !== 0; t++) {
      if (((this.#physical >>> t) & 1) === 0) continue;
      this.#footprint.clear();
      this.steps++;
      if (!world.step(t)) this.#fail(n, `can go on, and waited before (thread ${t})`);
      this.#note(~t);
    }
    return true;
  }

  /** Undoes steps until a node has another thread or another answer to try. False when there is none. */
  #goBack(): boolean {
    const [stack, answers] = [this.#stack, this.#answers];
    for (let n = this.#node; n >= 1; n--) {
      this.#node = n;
      const thread = this.#thread[n]!;
      if (thread >= 0) {
        this.#order.undo(n);
        stack.top = this.#stackAt[n + 1]!;
        const union = this.#unionAt[n]!;
        const isLast = !answers.next(this.#answersAt[n]!);
        if (this.#eventAt[n] !== union) stack.join(union);
        if (!isLast) return true;
        this.#done[n]! |= 1 << thread;
        this.#from[n * LANES + thread] = union;
        this.#to[n * LANES + thread] = stack.top;
      }
      const left = this.#backtrack[n]! & ~this.#done[n]! & ~this.#sleep[n]!;
      if (left !== 0) {
        this.#choose(n, lowest(left));
        return true;
      }
      this.#thread[n] = -1;
    }
    return false;
  }

  #fail(n: number, what: string): never {
    const thread = this.#thread[n]!;
    const who = thread < 0 ? '' : ` of thread ${thread} (${this.world!.threadName(thread)})`;
    throw new Error(`explore ${this.program.name}: step ${n}${who} ${what}`);
  }

  #grow(): void {
    this.#thread = grown(this.#thread);
    this.#enabled = grown(this.#enabled);
    this.#sleep = grown(this.#sleep);
    this.#waiting = grown(this.#waiting);
    this.#done = grown(this.#done);
    this.#backtrack = grown(this.#backtrack);
    this.#answersAt = grown(this.#answersAt);
    this.#stackAt = grown(this.#stackAt);
    this.#unionAt = grown(this.#unionAt);
    this.#eventAt = grown(this.#eventAt);
    this.#from = grown(this.#from);
    this.#to = grown(this.#to);
  }
}

/** Number of the lowest bit. */
export function lowest(mask: number): number {
  return 31 - Math.clz32(mask & -mask);
}
