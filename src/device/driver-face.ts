// The types of the driver author's face: what a design calls, and what a driver may ask of its device. Pure types; the names are
// those of the kernel's headers (include/linux/mmu_notifier.h), without the subscription and mm arguments.
//
// Two kinds of context. Atomic<T>: under a page-table lock or RCU; steps of hw that wait for hardware or for a spinlock are
// fine, steps that sleep are a type error. Sleeping<T>: both are fine. Either may also be the plain result of a function that
// has no step at all.

import type { AtomicPath, KernelPath } from '../sched/path.ts';
import type { FaultRequest } from './mirror.ts';

export type { FaultRequest };

export type DeviceKind = 'walker' | 'mirror';
export type DesignName = keyof CallbackTable;
/** Designs with interval subscribers. */
export type IntervalDesign = 'linux-6.1' | 'linux-6.6' | 'linux-6.12';

export type Atomic<T> = AtomicPath<T> | T;
export type Sleeping<T> = KernelPath<T> | T;

/** A section: what mm is going to change, and has changed when it ends. */
export interface Range {
  readonly start: number;
  /** Exclusive; Infinity = the end of the address space. */
  readonly end: number;
  /** MMU_NOTIFY_*: why. */
  readonly event: number;
  /** False: the caller cannot wait (the OOM reaper); the callback may not sleep. */
  readonly blockable: boolean;
}

/** A page-table entry that is about to be set (changePte). */
export interface ChangedEntry {
  /** Frame that it will map. */
  readonly page: number;
  readonly isWritable: boolean;
}

/** An interval subscription. */
export interface Interval {
  readonly id: number;
  readonly start: number;
  /** Last byte, inclusive. */
  readonly last: number;
}

// --- callbacks

interface Hooks {
  /** The device is being bound and the callbacks are in force; engines begin afterwards. Less than 0: an errno, it fails. */
  bind?(): Sleeping<number | void>;
  /** The device is being taken off: engines have stopped, the callbacks are still in force. */
  unbind?(): Sleeping<void>;
}

interface PteNotifiersCallbacks {
  /** Reclaim is about to clear the page's entry, which is still present: nothing keeps the device from loading it again. */
  clear?(address: number): Atomic<void>;
  /** The VMA is gone, its pages are free. */
  close?(start: number, end: number): Sleeping<void>;
}

interface AndreaCallbacks {
  /** The address space is gone, its pages and page tables are free. Not called when the device is taken off: see unbind. */
  release?(): Atomic<void>;
  /** Was the page used since the last call? On return the use is forgotten. */
  agePage?(address: number): Atomic<boolean>;
  /** The page's entry was cleared and the CPUs flushed; the page is not free yet. */
  invalidatePage?(address: number): Atomic<void>;
  /** The range was unmapped and its pages are free: the device must have held a reference to each. */
  invalidateRange?(start: number, end: number): Atomic<void>;
}

interface MmuNotifiersV4Callbacks {
  /** V4: the address space is gone, its pages and page tables are free. V5: it goes. */
  release?(): Atomic<void>;
  /** V4: the address space goes. On return the device uses nothing of it, nor will. Not called when the device is taken off. */
  invalidateAll?(): Atomic<void>;
  agePage?(address: number): Atomic<boolean>;
  invalidatePage?(address: number): Atomic<void>;
  /** On return the device uses nothing of the range, nor will until invalidateRangeEnd. `atomic`: the caller holds a spinlock. */
  invalidateRangeBegin?(start: number, end: number, atomic: boolean): Atomic<void>;
  /** Pages are free. V4 does not say of which range (null): count the open sections. */
  invalidateRangeEnd?(atomic: boolean, range: { readonly start: number; readonly end: number } | null): Atomic<void>;
  /** A page that hw.exportPage marked is unmapped. On return the device has no entry of it. The page is locked. */
  rmapInvalidatePage?(page: number): Sleeping<void>;
}

interface FreePages2011Callbacks extends Linux2627Callbacks {
  testYoung?(address: number): Atomic<boolean>;
  /** Entries inside an open section were cleared, and their pages are freed next; which is not said. On return the device holds
   *  no translation of the address space that is older than the call. */
  invalidateRangeFreePages?(): Atomic<void>;
}

interface Linux2627Callbacks {
  /** The address space goes. On return the device uses nothing of it, nor will. */
  release?(): Atomic<void>;
  /** Was the page used since the last call? On return the use is forgotten. */
  clearFlushYoung?(address: number): Atomic<boolean>;
  /** The page's entry becomes `entry`; called before. */
  changePte?(address: number, entry: ChangedEntry): Atomic<void>;
  /** The page's entry was cleared and the CPUs flushed. On return the device holds no older translation of it. */
  invalidatePage?(address: number): Atomic<void>;
  /** Entries of the range will change. On return nothing of it is mapped, nor will be until invalidateRangeEnd. */
  invalidateRangeStart?(range: Range): Atomic<void>;
  /** They have changed; pages may be free already. */
  invalidateRangeEnd?(range: Range): Atomic<void>;
}

