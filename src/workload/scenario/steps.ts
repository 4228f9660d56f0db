// What the steps of a scenario do: each is one kernel path.

import * as M from '../../abi/mman.ts';
import * as NR from '../../abi/syscalls.ts';
import { InputError } from '../../base/assert.ts';
import { ACCESS_DONE } from '../../device/accessor.ts';
import { userLoad, userStore } from '../../mm/cpu-access.ts';
import { ksmRun } from '../../mm/ksm/scan.ts';
import { compactMemory } from '../../mm/migrate/compaction.ts';
import { sendSigkill } from '../../mm/oom/kill.ts';
import { processMrelease } from '../../mm/oom/reap.ts';
import { swapoff } from '../../mm/swap/swapoff.ts';
import { SyscallArgs } from '../../mm/syscalls/args.ts';
import {
  FALLOC_FL_COLLAPSE_RANGE,
  FALLOC_FL_INSERT_RANGE,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
} from '../../mm/syscalls/memfd.ts';
import { syscall } from '../../mm/syscalls/table.ts';
import type { Task } from '../../mm/types.ts';
import {
  UFFDIO_REGISTER_MODE_MISSING,
  UFFDIO_REGISTER_MODE_WP,
  UFFDIO_WRITEPROTECT_MODE_WP,
} from '../../mm/uffd/context.ts';
import * as U from '../../mm/uffd/ioctl.ts';
import { uprobeRegister, uprobeUnregister } from '../../mm/uprobes/uprobes.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_SYSCALL } from '../../sched/points.ts';
import type { ScenarioContext } from './context.ts';
import { mappingStep } from './mapping-step.ts';
import { migrateStep, numaStep } from './migrate-step.ts';
import { adminStep, outsideStep, pinStep, remoteMadvise } from './outside-step.ts';
import type {
  AccessStep,
  MmapStep,
  MprotectStep,
  MremapStep,
  Prot,
  Step,
  ThreadScript,
  UffdCopyStep,
  UffdRangeStep,
  UffdRegisterStep,
} from './scenario.ts';

const PAGE = 4096;

function protBits(prot: Prot): number {
  if (prot === 'none') return M.PROT_NONE;
  return M.PROT_READ | (prot.includes('w') ? M.PROT_WRITE : 0) | (prot.includes('x') ? M.PROT_EXEC : 0);
}

const ADVICE: Readonly<Record<string, number>> = {
  dontneed: M.MADV_DONTNEED,
  free: M.MADV_FREE,
  cold: M.MADV_COLD,
  pageout: M.MADV_PAGEOUT,
  willneed: M.MADV_WILLNEED,
  dontfork: M.MADV_DONTFORK,
  remove: M.MADV_REMOVE,
  'dontneed-locked': M.MADV_DONTNEED_LOCKED,
  'populate-read': M.MADV_POPULATE_READ,
  'populate-write': M.MADV_POPULATE_WRITE,
  mergeable: M.MADV_MERGEABLE,
  unmergeable: M.MADV_UNMERGEABLE,
  hugepage: M.MADV_HUGEPAGE,
  nohugepage: M.MADV_NOHUGEPAGE,
  collapse: M.MADV_COLLAPSE,
  hwpoison: M.MADV_HWPOISON,
  'soft-offline': M.MADV_SOFT_OFFLINE,
  'guard-install': M.MADV_GUARD_INSTALL,
  'guard-remove': M.MADV_GUARD_REMOVE,
};

function call(c: ScenarioContext, task: Task, nr: number, ...a: number[]): KernelPath<number> {
  return syscall(c.kernel, task, nr, new SyscallArgs().of(a[0], a[1], a[2], a[3], a[4], a[5]));
}

/** The steps of a thread, one after the other. Throws InputError where a step cannot be done. */
export function* runThread(c: ScenarioContext, script: ThreadScript, task: Task): KernelPath<void> {
  for (const step of script.steps) {
    if (c.kernel.sched.points && script.on !== 'device') yield P_SYSCALL;
    if (script.on === 'device') yield* deviceAccess(c, step, script.engine ?? 0);
    else yield* runStep(c, step, task);
    const { id } = c.kernel.sched.current;
    c.completed[id] = (c.completed[id] ?? 0) + 1;
  }
}

function* deviceAccess(c: ScenarioContext, step: Step, engine: number): KernelPath<void> {
  if (step.do !== 'load' && step.do !== 'store')
    throw new InputError(`scenario ${c.scenario.name}: a device cannot do "${step.do}"`);
  if (c.device === null) throw new InputError(`scenario ${c.scenario.name}: there is no device`);
  const va = c.va(step.at) + (step.offset ?? 0);
  const result = yield* c.device.accessor.access(engine, va, step.do === 'store', c.va(step.at + 1));
  if (result !== ACCESS_DONE && step.mayFail === false)
    throw new InputError(`scenario ${c.scenario.name}: the device's ${step.do} of page ${step.at} was refused`);
}

