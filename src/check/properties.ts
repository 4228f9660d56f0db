// The properties that the monitors watch, each with the tag by which reports group it, and the documented gaps of the
// reference kernel. Safety: something bad happened. Liveness: something good did not; it never makes a design unsafe.

export type FindingKind = 'safety' | 'liveness';

export interface Property {
  readonly id: string;
  readonly tag: string;
  readonly kind: FindingKind;
  /** The property in one sentence. */
  readonly claim: string;
}

function property(id: string, tag: string, kind: FindingKind, claim: string): Property {
  return { id, tag, kind, claim };
}

export const I1 = property(
  'I1',
  'UAF-DATA',
  'safety',
  'A device never reaches a frame that was freed after its translation was made.',
);
export const I1C = property(
  'I1c',
  'UAF-DATA',
  'safety',
  'No CPU keeps or uses a translation of a frame that has been freed.',
);
export const I2 = property(
  'I2',
  'UAF-TABLE',
  'safety',
  'No walker reads a freed page-table page, and no walk cache points to one.',
);
export const I3 = property(
  'I3',
  'STALE-PERM',
  'safety',
  'Once an entry has been write-protected and the operation is complete, no device stores through it.',
);
export const I4 = property(
  'I4',
  'STALE-MAP',
  'safety',
  'Once a mapping has been removed and the operation is complete, no device uses it.',
);
export const I3C = property(
  'I3c',
  'STALE-PERM',
  'safety',
  'Once an entry has been write-protected and the CPUs are flushed, no CPU stores through it.',
);
export const I4C = property(
  'I4c',
  'STALE-MAP',
  'safety',
  'Once a mapping has been removed and the CPUs are flushed, no CPU uses it.',
);
export const I5 = property(
  'I5',
  'STALE-MAP',
  'safety',
  'When a section is complete, every device translation of a page that it changed agrees with the entry.',
);
export const I7 = property(
  'I7',
  'STALE-MAP',
  'safety',
  'What a driver puts into its table agrees with the entry, unless an operation still under way is going to take it out.',
);
export const I8 = property(
  'I8',
  'SPLIT-VIEW',
  'safety',
  'Once anybody has stored to the copy that replaced a page, nobody uses the page that it was copied from.',
);
export const I9 = property(
  'I9',
  'STALE-MAP',
  'safety',
  'A device TLB is flushed only when the IOMMU has completed the flush of its own.',
);
export const I10 = property(
  'I10',
  'STALE-MAP',
  'safety',
  'Once a device has said that an invalidation is complete, it uses nothing translated before.',
);
export const I13 = property(
  'I13',
  'STALE-MAP',
  'safety',
  'Once a call that removed a mapping has returned, nobody uses it, even if another call over it is not complete.',
);
export const I14 = property(
  'I14',
  'STALE-MAP',
  'safety',
  'A device reaches a frame only while its driver has it mapped for DMA.',
);
export const I15 = property(
  'I15',
  'SPLIT-VIEW',
  'safety',
  'A device does atomic operations only on a page that it has for itself.',
);
export const I20A = property(
  'I20a',
  'LOST-WRITE',
  'safety',
  'What a device may have stored is marked dirty before the callback that takes it away returns.',
);
export const I20 = property(
  'I20',
  'LOST-WRITE',
  'safety',
  'A page is dropped as clean only when every store to it is in what was written out.',
);
export const I23 = property(
  'I23',
  'SPLIT-VIEW',
  'safety',
  'What one side of a fork has read of a shared page, no store of the other changes.',
);
export const I12 = property(
  'I12',
  'STALE-MAP',
  'safety',
  'After release or unbind a device holds no translation of the address space and makes none.',
);
export const I24 = property(
  'I24',
  'UAF-DATA',
  'safety',
  'A frame is freed only when no page-table entry maps it any more.',
);
export const I40 = property(
  'I40',
  'UNPAIRED',
  'safety',
  'Every section that a thread opens is closed by it once, innermost first, with the same range and event.',
);
export const I41 = property(
  'I41',
  'UNPAIRED',
  'safety',
  'A subscriber hears the end of exactly the sections whose start it has heard.',
);
export const I42 = property(
  'I42',
  'UNPAIRED',
  'safety',
  'When a start is refused, every subscriber that had heard it hears the end.',
);
export const I46 = property(
  'I46',
  'LIFETIME',
  'safety',
  'release is called at most once by exit and at most once by unregister.',
);
export const I47 = property(
  'I47',
  'LIFETIME',
  'safety',
  'No callback begins or runs after unregister has returned or the notifier was freed.',
);
export const I44 = property(
  'I44',
  'DEADLOCK',
  'safety',
  'Nobody sleeps under a spinlock or in a callback that must not, nor does what might sleep another time.',
);
export const I45 = property(
  'I45',
  'DEADLOCK',
  'safety',
  'A callback takes no lock that the kernel may hold when it makes it: mmap_lock, rmap locks, the page lock.',
);
export const I60 = property(
  'I60',
  'DEADLOCK',
  'safety',
  'Nobody waits in a circle, and the order of locks allows no circle.',
);
export const L1 = property(
  'L1',
  'LIVELOCK',
  'liveness',
  'An access that the address space permits completes; the device does not give up.',
);
export const L2 = property(
  'L2',
  'LIVELOCK',
  'liveness',
  'An access does not fault again and again while neither the entry nor a section over the page changes.',
);

