// The GRU in the table of devices.

import type { DeviceInfo } from '../devices.ts';
import { createGru } from './gru.ts';

const CLEARS = 'purges a page that reclaim is about to clear, and a VMA when it is gone';
const AFTER = 'purges a page when its entry is gone, and a range when its pages are free';
const PAGES = 'purges in start and invalidate_page; no translation is dropped in while a section is open';
const SECTIONS = 'purges in start; no translation is dropped in while a section is open';

export const GRU: DeviceInfo = {
  name: 'gru',
  kind: 'mirror',
  summary: 'SGI GRU: instructions of user threads, with a TLB that software fills and purges',
  source: 'drivers/misc/sgi-gru',
  designs: {
    'pte-notifiers': CLEARS,
    'pte-notifiers-fixed': CLEARS,
    'mmu-notifiers-andrea': AFTER,
    'mmu-notifiers-v4': PAGES,
    'mmu-notifiers-v4-sleeping': PAGES,
    'mmu-notifiers-v4-unpaired': PAGES,
    'mmu-notifiers-v5': PAGES,
    'linux-2.6.27': PAGES,
    'linux-3.7': PAGES,
    'free-pages-2011': PAGES,
    'free-pages-2011-all': PAGES,
    'invalidate-range': PAGES,
    'linux-6.1': SECTIONS,
    'linux-6.6': SECTIONS,
    'linux-6.12': SECTIONS,
  },
  create: createGru,
};
