// shootdown conformance DIR: does this kernel issue, call for call and callback for callback, what a real one was recorded issuing?

import { availableParallelism } from 'node:os';
import { Command } from 'commander';
import { InputError } from '../base/assert.ts';
import { LEVELS, type Level } from '../conformance/compare.ts';
import { runCases } from '../conformance/pool.ts';
import { type CaseFile, listCases } from '../conformance/read.ts';
import { summarize } from '../conformance/summary.ts';
import { conformanceJson, printDifference, printList, printTable } from './conformance-print.ts';
import { EXIT_FAILED, EXIT_INTERRUPTED, Interrupt, Progress } from './exit.ts';
import { integerOption, wordsOption } from './options.ts';

interface Options {
  level?: Level[];
  case?: string;
  show?: boolean;
  all?: boolean;
  json?: boolean;
  strict?: boolean;
  workers?: number;
}

export function conformanceCommand(setStatus: (status: number) => void): Command {
  return new Command('conformance')
    .description('run recordings of a real kernel again and compare results, maps, callbacks, events and residency')
    .argument('<directory...>', 'directories with NAME.ndjson or NAME.ndjson.gz files, or bundles of them')
    .option('--level <names>', `levels to judge: ${LEVELS.join(', ')}, or 1 to 5 (default: all)`, levelsOption)
    .option('--case <name>', 'only cases whose name has this in it (exact name first)')
    .option('--show', 'print the first difference of each case side by side, with the call that caused it')
    .option('--all', 'list the first difference of every diverging case and level')
    .option('--workers <n>', 'worker threads (default: one for each processor)', integerOption('--workers', 1, 64))
    .option('--strict', 'refuse damaged input')
    .option('--json', 'machine-readable result')
    .action(async (paths: string[], options: Options) => setStatus(await conformance(paths, options)));
}

function levelsOption(text: string): Level[] {
  const words = text.split(',').map((w) => (/^[1-5]$/.test(w.trim()) ? LEVELS[Number(w) - 1]! : w));
  return wordsOption('--level', LEVELS)(words.join(','));
}

function chosenCases(paths: readonly string[], name: string | undefined): CaseFile[] {
  const all = paths.flatMap(listCases);
  if (name === undefined) return all;
  const exact = all.filter((c) => c.name === name);
  const found = exact.length > 0 ? exact : all.filter((c) => c.name.includes(name));
  if (found.length === 0) throw new InputError(`--case: no case of ${paths.join(', ')} has "${name}" in its name`);
  return found;
}

async function conformance(paths: readonly string[], options: Options): Promise<number> {
  const levels = options.level ?? LEVELS;
  const files = chosenCases(paths, options.case);
  const workers = Math.min(options.workers ?? availableParallelism(), files.length);
  const interrupt = new Interrupt();
  const progress = new Progress();
  let reports: Awaited<ReturnType<typeof runCases>>;
  try {
    reports = await runCases(files, workers, (done, total) => {
      progress.update('conformance', done, total);
      return interrupt.poll();
    });
  } finally {
    progress.clear();
    interrupt.close();
  }
  const done = reports.filter((r) => r !== null);
  const damaged = done.flatMap((r) => r.problems.damaged);
  if (options.strict === true && damaged.length > 0) {
    const { file, lines, first } = damaged[0]!;
    throw new InputError(`${file}: ${lines} damaged lines, first "${first}"; expected records only (--strict)`);
  }
  const summary = summarize(
    done.map((r) => r.result),
    levels,
  );
  if (options.json === true) {
    process.stdout.write(`${JSON.stringify(conformanceJson(paths, summary, damaged), null, 1)}\n`);
  } else {
    if (options.show === true) for (const d of summary.diverging) process.stdout.write(printDifference(d));
    else if (options.all === true) process.stdout.write(printList(summary));
    process.stdout.write(printTable(summary, levels, damaged));
  }
  if (interrupt.isStopped) return EXIT_INTERRUPTED;
  return summary.diverging.length > 0 ? EXIT_FAILED : 0;
}
