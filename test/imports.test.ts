// The import rule of docs/architecture.md: reads the import lines and fails on any arrow that is not allowed, on a cycle of
// value imports, on `node:` outside the places that read files, and on a run-time dependency in the core.
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const src = fileURLToPath(new URL('../src', import.meta.url));

const CORE_BELOW_SYSTEM = ['abi', 'base', 'hw', 'sched', 'notifier', 'mm', 'device'];
const ALLOWED: Record<string, readonly string[]> = {
  abi: [],
  base: [],
  hw: ['abi', 'base'],
  sched: ['abi', 'base'],
  notifier: ['abi', 'base', 'sched'],
  mm: ['abi', 'base', 'hw', 'sched', 'notifier'],
  device: ['abi', 'base', 'hw', 'sched', 'notifier', 'mm'],
  system: CORE_BELOW_SYSTEM,
  check: ['abi', 'base'],
  explore: ['abi', 'base', 'sched', 'check'],
  workload: [...CORE_BELOW_SYSTEM, 'system', 'check', 'explore'],
  conformance: [...CORE_BELOW_SYSTEM, 'system', 'check', 'explore', 'workload'],
  report: ['abi', 'base', 'workload', 'check'],
  author: [...CORE_BELOW_SYSTEM, 'system', 'check', 'explore', 'workload', 'report'],
  testing: [...CORE_BELOW_SYSTEM, 'system', 'check', 'explore', 'workload', 'report', 'author'],
  cli: [...CORE_BELOW_SYSTEM, 'system', 'check', 'explore', 'workload', 'conformance', 'report', 'author'],
};
/** The package's entry. */
ALLOWED['index.ts'] = [...CORE_BELOW_SYSTEM, 'system', 'check', 'explore', 'workload'];
const CORE = new Set([...CORE_BELOW_SYSTEM, 'system', 'check', 'explore']);
const OUTSIDE = new Set(['workload', 'conformance', 'author', 'testing', 'cli']);

interface Import {
  from: string;
  target: string;
  isType: boolean;
}

function sources(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true }).flatMap((e) => {
    const path = join(directory, e.name);
    if (e.isDirectory()) return sources(path);
    return e.name.endsWith('.ts') && !e.name.endsWith('.test.ts') ? [path] : [];
  });
}

/** True for `{ type A, type B }`: erased by the compiler. */
function isAllTypes(names: string): boolean {
  const inner = names.slice(1, -1).split(',');
  return names.startsWith('{') && inner.every((n) => n.trim() === '' || n.trim().startsWith('type '));
}

function importsOf(file: string): Import[] {
  const text = readFileSync(file, 'utf8');
  const found: Import[] = [];
  for (const m of text.matchAll(/^(?:import|export)\s+(type\s+)?([^'";]*?)\s*from\s*['"]([^'"]+)['"]/gm)) {
    found.push({ from: file, target: m[3]!, isType: m[1] !== undefined || isAllTypes(m[2]!.trim()) });
  }
  for (const m of text.matchAll(/^import\s*['"]([^'"]+)['"]/gm))
    found.push({ from: file, target: m[1]!, isType: false });
  for (const m of text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g))
    found.push({ from: file, target: m[1]!, isType: true });
  return found;
}

const files = sources(src);
const all = files.flatMap(importsOf);
const roomOf = (file: string): string => relative(src, file).split('/')[0]!;

test('every import follows the arrows between rooms', () => {
  expect(all.length).toBeGreaterThan(90);
  const wrong = all
    .filter((i) => i.target.startsWith('.'))
    .filter((i) => {
      const from = roomOf(i.from);
      const to = roomOf(resolve(dirname(i.from), i.target));
      return from !== to && !(ALLOWED[from] ?? []).includes(to);
    })
    .map((i) => `${relative(src, i.from)} -> ${i.target}`);
  expect(wrong).toEqual([]);
});

test('value imports form no cycle', () => {
  const edges = new Map<string, string[]>();
  for (const i of all) {
    if (!i.target.startsWith('.') || i.isType) continue;
    const list = edges.get(i.from) ?? [];
    list.push(resolve(dirname(i.from), i.target));
    edges.set(i.from, list);
  }
  const finished = new Set<string>();
  const cycles: string[] = [];
  const visit = (file: string, path: string[]): void => {
    if (finished.has(file)) return;
    if (path.includes(file)) {
      cycles.push([...path.slice(path.indexOf(file)), file].map((f) => relative(src, f)).join(' -> '));
      return;
    }
    for (const next of edges.get(file) ?? []) visit(next, [...path, file]);
    finished.add(file);
  };
  for (const f of files) visit(f, []);
  expect(cycles).toEqual([]);
});

test('the core imports no package and nothing of Node; only file readers and the command line do', () => {
  const wrong = all
    .filter((i) => !i.target.startsWith('.'))
    .filter((i) => CORE.has(roomOf(i.from)) || !OUTSIDE.has(roomOf(i.from)))
    .map((i) => `${relative(src, i.from)} -> ${i.target}`);
  expect(wrong).toEqual([]);
});
