// npm test: installs what is missing, builds, then runs the formatter and linter, the type checker and every test.
// The last line reads "N passed, N failed".
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build, install, root } from './prepare.mjs';

install();
/** @type {(...parts: string[]) => string} */
const bin = (...parts) => join(root, 'node_modules', ...parts);
let passed = 0;
let failed = 0;

/** @type {(name: string, args: string[]) => void} */
function step(name, args) {
  const done = spawnSync(process.execPath, args, { cwd: root, stdio: 'inherit' });
  const ok = done.status === 0;
  if (ok) passed++;
  else failed++;
  console.log(`${ok ? 'ok' : 'FAILED'}: ${name}`);
}

try {
  build();
  passed++;
} catch {
  failed++;
  console.log('FAILED: build');
}
step('format and lint', [bin('@biomejs', 'biome', 'bin', 'biome'), 'ci', '--error-on-warnings', '.']);
step('types', [bin('typescript', 'bin', 'tsc'), '-p', 'tsconfig.json']);

const directory = mkdtempSync(join(tmpdir(), 'shootdown-test-'));
const file = join(directory, 'results.json');
const args = [bin('vitest', 'vitest.mjs'), 'run', '--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
const run = spawnSync(process.execPath, [...args, ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' });
try {
  const results = JSON.parse(readFileSync(file, 'utf8'));
  passed += results.numPassedTests;
  failed += results.numFailedTests;
  // A file that could not even be loaded counts as a failure.
  /** @type {{ status: string, assertionResults: unknown[] }[]} */
  const files = results.testResults;
  failed += files.filter((t) => t.status === 'failed' && t.assertionResults.length === 0).length;
} catch {
  failed++;
}
if (run.status !== 0 && failed === 0) failed++;
rmSync(directory, { recursive: true, force: true });
console.log(`${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
