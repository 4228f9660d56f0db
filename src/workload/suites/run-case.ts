// One case of a test suite replayed: what became of its memory calls, as plain data.

import { scanTrace } from '../replay/load.ts';
import { isMemoryCall } from '../replay/memory-names.ts';
import { RECORDED_FRAMES, runReplay } from '../replay/run.ts';
import type { CallCounts, Divergence } from '../replay/tally.ts';
import { filesOf } from './case-files.ts';
import type { Determinism, SuiteCase } from './cases.ts';

export interface CaseResult {
  readonly suite: string;
  readonly case: string;
  readonly determinism: Determinism;
  /** Memory calls. */
  readonly calls: number;
  readonly verified: number;
  readonly byCall: Readonly<Record<string, CallCounts>>;
  /** All other calls that are judged (files, processes). */
  readonly otherCalls: number;
  readonly otherVerified: number;
  /** First memory call with another result than recorded; null when there is none. */
  readonly first: Divergence | null;
  /** Why memory calls were skipped. */
  readonly skips: Readonly<Record<string, number>>;
  readonly finalMaps: 'equal' | 'different' | 'absent';
  /** First line of a final map that differs, with its task. */
  readonly firstMap: string | null;
  /** The replay could not go on: why. */
  readonly error: string | null;
  readonly seconds: number;
}

/** Every memory call verified, and the replay reached its end. */
export function isFull(r: CaseResult): boolean {
  return r.error === null && r.verified === r.calls;
}

/** A recording longer than this may touch more memory. */
const LONG_LINES = 100_000;

/** Replays a case. Errors of the case are part of the result. */
export async function runCase(c: SuiteCase, now: () => number): Promise<CaseResult> {
  const begin = now();
  const identity = { suite: c.suite.name, case: c.name, determinism: c.determinism };
  try {
    const trace = await scanTrace(c.path, { files: filesOf(c.suite) });
    const frames = c.lines > LONG_LINES ? 2 * RECORDED_FRAMES : RECORDED_FRAMES;
    const options = { kernel: null, touch: 'sample', frames, lackey: null, strict: false } as const;
    const r = await runReplay(trace, options, now);
    const byCall: Record<string, CallCounts> = {};
    const counts = { calls: 0, verified: 0, otherCalls: 0, otherVerified: 0 };
    for (const [name, n] of r.tally.byCall) {
      const calls = n.verified + n.diverged + n.learned + n.skipped;
      if (isMemoryCall(name)) {
        byCall[name] = { ...n };
        counts.calls += calls;
        counts.verified += n.verified;
      } else {
        counts.otherCalls += calls;
        counts.otherVerified += n.verified;
      }
    }
    const map = r.finalMapsResults.find((m) => m.differences.length > 0);
    return {
      ...identity,
      ...counts,
      byCall,
      first: r.divergences.find((d) => isMemoryCall(d.name)) ?? null,
      skips: Object.fromEntries(r.tally.skips),
      finalMaps: r.finalMaps,
      firstMap: map === undefined ? null : `task ${map.task}: ${map.differences[0]!.sign} ${map.differences[0]!.line}`,
      error: r.ended,
      seconds: (now() - begin) / 1000,
    };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { ...identity, ...FAILED, error: message, seconds: (now() - begin) / 1000 };
  }
}

const FAILED = {
  calls: 0,
  verified: 0,
  byCall: {},
  otherCalls: 0,
  otherVerified: 0,
  first: null,
  skips: {},
  finalMaps: 'absent',
  firstMap: null,
} as const;
