// shootdown compare [TRACE]: what each notifier design costs and allows, for one recorded program with one device.

import { accessSync, constants, existsSync, statSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command } from 'commander';
import { InputError } from '../base/assert.ts';
import { DEVICES } from '../device/devices.ts';
import { PROFILES } from '../mm/profile.ts';
import { type Comparison, compare } from '../workload/compare/compare.ts';
import { WorkerPool } from '../workload/compare/parallel.ts';
import { COMPARE_ROWS, type CompareRow, deviceRows } from '../workload/compare/rows.ts';
import { besideTrace, loadTrace } from '../workload/replay/load.ts';
import { TOUCH_POLICIES, type TouchPolicy } from '../workload/replay/touch.ts';
import { compareMatrix, SEEDS_MAX } from './compare-matrix.ts';
import { compareHtml, compareJson, printCompare } from './compare-print.ts';
import { EXIT_FAILED, EXIT_INTERRUPTED, Interrupt, Progress, writeOutput } from './exit.ts';
import { integerOption, shareOption, wordOption, wordsOption } from './options.ts';

/** The recording that `compare` uses without an argument: a Tcl interpreter at work on lists, strings and pipelines. */
const BUNDLED = fileURLToPath(new URL('../../recordings/programs/tcl-lists.strace.gz', import.meta.url));

interface Options {
  seed: number;
  memory: number;
  kernel?: string;
  touch?: TouchPolicy;
  faults?: string;
  designs?: string[];
  budget?: number;
  engines?: number;
  device?: string[];
  devices?: string[];
  newest?: boolean;
  matrix?: boolean;
  exhaustive?: boolean;
  operation?: string[];
  seeds?: number;
  executions?: number;
  failOn?: string[];
  html?: string;
  price: boolean;
  workers?: number;
  strict?: boolean;
  json?: boolean;
}

export function compareCommand(setStatus: (status: number) => void): Command {
  const kernels = PROFILES.map((p) => p.name);
  const rows = COMPARE_ROWS.map((r) => r.name);
  const devices = DEVICES.map((d) => d.name);
  const listOf = (text: string): string[] => text.split(',').map((w) => w.trim());
  return new Command('compare')
    .description('run a recorded program with a device that shares its memory once for each notifier design')
    .argument('[trace]', 'output of strace -f, plain or gzip (default: a bundled recording)')
    .option('--seed <n>', 'seed of scheduler and device', integerOption('--seed', 0, 0xffffffff), 1)
    .option('--memory <share>', "memory, as a share of the program's own peak", shareOption('--memory', 16), 0.5)
    .option(
      '--kernel <version>',
      `kernel profile: ${kernels.join(', ')} (default: from the recording)`,
      wordOption('--kernel', kernels),
    )
    .option('--touch <policy>', `memory accesses: ${TOUCH_POLICIES.join(', ')}`, wordOption('--touch', TOUCH_POLICIES))
    .option('--faults <file>', 'page faults of the same program (default: beside the trace, else --touch populate)')
    .option('--designs <list>', `rows to run: ${rows.join(', ')}; with a device or --matrix: designs`, listOf)
    .option('--device <name>', `the secondary MMU: ${devices.join(', ')}`, wordsOption('--device', devices))
    .option('--devices <list>', 'several of them, each under each of its designs; or "all"', devicesOption(devices))
    .option('--newest', 'with a device: only the newest design that it has a driver for')
    .option('--matrix', 'no program: every device under every design, each operation interleaved with it')
    .option('--exhaustive', 'with --matrix: explore every execution instead of sampling')
    .option('--operation <list>', 'with --matrix: only these operations (a+b: two at once)', listOf)
    .option('--seeds <n>', 'with --matrix: seeds of a sample (default: 3)', integerOption('--seeds', 1, SEEDS_MAX))
    .option(
      '--executions <n>',
      'with --matrix: executions of an operation, for each seed or of the exploration',
      integerOption('--executions', 1, 1e9),
    )
    .option('--budget <n>', 'refaults for one access before the device fails', integerOption('--budget', 1, 1_000_000))
    .option('--engines <n>', 'accesses that the device has in flight', integerOption('--engines', 1, 8))
    .option('--fail-on <list>', 'exit status 1 when one of these rows is unsafe', listOf)
    .option('--workers <n>', 'runs at once (default: the processors, at most 4)', integerOption('--workers', 1, 64))
    .option('--no-price', 'do not look for the least memory in which pinned completes')
    .option('--html <file>', 'write a self-contained report')
    .option('--strict', 'refuse damaged input')
    .option('--json', 'machine-readable result')
    .action(async (path: string | undefined, options: Options) => setStatus(await runCommand(path, options)));
}