export const L3 = property(
  'L3',
  'UNPAIRED',
  'liveness',
  'Every group of page requests is answered once, after its last request, and before its PASID is given back.',
);
export const L7 = property(
  'L7',
  'LIVELOCK',
  'liveness',
  'Once an entry has been made writable, a device write succeeds after at most one page request.',
);

/** All properties, in the order in which reports list them. */
export const PROPERTIES: readonly Property[] = [
  I1,
  I1C,
  I2,
  I3,
  I3C,
  I4,
  I4C,
  I5,
  I7,
  I8,
  I9,
  I10,
  I12,
  I13,
  I14,
  I15,
  I20,
  I20A,
  I23,
  I24,
  I40,
  I41,
  I42,
  I44,
  I45,
  I46,
  I47,
  I60,
  L1,
  L2,
  L3,
  L7,
];

/** Looks a property up by its id; undefined when there is none. */
export function propertyOf(id: string): Property | undefined {
  return PROPERTIES.find((p) => p.id === id);
}

// Documented gaps that a monitor can recognise. The matcher of each names operation, range and missing callback.
export const GAP_MREMAP_OLD_RANGE = 1;
export const GAP_DEGENERATE_RANGE = 2;
export const GAP_TABLE_RANGE = 3;
export const GAP_PINNED = 5;
export const GAP_EXEC_TABLES = 9;
export const GAP_SLEEPS_ALWAYS = 10;
export const GAP_STALE_READ_ONLY = 11;
export const GAP_EARLY_RMAP_REMOVAL = 13;
export const GAP_HUGE_ZERO_SPLIT = 14;
export const GAP_CLOSED_LATE = 15;
export const GAP_FROZEN_SPLIT = 16;
export const GAP_PART_MAPPED = 17;
export const GAP_FREED_BEFORE_FLUSH = 18;

const GAP_TEXT: Readonly<Record<number, string>> = {
  1: 'mremap: pages reclaimed through their new address before the section over the old range ends; only the new address is invalidated',
  2: 'nested gather flush: invalidate_range receives an empty range, so freed page tables are not announced',
  3: 'freed page tables are announced with a range of one page, not with their span',
  5: 'pinned pages stay with the device whatever happens to the mapping',
  9: 'exec frees the page tables of the moved stack with invalidate_range only, outside any section',
  10: 'the driver takes its mutexes where it must not sleep: the OOM reaper may have to wait for it',
  11: 'an entry made writable is not announced; a device TLB that does not walk again keeps its read-only copy',
  13: 'zap takes a dirty page of a file off its rmap before it flushes the CPUs, so write-back does not wait for the page-table lock that zap still holds',
  14: 'the huge zero page is split into entries of the small one without a call: the device goes on reading zeros from the huge one, which the address space keeps',
  15: 'exit: a driver without release unloads its contexts when the mapping of its device is closed, after the pages were freed',
  16: 'a huge page that is split is frozen without a call: a device TLB keeps it after that section, until the section of the rmap walk that follows; the page is locked so long',
  17: 'a range that meets several VMAs, of which the first was mapped and the next could not be, is not taken for mapped: invalidation passes over it',
  18: 'reclaim frees a large page at once, before it flushes the CPUs whose flush it put off: one that mapped the page for reading still can',
};

/** What a device may do with a translation that its driver passed over (gap 17). */
export const PASSED_OVER_PROPERTIES: readonly Property[] = [I1, I3, I4, I5, I7, I8, I13, I20];

/** What a device may do in gap 15. */
export const LATE_CLOSE_PROPERTIES: readonly Property[] = [I1, I3, I4, I5, I7, I8, I12, I13, I20];

/** Gaps that are recognised unless the caller names others. */
export const ALL_GAPS: readonly number[] = [1, 2, 3, 5, 9, 10, 11, 13, 14, 15, 16, 17, 18];

/** What a documented gap is, in words. */
export function gapText(gap: number): string {
  return GAP_TEXT[gap] ?? `documented gap ${gap}`;
}
