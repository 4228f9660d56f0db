// Mistakes of type in an author's modules: found where the author made them, and only those.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { build } from '../scripts/prepare.mjs';
import { mistakeLine, typecheck } from '../src/author/typecheck.ts';
import { AuthorFolder } from './support/author.ts';

const drivers = fileURLToPath(new URL('../drivers', import.meta.url));
const folders: AuthorFolder[] = [];

function newFolder(): AuthorFolder {
  const folder = new AuthorFolder();
  folders.push(folder);
  return folder;
}

beforeAll(() => build());
afterAll(() => {
  for (const folder of folders) folder.close();
});

async function lines(folder: AuthorFolder, files: Readonly<Record<string, string>>): Promise<readonly string[]> {
  const paths = Object.entries(files).map(([name, text]) => folder.file(name, text));
  return (await typecheck(paths)).map((m) => folder.shown(mistakeLine(m)));
}

const HEAD =
  "import { defineDriver } from 'shootdown';\nexport default defineDriver({ name: 'mine', design: 'linux-6.1', device: 'walker', create: (hw) => ({";

test('each mistake at its place', async () => {
  const files = {
    'sleeps.ts': `${HEAD}\n*invalidateRange(start, end) {\n  yield* hw.flushRange(start, end);\n  yield* hw.mutexLock();\n} }) });`,
    'method.ts': `${HEAD.replace('create: (hw) => ({', 'create(hw) { return {')}\n*release() { yield* hw.tearDown(); },\n*invalidateRange(start, end) {\n  yield* hw.mutexLock();\n} }; } });`,
    'name.ts': "import { createMachin } from 'shootdown';\nexport default createMachin;",
    'design.ts':
      "import { defineDriver } from 'shootdown';\nexport default defineDriver({ name: 'x', design: 'linux-7', device: 'walker', create: () => ({}) });",
    'helper.ts': 'export const limit: number = "many";',
    'uses.ts': "import { limit } from './helper.ts';\nconsole.log(limit);\nconst unused = 1;",
    'untyped.mjs': "import { createMachin } from 'shootdown';\nexport const a = createMachin.b.c;",
    'checked.mjs': '// @ts-check\n/** @type {number} */\nexport const a = "many";',
  };
  const said = await lines(newFolder(), files);
  const expected = [
    "checked.mjs:3:14: Type 'string' is not assignable to type 'number'.",
    'design.ts:2:42: Type \'"linux-7"\' is not assignable to type ',
    "helper.ts:1:14: Type 'string' is not assignable to type 'number'.",
    'method.ts:5:10: invalidateRange must not sleep, and hw.mutexLock() may',
    "name.ts:1:10: '\"shootdown\"' has no exported member named 'createMachin'. Did you mean 'createMachine'?",
    'sleeps.ts:5:10: invalidateRange must not sleep, and hw.mutexLock() may',
  ];
  expect(said.map((line, i) => line.slice(0, expected[i]?.length))).toEqual(expected);
});

test("the author's tsconfig.json decides how strict to be, and what is wrong with it is said", async () => {
  const text = 'export const name = (x) => x.name;';
  const lax = newFolder();
  lax.file('tsconfig.json', '{ "compilerOptions": { "strict": false, "module": "commonjs", "outDir": "out" } }');
  expect(await lines(newFolder(), { 'a.ts': text })).toEqual([
    "a.ts:1:22: Parameter 'x' implicitly has an 'any' type.",
  ]);
  expect(await lines(lax, { 'a.ts': text })).toEqual([]);
  const broken = newFolder();
  broken.file('tsconfig.json', '{ "compilerOptions": {');
  expect(await lines(broken, { 'a.ts': text })).toEqual([expect.stringContaining('tsconfig.json:1:23: ')]);
});

test('the drivers of this package have none, inside of it and copied out of it', async () => {
  const names = readdirSync(drivers).filter((name) => name.endsWith('.ts'));
  expect(names.length).toBeGreaterThan(3);
  expect((await typecheck(names.map((name) => join(drivers, name)))).map(mistakeLine)).toEqual([]);
});