async function runCommand(path: string | undefined, options: Options): Promise<number> {
  const devices = [...(options.device ?? []), ...(options.devices ?? [])];
  if (options.matrix !== true) {
    for (const name of ['exhaustive', 'operation', 'seeds', 'executions'] as const)
      if (options[name] !== undefined) throw new InputError(`--${name}: only with --matrix`);
    if (options.newest === true && devices.length === 0)
      throw new InputError('--newest: only with --device or --devices');
    return run(path ?? BUNDLED, options, rowsFor(devices, options.designs, options.newest), devices.length > 0);
  }
  if (options.newest === true) throw new InputError('--newest: not with --matrix');
  if (path !== undefined) throw new InputError(`--matrix: takes no recording, not "${path}"`);
  return compareMatrix({ ...options, ...(devices.length === 0 ? {} : { devices }) });
}

/** What is run: the shared-table IOMMU with its drivers, or each device under each of its designs beside pinned pages. Throws
 *  InputError for a row that does not exist. */
function rowsFor(devices: readonly string[], designs: readonly string[] | undefined, newest = false): CompareRow[] {
  const all = devices.length === 0 ? COMPARE_ROWS : deviceRows(devices, newest);
  if (designs === undefined) return all.filter((r) => r.isVariant !== true);
  return designs.flatMap((name) => {
    const found = all.filter((r) => r.name === name || (devices.length > 0 && r.design === name));
    if (found.length === 0)
      throw new InputError(`--designs: "${name}" is not one of ${all.map((r) => r.name).join(', ')}`);
    return found;
  });
}

/** A comma-separated list of devices; "all" is each of them. */
function devicesOption(names: readonly string[]): (text: string) => string[] {
  const list = wordsOption('--devices', names);
  return (text) => (text === 'all' ? [...names] : list(text));
}

/** `watchesData`: is the data of program and device compared too? */
async function run(path: string, options: Options, rows: readonly CompareRow[], watchesData: boolean): Promise<number> {
  const unknown = options.failOn?.find((name) => !rows.some((r) => r.name === name));
  if (unknown !== undefined)
    throw new InputError(`--fail-on: "${unknown}" is not one of ${rows.map((r) => r.name).join(', ')}`);
  if (options.faults !== undefined && options.touch !== undefined && options.touch !== 'faults')
    throw new InputError(`--faults: cannot be combined with --touch ${options.touch}`);
  if (options.html !== undefined) checkWritable(options.html);
  const beside =
    options.faults ?? (options.touch === undefined || options.touch === 'faults' ? besideTrace(path, 'faults') : null);
  if (options.touch === 'faults' && beside === null)
    throw new InputError('--touch faults: no fault list; expected --faults FILE');
  const loadOptions = { strict: options.strict ?? false, faults: beside };
  const trace = await loadTrace(path, loadOptions);
  const pool = new WorkerPool(options.workers ?? Math.min(4, availableParallelism()), { path, options: loadOptions });
  const interrupt = new Interrupt();
  const progress = new Progress();
  let result: Comparison;
  try {
    const engines = options.engines ?? 8;
    result = await compare(
      {
        trace,
        kernel: options.kernel ?? null,
        touch: beside !== null ? 'faults' : (options.touch ?? 'populate'),
        seed: options.seed,
        memoryShare: options.memory,
        rows,
        device: {
          ats: { engines, ...(options.budget === undefined ? {} : { refaultBudget: options.budget }) },
          pinned: { engines },
          mirror: { engines },
        },
        watchesData,
        priceOfPinning: options.price,
        execute: pool.execute,
        progress: (label, done, total) => {
          progress.update(label, done, total);
          return interrupt.poll();
        },
      },
      () => performance.now(),
    );
  } finally {
    progress.clear();
    interrupt.close();
    await pool.close();
  }
  if (options.html !== undefined) writeOutput('--html', options.html, compareHtml(result));
  process.stdout.write(options.json === true ? compareJson(result) : printCompare(result));
  if (interrupt.isStopped) return EXIT_INTERRUPTED;
  const failing = result.runs.filter((r) => options.failOn?.includes(r.row.name) && r.results?.verdict === 'unsafe');
  return failing.length > 0 ? EXIT_FAILED : 0;
}

/** Finds out before minutes of work that the report could not be written. Leaves a file as it is. */
function checkWritable(path: string): void {
  try {
    if (existsSync(path) && statSync(path).isDirectory()) throw new InputError(`--html: ${path} is a directory`);
    accessSync(existsSync(path) ? path : dirname(path), constants.W_OK);
  } catch (error) {
    if (error instanceof InputError) throw error;
    throw new InputError(`--html: cannot write ${path}: ${(error as Error).message}`);
  }
}
