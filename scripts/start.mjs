// npm start: installs what is missing, builds, and compares the notifier designs on the bundled recording of a real program.
// Further arguments go to the command line tool: npm start -- replay recordings/programs/perl-sort.strace.gz
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { build, install, root } from './prepare.mjs';

try {
  install();
  build();
} catch (e) {
  console.error(e instanceof Error ? e.message : e);
  process.exit(1);
}
const args = process.argv.slice(2);
const cli = join(root, 'bin', 'shootdown.mjs');
const done = spawnSync(process.execPath, [cli, ...(args.length > 0 ? args : ['compare'])], { stdio: 'inherit' });
process.exit(done.status ?? 1);
