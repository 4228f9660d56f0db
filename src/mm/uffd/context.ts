// userfaultfd (fs/userfaultfd.c): a program, the monitor, answers page faults of an address space. What a descriptor holds, and
// the numbers of its interface (include/uapi/linux/userfaultfd.h).
//
//   faulting task                         monitor
//     queues itself in `pending`            read: the message; the task is now in `fault`
//     drops mmapLock, sleeps                UFFDIO_COPY, ZEROPAGE, CONTINUE or WRITEPROTECT: changes the entry,
//     woken: takes mmapLock, faults again     wakes everybody who waits in the range
//
// Both queues, the events and `released` change in single steps (their spinlocks are held for no longer).
// Kernel names: userfaultfd_ctx, userfaultfd_wait_queue, userfaultfd_unmap_ctx, userfaultfd_fork_ctx.

import { WaitQueue } from '../../sched/scheduler.ts';
import type { MmStruct } from '../types.ts';

// Flags of the system call, beside O_CLOEXEC and O_NONBLOCK.
export const UFFD_USER_MODE_ONLY = 1;
export const O_NONBLOCK = 0x800;
export const O_CLOEXEC = 0x80000;

export const UFFD_API = 0xaa;

// UFFDIO_REGISTER_MODE_*
export const UFFDIO_REGISTER_MODE_MISSING = 1;
export const UFFDIO_REGISTER_MODE_WP = 2;
export const UFFDIO_REGISTER_MODE_MINOR = 4;
// UFFDIO_COPY_MODE_*, UFFDIO_ZEROPAGE_MODE_*, UFFDIO_CONTINUE_MODE_*
export const UFFDIO_MODE_DONTWAKE = 1;
export const UFFDIO_COPY_MODE_WP = 2;
// UFFDIO_WRITEPROTECT_MODE_*
export const UFFDIO_WRITEPROTECT_MODE_WP = 1;
export const UFFDIO_WRITEPROTECT_MODE_DONTWAKE = 2;

// UFFD_FEATURE_*
export const UFFD_FEATURE_PAGEFAULT_FLAG_WP = 0x1;
export const UFFD_FEATURE_EVENT_FORK = 0x2;
export const UFFD_FEATURE_EVENT_REMAP = 0x4;
export const UFFD_FEATURE_EVENT_REMOVE = 0x8;
export const UFFD_FEATURE_MISSING_HUGETLBFS = 0x10;
export const UFFD_FEATURE_MISSING_SHMEM = 0x20;
export const UFFD_FEATURE_EVENT_UNMAP = 0x40;
export const UFFD_FEATURE_SIGBUS = 0x80;
export const UFFD_FEATURE_THREAD_ID = 0x100;
export const UFFD_FEATURE_MINOR_HUGETLBFS = 0x200;
export const UFFD_FEATURE_MINOR_SHMEM = 0x400;
export const UFFD_FEATURE_EXACT_ADDRESS = 0x800;
export const UFFD_FEATURE_WP_HUGETLBFS_SHMEM = 0x1000;

// uffd_msg.event
export const UFFD_EVENT_PAGEFAULT = 0x12;
export const UFFD_EVENT_FORK = 0x13;
export const UFFD_EVENT_REMAP = 0x14;
export const UFFD_EVENT_REMOVE = 0x15;
export const UFFD_EVENT_UNMAP = 0x16;
// uffd_msg.arg.pagefault.flags
export const UFFD_PAGEFAULT_FLAG_WRITE = 1;
export const UFFD_PAGEFAULT_FLAG_WP = 2;
export const UFFD_PAGEFAULT_FLAG_MINOR = 4;

/** uffd_msg: what a read of the descriptor gives. */
export interface UffdMessage {
  readonly event: number;
  /** PAGEFAULT: UFFD_PAGEFAULT_FLAG_*. */
  readonly flags: number;
  /** PAGEFAULT: the address (of the page, unless EXACT_ADDRESS). REMOVE, UNMAP: start. REMAP: the old place. */
  readonly address: number;
  /** REMOVE, UNMAP: end. REMAP: the new place. */
  readonly end: number;
  /** REMAP: length. */
  readonly length: number;
  /** FORK: the context of the child, for which the reader gets a descriptor. */
  readonly child: UserfaultfdCtx | null;
}

/** userfaultfd_wait_queue: one faulting task. */
export class UffdWait {
  readonly message: UffdMessage;
  readonly address: number;
  woken = false;

  constructor(message: UffdMessage, address: number) {
    this.message = message;
    this.address = address;
  }
}

/** An event on its way to the monitor; who caused it waits until it is read. */
export class UffdEvent {
  readonly message: UffdMessage;
  isRead = false;

  constructor(message: UffdMessage) {
    this.message = message;
  }
}

/** userfaultfd_ctx: one descriptor, bound to the address space that made it. */
export class UserfaultfdCtx {
  readonly id: number;
  readonly mm: MmStruct;
  /** O_NONBLOCK | O_CLOEXEC | UFFD_USER_MODE_ONLY. */
  readonly flags: number;
  /** Set by UFFDIO_API, once. */
  features = 0;
  isInitialized = false;
  /** The descriptor is closed, or its address space gone. */
  released = false;
  /** Calls under way that change the mapping and will announce it: fills are refused with -EAGAIN. */
  mmapChanging = 0;
  /** Faults that nobody has read yet, oldest last; and those that were read and are not resolved. */
  pending: UffdWait[] = [];
  fault: UffdWait[] = [];
  events: UffdEvent[] = [];
  /** Where faulting tasks sleep, and where monitors sleep that wait for a message. */
  readonly faultQueue = new WaitQueue();
  readonly readQueue = new WaitQueue();
  readonly eventQueue = new WaitQueue();

  constructor(id: number, mm: MmStruct, flags: number) {
    this.id = id;
    this.mm = mm;
    this.flags = flags;
  }

  get hasMessage(): boolean {
    return this.pending.length > 0 || this.events.length > 0;
  }
}
