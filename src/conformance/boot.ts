// What the recordings of one boot have in common. The scripts of a directory were run one after another, in the order of their names, on one
// machine that was booted once, each with its target in the same memory cgroup. A cgroup remembers how costly reclaim was
// (lru_note_cost) and how many pages came back (WORKINGSET_ACTIVATE), and the next reclaim goes by that. So before a script that
// reclaims, the scripts before it that evict pages are run too, each with what those before it have left.
//
// Nothing else lasts from one script to the next: its processes are gone, its swap area is turned off.

import type { LruvecMemory } from '../mm/reclaim/lruvec.ts';
import type { Recording } from './recording.ts';

/** Operations of the controller that reclaim from the group. */
function reclaims(call: { readonly [field: string]: unknown }): boolean {
  if (call['op'] === 'memory_reclaim') return true;
  const path = (call['args'] as { path?: unknown } | undefined)?.path;
  return call['op'] === 'write_file' && typeof path === 'string' && /\/memory\.(max|high)$/.test(path);
}

function evicts(call: { readonly [field: string]: unknown }): boolean {
  return (call['args'] as { advice?: unknown } | undefined)?.advice === 'MADV_PAGEOUT' || reclaims(call);
}

/** Does what happens in the recording depend on what the group remembers? */
export function looksAtGroup(recording: Recording): boolean {
  return recording.steps.some((s) => reclaims(s.call));
}

/** May it change what the group remembers? */
export function changesGroup(recording: Recording): boolean {
  return recording.steps.some((s) => evicts(s.call));
}

/** What the group remembers before each script of a directory that was run in one boot. */
export class Boot {
  readonly #names: readonly string[];
  readonly #read: (name: string) => Promise<Recording | null>;
  readonly #run: (recording: Recording, memory: LruvecMemory | null) => LruvecMemory;
  /** Scripts looked at so far, in order, and what the last of them has left. */
  #done = 0;
  #memory: LruvecMemory | null = null;
  /** By script: what was there before it. Only for those that evict. */
  readonly #before = new Map<string, LruvecMemory | null>();

  /** `names`: the scripts in their order. `read`: null when there is no reading it. `run` runs one and tells what it leaves. */
  constructor(
    names: readonly string[],
    read: (name: string) => Promise<Recording | null>,
    run: (recording: Recording, memory: LruvecMemory | null) => LruvecMemory,
  ) {
    this.#names = names;
    this.#read = read;
    this.#run = run;
  }

  /** Null: nothing was evicted before. */
  async memoryBefore(name: string): Promise<LruvecMemory | null> {
    while (!this.#before.has(name) && this.#done < this.#names.length) {
      const next = this.#names[this.#done]!;
      if (next === name) return this.#memory;
      this.#done++;
      const recording = await this.#read(next);
      if (recording === null || !changesGroup(recording)) continue;
      this.#before.set(next, this.#memory);
      this.#memory = this.#run(recording, this.#memory);
    }
    return this.#before.get(name) ?? null;
  }
}
