// shootdown bugs [ID|FILE ...]: the museum. Without arguments its list; with them (or --all) each entry is looked for in its historic
// form, and for nothing in its fixed one.

import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { basename } from 'node:path';
import { Command } from 'commander';
import { runBugs } from '../author/bugs.ts';
import type { BugReport } from '../author/bugs-task.ts';
import { bugPath, museumFiles } from '../author/shipped.ts';
import { InputError } from '../base/assert.ts';
import { formatCount, formatTable, wrap } from '../report/table.ts';
import { BUG_DEFAULTS } from '../workload/museum/run-bug.ts';
import { EXIT_FAILED, EXIT_INTERRUPTED, Interrupt, Progress } from './exit.ts';
import { integerOption } from './options.ts';

interface Options {
  all?: boolean;
  executions: number;
  seed: number;
  workers?: number;
  json?: boolean;
}

export function bugsCommand(setStatus: (status: number) => void): Command {
  return new Command('bugs')
    .description('find historic bugs again, or bugs of your own, and show that their fixes hold')
    .argument('[bugs...]', 'ids or numbers of museum entries, or modules that export a bug')
    .option('--all', 'every entry of the museum')
    .option(
      '--executions <n>',
      'executions of each revision at most',
      integerOption('--executions', 1, 1e9),
      BUG_DEFAULTS.executions,
    )
    .option('--seed <n>', 'seed of the random executions', integerOption('--seed', 0, 0xffffffff), BUG_DEFAULTS.seed)
    .option('--workers <n>', 'bugs at once (default: the processors, at most 8)', integerOption('--workers', 1, 64))
    .option('--json', 'machine-readable result')
    .action(async (bugs: string[], options: Options) => setStatus(await run(bugs, options)));
}

/** Exit status 0: all is as the entries say. 1: a bug was not found, or a fix does not hold. */
async function run(bugs: readonly string[], options: Options): Promise<number> {
  if (bugs.length === 0 && options.all !== true) {
    process.stdout.write(list(options.json === true));
    return 0;
  }
  const modules = [...(options.all === true ? museumFiles() : []), ...bugs.map(moduleOf)];
  const interrupt = new Interrupt();
  const progress = new Progress();
  let reports: BugReport[];
  try {
    reports = await runBugs({
      modules,
      executions: options.executions,
      seed: options.seed,
      workers: options.workers ?? Math.min(8, availableParallelism()),
      signal: interrupt.signal,
      onProgress: (done) => progress.update('bugs', done, modules.length),
    });
  } finally {
    interrupt.close();
    progress.clear();
  }
  process.stdout.write(textOf(reports, modules.length, options.json === true));
  if (interrupt.isStopped) return EXIT_INTERRUPTED;
  return reports.every((r) => r.asTold) ? 0 : EXIT_FAILED;
}

/** A file by its path, else an entry of the museum. */
function moduleOf(name: string): string {
  if (existsSync(name)) return name;
  if (/[./\\]/.test(name)) throw new InputError(`${name}: there is no such file`);
  return bugPath(name);
}

/** Numbers and ids. */
function list(isJson: boolean): string {
  const entries = museumFiles().map((path) => {
    const [, number, id] = /^(\d+)-(.*)\.ts$/.exec(basename(path))!;
    return { number: Number(number), id: id!, file: path };
  });
  if (isJson) return `${JSON.stringify({ entries }, null, 2)}\n`;
  const lines = entries.map((e) => `${String(e.number).padStart(3)}  ${e.id}`);
  return `${lines.join('\n')}\n\nshootdown bugs ID runs one, shootdown bugs --all runs them all.\n`;
}

function textOf(reports: readonly BugReport[], asked: number, isJson: boolean): string {
  if (isJson) return `${JSON.stringify({ bugs: reports }, null, 2)}\n`;
  const width = Math.min(120, process.stdout.columns ?? 100);
  return asked === 1 && reports.length === 1 ? formatOne(reports[0]!, width) : formatMany(reports, width);
}

function fixedText(r: BugReport): string {
  if (r.fixedVerdict === 'violation') return 'VIOLATED';
  return r.fixedExhaustive
    ? `clean, all ${formatCount(r.fixedExecutions)}`
    : `clean in ${formatCount(r.fixedExecutions)}`;
}

function formatMany(reports: readonly BugReport[], width: number): string {
  const table = formatTable(
    {
      columns: [
        { title: '', align: 'right' },
        { title: 'bug', align: 'left' },
        { title: 'found', align: 'left' },
        { title: 'steps', align: 'right' },
        { title: 'story', align: 'right' },
        { title: 'switches', align: 'right' },
        { title: 'executions', align: 'right' },
        { title: 'fixed form', align: 'left' },
        { title: 'seconds', align: 'right' },
      ],
      rows: reports.map((r) => [
        r.number === null ? '' : String(r.number),
        r.id,
        r.property === null ? `NOT FOUND (${r.expectedProperty})` : `${r.property} ${r.propertyId}`,
        String(r.steps ?? ''),
        String(r.storySteps ?? ''),
        String(r.switches ?? ''),
        formatCount(r.executions),
        fixedText(r),
        r.seconds.toFixed(1),
      ]),
    },
    width,
  );
  const asTold = reports.filter((r) => r.asTold).length;
  return `${table}\n${asTold} of ${reports.length} as told.\n`;
}

function formatOne(r: BugReport, width: number): string {
  const lines = [r.number === null ? r.title : `${r.number}. ${r.title}`, ''];
  for (const line of r.story.split('\n')) lines.push(...(line === '' ? [''] : wrap(line, width)));
  lines.push('');
  if (r.sentence === null) {
    lines.push(`NOT FOUND: no ${r.expectedProperty} in ${formatCount(r.executions)} executions of the historic form.`);
  } else {
    lines.push(
      `Found: ${r.property} (${r.propertyId}) after ${formatCount(r.executions)} executions, in ${r.steps} steps and ` +
        `${r.switches} context switches; ${r.storySteps} of its events are the story.`,
      ...wrap(r.sentence, width),
      `shootdown trace ${r.schedule}`,
    );
  }
  lines.push('', `Fixed form: ${fixedText(r)} executions.`);
  if (r.fixedSentence !== null) lines.push(...wrap(r.fixedSentence, width), `shootdown trace ${r.fixedSchedule}`);
  for (const o of r.others) {
    const verdict = o.found ? 'found' : 'clean';
    const surprise = verdict === o.expected ? '' : ` (expected: ${o.expected})`;
    lines.push(`${o.revision}: ${verdict}${surprise}: ${o.what}.`);
  }
  return `${lines.join('\n')}\n`;
}
