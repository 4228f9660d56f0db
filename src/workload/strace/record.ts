/** What one or two lines of strace text say, before anybody asks what the call means. Tids are as printed. */

import type { Word64 } from '../word64.ts';

/**
 * How a call ended:
 *  `returned`  a value, perhaps -1 with an errno;
 *  `noResult`  `= ?`: exit, or killed inside the call;
 *  `restart`   `= ? ERESTART...`: broken off by a signal, an application never sees this value;
 *  `open`      never resumed: its task ended or the text did;
 *  `detached`  strace let go of the task inside the call.
 */
export type CallEnd = 'returned' | 'noResult' | 'restart' | 'open' | 'detached';

export interface CallRecord {
  readonly kind: 'call';
  /** Lines from 1: where the call began and where its result stands. Equal unless the call was split. */
  readonly lineStart: number;
  readonly lineEnd: number;
  /** The task, and the task that began the call: they differ only for an execve by a thread that is not the leader. */
  readonly tid: number;
  readonly tidStart: number;
  /** Name as in the kernel's table, `syscall_0x1ce` already made `mseal`. */
  readonly name: string;
  /** Raw text of the arguments; null if they lie before the start of the text. */
  readonly args: readonly string[] | null;
  readonly end: CallEnd;
  /** Result register; null unless `returned`. A failure is 0xffffffff_ffffffff. */
  readonly ret: Word64 | null;
  readonly isRetHex: boolean;
  /** Errno name, or `errno N` where strace knew no name; null on success. */
  readonly errno: string | null;
  /** ERESTARTSYS and its kind. */
  readonly restart: string | null;
  /** What stands behind the number, raw: `</path>(deleted)`, `(flags O_RDWR)`, `<comm>`; empty if nothing. */
  readonly retExtra: string;
  readonly comm: string | null;
  /** Time of entry as printed (forms of -t, -tt, -ttt, -r), and duration of -T; null if not printed. */
  readonly time: string | null;
  readonly duration: string | null;
}

export interface SignalRecord {
  readonly kind: 'signal';
  readonly line: number;
  readonly tid: number;
  readonly signal: string;
  /** `--- stopped by SIGSTOP ---` */
  readonly isStop: boolean;
  readonly code: string | null;
  /** si_addr; null if the signal has none. */
  readonly addr: Word64 | null;
  /** The braces with all fields, raw; empty for a stop. */
  readonly info: string;
}

export interface ExitedRecord {
  readonly kind: 'exited';
  readonly line: number;
  readonly tid: number;
  readonly status: number;
}

export interface KilledRecord {
  readonly kind: 'killed';
  readonly line: number;
  readonly tid: number;
  readonly signal: string;
  readonly hasCore: boolean;
}

export interface SupersededRecord {
  readonly kind: 'superseded';
  readonly line: number;
  readonly tid: number;
  /** The thread whose execve replaced this task, and which goes on under this tid. */
  readonly byTid: number;
}

/** Remarks: strace's own messages, -k stack frames, -c tables. */
export interface NoteRecord {
  readonly kind: 'note';
  readonly line: number;
  readonly tid: number;
  readonly note: 'attached' | 'detached' | 'message' | 'frame' | 'summary';
  /** For attached and detached: which task. */
  readonly subjectTid: number | null;
  readonly text: string;
}

export type TraceRecord = CallRecord | SignalRecord | ExitedRecord | KilledRecord | SupersededRecord | NoteRecord;
