// No notifier at all: devices pin what they use and learn nothing (ib_umem_get, vfio). The design against which the others are
// measured: safe, because a pinned page is never freed under the device; but the memory stays, is charged as locked, and
// after munmap or MADV_DONTNEED the device goes on with pages that the program no longer has.

import type { AtomicPath, KernelPath } from '../sched/path.ts';
import type { NotifierDesign } from './host.ts';

export class PinnedDesign implements NotifierDesign {
  readonly name: string = 'pinned';

  *invalidateRangeStart(): KernelPath<number> {
    return 0;
  }

  *invalidateRangeEnd(): KernelPath<void> {}

  *pteClearedAndFlushed(): AtomicPath<void> {}

  *changePte(): AtomicPath<void> {}

  *gatherFlushed(): AtomicPath<void> {}

  *cpuTlbFlushed(): AtomicPath<void> {}

  *pagesAboutToBeFreed(): AtomicPath<void> {}

  *young(): AtomicPath<boolean> {
    return false;
  }

  *release(): KernelPath<void> {}

  destroy(): void {}
}
