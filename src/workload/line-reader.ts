/**
 * Bytes to lines, for every text importer: latin1, `\n` and `\r\n`, an optional UTF-8 byte order mark, a last line that may lack
 * its newline. A line is cut at LINE_BYTES_MAX and the rest of it is dropped, so that hostile input costs bounded memory.
 *
 * A chunk is decoded once and lines are slices of it. TextDecoder is no use: its 'latin1' is windows-1252.
 */

import type { ImportReport } from './import-report.ts';

export const LINE_BYTES_MAX = 1 << 20;

const DECODE_BYTES = 8192;
const CR = 0x0d;
const BOM = '\xef\xbb\xbf';

/** Bytes as a string of the same length, code unit = byte. */
export function decodeLatin1(bytes: Uint8Array): string {
  if (bytes.length <= DECODE_BYTES) return String.fromCharCode.apply(null, bytes as unknown as number[]);
  const parts: string[] = [];
  for (let at = 0; at < bytes.length; at += DECODE_BYTES) {
    parts.push(String.fromCharCode.apply(null, bytes.subarray(at, at + DECODE_BYTES) as unknown as number[]));
  }
  return parts.join('');
}

/** The inverse of decodeLatin1; code units above 255 are a programming error of the caller and wrap. */
export function encodeLatin1(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** Receives each line without its line end. `isLast` is set on a last line that had no newline. */
export type LineSink = (text: string, line: number, isUnterminated: boolean) => void;

export class LineReader {
  readonly report: ImportReport;
  private readonly sink: LineSink;
  private carry = '';
  /** Bytes of the current line dropped beyond the cap. */
  private droppedBytes = 0;
  private line = 0;

  constructor(report: ImportReport, sink: LineSink) {
    this.report = report;
    this.sink = sink;
  }

  /** Takes the next bytes of the text; they may be cut anywhere. */
  push(chunk: Uint8Array): void {
    this.report.bytes += chunk.length;
    const text = decodeLatin1(chunk);
    let from = 0;
    for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', from)) {
      if (this.carry === '' && this.droppedBytes === 0) {
        this.emit(text.slice(from, end), false);
      } else {
        this.keep(text, from, end);
        this.emit(this.carry, false);
      }
      from = end + 1;
    }
    if (from < text.length) this.keep(text, from, text.length);
  }

  /** Ends the text; a last line without newline is delivered now. */
  end(): void {
    if (this.carry !== '' || this.droppedBytes > 0) this.emit(this.carry, true);
  }

  private keep(text: string, from: number, to: number): void {
    const room = LINE_BYTES_MAX - this.carry.length;
    const take = Math.min(room, to - from);
    if (take > 0) this.carry += text.slice(from, from + take);
    this.droppedBytes += to - from - take;
  }

  private emit(text: string, isUnterminated: boolean): void {
    const wasCut = this.droppedBytes > 0 || text.length > LINE_BYTES_MAX;
    this.carry = '';
    this.droppedBytes = 0;
    this.line++;
    this.report.lines++;
    if (text.length > LINE_BYTES_MAX) text = text.slice(0, LINE_BYTES_MAX);
    if (this.line === 1 && text.startsWith(BOM)) text = text.slice(3);
    if (text.length > 0 && text.charCodeAt(text.length - 1) === CR) text = text.slice(0, -1);
    this.sink(text, this.line, isUnterminated);
    if (wasCut) this.report.noteCutLine(this.line, LINE_BYTES_MAX);
  }
}
