// The folder that `shootdown init` writes: types fit, editors find them, the check and the test pass; and a driver that was broken makes
// the test fail with the counterexample.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { build } from '../scripts/prepare.mjs';
import { INIT_DESIGNS, type InitOptions, initDriver } from '../src/author/init.ts';
import { mistakeLine, typecheck } from '../src/author/typecheck.ts';
import { AuthorFolder } from './support/author.ts';
import { ROOT, shootdown } from './support/cli.ts';

const folder = new AuthorFolder();
const WALKER: InitOptions = { design: 'linux-6.1', device: 'walker', isJs: false };

beforeAll(() => build());
afterAll(() => folder.close());

/** The folder as it is after npm install. */
function installed(path: string): string {
  mkdirSync(join(path, 'node_modules'));
  symlinkSync(ROOT, join(path, 'node_modules', 'shootdown'));
  return path;
}

function node(cwd: string, ...args: string[]): { readonly status: number | null; readonly stdout: string } {
  const { NODE_OPTIONS: _, NODE_TEST_CONTEXT: __, ...env } = process.env;
  return spawnSync(process.execPath, args, { cwd, encoding: 'utf8', env });
}

test('every driver that can be asked for has the right types', async () => {
  const paths: string[] = [];
  for (const device of ['walker', 'mirror'] as const) {
    for (const design of INIT_DESIGNS) {
      const path = join(folder.path, `${device}-${design}`);
      const files = await initDriver(path, { device, design, isJs: false }).catch((error: Error) => error.message);
      if (device === 'mirror' && design === 'invalidate-range') {
        expect(files).toBe(
          'init: there is no mirror under invalidate-range to begin with; there is one under linux-6.1, linux-6.6, linux-6.12',
        );
        expect(existsSync(path)).toBe(false);
        continue;
      }
      const name = `${device}-${design}`;
      expect(files).toEqual([
        `${name}.ts`,
        `${name}.test.mjs`,
        'scenario.yaml',
        'README.md',
        'package.json',
        'tsconfig.json',
      ]);
      expect(readdirSync(path).sort()).toEqual([...files].sort());
      const text = readFileSync(join(path, `${name}.ts`), 'utf8');
      expect(text).toContain(`  name: '${name}',\n  design: '${design}',\n  device: '${device}',\n`);
      paths.push(join(path, `${name}.ts`));
    }
  }
  expect(paths.length).toBe(7);
  expect((await typecheck(paths)).map(mistakeLine)).toEqual([]);
});

test('the folder by itself: the compiler and node:test, then with a mistake in the driver', async () => {
  const path = join(folder.path, 'my-nic');
  await initDriver(path, WALKER);
  installed(path);
  const compiled = node(path, join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', '.');
  expect(compiled.stdout).toBe('');
  expect(compiled.status).toBe(0);
  const onlyMine = ['--test', '--test-name-pattern', 'my own', 'my-nic.test.mjs'];
  const good = node(path, ...onlyMine);
  expect(good.stdout).toContain('pass 1');
  expect(good.status).toBe(0);
  const text = readFileSync(join(path, 'my-nic.ts'), 'utf8');
  expect(text).toContain('yield* hw.flushRange(start, end);');
  writeFileSync(join(path, 'my-nic.ts'), text.replace('yield* hw.flushRange(start, end);', 'yield* hw.step();'));
  const bad = node(path, ...onlyMine);
  expect(bad.status).toBe(1);
  expect(bad.stdout).toContain('driver my-nic violates I');
  expect(bad.stdout).toMatch(
    /npx shootdown trace '1~drop-one-of-two~my-nic~linux-6\.1~\S+' --driver my-nic\.ts --scenario scenario\.yaml/,
  );
});

test('JavaScript has no types, the same comments, and passes the check', async () => {
  const path = join(folder.path, 'plain');
  const { status, stdout } = await shootdown('init', path, '--js', '--device', 'mirror', '--design', 'linux-6.12');
  expect([status, stdout.split('\n')[0]]).toEqual([0, `wrote ${path}/plain.js`]);
  const js = readFileSync(join(path, 'plain.js'), 'utf8');
  const comments = (text: string): string[] => text.split('\n').filter((line) => /^ *\/\//.test(line));
  expect(comments(js)).toEqual(comments(readFileSync(join(ROOT, 'drivers', 'mirror.ts'), 'utf8')));
  expect(js).not.toMatch(/: (number|boolean)\b/);
  const check = await shootdown(
    'check',
    join(path, 'plain.js'),
    '--scenario',
    join(path, 'scenario.yaml'),
    '--executions',
    '300',
  );
  expect(check.stderr).toBe('');
  expect(check.stdout).toContain('1 clean, 0 violated');
  expect(check.status).toBe(0);
});

test('what is there is not overwritten, and a name must be one', async () => {
  const refusal = (path: string): Promise<unknown> =>
    initDriver(path, WALKER).catch((e: Error) => `${e.name}: ${e.message}`);
  const full = join(folder.path, 'full');
  mkdirSync(full);
  writeFileSync(join(full, 'notes.txt'), 'mine');
  expect(await refusal(full)).toBe(
    `InputError: init: ${full} is there already, and not an empty folder; nothing was written`,
  );
  expect(readdirSync(full)).toEqual(['notes.txt']);
  expect(await refusal(join(full, 'notes.txt'))).toContain('is there already');
  expect(await refusal(join(folder.path, '5 nics'))).toContain('init: "5 nics" is no name for a driver');
  const { status, stderr } = await shootdown('init', join(folder.path, 'x'), '--design', 'linux-7');
  expect([status, stderr]).toEqual([
    2,
    'shootdown: --design: "linux-7" is not one of invalidate-range, linux-6.1, linux-6.6, linux-6.12\n',
  ]);
});
