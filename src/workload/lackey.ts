/**
 * valgrind lackey (`--trace-mem=yes`): bytes to blocks of accesses, without a string or an object for a line.
 *
 *     I  0401ab70,3        instruction fetch
 *      L 04033e06,1        load; S store, M modify (load and store of one instruction)
 *     ==14537== ...        remarks of valgrind, anywhere in the text; also --pid--
 *
 * The blanks before the letter may be missing. There is no tid: threads are one stream. Addresses are valgrind's layout,
 * at most 48 bits; they leave as two 18-bit halves of the page number and an offset, as the page walk wants them.
 * The inner scans read no byte beyond a newline, so they stay inside the array: 40 to 60 M lines/s on the bundled recordings
 * against 4 to 8 when they ran into its end (bench/parse.bench.ts, 2026-11).
 */

import type { ImportReport } from './import-report.ts';
import { decodeLatin1, LINE_BYTES_MAX } from './line-reader.ts';

export const LACKEY_INSTRUCTION = 0;
export const LACKEY_LOAD = 1;
export const LACKEY_STORE = 2;
export const LACKEY_MODIFY = 3;

/** Accesses 0 to count-1. The arrays are reused: take what is wanted before the callback returns. */
export interface LackeyBlock {
  count: number;
  /** LACKEY_* */
  readonly kind: Uint8Array;
  /** Page number, upper and lower 18 bits: address = (vpnHi * 2^18 + vpnLo) * 4096 + offset. */
  readonly vpnHi: Int32Array;
  readonly vpnLo: Int32Array;
  readonly offset: Uint16Array;
  /** Bytes; an access may reach into the next page. */
  readonly sizeBytes: Uint32Array;
}

const BLOCK_ACCESSES = 1 << 16;
const EXPECTED = "'I  addr,size', ' L addr,size', ' S addr,size' or ' M addr,size'";
const NEWLINE = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;
const COMMA = 0x2c;
const DIGITS_MAX = 16;
/** Sizes are below 10^9 bytes: more digits are no size. */
const SIZE_DIGITS_MAX = 9;
/** Bits of the upper half of an address that no user address has. */
const HI_BEYOND_48_BITS = ~0xffff;

/** Hex digit to value, everything else to 16. */
const HEX = new Uint8Array(256).fill(16);
for (let i = 0; i < 10; i++) HEX[0x30 + i] = i;
for (let i = 0; i < 6; i++) {
  HEX[0x61 + i] = 10 + i;
  HEX[0x41 + i] = 10 + i;
}

/** Letter to LACKEY_*, everything else to 255. */
const KIND = new Uint8Array(256).fill(255);
for (const [letter, kind] of [
  ['I', LACKEY_INSTRUCTION],
  ['L', LACKEY_LOAD],
  ['S', LACKEY_STORE],
  ['M', LACKEY_MODIFY],
] as const) {
  KIND[letter.charCodeAt(0)] = kind;
}

export function makeLackeyBlock(accesses = BLOCK_ACCESSES): LackeyBlock {
  return {
    count: 0,
    kind: new Uint8Array(accesses),
    vpnHi: new Int32Array(accesses),
    vpnLo: new Int32Array(accesses),
    offset: new Uint16Array(accesses),
    sizeBytes: new Uint32Array(accesses),
  };
}

/** Byte address of access `i`, exact. */
export function lackeyAddress(block: LackeyBlock, i: number): number {
  return (block.vpnHi[i]! * 0x4_0000 + block.vpnLo[i]!) * 4096 + block.offset[i]!;
}

export class LackeyReader {
  private readonly report: ImportReport;
  private readonly sink: (block: LackeyBlock) => void;
  private readonly block: LackeyBlock;
  /** Start of a line whose end is in a later chunk. */
  private carry = new Uint8Array(256);
  private carried = 0;
  private droppedBytes = 0;
  private line = 0;
  private isStart = true;

  constructor(report: ImportReport, sink: (block: LackeyBlock) => void, blockAccesses = BLOCK_ACCESSES) {
    this.report = report;
    this.sink = sink;
    this.block = makeLackeyBlock(blockAccesses);
  }

  /** Takes the next bytes of the text; they may be cut anywhere. */
  push(chunk: Uint8Array): void {
    this.report.bytes += chunk.length;
    let from = 0;
    if (this.isStart && chunk.length > 0) {
      this.isStart = false;
      if (chunk[0] === 0xef && chunk[1] === 0xbb && chunk[2] === 0xbf) from = 3;
    }
    if (this.carried > 0 || this.droppedBytes > 0) {
      const end = chunk.indexOf(NEWLINE);
      this.keep(chunk, 0, end < 0 ? chunk.length : end + 1);
      if (end < 0) return;
      this.finishCarried(false);
      from = end + 1;
    }
    const whole = chunk.lastIndexOf(NEWLINE) + 1;
    if (whole > from) this.lines(chunk, from, whole);
    if (Math.max(from, whole) < chunk.length) this.keep(chunk, Math.max(from, whole), chunk.length);
  }

