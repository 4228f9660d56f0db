// Is the data of the program and of its device what was stored last? Every store of either to private anonymous memory of the shared
// address space is noted with its word; every later access of either to that page, and a last look before the address space goes,
// compares all words that are noted there with the frame that was reached, in the same step. Memory that a call gives up (munmap,
// madvise, MAP_FIXED, mremap, a shrinking brk) is forgotten before the call.

import { E_DEV_ACCESS, EV_A, EV_B, EV_END, EV_GEN, EV_MM, EV_PFN, EV_START, EV_TYPE } from '../../abi/events.ts';
import { MAP_FIXED, VM_SHARED } from '../../abi/mman.ts';
import type { RecordSink } from '../../base/record-log.ts';
import { ACCESS_READ } from '../../hw/walker.ts';
import { userTranslate } from '../../mm/cpu-access.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct, Task } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { TraceOp } from '../strace/trace-op.ts';

const PAGE = 4096;
/** Where in its page the program's own word lies: devices write near the end (device/workload.ts). */
const PROGRAM_WORD = 128;

/** What was compared, and what was wrong. */
export interface DataResults {
  readonly programStores: number;
  readonly deviceStores: number;
  /** Words compared with what was stored last, and those that differed. */
  readonly compared: number;
  readonly wrong: number;
  /** The first one that differed, in words; '' while none did. */
  readonly firstWrong: string;
}

type Ranges = readonly (readonly [number, number])[];

export class DataWatch implements RecordSink {
  readonly #k: Kernel;
  #mm: MmStruct | null = null;
  /** By page: the words of it that were stored, by word of the page. */
  readonly #pages = new Map<number, Map<number, number>>();
  /** Of the call under way. */
  #givenUp: Ranges = [];
  #programStores = 0;
  #deviceStores = 0;
  #compared = 0;
  #wrong = 0;
  #firstWrong = '';

  constructor(k: Kernel) {
    this.#k = k;
  }

  /** From now on this address space is watched; null: none. */
  watch(mm: MmStruct | null): void {
    this.#mm = mm;
    this.#pages.clear();
  }

  results(): DataResults {
    return {
      programStores: this.#programStores,
      deviceStores: this.#deviceStores,
      compared: this.#compared,
      wrong: this.#wrong,
      firstWrong: this.#firstWrong,
    };
  }

  /** The device reached memory, in this step. A frame that is somebody else's by now is the judge's business. */
  onRecord(ring: Float64Array, at: number): void {
    const mm = this.#mm;
    if (mm === null || ring[at + EV_TYPE] !== E_DEV_ACCESS || ring[at + EV_MM] !== mm.id) return;
    if (ring[at + EV_GEN] !== ring[at + EV_A]) return;
    const start = ring[at + EV_START]!;
    const base = (ring[at + EV_PFN]! * PAGE) / 4;
    const page = Math.floor(start / PAGE);
    if (ring[at + EV_B] === 1 && this.#isWatched(mm, start)) {
      this.#deviceStores++;
      const words = this.#wordsOf(page);
      for (let va = start; va < ring[at + EV_END]!; va += 4)
        words.set((va % PAGE) / 4, this.#k.memory.words[base + (va % PAGE) / 4]!);
    }
    this.#compare(page, base, 'the device');
  }

  /** The program touched the page of `va`, in this step: it stores a word of its own there, or looks at what it has. */
  touched(mm: MmStruct, task: Task, va: number, isWrite: boolean): void {
    if (mm !== this.#mm || !this.#isWatched(mm, va)) return;
    const at = this.#k.cpus[task.cpu]!.translate(va, ACCESS_READ);
    if (at < 0) return;
    const page = Math.floor(va / PAGE);
    const base = Math.floor(at / PAGE) * (PAGE / 4);
    this.#compare(page, base, 'the program');
    if (!isWrite) return;
    this.#programStores++;
    const value = (Math.imul(page, 0x9e3779b1) ^ this.#programStores) | 0;
    this.#k.memory.words[base + PROGRAM_WORD / 4] = value;
    this.#wordsOf(page).set(PROGRAM_WORD / 4, this.#k.memory.words[base + PROGRAM_WORD / 4]!);
  }

  /** Before and after a call of the program: what it gives up is no data any more, and not looked at while it goes. */
  aroundCall(mm: MmStruct, op: TraceOp, isBefore: boolean): void {
    if (mm !== this.#mm) return;
    if (isBefore) this.#givenUp = givenUp(mm, op);
    if (this.#givenUp.length === 0) return;
    for (const page of this.#pages.keys()) if (this.#isGivenUp(page)) this.#pages.delete(page);
    if (!isBefore) this.#givenUp = [];
  }

  #isGivenUp(page: number): boolean {
    return this.#givenUp.some(([start, end]) => page >= start / PAGE && page < end / PAGE);
  }

  /** The last look, by the program, while it still has the address space. */
  *last(task: Task): KernelPath<void> {
    const mm = this.#mm;
    if (mm === null || task.mm !== mm) return;
    for (const page of [...this.#pages.keys()].sort((a, b) => a - b)) {
      const at = yield* userTranslate(this.#k, mm, this.#k.cpus[task.cpu]!, page * PAGE, ACCESS_READ);
      if (at >= 0) this.#compare(page, Math.floor(at / PAGE) * (PAGE / 4), 'the program at its end');
    }
  }

  #isWatched(mm: MmStruct, va: number): boolean {
    const vma = mm.vmas.find(va);
    if (this.#isGivenUp(Math.floor(va / PAGE))) return false;
    return vma !== null && vma.start <= va && vma.file === null && (vma.flags & VM_SHARED) === 0;
  }

  #wordsOf(page: number): Map<number, number> {
    let words = this.#pages.get(page);
    if (words === undefined) {
      words = new Map();
      this.#pages.set(page, words);
    }
    return words;
  }

  #compare(page: number, base: number, reader: string): void {
    const words = this.#pages.get(page);
    if (words === undefined) return;
    for (const [word, expected] of words) {
      this.#compared++;
      const found = this.#k.memory.words[base + word]!;
      if (found === expected) continue;
      this.#wrong++;
      const va = `0x${(page * PAGE + word * 4).toString(16)}`;
      if (this.#firstWrong === '')
        this.#firstWrong = `step ${this.#k.sched.steps}: ${reader} finds ${found} at ${va}, where ${expected} was stored last`;
      words.set(word, found);
    }
  }
}

/** Ranges whose contents the call may change or take away. */
function givenUp(mm: MmStruct, op: TraceOp): Ranges {
  const range = (start: number, length: number): Ranges => [
    [Math.floor(start / PAGE) * PAGE, Math.ceil((start + length) / PAGE) * PAGE],
  ];
  if (op.op === 'munmap' || op.op === 'madvise') return range(op.addr.num, op.length.num);
  if (op.op === 'mmap') return (op.flags.lo & MAP_FIXED) === 0 ? [] : range(op.addr.num, op.length.num);
  if (op.op === 'mremap') {
    const target = op.newAddr === null ? [] : range(op.newAddr.num, op.newLength.num);
    return [...range(op.addr.num, op.oldLength.num), ...target];
  }
  if (op.op === 'brk' && op.addr.num !== 0 && op.addr.num < mm.brk)
    return [[op.addr.num, Math.ceil(mm.brk / PAGE) * PAGE]];
  return [];
}
