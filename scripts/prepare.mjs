// Makes a fresh clone ready: installs what the lock file names when it is missing or other, and builds when sources changed.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = fileURLToPath(new URL('..', import.meta.url));

/** Throws one line that names the command: what went wrong, the command itself has said.
 * @type {(command: string, args: string[]) => void} */
function run(command, args) {
  const done = spawnSync(command, args, { cwd: root, stdio: ['ignore', 2, 2] });
  if (done.status !== 0) throw new Error(`failed: ${command} ${args.join(' ')}`, { cause: done.error });
}

/** Installs the dependencies of the lock file, with those for development. */
export function install() {
  const lock = readFileSync(join(root, 'package-lock.json'), 'utf8');
  const marker = join(root, 'node_modules', '.installed-lock.json');
  if (existsSync(marker) && readFileSync(marker, 'utf8') === lock) return;
  if (existsSync(join(root, 'node_modules', 'typescript')) && !existsSync(marker)) {
    // Installed by hand: trust it, remember the lock file.
    writeFileSync(marker, lock);
    return;
  }
  console.error('installing dependencies (npm ci) ...');
  run('npm', ['ci', '--include=dev', '--no-audit', '--no-fund', '--loglevel=error']);
  writeFileSync(marker, lock);
}

/** @type {(directory: string, matches: (name: string) => boolean) => number} */
function newest(directory, matches) {
  let time = 0;
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) time = Math.max(time, newest(path, matches));
    else if (matches(entry.name)) time = Math.max(time, statSync(path).mtimeMs);
  }
  return time;
}

/** Compiles src to dist when a source is newer than the last build. */
export function build() {
  const info = join(root, 'dist', '.tsbuildinfo');
  const built = existsSync(info) && existsSync(join(root, 'dist', 'cli', 'main.js')) ? statSync(info).mtimeMs : 0;
  /** @type {(name: string) => boolean} */
  const isSource = (name) => name.endsWith('.ts') && !name.endsWith('.test.ts');
  if (built > newest(join(root, 'src'), isSource) && built > statSync(join(root, 'tsconfig.build.json')).mtimeMs)
    return;
  console.error('building (tsc) ...');
  run(process.execPath, [join(root, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', 'tsconfig.build.json']);
}
