// Every memory reference of a program, streamed through the CPU's TLB (valgrind lackey).
//
// valgrind lays a program out elsewhere than the kernel does, so references cannot be joined to recorded system calls by
// address. They run in a process of their own. Its mappings are learned: a reference that no mapping covers makes an
// anonymous one around it (64 KiB, aligned), and these are counted.

import {
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  PROT_EXEC,
  PROT_READ,
  PROT_WRITE,
  VM_FAULT_ERROR,
  VM_FAULT_OOM,
} from '../../abi/mman.ts';
import { NR_mmap } from '../../abi/syscalls.ts';
import type { Cpu } from '../../hw/cpu.ts';
import { ACCESS_EXEC, ACCESS_READ, ACCESS_WRITE } from '../../hw/walker.ts';
import { switchMm, touchPage } from '../../mm/cpu-access.ts';
import type { Kernel } from '../../mm/kernel.ts';
import { createProcess } from '../../mm/process/task.ts';
import { SyscallArgs } from '../../mm/syscalls/args.ts';
import { syscall } from '../../mm/syscalls/table.ts';
import type { MmStruct, Task } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import { LACKEY_LOAD, type LackeyBlock } from '../lackey.ts';
import { OutOfMemory } from './touch.ts';

const BLOCK_BYTES = 65536;
/** ACCESS_* of LACKEY_*: fetch, load, store, modify. */
const ACCESS_OF = Uint8Array.from([ACCESS_EXEC, ACCESS_READ, ACCESS_WRITE, ACCESS_WRITE]);

function lastByte(block: LackeyBlock, i: number): number {
  return block.vpnHi[i]! * 0x40000000 + block.vpnLo[i]! * 4096 + block.offset[i]! + block.sizeBytes[i]! - 1;
}

export class References {
  readonly #kernel: Kernel;
  readonly #task: Task;
  readonly #cpu: Cpu;
  readonly #args = new SyscallArgs();
  /** References of lackey lines; an access that crosses a page counts once and translates twice. */
  references = 0;
  translations = 0;
  faults = 0;
  mappingsLearned = 0;
  refused = 0;

  private constructor(kernel: Kernel, task: Task) {
    this.#kernel = kernel;
    this.#task = task;
    this.#cpu = kernel.cpus[task.cpu]!;
  }

  /** A process without mappings on CPU 0. */
  static create(kernel: Kernel): References {
    const task = kernel.sched.run(createProcess(kernel, { areas: [] }, 0, 'lackey'));
    switchMm(kernel, kernel.cpus[task.cpu]!, task.mm as MmStruct);
    return new References(kernel, task);
  }

  get tlbMisses(): number {
    return this.#cpu.misses;
  }

  /** Streams a block; faults run at once, points off. */
  run(block: LackeyBlock): void {
    let at = 0;
    while (at < block.count) {
      at = this.#hits(block, at);
      if (at < block.count) {
        this.#kernel.sched.run(this.#fault(block, at));
        at++;
      }
    }
    this.references += block.count;
  }

  /** The longest run of references from `at` that translate without a fault; returns where it ends. */
  #hits(block: LackeyBlock, at: number): number {
    const cpu = this.#cpu;
    const { count, kind, vpnHi, vpnLo, offset, sizeBytes } = block;
    const begin = at;
    while (at < count) {
      const end = cpu.translateRun(block, ACCESS_OF, at, count);
      // A reference that reaches into the next page translates that one too.
      for (; at < end; at++) {
        if (offset[at]! + sizeBytes[at]! > 4096 && cpu.translate(lastByte(block, at), ACCESS_OF[kind[at]!]!) < 0) break;
      }
      if (at < end || at === count) break;
      const va = vpnHi[at]! * 0x40000000 + vpnLo[at]! * 4096 + offset[at]!;
      const access = ACCESS_OF[kind[at]!]!;
      if (cpu.translate(va, access) < 0) break;
      if (offset[at]! + sizeBytes[at]! > 4096 && cpu.translate(lastByte(block, at), access) < 0) break;
      at++;
    }
    this.translations += at - begin;
    return at;
  }

  *#fault(block: LackeyBlock, at: number): KernelPath<void> {
    const va = block.vpnHi[at]! * 0x40000000 + block.vpnLo[at]! * 4096 + block.offset[at]!;
    const isWrite = block.kind[at]! > LACKEY_LOAD;
    yield* this.#touch(va, isWrite);
    const last = va + block.sizeBytes[at]! - 1;
    if (Math.floor(last / 4096) !== Math.floor(va / 4096)) yield* this.#touch(last, isWrite);
    this.translations++;
  }

  *#touch(va: number, isWrite: boolean): KernelPath<void> {
    const mm = this.#task.mm as MmStruct;
    const vma = mm.vmas.find(va);
    if (vma === null || vma.start > va) yield* this.#map(va);
    this.faults++;
    const result = yield* touchPage(this.#kernel, mm, this.#task.cpu, va, isWrite);
    if ((result & VM_FAULT_OOM) !== 0) throw new OutOfMemory(`no memory for the page at 0x${va.toString(16)}`);
    if ((result & VM_FAULT_ERROR) !== 0) this.refused++;
  }

  /** Maps the aligned block around `va`, as far as it is free. */
  *#map(va: number): KernelPath<void> {
    const mm = this.#task.mm as MmStruct;
    const block = va - (va % BLOCK_BYTES);
    const next = mm.vmas.find(va);
    const start = Math.max(block, mm.vmas.findPrev(va)?.end ?? 0, this.#kernel.config.mmapMinAddr);
    const end = Math.min(block + BLOCK_BYTES, next?.start ?? Number.POSITIVE_INFINITY);
    const prot = PROT_READ | PROT_WRITE | PROT_EXEC;
    this.#args.of(start, end - start, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    yield* syscall(this.#kernel, this.#task, NR_mmap, this.#args);
    this.mappingsLearned++;
  }
}
