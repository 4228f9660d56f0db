// All notifier designs, oldest first. Adding one: a file beside this, and a row here.

import { InputError } from '../base/assert.ts';
import type { NotifierDesign, NotifierHost } from './host.ts';
import { InvalidateRangeDesign } from './invalidate-range.ts';
import { Linux2627 } from './linux-2.6.27.ts';
import { Linux61 } from './linux-6.1.ts';
import { Linux66 } from './linux-6.6.ts';
import { PinnedDesign } from './pinned.ts';

export interface DesignInfo {
  readonly name: string;
  /** First kernel release with it, or the year when it was in use. */
  readonly year: number;
  readonly summary: string;
  create(host: NotifierHost): NotifierDesign;
}

export const DESIGNS: readonly DesignInfo[] = [
  {
    name: 'pinned',
    year: 2005,
    summary: 'no notifier: the device pins the pages that it uses',
    create: () => new PinnedDesign(),
  },
  {
    name: 'linux-2.6.27',
    year: 2008,
    summary: 'start and end around changes, invalidate_page for single pages',
    create: (host) => new Linux2627(host),
  },
  {
    name: 'invalidate-range',
    year: 2014,
    summary: 'Linux 3.19: also invalidate_range at each TLB flush, before pages are freed',
    create: (host) => new InvalidateRangeDesign(host),
  },
  {
    name: 'linux-6.1',
    year: 2022,
    summary: 'start, end, invalidate_range where pages may be freed or replaced; interval subscribers',
    create: (host) => new Linux61(host),
  },
  {
    name: 'linux-6.6',
    year: 2023,
    summary: 'secondary TLBs are flushed by the architecture whenever the CPUs are; nothing implied in end',
    create: (host) => new Linux66(host, 'linux-6.6'),
  },
  {
    name: 'linux-6.12',
    year: 2024,
    summary: 'as 6.6, without change_pte',
    create: (host) => new Linux66(host, 'linux-6.12'),
  },
];

/** The design of that name. Throws InputError for an unknown one. */
export function designInfo(name: string): DesignInfo {
  const info = DESIGNS.find((d) => d.name === name);
  if (info === undefined)
    throw new InputError(`design: "${name}" is not one of ${DESIGNS.map((d) => d.name).join(', ')}`);
  return info;
}
