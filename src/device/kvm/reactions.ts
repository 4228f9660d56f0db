// The reactions of a VM to changes of its process, under the names of subscribe-mirror.ts.
//
//   pte-notifiers         the experiment of 2007: a page is zapped when reclaim is about to clear its entry. Nothing keeps a fault from
//                         finding the entry still there
//   mmu-notifiers-andrea  pages and ranges are zapped after the fact; sptes hold references until then
//   mmu-notifiers-v4      begin and end with a count for the whole VM, since an end has no range
//   later                 sections (notifier.ts)

import type { MirrorReactions } from '../subscribe-mirror.ts';
import { reloadApicPage } from './apic.ts';
import type { Kvm } from './kvm.ts';
import { zapHva } from './notifier.ts';

export function reactionsOf(kvm: Kvm): MirrorReactions {
  const { fn, config, rules } = kvm;
  const hasApicPage = config.apicAccessHva !== 0 && !rules.reloadsApicAtStart && !rules.pinsApicPage;
  return {
    ...(hasApicPage && { invalidateRange: (start: number, end: number) => reloadApicPage(kvm, start, end) }),
    rangeStart: (range) => fn.invalidateRangeStart(kvm, range),
    rangeEnd: (range) => fn.invalidateRangeEnd(kvm, range),
    invalidatePage: (address) => fn.invalidatePage(kvm, address),
    release: () => fn.zapAll(kvm),
    clearYoung: (start, end, flush) => fn.ageHvaRange(kvm, start, end, flush),
    testYoung: (address) => fn.testAgeHva(kvm, address),
    changePte: (address, lo, hi) => fn.changePte(kvm, address, lo, hi),
    beforeClear: (address) => zapHva(kvm, address, address + 4096, false),
    vmaClosed: (start, end) => zapHva(kvm, start, end, false),
    rangeFreed: (start, end) => zapHva(kvm, start, end, true),
  };
}
