/**
 * The importers against the bundled recordings: the columns of cases.tsv, the tables of recordings/README.md, and counts made
 * by another method, a plain expression over the text. Nothing of any recording may be unknown, damaged or undecodable but what is listed.
 */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import type { FaultRecord } from './faults.ts';
import { importFaults, importLackey, importMaps, importStrace } from './import-file.ts';
import { ImportReport } from './import-report.ts';
import { findRecording, readChunks } from './input.ts';
import { formatMapsHeader, formatMapsLine } from './maps.ts';
import { decodeCall, returnedFd } from './strace/decode.ts';
import type { TraceRecord } from './strace/record.ts';

const RECORDINGS = join(import.meta.dirname, '../../recordings');

type Row = Readonly<Record<string, string>>;

function readCases(folder: string): Row[] {
  const [head, ...rows] = readFileSync(join(RECORDINGS, folder, 'cases.tsv'), 'utf8')
    .trimEnd()
    .split('\n');
  const names = head!.split('\t');
  return rows.map((row) => Object.fromEntries(row.split('\t').map((cell, i) => [names[i]!, cell])));
}

/** The whole text by Node alone, independent of the importers. */
function plainText(path: string): string {
  const bytes = readFileSync(path);
  return (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('latin1');
}

interface Counted {
  readonly calls: Map<string, number>;
  readonly tids: Set<number>;
  readonly undecodable: string[];
  readonly wrongPaths: string[];
  execs: number;
  joins: number;
}

function count(map: Map<string, number>, key: string): void {
  map.set(key, (map.get(key) ?? 0) + 1);
}

/** Collects what cannot be decoded, and opened files whose path in the result is another than the one asked for. */
function checkPath(counted: Counted, record: TraceRecord): void {
  if (record.kind !== 'call' || record.end !== 'returned' || record.errno !== null) return;
  const op = decodeCall(record);
  if (op.op === 'undecodable') counted.undecodable.push(`${record.name}: ${op.reason}`);
  if (op.op !== 'open' || op.path.text === null || op.path.isCut || !op.path.text.startsWith('/')) return;
  const fd = returnedFd(record);
  // links are followed and /proc is dynamic, so only the plainest case is a law: the last component of a temporary file
  if (op.path.text.startsWith('/tmp/') && fd !== null && !fd.path!.endsWith(op.path.text.split('/').at(-1)!)) {
    counted.wrongPaths.push(`${record.lineEnd}: ${op.path.text} but ${fd.path}`);
  }
}

async function importCounted(path: string): Promise<{ counted: Counted; report: ImportReport }> {
  const counted: Counted = { calls: new Map(), tids: new Set(), undecodable: [], wrongPaths: [], execs: 0, joins: 0 };
  const report = new ImportReport(path, true);
  await importStrace(readChunks(path, report), report, (record) => {
    if (record.kind === 'note') return;
    counted.tids.add(record.tid);
    if (record.kind !== 'call') return;
    count(counted.calls, record.name);
    if (record.lineStart !== record.lineEnd) counted.joins++;
    if (record.name === 'execve' && record.ret?.num === 0) counted.execs++;
    checkPath(counted, record);
  });
  report.checkInvariants();
  return { counted, report };
}

/** Names of calls by the line that starts each: the first word after the tid. */
function countStarts(text: string): { starts: Map<string, number>; halves: number; lines: number } {
  const starts = new Map<string, number>();
  for (const match of text.matchAll(/^\d+ +([a-z]\w*)\(/gm)) {
    count(starts, match[1] === 'syscall_0x1ce' ? 'mseal' : match[1] === 'syscall_0x1c3' ? 'cachestat' : match[1]!);
  }
  return {
    starts,
    halves: text.match(/^\d+ +<\.\.\. \w+ resumed>/gm)?.length ?? 0,
    lines: text.split('\n').length - 1,
  };
}

/** Column `mem` counts calls on an address space; memfd_create makes a file. */
const MEMORY_CALLS =
  'mmap munmap mremap brk mprotect madvise msync mincore mlock mlock2 munlock mlockall munlockall shmat shmdt shmget shmctl'.split(
    ' ',
  );

describe.each(['programs', 'lackey'])('%s: strace text', (folder) => {
  test.each(readCases(folder).map((row) => [row['case']!, row] as const))('%s', async (name, row) => {
    const path = findRecording(join(RECORDINGS, folder, `${name}.strace`))!;
    const { counted, report } = await importCounted(path);
    const { starts, halves, lines } = countStarts(plainText(path));
    expect(Object.fromEntries(counted.calls)).toEqual(Object.fromEntries(starts));
    expect([counted.joins, report.joined, report.lines]).toEqual([halves, halves, lines]);
    expect(counted.undecodable).toEqual([]);
    expect(counted.wrongPaths).toEqual([]);
    const memory = MEMORY_CALLS.reduce((sum, call) => sum + (counted.calls.get(call) ?? 0), 0);
    expect(memory).toBe(Number(row['mem']));
    if (folder === 'lackey') return;
    expect([counted.tids.size, counted.execs, report.lines]).toEqual(
      [row['tasks'], row['execs'], row['lines']].map(Number),
    );
  });
});

describe.each(['programs', 'lackey'])('%s: maps', (folder) => {
  test.each(readCases(folder).map((row) => row['case']!))('%s prints as it was read', async (name) => {
    for (const end of ['maps0', 'maps1']) {
      const path = findRecording(join(RECORDINGS, folder, `${name}.${end}`))!;
      const report = new ImportReport(path, true);
      const sections = await importMaps(readChunks(path, report), report);
      const lines = sections.flatMap((section) => [formatMapsHeader(section), ...section.vmas.map(formatMapsLine)]);
      expect(`${lines.join('\n')}\n`).toBe(plainText(path));
      for (const { vmas } of sections)
        for (let i = 1; i < vmas.length; i++) expect(vmas[i]!.start).toBeGreaterThanOrEqual(vmas[i - 1]!.end);
      expect(new Set(sections.map((section) => section.kind))).toEqual(new Set([end === 'maps0' ? 'execve' : 'exit']));
    }
  });
});

describe('page faults', () => {
  const cases = [
    ['lackey', 'perl-small'],
    ['lackey', 'mmap-copy'],
    ['lackey', 'shm-queue'],
    ['lackey', 'malloc-threads'],
    ['programs', 'mmap-copy'],
    ['programs', 'shm-queue'],
    ['programs', 'perl-sort'],
    ['programs', 'gcc-compile'],
  ] as const;
  test.each(cases)('%s/%s', async (folder, name) => {
    const path = findRecording(join(RECORDINGS, folder, `${name}.faults`))!;
    const report = new ImportReport(path, true);
    const faults: FaultRecord[] = [];
    await importFaults(readChunks(path, report), report, (fault) => faults.push(fault));
    const text = plainText(path);
    expect(faults.length).toBe(text.split('\n').length - 1);
    expect(faults.filter((fault) => fault.isKernelIp).length).toBe(
      text.match(/ ffffffff[0-9a-f]{8}\s*$/gm)?.length ?? 0,
    );
    const addresses = [...text.matchAll(/page-faults: +([0-9a-f]+) /g)].map((match) => Number(`0x${match[1]}`));
    expect(faults.map((fault) => fault.addr.num)).toEqual(addresses);
    const row = readCases(folder).find((other) => other['case'] === name)!;
    if (folder === 'lackey') expect(faults.length).toBe(Number(row['faults']));
  });
});

describe('memory references', () => {
  test.each(readCases('lackey').map((row) => [row['case']!, row] as const))('%s', async (name, row) => {
    const path = join(RECORDINGS, 'lackey', `${name}.lackey.gz`);
    const report = new ImportReport(path, true);
    const kinds = [0, 0, 0, 0];
    await importLackey(readChunks(path, report), report, (block) => {
      for (let i = 0; i < block.count; i++) kinds[block.kind[i]!]!++;
    });
    expect(kinds).toEqual([
      row['I'] === 'left out' ? 0 : Number(row['I']),
      Number(row['L']),
      Number(row['S']),
      Number(row['M']),
    ]);
    report.checkInvariants();
  });
});
