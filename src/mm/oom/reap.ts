// Taking the memory of a dying process away before it has exited (mm/oom_kill.c): by the OOM reaper, a kernel thread that may wait
// for nobody, and by process_mrelease. Private pages of each VMA are zapped in a section that must not block; a subscriber that
// would have to wait refuses it, and its VMA is tried again later.
//
//   reaper                                          victim
//     mmapLock R, only if it is free                  may sleep anywhere, even inside a section of its own
//     MMF_UNSTABLE: faults answer SIGBUS
//     each VMA: S (not blockable), zap, E, flush, free
//     one refused: again after 100 ms, 10 times
//     MMF_OOM_SKIP: nobody waits for it any more       exit_mmap: release, the rest
//
// Kernel names: __oom_reap_task_mm, oom_reap_task_mm, oom_reap_task, oom_reaper, SYSCALL_DEFINE2(process_mrelease).

import { EAGAIN, EINVAL, ESRCH } from '../../abi/errno.ts';
import { VM_HUGETLB, VM_PFNMAP, VM_SHARED } from '../../abi/mman.ts';
import { MMU_NOTIFY_UNMAP, SITE_OOM_REAP } from '../../abi/notifier.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { mmOfTask } from '../process/task-mm.ts';
import type { MmStruct, Task, VmArea } from '../types.ts';
import { giveUp, mmDrop } from '../vma/exit-mmap.ts';
import { isGivenUp, willFreeMem } from './kill.ts';

const MAX_OOM_REAP_RETRIES = 10;
/** Steps of the world for the 100 ms between two tries, and for the 2 s before the first. */
const RETRY_STEPS = 100;
const DELAY_STEPS = 2000;

/** __oom_reap_task_mm: mmapLock R. False: a subscriber refused a VMA, which keeps its pages. */
export function* oomReapTaskMm(k: Kernel, mm: MmStruct): KernelPath<boolean> {
  mm.isUnstable = true;
  let isDone = true;
  for (let vma = mm.vmas.first(); vma !== null; vma = vma.treeNext as VmArea | null) {
    if ((vma.flags & (VM_HUGETLB | VM_PFNMAP)) !== 0) continue;
    const isAnonymous = vma.file === null && vma.name === null;
    if (!isAnonymous && (vma.flags & VM_SHARED) !== 0) continue;
    if (!(yield* reapVma(k, vma))) isDone = false;
  }
  return isDone;
}

function* reapVma(k: Kernel, vma: VmArea): KernelPath<boolean> {
  const { mm, start, end } = vma;
  const range = mm.notifiers === null ? null : k.range(mm, start, end, MMU_NOTIFY_UNMAP, SITE_OOM_REAP, false);
  const tlb = k.fn.tlbGatherMmu(k, mm, false, SITE_OOM_REAP);
  if (range !== null && (yield* k.fn.mmuNotifierInvalidateRangeStart(k, range)) < 0) {
    yield* k.fn.tlbFinishMmu(k, tlb);
    return false;
  }
  yield* k.fn.unmapPageRange(k, tlb, vma, start, end, true);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  yield* k.fn.tlbFinishMmu(k, tlb);
  if (mm.notifiers !== null) yield* k.fn.mmuNotifierPagesFreed(k, mm, start, end, SITE_OOM_REAP);
  return true;
}

/** oom_reap_task_mm: one try. False: mmapLock is held for write, or a subscriber refused. */
function* tryReap(k: Kernel, mm: MmStruct): KernelPath<boolean> {
  if (!mm.mmapLock.tryRead()) return false;
  const isDone = isGivenUp(k, mm) || (yield* k.fn.oomReapTaskMm(k, mm));
  mm.mmapLock.readUnlock();
  return isDone;
}

/** oom_reap_task of the oom_reaper thread: reaps `mm`, or gives up after ten tries; either way the OOM killer looks elsewhere
 *  afterwards. The caller has taken a reference on mm (mmgrab), which is dropped. */
export function* oomReapTask(k: Kernel, mm: MmStruct): KernelPath<void> {
  yield* k.sched.sleepSteps(DELAY_STEPS, 'OOM reaper');
  for (let attempt = 0; attempt < MAX_OOM_REAP_RETRIES && !(yield* tryReap(k, mm)); attempt++)
    yield* k.sched.sleepSteps(RETRY_STEPS, 'OOM reaper');
  giveUp(k, mm);
  mmDrop(k, mm);
}

/** process_mrelease of the process that a pidfd names. 0, -EINVAL (flags; not dying), -ESRCH (gone), -EAGAIN (a subscriber
 *  refused a VMA; the rest is gone). */
export function* processMrelease(k: Kernel, target: Task | null, flags: number): KernelPath<number> {
  if (flags !== 0) return -EINVAL;
  const mm = target === null ? null : mmOfTask(k, target);
  if (mm === null) return -ESRCH;
  if (!willFreeMem(k, target!)) return isGivenUp(k, mm) ? 0 : -EINVAL;
  mm.count++;
  yield* mm.mmapLock.readLock();
  const isDone = isGivenUp(k, mm) || (yield* k.fn.oomReapTaskMm(k, mm));
  mm.mmapLock.readUnlock();
  mmDrop(k, mm);
  return isDone ? 0 : -EAGAIN;
}
