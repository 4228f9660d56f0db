// XPMEM in the table of devices.

import type { DeviceInfo } from '../devices.ts';
import { createXpmem } from './xpmem.ts';

const CLOSES = 'asks the other partitions when a VMA is closed; reclaim is unheard';
const WAITS = 'asks the other partitions in start and waits, where it may not; single pages are unheard';
const RMAP = 'asks in begin, or holds pages where it may not wait; single pages through rmap notifiers';
const PAGES = 'asks in start and waits; holds the page in invalidate_page, and asks';
const SECTIONS = 'asks in start and waits; holds pages where start must not block';

export const XPMEM: DeviceInfo = {
  name: 'xpmem',
  kind: 'mirror',
  summary: 'XPMEM: other partitions map the memory of a process, and answer by message when it is taken back',
  source: 'out of tree (SGI); rmap notifiers of February 2008',
  designs: {
    'pte-notifiers': CLOSES,
    'pte-notifiers-fixed': CLOSES,
    'mmu-notifiers-andrea': 'asks when the pages are free already, where it may not wait',
    'mmu-notifiers-v4': RMAP,
    'mmu-notifiers-v4-sleeping': RMAP,
    'mmu-notifiers-v4-unpaired': RMAP,
    'mmu-notifiers-v5': RMAP,
    'linux-2.6.27': WAITS,
    'linux-3.7': 'asks in start and in invalidate_page, and waits',
    'free-pages-2011': WAITS,
    'free-pages-2011-all': WAITS,
    'invalidate-range': PAGES,
    'linux-6.1': SECTIONS,
    'linux-6.6': SECTIONS,
    'linux-6.12': SECTIONS,
  },
  create: createXpmem,
};
