// The matrix: every secondary MMU under every notifier design. Cells are independent of each other, so they run on as many processors
// as there are workers, and the result is the same on any number of them.

import { InputError } from '../../base/assert.ts';
import { DEVICES, deviceInfo } from '../../device/devices.ts';
import { DESIGNS, designInfo } from '../../notifier/designs.ts';
import { WorkerThreads } from '../parallel/worker-threads.ts';
import { DeafDevices, type MatrixCell, type MatrixOptions, runCell } from './cell.ts';

export interface MatrixPlan {
  /** Names; all when left out. */
  readonly devices?: readonly string[];
  readonly designs?: readonly string[];
}

export interface CellName {
  readonly device: string;
  readonly design: string;
}

/** To a worker: a cell. `stop` counts up to 1 when somebody stops everything. */
export interface MatrixStart {
  readonly options: Omit<MatrixOptions, 'goOn'>;
  readonly stop: Int32Array;
}
export type MatrixAnswer =
  | { readonly kind: 'cell'; readonly cell: MatrixCell }
  | { readonly kind: 'error'; readonly message: string; readonly isInput: boolean };

/** Told after each cell; true stops, with the cells done so far. */
export type MatrixProgress = (cell: MatrixCell, done: number, total: number) => Promise<boolean>;

/** The cells of the plan, row by row. Throws InputError for a name that does not exist. */
export function cellsOf(plan: MatrixPlan): CellName[] {
  const devices = plan.devices?.map((name) => deviceInfo(name).name) ?? DEVICES.map((d) => d.name);
  const designs = plan.designs?.map((name) => designInfo(name).name) ?? DESIGNS.map((d) => d.name);
  return devices.flatMap((device) => designs.map((design) => ({ device, design })));
}

/** Runs the cells, `workers` at a time (1: in this thread). In the order of `cells`; those that were not reached are left out. */
export async function runMatrix(
  cells: readonly CellName[],
  options: Omit<MatrixOptions, 'goOn'>,
  workers: number,
  progress: MatrixProgress,
): Promise<MatrixCell[]> {
  const done: (MatrixCell | undefined)[] = cells.map(() => undefined);
  let count = 0;
  const note = async (i: number, cell: MatrixCell): Promise<boolean> => {
    done[i] = cell;
    count++;
    return progress(cell, count, cells.length);
  };
  if (workers <= 1) {
    const deaf = new DeafDevices();
    for (const [i, { device, design }] of cells.entries()) {
      if (await note(i, runCell(device, design, options, deaf))) break;
    }
  } else await runParallel(cells, options, workers, note);
  return done.filter((cell) => cell !== undefined);
}

async function runParallel(
  cells: readonly CellName[],
  options: Omit<MatrixOptions, 'goOn'>,
  workers: number,
  note: (i: number, cell: MatrixCell) => Promise<boolean>,
): Promise<void> {
  const stop = new Int32Array(new SharedArrayBuffer(4));
  const start: MatrixStart = { options, stop };
  const count = Math.min(workers, cells.length);
  const module = new URL('./matrix-worker.js', import.meta.url);
  const threads = new WorkerThreads<MatrixAnswer>({ module, count, workerData: () => start });
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < cells.length && stop[0] === 0) {
      const i = next++;
      if (await note(i, cellOf(await threads.ask(cells[i]!)))) Atomics.store(stop, 0, 1);
    }
  };
  try {
    await Promise.all(Array.from({ length: count }, work));
  } finally {
    await threads.close();
  }
}

function cellOf(answer: MatrixAnswer): MatrixCell {
  if (answer.kind === 'cell') return answer.cell;
  throw answer.isInput ? new InputError(answer.message) : new Error(answer.message);
}
