// The order in which locks are taken, as lockdep keeps it: an edge from A to B says that somebody wanted B while he held A. Nodes are
// lock classes and three things that are waited for like locks. A cycle means that some schedule can wait for ever, though none
// has yet.
//
//   RECLAIM    free memory: an allocation waits for every lock that reclaim takes (fs_reclaim)
//   CALLBACK   the return of invalidation callbacks: whoever opens a section or waits for callbacks waits for what they take
//   SECTION    the end of open sections (mmu_interval_read_begin): waits for what their owners wait for
//
// What the kernel does is known before anybody did it (the contract): callbacks are called with these locks held, and reclaim
// calls them. So one run of a driver is enough.

import { LOCK_ANON_VMA, LOCK_I_MMAP, LOCK_INVALIDATE, LOCK_MMAP, LOCK_PAGE } from '../abi/locks.ts';

export const NODE_RECLAIM = 0xf001;
export const NODE_CALLBACK = 0xf002;
export const NODE_SECTION = 0xf003;

/** Where an edge was seen. */
export interface Place {
  readonly actor: number;
  readonly step: number;
  /** The callback that ran, CB_*, and its subscriber; 0 none. */
  readonly callback: number;
  readonly subscriber: number;
  /** System call under way, -1 none. */
  readonly syscall: number;
}

export interface Edge {
  readonly from: number;
  readonly to: number;
  /** null: by contract. */
  readonly place: Place | null;
}

/** Locks that may be held when a section is opened or closed. */
export const CONTRACT_LOCKS: readonly number[] = [LOCK_MMAP, LOCK_INVALIDATE, LOCK_PAGE, LOCK_I_MMAP, LOCK_ANON_VMA];

export class LockGraph {
  readonly #edges = new Map<number, Map<number, Edge>>();

  constructor() {
    for (const lock of CONTRACT_LOCKS) this.#insert({ from: lock, to: NODE_CALLBACK, place: null });
    this.#insert({ from: NODE_RECLAIM, to: NODE_CALLBACK, place: null });
    this.#insert({ from: NODE_RECLAIM, to: LOCK_I_MMAP, place: null });
    this.#insert({ from: NODE_RECLAIM, to: LOCK_ANON_VMA, place: null });
    this.#insert({ from: NODE_SECTION, to: NODE_CALLBACK, place: null });
  }

  has(from: number, to: number): boolean {
    return this.#edges.get(from)?.has(to) === true;
  }

  /** Adds the edge. The cycle that it closes, beginning with it, or null. An edge that closes one is not kept: one mistake,
   *  one finding. */
  add(edge: Edge): Edge[] | null {
    const back = this.#path(edge.to, edge.from);
    if (back !== null) return [edge, ...back];
    this.#insert(edge);
    return null;
  }

  #insert(edge: Edge): void {
    let out = this.#edges.get(edge.from);
    if (out === undefined) {
      out = new Map();
      this.#edges.set(edge.from, out);
    }
    out.set(edge.to, edge);
  }

  /** A shortest path, breadth first; empty when both are the same node. */
  #path(from: number, to: number): Edge[] | null {
    const cameBy = new Map<number, Edge | null>([[from, null]]);
    const queue = [from];
    for (let i = 0; i < queue.length; i++) {
      const node = queue[i]!;
      if (node === to) return unwind(cameBy, to);
      for (const edge of this.#edges.get(node)?.values() ?? []) {
        if (cameBy.has(edge.to)) continue;
        cameBy.set(edge.to, edge);
        queue.push(edge.to);
      }
    }
    return null;
  }
}

function unwind(cameBy: ReadonlyMap<number, Edge | null>, to: number): Edge[] {
  const path: Edge[] = [];
  for (let edge = cameBy.get(to) ?? null; edge !== null; edge = cameBy.get(edge.from) ?? null) path.unshift(edge);
  return path;
}
