// `compare`: the same program, device, seed and memory once for each notifier design.

import { InputError } from '../../base/assert.ts';
import type { DeviceConfig } from '../../device/device.ts';
import { kernelConfig } from '../../mm/config.ts';
import { Kernel } from '../../mm/kernel.ts';
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
  /** Look for the least memory in which `pinned` completes? */
  readonly priceOfPinning: boolean;
  readonly progress: (label: string, done: number, total: number) => Promise<boolean>;
}

export interface Comparison {
  readonly trace: LoadedTrace;
  readonly kernel: string;
  readonly seed: number;
  /** Frames of the program's peak without a device, and those given to each design; 0 when the run was cut before. */
  readonly peakFrames: number;
  readonly frames: number;
  readonly target: BindTarget;
  readonly runs: readonly DesignRun[];
  /** Least frames in which `pinned` completes (to 1/64 of the peak); null when not looked for, or not found. */
  readonly pinnedFrames: number | null;
  readonly isCut: boolean;
}

/** Frames that any kernel here needs besides the program's: watermarks, gather batches, the IOMMU's own. */
const FRAMES_MIN = 128;
const FRAMES_ENOUGH = 1 << 20;

/** Records of the program alone between two looks at Ctrl-C. */
const SLICE_RECORDS = 1024;

/** Frames in use at most when the program runs alone with memory enough; null when `poll` said stop. */
export async function peakWithoutDevice(
  trace: LoadedTrace,
  kernel: string,
  touch: TouchPolicy,
  poll: (done: number, total: number) => Promise<boolean>,
): Promise<number | null> {
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
  return k.stats.framesPeak;
}

/** Runs every row. `now` is a clock in milliseconds. */
export async function compare(options: CompareOptions, now: () => number): Promise<Comparison> {
  const { trace, touch, seed } = options;
  const kernel = options.kernel ?? trace.kernel ?? KERNEL_UNKNOWN;
  const target = bindTarget(trace);
  const peak = await peakWithoutDevice(trace, kernel, touch, (done, total) =>
    options.progress('program alone', done, total),
  );
  if (peak === null)
    return { trace, kernel, seed, peakFrames: 0, frames: 0, target, runs: [], pinnedFrames: null, isCut: true };
  const peakFrames = peak;
  const frames = Math.max(FRAMES_MIN, Math.ceil(peakFrames * options.memoryShare));
  if (frames > FRAMES_ENOUGH)
    throw new InputError(`${frames} frames for each design are more than the ${FRAMES_ENOUGH} that can be simulated`);
  const config: RunConfig = {
    trace,
    kernel,
    touch,
    seed,
    frames,
    swapPages: peakFrames * 4,
    device: options.device,
    target,
    judged: true,
  };
  const runs: DesignRun[] = [];
  let isCut = false;
  let pinnedFrames: number | null = null;
  for (const row of options.rows) {
    if (isCut) break;
    const poll = async (done: number, total: number): Promise<boolean> => {
      isCut = isCut || (await options.progress(row.name, done, total));
      return isCut;
    };
    const run = await runDesign(row, config, now, poll);
    runs.push(run);
    if (row.design !== 'pinned' || isCut || !options.priceOfPinning) continue;
    pinnedFrames = run.programState === 'done' ? frames : await leastFrames(row, config, peakFrames, now, poll);
    if (pinnedFrames === null || run.programState === 'done' || isCut) continue;
    const again = { ...row, name: `${row.name} (least memory)` };
    runs.push(await runDesign(again, { ...config, frames: pinnedFrames }, now, poll));
  }
  return { trace, kernel, seed, peakFrames, frames, target, runs, pinnedFrames, isCut };
}

/** Bisects the least memory, to 1/64 of the peak, in which the row's program completes. */
async function leastFrames(
  row: CompareRow,
  config: RunConfig,
  peakFrames: number,
  now: () => number,
  poll: (done: number, total: number) => Promise<boolean>,
): Promise<number | null> {
  const completes = async (frames: number): Promise<boolean> => {
    const run = await runDesign(row, { ...config, frames, judged: false }, now, poll);
    return run.programState === 'done';
  };
  const grain = Math.max(16, Math.ceil(peakFrames / 64));
  let low = config.frames;
  let high = Math.min(FRAMES_ENOUGH, peakFrames * 2);
  while (!(await completes(high))) {
    if (high >= FRAMES_ENOUGH || (await poll(0, 0))) return null;
    low = high;
    high = Math.min(FRAMES_ENOUGH, high * 2);
  }
  while (high - low > grain) {
    const middle = Math.floor((low + high) / 2);
    if (await completes(middle)) high = middle;
    else low = middle;
    if (await poll(0, 0)) return null;
  }
  return high;
}

export { COMPARE_ROWS };
