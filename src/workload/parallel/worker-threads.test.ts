import { expect, it } from 'vitest';
import { WorkerThreads } from './worker-threads.ts';

/** Echoes with its number; counts to `steps` before, until told to stop; throws or ends when asked to. */
const PROGRAM = `
import { parentPort, workerData } from 'node:worker_threads';
let isStopped = false;
parentPort.on('message', async (m) => {
  if (m === 'stop') { isStopped = true; return; }
  isStopped = false;
  if (m.fails) throw new Error('broken thread');
  if (m.ends) process.exit(7);
  for (let i = 1; i <= (m.steps ?? 0) && !isStopped; i++) {
    parentPort.postMessage({ step: i });
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  parentPort.postMessage({ value: m.value, thread: workerData, isStopped });
});`;

interface Answer {
  readonly step?: number;
  readonly value?: number;
  readonly thread?: number;
  readonly isStopped?: boolean;
}

function threads(count: number): WorkerThreads<Answer> {
  return new WorkerThreads<Answer>({
    module: new URL(`data:text/javascript,${encodeURIComponent(PROGRAM)}`),
    count,
    workerData: (number) => number,
    isLast: (answer) => answer.step === undefined,
  });
}

it('every request is answered, by all threads, with its own answer', async () => {
  const pool = threads(3);
  const answers = await Promise.all(Array.from({ length: 40 }, (_, value) => pool.ask({ value, steps: 2 })));
  expect(answers.map((a) => a.value)).toEqual(Array.from({ length: 40 }, (_, i) => i));
  expect(new Set(answers.map((a) => a.thread)).size).toBe(3);
  expect(pool.idle).toBe(3);
  await pool.close();
});

it('messages before the last come in order, and one back stops the request, not the next one', async () => {
  const pool = threads(1);
  const steps: (number | undefined)[] = [];
  const first = pool.ask({ value: 1, steps: 100_000 }, async (message, send) => {
    steps.push(message.step);
    // Late: a message that comes when the request is over goes nowhere.
    if (message.step === 3) send('stop');
    if (message.step === undefined) send('stop');
  });
  const second = pool.ask({ value: 2, steps: 5 });
  expect(await first).toMatchObject({ value: 1, isStopped: true });
  expect(steps.slice(0, 3)).toEqual([1, 2, 3]);
  expect(steps.at(-1)).toBeUndefined();
  expect(await second).toMatchObject({ value: 2, isStopped: false });
  await pool.close();
});

it.each([
  ['throws', { fails: true }, 'broken thread'],
  ['ends by itself', { ends: true }, 'ended with status 7'],
])('a thread that %s fails every request, later ones too', async (_name, request, message) => {
  const pool = threads(1);
  const all = await Promise.allSettled([pool.ask(request), pool.ask({ value: 1 })]);
  for (const result of all) expect(String((result as PromiseRejectedResult).reason)).toContain(message);
  await expect(pool.ask({ value: 2 })).rejects.toThrow(message);
  await pool.close();
});

it('what the caller throws at a message fails its request alone', async () => {
  const pool = threads(1);
  const failed = pool.ask({ value: 1, steps: 3 }, () => {
    throw new Error('no room');
  });
  await expect(failed).rejects.toThrow('no room');
  expect(await pool.ask({ value: 2 })).toMatchObject({ value: 2 });
  await pool.close();
});
