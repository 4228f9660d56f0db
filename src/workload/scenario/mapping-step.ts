// Steps of scenarios for mappings that have system calls of their own (SysV segments, the ring of an AIO context, remap_file_pages, the heap),
// and for calls that concern the whole address space.

import { MCL_CURRENT, MREMAP_FIXED, MREMAP_MAYMOVE } from '../../abi/mman.ts';
import * as NR from '../../abi/syscalls.ts';
import { doExec } from '../../mm/process/task.ts';
import { ioDestroy, ioSetup } from '../../mm/syscalls/aio.ts';
import { SyscallArgs } from '../../mm/syscalls/args.ts';
import { syscall } from '../../mm/syscalls/table.ts';
import type { Task } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { ScenarioContext } from './context.ts';
import { type AttachStep, type BrkStep, HEAP_START, type RemapStep, type WholeStep } from './scenario.ts';

const PAGE = 4096;
const IPC_PRIVATE = 0;
const OWNER_READS_AND_WRITES = 0o600;

function call(c: ScenarioContext, task: Task, nr: number, ...a: number[]): KernelPath<number> {
  return syscall(c.kernel, task, nr, new SyscallArgs().of(a[0], a[1], a[2], a[3], a[4], a[5]));
}

/** What the system call answers; 0 when the task has ended. */
export function* mappingStep(
  c: ScenarioContext,
  step: AttachStep | RemapStep | BrkStep | WholeStep,
  task: Task,
): KernelPath<number> {
  if (task.mm === null) return 0;
  switch (step.do) {
    case 'shmat': {
      const id = yield* call(c, task, NR.NR_shmget, IPC_PRIVATE, (step.pages ?? 1) * PAGE, OWNER_READS_AND_WRITES);
      return id < 0 ? id : yield* call(c, task, NR.NR_shmat, id, c.va(step.at), 0);
    }
    case 'shmdt':
      return yield* call(c, task, NR.NR_shmdt, c.va(step.at));
    case 'io-setup': {
      const ring = yield* ioSetup(c.kernel, task, 1, 0);
      if (ring < 0) return ring;
      const bytes = task.mm.vmas.findExact(ring)!.end - ring;
      return yield* call(c, task, NR.NR_mremap, ring, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, c.va(step.at));
    }
    case 'io-destroy':
      return yield* ioDestroy(c.kernel, task, c.va(step.at));
    case 'remap-file-pages':
      return yield* call(c, task, NR.NR_remap_file_pages, c.va(step.at), (step.pages ?? 1) * PAGE, 0, step.filePage, 0);
    case 'brk':
      return yield* call(c, task, NR.NR_brk, HEAP_START + step.pages * PAGE);
    case 'mlockall':
      return yield* call(c, task, NR.NR_mlockall, MCL_CURRENT);
    case 'exec':
      return yield* doExec(c.kernel, task, { areas: [], startBrk: HEAP_START });
  }
}
