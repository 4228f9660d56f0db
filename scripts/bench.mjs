// @ts-check
/**
 * `npm run bench [-- --only NAME] [--recordings DIR] [--write]`: builds what is missing, compiles the reference program with
 * gcc, and runs every bench/*.bench.mjs in a process of its own. JSON lines on stdout, everything else on stderr, with a
 * table of the figures that have a target at the end. --write puts the figures into docs/benchmarks.md, too.
 * Exit status: 0 whatever the speed; 1 if a benchmark crashes or the build fails; 2 for bad usage.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(fileURLToPath(import.meta.url), '../..');

/** @param {string} text */
const note = (text) => {
  process.stderr.write(`${text}\n`);
};

const USAGE = 'usage: npm run bench -- [--only NAME] [--recordings DIR] [--write]';

/** @returns {{ only: string | undefined, recordings: string, write: boolean }} */
function parseArguments() {
  /** @type {{ only: string | undefined, recordings: string, write: boolean }} */
  const options = { only: undefined, recordings: join(root, 'recordings'), write: false };
  const args = process.argv.slice(2);
  for (let i = 0; i < args.length; i++) {
    const name = args[i];
    if (name === '--write') {
      options.write = true;
      continue;
    }
    const value = args[++i];
    if (value === undefined || (name !== '--only' && name !== '--recordings')) {
      note(
        `bench: ${value === undefined ? `${name} needs a value or is unknown` : `unknown option ${name}`}\n${USAGE}`,
      );
      process.exit(2);
    }
    if (name === '--only') options.only = value;
    else options.recordings = resolve(value);
  }
  return options;
}

/**
 * @typedef {object} Result one JSON line
 * @property {string} name
 * @property {string} unit
 * @property {number} value
 * @property {{ name: string, value: number } | null} reference
 * @property {number | null} ratio
 * @property {number | null} target
 * @property {boolean | null} ok
 */

/** @param {Result} r */
const verdict = (r) => (r.ok === null ? '' : r.ok ? 'yes' : 'NO');

/** Figures that have a reference, as columns. @param {Result[]} results */
function table(results) {
  const rows = results
    .filter((r) => r.reference !== null)
    .map((r) => [
      r.name,
      String(r.value),
      r.unit,
      String(r.reference?.value),
      r.reference?.name ?? '',
      String(r.ratio),
      r.target === null ? '' : `< ${r.target}`,
      verdict(r),
    ]);
  if (rows.length === 0) return [];
  return [['figure', 'ours', 'unit', 'reference', 'of', 'ratio', 'target', 'met'], ...rows];
}

/** What has a target, and what it comes to. @param {Result[]} results */
function printSummary(results) {
  const rows = table(results.filter((r) => r.target !== null));
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]?.length ?? 0)));
  note('');
  for (const row of rows)
    note(
      row
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    );
  const held = results.filter((r) => r.ok !== null);
  const missed = held.filter((r) => r.ok === false);
  if (held.length > 0) note(`${held.length - missed.length} of ${held.length} targets met`);
}

/** @param {Result[]} results @param {string} command */
function writePage(results, command) {
  const [head = [], ...rows] = table(results);
  const line = (/** @type {string[]} */ cells) => `| ${cells.join(' | ')} |`;
  const alone = results.filter((r) => r.reference === null).map((r) => line([r.name, String(r.value), r.unit]));
  const machine = `${cpus().length} x ${cpus()[0]?.model.trim() ?? 'unknown CPU'}, ${Math.round(totalmem() / 2 ** 30)} GiB, ${process.platform} ${release().split('-')[0]}, Node.js ${process.version}`;
  const text = [
    '# Benchmarks',
    '',
    'Every figure is the least of several rounds; ours and its reference alternate within one run, so that a busy machine slows',
    'both. References: the same system calls on the running kernel, or a C loop (`bench/native`). Figures are reported, never',
    'asserted by a test. What each benchmark does stands at the head of its file under `bench/`.',
    '',
    `- Command: \`${command}\``,
    `- Machine: ${machine}`,
    `- Date: ${new Date().toISOString().slice(0, 10)}`,
    '',
    line(head),
    line(head.map(() => '---')),
    ...rows.map(line),
    '',
    'Figures without a reference:',
    '',
    line(['figure', 'value', 'unit']),
    line(['---', '---', '---']),
    ...alone,
    '',
  ].join('\n');
  writeFileSync(join(root, 'docs/benchmarks.md'), text);
  note('wrote docs/benchmarks.md');
}

/** Output of the step goes to stderr, so that stdout holds results only. @param {string} command @param {string[]} args */
function step(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (status !== 0) {
    note(`bench: ${command} ${args.join(' ')} failed${error ? `: ${error.message}` : ''}`);
    process.exit(1);
  }
}

function build() {
  if (!existsSync(join(root, 'node_modules'))) step('npm', ['ci']);
  if (existsSync(join(root, 'src'))) step('npx', ['tsc', '-p', 'tsconfig.build.json']);
}

/** @param {string} dir @returns {string | undefined} the compiled reference program */
function compileReference(dir) {
  const out = join(dir, 'hostref');
  const native = join(root, 'bench/native');
  const sources = readdirSync(native)
    .filter((name) => name.endsWith('.c'))
    .map((name) => join(native, name));
  if (process.platform !== 'linux') {
    note('SKIPPED: every reference figure, the host is not Linux');
    return undefined;
  }
  const { status, error } = spawnSync('gcc', ['-O2', '-std=gnu11', '-Wall', '-o', out, ...sources], {
    stdio: ['ignore', 2, 2],
  });
  if (error) {
    note(`SKIPPED: every reference figure, gcc cannot be run (${error.message})`);
    return undefined;
  }
  if (status !== 0) {
    note('bench: the reference program does not compile');
    process.exit(1);
  }
  return out;
}

const options = parseArguments();
build();
const dir = mkdtempSync(join(tmpdir(), 'shootdown-bench-'));
let crashed = 0;
/** @type {Result[]} */
const results = [];
try {
  const hostref = compileReference(dir);
  const args = ['--recordings', options.recordings];
  if (options.only !== undefined) args.push('--only', options.only);
  if (hostref) args.push('--hostref', hostref);
  const load = loadavg()[0] ?? 0;
  if (load > 0.5) note(`load ${load.toFixed(2)}: medians will be high, minima less so`);
  const files = readdirSync(join(root, 'bench')).filter((name) => name.endsWith('.bench.mjs'));
  for (const file of files.sort()) {
    note(`== ${file}`);
    const { status, signal, stdout } = spawnSync(
      process.execPath,
      ['--expose-gc', join(root, 'bench', file), ...args],
      {
        cwd: root,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    );
    process.stdout.write(stdout);
    for (const line of stdout.split('\n')) if (line.startsWith('{')) results.push(JSON.parse(line));
    if (status === 0) continue;
    note(`bench: ${file} crashed (${signal ?? `status ${status}`})`);
    crashed++;
  }
} finally {
  rmSync(dir, { recursive: true, force: true });
}
printSummary(results);
if (options.write) writePage(results, ['npm run bench --', ...process.argv.slice(2)].join(' '));
process.exit(crashed ? 1 : 0);
