/** From a chunk stream to records, for each text form: the one place that joins reader, lines and parser. */

import { FaultParser, type FaultRecord } from './faults.ts';
import type { ImportReport } from './import-report.ts';
import { type LackeyBlock, LackeyReader } from './lackey.ts';
import { LineReader } from './line-reader.ts';
import { MapsParser, type MapsSection } from './maps.ts';
import { type StraceOptions, StraceParser } from './strace/parser.ts';
import type { TraceRecord } from './strace/record.ts';

/** Decompressed text in pieces cut anywhere: `readChunks` of input.ts, or arrays in memory. */
export type Chunks = AsyncIterable<Uint8Array> | Iterable<Uint8Array>;

async function eachLine(
  chunks: Chunks,
  report: ImportReport,
  parser: { line(text: string, line: number, isUnterminated: boolean): void; end(): void },
): Promise<void> {
  const lines = new LineReader(report, (text, line, isUnterminated) => parser.line(text, line, isUnterminated));
  for await (const chunk of chunks) lines.push(chunk);
  lines.end();
  parser.end();
}

/** strace text; records come in the order of results. Errors: InputError (a -c table; anything unclean if strict). */
export async function importStrace(
  chunks: Chunks,
  report: ImportReport,
  sink: (record: TraceRecord) => void,
  options: StraceOptions = {},
): Promise<void> {
  await eachLine(chunks, report, new StraceParser(report, sink, options));
}

/** The same, a batch of records for each piece of text: nothing else is held. */
export async function* straceBatches(
  chunks: Chunks,
  report: ImportReport,
  options: StraceOptions = {},
): AsyncGenerator<readonly TraceRecord[]> {
  let batch: TraceRecord[] = [];
  const parser = new StraceParser(report, (r) => batch.push(r), options);
  const lines = new LineReader(report, (text, line, isUnterminated) => parser.line(text, line, isUnterminated));
  for await (const chunk of chunks) {
    lines.push(chunk);
    if (batch.length === 0) continue;
    yield batch;
    batch = [];
  }
  lines.end();
  parser.end();
  if (batch.length > 0) yield batch;
}

/** Task number in the name of a file of `strace -ff -o NAME`: NAME.12526, also compressed; null if there is none. */
export function tidOfFileName(path: string): number | null {
  const match = /\.(\d{1,7})(?:\.gz)?$/.exec(path);
  return match === null ? null : Number(match[1]);
}

/** perf script page faults. */
export async function importFaults(
  chunks: Chunks,
  report: ImportReport,
  sink: (fault: FaultRecord) => void,
): Promise<void> {
  await eachLine(chunks, report, new FaultParser(report, sink));
}

/** All sections of a .maps0 or .maps1 file, or the one of a plain /proc/PID/maps. */
export async function importMaps(chunks: Chunks, report: ImportReport): Promise<MapsSection[]> {
  const sections: MapsSection[] = [];
  await eachLine(chunks, report, new MapsParser(report, (section) => sections.push(section)));
  return sections;
}

/** lackey accesses in blocks; a block is only valid inside the callback. */
export async function importLackey(
  chunks: Chunks,
  report: ImportReport,
  sink: (block: LackeyBlock) => void,
): Promise<void> {
  const reader = new LackeyReader(report, sink);
  for await (const chunk of chunks) reader.push(chunk);
  reader.end();
}
