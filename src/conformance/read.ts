// Reading recordings: the recorder's own form (one NDJSON file for each case, plain or gzip), and the form in which they come
// with the project (recordings.ndjson.br: all files of a directory one after another, each headed by {"t":"file","name":...}).
//
// Damage: lines that are not a record, and a cut last line, are counted and left out; a file that does not begin with a head
// record is of no use.

import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import { brotliDecompressSync } from 'node:zlib';
import { ImportReport } from '../workload/import-report.ts';
import { readAll } from '../workload/input.ts';
import { InputError } from '../workload/input-error.ts';
import type { TraceRecord } from './record.ts';
import { type Recording, recordingOf } from './recording.ts';

export const BUNDLE_NAME = 'recordings.ndjson.br';
const SUFFIX = /\.ndjson(\.gz)?$/;

/** A case of a directory: its recording, and a second valid one where there are two. */
export interface CaseFile {
  readonly directory: string;
  readonly name: string;
  /** File names: the recording, then any other valid recordings of the same case. */
  readonly files: readonly string[];
}

/** What was wrong with the input, apart from the records themselves. */
export interface ReadProblems {
  /** Lines that are no record, by file: number of them. */
  readonly damaged: { readonly file: string; readonly lines: number; readonly first: string }[];
}

/** Texts of a bundle, by directory: unpacked once in each process. */
const bundles = new Map<string, ReadonlyMap<string, string>>();

function bundleOf(directory: string): ReadonlyMap<string, string> | null {
  const known = bundles.get(directory);
  if (known !== undefined) return known;
  const path = join(directory, BUNDLE_NAME);
  if (!existsSync(path)) return null;
  let text: string;
  try {
    text = brotliDecompressSync(readFileSync(path)).toString('latin1');
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    throw new InputError(path, {}, `cannot be unpacked: ${message}`, 'a bundle of recordings');
  }
  const files = splitBundle(path, text);
  bundles.set(directory, files);
  return files;
}

function splitBundle(path: string, text: string): Map<string, string> {
  const files = new Map<string, string>();
  const heads = [...text.matchAll(/^\{"t":"file","name":"([^"]+)"\}\n/gm)];
  if (heads.length === 0 || heads[0]!.index !== 0) {
    throw new InputError(path, { line: 1 }, 'no file record', 'a bundle of recordings');
  }
  for (const [i, head] of heads.entries()) {
    files.set(head[1]!, text.slice(head.index + head[0].length, heads[i + 1]?.index ?? text.length));
  }
  return files;
}

function fileNames(directory: string): string[] {
  const bundle = bundleOf(directory);
  const names = readdirSync(directory).filter((f) => SUFFIX.test(f));
  return [...new Set([...(bundle?.keys() ?? []), ...names])];
}

/** The cases of a directory, or of the directories in it. Throws InputError when there are none. */
export function listCases(path: string): CaseFile[] {
  if (!existsSync(path)) throw new InputError(path, {}, 'does not exist', 'a directory with recordings');
  if (!statSync(path).isDirectory())
    throw new InputError(path, {}, 'is not a directory', 'a directory with recordings');
  const cases = casesIn(path);
  if (cases.length > 0) return cases;
  const inner = readdirSync(path)
    .sort()
    .map((name) => join(path, name))
    .filter((p) => statSync(p).isDirectory());
  const all = inner.flatMap(casesIn);
  if (all.length === 0) throw new InputError(path, {}, 'has no recordings', 'NAME.ndjson or NAME.ndjson.gz files');
  return all;
}

function casesIn(directory: string): CaseFile[] {
  const byName = new Map<string, string[]>();
  for (const file of fileNames(directory).sort()) {
    const stem = file.replace(SUFFIX, '');
    const name = stem.replace(/\.second$/, '');
    const files = byName.get(name) ?? [];
    if (stem === name) files.unshift(file);
    else files.push(file);
    byName.set(name, files);
  }
  return [...byName].map(([name, files]) => ({ directory, name, files }));
}

/** The records of one file. */
export async function readRecording(directory: string, file: string, problems: ReadProblems): Promise<Recording> {
  const path = join(directory, file);
  const bundled = bundleOf(directory)?.get(file);
  const text = bundled ?? Buffer.from(await readAll(path, new ImportReport(path, false))).toString('latin1');
  const name = basename(file)
    .replace(SUFFIX, '')
    .replace(/\.second$/, '');
  return parseRecording(path, name, text, problems);
}

/** The records of a text. Throws InputError when its first line is not a head record. */
export function parseRecording(path: string, name: string, text: string, problems: ReadProblems): Recording {
  const records: TraceRecord[] = [];
  let damaged = 0;
  let first = '';
  for (const line of text.split('\n')) {
    if (line.trim() === '') continue;
    const record = parseRecord(line);
    if (record !== null) records.push(record);
    else if (damaged++ === 0) first = line.slice(0, 80);
  }
  if (damaged > 0) problems.damaged.push({ file: path, lines: damaged, first });
  if (records[0]?.t !== 'head') throw new InputError(path, { line: 1 }, 'no head record', 'a recording (NDJSON)');
  return recordingOf(name, records);
}

function parseRecord(line: string): TraceRecord | null {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return null;
  }
  if (typeof value !== 'object' || value === null) return null;
  const { i, t } = value as { i?: unknown; t?: unknown };
  return typeof i === 'number' && typeof t === 'string' ? (value as TraceRecord) : null;
}
