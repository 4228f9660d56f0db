// shootdown suites [DIR]: recorded test suites replayed, and how much of them this kernel answers as Linux did.

import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { InputError } from '../base/assert.ts';
import { findSuites } from '../workload/suites/case-files.ts';
import { casesOf } from '../workload/suites/cases.ts';
import { isFull } from '../workload/suites/run-case.ts';
import { runSuites } from '../workload/suites/run-suites.ts';
import { EXIT_FAILED, EXIT_INTERRUPTED, Interrupt, Progress } from './exit.ts';
import { integerOption } from './options.ts';
import { printSuites, suitesJson } from './suites-print.ts';

const BUNDLED = fileURLToPath(new URL('../../recordings/suites', import.meta.url));

interface Options {
  case?: string;
  workers?: number;
  all?: boolean;
  json?: boolean;
}

export function suitesCommand(setStatus: (status: number) => void): Command {
  return new Command('suites')
    .description('replay recorded test suites and count, by suite and by call, what Linux answered as well')
    .argument(
      '[dir]',
      'folder of NAME.strace, NAME.maps0, NAME.maps1 and cases.tsv, or of such folders (default: bundled)',
    )
    .option('--case <text>', 'only cases whose SUITE/NAME contains the text')
    .option('--workers <count>', 'worker threads (default: one a processor)', integerOption('--workers', 1, 256))
    .option('--all', 'list every case, not only those with a difference')
    .option('--json', 'machine-readable result')
    .action(async (dir: string | undefined, options: Options) => setStatus(await suites(dir ?? BUNDLED, options)));
}

async function suites(dir: string, options: Options): Promise<number> {
  const wanted = options.case ?? '';
  const cases = findSuites(dir)
    .flatMap(casesOf)
    .filter((c) => `${c.suite.name}/${c.name}`.includes(wanted));
  if (cases.length === 0) throw new InputError(`--case: no case of ${dir} contains "${wanted}"`);
  const interrupt = new Interrupt();
  const progress = new Progress();
  const begin = performance.now();
  const workers = options.workers ?? availableParallelism();
  const results = await runSuites(cases, {
    workers,
    progress: (done, total) => {
      progress.update('suites', done, total);
      return interrupt.poll();
    },
  }).finally(() => {
    progress.clear();
    interrupt.close();
  });
  const run = { directory: dir, total: cases.length, results, seconds: (performance.now() - begin) / 1000, workers };
  process.stdout.write(
    options.json === true ? `${JSON.stringify(suitesJson(run), null, 1)}\n` : printSuites(run, options.all === true),
  );
  if (results.length < cases.length) return EXIT_INTERRUPTED;
  const isGood = results.every((r) => isFull(r) && (r.determinism !== 'exact' || r.finalMaps !== 'different'));
  return isGood ? 0 : EXIT_FAILED;
}
