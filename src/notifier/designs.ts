// All notifier designs, oldest first. Adding one: a file beside this, and a row here. A variant is a design with one thing
// different, under the same name for those who write drivers: it has the callbacks of its design.

import { InputError } from '../base/assert.ts';
import { FreePages2011 } from './free-pages-2011.ts';
import type { NotifierDesign, NotifierHost } from './host.ts';
import { InvalidateRangeDesign } from './invalidate-range.ts';
import { Linux37, Linux2627 } from './linux-2.6.27.ts';
import { Linux61 } from './linux-6.1.ts';
import { Linux66 } from './linux-6.6.ts';
import { MmuNotifiersAndrea } from './mmu-notifiers-andrea.ts';
import { MmuNotifiersV4 } from './mmu-notifiers-v4.ts';
import { PinnedDesign } from './pinned.ts';
import { PteNotifiers } from './pte-notifiers.ts';

export interface DesignInfo {
  readonly name: string;
  /** First kernel release with it, or the year when it was in use. */
  readonly year: number;
  readonly summary: string;
  /** What it promises to a secondary MMU, in a line. */
  readonly guarantees: string;
  /** In which window a secondary MMU that relies on it alone goes wrong, in a line. */
  readonly window: string;
  /** Of a variant: the design whose callbacks it has. */
  readonly variantOf?: string;
  create(host: NotifierHost): NotifierDesign;
}

export const DESIGNS: readonly DesignInfo[] = [
  {
    name: 'pinned',
    year: 2005,
    summary: 'no notifier: the device pins the pages that it uses',
    guarantees: 'no page is freed while the device can reach it',
    window: 'none for memory; after munmap or DONTNEED the device goes on with pages that the program no longer has',
    create: () => new PinnedDesign(),
  },
  {
    name: 'pte-notifiers',
    year: 2007,
    summary: 'a notifier per VMA, told before reclaim clears an entry',
    guarantees: 'reclaim tells each notifier of the VMA once before it clears an entry',
    window: 'between the call and the clear the entry can be loaded again; every other unmapping is unheard',
    create: (host) => new PteNotifiers(host),
  },
  {
    name: 'mmu-notifiers-andrea',
    year: 2007,
    summary: 'a notifier per mm: invalidate_page after the clear, invalidate_range after everything',
    guarantees: 'a secondary MMU that holds a reference to each page drops it after the change',
    window: 'a range is told when its pages are free; fork and mprotect are unheard',
    create: (host) => new MmuNotifiersAndrea(host),
  },
  {
    name: 'mmu-notifiers-v4',
    year: 2008,
    summary: 'begin and end around changes, rmap notifiers for drivers that must sleep',
    guarantees:
      'between begin and end the driver has no reference in the range, so pages may be freed at any moment inside',
    window: 'hardware that loads entries by itself; mprotect and mremap are unheard; a new subscriber is told late',
    create: (host) => new MmuNotifiersV4(host),
  },
  {
    name: 'linux-2.6.27',
    year: 2008,
    summary: 'start and end around changes, invalidate_page for single pages',
    guarantees: 'a mirror that drops at start and refuses until end never uses a stale page',
    window:
      'hardware loads the entry again between start and the clear; full batches and page tables are freed unheard',
    create: (host) => new Linux2627(host),
  },
  {
    name: 'free-pages-2011',
    year: 2011,
    summary: '2.6.27 with a call before unmapped pages of an open section are freed (not merged)',
    guarantees: 'each page that zap frees is preceded by a call after its entry was cleared',
    window: 'page-table pages, and architectures with an mmu_gather of their own',
    create: (host) => new FreePages2011(host),
  },
  {
    name: 'invalidate-range',
    year: 2014,
    summary: 'Linux 3.19: also invalidate_range at each TLB flush, before pages are freed',
    guarantees: 'on return of invalidate_range no secondary TLB holds an older translation of the range',
    window: 'entries made writable; the old range of mremap until end; page tables announced as one page',
    create: (host) => new InvalidateRangeDesign(host),
  },
  {
    name: 'linux-6.1',
    year: 2022,
    summary: 'start, end, invalidate_range where pages may be freed or replaced; interval subscribers',
    guarantees: 'a mirror: nothing stale after start; a TLB: nothing stale after invalidate_range or end',
    window: 'entries made writable; mremap, migration and write-back until end; page tables announced as one page',
    create: (host) => new Linux61(host),
  },
  {
    name: 'linux-6.6',
    year: 2023,
    summary: 'secondary TLBs are flushed by the architecture whenever the CPUs are; nothing implied in end',
    guarantees: "a secondary TLB is never staler than the CPUs' TLBs",
    window: 'on x86 an entry made writable flushes no CPU: the device must walk again',
    create: (host) => new Linux66(host, 'linux-6.6'),
  },
  {
    name: 'linux-6.12',
    year: 2024,
    summary: 'as 6.6, without change_pte',
    guarantees: "a secondary TLB is never staler than the CPUs' TLBs",
    window: 'on x86 an entry made writable flushes no CPU: the device must walk again',
    create: (host) => new Linux66(host, 'linux-6.12'),
  },
];

