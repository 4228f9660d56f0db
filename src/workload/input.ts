/**
 * The file readers: the only module of this room that touches Node. One way in for every importer: `readChunks` streams the
 * decompressed bytes of a file. Compression is sniffed from the first bytes, never taken from the name.
 *
 * Damage: what could be decompressed before it is delivered and the report says what happened; only a file that gives no
 * byte at all is an error. zlib throws away the piece of output in which it meets corrupt data; `recoverGunzip` gets the
 * good part of that piece back by looking for the longest good prefix of the file (not for standard input).
 */

import { createReadStream, existsSync, readFileSync } from 'node:fs';
import { Readable } from 'node:stream';
import { constants, createGunzip, gunzipSync } from 'node:zlib';
import type { ImportReport } from './import-report.ts';
import { InputError } from './input-error.ts';

const SNIFF_BYTES = 6;
const OUTPUT_BYTES = 16 * 1024;
const READ_BYTES = 64 * 1024;
/** readAll refuses texts beyond this unless told otherwise. */
export const READ_ALL_BYTES_MAX = 512 * 1024 * 1024;

/** Damaged files beyond this size are not searched for the last good byte. */
const RECOVER_BYTES_MAX = 64 * 1024 * 1024;

type Compression = 'none' | 'gzip' | 'zstd' | 'xz';

function startsWith(bytes: Uint8Array, magic: readonly number[]): boolean {
  return bytes.length >= magic.length && magic.every((byte, i) => bytes[i] === byte);
}

/** What the first bytes of a file say about its compression. */
export function sniffCompression(head: Uint8Array): Compression {
  if (startsWith(head, [0x1f, 0x8b])) return 'gzip';
  if (startsWith(head, [0x28, 0xb5, 0x2f, 0xfd])) return 'zstd';
  if (startsWith(head, [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00])) return 'xz';
  return 'none';
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The raw bytes of a file, the first chunk at least SNIFF_BYTES long if the file is. `-` is standard input. */
async function* rawChunks(path: string): AsyncGenerator<Uint8Array> {
  const stream =
    path === '-'
      ? createReadStream('', { fd: 0, highWaterMark: READ_BYTES })
      : createReadStream(path, { highWaterMark: READ_BYTES });
  let head: Buffer | null = Buffer.alloc(0);
  try {
    for await (const chunk of stream as AsyncIterable<Buffer>) {
      if (head === null) {
        yield chunk;
        continue;
      }
      head = Buffer.concat([head, chunk]);
      if (head.length < SNIFF_BYTES) continue;
      yield head;
      head = null;
    }
  } catch (error) {
    throw new InputError(path, {}, `cannot read: ${messageOf(error)}`, 'a readable file');
  }
  if (head !== null && head.length > 0) yield head;
}

/** The text of a prefix of a gzip file; null if the prefix reaches into the damage. */
function gunzipPrefix(packed: Uint8Array): Uint8Array | null {
  try {
    return gunzipSync(packed, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: READ_ALL_BYTES_MAX });
  } catch {
    return null;
  }
}

/** Text of a corrupt gzip file from byte `from` on to the damage: bisects the file for its longest good prefix. */
function recoverGunzip(path: string, from: number): Uint8Array {
  const packed = path === '-' ? new Uint8Array(0) : readFileSync(path);
  if (packed.length > RECOVER_BYTES_MAX) return new Uint8Array(0);
  let good = 0;
  let bad = packed.length + 1;
  let text: Uint8Array = new Uint8Array(0);
  while (bad - good > 1) {
    const middle = (good + bad) >>> 1;
    const prefix = gunzipPrefix(packed.subarray(0, middle));
    if (prefix === null) bad = middle;
    else {
      good = middle;
      text = prefix;
    }
  }
  return text.subarray(Math.min(from, text.length));
}

async function* gunzipChunks(
  path: string,
  compressed: AsyncGenerator<Uint8Array>,
  report: ImportReport,
): AsyncGenerator<Uint8Array> {
  const gunzip = createGunzip({ chunkSize: OUTPUT_BYTES });
  let compressedBytes = 0;
  async function* counted(): AsyncGenerator<Uint8Array> {
    for await (const chunk of compressed) {
      compressedBytes += chunk.length;
      yield chunk;
    }
  }
  const source = Readable.from(counted(), { objectMode: false });
  source.on('error', (error) => gunzip.destroy(error));
  source.pipe(gunzip);
  let deliveredBytes = 0;
  try {
    for await (const chunk of gunzip as AsyncIterable<Uint8Array>) {
      deliveredBytes += chunk.length;
      yield chunk;
    }
  } catch (error) {
    if (error instanceof InputError) throw error;
    const what = `damaged gzip data: ${messageOf(error)}`;
    const rest = recoverGunzip(path, deliveredBytes);
    if (rest.length > 0) {
      deliveredBytes += rest.length;
      yield rest;
    }
    if (deliveredBytes === 0) throw new InputError(path, { byte: 0 }, what, 'a gzip file that can be decompressed');
    report.noteCompressionDamage(`${what} after ${deliveredBytes} bytes of text`);
    return;
  } finally {
    source.destroy();
  }
  const trailing = compressedBytes - gunzip.bytesWritten;
  if (trailing > 0) report.noteCompressionDamage(`${trailing} bytes after the end of the gzip data ignored`);
}

/**
 * Streams the decompressed bytes of a file (`-`: standard input). Plain text and gzip, members may follow one another.
 * Errors: InputError if the file cannot be read, is zstd or xz, or is gzip that gives not one byte.
 */
export async function* readChunks(path: string, report: ImportReport): AsyncGenerator<Uint8Array> {
  const raw = rawChunks(path);
  const first = await raw.next();
  if (first.done === true) return;
  const compression = sniffCompression(first.value);
  if (compression === 'zstd' || compression === 'xz') {
    const tool = compression === 'xz' ? 'xz -dc' : 'zstd -dc';
    throw new InputError(
      path,
      { byte: 0 },
      `${compression} compression is unsupported, run ${tool} first`,
      'plain text or gzip',
    );
  }
  async function* all(): AsyncGenerator<Uint8Array> {
    yield first.value as Uint8Array;
    yield* raw;
  }
  if (compression === 'gzip') yield* gunzipChunks(path, all(), report);
  else yield* all();
}

/** The whole decompressed text of a file in one array. Errors: as readChunks, and InputError beyond `bytesMax`. */
export async function readAll(path: string, report: ImportReport, bytesMax = READ_ALL_BYTES_MAX): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of readChunks(path, report)) {
    length += chunk.length;
    if (length > bytesMax) throw new InputError(path, { byte: bytesMax }, 'text too long', `at most ${bytesMax} bytes`);
    chunks.push(chunk);
  }
  const all = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    all.set(chunk, at);
    at += chunk.length;
  }
  return all;
}

/** `path` or `path.gz`, whichever exists; null if neither does. */
export function findRecording(path: string): string | null {
  if (existsSync(path)) return path;
  return existsSync(`${path}.gz`) ? `${path}.gz` : null;
}
