// Who does what in an exploration by several workers, or in several sessions: the shared part of the search tree, what is to be
// tried at each of its nodes, and what was found. Deterministic: it only reacts to the reports that it gets.
//
// At a node threads are tried one after the other, as far as their footprints are concerned: a thread is given out once the
// first steps of all those before it are known, so that they sleep while it is tried. Their subtrees may still be under way.
//
// What has been asked to be tried is never forgotten: a checkpoint counts jobs that are out as not begun.

import { type Witness, Witnesses } from './explore.ts';
import type { Demand, Handover, Job, SharedNode, Touched } from './job.ts';
import { lowest } from './nodes.ts';
import type { Choice } from './world.ts';

/** What the runs of a job led to since its last report. */
export interface Counts {
  executions: number;
  cut: number;
  blocked: number;
  steps: number;
}

export interface Report {
  readonly job: number;
  readonly counts: Counts;
  readonly witnesses: readonly Witness[];
  /** Final states met, where they are asked for. */
  readonly states: readonly string[];
  readonly demands: readonly Demand[];
  /** Null: the job goes on as it is. */
  readonly handover: Handover | null;
}

/** A thread that was tried, or sleeps, at a shared node. */
interface Entry {
  readonly thread: number;
  touched: Touched;
  isWaiting: boolean;
  /** Is the footprint complete? */
  isWhole: boolean;
}

interface Node {
  readonly id: number;
  /** Id of the node above; 0: it is the root. */
  readonly parent: number;
  readonly depth: number;
  readonly via: Choice | null;
  readonly enabled: number;
  /** In the order in which they began. */
  readonly entries: Entry[];
  /** What is to be tried. */
  readonly pending: { readonly thread: number; readonly answers: readonly number[] }[];
  /** Jobs that are out, and nodes below. */
  users: number;
}

interface Running {
  /** Node where the job's thread is tried; 0: the job is the whole exploration. */
  node: number;
  thread: number;
  answers: readonly number[];
}

/** A checkpoint: plain data. */
export interface Checkpoint {
  readonly version: 1;
  readonly counts: Counts;
  readonly witnesses: readonly Witness[];
  readonly states: readonly string[];
  /** Not even the root is known. */
  readonly isFresh: boolean;
  readonly nodes: readonly Node[];
}

export class Coordinator {
  readonly counts: Counts = { executions: 0, cut: 0, blocked: 0, steps: 0 };
  readonly #witnesses = new Witnesses();
  readonly states = new Set<string>();
  readonly #nodes = new Map<number, Node>();
  readonly #running = new Map<number, Running>();
  #nextNode = 1;
  #nextJob = 1;
  #isFresh = true;

  /** Nothing is left to try, and no job is out. */
  get isFinished(): boolean {
    return !this.#isFresh && this.#running.size === 0 && this.#nodes.size === 0;
  }

  get runningCount(): number {
    return this.#running.size;
  }

  get witnesses(): Witness[] {
    return this.#witnesses.list();
  }

  /** The next job, the one nearest to the root. Null: there is none now (ask again after a report). */
  nextJob(): { readonly id: number; readonly job: Job } | null {
    const id = this.#nextJob;
    if (this.#isFresh) {
      this.#isFresh = false;
      this.#nextJob++;
      this.#running.set(id, { node: 0, thread: -1, answers: [] });
      return { id, job: { path: [], covered: [], thread: -1, answers: [], sleepers: [] } };
    }
    let best: Node | null = null;
    for (const node of this.#nodes.values()) {
      if ((best === null || node.depth < best.depth) && readyAt(node) >= 0) best = node;
    }
    if (best === null) return null;
    this.#nextJob++;
    return { id, job: this.#start(best, id) };
  }

  /** Is there a job to give out? */
  get hasJob(): boolean {
    if (this.#isFresh) return true;
    for (const node of this.#nodes.values()) if (readyAt(node) >= 0) return true;
    return false;
  }

  #start(node: Node, id: number): Job {
    const { thread, answers } = node.pending.splice(readyAt(node), 1)[0]!;
    const path: Choice[] = [];
    const covered: number[] = [];
    for (let n: Node | undefined = node; n !== undefined; n = this.#nodes.get(n.parent)) {
      if (n.via !== null) path.unshift(n.via);
      covered.unshift(coveredAt(n) | (n === node ? 1 << thread : 0));
    }
    let at = node.entries.findIndex((e) => e.thread === thread);
    if (at < 0) at = node.entries.push({ thread, touched: [], isWaiting: false, isWhole: false }) - 1;
    // Those that began later sleep on this one, not the other way round.
    const sleepers = node.entries.slice(0, at);
    node.users++;
    this.#running.set(id, { node: node.id, thread, answers });
    return { path, covered, thread, answers, sleepers: sleepers.map(({ isWhole: _, ...sleeper }) => sleeper) };
  }

  add(report: Report): void {
    const running = this.#running.get(report.job);
    if (running === undefined) throw new Error(`coordinator: job ${report.job} is not out`);
    const { counts } = this;
    counts.executions += report.counts.executions;
    counts.cut += report.counts.cut;
    counts.blocked += report.counts.blocked;
    counts.steps += report.counts.steps;
    for (const witness of report.witnesses) this.#witnesses.offer(witness);
    for (const state of report.states) this.states.add(state);
    // Demands are about the nodes on the job's way, which stand as long as it is out.
    this.#demand(running.node, report.demands);
    if (report.handover === null) return;
    this.#take(running, report.handover);
    if (!report.handover.isOver) return;
    this.#running.delete(report.job);
    this.#leave(this.#nodes.get(running.node));
  }

  /** Adds what races ask for above (and at) the node of a job. */
  #demand(below: number, demands: readonly Demand[]): void {
    for (const { depth, initials, preferred } of demands) {
      let node = this.#nodes.get(below)!;
      while (node.depth > depth) node = this.#nodes.get(node.parent)!;
      if ((coveredAt(node) & initials) === 0) node.pending.push({ thread: preferred, answers: [] });
    }
  }

  /** Takes the nodes that a job gives away; it goes on at the last of them, or is over. */
  #take(running: Running, { trial, nodes, isOver }: Handover): void {
    const from = this.#nodes.get(running.node);
    if (from !== undefined && trial !== null) {
      const entry = from.entries.find((e) => e.thread === running.thread)!;
      if (!entry.isWhole) entry.touched = [...entry.touched, ...trial.touched];
      entry.isWaiting = trial.isWaiting;
      entry.isWhole = trial.isWhole;
      if (trial.rest !== null) from.pending.unshift({ thread: running.thread, answers: trial.rest });
    }
    let parent = from;
    for (const shared of nodes) parent = this.#share(shared, parent);
    if (isOver) return;
    running.node = parent!.id;
    running.thread = nodes[nodes.length - 1]!.thread;
    running.answers = [];
    parent!.users++;
    if (from !== undefined) this.#leave(from);
  }

