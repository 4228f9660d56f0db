// Originals that museum entries replace: a hash of each, so that a change of the kernel under an entry is seen. When this fails, look
// whether the entry's patch still is the historic form of the new original, then run with UPDATE=1.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type { KernelFns } from '../src/mm/fns.ts';
import { linuxFns } from '../src/mm/table.ts';
import type { Livepatch } from '../src/system/livepatch.ts';
import type { Bug, Revision } from '../src/workload/museum/bug.ts';

const ROOT = fileURLToPath(new URL('../bugs/', import.meta.url));
const RECORD = fileURLToPath(new URL('./bugs-drift.json', import.meta.url));

/** Source text without comments and white space, which change nothing. */
function hashOf(name: keyof KernelFns): string {
  const text = linuxFns[name]
    .toString()
    .replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
    .replace(/\s+/g, '');
  return createHash('sha256').update(text).digest('hex').slice(0, 12);
}

function patchesOf(revision: Revision): Livepatch[] {
  const { patches = [] } = revision;
  return Array.isArray(patches) ? patches : [patches as Livepatch];
}

test('no original that an entry replaces has changed since the entry was looked at', async () => {
  const hashes: Record<string, Record<string, string>> = {};
  for (const file of readdirSync(ROOT).filter((f) => /^\d\d-.*\.ts$/.test(f))) {
    const { default: bug } = (await import(/* @vite-ignore */ `${ROOT}${file}`)) as { default: Bug };
    const names = [bug.historic, bug.fixed, ...Object.values(bug.others ?? {})].flatMap(patchesOf).flatMap(Object.keys);
    if (names.length === 0) continue;
    hashes[bug.id] = Object.fromEntries([...new Set(names)].sort().map((n) => [n, hashOf(n as keyof KernelFns)]));
  }
  expect(Object.keys(hashes).length).toBeGreaterThan(5);
  if (process.env['UPDATE'] === '1') writeFileSync(RECORD, `${JSON.stringify(hashes, null, 2)}\n`);
  expect(hashes).toEqual(JSON.parse(readFileSync(RECORD, 'utf8')));
});
