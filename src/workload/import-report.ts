/**
 * What an importer has to say about its input, apart from the records themselves.
 *
 * The accounting law, which the fuzz test holds: lines = parsed + joined + blank + unknown + damaged. Each line is put into
 * exactly one of the five when it has been read. Everything else here (calls that never return, lost perf samples, damaged
 * compression) is counted beside it. With `strict`, the first thing that is not clean throws an InputError instead.
 */

import { InputError, quoteInput } from './input-error.ts';

/** One remembered line: number from 1, text cut to a printable length, and why it was not taken. */
export interface ReportedLine {
  readonly line: number;
  readonly text: string;
  readonly why: string;
}

const REPORTED_LINES_MAX = 20;

export class ImportReport {
  readonly path: string;
  readonly strict: boolean;

  /** Input lines seen. */
  lines = 0;
  /** Lines that gave a record, or that are a known remark of the tool. */
  parsed = 0;
  /** Lines that became part of a record counted elsewhere: first halves of split calls, glued heads. */
  joined = 0;
  blank = 0;
  /** Lines of no known shape. */
  unknown = 0;
  /** Lines of a known shape that does not hold to its end. */
  damaged = 0;
  /** The first twenty unknown and damaged lines. */
  readonly firstUnknown: ReportedLine[] = [];
  readonly firstDamaged: ReportedLine[] = [];

  /** Lines longer than the cap: their ends were dropped. They are counted as damaged too when they no longer parse. */
  cutLines = 0;
  /** Decompressed bytes read. */
  bytes = 0;
  /** Length of the text in bytes when its last line is cut short; null when it is whole. */
  truncatedAtByte: number | null = null;
  /** The last line has no newline but is whole. Not a fault. */
  lastLineWithoutNewline = false;
  /** What is wrong with the compressed file; the text before the damage has been used. */
  compressionDamage: string | null = null;

  /** Calls open when the text ended, or overtaken by another call of the same task: result unknown. */
  callsNeverResumed = 0;
  /** Calls open when their own task ended: nothing is missing, the call did not return. */
  callsOpenAtTaskEnd = 0;
  /** Second halves whose first half lies before the start of the text: arguments unknown. */
  callsWithoutStart = 0;
  /** Lines without a tid although several tasks were alive: put down to the last survivor by rule. */
  ambiguousTids = 0;
  /** Samples or events that the recorder itself says it lost. */
  lostEvents = 0;
  /** Records that stand for more than one event (a sampling period other than 1). */
  sampledEvents = 0;
  /** Accesses at addresses beyond 48 bits, left out. */
  addressesOutOfRange = 0;

  constructor(path: string, strict = false) {
    this.path = path;
    this.strict = strict;
  }

  noteUnknown(line: number, text: string, expected: string): void {
    this.unknown++;
    if (this.firstUnknown.length < REPORTED_LINES_MAX) {
      this.firstUnknown.push({ line, text: quoteInput(text), why: `expected ${expected}` });
    }
    if (this.strict) throw new InputError(this.path, { line }, `unknown line '${quoteInput(text)}'`, expected);
  }

  noteDamaged(line: number, text: string, why: string): void {
    this.damaged++;
    if (this.firstDamaged.length < REPORTED_LINES_MAX) {
      this.firstDamaged.push({ line, text: quoteInput(text), why });
    }
    if (this.strict)
      throw new InputError(this.path, { line }, `damaged line '${quoteInput(text)}' (${why})`, 'whole lines');
  }

  noteCutLine(line: number, lineBytesMax: number): void {
    this.cutLines++;
    if (this.strict) {
      throw new InputError(this.path, { line }, 'line cut', `at most ${lineBytesMax} bytes a line`);
    }
  }

  noteTruncated(byte: number): void {
    this.truncatedAtByte = byte;
    if (this.strict)
      throw new InputError(this.path, { byte }, 'text truncated in the middle of a line', 'a whole last line');
  }

  noteCompressionDamage(what: string): void {
    this.compressionDamage = what;
    if (this.strict) throw new InputError(this.path, { byte: this.bytes }, what, 'undamaged compressed data');
  }

  noteNeverResumed(line: number, name: string): void {
    this.callsNeverResumed++;
    if (this.strict)
      throw new InputError(this.path, { line }, `${name}: unfinished and never resumed`, 'the second half');
  }

  noteWithoutStart(line: number, name: string): void {
    this.callsWithoutStart++;
    if (this.strict)
      throw new InputError(this.path, { line }, `${name}: resumed but never begun`, 'the first half before it');
  }

  noteAmbiguousTid(line: number): void {
    this.ambiguousTids++;
    if (this.strict) {
      throw new InputError(
        this.path,
        { line },
        'no tid although several tasks are alive',
        'a tid on each line (strace -o)',
      );
    }
  }

  noteLost(line: number, count: number): void {
    this.lostEvents += count;
    if (this.strict)
      throw new InputError(this.path, { line }, `${count} events lost by the recorder`, 'a complete recording');
  }

  noteSampled(line: number, period: number): void {
    this.sampledEvents++;
    if (this.strict)
      throw new InputError(this.path, { line }, `sampled, period ${period}`, 'every event (perf record -c 1)');
  }

  noteOutOfRange(line: number): void {
    this.addressesOutOfRange++;
    if (this.strict) throw new InputError(this.path, { line }, 'address beyond 48 bits', 'a user address');
  }

  /** True if every line was understood and nothing is missing. */
  isClean(): boolean {
    return this.problems().length === 0;
  }

  /** One short line a problem, for people; empty if the input was clean. */
  problems(): string[] {
    const out: string[] = [];
    const add = (count: number, what: string): void => {
      if (count > 0) out.push(`${count} ${what}`);
    };
    add(this.unknown, 'unknown lines');
    add(this.damaged, 'damaged lines');
    add(this.cutLines, 'lines cut at the length limit');
    add(this.callsNeverResumed, 'calls never resumed');
    add(this.callsWithoutStart, 'calls resumed but never begun');
    add(this.ambiguousTids, 'lines without a tid while several tasks were alive');
    add(this.lostEvents, 'events lost by the recorder');
    add(this.sampledEvents, 'sampled events (period other than 1)');
    add(this.addressesOutOfRange, 'addresses beyond 48 bits');
    if (this.truncatedAtByte !== null) out.push(`truncated at byte ${this.truncatedAtByte}`);
    if (this.compressionDamage !== null) out.push(this.compressionDamage);
    return out;
  }

  /** Throws if the accounting law does not hold: a bug of the importer, not of the input. */
  checkInvariants(): void {
    const sum = this.parsed + this.joined + this.blank + this.unknown + this.damaged;
    if (sum !== this.lines) throw new Error(`ImportReport: ${this.lines} lines read but ${sum} accounted for`);
  }
}
