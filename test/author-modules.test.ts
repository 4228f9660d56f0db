// Modules of a driver author, as real files outside of this project: what loads, and the one line for each kind that does not.
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { build } from '../scripts/prepare.mjs';
import { type IsolateOptions, type Outcome, runIsolated } from '../src/author/isolate.ts';
import { AuthorFolder } from './support/author.ts';

const folder = new AuthorFolder();
let task: URL;

beforeAll(() => {
  build();
  // Calls the default export of the first module as a step of a world would.
  const text =
    'export const run = (m, input, host) => { host.heart.enter(3); return m[0].exports.default(input, host); };';
  task = pathToFileURL(folder.file('task.mjs', text));
});
afterAll(() => folder.close());

async function outcome(name: string, text: string, options: IsolateOptions = {}): Promise<Outcome<unknown>> {
  return runIsolated([folder.file(name, text)], task, { n: 1 }, options);
}

/** The one line that an author gets, whether the file could not be loaded or the module did not work. */
async function line(name: string, text: string): Promise<string> {
  const end = await outcome(name, text).catch((error: Error) => ({ kind: error.name, message: error.message }));
  const message = 'message' in end ? end.message : JSON.stringify(end);
  expect(message).not.toContain('\n');
  return `${end.kind}: ${folder.shown(message)}`;
}

test('a TypeScript module shares the instances of this package, and its own files keep their URLs', async () => {
  folder.file('helper.mts', 'export const url: string = import.meta.url;\nexport { InputError } from "shootdown";');
  const text = `
    import { InputError, createMachine } from 'shootdown';
    import { Judge } from 'shootdown/check';
    import { url, InputError as Other } from './helper.mts';
    export default (input: { readonly n: number }): unknown => {
      let name = '';
      try { createMachine({ design: 'none' }); } catch (e) { name = (e instanceof InputError).toString(); }
      return { n: input.n, judge: typeof Judge, isSame: InputError === Other, isInputError: name, url };
    };`;
  const result = {
    n: 1,
    judge: 'function',
    isSame: true,
    isInputError: 'true',
    url: pathToFileURL(`${folder.path}/helper.mts`).href,
  };
  expect(await outcome('good.ts', text)).toEqual({ kind: 'done', result });
});

test('plain JavaScript, and a CommonJS module beside it', async () => {
  folder.file('old.cjs', 'module.exports = { sum: (a, b) => a + b, path: require("node:path").sep };');
  const text = 'import old from "./old.cjs";\nexport default (input) => old.sum(input.n, 2);';
  expect(await outcome('plain.js', text)).toEqual({ kind: 'done', result: 3 });
});

test.each([
  [
    'syntax.ts',
    'const a: number = 1;\nexport default function ( { ;',
    'InputError: syntax.ts:2:29: Expected identifier but found ";"',
  ],
  [
    'entry.ts',
    "import { x } from 'shootdown/chek';\nexport default x;",
    'InputError: entry.ts:1:19: "shootdown/chek" is none of ',
  ],
  [
    'none.ts',
    "import { x } from './missing.ts';\nexport default x;",
    'InputError: none.ts:1:19: Could not resolve "./missing.ts"',
  ],
  [
    'require.js',
    "const s = require('shootdown');\nexport default s;",
    `InputError: require.js:1:19: "shootdown" is an ES module: write import ... from 'shootdown'`,
  ],
  [
    'export.ts',
    "import { nothing } from 'shootdown';\nexport default nothing;",
    'unusable: export.ts: "shootdown" has no export nothing',
  ],
  [
    'throws.ts',
    '\ninterface A { x: number }\nconst a: A = JSON.parse("null");\nexport default a.x;',
    "unusable: throws.ts:4:18: the module threw while it was imported: TypeError: Cannot read properties of null (reading 'x')",
  ],
  ['exits.mjs', 'process.exit(3);', 'died: it ended the process (process.exit, status 3)'],
  ['never.mjs', 'await new Promise(() => {});', 'died: a top-level await never ended'],
  ['string.mjs', 'throw "out";', 'unusable: string.mjs: the module threw while it was imported: out'],
])('%s: one line', async (name, text, expected) => {
  expect((await line(name, text)).slice(0, expected.length)).toBe(expected);
});

test('what is no module file', async () => {
  const refusal = (path: string): Promise<unknown> =>
    runIsolated([path], task, null).catch((e: Error) => `${e.name}: ${e.message}`);
  expect(await refusal('/nowhere/driver.ts')).toBe('InputError: /nowhere/driver.ts: there is no such file');
  expect(await refusal(folder.path)).toBe(
    `InputError: ${folder.path}: is no file; expected a module (.ts, .mts, .js, .mjs)`,
  );
  expect(await refusal(folder.file('driver.txt', ''))).toBe(
    `InputError: ${folder.path}/driver.txt: expected a module whose name ends in .ts, .mts, .js, .mjs`,
  );
});

test('a function that never returns is interrupted, and where it stood is known', async () => {
  const text = 'type N = number;\nexport default (): N => {\n  let n: N = 0;\n  for (;;) n += 1;\n};';
  const end = await outcome('loop.ts', text, { quietTicks: 4 });
  expect(end).toMatchObject({
    kind: 'stuck',
    during: 'step',
    seconds: 0.4,
    place: expect.stringContaining('loop.ts:4:'),
  });
});

test('an import that never returns', async () => {
  const end = await outcome('import-loop.mjs', 'let n = 0;\nfor (;;) n++;', { quietTicks: 2 });
  expect(end).toMatchObject({ kind: 'stuck', during: 'import', place: expect.stringContaining('import-loop.mjs:2:') });
});

test('a module that eats all memory', async () => {
  const end = await outcome('memory.mjs', 'const a = [];\nfor (;;) a.push(new Array(10000).fill(1.5));', {
    memoryMiB: 64,
  });
  expect(end).toEqual({ kind: 'died', message: 'it used up its memory' });
});

test('a task that is asked to stop', async () => {
  const text =
    'export default async (input, host) => { while (!host.heart.isStopped) { host.heart.enter(3); await null; } };';
  expect(await outcome('stop.mjs', text, { signal: AbortSignal.timeout(300) })).toEqual({ kind: 'stopped' });
});
