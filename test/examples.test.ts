// Runs every program of examples/ in a Node of its own and compares its whole output with the text beside it. UPDATE=1 writes
// those texts instead: after a change of the kernel that moves steps or adds events, look at the difference, then commit it.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beforeAll, expect, test } from 'vitest';
import { build } from '../scripts/prepare.mjs';

const directory = fileURLToPath(new URL('../examples', import.meta.url));
const programs = readdirSync(directory).filter((name) => name.endsWith('.mjs'));

beforeAll(() => build());

test.each(programs)('%s prints what is beside it', (name) => {
  const run = spawnSync(process.execPath, [join(directory, name)], { encoding: 'utf8' });
  expect(run.stderr).toBe('');
  expect(run.status).toBe(0);
  const beside = join(directory, name.replace(/\.mjs$/, '.expected.txt'));
  if (process.env['UPDATE'] === '1') writeFileSync(beside, run.stdout);
  expect(existsSync(beside), `${beside} is there`).toBe(true);
  expect(run.stdout).toBe(readFileSync(beside, 'utf8'));
});

test('there are examples', () => {
  expect(programs.length).toBeGreaterThanOrEqual(3);
});
