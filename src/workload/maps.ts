/**
 * /proc/PID/maps text (fs/proc/task_mmu.c, show_map_vma): parsed, and printed exactly as the kernel prints it.
 *
 *     555555554000-555555555000 r--p 00000000 fe:00 15360014                   /build/mmap-copy
 *
 * The numeric part ends in a blank. A name starts at column 73, or one more blank after a longer numeric part; a line without a name ends in the blank after
 * the inode. Recorded files hold several address spaces, each under a line `# task N after execve` or
 * `# task N at exit, wait status 0xS`; a plain copy of /proc/PID/maps is one section of kind `plain`.
 */

import type { ImportReport } from './import-report.ts';
import { parseHexDigits } from './word64.ts';

export interface MapsVma {
  /** Byte addresses, exact: page aligned, so even [vsyscall] at the top of 64 bits is. */
  readonly start: number;
  readonly end: number;
  /** `rw-p` and its kind. */
  readonly perms: string;
  /** Byte offset in the file. */
  readonly offset: number;
  readonly major: number;
  readonly minor: number;
  /** Decimal text: inode numbers may pass 2^53. */
  readonly inode: string;
  /** As printed, with `\012` for a newline and ` (deleted)`; empty if there is none. */
  readonly name: string;
}

export interface MapsSection {
  readonly task: number;
  readonly kind: 'execve' | 'exit' | 'plain';
  /** Wait status of an exit section, else null. */
  readonly status: number | null;
  /** Line of its header, or of its first VMA. */
  readonly line: number;
  readonly vmas: MapsVma[];
}

const NAME_PAD = 72; // 25 + 6 * sizeof(void *) - 1
const TWO_32 = 0x1_0000_0000;
const HEADER = /^# task (\d{1,10}) (?:after execve|at exit, wait status 0x([0-9a-f]{1,8}))$/;
const VMA =
  /^([0-9a-f]{8,16})-([0-9a-f]{8,16}) ([r-][w-][x-][sp]) ([0-9a-f]{8,16}) ([0-9a-f]{2,3}):([0-9a-f]{2,5}) (\d{1,20}) /;
const EXPECTED = '/proc/PID/maps lines, or # task N after execve';

/** Hex to a number; NaN if a double cannot hold it. */
function exactHex(text: string): number {
  const word = parseHexDigits(text);
  if (word === null) return Number.NaN;
  const value = word.hi * TWO_32 + word.lo;
  return BigInt(value) === BigInt(`0x${text}`) ? value : Number.NaN;
}

/** One line of /proc/PID/maps; null if it is none. */
export function parseMapsLine(text: string): MapsVma | null {
  const match = VMA.exec(text);
  if (match === null) return null;
  const headLength = match[0].length;
  let name = '';
  if (text.length > headLength) {
    const nameAt = Math.max(headLength, NAME_PAD) + 1;
    if (text.length <= nameAt || text.slice(headLength, nameAt).trim() !== '') return null;
    name = text.slice(nameAt);
  }
  const vma: MapsVma = {
    start: exactHex(match[1]!),
    end: exactHex(match[2]!),
    perms: match[3]!,
    offset: exactHex(match[4]!),
    major: Number.parseInt(match[5]!, 16),
    minor: Number.parseInt(match[6]!, 16),
    inode: match[7]!,
    name,
  };
  const isSound = vma.start < vma.end && !Number.isNaN(vma.offset);
  return isSound ? vma : null;
}

function hex(value: number, width: number): string {
  const text = value < TWO_32 ? value.toString(16) : BigInt(value).toString(16);
  return text.padStart(width, '0');
}

/** The line as the kernel prints it, without its newline. */
export function formatMapsLine(vma: MapsVma): string {
  const head =
    `${hex(vma.start, 8)}-${hex(vma.end, 8)} ${vma.perms} ${hex(vma.offset, 8)} ` +
    `${hex(vma.major, 2)}:${hex(vma.minor, 2)} ${vma.inode} `;
  return vma.name === '' ? head : `${head.padEnd(NAME_PAD)} ${vma.name}`;
}

/** Header line of a recorded section; empty for a plain one. */
export function formatMapsHeader(section: MapsSection): string {
  if (section.kind === 'plain') return '';
  if (section.kind === 'execve') return `# task ${section.task} after execve`;
  return `# task ${section.task} at exit, wait status 0x${section.status!.toString(16)}`;
}

/** Path of a file mapping without ` (deleted)`, and whether it was there. */
export function mapsFile(vma: MapsVma): { readonly path: string; readonly isDeleted: boolean } {
  const isDeleted = vma.name.endsWith(' (deleted)');
  const path = isDeleted ? vma.name.slice(0, -' (deleted)'.length) : vma.name;
  return { path: path.replaceAll('\\012', '\n'), isDeleted };
}

export class MapsParser {
  private readonly report: ImportReport;
  private readonly sink: (section: MapsSection) => void;
  private section: MapsSection | null = null;

  constructor(report: ImportReport, sink: (section: MapsSection) => void) {
    this.report = report;
    this.sink = sink;
  }

  /** Takes the next line (numbers from 1), without its line end. A section is delivered when it is complete. */
  line(text: string, line: number, isUnterminated = false): void {
    if (text === '') {
      this.report.blank++;
      return;
    }
    const header = HEADER.exec(text);
    if (header !== null) {
      this.report.parsed++;
      this.end();
      const status = header[2] === undefined ? null : Number.parseInt(header[2], 16);
      this.section = { task: Number(header[1]), kind: status === null ? 'execve' : 'exit', status, line, vmas: [] };
      return;
    }
    // a line cut in the middle of a name still parses: only its end is missing
    const vma = parseMapsLine(text);
    if (vma === null) {
      if (/^[0-9a-f]{1,16}(?:-|$)/.test(text))
        this.report.noteDamaged(line, text, 'not a whole line of /proc/PID/maps');
      else this.report.noteUnknown(line, text, EXPECTED);
      if (isUnterminated) this.report.noteTruncated(this.report.bytes);
      return;
    }
    this.report.parsed++;
    if (isUnterminated) this.report.lastLineWithoutNewline = true;
    this.section ??= { task: 0, kind: 'plain', status: null, line, vmas: [] };
    this.section.vmas.push(vma);
  }

  /** Ends the text: the last section is delivered. */
  end(): void {
    if (this.section !== null) this.sink(this.section);
    this.section = null;
  }
}
