// Runs one case of a directory: agreeing with any of its valid recordings counts.

import { InputError } from '../base/assert.ts';
import { Boot, looksAtGroup } from './boot.ts';
import { runProgram } from './program/run-program.ts';
import { type CaseFile, listCases, type ReadProblems, readRecording } from './read.ts';
import type { Recording } from './recording.ts';
import { type CaseResult, runScript, type ScriptEnd } from './run-case.ts';

/** A result with what its recordings lacked. */
export interface CaseReport {
  readonly result: CaseResult;
  readonly problems: ReadProblems;
}

/** Is it the recording of a real program? */
export function isProgram(name: string): boolean {
  return name.startsWith('p-');
}

/** The groups in which cases are reported. Those without a version are recordings of Linux 6.1. */
export const GROUPS = [
  'scripts',
  'random programs',
  'two processors',
  'custom kernel',
  'real programs',
  'scripts (6.12)',
  'random programs (6.12)',
] as const;
export type Group = (typeof GROUPS)[number];

export function groupOf({ name, kernel }: Pick<CaseResult, 'name' | 'kernel'>): Group {
  if (kernel === '6.12') return name.startsWith('random-') ? 'random programs (6.12)' : 'scripts (6.12)';
  if (isProgram(name)) return 'real programs';
  if (name.startsWith('random-')) return 'random programs';
  if (name.startsWith('smp2-')) return 'two processors';
  return name.startsWith('x-') ? 'custom kernel' : 'scripts';
}

/** Boots by directory. */
const boots = new Map<string, Boot>();

function bootOf(directory: string): Boot {
  const known = boots.get(directory);
  if (known !== undefined) return known;
  const scripts = listCases(directory).filter((c) => c.directory === directory && !isProgram(c.name));
  const files = new Map(scripts.map((c) => [c.name, c.files[0]!]));
  const boot = new Boot(
    [...files.keys()],
    (name) => readIfUsable(directory, files.get(name)!),
    (recording, memory) => runScript(recording, memory).left,
  );
  boots.set(directory, boot);
  return boot;
}

/** Null: its own case says what is wrong with it. */
async function readIfUsable(directory: string, file: string): Promise<Recording | null> {
  try {
    return await readRecording(directory, file, { damaged: [] });
  } catch (error) {
    if (error instanceof InputError) return null;
    throw error;
  }
}

/** Runs a script in the memory cgroup that those before it in its directory have left. */
async function runAfter(file: CaseFile, recording: Recording): Promise<ScriptEnd> {
  const memory = looksAtGroup(recording) ? await bootOf(file.directory).memoryBefore(file.name) : null;
  return runScript(recording, memory);
}

/** Runs the case. Throws InputError when none of its recordings can be used. */
export async function runCase(file: CaseFile): Promise<CaseReport> {
  const problems: ReadProblems = { damaged: [] };
  let best: CaseResult | null = null;
  let unusable: InputError | null = null;
  for (const name of file.files) {
    try {
      const recording = await readRecording(file.directory, name, problems);
      const result = isProgram(file.name) ? runProgram(recording) : (await runAfter(file, recording)).result;
      if (best === null || result.divergences.length < best.divergences.length) best = result;
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      unusable = error;
    }
    if (best?.divergences.length === 0) break;
  }
  if (best === null) throw unusable!;
  return { result: best, problems };
}
