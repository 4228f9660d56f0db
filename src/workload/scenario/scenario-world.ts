// A scenario with a driver as a Program of the explorer: every build makes the machine anew, runs the setup with points
// off, spawns the threads, and hands the scheduler's single steps to the explorer. Monitors listen from the first event.

import { Arena } from '../../base/arena.ts';
import type { Footprint } from '../../base/footprint.ts';
import { Judge } from '../../check/judge.ts';
import { LockOrder } from '../../check/lock-order.ts';
import { describeWaits, Waits } from '../../check/waits.ts';
import type { Device } from '../../device/device.ts';
import type { Finding, Program, World } from '../../explore/world.ts';
import { THREADS_MAX } from '../../explore/world.ts';
import { type KernelConfig, kernelConfig } from '../../mm/config.ts';
import { Kernel } from '../../mm/kernel.ts';
import { notifierHost } from '../../mm/notifier-host.ts';
import { CLONE_FILES, CLONE_VM, createProcess, doClone } from '../../mm/process/task.ts';
import { linuxFns } from '../../mm/table.ts';
import type { Task } from '../../mm/types.ts';
import { designInfo } from '../../notifier/designs.ts';
import { type Chooser, DONE, firstChooser } from '../../sched/scheduler.ts';
import { ScenarioContext } from './context.ts';
import { HEAP_START, type Scenario } from './scenario.ts';
import { runStep, runThread } from './steps.ts';
import type { Subject } from './subject.ts';

/** Small limits, at which exploration can be exhaustive. */
export const SMALL_KERNEL: Partial<KernelConfig> = {
  frames: 64,
  swapPages: 16,
  cpus: 4,
  strideOn: 1,
  migrateAttempts: 3,
  gatherBundle: 2,
  gatherBatchesMax: 0,
  faultAroundPages: 1,
  readAheadPages: 0,
  pageCluster: 0,
  tlbSets: 4,
  tlbWays: 2,
  logCapacity: 16,
};

/** Property of what a scenario claims by itself (ScenarioContext.claim). */
const CLAIM = 'CLAIM';
/** A page in the table before that of page 0. */
const REST = -512;

export interface ScenarioOptions {
  /** Records of event history kept: a replay that is to be shown wants more. */
  readonly logCapacity?: number;
  /** Called at the end of each execution, with all its findings. */
  readonly atEnd?: (world: ScenarioWorld, findings: readonly Finding[]) => void;
  /** Listens to every execution; what it learns stays. */
  readonly lockOrder?: LockOrder;
  /** Orders of locks and sleeps in the wrong place, as far as the execution shows them by itself: "findings" like any other, or only
   *  what `lockFindings` answers. Left out: nobody listens. */
  readonly locks?: 'findings' | 'aside';
}

/** The program that runs `scenario` with `subject`. */
export function scenarioProgram(scenario: Scenario, subject: Subject, options: ScenarioOptions = {}): Program {
  const arenas: Arena[] = [];
  return {
    name: `${scenario.name} with ${subject.name}`,
    build(chooser, footprint) {
      // The arrays of a world that has ended are used again for the next one.
      const arena = arenas.pop() ?? new Arena();
      arena.reset();
      const give = (): void => {
        arenas.push(arena);
      };
      return Arena.use(arena, () => new ScenarioWorld(scenario, subject, options, chooser, footprint, give));
    },
  };
}

/** Steps in which everybody but the programs comes to rest; those that do take a handful. */
const SETTLE_STEPS = 1000;

export class ScenarioWorld implements World {
  readonly kernel: Kernel;
  readonly device: Device;
  readonly judge: Judge;
  readonly context: ScenarioContext;
  readonly #waits = new Waits();
  /** Of this execution alone; null: not asked for. */
  readonly #locks: LockOrder | null;
  /** Threads whose end the scenario waits for; the others may stand waiting when it is over. */
  readonly #programs: number[] = [];
  readonly #options: ScenarioOptions;
  #steps = 0;
  /** Steps of the scheduler before the first one of the explorer. */
  readonly #stepsBefore: number;
  /** Gives the arrays back for the next world; null when done. */
  #giveBack: (() => void) | null;

