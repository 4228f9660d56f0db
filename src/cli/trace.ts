// shootdown trace SCHEDULE: replays a counterexample and shows it: a timeline in the terminal, and files to step through it.

import { Command } from 'commander';
import { type Outcome, runIsolated, taskAt } from '../author/isolate.ts';
import { bugPath, driverPath, isShipped } from '../author/shipped.ts';
import type { TraceInput } from '../author/trace-task.ts';
import { InputError } from '../base/assert.ts';
import { DEVICES } from '../device/devices.ts';
import { type Counterexample, parseCounterexample } from '../explore/schedule-string.ts';
import { type ShownTrace, shownTrace } from '../report/counterexample.ts';
import { plainPaint, terminalPaint } from '../report/lanes.ts';
import { perfettoJson } from '../report/perfetto.ts';
import { stepperHtml } from '../report/stepper.ts';
import { timelineSvgFile } from '../report/svg.ts';
import { formatTimeline } from '../report/timeline.ts';
import { layoutTrace } from '../report/trace-layout.ts';
import { stuckFinding } from '../workload/guard/guarded-program.ts';
import type { RecordedRun } from '../workload/scenario/recorded-run.ts';
import { readScenarios } from './check.ts';
import { EXIT_FAILED, EXIT_INTERRUPTED, Interrupt, writeOutput } from './exit.ts';

interface Options {
  driver?: string;
  scenario?: string;
  svg?: string;
  html?: string;
  perfetto?: string;
  json?: boolean;
  allSteps?: boolean;
}

export function traceCommand(setStatus: (status: number) => void): Command {
  return new Command('trace')
    .description('replay a schedule that "shootdown check" found, and show what happens, step by step')
    .argument('<schedule>', 'the text of the schedule')
    .option('--driver <file>', 'module of the driver (or of the bug), where it is not a shipped one')
    .option('--scenario <file>', 'the scenario, where it is one of your own')
    .option('--all-steps', 'every step and every event, not the story alone')
    .option('--svg <file>', 'write the timeline as a drawing')
    .option('--html <file>', 'write a page that steps forward and back, with the state at each step')
    .option('--perfetto <file>', 'write trace events for ui.perfetto.dev')
    .option('--json', 'machine-readable result')
    .action(async (schedule: string, options: Options) => setStatus(await trace(schedule.trim(), options)));
}

/** Exit status 0: the schedule passes. 1: a property was violated. */
async function trace(schedule: string, options: Options): Promise<number> {
  const run = await recordedRun(schedule, options);
  if (run === null) return EXIT_INTERRUPTED;
  const shown = shownTrace(run, schedule);
  const layout = layoutTrace(shown, { hasAllSteps: options.allSteps === true });
  if (options.svg !== undefined) writeOutput('--svg', options.svg, timelineSvgFile(layout));
  if (options.html !== undefined) writeOutput('--html', options.html, stepperHtml(shown));
  if (options.perfetto !== undefined) writeOutput('--perfetto', options.perfetto, perfettoJson(shown, run));
  process.stdout.write(options.json === true ? `${JSON.stringify(shown, null, 1)}\n` : textOf(shown, options));
  return shown.finding === null ? 0 : EXIT_FAILED;
}

const WIDTH_DEFAULT = 100;
const WIDTH_MAX = 140;

function textOf(shown: ShownTrace, options: Options): string {
  const { columns, isTTY } = process.stdout;
  const width = Math.min(WIDTH_MAX, columns ?? WIDTH_DEFAULT);
  const hasColour = isTTY === true && process.env['NO_COLOR'] === undefined;
  const layout = layoutTrace(shown, { hasAllSteps: options.allSteps === true });
  return formatTimeline(layout, width, hasColour ? terminalPaint : plainPaint);
}

/** Replays in a worker of its own, for drivers are anybody's code. Null: interrupted. */
async function recordedRun(text: string, options: Options): Promise<RecordedRun | null> {
  const x = parseCounterexample(text);
  const module = options.driver === undefined && isDevice(x) ? null : (options.driver ?? shippedModule(x));
  const { modules, scenarios } = readScenarios(options.scenario === undefined ? [] : [options.scenario]);
  const interrupt = new Interrupt();
  try {
    const input: TraceInput = { text, scenarios, isDevice: module === null };
    const task = taskAt('author/trace-task.js');
    return resultOf(
      x,
      await runIsolated<RecordedRun>([...(module === null ? [] : [module]), ...modules], task, input, {
        signal: interrupt.signal,
      }),
    );
  } finally {
    interrupt.close();
  }
}

/** Is it of a secondary MMU of the package, which is no driver's module? */
function isDevice({ driver, bug }: Counterexample): boolean {
  return bug === '' && !isShipped(driver) && DEVICES.some((d) => d.name === driver);
}

/** The driver or museum entry that comes with this package. */
function shippedModule({ driver, bug }: Counterexample): string {
  if (bug !== '') return bugPath(bug);
  if (isShipped(driver)) return driverPath(driver);
  throw new InputError(`driver "${driver}" is not a shipped one; say --driver FILE`);
}

function resultOf(x: Counterexample, outcome: Outcome<RecordedRun>): RecordedRun | null {
  switch (outcome.kind) {
    case 'done':
      return outcome.result;
    case 'stopped':
      return null;
    case 'unusable':
      throw new InputError(outcome.message);
    case 'stuck':
      if (outcome.during === 'step') return stuckRun(x, outcome);
      throw new InputError(`${x.driver}: its module does not give control back${at(outcome.place)}`);
    case 'died':
      throw new InputError(`the driver ended the replay: ${outcome.message}`);
    case 'internal':
      throw new Error(outcome.stack);
  }
}

function at(place: string | null): string {
  return place === null ? '' : `; it stood at ${place}`;
}

/** A callback that never returns takes its steps with it; what is known is who it was. */
function stuckRun(x: Counterexample, { callback, seconds, place }: Outcome<never> & { kind: 'stuck' }): RecordedRun {
  return {
    scenario: x.operation,
    summary: '',
    driver: x.driver,
    design: x.design,
    threads: [],
    setup: [],
    waitsAtStart: [],
    steps: [],
    lockNames: {},
    findings: [stuckFinding(x.driver, callback, seconds, place)],
  };
}
