// npm run verify: the full sizes of what npm test runs small, and the figures that the documentation quotes. Each part's result
// is kept in .verify/, keyed by the sources it was made from, so that a run which was stopped goes on where it was.
//
//   npm run verify                 everything that is missing, then docs/figures.md and README's summary of it
//   npm run verify -- --only NAME  the parts with that in their names, then the sections of the page that are complete with them
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { figures, readmeFigures, readmeShared } from './figures.mjs';
import { build, install, root } from './prepare.mjs';

const SEEDS = 20;
/** Executions of one operation of `shootdown check` at most. */
const CHECK_EXECUTIONS = 20_000;
/** The matrix: executions of an operation for each seed of a sample, and at most of an exploration. */
const MATRIX = {
  seeds: 20,
  sample: 1,
  exploration: 1000,
  /** Those of which exploring comes to an end, for most devices. */
  explored: 'munmap,map-fixed,mprotect-ro,mremap-move,madv-dontneed,fork,swap-out,reclaim,migrate,exit',
  /** Of each operation at most, each device under its newest design. */
  everyOperation: 200,
};
/** Programs that each device shares, under its newest design and with half of their memory. */
const SHARED_PROGRAMS = ['mmap-copy', 'shm-queue', 'malloc-threads', 'java-gc', 'sort-threads'];
/** The soak: 10^6 operations. */
const SOAKS = 4;
const OPERATIONS_OF_A_SOAK = 250_000;
/** Steps of each long run of a device. */
const STEPS_OF_A_DEVICE = 1_000_000;
const PROGRAMS = join(root, 'recordings', 'programs');

/** @type {(directory: string, hash: import('node:crypto').Hash) => void} */
function hashTree(directory, hash) {
  for (const entry of readdirSync(directory, { withFileTypes: true }).sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) hashTree(path, hash);
    else hash.update(entry.name).update(readFileSync(path));
  }
}

