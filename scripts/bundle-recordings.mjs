// Packs the recordings of a directory (NAME.ndjson, NAME.ndjson.gz) into the form in which they come with the project:
//   node scripts/bundle-recordings.mjs <directory> <directory of the bundle>
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gunzipSync } from 'node:zlib';

const [from, to] = process.argv.slice(2);
if (from === undefined || to === undefined) {
  console.error('usage: node scripts/bundle-recordings.mjs <directory> <directory of the bundle>');
  process.exit(2);
}
const parts = readdirSync(from)
  .filter((name) => /\.ndjson(\.gz)?$/.test(name))
  .sort()
  .flatMap((name) => {
    const bytes = readFileSync(join(from, name));
    const text = name.endsWith('.gz') ? gunzipSync(bytes) : bytes;
    const head = { t: 'file', name: name.replace(/\.gz$/, '') };
    const end = text.at(-1) === 10 ? '' : '\n';
    return [Buffer.from(`${JSON.stringify(head)}\n`), text, Buffer.from(end)];
  });
const raw = Buffer.concat(parts);
const params = {
  [constants.BROTLI_PARAM_QUALITY]: 11,
  [constants.BROTLI_PARAM_LGWIN]: 24,
  [constants.BROTLI_PARAM_SIZE_HINT]: raw.length,
};
mkdirSync(to, { recursive: true });
const packed = brotliCompressSync(raw, { params });
writeFileSync(join(to, 'recordings.ndjson.br'), packed);
console.log(`${to}: ${parts.length / 3} recordings, ${raw.length} -> ${packed.length} bytes`);
