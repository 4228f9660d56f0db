// What a system call that has returned promises, while somebody else is still busy with the same pages (I13; I3 and I3c of a right).
//
// An access through an old translation is in order while the operation that changed the entry is not complete (sections.ts). That
// excuse ends early for a page when another call returns that took the page away or protected it: its caller relies on it.
//
//   A: madvise(V, DONTNEED)          B: madvise(V, DONTNEED)             C: has V -> F1 in its TLB
//     entry of V cleared
//     flush pending                    finds nothing, returns
//                                      "V reads zero from now on"          reads F1: I13, although A is not complete
//
// So at the return of B a promise is noted for each page of its range over which a section of another thread is open or
// settling. It names the frames that may still be used there: those mapped since B was called. (What was mapped meanwhile may have
// been taken away by A after B had looked.) It lapses with the last of these sections: then the ordinary rule (I4) says
// the same.

import { MADV_DONTNEED, MAP_FIXED, MREMAP_DONTUNMAP, PROT_READ, PROT_WRITE } from '../abi/mman.ts';
import { NR_madvise, NR_mmap, NR_mprotect, NR_mremap, NR_munmap, NR_pkey_mprotect } from '../abi/syscalls.ts';
import type { Context } from './context.ts';
import type { Section } from './sections.ts';

const PAGE = 4096;
/** Pages of one call looked at. */
const PAGES_MAX = 512;

export interface Promised {
  readonly mm: number;
  readonly page: number;
  /** Only stores are promised to be over. */
  readonly isWriteOnly: boolean;
  /** Frames that may be used at the page. */
  readonly frames: number[];
  /** Serial numbers of the sections that would excuse an access. */
  readonly until: number[];
  readonly actor: number;
  readonly syscall: number;
  readonly step: number;
}

/** A call under way that will promise something. */
interface Call {
  readonly actor: number;
  readonly syscall: number;
  readonly mm: number;
  readonly start: number;
  readonly end: number;
  readonly isWriteOnly: boolean;
  /** Page and frame of each entry installed meanwhile (writable ones, if only stores are promised to be over). */
  readonly installed: number[];
}

export class Promises {
  readonly #all: Promised[] = [];
  readonly calls: Call[] = [];

  get size(): number {
    return this.#all.length;
  }

  add(promise: Promised): void {
    this.#all.push(promise);
  }

  /** A frame was mapped at [start, end): it may be used, or (when it is writable) stored to. */
  mapped(mm: number, start: number, end: number, pfn: number, isWritable: boolean): void {
    for (const p of this.#all) {
      if (p.mm !== mm || p.page < start || p.page >= end) continue;
      if (isWritable || !p.isWriteOnly) p.frames.push(pfn + (p.page - start) / PAGE);
    }
    for (const call of this.calls) {
      if (call.mm !== mm || call.start >= end || call.end <= start || (call.isWriteOnly && !isWritable)) continue;
      const last = Math.min(end, call.end);
      for (let page = Math.max(start, call.start); page < last; page += PAGE)
        call.installed.push(page, pfn + (page - start) / PAGE);
    }
  }

  /** A section is complete. */
  retired(serial: number): void {
    for (let i = this.#all.length - 1; i >= 0; i--) {
      const { until } = this.#all[i]!;
      const at = until.indexOf(serial);
      if (at < 0) continue;
      until.splice(at, 1);
      if (until.length === 0) this.#all.splice(i, 1);
    }
  }

  /** The promise that a use of the frame at the page breaks, or null. */
  broken(mm: number, page: number, pfn: number, isStore: boolean): Promised | null {
    for (const p of this.#all) {
      if (p.mm !== mm || p.page !== page || (p.isWriteOnly && !isStore) || p.frames.includes(pfn)) continue;
      return p;
    }
    return null;
  }
}

/** E_SYSCALL: the thread calls `nr`; its first four arguments lie in `args` from `at` on. */
export function beginCall(c: Context, nr: number, mm: number, args: readonly number[], at: number): void {
  const [start, length, third, fourth] = [args[at]!, args[at + 1]!, args[at + 2]!, args[at + 3]!];
  switch (nr) {
    case NR_munmap:
    case NR_mremap:
      begin(c, nr, mm, start, length, false);
      break;
    case NR_madvise:
      if (third === MADV_DONTNEED) begin(c, nr, mm, start, length, false);
      break;
    case NR_mmap:
      if ((fourth & MAP_FIXED) !== 0) begin(c, nr, mm, start, length, false);
      break;
    case NR_mprotect:
    case NR_pkey_mprotect:
      if ((third & PROT_WRITE) === 0) begin(c, nr, mm, start, length, (third & PROT_READ) !== 0);
      break;
  }
}

function begin(c: Context, syscall: number, mm: number, start: number, length: number, isWriteOnly: boolean): void {
  const end = Math.min(start + Math.ceil(length / PAGE) * PAGE, start + PAGES_MAX * PAGE);
  if (!(end > start)) return;
  if (c.objects !== null) c.objects.agents(mm, start, end, false);
  c.promises.calls.push({ actor: c.actor, syscall, mm, start, end, isWriteOnly, installed: [] });
}

/** E_SYSCALL_END: it has returned `result`. */
export function endCall(c: Context, nr: number, args: readonly number[], at: number, result: number): void {
  const { calls } = c.promises;
  const i = calls.findIndex((call) => call.actor === c.actor && call.syscall === nr);
  if (i < 0) return;
  const call = calls[i]!;
  calls.splice(i, 1);
  if (result < 0) return;
  const [start, length, third, fourth] = [args[at]!, args[at + 1]!, args[at + 2]!, args[at + 3]!];
  const isInPlace = nr === NR_mremap && result === start && (fourth & MREMAP_DONTUNMAP) === 0;
  if (!isInPlace) promise(c, call, call.start);
  else if (third < length) promise(c, call, start + Math.ceil(third / PAGE) * PAGE);
}

function promise(c: Context, call: Call, start: number): void {
  const { mm, end, isWriteOnly, syscall, installed } = call;
  const busy = c.sections.active.filter((s) => s.mm === mm && s.start < end && s.end > start);
  if (c.objects !== null) c.objects.cover(mm, start, end, busy.length > 0);
  if (busy.length === 0) return;
  for (let page = start; page < end; page += PAGE) {
    const until = busy.filter((s: Section) => s.start <= page && page < s.end).map((s) => s.serial);
    if (until.length === 0) continue;
    const frames: number[] = [];
    for (let i = 0; i < installed.length; i += 2) if (installed[i] === page) frames.push(installed[i + 1]!);
    c.promises.add({ mm, page, isWriteOnly, frames, until, actor: c.actor, syscall, step: c.step });
  }
}