interface InvalidateRangeCallbacks {
  /** As under 2.6.27, but may sleep, and may run twice at once (exit and unbind). */
  release?(): Sleeping<void>;
  clearFlushYoung?(start: number, end: number): Atomic<boolean>;
  testYoung?(address: number): Atomic<boolean>;
  changePte?(address: number, entry: ChangedEntry): Atomic<void>;
  invalidatePage?(address: number): Atomic<void>;
  invalidateRangeStart?(range: Range): Sleeping<void>;
  invalidateRangeEnd?(range: Range): Sleeping<void>;
  /** Entries were cleared or changed, pages are not free yet; often under a page-table lock. On return no TLB of the device
   *  holds an older translation, nor a walk cache a pointer to a page table that goes. */
  invalidateRange?(start: number, end: number): Atomic<void>;
}

interface IntervalCallbacks {
  /** A section that meets the interval begins. Call hw.setSeq(seq) under the lock that also guards the table, then take the
   *  range out of it. False: it would have to wait and range.blockable is false. No callback tells of the end. */
  invalidate?(range: Range, seq: number, interval: Interval): Sleeping<boolean | void>;
}

interface YoungCallbacks {
  clearFlushYoung?(start: number, end: number): Atomic<boolean>;
  /** As clearFlushYoung, without a flush: uses through a translation that was cached before may be missed. */
  clearYoung?(start: number, end: number): Atomic<boolean>;
  testYoung?(address: number): Atomic<boolean>;
}

interface StartEndCallbacks extends YoungCallbacks, IntervalCallbacks {
  release?(): Sleeping<void>;
  /** As under 2.6.27, but may sleep if range.blockable; else it may answer -EAGAIN (and has then no invalidateRangeEnd). */
  invalidateRangeStart?(range: Range): Sleeping<number | void>;
  invalidateRangeEnd?(range: Range): Sleeping<void>;
}

interface Linux61Callbacks extends StartEndCallbacks {
  changePte?(address: number, entry: ChangedEntry): Atomic<void>;
  /** Entries were cleared or changed, pages are not free yet; often under a page-table lock. On return no TLB of the device
   *  holds an older translation, nor a walk cache a pointer to a page table that goes. */
  invalidateRange?(start: number, end: number): Atomic<void>;
}

interface Linux612Callbacks extends StartEndCallbacks {
  /** The CPUs' TLBs were flushed over the range; otherwise as invalidateRange of 6.1. */
  archInvalidateSecondaryTlbs?(start: number, end: number): Atomic<void>;
}

interface Linux66Callbacks extends Linux612Callbacks {
  changePte?(address: number, entry: ChangedEntry): Atomic<void>;
}

interface CallbackTable {
  pinned: object;
  'pte-notifiers': PteNotifiersCallbacks;
  'mmu-notifiers-andrea': AndreaCallbacks;
  'mmu-notifiers-v4': MmuNotifiersV4Callbacks;
  'linux-2.6.27': Linux2627Callbacks;
  'free-pages-2011': FreePages2011Callbacks;
  'invalidate-range': InvalidateRangeCallbacks;
  'linux-6.1': Linux61Callbacks;
  'linux-6.6': Linux66Callbacks;
  'linux-6.12': Linux612Callbacks;
}

type AnyName = {
  [D in DesignName]: keyof CallbackTable[D];
}[DesignName];

/** Names that other designs have: writing one is an error, not a callback that is never called. */
type Others<D extends DesignName> = { readonly [N in Exclude<AnyName, keyof CallbackTable[D]>]?: never };

interface Fault {
  /** An engine finds no translation that allows its access. Puts one into the table and answers 0; or answers 0 or -EAGAIN
   *  for the engine to try again; or another -errno: the access is refused. May sleep. */
  fault(request: FaultRequest): Sleeping<number | void>;
}

/** What create(hw) returns. */
export type Callbacks<D extends DesignName, K extends DeviceKind> = D extends DesignName
  ? CallbackTable[D] & Hooks & Others<D> & (K extends 'mirror' ? Fault : { readonly fault?: never })
  : never;

// --- hw

/** What every driver has. */
export interface CommonHw {
  /** Spinlocks of the driver, 0 to 7. Not to be held across a step that sleeps. */
  lock(n?: number): AtomicPath<void>;
  unlock(n?: number): void;
  /** Mutexes of the driver, 0 to 7: may be held across steps that sleep. */
  mutexLock(n?: number): KernelPath<void>;
  mutexTryLock(n?: number): boolean;
  mutexUnlock(n?: number): void;
  /** Sleeps until the condition on the driver's variables holds. Whoever makes it true calls wake(). */
  waitUntil(condition: () => boolean, what?: string): KernelPath<void>;
  /** The same, busy. */
  spinUntil(condition: () => boolean, what?: string): AtomicPath<void>;
  wake(): void;
  /** A point at which anything else may happen, where the steps of hw are not fine enough. */
  step(): AtomicPath<void>;
}

