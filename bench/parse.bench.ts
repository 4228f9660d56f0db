/** Parsing speed of the two text forms that are long: lackey and strace. Chunks are in memory, reading and gunzip not timed. */

import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { ImportReport } from '../src/workload/import-report.ts';
import { findRecording, readAll } from '../src/workload/input.ts';
import { LackeyReader } from '../src/workload/lackey.ts';
import { LineReader } from '../src/workload/line-reader.ts';
import { decodeCall } from '../src/workload/strace/decode.ts';
import { StraceParser } from '../src/workload/strace/parser.ts';

export interface BenchResult {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** What one unit of work was. */
  readonly of: string;
}

const CHUNK_BYTES = 64 * 1024;
const ROUNDS = 5;
const SCALE: Readonly<Record<string, number>> = { 'M lines/s': 1e6, 'k lines/s': 1e3 };

function chunked(bytes: Uint8Array): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += CHUNK_BYTES) chunks.push(bytes.subarray(at, at + CHUNK_BYTES));
  return chunks;
}

/** Best of several rounds: lines per second. */
function measure(name: string, unit: string, of: string, round: () => number): BenchResult {
  let best = 0;
  for (let i = 0; i < ROUNDS; i++) {
    const start = performance.now();
    const lines = round();
    best = Math.max(best, lines / ((performance.now() - start) / 1000));
  }
  return { name, value: best / SCALE[unit]!, unit, of };
}

function readLackey(chunks: readonly Uint8Array[]): number {
  const report = new ImportReport('bench');
  let accesses = 0;
  const reader = new LackeyReader(report, (block) => {
    accesses += block.count;
  });
  for (const chunk of chunks) reader.push(chunk);
  reader.end();
  if (accesses === 0) throw new Error('bench: no accesses');
  return report.lines;
}

function readStrace(chunks: readonly Uint8Array[], isDecoded: boolean): number {
  const report = new ImportReport('bench');
  let calls = 0;
  const parser = new StraceParser(report, (record) => {
    if (record.kind !== 'call') return;
    calls++;
    if (isDecoded && decodeCall(record).op === 'undecodable') throw new Error('bench: undecodable call');
  });
  const reader = new LineReader(report, (text, line, isUnterminated) => parser.line(text, line, isUnterminated));
  for (const chunk of chunks) reader.push(chunk);
  reader.end();
  parser.end();
  if (calls === 0) throw new Error('bench: no calls');
  return report.lines;
}

/** Runs all parser benchmarks on the recordings below `folder`. */
export async function run(folder = 'recordings'): Promise<BenchResult[]> {
  const load = async (name: string): Promise<Uint8Array[]> => {
    const path = findRecording(join(folder, name));
    if (path === null) throw new Error(`bench: no recording ${name} below ${folder}`);
    return chunked(await readAll(path, new ImportReport(path)));
  };
  const out: BenchResult[] = [];
  for (const name of ['malloc-threads', 'mmap-copy', 'perl-small', 'shm-queue']) {
    const chunks = await load(`lackey/${name}.lackey`);
    out.push(measure(`lackey ${name}`, 'M lines/s', 'text to typed arrays', () => readLackey(chunks)));
  }
  for (const name of ['make-tree', 'redis-bgsave', 'node-gc']) {
    const chunks = await load(`programs/${name}.strace`);
    out.push(measure(`strace ${name}`, 'k lines/s', 'text to call records', () => readStrace(chunks, false)));
    out.push(measure(`strace ${name}, decoded`, 'k lines/s', 'text to operations', () => readStrace(chunks, true)));
  }
  return out;
}
