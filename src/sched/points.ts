// All preemption points: id, name, and what another thread may observe while a thread stands there. A new point needs a
// scenario that fails without it.

import type { AtomicPoint, SleepPoint } from './path.ts';

export interface PointInfo {
  readonly name: string;
  readonly observable: string;
}

const INFO: PointInfo[] = [{ name: 'none', observable: '' }];

function point(name: string, observable: string): AtomicPoint {
  INFO.push({ name, observable });
  return (INFO.length - 1) as AtomicPoint;
}

function sleep(name: string, observable: string): SleepPoint {
  INFO.push({ name, observable });
  return (INFO.length - 1) as SleepPoint;
}

/** Name and meaning of a point. */
export function pointInfo(id: number): PointInfo {
  return INFO[id] ?? INFO[0]!;
}

export const P_SLEEP = sleep('sleep', 'a thread waits for a wake-up');
export const P_SPIN = point('spin', 'a CPU busy-waits for hardware or a spinlock');
export const P_LOCK = point('lock', 'before a lock is taken');
export const P_UNLOCK = point('unlock', 'after a lock was dropped');
export const P_SECTION_START = point('section start', 'before a start callback');
export const P_SECTION_OPEN = point('section open', 'every start callback has returned, no entry changed yet');
export const P_SECTION_END = point('section end', 'before the end callbacks');
export const P_SECTION_CLOSED = point('section closed', 'every end callback has returned');
export const P_CALLBACK = point('callback', 'between two callbacks');
export const P_PTES_CLEARED = point('entries cleared', 'a stride of entries is cleared, nothing flushed yet');
export const P_PTES_CHANGED = point('entries changed', 'a stride of entries is changed, nothing flushed yet');
export const P_PTES_MOVED = point('entries moved', 'entries stand at their new place, nothing flushed yet');
export const P_PTES_COPIED = point('entries copied', 'parent entries are write-protected, nothing flushed yet');
export const P_PTE_SET = point('entry set', 'a new entry is visible');
export const P_FLUSH = point('flush', 'before the CPU TLB flush');
export const P_IPI = point('IPI', 'some CPUs have flushed, others have not');
export const P_FLUSHED = point('flushed', 'CPU TLBs are flushed, pages not freed yet');
export const P_FREE = point('free', 'before gathered pages are freed');
export const P_FREED = point('freed', 'gathered pages are free');
export const P_TABLE_UNLINKED = point('table unlinked', 'a page-table page left the tree, its frame is not freed yet');
export const P_FAULT = point('fault', 'a fault was taken, nothing done yet');
export const P_FAULT_PAGE_READY = point('fault page ready', 'the new page is filled, the entry not set yet');
export const P_COPY = point('copy', 'a page is copied, the entry still maps the old one');
export const P_RECLAIM = point('reclaim', 'between two pages of a reclaim batch');
export const P_IO = point('I/O', 'page I/O under way');
export const P_SYSCALL = point('system call', 'between two system calls or memory accesses of the program');
export const P_ACCESS = point('access', 'before a CPU load or store');
export const P_DEV_TRANSLATE = point('device lookup', 'before the device looks in its TLB');
export const P_DEV_TRANSLATED = point('device translated', 'the device holds a translation and has not used it yet');
export const P_DEV_ACCESS = point('device access', 'the device reached memory');
export const P_DEV_MESSAGE = point('device message', 'a message is under way');
export const P_IOMMU_WALK = point('IOMMU walk', 'between two levels of the walk');
export const P_IOMMU_FILL = point('IOMMU fill', 'the walk is done, the IOMMU TLB not filled yet');
export const P_IOMMU_COMMAND = point('IOMMU command', 'before a command executes');
export const P_DEV_IDLE = point('device idle', 'the device has nothing under way');
export const P_DRIVER = point('driver', 'a step of a driver');
export const P_SRCU = point('srcu', 'waiting for a grace period');
export const P_RELEASE = point('release', 'between two release callbacks');
export const P_VCPU_ENTRY = point('vCPU entry', 'a vCPU has served its requests and is not in guest mode yet');
export const P_GUP = point('page looked up', 'a driver has looked a page up and has done nothing with it');
export const P_SPTES_ZAPPED = point('sptes zapped', 'translations left the table, TLBs may still have them');
