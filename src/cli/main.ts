// The command line tool. Exit status: 0 the command did its job; 1 the thing under test failed; 2 bad usage or unusable
// input, with one clear line.

import { Command, CommanderError } from 'commander';
import { InputError } from '../base/assert.ts';
import { compareCommand } from './compare.ts';
import { EXIT_USAGE } from './exit.ts';
import { replayCommand } from './replay.ts';

/** Runs one command; returns the exit status. `argv` without node and script. */
export async function main(argv: readonly string[]): Promise<number> {
  let status = 0;
  const setStatus = (s: number): void => {
    status = s;
  };
  const program = new Command('shootdown')
    .description('A Linux memory manager you can run, watch and interleave: MMU notifiers and secondary MMUs.')
    .configureHelp({ helpWidth: 100 });
  program.addCommand(compareCommand(setStatus));
  program.addCommand(replayCommand(setStatus));
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
    throw error;
  }
}
