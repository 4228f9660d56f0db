// Drivers that are wrong as programs, each a real file: what an author is told. Which interleavings break a driver is for others to find.
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { build } from '../scripts/prepare.mjs';
import { type Outcome, runIsolated } from '../src/author/isolate.ts';
import { stuckFinding } from '../src/workload/guard/guarded-program.ts';
import { AuthorFolder } from './support/author.ts';
import { EXPLORE_TASK } from './support/explore-task.ts';

interface Result {
  readonly cut: boolean;
  readonly findings: readonly string[];
}

const folder = new AuthorFolder();
let task: URL;

beforeAll(() => {
  build();
  task = pathToFileURL(folder.file('explore-task.mjs', EXPLORE_TASK));
});
afterAll(() => folder.close());

/** A walker whose invalidateRange has this body; the body begins at line 6. */
function walker(body: string, head = '*invalidateRange(start, end)'): string {
  return `import { defineDriver } from 'shootdown';
export default defineDriver({ name: 'mine', design: 'linux-6.1', device: 'walker',
  create(hw) {
    return {
      ${head} {
${body}
      },
      *release() { yield* hw.tearDown(); },
    };
  },
});
`;
}

async function run(text: string, name = 'mine.ts'): Promise<Outcome<Result>> {
  return runIsolated<Result>([folder.file(name, text)], task, null, { quietTicks: 6 });
}

async function findings(text: string): Promise<readonly string[]> {
  const end = await run(text);
  if (end.kind !== 'done') throw new Error(JSON.stringify(end));
  return end.result.findings.map((line) => folder.shown(line));
}

async function refusal(text: string): Promise<string> {
  const end = await run(text);
  return end.kind === 'unusable' ? folder.shown(end.message) : JSON.stringify(end);
}

test('a correct driver has no finding', async () => {
  expect(await findings(walker('yield* hw.flushRange(start, end);'))).toEqual([]);
});

test.each([
  ['throws', "yield* hw.flushRange(start, end);\nthrow new Error('boom');", 'throws: boom (mine.ts:7:7)'],
  [
    'reads a field of null',
    'const a: { x: number } = JSON.parse("null");\nyield* hw.flushRange(a.x, end);',
    "throws: TypeError: Cannot read properties of null (reading 'x') (mine.ts:7:24)",
  ],
  ['throws no Error', 'throw "out";', 'throws: out, which is no Error'],
  ['forgets yield*', 'hw.flushRange(start, end);', 'calls hw.flushRange() without yield*: its steps never run'],
  [
    'unlocks what it does not hold',
    'hw.unlock();',
    ': unlock(0) of a lock that this thread does not hold (mine.ts:6:4)',
  ],
])('a callback that %s is a finding', async (_what, body, expected) => {
  const colon = expected.startsWith(':') ? '' : ' ';
  expect(await findings(walker(body))).toEqual([`DRIVER THROW: driver mine: invalidateRange${colon}${expected}`]);
});

test('an async callback is a finding', async () => {
  const [line] = await findings(walker('throw new Error("unheard");', 'async invalidateRange()'));
  expect(line).toContain('DRIVER THROW: driver mine: invalidateRange is async');
});

test('a callback that never gives control back is a finding', async () => {
  const end = await run(walker('while (start < end) {\n  end += 0;\n}'));
  if (end.kind !== 'stuck') throw new Error(JSON.stringify(end));
  const { sentence } = stuckFinding('mine', end.callback, end.seconds, end.place);
  expect(folder.shown(sentence)).toMatch(
    /^driver mine did not return from invalidateRange: no step for 0\.6 s; it stood at mine\.ts:[67]:\d+$/,
  );
});

test('a callback that loops over steps for ever is cut by the bound of steps', async () => {
  const end = await run(walker('for (;;) yield* hw.step();'));
  expect(end).toMatchObject({ kind: 'done', result: { cut: true } });
});

test.each([
  [
    'an unknown callback',
    walker('', 'invalidateRang()'),
    'driver mine: callback invalidateRang is not one of design linux-6.1, which has release, ',
  ],
  [
    'a callback of another design',
    walker('', 'archInvalidateSecondaryTlbs()'),
    'driver mine: callback archInvalidateSecondaryTlbs is not one of design linux-6.1',
  ],
  [
    'a design that there is not',
    walker('').replace('linux-6.1', 'linux-7'),
    'mine.ts:2:16: the module threw while it was imported: InputError: driver mine: design "linux-7" is not one of ',
  ],
  [
    'no driver',
    'export const a = 1;',
    'mine.ts: exports a and no driver; expected "export default defineDriver({ ... })"',
  ],
  ['an empty module', '', 'mine.ts: exports nothing; expected "export default defineDriver({ ... })"'],
  [
    'a plain object',
    'export default { name: "mine", create() {} };',
    'mine.ts: the default export did not go through defineDriver; expected ',
  ],
  [
    'a throw in create',
    walker('').replace('return {', 'throw new Error("no hardware");return {'),
    'mine.ts:4:11: driver mine: create(hw) throws: no hardware',
  ],
])('%s: one line', async (_what, text, expected) => {
  expect((await refusal(text)).slice(0, expected.length)).toBe(expected);
});

test('a loop in create', async () => {
  const end = await run(walker('').replace('return {', 'for (;;);return {'));
  expect(end).toMatchObject({ kind: 'stuck', during: 'create', place: expect.stringContaining('mine.ts:4:') });
});

test('callbacks in a class are watched like others', async () => {
  const text = `import { defineDriver } from 'shootdown';
class Callbacks {
  #count = 0;
  invalidateRange() { this.#count++; throw new Error('boom'); }
}
export default defineDriver({ name: 'mine', design: 'linux-6.1', device: 'walker', create: () => new Callbacks() });`;
  expect(await findings(text)).toEqual(['DRIVER THROW: driver mine: invalidateRange throws: boom (mine.ts:4:44)']);
});
