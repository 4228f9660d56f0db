// @ts-check
/** How fast recordings are read: lines per second of unpacked text in 64 KiB chunks, from bytes to records. */
import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { elapsed, figureOf, now, recording, report, wanted } from './harness.mjs';
import { load } from './simulated.mjs';

/** @type {typeof import('../src/workload/lackey.ts')} */
const { LackeyReader } = await load('workload/lackey.js');
/** @type {typeof import('../src/workload/import-report.ts')} */
const { ImportReport } = await load('workload/import-report.js');
/** @type {typeof import('../src/workload/line-reader.ts')} */
const { LineReader } = await load('workload/line-reader.js');
/** @type {typeof import('../src/workload/strace/parser.ts')} */
const { StraceParser } = await load('workload/strace/parser.js');

const CHUNK = 1 << 16;
const LACKEY_TARGET = 10e6;
const WARMUPS = 3;
const ROUNDS = 9;

/** @param {string} path */
function chunksOf(path) {
  const bytes = readFileSync(path);
  const text = path.endsWith('.gz') ? gunzipSync(bytes) : bytes;
  return Array.from({ length: Math.ceil(text.length / CHUNK) }, (_, i) => text.subarray(i * CHUNK, (i + 1) * CHUNK));
}

/** @typedef {{ lines: number, records: number }} Parsed */

/** @param {string} name @param {Uint8Array[]} chunks @returns {Parsed} */
function parseLackey(name, chunks) {
  let records = 0;
  const result = new ImportReport(name, false);
  const reader = new LackeyReader(result, (block) => {
    records += block.count;
  });
  for (const chunk of chunks) reader.push(chunk);
  reader.end();
  return { lines: result.lines, records };
}

/** @param {string} name @param {Uint8Array[]} chunks @returns {Parsed} */
function parseStrace(name, chunks) {
  let records = 0;
  const result = new ImportReport(name, false);
  const parser = new StraceParser(result, () => {
    records++;
  });
  const lines = new LineReader(result, (text, line, isUnterminated) => parser.line(text, line, isUnterminated));
  for (const chunk of chunks) lines.push(chunk);
  lines.end();
  parser.end();
  return { lines: result.lines, records };
}

/** @param {string} name @param {string} file @param {typeof parseLackey} parse @param {number | null} least lines/s */
function measure(name, file, parse, least) {
  if (!wanted(name)) return;
  const path = recording(file);
  if (!path) return;
  const chunks = chunksOf(path);
  let parsed = { lines: 0, records: 0 };
  const samples = [];
  for (let i = -WARMUPS; i < ROUNDS; i++) {
    const start = now();
    parsed = parse(name, chunks);
    const ns = elapsed(start, now());
    if (i >= 0) samples.push(ns / parsed.lines);
  }
  const { min, median } = figureOf(samples);
  const detail = { linesPerSecond: Math.round(1e9 / min), medianNs: median, ...parsed };
  report(name, 'ns/line', min, least === null ? null : { name: 'target', value: 1e9 / least }, 1, detail);
}

for (const program of ['mmap-copy', 'malloc-threads', 'perl-small', 'shm-queue'])
  measure(`parse-lackey:${program}`, `lackey/${program}.lackey`, parseLackey, LACKEY_TARGET);
for (const program of ['gcc-compile', 'java-gc', 'malloc-threads'])
  measure(`parse-strace:${program}`, `programs/${program}.strace`, parseStrace, null);
