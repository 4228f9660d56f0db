/**
 * Page faults from `perf script` text. Recommended: `perf record -e page-faults -c 1 -d PROG`, then
 * `perf script -F comm,pid,tid,time,event,addr,ip`. Also taken: the exceptions:page_fault_user tracepoint.
 *
 * Without the addr field perf prints only where the program was, not what it touched: such a line is damaged for this reader, and the
 * report says what to record. A comm may hold blanks, digits and colons: what counts as one is what leaves a pid and a known event behind it.
 */

import type { ImportReport } from './import-report.ts';
import { parseHexDigits, type Word64 } from './word64.ts';

export interface FaultRecord {
  readonly line: number;
  readonly comm: string;
  /** Process; equal to tid if perf printed one number. */
  readonly pid: number;
  readonly tid: number;
  /** Seconds as printed; null if not printed. */
  readonly time: string | null;
  readonly event: string;
  /** Touched address and instruction. `num` of addr is exact for any user address. */
  readonly addr: Word64;
  readonly ip: Word64;
  /** Taken inside the kernel: a copy to or from user memory. */
  readonly isKernelIp: boolean;
  /** error_code of the tracepoint; null for perf's software event. */
  readonly errorCode: number | null;
}

const HEAD = /^\s*(\S.*?)\s+(-?\d+)(?:\/(-?\d+))?\s+(?:\[(\d{3,})\]\s+)?(?:(\d+\.\d+):\s+)?(?:(\d+)\s+)?/.source;
const FAULT_LINE = new RegExp(
  `${HEAD}((?:page-faults|faults|minor-faults|major-faults|exceptions:page_fault_(?:user|kernel))(?::\\w+)?):(?:\\s+(.*))?$`,
);
const OTHER_LINE = new RegExp(`${HEAD}(?:(PERF_RECORD_\\w+)|([A-Za-z_][\\w.:/-]*):(?=\\s|$))\\s*(.*)$`);
const ADDR_IP = /^([0-9a-f]{1,16})(?: \S.*?\))?\s+([0-9a-f]{1,16})(?:\s|$)/;
const TRACEPOINT = /^address=0x([0-9a-f]{1,16}) ip=(?:0x([0-9a-f]{1,16})|\S+) error_code=0x([0-9a-f]{1,8})/;
const EXPECTED = 'perf script lines: comm pid/tid time: event: addr ip';
const LINE_LENGTH_MAX = 2048;
const KERNEL_HI_MIN = 0x8000_0000;

export class FaultParser {
  private readonly report: ImportReport;
  private readonly sink: (fault: FaultRecord) => void;
  /** Samples of other events and perf records that are no loss: understood, and nothing to replay. */
  otherEvents = 0;

  constructor(report: ImportReport, sink: (fault: FaultRecord) => void) {
    this.report = report;
    this.sink = sink;
  }

  /** Takes the next line (numbers from 1), without its line end. */
  line(text: string, line: number, isUnterminated = false): void {
    if (text.trim() === '') {
      this.report.blank++;
      return;
    }
    // frames of a call graph, and perf's own header
    if (text[0] === '\t' || text[0] === '#') {
      this.report.parsed++;
      return;
    }
    // the patterns backtrack: what is longer than any real line is not given to them
    const fault = text.length > LINE_LENGTH_MAX ? null : FAULT_LINE.exec(text);
    if (fault !== null) {
      this.fault(fault, text, line, isUnterminated);
      return;
    }
    const other = text.length > LINE_LENGTH_MAX ? null : OTHER_LINE.exec(text);
    if (other === null) {
      this.report.noteUnknown(line, text, EXPECTED);
      if (isUnterminated) this.report.noteTruncated(this.report.bytes);
      return;
    }
    this.report.parsed++;
    if (other[7] === undefined) this.otherEvents++;
    else this.record(other[7], other[9]!, line);
  }

  end(): void {}

  private record(name: string, rest: string, line: number): void {
    if (name.startsWith('PERF_RECORD_LOST')) {
      const count = /lost (\d{1,15})/.exec(rest);
      this.report.noteLost(line, count === null ? 1 : Number(count[1]));
    } else if (name === 'PERF_RECORD_THROTTLE') {
      this.report.noteLost(line, 1);
    } else {
      this.otherEvents++;
    }
  }

  private fault(match: RegExpExecArray, text: string, line: number, isUnterminated: boolean): void {
    const rest = match[8] ?? '';
    const plain = ADDR_IP.exec(rest);
    const tracepoint = plain === null ? TRACEPOINT.exec(rest) : null;
    const addr = parseHexDigits(plain?.[1] ?? tracepoint?.[1] ?? '');
    // page_fault_kernel names the instruction by symbol: some kernel address
    const ip = parseHexDigits(plain?.[2] ?? tracepoint?.[2] ?? (tracepoint === null ? '' : 'ffffffffffffffff'));
    if (addr === null || ip === null) {
      this.report.noteDamaged(
        line,
        text,
        'no address: record with -d and print with -F comm,pid,tid,time,event,addr,ip',
      );
      if (isUnterminated) this.report.noteTruncated(this.report.bytes);
      return;
    }
    this.report.parsed++;
    if (isUnterminated) this.report.lastLineWithoutNewline = true;
    const period = match[6];
    if (period !== undefined && Number(period) !== 1) this.report.noteSampled(line, Number(period));
    const pid = Number(match[2]);
    this.sink({
      line,
      comm: match[1]!,
      pid,
      tid: match[3] === undefined ? pid : Number(match[3]),
      time: match[5] ?? null,
      event: match[7]!,
      addr,
      ip,
      isKernelIp: ip.hi >= KERNEL_HI_MIN,
      errorCode: tracepoint === null ? null : Number.parseInt(tracepoint[3]!, 16),
    });
  }
}
