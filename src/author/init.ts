// The folder with which a driver author begins: a driver that is correct (one of drivers/), its check as a test, a scenario of
// the author's own, and what editors need to know the types.

import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { InputError } from '../base/assert.ts';
import { PACKAGE } from './entries.ts';

export const INIT_DESIGNS = ['invalidate-range', 'linux-6.1', 'linux-6.6', 'linux-6.12'] as const;
export type InitDesign = (typeof INIT_DESIGNS)[number];
export type InitDevice = 'walker' | 'mirror';

export interface InitOptions {
  readonly design: InitDesign;
  readonly device: InitDevice;
  /** Plain JavaScript. */
  readonly isJs: boolean;
}

/** The shipped driver to begin with. */
const TEMPLATES: Readonly<Record<InitDevice, Partial<Readonly<Record<InitDesign, string>>>>> = {
  walker: {
    'invalidate-range': 'iommu-v2-3.19',
    'linux-6.1': 'iommu-walker',
    'linux-6.6': 'iommu-sva',
    'linux-6.12': 'iommu-sva',
  },
  mirror: { 'linux-6.1': 'mirror', 'linux-6.6': 'mirror', 'linux-6.12': 'mirror' },
};

/** Writes the folder; the names of its files. Throws InputError, and writes nothing, for a name that is none, a folder that has
 *  something in it, or a design without a driver for the device. */
export async function initDriver(path: string, options: InitOptions): Promise<readonly string[]> {
  const folder = resolve(path);
  const name = basename(folder);
  if (!/^[A-Za-z][\w.-]{0,39}$/.test(name))
    throw new InputError(
      `init: "${name}" is no name for a driver: expected a letter, then letters, digits, "_", "-", "."`,
    );
  if (existsSync(folder) && (!statSync(folder).isDirectory() || readdirSync(folder).length > 0))
    throw new InputError(`init: ${path} is there already, and not an empty folder; nothing was written`);
  const files = await initFiles(name, options);
  mkdirSync(folder, { recursive: true });
  for (const [file, text] of Object.entries(files)) writeFileSync(join(folder, file), text, { flag: 'wx' });
  return Object.keys(files);
}

async function initFiles(name: string, options: InitOptions): Promise<Readonly<Record<string, string>>> {
  const module = `${name}.${options.isJs ? 'js' : 'ts'}`;
  const driver = driverText(name, options);
  return {
    [module]: options.isJs ? await javaScript(driver) : driver,
    [`${name}.test.mjs`]: testText(module),
    'scenario.yaml': SCENARIO,
    'README.md': readmeText(name, module),
    'package.json': packageText(name, module),
    'tsconfig.json': tsconfigText(options.isJs),
  };
}

function driverText(name: string, { design, device }: InitOptions): string {
  const template = TEMPLATES[device][design];
  if (template === undefined) {
    const known = Object.keys(TEMPLATES[device]).join(', ');
    throw new InputError(`init: there is no ${device} under ${design} to begin with; there is one under ${known}`);
  }
  return readFileSync(join(PACKAGE, 'drivers', `${template}.ts`), 'utf8')
    .replace(/^ {2}name: .*$/m, `  name: '${name}',`)
    .replace(/^ {2}design: .*$/m, `  design: '${design}',`);
}

/** The text without its types. The compiler keeps comments but not empty lines, which stand for a comment meanwhile. */
async function javaScript(text: string): Promise<string> {
  const { default: ts } = await import('typescript');
  const marked = text.replace(/^[ \t]*$/gm, '//EMPTY');
  const { outputText } = ts.transpileModule(marked, {
    compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext },
  });
  return outputText
    .replace(/^( +)/gm, (spaces) => ' '.repeat(spaces.length / 2))
    .replace(/^ *\/\/EMPTY$/gm, '')
    .trimEnd()
    .concat('\n');
}

function testText(module: string): string {
  return `// The check as a test: node --test. Under vitest or jest the body is the same.
import test from 'node:test';
import { checkDriver } from 'shootdown/testing';

const driver = new URL('./${module}', import.meta.url);

test('no interleaving of a few operations lets the device touch what it must not', async () => {
  await checkDriver(driver, { operations: ['munmap', 'madv-dontneed', 'cow-copy', 'fork', 'exit'] });
});

test('nor does one of my own', async () => {
  await checkDriver(driver, { scenarios: [new URL('./scenario.yaml', import.meta.url)] });
});
`;
}

const SCENARIO = `# yaml-language-server: $schema=./node_modules/shootdown/schema/scenario.schema.json
#
# A program whose interleavings are explored: the steps of the setup one after the other, then all threads at once.
name: drop-one-of-two
summary: one of two pages goes while the device uses both
setup:
  - { do: mmap, at: 0, pages: 2 }
  - { do: store, at: 0 }
  - { do: store, at: 1 }
threads:
  program:
    steps:
      - { do: madvise, at: 0, advice: dontneed }
  device:
    on: device
    steps:
      - { do: load, at: 0 }
      - { do: load, at: 1 }
`;

function readmeText(name: string, module: string): string {
  return `# ${name}

\`${module}\` is a driver: what it does when the kernel changes page tables that its device also uses. It is correct as it stands.
Change it into yours, and see after each change whether it still is.

| command | what it does |
|---|---|
| \`npm install\` | fetches the tool |
| \`npm run check\` | every interleaving of every memory-management operation |
| \`npm test\` | a few of them, and \`scenario.yaml\`, as a test |
| \`npx shootdown check ${module} --operation munmap\` | one operation |
| \`npx shootdown check ${module} --scenario scenario.yaml\` | a program of your own |

A violation comes with a schedule; \`npx shootdown trace SCHEDULE --driver ${module}\` shows it step by step. To see one, take a flush
out of the driver.
`;
}

function packageText(name: string, module: string): string {
  const { version } = JSON.parse(readFileSync(join(PACKAGE, 'package.json'), 'utf8')) as { version: string };
  const isInstalled = PACKAGE.split(/[\\/]/).includes('node_modules');
  const manifest = {
    name: name.toLowerCase(),
    private: true,
    type: 'module',
    scripts: { check: `shootdown check ${module}`, test: 'node --test' },
    // From a clone: that clone.
    devDependencies: { shootdown: isInstalled ? `^${version}` : `file:${PACKAGE.replace(/[\\/]$/, '')}` },
  };
  return `${JSON.stringify(manifest, null, 2)}\n`;
}

function tsconfigText(isJs: boolean): string {
  const compilerOptions = {
    target: 'ES2023',
    module: 'NodeNext',
    strict: true,
    noEmit: true,
    ...(isJs ? { allowJs: true } : {}),
    skipLibCheck: true,
  };
  return `${JSON.stringify({ compilerOptions, include: [isJs ? '*.js' : '*.ts'] }, null, 2)}\n`;
}
