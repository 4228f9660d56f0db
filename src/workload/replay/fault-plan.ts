// When to touch what: recorded page faults joined to recorded system calls.
//
// The two recordings come from two runs, so they share addresses and order, not time. The rule: before each system call of a
// process, its next faults are applied as long as they are *needed* in the address space as it is now (a VMA allows the
// access and the entry does not yet). A fault on an address that nothing maps yet waits for the mapping; one on a page that
// is already there waits a few calls for the mapping to be replaced, then counts as redundant. What never finds its mapping is
// counted as unused. When no mapping can follow (the process exits), every fault that is left and needed is applied.

import { VM_ACCESS_FLAGS, VM_GROWSDOWN, VM_WRITE } from '../../abi/mman.ts';
import { PTE_P, PTE_RW } from '../../abi/pte.ts';
import { pteWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryLo } from '../../hw/pte.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct } from '../../mm/types.ts';

export const FAULT_WAIT = 0;
export const FAULT_PRESENT = 1;
export const FAULT_READ = 2;
export const FAULT_WRITE = 3;

/** Entries that wait for their mapping before the plan stops looking further ahead. */
const LOOK_AHEAD = 8;
/** System calls after which an entry on a page that is there counts as redundant, or one without a mapping as unused. */
const PRESENT_CALLS_MAX = 8;
const UNMAPPED_CALLS_MAX = 200;

/** What touching `va` now would be: FAULT_*. A write where the VMA allows one: the recording does not say which it was. */
export function classifyTouch(k: Kernel, mm: MmStruct, va: number): number {
  const vma = mm.vmas.find(va);
  if (vma === null) return FAULT_WAIT;
  if (va < vma.start) {
    const isStack = (vma.flags & VM_GROWSDOWN) !== 0 && va >= vma.end - k.config.rlimits.stack;
    return isStack ? FAULT_WRITE : FAULT_WAIT;
  }
  if ((vma.flags & VM_ACCESS_FLAGS) === 0) return FAULT_WAIT;
  const isWritable = (vma.flags & VM_WRITE) !== 0;
  const word = pteWord(k.memory, mm.pgd, vpnHi(va), vpnLo(va));
  const lo = word < 0 ? 0 : entryLo(k.memory, word);
  if ((lo & PTE_P) === 0) return isWritable ? FAULT_WRITE : FAULT_READ;
  return isWritable && (lo & PTE_RW) === 0 ? FAULT_WRITE : FAULT_PRESENT;
}

interface Waiting {
  readonly va: number;
  calls: number;
}

/** The faults of one process, in recorded order. */
export class FaultPlan {
  readonly #addresses: Float64Array;
  #next = 0;
  #waiting: Waiting[] = [];
  applied = 0;
  redundant = 0;
  unused = 0;

  constructor(addresses: Float64Array) {
    this.#addresses = addresses;
  }

  /** Faults not used at the end. */
  finish(): void {
    this.unused += this.#waiting.length + (this.#addresses.length - this.#next);
    this.#waiting = [];
    this.#next = this.#addresses.length;
  }

  /** The next address to touch before this system call, or -1. `isFirst` marks the first question of a call, `isLast` the
   *  process's last call. */
  next(k: Kernel, mm: MmStruct, isFirst: boolean, isLast: boolean): number {
    if (isFirst) this.#age(k, mm);
    for (let i = 0; i < this.#waiting.length; i++) {
      const va = this.#waiting[i]!.va;
      if (classifyTouch(k, mm, va) >= FAULT_READ) {
        this.#waiting.splice(i, 1);
        this.applied++;
        return va;
      }
    }
    while (this.#next < this.#addresses.length && (isLast || this.#waiting.length < LOOK_AHEAD)) {
      const va = this.#addresses[this.#next++]!;
      if (classifyTouch(k, mm, va) >= FAULT_READ) {
        this.applied++;
        return va;
      }
      if (!isLast) this.#waiting.push({ va, calls: 0 });
      else if (classifyTouch(k, mm, va) === FAULT_PRESENT) this.redundant++;
      else this.unused++;
    }
    return -1;
  }

  #age(k: Kernel, mm: MmStruct): void {
    if (this.#waiting.length === 0) return;
    this.#waiting = this.#waiting.filter((w) => {
      w.calls++;
      const isPresent = classifyTouch(k, mm, w.va) === FAULT_PRESENT;
      if (isPresent && w.calls > PRESENT_CALLS_MAX) this.redundant++;
      else if (!isPresent && w.calls > UNMAPPED_CALLS_MAX) this.unused++;
      else return true;
      return false;
    });
  }
}
