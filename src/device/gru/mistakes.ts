// What the GRU's driver, or its hardware, can get wrong: each is a table of functions in place of the shipped ones, and `breaks` says
// by which properties that shows. The check of the project must find every one of them.

import { PTE_P, PTE_PS, PTE_RW } from '../../abi/pte.ts';
import { InputError } from '../../base/assert.ts';
import { pmdWord, pteWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryLo, ptePfn } from '../../hw/pte.ts';
import { P_DRIVER } from '../../sched/points.ts';
import type { GruFns } from './driver.ts';
import { gruFns } from './fns.ts';

export interface GruMistake {
  readonly name: string;
  /** What is left out. */
  readonly text: string;
  readonly breaks: readonly string[];
  readonly fns: Partial<GruFns>;
}

export const GRU_MISTAKES: readonly GruMistake[] = [
  {
    name: 'no-range-active',
    text: 'start purges and does not count: drop-ins go on while a section is open',
    breaks: ['I1', 'I5', 'I7'],
    fns: {
      rangeStart: (d, gms, start, end) => d.fn.flushTlbRange(d, gms, start, end),
      rangeEnd: () => {},
    },
  },
  {
    name: 'purge-before-count',
    text: 'start purges first and counts then: what is dropped in between stays',
    breaks: ['I1', 'I5', 'I7'],
    fns: {
      *rangeStart(d, gms, start, end) {
        yield* d.fn.flushTlbRange(d, gms, start, end);
        if (d.k.sched.points) yield P_DRIVER;
        gms.touch(true);
        gms.rangeActive++;
      },
    },
  },
  {
    name: 'latch-unwatched',
    text: 'hardware without the rule that a purge makes a drop-in under way be ignored',
    breaks: ['I1', 'I5', 'I7'],
    fns: {
      readLatch(d, t) {
        if (!gruFns.readLatch(d, t)) return false;
        t.isLatchRead = false;
        return true;
      },
    },
  },
  {
    name: 'purge-unwaited',
    text: 'start returns while accesses are in flight that use what was purged',
    breaks: ['I1', 'I4', 'I8'],
    fns: {
      *finishPurge(_d, chiplet, purge) {
        chiplet.finish(purge);
      },
    },
  },
  {
    name: 'asid-kept',
    text: 'an address space with no context loaded keeps its ASID and is not purged',
    breaks: ['I1', 'I5'],
    fns: { clearAsid: () => {} },
  },
  {
    name: 'no-purge-at-wrap',
    text: 'when ASIDs begin again the TLB is not purged: an address space gets the translations of another',
    breaks: ['I1', 'I5', 'I12'],
    fns: { *flushAllTlb() {} },
  },
  {
    name: 'clamped-purge',
    text: 'a range of more than GRUMAXINVAL pages purges the first GRUMAXINVAL, and no more',
    breaks: ['I1', 'I5'],
    fns: {
      *flushTlbRange(d, gms, start, end) {
        const pages = Math.min(Math.ceil((end - start) / 4096), d.config.purgePagesMax - 1);
        yield* gruFns.flushTlbRange(d, gms, start, start + pages * 4096);
      },
    },
  },
  {
    name: 'clean-store',
    text: 'a store is dropped in through an entry of the CPUs that is not dirty',
    breaks: ['I20'],
    fns: {
      atomicPteLookup(d, gms, address, isWrite) {
        const { memory } = d.k;
        const wanted = PTE_P | (isWrite ? PTE_RW : 0);
        const word = pteWord(memory, gms.mm.pgd, vpnHi(address), vpnLo(address));
        const entry = word < 0 ? 0 : entryLo(memory, word);
        return (entry & wanted) === wanted ? ptePfn(entry) : 0;
      },
    },
  },
  {
    name: 'huge-head',
    text: 'upstream: of a huge page the first page is dropped in, whichever was missed',
    breaks: ['I7'],
    fns: {
      atomicPteLookup(d, gms, address, isWrite) {
        const { memory } = d.k;
        const pmd = pmdWord(memory, gms.mm.pgd, vpnHi(address), vpnLo(address));
        const pfn = gruFns.atomicPteLookup(d, gms, address, isWrite);
        return pfn !== 0 && (entryLo(memory, pmd) & PTE_PS) !== 0 ? pfn & ~511 : pfn;
      },
    },
  },
  {
    name: 'no-wake',
    text: 'end wakes nobody: whoever waited for the section waits for ever',
    breaks: ['I60'],
    fns: {
      rangeEnd(_d, gms) {
        gms.touch(true);
        gms.rangeActive--;
      },
    },
  },
];

/** The functions of that mistake; '' = none. Throws InputError for an unknown one. */
export function gruMistake(name: string): Partial<GruFns> {
  if (name === '') return {};
  const found = GRU_MISTAKES.find((m) => m.name === name);
  if (found !== undefined) return found.fns;
  throw new InputError(`gru: mistake "${name}" is not one of ${GRU_MISTAKES.map((m) => m.name).join(', ')}`);
}