/** @type {(args: string[]) => any} */
function cliJson(args) {
  const done = spawnSync(process.execPath, [join(root, 'bin', 'shootdown.mjs'), ...args, '--json'], {
    encoding: 'utf8',
    maxBuffer: 1 << 30,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (done.signal === 'SIGINT' || done.status === 130) process.exit(130);
  if (done.status !== 0 && done.status !== 1)
    throw new Error(`shootdown ${args.join(' ')}: exit status ${done.status}`);
  return JSON.parse(done.stdout);
}

/** @typedef {{ title: string, isPassed: boolean, seconds: number }} TestCase */

/** @type {(file: string, env: Record<string, string>) => { passed: number, failed: number, seconds: number }} */
function tests(file, env) {
  const { passed, failed, seconds } = testCases(file, env);
  return { passed, failed, seconds };
}

/** @type {(file: string, env: Record<string, string>) => { passed: number, failed: number, seconds: number, cases: TestCase[] }} */
function testCases(file, env) {
  const begin = Date.now();
  const vitest = join(root, 'node_modules', 'vitest', 'vitest.mjs');
  const args = [vitest, 'run', '--reporter=json', '--testTimeout=3600000', file];
  const done = spawnSync(process.execPath, args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 1 << 30,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (done.signal === 'SIGINT') process.exit(130);
  const report = JSON.parse(done.stdout.slice(done.stdout.indexOf('{')));
  const cases = report.testResults
    .flatMap((/** @type {any} */ f) => f.assertionResults)
    .map((/** @type {any} */ t) => ({
      title: t.fullName,
      isPassed: t.status === 'passed',
      seconds: (t.duration ?? 0) / 1000,
    }));
  const seconds = (Date.now() - begin) / 1000;
  return { passed: report.numPassedTests, failed: report.numFailedTests, seconds, cases };
}

/** Long runs of devices (test/support/soak.ts): the device's name, or null where a run's title begins with it, and the file. */
function deviceSoaks() {
  /** @type {{ device: string | null, name: string, file: string }[]} */
  const out = [];
  const room = join('src', 'device');
  for (const entry of readdirSync(join(root, room), { withFileTypes: true })) {
    const at = entry.isDirectory() ? join(room, entry.name) : room;
    const files = entry.isDirectory() ? readdirSync(join(root, at)) : [entry.name];
    for (const file of files.filter((f) => f.endsWith('soak.test.ts'))) {
      const name = entry.isDirectory() ? entry.name : file.replace('-soak.test.ts', '');
      out.push({ device: entry.isDirectory() ? entry.name : null, name, file: join(at, file) });
    }
  }
  return out;
}

/** One soak's runs: of titles "[device, ]design[, option]: N steps, SEED=S". @type {(device: string | null, file: string) => unknown} */
function deviceSoak(device, file) {
  const { cases, seconds } = testCases(file, { STEPS: String(STEPS_OF_A_DEVICE) });
  const runs = cases.flatMap(({ title, isPassed, seconds: s }) => {
    const match = /^(?:.* )??(\S.*): (\d+) steps/.exec(title);
    if (match === null) return [];
    const words = match[1]?.split(', ') ?? [];
    const name = device ?? words.shift();
    return [
      { device: name, design: words.shift(), option: words.join(', '), steps: Number(match[2]), isPassed, seconds: s },
    ];
  });
  return { runs, seconds };
}

install();
build();
const { DEVICES } = await import(new URL('../dist/device/devices.js', import.meta.url).href);
const { DESIGNS } = await import(new URL('../dist/notifier/designs.js', import.meta.url).href);

/** @type {{ name: string, run: () => unknown }[]} */
const parts = [];
for (const file of readdirSync(PROGRAMS).filter((f) => f.endsWith('.strace.gz'))) {
  parts.push({
    name: `replay ${file.replace('.strace.gz', '')}`,
    run: () => {
      const r = cliJson(['replay', join(PROGRAMS, file)]);
      const { calls, verified, learned, diverged, skipped, finalMaps, seconds } = r;
      return { calls, verified, learned, diverged, skipped, finalMaps, seconds };
    },
  });
}
parts.push({
  name: 'suites',
  run: () => {
    const { suites, calls } = cliJson(['suites']);
    return { suites, calls };
  },
});
for (let seed = 1; seed <= SEEDS; seed++) {
  parts.push({
    name: `compare seed ${seed}`,
    run: () =>
      cliJson(['compare', '--seed', String(seed), '--no-price']).designs.map((/** @type {any} */ d) => ({
        design: d.design,
        verdict: d.verdict,
        windows: d.windows,
        windowsOpen: d.windowsOpen,
        staleReads: d.staleReads,
        staleWrites: d.staleWrites,
        maxRefaults: d.maxRefaults,
        deviceState: d.deviceState,
        programState: d.programState.split(' ')[0],
        swappedPeak: d.swappedPeak,
        byProperty: d.byProperty,
      })),
  });
}
parts.push({ name: 'fuzz 100000 traces', run: () => tests('src/workload/fuzz.test.ts', { FUZZ_MUTANTS: '100000' }) });
parts.push({ name: 'data integrity', run: () => tests('test/data-integrity.test.ts', { OPS: '120000' }) });
parts.push({ name: 'interleaved memory', run: () => tests('test/interleaved-memory.test.ts', { WORLDS: '600' }) });
parts.push({ name: 'allocation failures', run: () => tests('test/alloc-failure.test.ts', { OPERATIONS: '100000' }) });
for (const file of ['test/device-data.test.ts']) {
  if (existsSync(join(root, file))) parts.push({ name: file, run: () => tests(file, { OPERATIONS: '100000' }) });
}

for (const seed of ['1', '100000', '200000', '300000']) {
  parts.push({
    name: `running kernel seed ${seed}`,
    run: () => tests('test/difftest/difftest.test.ts', { SEED: seed, OPERATIONS: '250000' }),
  });
}
for (let seed = 1; seed <= SOAKS; seed++) {
  const name = `soak, every count after each operation, ${OPERATIONS_OF_A_SOAK} operations, seed ${seed}`;
  const env = { SEED: String(seed), OPERATIONS: String(OPERATIONS_OF_A_SOAK) };
  parts.push({ name, run: () => tests('test/random-memory.test.ts', env) });
}
for (const { device, name, file } of deviceSoaks()) {
  parts.push({ name: `soak of a device: ${name}`, run: () => deviceSoak(device, file) });
}
parts.push({ name: 'conformance', run: () => cliJson(['conformance', ...oracles()]) });

const LAW = { PROGRAMS: '10000' };
parts.push({ name: 'explorer against enumeration', run: () => tests('src/explore/dpor.test.ts', LAW) });
parts.push({
  name: 'jobs against one explorer',
  run: () => tests('src/explore/coordinator.test.ts', { PROGRAMS: '2000' }),
});
for (const driver of modules('drivers')) {
  parts.push({
    name: `check ${driver}`,
    run: () => {
      const r = cliJson(['check', driver, '--executions', String(CHECK_EXECUTIONS)]);
      return { ...r, operations: r.operations.map(verdictRow) };
    },
  });
}
for (const driver of modules(join('drivers', 'wrong'))) {
  parts.push({
    name: `wrong ${driver}`,
    run: () => {
      const r = cliJson(['check', driver, '--first', '--no-pairs', '--executions', '3000']);
      const o = r.operations.find((/** @type {any} */ x) => x.verdict === 'violation');
      return { operation: o?.operation ?? null, violations: o?.violations ?? [], lockFindings: r.lockFindings };
    },
  });
}
const SAMPLE = ['--seeds', String(MATRIX.seeds), '--executions', String(MATRIX.sample)];
const EXPLORATION = ['--exhaustive', '--operation', MATRIX.explored, '--executions', String(MATRIX.exploration)];
/** Without variants. */
const MAIN_DESIGNS = DESIGNS.filter((/** @type {any} */ d) => d.variantOf === undefined)
  .map((/** @type {any} */ d) => d.name)
  .join();
/** @type {[string, string[]][]} */
const matrices = [
  ['matrix', SAMPLE],
  ['exhaustive matrix', EXPLORATION],
];
for (const [kind, options] of matrices) {
  for (const { name } of DEVICES) {
    const args = ['compare', '--matrix', '--device', name, '--designs', MAIN_DESIGNS, ...options];
    parts.push({ name: `${kind} ${name}`, run: () => cliJson(args).cells.map(cellRow) });
  }
}
for (const { name, designs } of DEVICES) {
  const newest = DESIGNS.filter(
    (/** @type {any} */ d) => d.variantOf === undefined && designs[d.name] !== undefined,
  ).at(-1);
  const bounds = ['--exhaustive', '--executions', String(MATRIX.everyOperation)];
  const args = ['compare', '--matrix', '--device', name, '--designs', newest.name, ...bounds];
  parts.push({ name: `newest matrix ${name}`, run: () => cliJson(args).cells.map(cellRow) });
}
for (const program of SHARED_PROGRAMS) {
  const trace = join(PROGRAMS, `${program}.strace.gz`);
  parts.push({
    name: `shared ${program}`,
    run: () => {
      const r = cliJson(['compare', trace, '--devices', 'all', '--newest']);
      const { peakFrames, frames, pinnedFrames } = r;
      const runs = r.designs.map((/** @type {any} */ d) => {
        const { design, verdict, deviceState, windows, windowsOpen, maxRefaults, swappedPeak, byProperty, data } = d;
        const programState = d.programState.split(' ')[0];
        const state = { deviceState, programState, data };
        return { design, verdict, ...state, windows, windowsOpen, maxRefaults, swappedPeak, byProperty };
      });
      return { peakFrames, frames, pinnedFrames, runs };
    },
  });
}
parts.push({ name: 'museum', run: () => cliJson(['bugs', '--all']).bugs });

/** Recordings of Linux 6.1 and 6.12. */
function oracles() {
  const folder = join(root, 'recordings', 'oracle');
  return readdirSync(folder)
    .filter((name) => /^linux-6\.(1|12)(-|$)/.test(name))
    .map((name) => join(folder, name));
}

/** Names of the modules in a folder. @type {(folder: string) => string[]} */
function modules(folder) {
  const files = readdirSync(join(root, folder)).filter((f) => f.endsWith('.ts'));
  return files.sort().map((f) => f.slice(0, -3));
}

/** @type {(c: any) => unknown} */
function cellRow({ device, design, verdict, operation, violation, gaps, ...c }) {
  const { operations, exhausted, exercised, executions, cut, price } = c;
  const found = violation === null ? null : { property: violation.property, tag: violation.tag };
  return { device, design, verdict, operation, found, gaps, operations, exhausted, exercised, executions, cut, price };
}

/** @type {(o: any) => unknown} */
function verdictRow({ operation, verdict, exhaustive, executions, cells }) {
  return { operation, verdict, exhaustive, executions, cells };
}

const hash = createHash('sha256');
for (const d of ['src', 'test', 'recordings', 'scripts', 'drivers', 'bugs']) hashTree(join(root, d), hash);
const state = join(root, '.verify', hash.digest('hex').slice(0, 16));
mkdirSync(state, { recursive: true });
const at = process.argv.indexOf('--only');
const only = at >= 0 ? (process.argv[at + 1] ?? '') : '';
/** @type {Record<string, any>} */
const results = {};
let done = 0;
for (const part of parts) {
  done++;
  const file = join(state, `${part.name.replace(/[^a-z0-9]+/gi, '-')}.json`);
  if (!existsSync(file)) {
    if (only !== '' && !part.name.includes(only)) continue;
    console.error(`${done}/${parts.length} ${part.name} ...`);
    writeFileSync(file, JSON.stringify(part.run()));
  }
  results[part.name] = JSON.parse(readFileSync(file, 'utf8'));
}
const names = parts.map((p) => p.name);
console.error(`${Object.keys(results).length} of ${parts.length} parts are done`);
const page = join(root, 'docs', 'figures.md');
const sizes = { seeds: SEEDS, checkExecutions: CHECK_EXECUTIONS, matrix: MATRIX };
writeFileSync(page, figures(readFileSync(page, 'utf8'), names, results, sizes));
console.error('wrote docs/figures.md: the sections whose parts are all done');
const readme = join(root, 'README.md');
/** Puts `text` between the comment and the next end mark in README.md. @type {(mark: string, text: string | null) => void} */
function writeReadme(mark, text) {
  if (text === null) return;
  const marks = new RegExp(`(<!-- ${mark} -->\\n)[\\s\\S]*?(<!-- end -->)`);
  const now = readFileSync(readme, 'utf8').replace(marks, (_, begin, end) => `${begin}${text}\n${end}`);
  writeFileSync(readme, now);
  console.error(`wrote what README.md says after "${mark}"`);
}
writeReadme('npm run verify', readmeFigures(names, results, CHECK_EXECUTIONS));
writeReadme('npm run verify, shared programs', readmeShared(names, results));
