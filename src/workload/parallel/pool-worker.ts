// A worker of an exploration: makes the program once, then does the jobs that it is given.

import { parentPort, workerData } from 'node:worker_threads';
import { StepError } from '../../explore/dpor.ts';
import { JobRunner } from '../../explore/job-runner.ts';
import type { Program } from '../../explore/world.ts';
import { FLAG_SHARE, FLAG_STOP, type WorkerAnswer, type WorkerJob, type WorkerStart } from './pool.ts';

const { source, options, flags, number } = workerData as WorkerStart;
const port = parentPort!;
const REPORT_MS = 200;

function answer(message: WorkerAnswer): void {
  port.postMessage(message);
}

async function makeProgram(): Promise<Program> {
  const module = (await import(source.module)) as Record<string, (argument: unknown) => Program | Promise<Program>>;
  const make = module[source.export];
  if (make === undefined) throw new Error(`${source.module} exports no ${source.export}`);
  return await make(source.argument);
}

function work(program: Program, { id, job }: WorkerJob): void {
  const runner = new JobRunner(program, id, job, options);
  let due = performance.now() + REPORT_MS;
  while (runner.next()) {
    const flag = Atomics.load(flags, number);
    if (flag === FLAG_STOP) {
      answer({ kind: 'report', report: runner.report('stop') });
      return;
    }
    if (flag === FLAG_SHARE && runner.canShare()) {
      // Others may be asked until the coordinator has seen the report.
      Atomics.store(flags, number, 0);
      answer({ kind: 'report', report: runner.report('share') });
    } else if (performance.now() > due) {
      due = performance.now() + REPORT_MS;
      answer({ kind: 'report', report: runner.report('go on') });
    }
  }
  answer({ kind: 'report', report: runner.report('go on') });
}

const making = makeProgram();
port.on('message', async (job: WorkerJob) => {
  try {
    work(await making, job);
  } catch (error) {
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    answer({ kind: 'error', message, schedule: error instanceof StepError ? error.schedule : null });
  }
});
making.catch(() => {
  // Told with the first job.
});
