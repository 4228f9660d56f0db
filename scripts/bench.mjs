// @ts-check
/**
 * `npm run bench [-- --only NAME] [--recordings DIR]`: builds what is missing, compiles the reference program with gcc, and
 * runs every bench/*.bench.mjs in a process of its own. JSON lines on stdout, everything else on stderr.
 * Exit status: 0 whatever the speed; 1 if a benchmark crashes or the build fails; 2 for bad usage.
 */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(fileURLToPath(import.meta.url), '../..');

/** @param {string} text */
const note = (text) => {
  process.stderr.write(`${text}\n`);
};

const USAGE = 'usage: npm run bench -- [--only NAME] [--recordings DIR]';

/** @returns {{ only: string | undefined, recordings: string }} */
function parseArguments() {
  /** @type {{ only: string | undefined, recordings: string }} */
  const options = { only: undefined, recordings: join(root, 'recordings') };
  const args = process.argv.slice(2);
  for (let i = 0; i < args.length; i += 2) {
    const value = args[i + 1];
    if (value === undefined || (args[i] !== '--only' && args[i] !== '--recordings')) {
      note(
        `bench: ${value === undefined ? `${args[i]} needs a value or is unknown` : `unknown option ${args[i]}`}\n${USAGE}`,
      );
      process.exit(2);
    }
    if (args[i] === '--only') options.only = value;
    else options.recordings = resolve(value);
  }
  return options;
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
    const { status, signal } = spawnSync(process.execPath, ['--expose-gc', join(root, 'bench', file), ...args], {
      cwd: root,
      stdio: ['ignore', 'inherit', 'inherit'],
    });
    if (status === 0) continue;
    note(`bench: ${file} crashed (${signal ?? `status ${status}`})`);
    crashed++;
  }
} finally {
  rmSync(dir, { recursive: true, force: true });
}
process.exit(crashed ? 1 : 0);
