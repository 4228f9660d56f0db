// What the notifier room asks of mm: mm_take_all_locks and mmdrop. Linux: mm/mmap.c mm_take_all_locks, kernel/fork.c __mmdrop.

import type { NotifierHost, NotifierMm, NotifierVma } from '../notifier/host.ts';
import type { Rwsem } from '../sched/locks.ts';
import type { KernelPath } from '../sched/path.ts';
import { WaitQueue } from '../sched/scheduler.ts';
import type { Kernel } from './kernel.ts';
import { compoundHead } from './page/compound.ts';
import { PG_LOCKED } from './page/pages.ts';
import type { MmStruct } from './types.ts';
import { mmDrop } from './vma/exit-mmap.ts';

class KernelNotifierHost implements NotifierHost {
  readonly sched: Kernel['sched'];
  readonly log: Kernel['memory']['log'];
  /** mm_all_locks_mutex: one taker at a time, or two would deadlock over files that both map. */
  #isTaking = false;
  readonly #queue = new WaitQueue();
  readonly #held: Rwsem[] = [];
  readonly #kernel: Kernel;

  constructor(k: Kernel) {
    this.#kernel = k;
    this.sched = k.sched;
    this.log = k.memory.log;
  }

  *takeAllLocks(notifierMm: NotifierMm): KernelPath<void> {
    const mm = notifierMm as MmStruct;
    yield* this.sched.waitUntil(() => !this.#isTaking, this.#queue, 'mm_all_locks_mutex');
    this.#isTaking = true;
    for (let v = mm.vmas.first(); v !== null; v = mm.vmas.next(v)) {
      if (v.file !== null) yield* this.#take(v.file.inode.mapping.iMmapRwsem);
    }
    for (let v = mm.vmas.first(); v !== null; v = mm.vmas.next(v)) {
      for (const link of v.chain) yield* this.#take(link.anonVma.root.lock);
    }
  }

  *#take(lock: Rwsem): KernelPath<void> {
    if (this.#held.includes(lock)) return;
    yield* lock.writeLock();
    this.#held.push(lock);
  }

  dropAllLocks(_mm: NotifierMm): void {
    for (const lock of this.#held) lock.writeUnlock();
    this.#held.length = 0;
    this.#isTaking = false;
    this.#queue.wakeAll(this.sched);
  }

  mmDrop(mm: NotifierMm): void {
    mmDrop(this.#kernel, mm as MmStruct);
  }

  isPageLocked(pfn: number): boolean {
    const { pages } = this.#kernel;
    return (pages.flags[compoundHead(pages, pfn)]! & PG_LOCKED) !== 0;
  }

  pagesOf(pfn: number): number {
    return 2 ** this.#kernel.pages.order[pfn]!;
  }

  vmasOf(mm: NotifierMm): NotifierVma[] {
    const { vmas } = mm as MmStruct;
    const all: NotifierVma[] = [];
    for (let v = vmas.first(); v !== null; v = vmas.next(v)) all.push(v);
    return all;
  }
}

/** The host of a kernel's notifier design: `k.design = designInfo(name).create(notifierHost(k))`. */
export function notifierHost(k: Kernel): NotifierHost {
  return new KernelNotifierHost(k);
}
