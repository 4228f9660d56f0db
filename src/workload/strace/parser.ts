/**
 * strace text to typed records: push lines in, get records out in the order in which results were printed.
 *
 * A call that was split (`<unfinished ...>`, `<... name resumed>`) comes out once, at the line of its second half, and
 * says at which line it began: the effect lies between the two. At most one call is open per task. Forms, traps and what is
 * done about them are those of the strace manual page, sections OUTPUT FORMAT and OPTIONS.
 */

import type { ImportReport } from '../import-report.ts';
import { InputError } from '../input-error.ts';
import { parseHexDigits, type Word64, ZERO64 } from '../word64.ts';
import { $prefix, scanPrefix } from './prefix.ts';
import type { CallEnd, CallRecord, NoteRecord, TraceRecord } from './record.ts';
import { $result, scanResult } from './result.ts';
import { $scan, splitArgs, splitOpenArgs } from './scan.ts';
import { syscallName } from './syscall-names.ts';
import { TaskSet } from './task-set.ts';

export interface StraceOptions {
  /** Task of lines that print no tid; for one file of `strace -ff`, the number at the end of its name. Default 0. */
  readonly defaultTid?: number;
}

interface OpenCall {
  readonly line: number;
  readonly tid: number;
  readonly name: string;
  /** Body without ` <unfinished ...>`. */
  readonly text: string;
  /** Lines that it came in. */
  readonly parts: number;
  readonly comm: string | null;
  readonly time: string | null;
}

/** Start of a line that a note of strace was printed into. */
interface GluedHead {
  readonly line: number;
  readonly text: string;
  readonly parts: number;
}

