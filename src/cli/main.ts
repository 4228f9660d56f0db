// The command line tool. Exit status: 0 the command did its job; 1 the thing under test failed; 2 bad usage or unusable
// input, with one clear line; 70 a fault of this tool.

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { InputError } from '../base/assert.ts';
import { bugsCommand } from './bugs.ts';
import { checkCommand } from './check.ts';
import { compareCommand } from './compare.ts';
import { conformanceCommand } from './conformance.ts';
import { designsCommand } from './designs.ts';
import { devicesCommand } from './devices.ts';
import { EXIT_INTERNAL, EXIT_USAGE } from './exit.ts';
import { initCommand } from './init.ts';
import { replayCommand } from './replay.ts';
import { suitesCommand } from './suites.ts';
import { traceCommand } from './trace.ts';

/** Runs one command; returns the exit status. `argv` without node and script. */
export async function main(argv: readonly string[]): Promise<number> {
  // A reader that has seen enough (`| head`) closes the pipe: the rest of the text has nowhere to go.
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
  });
  let status = 0;
  const setStatus = (s: number): void => {
    status = s;
  };
  const program = new Command('shootdown')
    .description('A Linux memory manager you can run, watch and interleave: MMU notifiers and secondary MMUs.')
    .version(version())
    .configureHelp({ helpWidth: 100 });
  program.addCommand(bugsCommand(setStatus));
  program.addCommand(checkCommand(setStatus));
  program.addCommand(compareCommand(setStatus));
  program.addCommand(conformanceCommand(setStatus));
  program.addCommand(designsCommand(setStatus));
  program.addCommand(devicesCommand(setStatus));
  program.addCommand(initCommand(setStatus));
  program.addCommand(replayCommand(setStatus));
  program.addCommand(suitesCommand(setStatus));
  program.addCommand(traceCommand(setStatus));
  for (const command of [program, ...program.commands]) {
    command.exitOverride();
    command.configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'shootdown: ')) });
  }
  try {
    await program.parseAsync([...argv], { from: 'user' });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EXIT_USAGE;
    if (error instanceof InputError) {
      process.stderr.write(`shootdown: ${error.message.replaceAll('\n', ' ')}\n`);
      return EXIT_USAGE;
    }
    process.stderr.write(`shootdown: internal error: ${error instanceof Error ? error.stack : String(error)}\n`);
    return EXIT_INTERNAL;
  }
}

/** The version in package.json, which lies two folders above in the sources and in what is published alike. */
function version(): string {
  const text = readFileSync(new URL('../../package.json', import.meta.url), 'utf8');
  return (JSON.parse(text) as { version: string }).version;
}
