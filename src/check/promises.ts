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
// settling. It names the frames that may still be used there: the one mapped at that moment, and those mapped since. It
// lapses with the last of these sections: then the ordinary rule (I4) says the same.

import { MADV_DONTNEED, MAP_FIXED, MREMAP_DONTUNMAP, PROT_READ, PROT_WRITE } from '../abi/mman.ts';
import { PTE_P, PTE_RW } from '../abi/pte.ts';
import { NR_madvise, NR_mmap, NR_mprotect, NR_mremap, NR_munmap, NR_pkey_mprotect } from '../abi/syscalls.ts';
import type { Context } from './context.ts';
import type { Section, ThreadState } from './sections.ts';
import { LOOKUP_LEAF } from './shadow-tables.ts';

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

export class Promises {
  readonly #all: Promised[] = [];

  get size(): number {
    return this.#all.length;
  }

  add(promise: Promised): void {
    this.#all.push(promise);
  }

  /** A frame was mapped at the page: it may be used, or (when it is writable) stored to. */
  mapped(mm: number, page: number, end: number, pfn: number, isWritable: boolean): void {
    for (const p of this.#all) {
      if (p.mm !== mm || p.page < page || p.page >= end) continue;
      if (isWritable || !p.isWriteOnly) p.frames.push(pfn + (p.page - page) / PAGE);
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

/** The thread's system call `nr` has returned `result`; its arguments lie in `t.arguments` from `at` on. */
export function promise(c: Context, t: ThreadState, nr: number, mm: number, at: number, result: number): void {
  if (result < 0) return;
  const [start, length, third, fourth] = [
    t.arguments[at]!,
    t.arguments[at + 1]!,
    t.arguments[at + 2]!,
    t.arguments[at + 3]!,
  ];
  switch (nr) {
    case NR_munmap:
      promiseRange(c, nr, mm, start, length, false);
      break;
    case NR_madvise:
      if (third === MADV_DONTNEED) promiseRange(c, nr, mm, start, length, false);
      break;
    case NR_mmap:
      if ((fourth & MAP_FIXED) !== 0) promiseRange(c, nr, mm, result, length, false);
      break;
    case NR_mprotect:
    case NR_pkey_mprotect:
      if ((third & PROT_WRITE) === 0) promiseRange(c, nr, mm, start, length, (third & PROT_READ) !== 0);
      break;
    case NR_mremap:
      if (result !== start || (fourth & MREMAP_DONTUNMAP) !== 0) promiseRange(c, nr, mm, start, length, false);
      else if (third < length) promiseRange(c, nr, mm, start + third, length - third, false);
      break;
  }
}

function promiseRange(c: Context, syscall: number, mm: number, start: number, length: number, w: boolean): void {
  const end = Math.min(start + Math.ceil(length / PAGE) * PAGE, start + PAGES_MAX * PAGE);
  const busy = c.sections.active.filter((s) => s.mm === mm && s.start < end && s.end > start);
  if (c.objects !== null) c.objects.cover(mm, start, end, busy.length > 0);
  if (busy.length === 0) return;
  for (let page = start; page < end; page += PAGE) {
    const until = busy.filter((s: Section) => s.start <= page && page < s.end).map((s) => s.serial);
    if (until.length === 0) continue;
    const frames: number[] = [];
    if (c.objects !== null) c.objects.entry(mm, page, page + 1, false);
    const isMapped = c.tables.find(mm, page) === LOOKUP_LEAF && (c.tables.lo & PTE_P) !== 0;
    if (isMapped && (!w || (c.tables.lo & PTE_RW) !== 0)) frames.push(c.tables.frameOf(page));
    c.promises.add({ mm, page, isWriteOnly: w, frames, until, actor: c.actor, syscall, step: c.step });
  }
}
