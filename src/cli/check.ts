// shootdown check DRIVER: every interleaving of every memory-management operation with a device that the driver serves.

import { availableParallelism } from 'node:os';
import { Command } from 'commander';
import { runCheck } from '../author/check.ts';
import { driverPath, isShipped, shippedDrivers } from '../author/shipped.ts';
import { mistakeLine, type TypeMistake, typecheck } from '../author/typecheck.ts';
import { InputError } from '../base/assert.ts';
import { formatMatrix } from '../report/matrix.ts';
import { CHECK_DEFAULTS } from '../workload/check/check-operation.ts';
import { allOperationNames, scenarioNamed } from '../workload/check/plan.ts';
import type { CheckResult } from '../workload/check/results.ts';
import { OPERATIONS, PAIRS } from '../workload/operations/operations.ts';
import { loadScenario } from '../workload/scenario/file.ts';
import type { Scenario } from '../workload/scenario/scenario.ts';
import { EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, Interrupt, Progress } from './exit.ts';
import { integerOption } from './options.ts';

interface Options {
  operation?: string[];
  scenario?: string[];
  design?: string;
  executions: number;
  steps: number;
  seed: number;
  pairs: boolean;
  typecheck: boolean;
  workers?: number;
  showPassing?: boolean;
  first?: boolean;
  list?: boolean;
  json?: boolean;
}

export function checkCommand(setStatus: (status: number) => void): Command {
  const list = (text: string): string[] => text.split(',').map((w) => w.trim());
  return new Command('check')
    .description('check a driver against every interleaving with every memory-management operation')
    .argument('[driver]', 'a module (.ts, .mts, .js, .mjs) that exports a driver, or the name of a shipped one')
    .option('--operation <list>', 'only these operations (a+b: two at once); --list names them', list)
    .option('--scenario <file>', 'a scenario of your own (YAML, JSON, or a module) instead of the operations', list)
    .option('--design <name>', 'notifier design, where the driver is written for several')
    .option(
      '--executions <n>',
      'executions of one operation at most (of a pair in the whole list: a tenth)',
      integerOption('--executions', 1, 1e9),
      CHECK_DEFAULTS.executions,
    )
    .option('--steps <n>', 'steps of one execution at most', integerOption('--steps', 10, 1e6), CHECK_DEFAULTS.steps)
    .option('--seed <n>', 'seed of the random executions', integerOption('--seed', 0, 0xffffffff), CHECK_DEFAULTS.seed)
    .option('--no-pairs', 'leave out pairs of operations')
    .option(
      '--workers <n>',
      'operations at once (default: the processors, at most 8)',
      integerOption('--workers', 1, 64),
    )
    .option('--no-typecheck', 'check a TypeScript driver whatever its types')
    .option('--first', 'stop at the first violation')
    .option('--show-passing', 'also give a passing execution of each operation')
    .option('--list', 'list operations, pairs and shipped drivers')
    .option('--json', 'machine-readable result')
    .action(async (driver: string | undefined, options: Options) => {
      if (options.list === true) process.stdout.write(listing());
      else if (driver === undefined)
        throw new InputError('check: a driver is expected: a file, or one that --list names');
      else setStatus(await run(driver, options));
    });
}

/** Operations, pairs and drivers, a line each. */
function listing(): string {
  const width = Math.max(...OPERATIONS.map((o) => o.name.length));
  const operations = OPERATIONS.map((o) => `  ${o.name.padEnd(width)}  ${o.summary}`);
  const pairs = PAIRS.map(([a, b]) => `  ${a}+${b}`);
  const drivers = shippedDrivers().map((name) => `  ${name}`);
  return `${['Operations', ...operations, '', 'Pairs', ...pairs, '', 'Shipped drivers', ...drivers].join('\n')}\n`;
}

/** Scenario files: modules are loaded where the driver is, data is read here. */
export function readScenarios(paths: readonly string[]): {
  readonly modules: readonly string[];
  readonly scenarios: readonly Scenario[];
} {
  const isModule = (path: string): boolean => /\.m?[jt]s$/.test(path);
  return { modules: paths.filter(isModule), scenarios: paths.filter((p) => !isModule(p)).map(loadScenario) };
}

async function run(driver: string, options: Options): Promise<number> {
  const names = options.operation ?? (options.scenario === undefined ? allOperationNames(options.pairs) : []);
  for (const name of names) scenarioNamed(name);
  const sources = readScenarios(options.scenario ?? []);
  const typing = new AbortController();
  // Beside the exploration: mistakes of type, which make its result worthless, stop it.
  const path = driverPath(driver);
  const types =
    options.typecheck && !isShipped(driver)
      ? typecheck([path, ...sources.modules], typing.signal)
      : Promise.resolve([]);
  const interrupt = new Interrupt();
  const progress = new Progress();
  const mistyped = new AbortController();
  types.then(
    (mistakes) => mistakes.length > 0 && mistyped.abort(),
    () => {},
  );
  let result: CheckResult;
  let mistakes: readonly TypeMistake[];
  try {
    result = await runCheck({
      driver: path,
      scenarioModules: sources.modules,
      scenarios: [...names, ...sources.scenarios],
      design: options.design ?? null,
      options: {
        executions: options.executions,
        steps: options.steps,
        seed: options.seed,
        randomRuns: CHECK_DEFAULTS.randomRuns,
        showPassing: options.showPassing === true,
      },
      // Pairs are too large to be explored to the end: the whole list gives them a tenth.
      pairExecutions: options.operation === undefined ? Math.ceil(options.executions / 10) : options.executions,
      workers: options.workers ?? Math.min(8, availableParallelism()),
      signal: AbortSignal.any([interrupt.signal, mistyped.signal]),
      first: options.first === true,
      onProgress: (done, total, executions) =>
        progress.update(`check: ${executions.toLocaleString('en')} executions, operations`, done, total),
      now: () => performance.now(),
    });
    mistakes = await types;
  } finally {
    typing.abort();
    progress.clear();
    interrupt.close();
  }
  if (mistakes.length > 0) {
    for (const m of mistakes) process.stderr.write(`shootdown: ${mistakeLine(m)}\n`);
    process.stderr.write('shootdown: the types do not fit; --no-typecheck checks the driver all the same\n');
    return EXIT_USAGE;
  }
  const own = `${isShipped(driver) ? '' : ` --driver ${driver}`}${options.scenario?.length === 1 ? ` --scenario ${options.scenario[0]}` : ''}`;
  const command = (schedule: string): string => `shootdown trace ${schedule}${own}`;
  process.stdout.write(options.json === true ? `${JSON.stringify(result, null, 2)}\n` : formatCheck(result, command));
  if (interrupt.isStopped) return EXIT_INTERRUPTED;
  const isBad =
    result.operations.some((o) => o.verdict === 'violation') || result.lockFindings.some((f) => f.gap === null);
  return isBad ? EXIT_FAILED : 0;
}

function formatCheck(r: CheckResult, command: (schedule: string) => string): string {
  const width = Math.max(80, process.stdout.columns ?? 100);
  const head = `${r.driver} under ${r.design} (${r.device}), seed ${r.seed}\n\n`;
  const count = (verdict: string): number => r.operations.filter((o) => o.verdict === verdict).length;
  const tail = `${r.operations.length} operations in ${r.seconds.toFixed(1)} s: ${count('clean')} clean, ${count('violation')} violated, ${count('gap')} with a documented gap, ${count('not exercised')} not exercised.\n`;
  return head + formatMatrix(r, command, width) + tail;
}
