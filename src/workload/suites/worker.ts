// A worker thread: replays the cases that it is given.

import { parentPort } from 'node:worker_threads';
import type { SuiteCase } from './cases.ts';
import { runCase } from './run-case.ts';

const port = parentPort!;
port.on('message', async (c: SuiteCase) => {
  port.postMessage(await runCase(c, () => performance.now()));
});
