// One run: a recorded program, a device that shares its address space, one notifier design, so much memory. Program, device
// engines, IOMMU, page-request workers and kswapd are threads that a seeded scheduler interleaves.

import { MADV_DONTNEED, MAP_FIXED, VM_READ, VM_SPECIAL } from '../../abi/mman.ts';
import type { JudgeResults } from '../../check/judge.ts';
import { Judge } from '../../check/judge.ts';
import type { DeviceStats } from '../../device/accessor.ts';
import type { Device, DeviceConfig } from '../../device/device.ts';
import { isBuffer } from '../../device/workload.ts';
import type { KernelStats } from '../../mm/kernel.ts';
import { profile } from '../../mm/profile.ts';
import type { MmStruct } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_SYSCALL } from '../../sched/points.ts';
import type { Lane, Thread } from '../../sched/scheduler.ts';
import { createMachine, type Machine } from '../../system/machine.ts';
import { faultPlans, type LoadedTrace } from '../replay/load.ts';
import type { ReplayTask } from '../replay/processes.ts';
import { Replayer } from '../replay/replayer.ts';
import { RECORDED_MACHINE } from '../replay/run.ts';
import { OutOfMemory, Toucher, type TouchPolicy } from '../replay/touch.ts';
import type { TraceOp } from '../strace/trace-op.ts';
import type { BindTarget } from './bind-target.ts';
import { type DataResults, DataWatch } from './data-watch.ts';
import type { CompareRow } from './rows.ts';

export interface RunConfig {
  readonly trace: LoadedTrace;
  readonly kernel: string;
  readonly touch: TouchPolicy;
  readonly seed: number;
  readonly frames: number;
  readonly swapPages: number;
  readonly device: Partial<DeviceConfig>;
  readonly target: BindTarget;
  /** Watch the events? Off for runs that only ask whether the program completes. */
  readonly judged: boolean;
  /** Compare the data of program and device with what was stored? */
  readonly watchesData: boolean;
  /** Steps after which the run is given up. */
  readonly stepsMax: number;
}

export interface DesignRun {
  readonly row: CompareRow;
  readonly frames: number;
  /** "done", "running" (cut), or "failed at step N: why". */
  readonly programState: string;
  readonly results: JudgeResults | null;
  /** Null when nobody watched. */
  readonly data: DataResults | null;
  readonly steps: number;
  readonly seconds: number;
  /** Counters of the kernel and of the device. */
  readonly kernelStats: KernelStats;
  readonly deviceStats: DeviceStats;
  readonly threads: readonly { readonly name: string; readonly lane: Lane }[];
}

/** Steps between two looks at the clock and at Ctrl-C. */
const SLICE_STEPS = 50_000;

class ProgramRun {
  readonly machine: Machine;
  readonly device: Device;
  readonly replayer: Replayer;
  readonly data: DataWatch | null;
  readonly #config: RunConfig;
  readonly #execs = new Map<number, number>();
  state = 'running';
  bound: MmStruct | null = null;
  recordsDone = 0;

  constructor(machine: Machine, replayer: Replayer, config: RunConfig) {
    this.machine = machine;
    this.device = machine.device as Device;
    this.replayer = replayer;
    this.#config = config;
    replayer.processes.onNewMm = (task, mm) => this.#newMm(task, mm);
    replayer.aroundMemoryCall = (task, op, isBefore) => this.#aroundCall(task, op, isBefore);
    replayer.processes.onMmGone = (mm) => this.#mmGone(mm);
    this.data = config.watchesData ? new DataWatch(machine.kernel) : null;
    if (this.data !== null) this.#watch(this.data);
  }

  #watch(data: DataWatch): void {
    this.machine.kernel.memory.log.attach(data);
    this.replayer.toucher.onTouch = (mm, task, va, isWrite) => data.touched(mm, task, va, isWrite);
    this.replayer.processes.onMmLeft = (t) => data.last(t.task);
  }

  *#newMm(task: ReplayTask, mm: MmStruct): KernelPath<void> {
    const images = this.#execs.get(task.tid) ?? 0;
    this.#execs.set(task.tid, images + 1);
    const { target } = this.#config;
    if (this.bound !== null || target.tid !== task.tid || target.image !== images) return;
    const result = yield* this.device.bind(mm);
    if (result < 0) throw new Error(`compare: the device could not be bound (${result})`);
    this.bound = mm;
    this.data?.watch(mm);
  }

  /** Jobs that the program submitted on memory which it now gives up, and does not wait for. */
  *#aroundCall(task: ReplayTask, op: TraceOp, isBefore: boolean): KernelPath<void> {
    const { mm } = task.task;
    if (mm === null || mm !== this.bound) return;
    this.data?.aroundCall(mm, op, isBefore);
    const piece = isBefore ? givenUp(mm, op) : null;
    if (piece === null) this.device.workload.unfocus();
    else this.device.workload.focus(piece.start, piece.end, piece.isWritable);
  }

  *#mmGone(mm: MmStruct): KernelPath<void> {
    if (this.bound !== mm) return;
    this.bound = null;
    this.data?.watch(null);
    yield* this.device.unbind();
  }

  *program(): KernelPath<void> {
    try {
      for (const record of this.#config.trace.records) {
        if (this.machine.kernel.sched.points) yield P_SYSCALL;
        yield* this.replayer.push(record);
        this.recordsDone++;
      }
      yield* this.replayer.finish();
      this.state = 'done';
    } catch (error) {
      if (!(error instanceof OutOfMemory)) throw error;
      this.#fail(error.message);
    }
  }

  #fail(why: string): void {
    this.state = `failed at step ${this.machine.kernel.sched.steps}: ${why}`;
  }

  /** Is there nothing more to run? Notes a refusal of the device's setup. */
  isOver(): boolean {
    if (this.state === 'running' && this.device.refusal !== null) this.#fail(this.device.refusal);
    return this.state !== 'running';
  }
}