export const DESIGN_VARIANTS: readonly DesignInfo[] = [
  {
    name: 'pte-notifiers-fixed',
    variantOf: 'pte-notifiers',
    year: 2007,
    summary: 'notifiers survive split, merge and mremap, and every VMA has a list',
    guarantees: 'reclaim tells each notifier of the VMA once before it clears an entry, whatever became of the VMA',
    window: 'between the call and the clear the entry can be loaded again; every other unmapping is unheard',
    create: (host) => new PteNotifiers(host, true),
  },
  {
    name: 'mmu-notifiers-v4-sleeping',
    variantOf: 'mmu-notifiers-v4',
    year: 2008,
    summary: 'begin and end outside RCU: they may sleep unless atomic',
    guarantees: 'as mmu-notifiers-v4, also for drivers that must wait in begin',
    window: 'truncate and hugetlb are atomic still; the rest as mmu-notifiers-v4',
    create: (host) => new MmuNotifiersV4(host, { maySleep: true }),
  },
  {
    name: 'mmu-notifiers-v4-unpaired',
    variantOf: 'mmu-notifiers-v4',
    year: 2008,
    summary: 'as posted: a fork that fails loses its end, a page that is reused has an end without begin',
    guarantees: 'as mmu-notifiers-v4, but for sections that another one ends',
    window:
      'a reused page ends a section of somebody else for a driver that counts; after a failed fork it refuses for ever',
    create: (host) => new MmuNotifiersV4(host, { hasPairingBugs: true }),
  },
  {
    name: 'mmu-notifiers-v5',
    variantOf: 'mmu-notifiers-v4',
    year: 2008,
    summary: 'V5: end has its range, mremap is told, release comes at the start of exit',
    guarantees: 'as mmu-notifiers-v4, and for mremap',
    window: 'hardware that loads entries by itself; mprotect is unheard; a new subscriber is told late',
    create: (host) => new MmuNotifiersV4(host, { version: 5 }),
  },
  {
    name: 'linux-3.7',
    variantOf: 'linux-2.6.27',
    year: 2012,
    summary: 'under SRCU and outside page-table locks: start, end and invalidate_page may sleep',
    guarantees: 'as linux-2.6.27, also for drivers that must sleep',
    window: 'as linux-2.6.27; reclaim tells of a page after the page-table lock was dropped',
    create: (host) => new Linux37(host),
  },
  {
    name: 'free-pages-2011-all',
    variantOf: 'free-pages-2011',
    year: 2011,
    summary: 'reaches the architectures with an mmu_gather of their own too',
    guarantees: 'each page that zap frees is preceded by a call, on every architecture',
    window: 'page-table pages',
    create: (host) => new FreePages2011(host, true),
  },
];

/** The design or variant of that name. Throws InputError for an unknown one. */
export function designInfo(name: string): DesignInfo {
  const info = DESIGNS.find((d) => d.name === name) ?? DESIGN_VARIANTS.find((d) => d.name === name);
  if (info === undefined)
    throw new InputError(`design: "${name}" is not one of ${DESIGNS.map((d) => d.name).join(', ')}`);
  return info;
}
