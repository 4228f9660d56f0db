// The task of a worker of `shootdown bugs`: takes one bug after the other from a shared counter, runs its revisions, and sends what
// came of it.

import { InputError } from '../base/assert.ts';
import { shownTrace } from '../report/counterexample.ts';
import { guardedProgram } from '../workload/guard/guarded-program.ts';
import { type Bug, isBug } from '../workload/museum/bug.ts';
import { type BugResult, type RevisionResult, runBug } from '../workload/museum/run-bug.ts';
import { recordReplay } from '../workload/trace/record-replay.ts';
import { nearPath } from './place.ts';
import type { AuthorModule, Task } from './task.ts';
import { bugParts } from './trace-task.ts';

export interface BugsInput {
  /** Executions of each revision at most. */
  readonly executions: number;
  readonly seed: number;
  /** Word 0: the next module that nobody has taken. */
  readonly next: SharedArrayBuffer;
}

export interface OtherReport {
  readonly revision: string;
  readonly what: string;
  readonly expected: 'found' | 'clean';
  readonly found: boolean;
  readonly sentence: string | null;
}

/** What became of a bug. */
export interface BugReport {
  readonly id: string;
  readonly number: number | null;
  readonly title: string;
  readonly story: string;
  readonly found: boolean;
  /** Tag of what was found, null: nothing; its monitor's property; and the tag that the entry names. */
  readonly property: string | null;
  readonly propertyId: string | null;
  readonly expectedProperty: string;
  readonly sentence: string | null;
  readonly steps: number | null;
  /** Acts of the story (docs/reading-a-counterexample.md). */
  readonly storySteps: number | null;
  readonly switches: number | null;
  /** For `shootdown trace`. */
  readonly schedule: string | null;
  readonly fixedVerdict: 'clean' | 'violation';
  /** What was found in the fixed revision. */
  readonly fixedSentence: string | null;
  readonly fixedSchedule: string | null;
  readonly fixedExhaustive: boolean;
  readonly fixedExecutions: number;
  /** Executions until it was found. */
  readonly executions: number;
  readonly others: readonly OtherReport[];
  /** All revisions behave as the entry says. */
  readonly asTold: boolean;
  readonly seconds: number;
}

export type BugsMessage =
  | { readonly kind: 'begin'; readonly index: number }
  | { readonly kind: 'result'; readonly index: number; readonly report: BugReport };

export const run: Task<BugsInput, true> = (modules, input, host) => {
  const bugs = modules.map(bugOf);
  const next = new Int32Array(input.next);
  for (;;) {
    const index = Atomics.add(next, 0, 1);
    if (index >= bugs.length || host.heart.isStopped) return true;
    host.progress({ kind: 'begin', index } satisfies BugsMessage);
    const began = performance.now();
    const result = runBug(bugs[index]!, {
      executions: input.executions,
      soundExecutions: input.executions,
      seed: input.seed,
      goOn: () => !host.heart.isStopped,
      guard: (program) => guardedProgram(program, host.heart),
    });
    if (host.heart.isStopped) return true;
    const report = reportOf(bugs[index]!, modules[index]!, result, (performance.now() - began) / 1000);
    host.progress({ kind: 'result', index, report } satisfies BugsMessage);
  }
};

/** The bug that the module exports. Throws InputError when it exports none, or several. */
function bugOf(module: AuthorModule): Bug {
  const bugs = Object.values(module.exports).filter(isBug);
  if (bugs.length !== 1)
    throw new InputError(
      `${nearPath(module.path)}: exports ${bugs.length === 0 ? 'no bug' : `${bugs.length} bugs`}; expected one: export default defineBug({ ... })`,
    );
  return bugs[0]!;
}

function reportOf(bug: Bug, module: AuthorModule, r: BugResult, seconds: number): BugReport {
  const { historic, fixed } = r;
  const w = historic.witness;
  return {
    id: bug.id,
    number: bug.number ?? null,
    title: bug.title,
    story: bug.story.trim(),
    found: w !== null,
    property: w?.finding.tag ?? null,
    propertyId: w?.finding.property ?? null,
    expectedProperty: bug.tag,
    sentence: w?.finding.sentence ?? null,
    steps: w?.steps ?? null,
    storySteps: w === null ? null : storySteps(module, w.text),
    switches: w?.switches ?? null,
    schedule: w?.text ?? null,
    fixedVerdict: fixed.witness === null ? 'clean' : 'violation',
    fixedSentence: fixed.witness?.finding.sentence ?? null,
    fixedSchedule: fixed.witness?.text ?? null,
    fixedExhaustive: fixed.exhaustive,
    fixedExecutions: fixed.executions,
    executions: historic.executions,
    others: r.others.map(otherOf),
    asTold: r.isAsTold,
    seconds,
  };
}

function otherOf(r: RevisionResult): OtherReport {
  const { revision, what, isBroken, witness } = r;
  const expected = isBroken ? 'found' : 'clean';
  return { revision, what, expected, found: witness !== null, sentence: witness?.finding.sentence ?? null };
}

function storySteps(module: AuthorModule, text: string): number {
  return shownTrace(
    recordReplay(text, (x) => bugParts(x, module)),
    text,
  ).storySteps;
}
