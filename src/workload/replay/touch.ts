// How a replayed program touches its memory. strace does not show loads and stores, so this is a stated policy:
//
//   none      no access at all: address-space results only
//   sample    the first page of every piece of memory that a call makes accessible, written where that is allowed
//   populate  every page of it
//   faults    the recorded page faults of another run of the same program (fault-plan.ts)
//
// Whether memory was touched matters for more than residency: VMAs that own pages of different fork histories do not merge.

import { VM_ACCESS_FLAGS, VM_FAULT_ERROR, VM_FAULT_OOM } from '../../abi/mman.ts';
import { InputError } from '../../base/assert.ts';
import { touchPage } from '../../mm/cpu-access.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct, Task } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_SYSCALL } from '../../sched/points.ts';
import { classifyTouch, FAULT_READ, FAULT_WRITE, type FaultPlan } from './fault-plan.ts';

export type TouchPolicy = 'none' | 'sample' | 'populate' | 'faults';
export const TOUCH_POLICIES: readonly TouchPolicy[] = ['none', 'sample', 'populate', 'faults'];

/** The policy of that name; InputError for another word. */
export function touchPolicy(name: string): TouchPolicy {
  const policy = TOUCH_POLICIES.find((p) => p === name);
  if (policy === undefined) throw new InputError(`--touch: "${name}" is not one of ${TOUCH_POLICIES.join(', ')}`);
  return policy;
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

  constructor(policy: TouchPolicy, plans: ReadonlyMap<number, FaultPlan> = new Map()) {
    this.policy = policy;
    this.plans = plans;
  }

  /** Before a call of the process: the recorded faults that are needed now. */
  *beforeCall(k: Kernel, task: Task, process: number): KernelPath<void> {
    const plan = this.plans.get(process);
    const mm = task.mm;
    if (plan === undefined || mm === null) return;
    for (let va = plan.next(k, mm, true); va >= 0; va = plan.next(k, mm, false)) yield* this.#touch(k, mm, task, va);
  }

  /** After a call that made [start, end) accessible. */
  *afterMapping(k: Kernel, task: Task, start: number, end: number): KernelPath<void> {
    const mm = task.mm;
    if (mm === null || end <= start) return;
    if (this.policy === 'sample') yield* this.#touch(k, mm, task, start);
    if (this.policy !== 'populate') return;
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
    if (kind < FAULT_READ) return;
    if (k.sched.points) yield P_SYSCALL;
    this.touched++;
    const result = yield* touchPage(k, mm, task.cpu, va, kind === FAULT_WRITE);
    if ((result & VM_FAULT_OOM) !== 0) throw new OutOfMemory(`no memory for the page at 0x${va.toString(16)}`);
    if ((result & VM_FAULT_ERROR) !== 0) this.refused++;
  }
}
