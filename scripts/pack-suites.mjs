// Packs folders of recorded test suites (SUITE/cases.tsv, SUITE/CASE.strace ...) into recordings/suites/SUITE.br:
//   node scripts/pack-suites.mjs FOLDER
// Files that are compressed one by one are unpacked first. Needs a build.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { root } from './prepare.mjs';

/** @type {{ packArchive: (files: { name: string, bytes: Uint8Array }[]) => Uint8Array }} */
const { packArchive } = await import(pathToFileURL(join(root, 'dist/workload/suites/case-files.js')).href);
const from = process.argv[2];
if (from === undefined) throw new Error('expected a folder of suites');
const to = join(root, 'recordings', 'suites');
mkdirSync(to, { recursive: true });
for (const suite of readdirSync(from, { withFileTypes: true })) {
  if (!suite.isDirectory()) continue;
  const folder = join(from, suite.name);
  const files = readdirSync(folder)
    .sort()
    .map((name) => {
      const bytes = readFileSync(join(folder, name));
      const isPacked = name.endsWith('.gz');
      return { name: isPacked ? name.slice(0, -3) : name, bytes: isPacked ? gunzipSync(bytes) : bytes };
    });
  const archive = packArchive(files);
  writeFileSync(join(to, `${suite.name}.br`), archive);
  console.log(`${suite.name}: ${files.length} files, ${archive.length} bytes`);
}