/** Modes of fallocate. */
const FALLOC_MODES = {
  punch: FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
  zero: FALLOC_FL_ZERO_RANGE,
  collapse: FALLOC_FL_COLLAPSE_RANGE,
  insert: FALLOC_FL_INSERT_RANGE,
} as const;

/** One step of a task. */
export function* runStep(c: ScenarioContext, step: Step, task: Task): KernelPath<void> {
  const k = c.kernel;
  switch (step.do) {
    case 'load':
    case 'store':
      return yield* step.by === 'device' ? deviceAccess(c, step, 0) : access(c, step, task);
    case 'reclaim':
      yield* k.fn.tryToFreePages(k, step.pages ?? 1);
      return;
    case 'swapoff':
      refused(c, step, yield* swapoff(k));
      return;
    case 'ksm':
      yield* ksmRun(k, step.scans ?? 1);
      return;
    case 'compact':
      yield* compactMemory(k);
      return;
    case 'move-pages':
    case 'to-device':
    case 'to-ram':
    case 'exclusive':
      return yield* migrateStep(c, step, task.mm);
    case 'mbind':
    case 'numa-scan':
      return yield* numaStep(c, step, task);
    case 'soft-dirty':
    case 'idle':
    case 'poke':
    case 'referenced':
    case 'vm-write':
    case 'damon':
      return yield* outsideStep(c, step, task);
    case 'memory-max':
    case 'migrate-pages':
    case 'khugepaged':
    case 'lru-gen':
      return yield* adminStep(c, step, task);
    case 'pin':
    case 'unpin':
      return yield* pinStep(c, step, task);
    case 'shmat':
    case 'shmdt':
    case 'io-setup':
    case 'io-destroy':
    case 'remap-file-pages':
    case 'brk':
    case 'exec':
    case 'mlockall':
      refused(c, step, yield* mappingStep(c, step, task));
      return;
    case 'probe':
    case 'unprobe': {
      const change = step.do === 'probe' ? uprobeRegister : uprobeUnregister;
      refused(c, step, yield* change(k, c.inode(step.file), (step.page ?? 0) * PAGE));
      return;
    }
    case 'fork': {
      const pid = yield* call(c, task, NR.NR_fork);
      refused(c, step, pid);
      if (pid > 0) c.tasks.set(step.as ?? 'child', k.tasks.get(pid)!);
      return;
    }
    case 'exit':
      yield* call(c, step.task === undefined ? task : c.task(step.task), NR.NR_exit);
      return;
    case 'bind':
      refused(c, step, yield* c.device!.bind(task.mm!));
      return;
    case 'unbind':
      yield* c.device!.unbind();
      return;
    case 'run':
      yield* step.path(c);
      return;
    case 'kill':
      sendSigkill(k, c.task(step.task ?? 'main'));
      return;
    case 'mrelease':
      refused(c, step, yield* processMrelease(k, c.tasks.get(step.task ?? 'main') ?? null, 0));
      return;
    case 'uffd-register':
    case 'uffd-copy':
    case 'uffd-zeropage':
    case 'uffd-unregister':
    case 'uffd-protect':
    case 'uffd-unprotect':
      refused(c, step, yield* uffdCall(c, step, task));
      return;
    case 'truncate':
      refused(c, step, yield* call(c, task, NR.NR_ftruncate, c.fd(task, step.file), (step.pages ?? 0) * PAGE));
      return;
    case 'fsync':
      refused(c, step, yield* call(c, task, NR.NR_fsync, c.fd(task, step.file)));
      return;
    case 'punch':
    case 'zero':
    case 'collapse':
    case 'insert': {
      const at = [(step.page ?? 0) * PAGE, (step.pages ?? 1) * PAGE] as const;
      refused(c, step, yield* call(c, task, NR.NR_fallocate, c.fd(task, step.file), FALLOC_MODES[step.do], ...at));
      return;
    }
    default:
      if (step.do === 'madvise' && step.remote === true) return yield* remoteMadvise(c, step, task);
      refused(c, step, yield* memoryCall(c, step, task));
  }
}

