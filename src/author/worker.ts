// The worker in which an author's modules live: imports them, then runs the task. Every way in which that can fail is one message.

import { pathToFileURL } from 'node:url';
import { parentPort, workerData } from 'node:worker_threads';
import { InputError } from '../base/assert.ts';
import { Heart, PHASE_IMPORT } from '../workload/guard/heart.ts';
import { packageEntries } from './entries.ts';
import type { WorkerMessage, WorkerStart } from './isolate.ts';
import { errorLine, nearPath, placeOf } from './place.ts';
import type { AuthorModule, Task } from './task.ts';

const port = parentPort!;
const start = workerData as WorkerStart;
const heart = new Heart(start.heart);
const files = new Set(start.files);

/** What the engine says of a name that a module imports in vain. */
const MISSING_EXPORT = /The requested module '([^']+)' does not provide an export named '([^']+)'/;

/** The name by which an author imports this package's file. */
function entryName(url: string): string {
  for (const [name, { code }] of packageEntries()) if (pathToFileURL(code).href === url) return `"${name}"`;
  return `"${url}"`;
}

function send(message: WorkerMessage): void {
  port.postMessage(message);
}

async function importModules(): Promise<readonly AuthorModule[] | null> {
  const before = heart.enter(PHASE_IMPORT);
  try {
    const all = (await import(start.bundle)) as Record<string, Record<string, unknown>>;
    return start.entries.map((path, i) => ({ path, exports: all[`m${i}`]! }));
  } catch (error) {
    const place = placeOf(error, files) ?? start.entries.map(nearPath).join(', ');
    const missing = MISSING_EXPORT.exec(errorLine(error));
    const what =
      missing === null
        ? `the module threw while it was imported: ${errorLine(error)}`
        : `${entryName(missing[1]!)} has no export ${missing[2]}`;
    send({ kind: 'unusable', message: `${place}: ${what}` });
    return null;
  } finally {
    heart.leave(before);
  }
}

/** The explorer wraps what a step throws: it says at which step. Unusable input is so at any. */
function inputErrorOf(error: unknown): InputError | null {
  for (let e = error; e instanceof Error; e = e.cause) if (e instanceof InputError) return e;
  return null;
}

async function main(): Promise<void> {
  process.setSourceMapsEnabled(true);
  Error.stackTraceLimit = 40;
  const modules = await importModules();
  if (modules === null) return;
  try {
    const { run } = (await import(start.task)) as { run: Task<unknown, unknown> };
    const host = {
      heart,
      progress: (message: unknown) => send({ kind: 'progress', message }),
      placeOf: (error: unknown) => placeOf(error, files),
    };
    send({ kind: 'done', result: await run(modules, start.input, host) });
  } catch (error) {
    const input = inputErrorOf(error);
    if (input !== null) send({ kind: 'unusable', message: input.message });
    else send({ kind: 'internal', stack: error instanceof Error ? (error.stack ?? error.message) : String(error) });
  }
}

await main();
