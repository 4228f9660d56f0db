// shootdown compare --matrix: every secondary MMU under every notifier design.

import { availableParallelism } from 'node:os';
import { InputError } from '../base/assert.ts';
import { formatDeviceMatrix } from '../report/device-matrix.ts';
import { allOperationNames, scenarioNamed } from '../workload/check/plan.ts';
import { cellsOf, runMatrix } from '../workload/matrix/matrix.ts';
import { EXIT_INTERRUPTED, Interrupt, Progress } from './exit.ts';

export interface MatrixCommand {
  readonly devices?: readonly string[];
  readonly designs?: readonly string[];
  readonly operation?: readonly string[];
  readonly seed: number;
  readonly seeds?: number;
  readonly executions?: number;
  readonly exhaustive?: boolean;
  readonly workers?: number;
  readonly json?: boolean;
}

/** Executions of an operation: for each seed of a sample, and at most of an exploration. */
const SAMPLE = 8;
const EXPLORATION = 20_000;
const SEEDS = 3;
const STEPS = 2_000;
/** Seeds of one run, at most. */
export const SEEDS_MAX = 10_000;

/** 0, also for unsafe cells: the matrix exists to show them. */
export async function compareMatrix(o: MatrixCommand): Promise<number> {
  const cells = cellsOf({
    ...(o.devices === undefined ? {} : { devices: o.devices }),
    ...(o.designs === undefined ? {} : { designs: o.designs }),
  });
  if (cells.length === 0) throw new InputError('compare --matrix: there is no device');
  const operations = o.operation ?? allOperationNames(false);
  for (const name of operations) scenarioNamed(name);
  const exhaustive = o.exhaustive === true;
  const seeds = Array.from({ length: o.seeds ?? SEEDS }, (_, i) => o.seed + i);
  const executions = o.executions ?? (exhaustive ? EXPLORATION : SAMPLE);
  const interrupt = new Interrupt();
  const progress = new Progress();
  try {
    const workers = Math.min(o.workers ?? availableParallelism(), cells.length);
    const options = { operations, seeds, executions, steps: STEPS, exhaustive };
    const done = await runMatrix(cells, options, workers, (cell, n, total) => {
      progress.update(`${cell.device} under ${cell.design}`, n, total);
      return interrupt.poll();
    });
    progress.clear();
    const result = { exhaustive, seeds: exhaustive ? [] : seeds, executions, operations, cells: done };
    const width = Math.min(140, process.stdout.columns ?? 100);
    process.stdout.write(
      o.json === true
        ? `${JSON.stringify(result, null, 1)}\n`
        : `${headOf(exhaustive, seeds, executions, operations.length)}\n\n${formatDeviceMatrix(done, (s) => `shootdown trace ${s}`, width)}`,
    );
    return interrupt.isStopped ? EXIT_INTERRUPTED : 0;
  } finally {
    progress.clear();
    interrupt.close();
  }
}

function headOf(exhaustive: boolean, seeds: readonly number[], executions: number, operations: number): string {
  const what = exhaustive
    ? `every execution (at most ${executions} of an operation)`
    : `seeds ${seeds[0]} to ${seeds[seeds.length - 1]}, ${executions} executions each`;
  return `Devices and designs: ${operations} operations, ${what}.`;
}