/** The interval protocol. Without `interval`: the one over the whole address space that a driver with `invalidate` gets. */
export interface IntervalHw {
  /** mmu_interval_notifier_insert over [start, end). The subscription or -errno. */
  insertInterval(start: number, end: number): KernelPath<Interval | number>;
  /** mmu_interval_notifier_remove; never from a callback. */
  removeInterval(interval: Interval): KernelPath<void>;
  /** mmu_interval_read_begin: waits while the interval is being invalidated; the number for readRetry. */
  readBegin(interval?: Interval): KernelPath<number>;
  /** mmu_interval_read_retry, under the driver's lock. True: what was looked up since readBegin is stale. */
  readRetry(seq: number, interval?: Interval): boolean;
  /** mmu_interval_set_seq: in invalidate, under the driver's lock. */
  setSeq(seq: number, interval?: Interval): void;
}

/** External reverse maps of mmu-notifiers-v4. */
export interface RmapHw {
  /** lock_page, unlock_page. */
  lockPage(page: number): KernelPath<void>;
  unlockPage(page: number): void;
  /** Is the page mapped by anybody? */
  isPageMapped(page: number): boolean;
  /** mmu_rmap_export_page: before the page goes into the device's table. The page is locked. Needs rmapInvalidatePage. */
  exportPage(page: number): void;
}

/** An IOMMU that walks the CPUs' table, and a device with a TLB (ATS) that asks for missing pages (PRI). */
export interface WalkerHw extends CommonHw {
  /** IOMMU TLB and walk cache, wait, then the device's TLB, wait. A range in one page flushes that page, else all. */
  flushRange(start: number, end: number): AtomicPath<void>;
  flushPage(address: number): AtomicPath<void>;
  flushAll(): AtomicPath<void>;

  // The single commands. Each is put into the queue at once; commands complete in any order; only completionWait orders.
  /** INVALIDATE_IOMMU_PAGES. leafOnly: the walk cache keeps its pointers to page tables. */
  invalidateIommuTlb(start: number, end: number, options?: { readonly leafOnly?: boolean }): void;
  /** INVALIDATE_IOTLB_PAGES to the device. */
  invalidateDeviceTlb(start: number, end: number): void;
  /** COMPLETION_WAIT: spins until every command before it is complete. */
  completionWait(): AtomicPath<void>;

  /** Points the device at an empty page table, and back; both flush. */
  parkTable(): AtomicPath<void>;
  restoreTable(): AtomicPath<void>;
  /** Takes the table away for good, flushes, and waits for page requests in flight. */
  tearDown(): KernelPath<void>;
  /** The same for where nothing may sleep: busy. */
  tearDownAtomic(): AtomicPath<void>;
}

export interface MapOptions {
  readonly writable: boolean;
  /** Pages of the block: a power of two, 1 when left out. `va` is a multiple of its size; frames are consecutive. */
  readonly pages?: number;
  /** Table; 0 when left out. */
  readonly root?: number;
}

/** An entry that was taken out of the table. */
export interface Mapping {
  readonly va: number;
  readonly page: number;
  readonly pages: number;
  readonly isWritable: boolean;
  /** The device stored through it: the driver owes a markDirty. */
  readonly isDirty: boolean;
}

/** A device whose table the driver fills, and whose engines have TLBs. */
export interface MirrorHw extends CommonHw {
  /** get_user_pages of one page, with mmap_lock: faults it in if need be and takes a reference. The page, or -errno. */
  getUserPage(va: number, isWrite: boolean): KernelPath<number>;
  /** Drops the reference of getUserPage. */
  putPage(page: number): void;
  /** set_page_dirty. */
  markDirty(page: number): void;
  /** Puts the page into the table. Takes no reference. */
  map(va: number, page: number, options: MapOptions): AtomicPath<void>;
  /** Takes [start, end) out of all tables and TLBs, and waits (busy) for accesses in flight. What was taken out. */
  unmap(start: number, end: number): AtomicPath<readonly Mapping[]>;
  unmapAll(): AtomicPath<readonly Mapping[]>;

  // The parts of unmap.
  /** Takes [start, end) out of all tables, or of one; TLBs keep what they have. */
  removeEntries(start: number, end: number, options?: { readonly root?: number }): AtomicPath<readonly Mapping[]>;
  /** Drops TLB entries and waits for accesses in flight. */
  flushTlb(start: number, end: number): AtomicPath<void>;
  /** Drops TLB entries; accesses in flight go on. */
  flushTlbNoWait(start: number, end: number): AtomicPath<void>;

  /** Was the range used since it was last cleared? */
  testYoung(start: number, end: number): boolean;
  /** The same, and clears. TLBs keep their entries: uses through those are not seen. */
  clearYoung(start: number, end: number): boolean;
}

/** What create(hw) gets. */
export type Hw<D extends DesignName, K extends DeviceKind> = (K extends 'walker' ? WalkerHw : MirrorHw) &
  (D extends IntervalDesign ? IntervalHw : object) &
  (D extends 'mmu-notifiers-v4' ? RmapHw : object);
