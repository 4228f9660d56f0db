// One recorded script, run again: its calls are made on the kernel under test, in their order, and after each one both sides are
// compared.

import type { LruvecMemory } from '../mm/reclaim/lruvec.ts';
import { Comparison, callText, type Divergence, LEVELS, type Level } from './compare.ts';
import { Args, type Op, type Outcome } from './ops/outcome.ts';
import { OPS } from './ops/table.ts';
import type { Learned } from './program/learned.ts';
import type { TraceRecord } from './record.ts';
import { OP_END, type Recording, type Step } from './recording.ts';
import { type PageState, RecordedResidency, residencyOf } from './residency.ts';
import { startScript } from './start.ts';
import { World } from './world.ts';

export interface CaseResult {
  readonly name: string;
  /** The kernel that was recorded: "6.1". */
  readonly kernel: string;
  /** First difference at each level; a level that is not here agrees. */
  readonly divergences: readonly Divergence[];
  /** Real programs: what was taken from the recording. */
  readonly learned?: Learned;
}

/** A result with what the script leaves to those that come after it in the same memory cgroup. */
export interface ScriptEnd {
  readonly result: CaseResult;
  readonly left: LruvecMemory;
}

/** Runs the calls of `recording`, in a memory cgroup that remembers `memory` (null: a new one). Never throws for what the kernel does:
 *  that is a difference. */
export function runScript(recording: Recording, memory: LruvecMemory | null = null): ScriptEnd {
  const settings = new Map<string, string>();
  for (const r of recording.prologue) if (r.t === 'set') settings.set(String(r['path']), String(r['value']));
  const world = new World(Number(recording.head['cpus'] ?? 1), settings, String(recording.head['kernel'] ?? ''));
  if (memory !== null) world.group.lruvec.memory = memory;
  const comparison = new Comparison(world.kernel);
  const run = new ScriptRun(world, comparison);
  let at: TraceRecord | null = null;
  try {
    startScript(world, recording.prologue);
    run.states(recording.prologue, '');
    for (const step of recording.steps) {
      at = step.call;
      run.step(step);
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    comparison.broken(at, `stopped: ${message}`, LEVELS);
  }
  const order = (d: Divergence): number => LEVELS.indexOf(d.level);
  const divergences = [...comparison.first.values()].sort((a, b) => order(a) - order(b));
  return { result: { name: recording.name, kernel: world.version, divergences }, left: world.group.lruvec.memory };
}

const ONLY_CALLS: readonly Level[] = ['calls'];

class ScriptRun {
  readonly #world: World;
  readonly #comparison: Comparison;
  /** Recorded residency, by process. */
  readonly #residency = new Map<string, RecordedResidency>();

  constructor(world: World, comparison: Comparison) {
    this.#world = world;
    this.#comparison = comparison;
  }

  step(step: Step): void {
    const world = this.#world;
    const name = step.ret?.['name'];
    const call = name === undefined ? step.call : { ...step.call, name };
    const outcome = this.#perform(call);
    if (step.call['op'] === OP_END) world.settle();
    const made = world.capture.take();
    if (outcome !== null) this.#comparison.ret(step, outcome);
    this.#comparison.events(step, made);
    this.states(step.states, callText(step.call));
  }

  /** Makes the call. Null when its operation is not modelled, which counts at the level of calls. */
  #perform(call: TraceRecord): Outcome | null {
    const op: Op | undefined = OPS[String(call['op'])];
    if (op === undefined) {
      this.#comparison.broken(call, `operation ${String(call['op'])} is not modelled`, ONLY_CALLS);
      return null;
    }
    const world = this.#world;
    const p = world.process(String(call['p']));
    world.switchTo(p);
    return world.run(op(world, p, new Args(call), call));
  }

  /** Compares what the recording says of the state. */
  states(records: readonly TraceRecord[], call: string): void {
    for (const r of records) {
      if (r.t !== 'maps' && r.t !== 'pages') continue;
      const p = this.#world.processes.get(String(r['p']));
      const mm = p?.task.mm ?? null;
      if (r.t === 'maps') this.#comparison.maps(r, call, mm);
      else {
        const mine = mm === null ? new Map<number, PageState>() : residencyOf(this.#world.kernel, mm);
        for (const { page } of mine.values()) this.#world.capture.see(page);
        this.#comparison.pages(r, call, mine, this.#residencyOf(String(r['p'])));
      }
    }
  }

  #residencyOf(name: string): RecordedResidency {
    let known = this.#residency.get(name);
    if (known === undefined) this.#residency.set(name, (known = new RecordedResidency()));
    return known;
  }
}
