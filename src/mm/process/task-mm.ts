// Which address space a task has, as others see it (task_struct.mm under task_lock): exit and exec change it in a step of their own.

import { OBJ_MM } from '../../base/footprint.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct, Task } from '../types.ts';

/** Tasks among the objects of OBJ_MM, by pid: no address space has such a number. */
const TASKS = 0x40000000;

/** The step reads (or changes) the address space of the task. */
export function noteTaskMm(k: Kernel, task: Task, isWrite: boolean): void {
  const { footprint } = k.memory;
  if (footprint !== null) footprint.note(OBJ_MM, TASKS + task.pid, isWrite);
}

/** The address space of a task that is not the current one; null when it has none any more. */
export function mmOfTask(k: Kernel, task: Task): MmStruct | null {
  noteTaskMm(k, task, false);
  return task.mm;
}
