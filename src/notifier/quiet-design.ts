// A design that makes nothing of any moment: what the designs extend, so that each states only what it does.

import type { AtomicPath, KernelPath } from '../sched/path.ts';
import type { NotifierDesign, NotifierMm, NotifierRange, NotifierVma } from './host.ts';

export abstract class QuietDesign implements NotifierDesign {
  abstract readonly name: string;
  hasRmapNotifiers = false;

  *invalidateRangeStart(_range: NotifierRange): KernelPath<number> {
    return 0;
  }

  *invalidateRangeEnd(_range: NotifierRange, _onlyEnd: boolean): KernelPath<void> {}

  *pteAboutToBeCleared(_mm: NotifierMm, _vma: NotifierVma, _address: number, _site: number): AtomicPath<void> {}

  *pteClearedAndFlushed(
    _mm: NotifierMm,
    _start: number,
    _end: number,
    _site: number,
    _isFile: boolean,
  ): AtomicPath<void> {}

  *changePte(_mm: NotifierMm, _address: number, _lo: number, _hi: number): AtomicPath<void> {}

  *gatherFlushed(
    _mm: NotifierMm,
    _start: number,
    _end: number,
    _freedTables: boolean,
    _site: number,
  ): AtomicPath<void> {}

  *cpuTlbFlushed(_mm: NotifierMm, _start: number, _end: number, _site: number): AtomicPath<void> {}

  *pagesAboutToBeFreed(_mm: NotifierMm, _start: number, _end: number, _site: number): AtomicPath<void> {}

  *pagesFreed(_mm: NotifierMm, _start: number, _end: number, _site: number): KernelPath<void> {}

  *pageUnmapped(_pfn: number, _site: number): KernelPath<void> {}

  *young(_mm: NotifierMm, _start: number, _end: number, _kind: number): AtomicPath<boolean> {
    return false;
  }

  *release(_mm: NotifierMm): KernelPath<void> {}

  *exitFinished(_mm: NotifierMm): KernelPath<void> {}

  *pageReused(_mm: NotifierMm, _address: number): KernelPath<void> {}

  destroy(_mm: NotifierMm): void {}

  vmaMapped(_vma: NotifierVma): void {}

  vmaCopied(_vma: NotifierVma, _copy: NotifierVma): void {}

  vmaMerged(_into: NotifierVma, _from: NotifierVma, _isGone: boolean): void {}

  *vmaClosed(_vma: NotifierVma): KernelPath<void> {}

  /** Removed with 3.10: before, no design but that of 2011 minded. */
  allowsFastMode(_mm: NotifierMm, _isOwnGather: boolean): boolean {
    return true;
  }
}
