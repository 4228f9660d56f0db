// One end of a connection: an adapter, its driver for the kernel's notifier design, the address space whose memory is registered, queue
// pairs, and the threads that answer their page faults (the driver's event queue and work queue). A machine has as many as are made: two
// with an address space each are two hosts, which is all that a transfer needs to cross; they share one kernel, whose reclaim,
// compaction and KSM then press on both at once, and one event record, so that one judge sees both.
//
//   queue pair                             event queue                            worker
//     no translation: stops, page fault      {queue pair, key, address, length}     driver.pageFault; resumes the queue pair
//
// Kernel names: mlx5_ib_eq_pf_action, mlx5_ib_pfault, mlx5_ib_page_fault_resume.

import { EAGAIN, EBUSY } from '../../abi/errno.ts';
import { E_BIND } from '../../abi/events.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct } from '../../mm/types.ts';
import { mmDrop } from '../../mm/vma/exit-mmap.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_DEV_ACCESS, P_DEV_TRANSLATE, P_DEV_TRANSLATED, P_DRIVER } from '../../sched/points.ts';
import { WaitQueue } from '../../sched/scheduler.ts';
import { type DmaUnit, LOOKUP_OK, type Nic } from './nic.ts';
import type { OdpDriver } from './region.ts';

const PART_FAULTS = 9; // the event queue

/** A page fault on its way to the driver. */
interface Fault {
  readonly key: number;
  readonly va: number;
  readonly length: number;
  readonly isWrite: boolean;
  /** The queue pair goes on: 0, or the -errno with which it fails. */
  readonly resume: (result: number) => void;
}

export class RdmaHost {
  readonly k: Kernel;
  readonly nic: Nic;
  readonly driver: OdpDriver;
  mm: MmStruct | null = null;
  readonly #faults: Fault[] = [];
  readonly #faultQueue = new WaitQueue();
  #workers = 0;

  constructor(k: Kernel, nic: Nic, driver: OdpDriver) {
    this.k = k;
    this.nic = nic;
    this.driver = driver;
  }

  /** Opens the device in the process: memory of `mm` can be registered. 0, -EBUSY, or what the notifiers answer. */
  *bind(mm: MmStruct): KernelPath<number> {
    if (this.mm !== null) return -EBUSY;
    this.mm = mm;
    mm.count++;
    this.nic.mm = mm.id;
    this.nic.noteState();
    const result = yield* this.driver.attach(mm);
    if (result < 0) {
      this.mm = null;
      mmDrop(this.k, mm);
      return result;
    }
    this.#emitBind(mm, 1);
    return 0;
  }

  /** Closes it: what is still registered goes. */
  *unbind(): KernelPath<void> {
    const { mm } = this;
    if (mm === null) return;
    this.nic.noteState();
    for (const region of [...this.driver.regions.values()]) yield* this.driver.deregister(region);
    yield* this.driver.detach(mm);
    this.#emitBind(mm, 0);
    this.mm = null;
    mmDrop(this.k, mm);
  }

  #emitBind(mm: MmStruct, isBound: number): void {
    const { log } = this.k.memory;
    if (log.on) log.emit(E_BIND, mm.id, 0, 0, 0, 0, isBound, 0, 0, this.nic.id);
  }

  // --- page faults

  /** Starts the workers that answer page faults of queue pairs. */
  startWorkers(count: number): void {
    for (; this.#workers < count; this.#workers++)
      this.k.sched.spawn(`nic ${this.nic.id} faults ${this.#workers}`, 'kernel', this.#work(), true);
  }

  *#work(): KernelPath<void> {
    const hasWork = (): boolean => {
      this.nic.note(PART_FAULTS, 0, false);
      return this.#faults.length > 0;
    };
    for (;;) {
      yield* this.k.sched.waitUntil(hasWork, this.#faultQueue, 'page faults of the adapter');
      this.nic.note(PART_FAULTS, 0, true);
      const fault = this.#faults.shift()!;
      const result = yield* this.driver.pageFault(fault.key, fault.va, fault.length, fault.isWrite);
      if (this.k.sched.points) yield P_DRIVER;
      // The adapter looks again, and faults again if it must.
      fault.resume(result === -EAGAIN ? 0 : result);
    }
  }

  raise(fault: Fault): void {
    this.nic.note(PART_FAULTS, 0, true);
    this.#faults.push(fault);
    this.#faultQueue.wakeAll(this.k.sched);
  }

  // --- DMA of more than a page

  /** Reads [va, va + length) through the key. LOOKUP_OK, or why it stopped. */
  *dmaRead(
    unit: DmaUnit,
    key: number,
    va: number,
    length: number,
    access: number,
    out: Uint8Array,
  ): KernelPath<number> {
    for (let at = 0; at < length; ) {
      const part = Math.min(length - at, 4096 - ((va + at) % 4096));
      const found = yield* this.#hold(unit, key, va + at, part, access);
      if (found !== LOOKUP_OK) return found;
      this.nic.read(unit, va + at, part, out, at);
      this.nic.release(unit);
      if (this.k.sched.points) yield P_DEV_ACCESS;
      at += part;
    }
    return LOOKUP_OK;
  }

  /** Writes `data` to [va, va + length) through the key. */
  *dmaWrite(unit: DmaUnit, key: number, va: number, access: number, data: Uint8Array): KernelPath<number> {
    for (let at = 0; at < data.length; ) {
      const part = Math.min(data.length - at, 4096 - ((va + at) % 4096));
      const found = yield* this.#hold(unit, key, va + at, part, access);
      if (found !== LOOKUP_OK) return found;
      this.nic.write(unit, va + at, part, data, at);
      this.nic.release(unit);
      if (this.k.sched.points) yield P_DEV_ACCESS;
      at += part;
    }
    return LOOKUP_OK;
  }

  /** An atomic on the 8 bytes at `va`, in one step: old := memory; memory := change(old). The old value goes to `old`. */
  *dmaAtomic(
    unit: DmaUnit,
    key: number,
    va: number,
    access: number,
    change: (old: number) => number,
    old: Uint8Array,
  ): KernelPath<number> {
    const found = yield* this.#hold(unit, key, va, 8, access);
    if (found !== LOOKUP_OK) return found;
    this.nic.read(unit, va, 8, old, 0);
    const words = new Uint32Array(old.slice().buffer);
    const value = change(words[0]! + words[1]! * 2 ** 32);
    words[0] = value % 2 ** 32;
    words[1] = Math.floor(value / 2 ** 32);
    this.nic.write(unit, va, 8, new Uint8Array(words.buffer), 0);
    this.nic.release(unit);
    if (this.k.sched.points) yield P_DEV_ACCESS;
    return LOOKUP_OK;
  }

  *#hold(unit: DmaUnit, key: number, va: number, length: number, access: number): KernelPath<number> {
    if (this.k.sched.points) yield P_DEV_TRANSLATE;
    const found = this.nic.hold(unit, key, va, length, access);
    if (found === LOOKUP_OK && this.k.sched.points) yield P_DEV_TRANSLATED;
    return found;
  }
}
