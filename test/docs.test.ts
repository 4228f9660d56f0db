// The pages keep what they promise: every relative link leads to a file (and, with a fragment, to a heading of it), every command
// line of the tool parses with options that exist and names files that are there, every npm script exists.
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { ALL_GAPS, gapText } from '../src/check/properties.ts';
import { bugsCommand } from '../src/cli/bugs.ts';
import { checkCommand } from '../src/cli/check.ts';
import { compareCommand } from '../src/cli/compare.ts';
import { conformanceCommand } from '../src/cli/conformance.ts';
import { designsCommand } from '../src/cli/designs.ts';
import { devicesCommand } from '../src/cli/devices.ts';
import { initCommand } from '../src/cli/init.ts';
import { replayCommand } from '../src/cli/replay.ts';
import { suitesCommand } from '../src/cli/suites.ts';
import { traceCommand } from '../src/cli/trace.ts';
import { COMPARISON_COLUMNS } from '../src/report/rows.ts';
import { COMPARE_ROWS } from '../src/workload/compare/compare.ts';
import { OPERATIONS } from '../src/workload/operations/operations.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const SKIPPED = new Set(['node_modules', 'dist', '.git', 'coverage']);

function pagesIn(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((e) => {
    if (SKIPPED.has(e.name)) return [];
    const path = join(directory, e.name);
    if (e.isDirectory()) return pagesIn(path);
    return e.name.endsWith('.md') ? [path] : [];
  });
}

const pages = pagesIn(root).map((path) => ({ path, name: relative(root, path), text: readFileSync(path, 'utf8') }));

/** Text outside of fenced blocks. */
function prose(text: string): string {
  return text.replace(/^```[\s\S]*?^```/gm, '');
}

/** The fragment that a heading answers to. */
function fragmentOf(heading: string): string {
  return heading
    .toLowerCase()
    .replace(/[^\p{L}\p{N} _-]/gu, '')
    .trim()
    .replaceAll(' ', '-');
}

