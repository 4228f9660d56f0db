// `shootdown check` on an author's own files: the exit status, and that each mistake is its line and nothing else.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { build } from '../scripts/prepare.mjs';
import { AuthorFolder } from './support/author.ts';
import { shootdown } from './support/cli.ts';

const folder = new AuthorFolder();

beforeAll(() => build());
afterAll(() => folder.close());

const SCENARIO = `name: mine
summary: a page goes
setup: [{ do: mmap, at: 0 }, { do: store, at: 0 }]
threads:
  program: { steps: [{ do: munmap, at: 0 }] }
  device: { on: device, steps: [{ do: load, at: 0 }] }
`;

function driver(body: string): string {
  return `import { defineDriver } from 'shootdown';
export default defineDriver({ name: 'mine', design: 'linux-6.1', device: 'walker', create: (hw) => ({
  *invalidateRange(start, end) {
    ${body}
  },
  *release() { yield* hw.tearDown(); },
}) });
`;
}

interface Answer {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

async function check(name: string, text: string, ...more: string[]): Promise<Answer> {
  const scenario = folder.file('mine.yaml', SCENARIO);
  const args = more.includes('--scenario') ? more : ['--scenario', scenario, ...more];
  const { status, stdout, stderr } = await shootdown('check', folder.file(name, text), '--executions', '100', ...args);
  return { status, stdout: folder.shown(stdout), stderr: folder.shown(stderr) };
}

const FLUSHES = 'yield* hw.flushRange(start, end);';

test('a correct driver with a scenario from a file: 0', async () => {
  const { status, stdout, stderr } = await check('good.ts', driver(FLUSHES), '--json');
  expect([status, stderr]).toEqual([0, '']);
  expect(JSON.parse(stdout)).toMatchObject({ driver: 'mine', operations: [{ operation: 'mine', verdict: 'clean' }] });
});

test('what a driver prints does not stand in the report', async () => {
  const text = `console.log('loaded');\n${driver(FLUSHES)}`;
  const { status, stdout, stderr } = await check('prints.ts', text, '--json', '--workers', '1');
  expect([status, stderr]).toEqual([0, 'loaded\n']);
  expect(JSON.parse(stdout).driver).toBe('mine');
});

test('types that do not fit: 2, unless they are not to be checked', async () => {
  const text = driver(`const pages: number = 'all';\n    ${FLUSHES}\n    if (pages > 5) yield* hw.mutexLock();`);
  expect(await check('types.ts', text)).toEqual({
    status: 2,
    stdout: '',
    stderr:
      "shootdown: types.ts:4:11: Type 'string' is not assignable to type 'number'.\n" +
      'shootdown: types.ts:6:27: invalidateRange must not sleep, and hw.mutexLock() may\n' +
      'shootdown: the types do not fit; --no-typecheck checks the driver all the same\n',
  });
  expect((await check('types.ts', text, '--no-typecheck')).status).toBe(0);
});

test.each([
  ['syntax.ts', driver('yield* hw.flushRange(start, end;'), 'syntax.ts:4:36: Expected ")" but found ";"'],
  [
    'callback.mjs',
    driver(FLUSHES).replace('*invalidateRange', '*invalidateRanges'),
    'driver mine: callback invalidateRanges is not one of design linux-6.1, which has ',
  ],
  [
    'import.mjs',
    `${driver(FLUSHES)}\nthrow new Error('no device');`,
    'import.mjs:9:7: the module threw while it was imported: no device',
  ],
])('%s cannot be used: 2, one line', async (name, text, expected) => {
  const { status, stdout, stderr } = await check(name, text);
  expect([status, stdout]).toEqual([2, '']);
  expect(stderr.slice(0, 11 + expected.length)).toBe(`shootdown: ${expected}`);
  expect(stderr.trimEnd()).not.toContain('\n');
});

test('a driver of another design: 2, one line', async () => {
  const { status, stderr } = await check('other.mjs', driver(FLUSHES), '--design', 'linux-6.12');
  expect([status, stderr]).toEqual([2, 'shootdown: driver mine: written for linux-6.1, not for "linux-6.12"\n']);
});

test('a scenario that is wrong: 2, one line', async () => {
  const scenario = folder.file('wrong.yaml', SCENARIO.replace('do: munmap', 'do: mumap'));
  const { status, stderr } = await check('good.ts', driver(FLUSHES), '--scenario', scenario);
  expect(status).toBe(2);
  expect(stderr).toMatch(
    /^shootdown: wrong\.yaml:5:28: threads\.program\.steps\[0\]\.do: "mumap" is none of mmap, munmap, [^\n]*\n$/,
  );
});

test('a scenario from a module', async () => {
  const text = `import { defineScenario } from 'shootdown/testing';
export default defineScenario({ name: 'mine', summary: '', setup: [{ do: 'mmap', at: 0 }, { do: 'store', at: 0 }],
  threads: { program: { steps: [{ do: 'munmap', at: 0 }] }, device: { on: 'device', steps: [{ do: 'load', at: 0 }] } } });`;
  const good = await check('good.ts', driver(FLUSHES), '--scenario', folder.file('scenario.ts', text));
  expect([good.status, good.stderr]).toEqual([0, '']);
  const wrong = await check(
    'good.ts',
    driver(FLUSHES),
    '--scenario',
    folder.file('wrong.mjs', text.replace("'munmap'", "'mumap'")),
  );
  expect(wrong.status).toBe(2);
  expect(wrong.stderr).toMatch(
    /^shootdown: wrong\.mjs:2:16: [^\n]*scenario mine: threads\.program\.steps\[0\]\.do: "mumap" is none of [^\n]*\n$/,
  );
});

test('a callback that throws, and one that never returns: 1, and said where', async () => {
  const throws = await check('throws.ts', driver("throw new Error('boom');"));
  expect([throws.status, throws.stderr]).toEqual([1, '']);
  expect(throws.stdout).toContain('driver mine: invalidateRange throws: boom (throws.ts:4:11)');
  const stuck = await check('stuck.ts', driver('while (start < end);'));
  expect([stuck.status, stuck.stderr]).toEqual([1, '']);
  expect(stuck.stdout.replace(/\s+/g, ' ')).toContain(
    'driver mine did not return from invalidateRange: no step for 2 s; it stood at stuck.ts:4:',
  );
});

test('a callback that loops over steps: 1', async () => {
  const { status, stdout } = await check('livelock.ts', driver('for (;;) yield* hw.step();'));
  expect(status).toBe(1);
  expect(stdout).toContain('mine: DRIVER LIVELOCK');
});

test('a callback that sleeps where it may not, without types to say so: 1', async () => {
  const { status, stdout, stderr } = await check(
    'sleeps.mjs',
    driver(`yield* hw.mutexLock(); ${FLUSHES} hw.mutexUnlock();`),
  );
  expect([status, stderr]).toEqual([1, '']);
  expect(stdout.replace(/\s+/g, ' ')).toContain(
    'I44 DEADLOCK: invalidate_range of subscriber 1 sleeps until "hw.mutexLock"',
  );
});