function uffdCall(
  c: ScenarioContext,
  step: UffdRegisterStep | UffdCopyStep | UffdRangeStep,
  task: Task,
): KernelPath<number> {
  const k = c.kernel;
  const ctx = c.userfault(task);
  const va = c.va(step.at);
  const bytes = (step.pages ?? 1) * PAGE;
  switch (step.do) {
    case 'uffd-register':
      return U.uffdioRegister(
        k,
        ctx,
        va,
        bytes,
        step.mode === 'wp' ? UFFDIO_REGISTER_MODE_WP : UFFDIO_REGISTER_MODE_MISSING,
      );
    case 'uffd-copy':
      return U.uffdioCopy(k, task, ctx, va, c.va(step.from), bytes, 0);
    case 'uffd-zeropage':
      return U.uffdioZeropage(k, ctx, va, bytes, 0);
    case 'uffd-unregister':
      return U.uffdioUnregister(k, ctx, va, bytes);
    default:
      return U.uffdioWriteprotect(k, ctx, va, bytes, step.do === 'uffd-protect' ? UFFDIO_WRITEPROTECT_MODE_WP : 0);
  }
}

function memoryCall(
  c: ScenarioContext,
  step: Extract<
    Step,
    { do: 'mmap' | 'munmap' | 'msync' | 'mlock' | 'mlock-onfault' | 'munlock' | 'mprotect' | 'madvise' | 'mremap' }
  >,
  task: Task,
): KernelPath<number> {
  const va = c.va(step.at);
  const bytes = (step.pages ?? 1) * PAGE;
  switch (step.do) {
    case 'mmap':
      return mmap(c, step, task);
    case 'munmap':
      return call(c, task, NR.NR_munmap, va, bytes);
    case 'msync':
      return call(c, task, NR.NR_msync, va, bytes, M.MS_SYNC);
    case 'mlock':
      return call(c, task, NR.NR_mlock, va, bytes);
    case 'mlock-onfault':
      return call(c, task, NR.NR_mlock2, va, bytes, M.MLOCK_ONFAULT);
    case 'munlock':
      return call(c, task, NR.NR_munlock, va, bytes);
    case 'mprotect':
      return step.key === true
        ? pkeyMprotect(c, step, task)
        : call(c, task, NR.NR_mprotect, va, bytes, protBits(step.prot));
    case 'madvise':
      return call(c, task, NR.NR_madvise, va, bytes, ADVICE[step.advice]!);
    case 'mremap':
      return mremap(c, step, task);
  }
}

function* pkeyMprotect(c: ScenarioContext, step: MprotectStep, task: Task): KernelPath<number> {
  const key = yield* call(c, task, NR.NR_pkey_alloc, 0, 0);
  if (key < 0) return key;
  const bytes = (step.pages ?? 1) * PAGE;
  return yield* call(c, task, NR.NR_pkey_mprotect, c.va(step.at), bytes, protBits(step.prot), key);
}

function mmap(c: ScenarioContext, step: MmapStep, task: Task): KernelPath<number> {
  let flags = M.MAP_FIXED | (step.shared === true ? M.MAP_SHARED : M.MAP_PRIVATE);
  if (step.file === undefined) flags |= M.MAP_ANONYMOUS;
  if (step.populate === true) flags |= M.MAP_POPULATE;
  if (step.hugetlb === true) flags |= M.MAP_HUGETLB;
  if (step.noReserve === true) flags |= M.MAP_NORESERVE;
  const fd = step.file === undefined ? -1 : c.fd(task, step.file);
  const prot = protBits(step.prot ?? 'rw');
  return call(
    c,
    task,
    NR.NR_mmap,
    c.va(step.at),
    (step.pages ?? 1) * PAGE,
    prot,
    flags,
    fd,
    (step.filePage ?? 0) * PAGE,
  );
}

function mremap(c: ScenarioContext, step: MremapStep, task: Task): KernelPath<number> {
  const { pages = 1 } = step;
  let flags = 0;
  if (step.mayMove === true || step.to !== undefined || step.dontUnmap === true) flags |= M.MREMAP_MAYMOVE;
  if (step.to !== undefined) flags |= M.MREMAP_FIXED;
  if (step.dontUnmap === true) flags |= M.MREMAP_DONTUNMAP;
  const to = step.to === undefined ? 0 : c.va(step.to);
  return call(c, task, NR.NR_mremap, c.va(step.at), pages * PAGE, (step.newPages ?? pages) * PAGE, flags, to);
}

function* access(c: ScenarioContext, step: AccessStep, task: Task): KernelPath<void> {
  const va = c.va(step.at) + (step.offset ?? 0);
  if (step.do === 'load') yield* userLoad(c.kernel, task, va, 4);
  else yield* userStore(c.kernel, task, va, step.value ?? 1, 4);
}

/** A system call of the setup that is refused is a mistake in the scenario; later it may be what the interleaving does. */
function refused(c: ScenarioContext, step: Step, result: number): void {
  if (result < 0 && !c.kernel.sched.points)
    throw new InputError(`scenario ${c.scenario.name}: setup: "${step.do}" answers ${result}`);
}
