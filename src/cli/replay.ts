// shootdown replay TRACE: what a recorded program does, and whether this kernel answers as Linux did.

import { Command } from 'commander';
import { InputError } from '../base/assert.ts';
import { PROFILES } from '../mm/profile.ts';
import { besideTrace, scanTrace } from '../workload/replay/load.ts';
import { type ReplayResult, runReplay } from '../workload/replay/run.ts';
import { TOUCH_POLICIES, type TouchPolicy } from '../workload/replay/touch.ts';
import { EXIT_FAILED, EXIT_INTERRUPTED, Interrupt, Progress } from './exit.ts';
import { integerOption, wordOption } from './options.ts';
import { printReplay, replayJson } from './replay-print.ts';

interface Options {
  kernel?: string;
  touch?: TouchPolicy;
  faults?: string;
  lackey?: string;
  maps0?: string;
  maps1?: string;
  memory: number;
  strict?: boolean;
  json?: boolean;
  all?: boolean;
}

export function replayCommand(setStatus: (status: number) => void): Command {
  const kernels = PROFILES.map((p) => p.name);
  return new Command('replay')
    .description("apply a recorded program's system calls and verify every result against the recorded one")
    .argument('<trace>', 'output of strace -f, plain or gzip; NAME.maps0 and NAME.maps1 beside it are used')
    .option(
      '--kernel <version>',
      `kernel profile: ${kernels.join(', ')} (default: from the recording)`,
      wordOption('--kernel', kernels),
    )
    .option(
      '--touch <policy>',
      `memory accesses: ${TOUCH_POLICIES.join(', ')} (default: sample)`,
      wordOption('--touch', TOUCH_POLICIES),
    )
    .option('--faults <file>', 'page faults of the same program (perf script); implies --touch faults')
    .option(
      '--lackey <file>',
      'memory references (valgrind lackey), streamed through the CPU TLB in a process of their own',
    )
    .option('--maps0 <file>', 'initial maps')
    .option('--maps1 <file>', 'final maps')
    .option('--memory <MiB>', 'simulated memory', integerOption('--memory', 1, 4096), 2048)
    .option('--strict', 'refuse damaged input')
    .option('--all', 'print every divergence')
    .option('--json', 'machine-readable result')
    .action(async (path: string, options: Options) => setStatus(await replay(path, options)));
}

async function replay(path: string, options: Options): Promise<number> {
  if (options.faults !== undefined && options.touch !== undefined && options.touch !== 'faults') {
    throw new InputError(`--faults: cannot be combined with --touch ${options.touch}`);
  }
  const faults = options.faults ?? (options.touch === 'faults' ? besideTrace(path, 'faults') : null);
  if (options.touch === 'faults' && faults === null)
    throw new InputError('--touch faults: no fault list; expected --faults FILE');
  const trace = await scanTrace(path, {
    strict: options.strict ?? false,
    initialMaps: options.maps0,
    finalMaps: options.maps1,
    faults,
  });
  const interrupt = new Interrupt();
  const progress = new Progress();
  let result: ReplayResult;
  try {
    result = await runReplay(
      trace,
      {
        kernel: options.kernel ?? null,
        touch: faults === null ? (options.touch ?? 'sample') : 'faults',
        frames: options.memory * 256,
        lackey: options.lackey ?? null,
        strict: options.strict ?? false,
        progress: (done, total) => {
          progress.update('replay', done, total);
          return interrupt.poll();
        },
      },
      () => performance.now(),
    );
  } finally {
    progress.clear();
    interrupt.close();
  }
  process.stdout.write(
    options.json === true
      ? `${JSON.stringify(replayJson(result, trace.problems), null, 1)}\n`
      : printReplay(result, trace.report, trace.problems, options.all === true),
  );
  if (interrupt.isStopped) return EXIT_INTERRUPTED;
  const isGood = result.tally.diverged === 0 && result.finalMaps !== 'different' && result.ended === null;
  return isGood ? 0 : EXIT_FAILED;
}
