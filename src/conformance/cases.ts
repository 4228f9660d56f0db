// Runs one case of a directory: agreeing with any of its valid recordings counts.

import { InputError } from '../base/assert.ts';
import { runProgram } from './program/run-program.ts';
import { type CaseFile, type ReadProblems, readRecording } from './read.ts';
import { type CaseResult, runScript } from './run-case.ts';

/** A result with what its recordings lacked. */
export interface CaseReport {
  readonly result: CaseResult;
  readonly problems: ReadProblems;
}

/** Is it the recording of a real program? */
export function isProgram(name: string): boolean {
  return name.startsWith('p-');
}

/** The groups in which cases are reported. */
export const GROUPS = ['scripts', 'random programs', 'two processors', 'custom kernel', 'real programs'] as const;
export type Group = (typeof GROUPS)[number];

export function groupOf(name: string): Group {
  if (isProgram(name)) return 'real programs';
  if (name.startsWith('random-')) return 'random programs';
  if (name.startsWith('smp2-')) return 'two processors';
  return name.startsWith('x-') ? 'custom kernel' : 'scripts';
}

/** Runs the case. Throws InputError when none of its recordings can be used. */
export async function runCase(file: CaseFile): Promise<CaseReport> {
  const problems: ReadProblems = { damaged: [] };
  let best: CaseResult | null = null;
  let unusable: InputError | null = null;
  for (const name of file.files) {
    try {
      const recording = await readRecording(file.directory, name, problems);
      const result = isProgram(file.name) ? runProgram(recording) : runScript(recording);
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
