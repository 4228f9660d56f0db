// What a program does: loads and stores through its CPU's TLB, with the page-fault path behind a miss that the walker
// could not serve. A hit is a plain function; only a fault is a kernel path.

import {
  FAULT_FLAG_ALLOW_RETRY,
  FAULT_FLAG_INSTRUCTION,
  FAULT_FLAG_INTERRUPTIBLE,
  FAULT_FLAG_KILLABLE,
  FAULT_FLAG_USER,
  FAULT_FLAG_WRITE,
  VM_FAULT_ERROR,
  VM_FAULT_SIGSEGV,
} from '../abi/mman.ts';
import { assert } from '../base/assert.ts';
import { type Footprint, OBJ_MM } from '../base/footprint.ts';
import type { Cpu } from '../hw/cpu.ts';
import { ACCESS_EXEC, ACCESS_READ, ACCESS_WRITE } from '../hw/walker.ts';
import type { KernelPath } from '../sched/path.ts';
import { P_ACCESS } from '../sched/points.ts';
import type { Kernel } from './kernel.ts';
import { mmUse } from './reclaim/lru-gen-walk.ts';
import type { MmStruct, Task } from './types.ts';

/** Set apart from the rest of OBJ_MM. */
const CPU_MASK = 2 ** 31;

/** FAULT_FLAG_DEFAULT of a fault taken in user mode. */
const FAULT_USER = FAULT_FLAG_USER | FAULT_FLAG_ALLOW_RETRY | FAULT_FLAG_KILLABLE | FAULT_FLAG_INTERRUPTIBLE;

/** mm_cpumask in footprints: which CPUs a flush goes to. No lock guards it. */
export function noteCpuMask(footprint: Footprint, mm: MmStruct, isWrite: boolean): void {
  footprint.note(OBJ_MM, mm.id + CPU_MASK, isWrite);
}

/** switch_mm: `cpu` runs `mm` from now on, and gets its TLB flushes. */
export function switchMm(k: Kernel, cpu: Cpu, mm: MmStruct): void {
  cpu.load(mm.id, mm.pgd);
  if (k.memory.footprint !== null) noteCpuMask(k.memory.footprint, mm, (mm.cpuMask & (1 << cpu.id)) === 0);
  mm.cpuMask |= 1 << cpu.id;
  if (k.reclaim.lruGen !== null) mmUse(k, mm).hasRan = true;
}

/** The page-fault path of an access. 0, or the VM_FAULT_* bits of a signal. */
export function pageFault(k: Kernel, mm: MmStruct, va: number, access: number): KernelPath<number> {
  const flags =
    access === ACCESS_WRITE
      ? FAULT_USER | FAULT_FLAG_WRITE
      : access === ACCESS_EXEC
        ? FAULT_USER | FAULT_FLAG_INSTRUCTION
        : FAULT_USER;
  return k.fn.doUserAddrFault(k, mm, va, flags);
}

/** Physical byte address of an access of `mm` on `cpu`, faulting it in; or the negative of VM_FAULT_* bits. */
export function* userTranslate(k: Kernel, mm: MmStruct, cpu: Cpu, va: number, access: number): KernelPath<number> {
  if (k.sched.points) yield P_ACCESS;
  for (;;) {
    if (cpu.asid !== mm.id) switchMm(k, cpu, mm);
    const at = cpu.translate(va, access);
    if (at >= 0) {
      if (k.memory.footprint !== null) k.memory.touch(Math.floor(at / 4096), access === ACCESS_WRITE);
      return at;
    }
    const failed = (yield* pageFault(k, mm, va, access)) & VM_FAULT_ERROR;
    if (failed !== 0) return -failed;
  }
}

/** Touches the page of `va` as a load or store does. 0, or VM_FAULT_* bits. */
export function* touchPage(k: Kernel, mm: MmStruct, cpu: number, va: number, write: boolean): KernelPath<number> {
  const at = yield* userTranslate(k, mm, k.cpus[cpu]!, va, write ? ACCESS_WRITE : ACCESS_READ);
  return at < 0 ? -at : 0;
}

/** A store that needs no fault; false: use userStore. */
export function tryStore(cpu: Cpu, va: number, value: number): boolean {
  const at = cpu.translate(va, ACCESS_WRITE);
  if (at < 0) return false;
  cpu.memory.bytes[at] = value;
  return true;
}

/** Loads `size` bytes (1, 2 or 4, naturally aligned), little endian: the value, or the negative of VM_FAULT_* bits. */
export function* userLoad(k: Kernel, task: Task, va: number, size = 1): KernelPath<number> {
  assert(va % size === 0, 'userLoad: access is aligned');
  if (task.mm === null) return -VM_FAULT_SIGSEGV;
  k.sched.current.owner = task;
  const at = yield* userTranslate(k, task.mm, k.cpus[task.cpu]!, va, ACCESS_READ);
  if (at < 0) return at;
  const { bytes } = k.memory;
  if (size === 1) return bytes[at]!;
  if (size === 2) return bytes[at]! | (bytes[at + 1]! << 8);
  return k.memory.words[at >>> 2]! >>> 0;
}

/** Stores `size` bytes (1, 2 or 4, naturally aligned): 0, or the negative of VM_FAULT_* bits. */
export function* userStore(k: Kernel, task: Task, va: number, value: number, size = 1): KernelPath<number> {
  assert(va % size === 0, 'userStore: access is aligned');
  if (task.mm === null) return -VM_FAULT_SIGSEGV;
  k.sched.current.owner = task;
  const at = yield* userTranslate(k, task.mm, k.cpus[task.cpu]!, va, ACCESS_WRITE);
  if (at < 0) return at;
  const { bytes } = k.memory;
  if (size === 4) k.memory.words[at >>> 2] = value;
  else {
    bytes[at] = value;
    if (size === 2) bytes[at + 1] = value >>> 8;
  }
  return 0;
}