/** One call comes in at most this many lines: joining must not cost the square of hostile input. */
const PARTS_MAX = 64;
const UNFINISHED = '<unfinished ...>';
const DETACHED = '<detached ...>';
const EXPECTED = 'strace text: name(arguments) = result, with an optional pid and time before it';
const NAME = /(?:[a-z_][a-z0-9_]{0,63}|\?{4}) ?\(/y;
const RESUMED = /<\.\.\. ([a-z_][a-z0-9_]{0,63}|\?{4}) resumed>/y;
const GLUED = /strace: Process (\d{1,10}) (at|de)tached$/;
const SIGNAL = /^--- ([A-Z][A-Z0-9_]*) (\{.*\}) ---$/;
const STOPPED = /^--- stopped by ([A-Z][A-Z0-9_]*) ---$/;
const EXITED = /^\+\+\+ exited with (\d{1,10}) \+\+\+$/;
const KILLED = /^\+\+\+ killed by ([A-Z][A-Z0-9_]*)( \(core dumped\))? \+\+\+$/;
const SUPERSEDED = /^\+\+\+ superseded by execve in pid (\d{1,10})(?:<.*>)? \+\+\+$/;
const RAW_NAME = /^syscall_0x([0-9a-f]{1,8})$/;
const FORKS = new Set(['clone', 'clone3', 'fork', 'vfork']);

export class StraceParser {
  private readonly report: ImportReport;
  private readonly sink: (record: TraceRecord) => void;
  private readonly tasks: TaskSet;
  private readonly open = new Map<number, OpenCall>();
  /** Leader tid to the thread whose execve took it over, until that execve is resumed under the leader's tid. */
  private readonly supersededBy = new Map<number, number>();
  /** Head of a line that a note of strace was printed into, waiting for its rest. */
  private glued: GluedHead | null = null;
  /** Lines joined into the one that is being read. */
  private parts = 1;
  private isSummary = false;
  private hasCalls = false;

  constructor(report: ImportReport, sink: (record: TraceRecord) => void, options: StraceOptions = {}) {
    this.report = report;
    this.sink = sink;
    this.tasks = new TaskSet(options.defaultTid ?? 0);
  }

  /** Number under which task 0 was printed later on, if the text starts without tids; else null. */
  get printedNumberOfFirst(): number | null {
    return this.tasks.printedNumberOfFirst;
  }

  /** Takes the next line (numbers from 1, ascending), without its line end. */
  line(text: string, line: number, isUnterminated = false): void {
    if (this.glued !== null) {
      const head = this.glued;
      this.glued = null;
      this.parts = head.parts + 1;
      // a line with a prefix of its own is not the rest: the head stays an open call
      if (/^(?:\[pid |\d+ )/.test(text)) this.openGluedHead(head);
      else {
        text = head.text + text;
        this.body(text, head.line, line, isUnterminated);
        return;
      }
    }
    this.parts = 1;
    this.body(text, line, line, isUnterminated);
  }

  /** Ends the text: calls still open come out with `end: 'open'`. */
  end(): void {
    if (this.glued !== null) this.openGluedHead(this.glued);
    this.glued = null;
    for (const tid of [...this.open.keys()]) this.closeOpen(tid, false);
    if (this.isSummary && !this.hasCalls) {
      throw new InputError(this.report.path, { line: 1 }, 'a summary table of strace -c, not a trace', EXPECTED);
    }
  }

  private body(text: string, lineStart: number, line: number, isUnterminated: boolean): void {
    if (text.trim() === '') {
      this.report.blank++;
      return;
    }
    if (this.isSummary) {
      this.note(line, -1, 'summary', null, text);
      return;
    }
    if (text.startsWith(' > ')) {
      this.note(line, -1, 'frame', null, text.slice(3));
      return;
    }
    if (text.startsWith('% time ')) {
      this.isSummary = true;
      this.note(line, -1, 'summary', null, text);
      return;
    }
    if (text.endsWith('tached')) {
      const glued = GLUED.exec(text);
      if (glued !== null) {
        this.straceNote(text, glued, lineStart, line);
        return;
      }
    }
    scanPrefix(text);
    const at = $prefix.bodyAt;
    if (text.startsWith('strace: ', at)) {
      this.note(line, $prefix.tid, 'message', null, text.slice(at + 8));
      return;
    }
    const c = text[at];
    if (c === '<') {
      this.resumed(text, at, line, isUnterminated);
      return;
    }
    if (text.startsWith('--- ', at)) {
      this.signal(text, at, line, isUnterminated);
      return;
    }
    if (text.startsWith('+++ ', at)) {
      this.gone(text, at, line, isUnterminated);
      return;
    }
    NAME.lastIndex = at;
    if (!NAME.test(text)) {
      this.notTaken(text, line, isUnterminated, false, 'no call, signal or exit');
      return;
    }
    this.call(text, at, NAME.lastIndex - 1, lineStart, line, isUnterminated);
  }

  /** Counts a line that could not be taken: unknown, damaged, or the cut end of the text. */
  private notTaken(text: string, line: number, isUnterminated: boolean, isKnownShape: boolean, why: string): void {
    if (isKnownShape) this.report.noteDamaged(line, text, why);
    else this.report.noteUnknown(line, text, EXPECTED);
    if (isUnterminated) this.report.noteTruncated(this.report.bytes);
  }

  private taken(isUnterminated: boolean): void {
    this.report.parsed++;
    if (isUnterminated) this.report.lastLineWithoutNewline = true;
  }

  private note(line: number, tid: number, note: NoteRecord['note'], subjectTid: number | null, text: string): void {
    this.report.parsed++;
    this.sink({ kind: 'note', line, tid, note, subjectTid, text });
  }

  private straceNote(text: string, glued: RegExpExecArray, lineStart: number, line: number): void {
    const subject = Number(glued[1]);
    const note = glued[2] === 'at' ? 'attached' : 'detached';
    if (note === 'attached') this.tasks.attached(subject);
    if (glued.index > 0 && this.parts > PARTS_MAX) {
      this.report.noteDamaged(line, text, 'too many notes inside one line');
    } else if (glued.index > 0) {
      this.report.joined++;
      this.glued = { line: lineStart, text: text.slice(0, glued.index), parts: this.parts };
    } else {
      this.report.parsed++;
    }
    this.sink({ kind: 'note', line, tid: -1, note, subjectTid: subject, text: text.slice(glued.index + 8) });
  }

  private openGluedHead(head: GluedHead): void {
    scanPrefix(head.text);
    NAME.lastIndex = $prefix.bodyAt;
    if (NAME.test(head.text)) {
      const nameEnd = NAME.lastIndex - 1;
      this.begin(
        this.tidOf(head.line),
        head.line,
        head.text.slice($prefix.bodyAt, nameEnd).trim(),
        head.text.slice($prefix.bodyAt),
      );
    }
  }

  private tidOf(line: number): number {
    if ($prefix.tid >= 0) return this.tasks.resolve($prefix.tid);
    const { tid, isGuess } = this.tasks.resolveUnprinted();
    if (isGuess) this.report.noteAmbiguousTid(line);
    return tid;
  }

  private call(
    text: string,
    at: number,
    paren: number,
    lineStart: number,
    line: number,
    isUnterminated: boolean,
  ): void {
    const printed = text.slice(at, paren).trim();
    if (text.endsWith(UNFINISHED)) {
      const tid = this.tidOf(line);
      this.report.joined++;
      this.begin(tid, lineStart, printed, withoutMark(text.slice(at)));
      return;
    }
    if (text.endsWith(DETACHED)) {
      const tid = this.tidOf(line);
      this.closeOpen(tid, false);
      this.taken(isUnterminated);
      this.emit(
        tid,
        tid,
        lineStart,
        line,
        printed,
        splitOpenArgs(text.slice(0, text.length - DETACHED.length), paren),
        'detached',
        $prefix,
      );
      return;
    }
    const args = splitWhole(text, paren);
    if (args === null) {
      this.notTaken(text, line, isUnterminated, true, `arguments do not end (${$scan.what})`);
      return;
    }
    if (!this.resultAt($scan.end + 1, $scanned.text)) {
      this.notTaken(text, line, isUnterminated, true, 'no result');
      return;
    }
    const tid = this.tidOf(line);
    this.closeOpen(tid, false);
    this.taken(isUnterminated);
    this.emit(tid, tid, lineStart, line, printed, args, $result.end, $prefix);
  }

  /** True if the text from `at` is blanks, `= ` and a result. */
  private resultAt(at: number, text: string): boolean {
    while (text[at] === ' ' || text[at] === '\t') at++;
    return text.startsWith('= ', at) && scanResult(text, at + 2);
  }

  private begin(tid: number, line: number, name: string, text: string): void {
    this.closeOpen(tid, false);
    this.open.set(tid, { line, tid, name, text, parts: 1, comm: $prefix.comm, time: $prefix.time });
  }

  private resumed(text: string, at: number, line: number, isUnterminated: boolean): void {
    RESUMED.lastIndex = at;
    const match = RESUMED.exec(text);
    if (match === null) {
      this.notTaken(text, line, isUnterminated, false, 'no call');
      return;
    }
    const name = match[1]!;
    const rest = text.slice(at + match[0].length);
    const tid = this.tidOf(line);
    const first = this.takeOpen(tid, name);
    const head = first === null ? `${name}(` : first.text;
    const whole = head + rest;
    if (rest.endsWith(UNFINISHED)) {
      // split once more: keep waiting
      this.report.joined++;
      const started = first ?? { line, tid, name, text: head, parts: 0, comm: $prefix.comm, time: $prefix.time };
      this.open.set(tid, { ...started, text: withoutMark(whole), parts: started.parts + 1 });
      if (started.parts === PARTS_MAX) this.closeOpen(tid, false);
      return;
    }
    const paren = head.indexOf('(');
    const args = splitWhole(first === null && !rest.startsWith(')') ? `${name}(${rest}` : whole, paren);
    const isWhole = args !== null && this.resultAt($scan.end + 1, $scanned.text);
    if (!isWhole && !(first === null && this.resultOfTail(rest))) {
      this.notTaken(text, line, isUnterminated, true, 'second half of a call without a result');
      if (first !== null) {
        this.open.set(tid, first);
        this.closeOpen(tid, false);
      }
      return;
    }
    this.taken(isUnterminated);
    if (first === null) {
      this.report.noteWithoutStart(line, name);
      this.emit(tid, tid, line, line, name, null, $result.end, $prefix);
      return;
    }
    this.emit(tid, first.tid, first.line, line, name, args, $result.end, first);
  }

  /** For a second half whose first half is unknown: the result after the last `) = ` that gives one. */
  private resultOfTail(rest: string): boolean {
    for (let at = rest.lastIndexOf(')'), tries = 0; at >= 0 && tries < 8; at = rest.lastIndexOf(')', at - 1), tries++) {
      if (this.resultAt(at + 1, rest)) return true;
      if (at === 0) return false;
    }
    return false;
  }

  /** The open call that a second half under `tid` continues; an execve may have been begun by another thread. */
  private takeOpen(tid: number, name: string): OpenCall | null {
    const own = this.open.get(tid);
    if (own !== undefined && own.name === name) {
      this.open.delete(tid);
      return own;
    }
    if (own !== undefined) this.closeOpen(tid, false);
    const by = this.supersededBy.get(tid);
    if (by === undefined || !name.startsWith('execve')) return null;
    this.supersededBy.delete(tid);
    const other = this.open.get(by);
    if (other === undefined || other.name !== name) return null;
    this.open.delete(by);
    this.tasks.died(by);
    return other;
  }

  /** Emits what is open under a tid, with no result. */
  private closeOpen(tid: number, isTaskEnd: boolean): void {
    const call = this.open.get(tid);
    if (call === undefined) return;
    this.open.delete(tid);
    if (isTaskEnd) this.report.callsOpenAtTaskEnd++;
    else this.report.noteNeverResumed(call.line, call.name);
    this.emit(
      tid,
      call.tid,
      call.line,
      call.line,
      call.name,
      splitOpenArgs(call.text, call.text.indexOf('(')),
      'open',
      call,
    );
  }

  private emit(
    tid: number,
    tidStart: number,
    lineStart: number,
    lineEnd: number,
    printed: string,
    args: readonly string[] | null,
    end: CallEnd,
    from: { readonly comm: string | null; readonly time: string | null },
  ): void {
    this.hasCalls = true;
    const hasResult = end !== 'open' && end !== 'detached';
    const raw = RAW_NAME.exec(printed);
    const name = raw === null ? printed : (syscallName(Number.parseInt(raw[1]!, 16)) ?? printed);
    const record: CallRecord = {
      kind: 'call',
      lineStart,
      lineEnd,
      tid,
      tidStart,
      name,
      args,
      end,
      ret: hasResult ? $result.ret : null,
      isRetHex: hasResult && $result.isHex,
      errno: hasResult ? $result.errno : null,
      restart: hasResult ? $result.restart : null,
      retExtra: hasResult ? $result.extra : '',
      comm: from.comm,
      time: from.time,
      duration: hasResult ? $result.duration : null,
    };
    if (record.ret !== null && record.errno === null && record.ret.num > 0 && FORKS.has(name))
      this.tasks.born(record.ret.num);
    this.sink(record);
  }

  private signal(text: string, at: number, line: number, isUnterminated: boolean): void {
    const body = text.slice(at).trimEnd();
    const match = SIGNAL.exec(body);
    const stopped = match === null ? STOPPED.exec(body) : null;
    if (match === null && stopped === null) {
      this.notTaken(text, line, isUnterminated, true, 'no signal');
      return;
    }
    const tid = this.tidOf(line);
    this.taken(isUnterminated);
    const info = match?.[2] ?? '';
    const code = /[{ ]si_code=([A-Z0-9_]+|-?\d+)/.exec(info)?.[1] ?? null;
    this.sink({
      kind: 'signal',
      line,
      tid,
      signal: match?.[1] ?? stopped![1]!,
      isStop: stopped !== null,
      code,
      addr: signalAddress(info),
      info,
    });
  }

  private gone(text: string, at: number, line: number, isUnterminated: boolean): void {
    const body = text.slice(at).trimEnd();
    const exited = EXITED.exec(body);
    const killed = exited === null ? KILLED.exec(body) : null;
    const superseded = exited === null && killed === null ? SUPERSEDED.exec(body) : null;
    if (exited === null && killed === null && superseded === null) {
      this.notTaken(text, line, isUnterminated, true, 'no way for a task to end');
      return;
    }
    const tid = this.tidOf(line);
    this.closeOpen(tid, true);
    this.taken(isUnterminated);
    if (superseded !== null) {
      const byTid = Number(superseded[1]);
      this.supersededBy.set(tid, byTid);
      this.sink({ kind: 'superseded', line, tid, byTid });
      return;
    }
    this.tasks.died(tid);
    if (exited !== null) this.sink({ kind: 'exited', line, tid, status: Number(exited[1]) });
    else this.sink({ kind: 'killed', line, tid, signal: killed![1]!, hasCore: killed![2] !== undefined });
  }
}

/** Text that ends in ` <unfinished ...>`, without it. The two halves are joined with no separator. */
function withoutMark(text: string): string {
  const end = text.length - UNFINISHED.length;
  return text.slice(0, text[end - 1] === ' ' ? end - 1 : end);
}

function signalAddress(info: string): Word64 | null {
  const match = /[{ ]si_addr=(NULL|0x[0-9a-f]+)/.exec(info);
  if (match === null) return null;
  return match[1] === 'NULL' ? ZERO64 : parseHexDigits(match[1]!, 2);
}

/** The text that `splitWhole` split: the given one, or the one without an `<unfinished ...>` inside. */
const $scanned = { text: '' };

/** Splits whole arguments; `exit(0 <unfinished ...>) = ?` and `_exit` print the mark inside the parentheses. */
function splitWhole(text: string, paren: number): string[] | null {
  $scanned.text = text;
  const args = splitArgs(text, paren);
  const last = args?.[args.length - 1];
  if (last === undefined || !last.endsWith(UNFINISHED)) return args;
  const without = last.slice(0, -UNFINISHED.length).trimEnd();
  if (without === '') args!.pop();
  else args![args!.length - 1] = without;
  return args;
}