  constructor(
    scenario: Scenario,
    subject: Subject,
    options: ScenarioOptions,
    chooser: Chooser,
    footprint: Footprint,
    giveBack: (() => void) | null = null,
  ) {
    this.#giveBack = giveBack;
    this.#options = options;
    const config = { ...SMALL_KERNEL, ...scenario.kernel };
    config.devicePrivatePages = (config.devicePrivatePages ?? 0) + (subject.memoryPages ?? 0);
    if (options.logCapacity !== undefined) config.logCapacity = options.logCapacity;
    const k = new Kernel(kernelConfig(config), { ...linuxFns, ...subject.patches }, firstChooser);
    this.kernel = k;
    this.judge = new Judge({ timelines: 0, actorName: (id) => k.sched.threads[id]?.name ?? `thread ${id}` });
    this.judge.attach(k.memory.log);
    k.memory.log.attach(this.#waits);
    this.#locks = options.locks === undefined ? null : new LockOrder();
    for (const locks of [options.lockOrder, this.#locks]) {
      locks?.attach(k.memory.log, {
        actorName: (id) => k.sched.threads[id]?.name ?? `thread ${id}`,
        lockName: (lockClass) => k.sched.lockClasses.name(lockClass),
      });
    }
    const host = notifierHost(k);
    k.design = subject.createDesign?.(host) ?? designInfo(subject.design).create(host);
    const main = k.sched.run(createProcess(k, { areas: [], startBrk: HEAP_START }));
    this.device = subject.create(k);
    this.context = new ScenarioContext(k, this.device, scenario);
    this.context.tasks.set('main', main);
    if (scenario.bound !== false) k.sched.run(runStep(this.context, { do: 'bind' }, main));
    // The rest of the program: its upper page tables stay whatever the scenario unmaps.
    k.sched.run(runStep(this.context, { do: 'mmap', at: REST }, main));
    k.sched.run(runStep(this.context, { do: 'store', at: REST }, main));
    for (const step of scenario.setup) k.sched.run(runStep(this.context, step, main));
    this.#spawn(scenario);
    // Hardware and kernel threads go to where they wait for work; one that tries again and again stays where it is then.
    for (let step = 0; step < SETTLE_STEPS && k.sched.runnableCount > 0; step++) {
      let t = null;
      for (let i = 0; i < k.sched.runnableCount && t === null; i++) {
        if (!this.#programs.includes(k.sched.runnableAt(i).id - 1)) t = k.sched.runnableAt(i);
      }
      if (t === null) break;
      k.sched.stepThread(t);
    }
    k.sched.chooser = chooser;
    k.sched.points = true;
    k.record(footprint);
    this.judge.record(footprint);
    this.#stepsBefore = k.sched.steps;
  }

  #spawn(scenario: Scenario): void {
    const { sched } = this.kernel;
    let cpu = 0;
    for (const [name, script] of Object.entries(scenario.threads)) {
      const on = script.on ?? 'cpu';
      const owner = this.context.task(script.task ?? 'main');
      const task = on === 'cpu' ? this.#thread(owner, script.cpu ?? cpu++) : owner;
      const t = sched.spawn(name, on, runThread(this.context, script, task));
      this.#programs.push(t.id - 1);
    }
  }

  /** A thread of the task on a CPU of its own. */
  #thread(owner: Task, cpu: number): Task {
    const k = this.kernel;
    if (![...this.context.tasks.values()].includes(owner) || cpu === owner.cpu) return owner;
    const pid = k.sched.run(doClone(k, owner, CLONE_VM | CLONE_FILES));
    const task = k.tasks.get(pid)!;
    task.cpu = cpu;
    return task;
  }

  enabled(): number {
    const { sched } = this.kernel;
    let mask = 0;
    for (let i = 1; i < sched.threads.length; i++) if (sched.isEnabled(sched.threads[i]!)) mask |= 1 << (i - 1);
    return mask;
  }

  step(thread: number): boolean {
    const { sched } = this.kernel;
    const t = sched.threads[thread + 1]!;
    const footprint = this.kernel.memory.footprint!;
    this.#steps++;
    const found = this.findingCount();
    // What touches nothing is no step of its own: nobody can tell when it happened.
    do {
      sched.steps = this.#stepsBefore + this.#steps - 1;
      sched.stepEnabled(t);
    } while (footprint.length === 0 && sched.isEnabled(t));
    if (sched.threads.length > THREADS_MAX) throw new Error(`scenario: more than ${THREADS_MAX} threads`);
    return sched.hasOnlyWaited && this.findingCount() === found;
  }

  findingCount(): number {
    const locks = this.#options.locks === 'findings' ? this.#locks!.findings.length : 0;
    return this.judge.violationCount + this.context.brokenClaims.length + locks;
  }

  end(isCut: boolean): readonly Finding[] {
    const { sched } = this.kernel;
    const found: Finding[] = [];
    this.#giveBack?.();
    this.#giveBack = null;
    const before = this.judge.findingsSince(0).length;
    if (!isCut) this.judge.finish();
    this.judge.findingsSince(0).forEach(({ property, tag, kind, gap, mm, page, pfn, text, step }, i) => {
      // What only the end shows is found by the last step.
      const at = i < before ? Math.max(1, step - this.#stepsBefore) : this.#steps;
      found.push({ property, tag, kind, gap, mm, page, pfn, sentence: this.#inSteps(text), step: at });
    });
    for (const { tag, sentence, step } of this.context.brokenClaims)
      found.push({ property: CLAIM, tag, kind: 'safety', gap: null, sentence, step: step - this.#stepsBefore });
    if (this.#options.locks === 'findings') found.push(...this.lockFindings());
    const waiting = this.#programs.map((i) => sched.threads[i + 1]!).filter((t) => t.state !== DONE);
    if (!isCut && waiting.length > 0) {
      const name = (id: number): string => sched.threads[id]?.name ?? `thread ${id}`;
      const who = describeWaits(
        this.#waits,
        waiting.map((t) => t.id),
        { actor: name, lock: (c) => sched.lockClasses.name(c), waitsFor: (id) => sched.threads[id]!.waitingFor },
      );
      const sentence = `Nothing can go on: ${who}.`;
      found.push({ property: 'I60', tag: 'DEADLOCK', kind: 'safety', gap: null, sentence, step: this.#steps });
    }
    this.#options.atEnd?.(this, found);
    return found;
  }

  /** What the lock-order monitor says of this execution, where it listens. */
  lockFindings(): Finding[] {
    return (this.#locks?.findings ?? []).map(({ step, sentence, ...f }) => ({
      ...f,
      sentence: this.#inSteps(sentence),
      step: Math.max(1, step - this.#stepsBefore),
    }));
  }

  /** Step numbers of the scheduler as those of the execution, which an explorer and a reader count from 1. */
  #inSteps(text: string): string {
    return text.replaceAll(/\b(at |since |, )step (\d+)/g, (_, before: string, step: string) => {
      const n = Number(step) - this.#stepsBefore;
      if (n > 0) return `${before}step ${n}`;
      return before === 'at ' ? 'during the setup' : `${before}the setup`;
    });
  }

  completed(thread: number): number {
    return this.context.completed[thread + 1] ?? 0;
  }

  isDone(): boolean {
    return this.#programs.every((i) => this.kernel.sched.threads[i + 1]!.state === DONE);
  }

  threadName(thread: number): string {
    return this.kernel.sched.threads[thread + 1]!.name;
  }
}