/** The first readable VMA, cut to the range, of memory that a call unmaps, moves, discards or protects; null for other calls. */
function givenUp(mm: MmStruct, op: TraceOp): { start: number; end: number; isWritable: boolean } | null {
  let start = 0;
  let length = 0;
  if (op.op === 'munmap' || op.op === 'mprotect') [start, length] = [op.addr.num, op.length.num];
  else if (op.op === 'madvise' && op.advice === MADV_DONTNEED) [start, length] = [op.addr.num, op.length.num];
  else if (op.op === 'mmap' && (op.flags.lo & MAP_FIXED) !== 0) [start, length] = [op.addr.num, op.length.num];
  else if (op.op === 'mremap') [start, length] = [op.addr.num, op.oldLength.num];
  else if (op.op === 'brk' && op.addr.num !== 0 && op.addr.num < mm.brk)
    [start, length] = [op.addr.num, mm.brk - op.addr.num];
  if (!(length > 0)) return null;
  const end = Math.ceil((start + length) / 4096) * 4096;
  const vma = mm.vmas.intersects(start, end);
  if (vma === null || (vma.flags & VM_READ) === 0 || (vma.flags & VM_SPECIAL) !== 0) return null;
  return {
    start: Math.max(vma.start, Math.ceil(start / 4096) * 4096),
    end: Math.min(vma.end, end),
    isWritable: isBuffer(vma),
  };
}

function laneOf(t: Thread): { name: string; lane: Lane } {
  return { name: t.name, lane: t.lane };
}

/** Runs the design to the end of the program (or until `poll` says stop, with what was done so far). */
export async function runDesign(
  row: CompareRow,
  config: RunConfig,
  now: () => number,
  poll: (done: number, total: number) => Promise<boolean>,
): Promise<DesignRun> {
  const begin = now();
  const machine = createMachine({
    kernel: {
      ...RECORDED_MACHINE,
      profile: profile(config.kernel),
      frames: config.frames,
      swapPages: config.swapPages,
    },
    design: row.design,
    device: {
      ...config.device,
      device: row.device ?? '',
      driver: row.driver,
      workload: { ...config.device.workload, seed: config.seed },
    },
    seed: config.seed,
  });
  const k = machine.kernel;
  const threads = k.sched.threads;
  const judge = new Judge({
    actorName: (id) => threads[id]?.name ?? `thread ${id}`,
    deviceName: () => 'the device',
    // Each engine may ask once for a page, and once more after it was told to try again.
    refaultBound: (machine.device as Device).accessor.engineCount + 1,
  });
  if (config.judged) judge.attach(k.memory.log);
  const plans = config.touch === 'faults' ? faultPlans(config.trace) : new Map();
  const replayer = new Replayer(k, config.trace, new Toucher(config.touch, plans));
  const run = new ProgramRun(machine, replayer, config);
  k.sched.points = true;
  k.sched.spawn('kswapd', 'kernel', k.fn.kswapd(k), true);
  k.sched.spawn('program', 'cpu', run.program());
  let isCut = false;
  while (!run.isOver() && !isCut) {
    const end = k.sched.runUntil(() => run.isOver(), SLICE_STEPS);
    if (k.sched.steps > config.stepsMax) break;
    if (end === 'stuck') run.state = `failed at step ${k.sched.steps}: nothing can run (deadlock)`;
    isCut = await poll(run.recordsDone, config.trace.records.length);
  }
  const { steps } = k.sched;
  if (config.judged && !isCut) {
    // kswapd is in the middle of something: its section is not one that nobody leaves.
    k.sched.runUntil(() => !judge.hasOpenSection, SLICE_STEPS);
    judge.finish();
  }
  return {
    row,
    frames: config.frames,
    programState: run.state,
    results: config.judged ? judge.results() : null,
    data: run.data?.results() ?? null,
    steps,
    seconds: (now() - begin) / 1000,
    kernelStats: k.stats,
    deviceStats: run.device.stats(),
    threads: threads.map(laneOf),
  };
}