  /** Ends the text: a last line without newline is taken, and the last block is delivered. */
  end(): void {
    if (this.carried > 0 || this.droppedBytes > 0) this.finishCarried(true);
    this.flush();
  }

  private keep(bytes: Uint8Array, from: number, to: number): void {
    const take = Math.min(to - from, LINE_BYTES_MAX - this.carried);
    if (this.carried + take > this.carry.length) {
      const wider = new Uint8Array(Math.min(LINE_BYTES_MAX, Math.max(this.carried + take, this.carry.length * 2)) + 1);
      wider.set(this.carry.subarray(0, this.carried));
      this.carry = wider;
    }
    this.carry.set(bytes.subarray(from, from + take), this.carried);
    this.carried += take;
    this.droppedBytes += to - from - take;
  }

  private finishCarried(isUnterminated: boolean): void {
    const wasCut = this.droppedBytes > 0;
    if (isUnterminated || wasCut) {
      const ended = new Uint8Array(this.carried + 1);
      ended.set(this.carry.subarray(0, this.carried));
      ended[this.carried] = NEWLINE;
      this.carried = 0;
      this.droppedBytes = 0;
      const lost = this.report.unknown + this.report.damaged;
      this.lines(ended, 0, ended.length);
      if (wasCut) this.report.noteCutLine(this.line, LINE_BYTES_MAX);
      if (!isUnterminated) return;
      if (this.report.unknown + this.report.damaged > lost) this.report.noteTruncated(this.report.bytes);
      else this.report.lastLineWithoutNewline = true;
      return;
    }
    const length = this.carried;
    this.carried = 0;
    this.lines(this.carry, 0, length);
  }

  private flush(): void {
    if (this.block.count === 0) return;
    this.sink(this.block);
    this.block.count = 0;
  }

  /**
   * Takes the lines of bytes[at, to), the last of which ends at `to` with its newline: a newline stops every inner scan, so
   * they need no bounds. One pass over the bytes and no calls for a well-formed line.
   */
  private lines(bytes: Uint8Array, at: number, to: number): void {
    const { kind: kinds, vpnHi, vpnLo, offset, sizeBytes } = this.block;
    const capacity = kinds.length;
    let count = this.block.count;
    let taken = 0;
    while (at < to) {
      const start = at;
      let c = bytes[at]!;
      while (c === SPACE) c = bytes[++at]!;
      const kind = KIND[c]!;
      c = kind === 255 ? 0 : bytes[++at]!;
      if (c === SPACE) {
        while (c === SPACE) c = bytes[++at]!;
        let hi = 0;
        let lo = 0;
        const digits = at;
        for (let digit = HEX[c]!; digit < 16; digit = HEX[c]!) {
          hi = (hi << 4) | (lo >>> 28);
          lo = (lo << 4) | digit;
          c = bytes[++at]!;
        }
        const sizeAt = at + 1;
        let size = 0;
        if (c === COMMA && at > digits && at - digits <= DIGITS_MAX) {
          c = bytes[++at]!;
          for (let digit = HEX[c]!; digit < 10 && at - sizeAt < SIZE_DIGITS_MAX; digit = HEX[c]!) {
            size = size * 10 + digit;
            c = bytes[++at]!;
          }
        }
        const isSized = at > sizeAt;
        if (c === CR) c = bytes[++at]!;
        if (c === NEWLINE && isSized) {
          at++;
          taken++;
          if ((hi & HI_BEYOND_48_BITS) !== 0) {
            this.report.noteOutOfRange(this.line + taken);
            continue;
          }
          kinds[count] = kind;
          vpnHi[count] = (hi << 2) | (lo >>> 30);
          vpnLo[count] = (lo >>> 12) & 0x3_ffff;
          offset[count] = lo & 0xfff;
          sizeBytes[count] = size;
          if (++count === capacity) {
            this.block.count = count;
            this.flush();
            count = 0;
          }
          continue;
        }
      }
      this.countTaken(taken);
      taken = 0;
      const end = bytes.indexOf(NEWLINE, start);
      this.otherLine(bytes, start, end);
      at = end + 1;
    }
    this.block.count = count;
    this.countTaken(taken);
  }

  private countTaken(lines: number): void {
    this.line += lines;
    this.report.lines += lines;
    this.report.parsed += lines;
  }

  /** A line that is no access: a remark, blank, an `SB addr` of --trace-superblocks, or unknown. */
  private otherLine(bytes: Uint8Array, start: number, end: number): void {
    this.line++;
    this.report.lines++;
    const text = decodeLatin1(bytes.subarray(start, Math.min(end, start + LINE_BYTES_MAX))).replace(/\r$/, '');
    if (text.trim() === '') this.report.blank++;
    else if (/^(?:==\d+==|--\d+--)(?: |$)/.test(text) || /^SB [0-9a-f]+$/.test(text)) this.report.parsed++;
    else if (/^ *[ILSM] +[0-9a-fA-F]*(?:,\d*)?$/.test(text))
      this.report.noteDamaged(this.line, text, 'address or size cut or too long');
    else this.report.noteUnknown(this.line, text, EXPECTED);
  }
}