function linkProblems(name: string, path: string, text: string): string[] {
  const problems: string[] = [];
  for (const m of prose(text).matchAll(/\]\(([^)\s]+)\)/g)) {
    const [target = '', fragment] = m[1]!.split('#');
    if (/^[a-z]+:/.test(target)) continue;
    const file = target === '' ? path : join(dirname(path), target);
    if (!existsSync(file)) {
      problems.push(`${name}: ${m[1]} leads nowhere`);
      continue;
    }
    if (fragment === undefined || !file.endsWith('.md')) continue;
    const headings = [...prose(readFileSync(file, 'utf8')).matchAll(/^#+ (.*)$/gm)].map((h) => fragmentOf(h[1]!));
    if (!headings.includes(fragment)) problems.push(`${name}: no heading for ${m[1]}`);
  }
  return problems;
}

/** Shell lines of the fenced blocks and of the prose: what follows `shootdown`, however it is called. */
function commandLines(text: string): string[][] {
  const lines: string[] = [];
  for (const block of text.matchAll(/^```(?:sh|console|)\n([\s\S]*?)^```/gm)) lines.push(...block[1]!.split('\n'));
  for (const span of prose(text).matchAll(/`([^`\n]+)`/g)) lines.push(span[1]!);
  return lines
    .map((line) =>
      /^(?:\$ )?(?:node bin\/shootdown\.mjs|npm start --|npx shootdown|shootdown) (.+?)(?:\s+[#>|].*)?$/.exec(line),
    )
    .filter((m) => m !== null)
    .map((m) => m[1]!.trim().split(/\s+/));
}

function npmScripts(text: string): string[] {
  return [...text.matchAll(/\bnpm (?:run (\w+)|(start|test))\b/g)].map((m) => (m[1] ?? m[2])!);
}

/** Parses the command line without running it. A file of the project must be there; other names stand for the reader's. */
function parseProblem(words: readonly string[]): string | null {
  const make = {
    bugs: bugsCommand,
    check: checkCommand,
    compare: compareCommand,
    conformance: conformanceCommand,
    replay: replayCommand,
    suites: suitesCommand,
    init: initCommand,
    designs: designsCommand,
    devices: devicesCommand,
    trace: traceCommand,
  }[words[0]!];
  if (make === undefined) return words[0] === '--help' ? null : `no command ${words[0]}`;
  // The name of a command in a sentence.
  if (words.length === 1) return null;
  const command = make(() => {});
  command.exitOverride();
  command.configureOutput({ writeErr: () => {}, writeOut: () => {} });
  command.action(() => {});
  try {
    command.parse(words.slice(1), { from: 'user' });
  } catch (error) {
    return (error as Error).message;
  }
  const missing = words.find((w) => /^(recordings|examples|docs)\//.test(w) && !existsSync(join(root, w)));
  return missing === undefined ? null : `${missing} is not there`;
}

test('every relative link leads to a file and a heading', () => {
  expect(pages.map((p) => p.name)).toContain('README.md');
  expect(pages.flatMap((p) => linkProblems(p.name, p.path, p.text))).toEqual([]);
});

test('every command line of the tool parses', () => {
  const found = pages.flatMap((p) => commandLines(p.text).map((words) => ({ name: p.name, words })));
  expect(found.length).toBeGreaterThan(5);
  const problems = found.map(({ name, words }) => {
    const problem = parseProblem(words);
    return problem === null ? null : `${name}: shootdown ${words.join(' ')}: ${problem}`;
  });
  expect(problems.filter((p) => p !== null)).toEqual([]);
});

test('a command line that does not parse is found', () => {
  expect(parseProblem(['replay', 'x.strace', '--tuch', 'none'])).toContain('unknown option');
  expect(parseProblem(['compare', '--memory', 'much'])).toContain('--memory');
  expect(parseProblem(['replay', 'recordings/none.strace'])).toContain('not there');
});

test('every npm script that the pages name exists', () => {
  const scripts = Object.keys(JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')).scripts);
  const named = new Set(pages.flatMap((p) => npmScripts(p.text)));
  expect([...named].filter((s) => !scripts.includes(s))).toEqual([]);
});

test('the table in README.md has the lines and rows that compare prints', () => {
  const readme = pages.find((p) => p.name === 'README.md')!.text;
  const table = readme.slice(readme.indexOf('\nprogram  '), readme.indexOf('### The verdict')).split('\n');
  const titles = COMPARISON_COLUMNS.slice(1).map((c) => c.title);
  expect(titles.filter((title) => !table.some((line) => line.startsWith(`${title}  `)))).toEqual([]);
  const rows = COMPARE_ROWS.filter((r) => r.isVariant !== true).map((r) => r.name);
  expect(rows.filter((row) => !table.some((line) => line.split(/\s+/).includes(row)))).toEqual([]);
});

test('every file or folder of the project that the pages name in code spans exists', () => {
  const missing = pages.flatMap((p) =>
    [...prose(p.text).matchAll(/`((?:src|test|scripts|examples|bench|recordings|docs)\/[\w./-]+)`/g)]
      .filter((m) => !existsSync(join(root, m[1]!)))
      .map((m) => `${p.name}: ${m[1]}`),
  );
  expect(missing).toEqual([]);
});

test('README says how many operations there are; the gaps that the judge knows are documented, and no others', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8');
  expect(/\*\*(\d+) operations\*\*/.exec(readme)?.[1]).toBe(String(OPERATIONS.length));
  const rows = readFileSync(join(root, 'docs', 'properties.md'), 'utf8').matchAll(
    /^\| (\d+) \| ([^|]*) \| ([^|]*) \|$/gm,
  );
  const documented = [...rows].map(([, gap, what]) => ({ gap: Number(gap), what: what! }));
  expect(documented.map((d) => d.gap)).toEqual([...ALL_GAPS]);
  for (const { gap, what } of documented) expect(gapText(gap).split(' ')[0], what).toBe(what.split(' ')[0]);
});
