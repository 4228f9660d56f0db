// A range of shared virtual memory (struct svm_range): what the driver knows of it, and how a part that is unmapped is split off.
// Linux: drivers/gpu/drm/amd/amdkfd/kfd_svm.c (svm_range_new, svm_range_split, svm_range_unmap_split, svm_range_add_child).
//
//   [start, end)    what the range is now; its notifier may still cover what it was, until deferred work has caught up
//   children        ranges split off by an unmap that nobody has put in the list yet, each with what is to become of it
//
// Guards: prange.lock guards all but `op` and `isQueued` (the deferred list's lock) and the bounds of the notifier (mmapLock W).

import { IntervalNotifier, type IntervalOps } from '../../notifier/interval.ts';
import { Mutex } from '../../sched/locks.ts';
import type { Scheduler } from '../../sched/scheduler.ts';

// enum svm_work_list_ops.
export const SVM_OP_NULL = 0;
export const SVM_OP_UNMAP_RANGE = 1;
export const SVM_OP_UPDATE_RANGE_NOTIFIER = 2;
export const SVM_OP_ADD_RANGE = 3;

export class SvmRange {
  start: number;
  end: number;
  readonly notifier: IntervalNotifier;
  readonly lock: Mutex;
  readonly migrateMutex: Mutex;
  mappedToGpu = false;
  /** Evictions that no restoration has made good. */
  invalid = 0;
  validatedAtStep = Number.NEGATIVE_INFINITY;
  children: SvmRange[] = [];
  op = SVM_OP_NULL;
  /** preferred_loc is system memory. */
  staysInRam = false;
  /** Sent to the GPU's memory as the how-manieth, and not evicted since; 0: not. */
  sentAs = 0;
  /** On the deferred list. */
  isQueued = false;

  constructor(sched: Scheduler, id: number, start: number, end: number, ops: (range: SvmRange) => IntervalOps) {
    this.start = start;
    this.end = end;
    this.notifier = new IntervalNotifier(ops(this));
    this.lock = new Mutex(sched, sched.lockClasses.define('prange.lock'), id);
    this.migrateMutex = new Mutex(sched, sched.lockClasses.define('prange.migrateMutex'), id);
  }

  meets(start: number, end: number): boolean {
    return this.start < end && this.end > start;
  }

  words(): number[] {
    const flags = (this.mappedToGpu ? 1 : 0) + (this.isQueued ? 2 : 0) + this.op * 4;
    return [this.start, this.end, flags, this.invalid, ...this.children.flatMap((c) => c.words()), -3];
  }
}

/** svm_range_split: `range` keeps [start, end), what it had beside is in the answer. */
function split(range: SvmRange, start: number, end: number, make: (start: number, end: number) => SvmRange): SvmRange {
  const rest = start === range.start ? make(end, range.end) : make(range.start, start);
  rest.mappedToGpu = range.mappedToGpu;
  rest.invalid = range.invalid;
  rest.validatedAtStep = range.validatedAtStep;
  rest.staysInRam = range.staysInRam;
  rest.sentAs = range.sentAs;
  range.start = start;
  range.end = end;
  return rest;
}

/** svm_range_unmap_split: [start, end) of `range` (the parent, or a child of it) is unmapped; what has to be done goes to the parent's
 *  children, since lists and notifiers cannot be changed here. parent.lock held. */
export function unmapSplit(
  parent: SvmRange,
  range: SvmRange,
  start: number,
  end: number,
  make: (start: number, end: number) => SvmRange,
): void {
  if (range.op === SVM_OP_UNMAP_RANGE || !range.meets(start, end)) return;
  const add = (child: SvmRange, op: number): void => {
    child.op = op;
    parent.children.push(child);
  };
  // The range keeps its lower part when that stays, else the upper one.
  let middle = range;
  if (start > range.start) middle = split(range, range.start, start, make);
  if (end < middle.end) {
    if (middle === range) add(split(range, end, range.end, make), SVM_OP_UNMAP_RANGE);
    else {
      add(split(middle, end, middle.end, make), SVM_OP_UNMAP_RANGE);
      add(middle, SVM_OP_ADD_RANGE);
    }
  } else if (middle !== range) add(middle, SVM_OP_UNMAP_RANGE);
  else if (parent !== range) range.op = SVM_OP_UNMAP_RANGE;
}
