// An exploration in parts. Nodes of the search tree that several workers know are *shared*: the coordinator owns them. A job is
// a thread to be tried at a shared node, and all that follows; whoever does it reports
//
//   - races that ask for another thread at a shared node,
//   - what the job's own first step touched, so that others may let it sleep,
//   - when it is asked to share (somebody has nothing to do) or to stop: nodes of its own stack, which become shared.
//
// All of it is plain data, for messages and for checkpoints.

import type { Choice, Schedule } from './world.ts';

/** A footprint: kind, identity and 1 or 0 (written) of each object, one after the other. */
export type Touched = readonly number[];

/** A thread that sleeps at a node. */
export interface Sleeper {
  readonly thread: number;
  readonly touched: Touched;
  /** It would only find that it must wait. */
  readonly isWaiting: boolean;
}

export interface Job {
  /** The way from the root to the node. */
  readonly path: Schedule;
  /** For each node on the way, and the node itself: threads that need not be asked for there. */
  readonly covered: readonly number[];
  /** Thread to try at the node. -1: the whole exploration. */
  readonly thread: number;
  /** The first answers that its step is to get: what comes before them is seen. */
  readonly answers: readonly number[];
  readonly sleepers: readonly Sleeper[];
}

/** A race of a job's step with one of its path: one of `initials`, rather `preferred`, must be tried at that node. */
export interface Demand {
  /** Node, by its depth: 0 is the root. */
  readonly depth: number;
  readonly initials: number;
  readonly preferred: number;
}

/** What is known of a thread that is being tried at a shared node. */
export interface Trial {
  readonly touched: Touched;
  /** It only finds that it must wait there. */
  readonly isWaiting: boolean;
  /** The next answers that its step is to get, when the job gives them away; null: none are left, or the job goes on with them. */
  readonly rest: readonly number[] | null;
  /** All its answers were given: `touched` is the union over them. */
  readonly isWhole: boolean;
}

/** A node that becomes shared: below the one before it in the report. */
export interface SharedNode {
  /** The step from the node before; null for the root. */
  readonly via: Choice | null;
  readonly enabled: number;
  readonly sleepers: readonly Sleeper[];
  /** Threads that wait to be tried. */
  readonly pending: number;
  /** Thread that is being tried, -1: none. */
  readonly thread: number;
  readonly trial: Trial | null;
}

/** How a job stands. */
export interface Handover {
  /** Of the thread of the node where the job began. Null: it is the whole exploration. */
  readonly trial: Trial | null;
  readonly nodes: readonly SharedNode[];
  /** The job is over: finished, or all that is left stands in `nodes`. Else it goes on below the last of them. */
  readonly isOver: boolean;
}
