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
  I12,
  I24,
  I40,
  I44,
  I45,
  I60,
  L1,
  L2,
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
export const GAP_STALE_READ_ONLY = 11;

const GAP_TEXT: Readonly<Record<number, string>> = {
  1: 'mremap: pages reclaimed through their new address before the section over the old range ends; only the new address is invalidated',
  2: 'nested gather flush: invalidate_range receives an empty range, so freed page tables are not announced',
  3: 'freed page tables are announced with a range of one page, not with their span',
  5: 'pinned pages stay with the device whatever happens to the mapping',
  9: 'exec frees the page tables of the moved stack with invalidate_range only, outside any section',
  11: 'an entry made writable is not announced; a device TLB that does not walk again keeps its read-only copy',
};

/** Gaps that are recognised unless the caller names others. */
export const ALL_GAPS: readonly number[] = [1, 2, 3, 5, 9, 11];

/** What a documented gap is, in words. */
export function gapText(gap: number): string {
  return GAP_TEXT[gap] ?? `documented gap ${gap}`;
}
