// The reactions of a VM to changes of its process, under the names of subscribe-mirror.ts.

import type { MirrorReactions } from '../subscribe-mirror.ts';
import type { Kvm } from './kvm.ts';

export function reactionsOf(kvm: Kvm): MirrorReactions {
  const { fn } = kvm;
  return {
    rangeStart: (range) => fn.invalidateRangeStart(kvm, range),
    rangeEnd: (range) => fn.invalidateRangeEnd(kvm, range),
    invalidatePage: (address) => fn.invalidatePage(kvm, address),
    release: () => fn.zapAll(kvm),
    clearYoung: (start, end, flush) => fn.ageHvaRange(kvm, start, end, flush),
    testYoung: (address) => fn.testAgeHva(kvm, address),
    changePte: (address, lo, hi) => fn.changePte(kvm, address, lo, hi),
  };
}
