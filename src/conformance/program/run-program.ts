// Recordings of real programs.

import { LEVELS } from '../compare.ts';
import type { Recording } from '../recording.ts';
import type { CaseResult } from '../run-case.ts';

/** Runs the program's calls and faults again. */
export function runProgram(recording: Recording): CaseResult {
  const actual = 'recordings of real programs are not run yet';
  return {
    name: recording.name,
    divergences: LEVELS.map((level) => ({
      level,
      record: 0,
      call: '',
      expected: '',
      actual,
      left: [],
      right: [actual],
      at: 0,
    })),
  };
}
