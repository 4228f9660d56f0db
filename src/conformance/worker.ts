// A worker thread of a conformance run: runs the cases that it is given, one at a time.

import { parentPort } from 'node:worker_threads';
import { runCase } from './cases.ts';
import type { WorkerAnswer } from './pool.ts';
import type { CaseFile } from './read.ts';

const port = parentPort!;

port.on('message', async (file: CaseFile) => {
  let answer: WorkerAnswer;
  try {
    answer = { kind: 'result', report: await runCase(file) };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    answer = {
      kind: 'error',
      message,
      stack: error instanceof Error ? (error.stack ?? '') : '',
      isInput: isInput(error),
    };
  }
  port.postMessage(answer);
});

function isInput(error: unknown): boolean {
  return error instanceof Error && error.name === 'InputError';
}
