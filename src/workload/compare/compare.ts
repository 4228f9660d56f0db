// `compare`: the same program, device, seed and memory once for each notifier design.

import { InputError } from '../../base/assert.ts';
import type { DeviceConfig } from '../../device/device.ts';
import { kernelConfig } from '../../mm/config.ts';
import { Kernel, type KernelStats } from '../../mm/kernel.ts';
import { profile } from '../../mm/profile.ts';
import { linuxFns } from '../../mm/table.ts';
import { faultPlans, type LoadedTrace } from '../replay/load.ts';
import { Replayer } from '../replay/replayer.ts';
import { KERNEL_UNKNOWN, RECORDED_MACHINE } from '../replay/run.ts';
import { OutOfMemory, Toucher, type TouchPolicy } from '../replay/touch.ts';
import { type BindTarget, bindTarget } from './bind-target.ts';
import { COMPARE_ROWS, type CompareRow } from './rows.ts';
import { type DesignRun, type RunConfig, runDesign } from './run-design.ts';

export interface CompareOptions {
  readonly trace: LoadedTrace;
  readonly kernel: string | null;
  readonly touch: TouchPolicy;
  readonly seed: number;
  /** Memory as a share of the program's peak without a device. */
  readonly memoryShare: number;
  readonly rows: readonly CompareRow[];
  readonly device: Partial<DeviceConfig>;
  /** Compare the data of program and device with what was stored? */
  readonly watchesData?: boolean;
  /** Look for the least memory in which `pinned` completes? */
  readonly priceOfPinning: boolean;
  /** Makes one run; rows ask for several at once. Default: in this thread, one after the other. */
  readonly execute?: Executor;
  /** Told now and then; true stops everything. */
  readonly progress: Progress;
}

export type Progress = (label: string, done: number, total: number) => Promise<boolean>;
/** A run of the row under that configuration (whose trace the executor knows). */
export type Executor = (row: CompareRow, config: Omit<RunConfig, 'trace'>, progress: Progress) => Promise<DesignRun>;

export interface Comparison {
  readonly trace: LoadedTrace;
  readonly kernel: string;
  readonly seed: number;
  /** Frames of the program's peak without a device, and those given to each design; 0 when the run was cut before. */
  readonly peakFrames: number;
  readonly frames: number;
  readonly target: BindTarget;
  readonly runs: readonly DesignRun[];
  /** Least frames in which `pinned` completes (to 1/16 of the peak, in at most twice the steps that it takes with memory
   *  enough); null when not looked for, or not found. */
  readonly pinnedFrames: number | null;
  readonly isCut: boolean;
}

/** Frames that any kernel here needs besides the program's: watermarks, gather batches, the IOMMU's own. */
const FRAMES_MIN = 128;
const FRAMES_ENOUGH = 1 << 20;
/** How many times the steps of a run with memory enough a run may take before it counts as not completing: at the edge every
 *  allocation scans pages that are all pinned, and the run takes fifty times as long. */
const STEPS_FACTOR = 2;

/** Records of the program alone between two looks at Ctrl-C. */
const SLICE_RECORDS = 1024;

/** Counters of the program alone with memory enough; null when `poll` said stop. */
export async function aloneWithoutDevice(
  trace: LoadedTrace,
  kernel: string,
  touch: TouchPolicy,
  poll: (done: number, total: number) => Promise<boolean>,
): Promise<KernelStats | null> {
  const k = new Kernel(
    kernelConfig({ ...RECORDED_MACHINE, profile: profile(kernel), frames: FRAMES_ENOUGH }),
    linuxFns,
  );
  const plans = touch === 'faults' ? faultPlans(trace) : new Map();
  const replayer = new Replayer(k, trace, new Toucher(touch, plans));
  try {
    for (const [i, record] of trace.records.entries()) {
      if (i % SLICE_RECORDS === 0 && (await poll(i, trace.records.length))) return null;
      k.sched.run(replayer.push(record));
    }
    k.sched.run(replayer.finish());
  } catch (error) {
    if (!(error instanceof OutOfMemory)) throw error;
    throw new InputError(`${trace.path}: the program alone needs more than ${FRAMES_ENOUGH} frames: ${error.message}`);
  }
  return k.stats;
}

