// Where the files of recorded test suites lie: in folders, or in an archive for each suite.
//
// An archive (SUITE.br) is the folder of a suite as one stream, compressed with brotli: cases of one suite have nearly all
// their text in common, which only a common window sees. The stream is a list of files: a line "NAME LENGTH", then the bytes.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { brotliCompressSync, brotliDecompressSync, constants } from 'node:zlib';
import { InputError } from '../../base/assert.ts';
import { DISK, type RecordingFiles } from '../recording-files.ts';

const ENDING = '.br';

/** The files of one archive, under the path of the archive without its ending. */
export class Archive implements RecordingFiles {
  readonly names: readonly string[];
  readonly #bytes = new Map<string, Uint8Array>();
  readonly #root: string;

  /** Throws InputError for a file that is no archive. */
  constructor(path: string) {
    this.#root = path.slice(0, -ENDING.length);
    let all: Uint8Array;
    try {
      all = brotliDecompressSync(readFileSync(path));
    } catch (error) {
      throw new InputError(
        `${path}: ${error instanceof Error ? error.message : error}; expected an archive of a suite`,
      );
    }
    for (let at = 0; at < all.length; ) {
      const end = all.indexOf(10, at);
      const head = /^(\S+) (\d+)$/.exec(Buffer.from(all.subarray(at, end)).toString('latin1'));
      if (end < 0 || head === null) throw new InputError(`${path}: byte ${at}: expected a line "NAME LENGTH"`);
      const from = end + 1;
      at = from + Number(head[2]);
      this.#bytes.set(head[1]!, all.subarray(from, at));
    }
    this.names = [...this.#bytes.keys()];
  }

  find(path: string): string | null {
    return this.#bytes.has(this.#nameOf(path)) ? path : null;
  }

  *chunks(path: string): Iterable<Uint8Array> {
    yield this.#bytes.get(this.#nameOf(path)) ?? new Uint8Array(0);
  }

  text(name: string): string | null {
    const bytes = this.#bytes.get(name);
    return bytes === undefined ? null : Buffer.from(bytes).toString('utf8');
  }

  #nameOf(path: string): string {
    return path.startsWith(`${this.#root}/`) ? path.slice(this.#root.length + 1) : path;
  }
}

/** The archive of these files, in this order. */
export function packArchive(files: readonly { readonly name: string; readonly bytes: Uint8Array }[]): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const { name, bytes } of files) parts.push(Buffer.from(`${name} ${bytes.length}\n`), bytes);
  const all = Buffer.concat(parts);
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: constants.BROTLI_MAX_QUALITY,
    [constants.BROTLI_PARAM_LGWIN]: constants.BROTLI_MAX_WINDOW_BITS,
    [constants.BROTLI_PARAM_SIZE_HINT]: all.length,
  };
  return brotliCompressSync(all, { params });
}

/** One suite: a folder, or an archive. */
export interface SuiteFolder {
  readonly name: string;
  /** Path of the folder, or of the archive without its ending. */
  readonly path: string;
  readonly archive: string | null;
}

/** The suites of `path`: itself if it is one, else its sub-folders and archives. Throws InputError if there is none. */
export function findSuites(path: string): SuiteFolder[] {
  if (path.endsWith(ENDING)) return [suiteOfArchive(path)];
  if (!existsSync(path) || !statSync(path).isDirectory())
    throw new InputError(`${path}: not a folder; expected one with recordings of test suites`);
  const entries = readdirSync(path, { withFileTypes: true });
  if (entries.some((e) => isTrace(e.name) || e.name === 'cases.tsv'))
    return [{ name: basename(path), path, archive: null }];
  const suites: SuiteFolder[] = [];
  for (const e of entries) {
    const inside = join(path, e.name);
    if (e.name.endsWith(ENDING)) suites.push(suiteOfArchive(inside));
    else if (e.isDirectory() && readdirSync(inside).some(isTrace))
      suites.push({ name: e.name, path: inside, archive: null });
  }
  if (suites.length === 0)
    throw new InputError(`${path}: no recording (*.strace, *.strace.gz, *.br) in it or one folder below`);
  return suites.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function suiteOfArchive(path: string): SuiteFolder {
  if (!existsSync(path)) throw new InputError(`${path}: no such file; expected an archive of a suite`);
  return { name: basename(path, ENDING), path: path.slice(0, -ENDING.length), archive: path };
}

export function isTrace(name: string): boolean {
  return /\.strace(\.gz)?$/.test(name);
}

const opened = new Map<string, Archive>();

/** The files of a suite. Archives are read once. */
export function filesOf(suite: SuiteFolder): RecordingFiles {
  return suite.archive === null ? DISK : archiveOf(suite.archive);
}

export function archiveOf(path: string): Archive {
  let archive = opened.get(path);
  if (archive === undefined) {
    archive = new Archive(path);
    opened.set(path, archive);
  }
  return archive;
}
