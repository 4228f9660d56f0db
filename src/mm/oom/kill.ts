// Fatal signals, and the OOM killer's choice (kernel/signal.c zap_process, mm/oom_kill.c). A killed task does not end by itself
// here: whoever runs the tasks sees `isKilled` and runs doExit, as the return to user mode does. What it waits for meanwhile
// it waits for no longer, where Linux lets a fatal signal in.

import { MM_ANONPAGES, MM_FILEPAGES, MM_SHMEMPAGES, MM_SWAPENTS } from '../../abi/mman.ts';
import { OBJ_MM } from '../../base/footprint.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { mmOfTask } from '../process/task-mm.ts';
import type { MmStruct, Task } from '../types.ts';

/** The threads of the task's process (thread group), itself included. */
export function threadsOf(k: Kernel, task: Task): Task[] {
  return [...k.tasks.values()].filter((t) => t.tgid === task.tgid);
}

/** SIGKILL to the task's process: every thread of it is about to end. */
export function sendSigkill(k: Kernel, task: Task): void {
  for (const t of threadsOf(k, task)) t.isKilled = true;
  const { mm } = task;
  if (mm === null) return;
  mm.isKilled = usersOf(k, mm).every((t) => t.isKilled);
  if (!mm.isKilled) return;
  for (let v = mm.vmas.first(); v !== null; v = mm.vmas.next(v)) {
    v.uffd?.faultQueue.wakeAll(k.sched);
    v.uffd?.eventQueue.wakeAll(k.sched);
  }
}

function usersOf(k: Kernel, mm: MmStruct): Task[] {
  return [...k.tasks.values()].filter((t) => mmOfTask(k, t) === mm);
}

/** task_will_free_mem: everybody who uses its address space is on the way out, and nobody has given up on it. */
export function willFreeMem(k: Kernel, task: Task): boolean {
  const mm = mmOfTask(k, task);
  return mm !== null && !isGivenUp(k, mm) && usersOf(k, mm).every((t) => t.isKilled);
}

/** MMF_OOM_SKIP. No lock guards it. */
export function isGivenUp(k: Kernel, mm: MmStruct): boolean {
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_MM, mm.id, false);
  return mm.isOomSkip;
}

/** oom_badness: pages that would come free. */
function badness(mm: MmStruct): number {
  const { rss } = mm;
  return rss[MM_ANONPAGES]! + rss[MM_FILEPAGES]! + rss[MM_SHMEMPAGES]! + rss[MM_SWAPENTS]! + mm.tablePages;
}

/** select_bad_process: the task (of the group, if one is given) whose address space is the largest; null when every one was given up. A victim that is still
 *  dying is chosen again. */
function selectVictim(k: Kernel, memcg: number): Task | null {
  let victim: Task | null = null;
  for (const task of k.tasks.values()) {
    const mm = mmOfTask(k, task);
    if (mm === null || isGivenUp(k, mm) || (memcg !== 0 && mm.memcg !== memcg)) continue;
    if (mm.isOomVictim) return task;
    if (victim === null || badness(mm) > badness(victim.mm!)) victim = task;
  }
  return victim;
}

/** out_of_memory, mem_cgroup_out_of_memory: kills a process and sends the reaper after it, or finds one still dying. False: nobody is left to kill. */
export function* outOfMemory(k: Kernel, memcg: number): KernelPath<boolean> {
  const victim = selectVictim(k, memcg);
  if (victim === null) return false;
  const mm = victim.mm!;
  if (mm.isOomVictim) return true;
  mm.isOomVictim = true;
  k.stats.oomKills++;
  // Every process that shares the address space goes too.
  for (const task of usersOf(k, mm)) sendSigkill(k, task);
  mm.count++;
  k.sched.spawn('oom_reaper', 'kernel', k.fn.oomReapTask(k, mm));
  return true;
}
