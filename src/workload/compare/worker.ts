// A worker thread of a comparison: loads the recording once, then makes the runs that it is asked for.

import { parentPort, workerData } from 'node:worker_threads';
import { loadTrace } from '../replay/load.ts';
import type { WorkerAnswer, WorkerRequest, WorkerTrace } from './parallel.ts';
import { runDesign } from './run-design.ts';

const port = parentPort!;
const { path, options } = workerData as WorkerTrace;
const loading = loadTrace(path, options);
let isStopped = false;

function answer(message: WorkerAnswer): void {
  port.postMessage(message);
}

async function poll(done: number, total: number): Promise<boolean> {
  answer({ kind: 'progress', done, total });
  await new Promise((resolve) => setImmediate(resolve));
  return isStopped;
}

port.on('message', async (request: WorkerRequest) => {
  if (request === 'stop') {
    isStopped = true;
    return;
  }
  isStopped = false;
  try {
    const trace = await loading;
    answer({
      kind: 'result',
      run: await runDesign(request.row, { ...request.config, trace }, () => performance.now(), poll),
    });
  } catch (error) {
    answer({ kind: 'error', message: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
});