  #share(shared: SharedNode, parent: Node | undefined): Node {
    const { via, enabled, sleepers, thread, trial } = shared;
    const node: Node = {
      id: this.#nextNode++,
      parent: parent?.id ?? 0,
      depth: parent === undefined ? 0 : parent.depth + 1,
      via,
      enabled,
      entries: sleepers.map((sleeper) => ({ ...sleeper, isWhole: true })),
      pending: [],
      users: 0,
    };
    if (trial !== null) {
      node.entries.push({ thread, touched: trial.touched, isWaiting: trial.isWaiting, isWhole: trial.isWhole });
      if (trial.rest !== null) node.pending.push({ thread, answers: trial.rest });
    }
    for (let left = shared.pending; left !== 0; left &= left - 1) {
      node.pending.push({ thread: lowest(left), answers: [] });
    }
    if (parent !== undefined) parent.users++;
    this.#nodes.set(node.id, node);
    return node;
  }

  /** A job or a node below does not need the node any more. */
  #leave(node: Node | undefined): void {
    for (; node !== undefined; node = this.#nodes.get(node.parent)) {
      node.users--;
      if (node.users > 0 || node.pending.length > 0) return;
      this.#nodes.delete(node.id);
    }
  }

  /** All that another session needs to go on. */
  checkpoint(): Checkpoint {
    const out = [...this.#running.values()];
    const nodes = [...this.#nodes.values()].map((node) => {
      const jobs = out.filter((r) => r.node === node.id);
      return {
        ...node,
        pending: [...jobs.map(({ thread, answers }) => ({ thread, answers })), ...node.pending],
        users: node.users - jobs.length,
      };
    });
    return {
      version: 1,
      counts: { ...this.counts },
      witnesses: this.witnesses,
      states: [...this.states],
      isFresh: this.#isFresh || out.some((r) => r.node === 0),
      nodes: structuredClone(nodes),
    };
  }

  /** The coordinator that goes on where `checkpoint` was taken. */
  static from(checkpoint: Checkpoint): Coordinator {
    const c = new Coordinator();
    Object.assign(c.counts, checkpoint.counts);
    for (const witness of checkpoint.witnesses) c.#witnesses.offer(witness);
    for (const state of checkpoint.states) c.states.add(state);
    c.#isFresh = checkpoint.isFresh;
    for (const node of structuredClone(checkpoint.nodes)) {
      c.#nodes.set(node.id, node);
      c.#nextNode = Math.max(c.#nextNode, node.id + 1);
    }
    return c;
  }
}

/** Threads that need not be asked for at the node. */
function coveredAt(node: Node): number {
  let mask = 0;
  for (const { thread } of node.entries) mask |= 1 << thread;
  for (const { thread } of node.pending) mask |= 1 << thread;
  return mask;
}

/** Which of what is pending may begin: -1 for none. All that were tried before are to be known by their footprints. */
function readyAt({ pending, entries }: Node): number {
  const unknown = entries.find((e) => !e.isWhole);
  if (unknown !== undefined) return pending.findIndex((p) => p.thread === unknown.thread);
  return pending.length > 0 ? 0 : -1;
}
