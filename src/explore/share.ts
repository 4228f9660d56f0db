// How a search gives nodes of its stack away (explore/job): the nodes below its floor, down to the one below which it goes on.

import type { Answers } from './answers.ts';
import type { Handover, SharedNode, Sleeper, Trial } from './job.ts';
import type { Nodes } from './nodes.ts';
import type { FootprintStack } from './objects.ts';

export class Share {
  readonly #nodes: Nodes;
  readonly #answers: Answers;
  readonly #stack: FootprintStack;
  /** The lowest shared node, and the thread that is tried there; 0: none is shared. */
  floor: number;
  floorThread: number;
  /** The node where the search goes on, with its thread (and answers) chosen; 0: it is finished. */
  readonly #top: number;

  constructor(nodes: Nodes, answers: Answers, stack: FootprintStack, floor: number, floorThread: number, top: number) {
    this.#nodes = nodes;
    this.#answers = answers;
    this.#stack = stack;
    this.floor = floor;
    this.floorThread = floorThread;
    this.#top = top;
  }

  /** All that is left. */
  all(): Handover {
    const nodes: SharedNode[] = [];
    for (let n = this.floor + 1; n <= this.#top; n++) nodes.push(this.#node(n, this.#trial(n, true)));
    return { trial: this.#floorTrial(true), nodes, isOver: true };
  }

  /** The uppermost node where somebody else can begin with another thread, or with other answers. */
  uppermost(): Handover | null {
    const last = this.#lastToShare();
    return last === 0 ? null : this.#downTo(last);
  }

  canShare(): boolean {
    return this.#lastToShare() !== 0;
  }

  /** The uppermost node below which this search can go on when others have what is left above and at it; 0: there is none. */
  #lastToShare(): number {
    for (let n = Math.max(1, this.floor); n < this.#top; n++) {
      const hasRest = this.#restOf(n) !== null;
      if (hasRest && n + 1 < this.#top) return n + 1;
      if (!hasRest && n > this.floor && this.#pendingAt(n) !== 0) return n;
    }
    return 0;
  }

  /** Shares the nodes down to `last`, whose thread stays with this search. */
  #downTo(last: number): Handover {
    const trial = this.#floorTrial(true);
    const nodes: SharedNode[] = [];
    for (let n = this.floor + 1; n <= last; n++) nodes.push(this.#node(n, this.#trial(n, n < last)));
    this.floor = last;
    this.floorThread = this.#nodes.thread[last]!;
    return { trial, nodes, isOver: false };
  }

  /** What is known of the thread at the floor. */
  #floorTrial(givesRest: boolean): Trial | null {
    const { floor, floorThread: thread } = this;
    if (floor === 0) return null;
    if (this.#top > 0) return this.#trial(floor, givesRest);
    const touched = this.#stack.touched(this.#nodes.fromOf(floor, thread), this.#nodes.toOf(floor, thread));
    return { touched, isWaiting: ((this.#nodes.sleep[floor]! >>> thread) & 1) !== 0, rest: null, isWhole: true };
  }

  /** What is known of the thread that is being tried at node n. Null: none is yet. */
  #trial(n: number, givesRest: boolean): Trial | null {
    const [nodes, answers, stack] = [this.#nodes, this.#answers, this.#stack];
    if (n < this.#top) {
      const rest = this.#restOf(n);
      const touched = stack.touched(nodes.unionAt[n]!, nodes.stackAt[n + 1]!);
      return { touched, isWaiting: false, rest: givesRest ? rest : null, isWhole: rest === null };
    }
    if (!this.#isBegunAtTop()) return null;
    const rest = answers.list(nodes.answersAt[n]!, answers.end);
    return { touched: stack.touched(nodes.unionAt[n]!, stack.top), isWaiting: false, rest, isWhole: false };
  }

  /** Did the thread chosen at the top make its step with other answers before? */
  #isBegunAtTop(): boolean {
    return this.#answers.end > this.#nodes.answersAt[this.#top]!;
  }

  /** Answers that the step under way at node n is still to get. */
  #restOf(n: number): number[] | null {
    const { answersAt } = this.#nodes;
    return this.#answers.after(answersAt[n]!, answersAt[n + 1]!);
  }

  #pendingAt(n: number): number {
    const isBegun = n < this.#top || this.#isBegunAtTop();
    return this.#nodes.left(n) & ~(isBegun ? 1 << this.#nodes.thread[n]! : 0);
  }

  #node(n: number, trial: Trial | null): SharedNode {
    const nodes = this.#nodes;
    const { answersAt, thread } = nodes;
    const via =
      n === 1 ? null : { thread: thread[n - 1]!, answers: this.#answers.list(answersAt[n - 1]!, answersAt[n]!) };
    const sleepers: Sleeper[] = [];
    const asleep = nodes.sleep[n]! | nodes.done[n]!;
    for (let t = 0; asleep >>> t !== 0; t++) {
      if (((asleep >>> t) & 1) === 0) continue;
      const touched = this.#stack.touched(nodes.fromOf(n, t), nodes.toOf(n, t));
      sleepers.push({ thread: t, touched, isWaiting: ((nodes.waiting[n]! >>> t) & 1) !== 0 });
    }
    return {
      via,
      enabled: nodes.enabled[n]!,
      sleepers,
      pending: this.#pendingAt(n),
      thread: trial === null ? -1 : thread[n]!,
      trial,
    };
  }
}
