// The command line tool as a user starts it: node bin/shootdown.mjs in a process of its own.

import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
export const PROGRAMS = `${ROOT}recordings/programs`;
export const LACKEY = `${ROOT}recordings/lackey`;
const BIN = `${ROOT}bin/shootdown.mjs`;

/** Says "ready" on stderr when the tool begins to listen for Ctrl-C. */
const SAY_READY = `data:text/javascript,process.on('newListener',e=>{if(e==='SIGINT')process.stderr.write('ready\\n')})`;

export interface CliResult {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export function start(args: readonly string[], nodeArgs: readonly string[] = []): ChildProcess {
  if (!existsSync(`${ROOT}dist/cli/main.js`)) throw new Error('the tool is not built: npm run build');
  return spawn(process.execPath, [...nodeArgs, BIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
}

/** Collects what the process says until it ends. */
export function finished(child: ChildProcess): Promise<CliResult> {
  let stdout = '';
  let stderr = '';
  child.stdout!.on('data', (bytes) => (stdout += bytes));
  child.stderr!.on('data', (bytes) => (stderr += bytes));
  return new Promise((resolve) => child.on('close', (status) => resolve({ status, stdout, stderr })));
}

export function shootdown(...args: string[]): Promise<CliResult> {
  return finished(start(args));
}

/** Starts the tool and presses Ctrl-C `delayMs` after it began its work; stderr without the mark of that moment. */
export async function interrupted(delayMs: number, ...args: string[]): Promise<CliResult> {
  const child = start(args, ['--import', SAY_READY]);
  let isSent = false;
  child.stderr!.on('data', (bytes) => {
    if (isSent || !String(bytes).includes('ready')) return;
    isSent = true;
    setTimeout(() => child.kill('SIGINT'), delayMs);
  });
  const result = await finished(child);
  return { ...result, stderr: result.stderr.replace('ready\n', '') };
}
