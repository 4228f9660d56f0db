// npm run difftest: bundles test/difftest (TypeScript) and runs it. Options: see docs/difftest.md.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { buildSync } from 'esbuild';
import { install, root } from './prepare.mjs';

install();
const outfile = join(root, 'node_modules', '.cache', 'difftest.mjs');
buildSync({
  entryPoints: [join(root, 'test', 'difftest', 'main.ts')],
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  outfile,
  logLevel: 'error',
});
const env = { ...process.env, DIFFTEST_HOST_C: join(root, 'test', 'difftest', 'host.c') };
const done = spawnSync(process.execPath, ['--enable-source-maps', outfile, ...process.argv.slice(2)], {
  stdio: 'inherit',
  env,
});
process.exitCode = done.status ?? 1;
