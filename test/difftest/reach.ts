// host.c lives in the process whose memory a program changes. What would reach its text, its data or its stack is not performed,
// on either kernel: the same rule as reaches_helper in host.c.

import * as A from '../../src/abi/mman.ts';
import * as NR from '../../src/abi/syscalls.ts';
import type { AreaLayout } from '../../src/mm/process/layout.ts';
import { OP_LOAD, OP_MINCORE, OP_STORE } from './program.ts';

/** The result of an operation that is not performed: no error has this number. */
export const REFUSED = -4095;

const STACK_LIMIT = 8 << 20;
/** Calls with a range in their first two arguments. */
const RANGES = new Set([
  OP_MINCORE,
  NR.NR_mprotect,
  NR.NR_munmap,
  NR.NR_msync,
  NR.NR_mlock,
  NR.NR_munlock,
  NR.NR_remap_file_pages,
  NR.NR_mlock2,
  NR.NR_mseal,
]);

/** Where host.c is: blocks of 2 MiB, because lengths of huge mappings are rounded up. */
export class HelperReach {
  readonly #low: number;
  readonly #high: number;

  constructor(areas: readonly AreaLayout[]) {
    const program = areas.filter((a) => !a.path.startsWith('['));
    const anonymous = areas.filter((a) => a.path === '' || a.path === '[heap]');
    this.#low = Math.floor(Math.min(...program.map((a) => a.start)) / A.PMD_SIZE) * A.PMD_SIZE;
    const end = Math.max(...program.concat(anonymous).map((a) => a.end));
    this.#high = Math.ceil(end / A.PMD_SIZE) * A.PMD_SIZE;
  }

  /** Arguments as numbers, negative ones for words from 2^63 on. */
  includes(nr: number, args: readonly number[]): boolean {
    const [start = 0, length = 0, third = 0, fourth = 0, fifth = 0] = args;
    if (nr === OP_LOAD || nr === OP_STORE) return this.#meets(start, 1);
    if (RANGES.has(nr)) return this.#meets(start, length);
    if (nr === NR.NR_mmap) return (fourth & A.MAP_FIXED) !== 0 && this.#meets(start, length);
    // madvise goes on after a gap, so that a range without an end comes to the stack; one that wraps is turned down.
    if (nr === NR.NR_madvise)
      return this.#meets(start, length) || (isEndless(start, length) && length >= 0 && length <= A.TASK_SIZE);
    if (nr !== NR.NR_mremap) return false;
    return this.#meets(start, length) || ((fourth & A.MREMAP_FIXED) !== 0 && this.#meets(fifth, third));
  }

  #meets(start: number, length: number): boolean {
    if (!isUser(start) || isEndless(start, length)) return false;
    const end = start + length;
    const stack = Math.floor((A.TASK_SIZE - STACK_LIMIT) / A.PMD_SIZE) * A.PMD_SIZE;
    return length !== 0 && ((start < this.#high && end > this.#low) || end > stack);
  }
}

function isUser(start: number): boolean {
  return start >= 0 && start < A.TASK_SIZE;
}

/** Does the range begin in user space and go beyond its end? The kernel turns most of these down. */
function isEndless(start: number, length: number): boolean {
  return isUser(start) && (length < 0 || length > A.TASK_SIZE - start);
}
