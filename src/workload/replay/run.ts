// `replay`: one recording on one kernel, points off, and what came of it.

import { InputError } from '../../base/assert.ts';
import { type KernelConfig, kernelConfig } from '../../mm/config.ts';
import { Kernel } from '../../mm/kernel.ts';
import { profile } from '../../mm/profile.ts';
import { linuxFns } from '../../mm/table.ts';
import { importLackey } from '../import-file.ts';
import { ImportReport } from '../import-report.ts';
import { readChunks } from '../input.ts';
import { faultPlans, type ScannedTrace } from './load.ts';
import { References } from './references.ts';
import { type FinalMapsResult, Replayer } from './replayer.ts';
import type { Divergence, Tally } from './tally.ts';
import { OutOfMemory, Toucher, type TouchPolicy } from './touch.ts';

/** The machine on which the bundled recordings were made, where it decides results: see recordings/README.md. */
export const RECORDED_MACHINE: Partial<KernelConfig> = {
  mmapMinAddr: 4096,
  ramPages: 6171023,
  swapPages: 0,
  capSysAdmin: true,
  memoryFailure: false,
};
export const KERNEL_UNKNOWN = '6.18';
/** Frames that replaying a test program takes at most, but for very long ones: 1 GiB. */
export const RECORDED_FRAMES = 1 << 18;

export interface ReplayOptions {
  /** Profile name; null: the recording's, else the newest. */
  readonly kernel: string | null;
  readonly touch: TouchPolicy;
  readonly frames: number;
  /** Memory references (valgrind lackey) to stream through the TLB after the calls; null = none. */
  readonly lackey: string | null;
  readonly strict: boolean;
  /** Called now and then with the number of records done; true stops the run. */
  readonly progress?: (done: number, total: number) => Promise<boolean>;
}

export interface ReplayResult {
  readonly trace: string;
  readonly kernel: string;
  readonly tally: Tally;
  readonly divergences: readonly Divergence[];
  readonly finalMaps: 'equal' | 'different' | 'absent';
  readonly finalMapsResults: readonly FinalMapsResult[];
  readonly faults: number;
  /** Notifier callbacks made (no subscriber is attached: 0 unless a device shares the address space). */
  readonly callbacks: number;
  /** Records in the event log (off unless somebody listens). */
  readonly events: number;
  readonly touched: number;
  readonly framesPeak: number;
  readonly seconds: number;
  readonly recordsDone: number;
  readonly recordsTotal: number;
  readonly faultPlan: { readonly applied: number; readonly redundant: number; readonly unused: number } | null;
  /** Streamed memory references; null when none were asked for. */
  readonly references: ReferenceCounts | null;
  /** Why the program could not go on; null when it did. */
  readonly ended: string | null;
}

export interface ReferenceCounts {
  readonly references: number;
  readonly translations: number;
  readonly tlbMisses: number;
  readonly faults: number;
  readonly mappingsLearned: number;
  readonly refused: number;
  readonly seconds: number;
  /** What was wrong with the file. */
  readonly problems: readonly string[];
}

const SLICE = 256;

async function streamReferences(
  k: Kernel,
  path: string,
  options: ReplayOptions,
  now: () => number,
): Promise<ReferenceCounts> {
  const report = new ImportReport(path, options.strict);
  const r = References.create(k);
  let seconds = 0;
  await importLackey(readChunks(path, report), report, (block) => {
    const begin = now();
    r.run(block);
    seconds += (now() - begin) / 1000;
  });
  if (r.references === 0)
    throw new InputError(
      `${path}: no memory reference in it; expected the output of valgrind --tool=lackey --trace-mem=yes`,
    );
  const { references, translations, tlbMisses, faults, mappingsLearned, refused } = r;
  return {
    references,
    translations,
    tlbMisses,
    faults,
    mappingsLearned,
    refused,
    seconds,
    problems: report.problems(),
  };
}

/** Runs the recording to its end (or until `progress` says stop). */
export async function runReplay(trace: ScannedTrace, options: ReplayOptions, now: () => number): Promise<ReplayResult> {
  const kernelName = options.kernel ?? trace.kernel ?? KERNEL_UNKNOWN;
  const k = new Kernel(
    kernelConfig({ ...RECORDED_MACHINE, profile: profile(kernelName), frames: options.frames }),
    linuxFns,
  );
  const plans = options.touch === 'faults' ? faultPlans(trace) : new Map();
  const replayer = new Replayer(k, trace, new Toucher(options.touch, plans, trace.untouched));
  const begin = now();
  let done = 0;
  let ended: string | null = null;
  let references: ReferenceCounts | null = null;
  try {
    let isStopped = false;
    for await (const batch of trace.batches()) {
      for (const record of batch) {
        k.sched.run(replayer.push(record));
        done++;
        if (done % SLICE !== 0 || options.progress === undefined) continue;
        isStopped = await options.progress(done, trace.recordCount);
        if (isStopped) break;
      }
      if (isStopped) break;
    }
    if (done === trace.recordCount) {
      k.sched.run(replayer.finish());
      if (options.lackey !== null) references = await streamReferences(k, options.lackey, options, now);
    }
  } catch (error) {
    if (!(error instanceof OutOfMemory)) throw error;
    ended = error.message;
  }
  const results = replayer.finalMaps;
  const different = results.filter((r) => r.differences.length > 0);
  const sum = (of: 'applied' | 'redundant' | 'unused'): number => [...plans.values()].reduce((n, p) => n + p[of], 0);
  return {
    trace: trace.path,
    kernel: kernelName,
    tally: replayer.tally,
    divergences: replayer.tally.divergences,
    finalMaps: results.length === 0 ? 'absent' : different.length === 0 ? 'equal' : 'different',
    finalMapsResults: results,
    faults: k.stats.faults,
    callbacks: 0,
    events: k.memory.log.count,
    touched: replayer.toucher.touched,
    framesPeak: k.stats.framesPeak,
    seconds: (now() - begin) / 1000,
    recordsDone: done,
    recordsTotal: trace.recordCount,
    faultPlan:
      plans.size === 0 ? null : { applied: sum('applied'), redundant: sum('redundant'), unused: sum('unused') },
    references,
    ended,
  };
}
