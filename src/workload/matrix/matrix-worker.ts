// A worker thread of the matrix: runs the cells that it is asked for.

import { parentPort, workerData } from 'node:worker_threads';
import { InputError } from '../../base/assert.ts';
import { DeafDevices, runCell } from './cell.ts';
import type { CellName, MatrixAnswer, MatrixStart } from './matrix.ts';

const port = parentPort!;
const { options, stop } = workerData as MatrixStart;
const deaf = new DeafDevices();

function answer(message: MatrixAnswer): void {
  port.postMessage(message);
}

port.on('message', ({ device, design }: CellName) => {
  try {
    const goOn = (): boolean => Atomics.load(stop, 0) === 0;
    answer({ kind: 'cell', cell: runCell(device, design, { ...options, goOn }, deaf) });
  } catch (error) {
    const isInput = error instanceof InputError;
    const message = error instanceof Error ? (isInput ? error.message : (error.stack ?? error.message)) : String(error);
    answer({ kind: 'error', message, isInput });
  }
});