/** One run after the other in this thread. */
function inThisThread(trace: LoadedTrace, now: () => number): Executor {
  let last: Promise<unknown> = Promise.resolve();
  return (row, config, progress) => {
    const run = last.then(() =>
      runDesign(row, { ...config, trace }, now, (done, total) => progress(row.name, done, total)),
    );
    last = run.catch(() => undefined);
    return run;
  };
}

/** Runs every row. `now` is a clock in milliseconds. */
export async function compare(options: CompareOptions, now: () => number): Promise<Comparison> {
  const { trace, touch, seed } = options;
  const kernel = options.kernel ?? trace.kernel ?? KERNEL_UNKNOWN;
  const target = bindTarget(trace);
  const alone = await aloneWithoutDevice(trace, kernel, touch, (done, total) =>
    options.progress('program alone', done, total),
  );
  if (alone === null)
    return { trace, kernel, seed, peakFrames: 0, frames: 0, target, runs: [], pinnedFrames: null, isCut: true };
  const peakFrames = alone.framesPeak;
  const frames = Math.max(FRAMES_MIN, Math.ceil(peakFrames * options.memoryShare));
  if (frames > FRAMES_ENOUGH)
    throw new InputError(`${frames} frames for each design are more than the ${FRAMES_ENOUGH} that can be simulated`);
  const config: Omit<RunConfig, 'trace'> = {
    kernel,
    touch,
    seed,
    frames,
    swapPages: peakFrames * 4,
    device: options.device,
    target,
    judged: true,
    watchesData: options.watchesData === true,
    stepsMax: Number.POSITIVE_INFINITY,
  };
  const execute = options.execute ?? inThisThread(trace, now);
  let isCut = false;
  const progress: Progress = async (label, done, total) => {
    isCut = (await options.progress(label, done, total)) || isCut;
    return isCut;
  };
  let pinnedFrames: number | null = null;
  let wasLookedFor = !options.priceOfPinning;
  /** One after the other: what the first of them takes is what the others are given. */
  const pinned = async (row: CompareRow): Promise<DesignRun[]> => {
    const run = await execute(row, config, progress);
    if (isCut || !options.priceOfPinning) return [run];
    if (run.programState === 'done') {
      pinnedFrames ??= frames;
      return [run];
    }
    if (!wasLookedFor) pinnedFrames = await leastFrames(row, config, peakFrames, execute, progress);
    wasLookedFor = true;
    if (pinnedFrames === null || isCut) return [run];
    const again = { ...row, name: `${row.name} (least memory)` };
    return [run, await execute(again, { ...config, frames: pinnedFrames }, progress)];
  };
  let lastPinned: Promise<unknown> = Promise.resolve();
  const rowRuns = (row: CompareRow): Promise<DesignRun[]> => {
    if (row.design !== 'pinned') return execute(row, config, progress).then((run) => [run]);
    const runs = lastPinned.then(() => pinned(row));
    lastPinned = runs.catch(() => undefined);
    return runs;
  };
  const runs = (await Promise.all(options.rows.map(rowRuns))).flat();
  return { trace, kernel, seed, peakFrames, frames, target, runs, pinnedFrames, isCut };
}

/** Bisects the least memory in which the row's program completes. */
async function leastFrames(
  row: CompareRow,
  config: Omit<RunConfig, 'trace'>,
  peakFrames: number,
  execute: Executor,
  progress: Progress,
): Promise<number | null> {
  let isCut = false;
  const search = { ...row, name: `${row.name} (looking for the least memory)` };
  const attempt = (frames: number, stepsMax: number): Promise<DesignRun> =>
    execute(search, { ...config, frames, stepsMax, judged: false, watchesData: false }, async (label, done, total) => {
      isCut = await progress(label, done, total);
      return isCut;
    });
  const grain = Math.max(16, Math.ceil(peakFrames / 16));
  const enough = await attempt(Math.min(FRAMES_ENOUGH, peakFrames * 4), Number.POSITIVE_INFINITY);
  if (enough.programState !== 'done') return null;
  // With as many frames as it ever used, nothing is reclaimed.
  let high = enough.kernelStats.framesPeak + grain;
  let low = config.frames;
  while (high - low > grain) {
    const middle = Math.floor((low + high) / 2);
    const run = await attempt(middle, enough.steps * STEPS_FACTOR);
    if (isCut) return null;
    if (run.programState === 'done') high = middle;
    else low = middle;
  }
  return high;
}

export { COMPARE_ROWS };
