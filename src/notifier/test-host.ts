// A host for tests of the designs: address spaces without pages. One rwsem stands for all i_mmap and anon_vma locks.

import { EV_WORDS } from '../abi/events.ts';
import { LOCK_ANON_VMA, LOCK_MMAP } from '../abi/locks.ts';
import { RecordLog } from '../base/record-log.ts';
import { Rng } from '../base/rng.ts';
import { Rwsem } from '../sched/locks.ts';
import type { KernelPath } from '../sched/path.ts';
import { P_PTES_CLEARED } from '../sched/points.ts';
import { RandomChooser, Scheduler } from '../sched/scheduler.ts';
import type { NotifierDesign, NotifierHost, NotifierMm, NotifierRange, NotifierVma } from './host.ts';

export class TestMm implements NotifierMm {
  readonly id: number;
  pgd = 0;
  readonly mmapLock: Rwsem;
  readonly rmapLock: Rwsem;
  users = 1;
  count = 1;
  isExiting = false;
  notifiers: { readonly hasSubscribers: boolean } | null = null;

  constructor(sched: Scheduler, id: number) {
    this.id = id;
    this.mmapLock = new Rwsem(sched, LOCK_MMAP, id);
    this.rmapLock = new Rwsem(sched, LOCK_ANON_VMA, id);
  }
}

export class TestHost implements NotifierHost {
  readonly log = new RecordLog(EV_WORDS, 4096);
  readonly sched: Scheduler;
  readonly mm: TestMm;
  #nextRange = 1;

  /** Points on: a random interleaving of that seed. */
  constructor(seed = 0, points = false) {
    this.sched = new Scheduler(this.log, new RandomChooser(new Rng(seed)));
    this.sched.points = points;
    this.mm = new TestMm(this.sched, 1);
  }

  *takeAllLocks(mm: NotifierMm): KernelPath<void> {
    yield* (mm as TestMm).rmapLock.writeLock();
  }

  dropAllLocks(mm: NotifierMm): void {
    (mm as TestMm).rmapLock.writeUnlock();
  }

  mmDrop(mm: NotifierMm): void {
    mm.count--;
  }

  isPageLocked(_pfn: number): boolean {
    return true;
  }

  pagesOf(_pfn: number): number {
    return 1;
  }

  vmasOf(_mm: NotifierMm): NotifierVma[] {
    return [];
  }

  range(start: number, end: number, event: number, site: number, blockable = true): NotifierRange {
    return { mm: this.mm, start, end, event, site, blockable, owner: null, id: this.#nextRange++, hasFailed: false };
  }
}

/** start, some change of entries, end: what mm does in a section that cannot fail. */
export function* section(host: TestHost, design: NotifierDesign, range: NotifierRange): KernelPath<void> {
  if (host.mm.notifiers === null) {
    if (host.sched.points) yield P_PTES_CLEARED;
    return;
  }
  yield* design.invalidateRangeStart(range);
  if (host.sched.points) yield P_PTES_CLEARED;
  yield* design.invalidateRangeEnd(range, false);
}

export function seedOf(fallback: number): number {
  const given = process.env['SEED'];
  return given === undefined ? fallback : Number(given);
}
