// How a replayed program touches its memory. strace does not show loads and stores, so this is a stated policy:
//
//   none      no access at all: address-space results only
//   sample    the first page of every piece of memory that a call makes accessible, written where that is allowed; not of
//             pieces committed with MAP_FIXED inside a reservation: when those are used, nothing in the recording tells
//   populate  every page of it
//   faults    the recorded page faults of another run of the same program (fault-plan.ts)
//
// sample and populate touch a piece before the next call of the process, unless that call only makes the piece longer: a
// program that commits a region page by page uses it when it has it whole.
//
// Memory that the program registers with a userfaultfd is left alone: the program waits for its first accesses.
//
// Whether memory was touched matters for more than residency: VMAs that own pages of different fork histories do not merge.

import { MAP_FIXED, VM_ACCESS_FLAGS, VM_FAULT_ERROR, VM_FAULT_OOM } from '../../abi/mman.ts';
import { touchPage } from '../../mm/cpu-access.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct, Task } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_SYSCALL } from '../../sched/points.ts';
import type { TraceOp } from '../strace/trace-op.ts';
import { classifyTouch, FAULT_READ, FAULT_WRITE, type FaultPlan } from './fault-plan.ts';
import type { Piece } from './touched-pieces.ts';

export type TouchPolicy = 'none' | 'sample' | 'populate' | 'faults';
export const TOUCH_POLICIES: readonly TouchPolicy[] = ['none', 'sample', 'populate', 'faults'];

/** Does the call only make the piece longer at its end? */
function isGrowth(op: TraceOp, piece: Piece, mm: MmStruct): boolean {
  if (op.op === 'mmap') return (op.flags.lo & MAP_FIXED) !== 0 && op.addr.num === piece.end;
  if (op.op === 'mprotect') return op.addr.num === piece.end;
  return op.op === 'brk' && mm.brk === piece.end && op.addr.num > piece.end;
}

/** The program could not get memory: its run ends here. */
export class OutOfMemory extends Error {
  override readonly name = 'OutOfMemory';
}

export class Toucher {
  readonly policy: TouchPolicy;
  /** Plans by process (thread group). */
  readonly plans: ReadonlyMap<number, FaultPlan>;
  touched = 0;
  /** Accesses that ended in a signal. */
  refused = 0;
  /** Told of each access, in its step. */
  onTouch: ((mm: MmStruct, task: Task, va: number, isWrite: boolean) => void) | null = null;
  /** Memory that a task has got and not used yet. */
  readonly #pending = new WeakMap<Task, { start: number; end: number }>();

  readonly #untouched: readonly Piece[];

  /** `untouched`: ranges that the policies sample and populate leave alone. */
  constructor(
    policy: TouchPolicy,
    plans: ReadonlyMap<number, FaultPlan> = new Map(),
    untouched: readonly Piece[] = [],
  ) {
    this.policy = policy;
    this.plans = plans;
    this.#untouched = policy === 'faults' ? [] : untouched;
  }

  /** Before a call of the process: the recorded faults that are needed now, or the piece that is complete. */
  *beforeCall(k: Kernel, task: Task, process: number, op: TraceOp): KernelPath<void> {
    const mm = task.mm;
    if (mm === null) return;
    const plan = this.plans.get(process);
    if (plan !== undefined) {
      const isLast = op.op === 'exit' && op.isGroup;
      for (let va = plan.next(k, mm, true, isLast); va >= 0; va = plan.next(k, mm, false, isLast))
        yield* this.#touch(k, mm, task, va);
    }
    const piece = this.#pending.get(task);
    if (piece === undefined || isGrowth(op, piece, mm)) return;
    this.#pending.delete(task);
    if (this.policy === 'sample') yield* this.#touch(k, mm, task, piece.start);
    else if (this.policy === 'populate') yield* this.#touchAll(k, mm, task, piece);
  }

  /** After a call that made [start, end) accessible. `isCommit`: anonymous memory put with MAP_FIXED into a reservation. */
  afterMapping(task: Task, start: number, end: number, isCommit: boolean): void {
    if (end <= start || (this.policy !== 'populate' && (this.policy !== 'sample' || isCommit))) return;
    const piece = this.#pending.get(task);
    if (piece !== undefined && piece.end === start) piece.end = end;
    else this.#pending.set(task, { start, end });
  }

  *#touchAll(k: Kernel, mm: MmStruct, task: Task, { start, end }: Piece): KernelPath<void> {
    for (let va = start; va < end; va += 4096) {
      const vma = mm.vmas.find(va);
      if (vma === null || vma.start >= end) return;
      if (va < vma.start) va = vma.start;
      if ((vma.flags & VM_ACCESS_FLAGS) === 0) va = vma.end - 4096;
      else yield* this.#touch(k, mm, task, va);
    }
  }

  *#touch(k: Kernel, mm: MmStruct, task: Task, va: number): KernelPath<void> {
    const kind = classifyTouch(k, mm, va);
    if (kind < FAULT_READ || this.#untouched.some((p) => p.start <= va && va < p.end)) return;
    if (k.sched.points) yield P_SYSCALL;
    this.touched++;
    const result = yield* touchPage(k, mm, task.cpu, va, kind === FAULT_WRITE);
    if ((result & VM_FAULT_OOM) !== 0) throw new OutOfMemory(`no memory for the page at 0x${va.toString(16)}`);
    if ((result & VM_FAULT_ERROR) !== 0) this.refused++;
    else this.onTouch?.(mm, task, va, kind === FAULT_WRITE);
  }
}
