// What XPMEM can get wrong: each is a table of functions in place of the shipped ones, and `breaks` says by which properties that shows.

import { InputError } from '../../base/assert.ts';
import { lockPage, unlockPage } from '../../mm/page/page-lock.ts';
import { P_DEV_MESSAGE } from '../../sched/points.ts';
import { GRANTED } from './messages.ts';
import { type XpmemFns, xpmemFns } from './segment.ts';

export interface XpmemMistake {
  readonly name: string;
  /** What is left out. */
  readonly text: string;
  readonly breaks: readonly string[];
  readonly fns: Partial<XpmemFns>;
}

export const XPMEM_MISTAKES: readonly XpmemMistake[] = [
  {
    name: 'no-wait',
    text: 'start sends the recall and returns',
    breaks: ['I1', 'I4', 'I5'],
    fns: { *waitForAcks() {} },
  },
  {
    name: 'early-ack',
    text: 'a partition acknowledges while accesses are in flight',
    breaks: ['I1', 'I4', 'I8'],
    fns: {
      *giveBack(importer, m) {
        const dirty = importer.dropTable(m.start, m.end);
        yield* importer.dropTlbs(m.start, m.end, false);
        return dirty;
      },
    },
  },
  {
    name: 'tlb-first',
    text: 'a partition flushes its TLBs before it empties its table: they are filled again in between',
    breaks: ['I1', 'I4', 'I5'],
    fns: {
      *giveBack(importer, m) {
        yield* importer.dropTlbs(m.start, m.end);
        if (importer.sched.points) yield P_DEV_MESSAGE;
        return importer.dropTable(m.start, m.end);
      },
    },
  },
  {
    name: 'no-recheck',
    text: 'a page is granted without looking again whether a section opened since it was looked up',
    breaks: ['I1', 'I5', 'I7'],
    fns: { isCurrent: () => true },
  },
  {
    name: 'no-seq',
    text: 'only sections open now are looked for: one that opened and closed during the look-up is missed',
    breaks: ['I1', 'I5', 'I7'],
    fns: {
      isCurrent(x, page) {
        x.touch(false);
        return !x.isDead && !x.isBlocked(page);
      },
    },
  },
  {
    name: 'acks-behind-faults',
    text: 'one thread takes acknowledgements and serves faults: a fault that waits for a section stands before its acknowledgement',
    breaks: ['I60'],
    fns: { isServedAtOnce: () => true },
  },
  {
    name: 'recall-in-flight',
    text: 'a page that is being recalled counts as given back: a second section does not wait for it',
    breaks: ['I1', 'I4', 'I5'],
    fns: {
      recall(x, exports, start, end) {
        const r = xpmemFns.recall(x, exports, start, end);
        for (const e of exports) x.exports.delete(e);
        return r;
      },
    },
  },
  {
    name: 'one-partition',
    text: 'only the first partition that has a page is asked',
    breaks: ['I1', 'I4', 'I5'],
    fns: {
      recall(x, exports, start, end) {
        const first = exports[0]?.importer;
        const r = xpmemFns.recall(
          x,
          exports.filter((e) => e.importer === first),
          start,
          end,
        );
        return r;
      },
    },
  },
  {
    name: 'no-dirty',
    text: 'an acknowledgement does not say what was stored to',
    breaks: ['I20', 'I20a'],
    fns: { acknowledged: (x, m) => xpmemFns.acknowledged(x, { ...m, dirty: [] }) },
  },
  {
    name: 'export-unmapped',
    text: 'rmap notifiers: a page is exported without looking whether it is still mapped; reclaim took it while it was not exported yet',
    breaks: ['I1', 'I4', 'I5', 'I7'],
    fns: {
      *exportPage(x, m, pfn, seq) {
        yield* lockPage(x.k, pfn);
        x.setExportBit?.(pfn);
        const isCurrent = x.fn.isCurrent(x, m.page, seq);
        if (isCurrent) x.fn.reply(x, m, GRANTED, pfn);
        unlockPage(x.k, pfn);
        return isCurrent;
      },
    },
  },
  {
    name: 'unheld',
    text: 'where it may not wait it takes no reference either',
    breaks: ['I1'],
    fns: { hold: () => {} },
  },
];

/** The functions of that mistake; '' = none. Throws InputError for an unknown one. */
export function xpmemMistake(name: string): Partial<XpmemFns> {
  if (name === '') return {};
  const found = XPMEM_MISTAKES.find((m) => m.name === name);
  if (found !== undefined) return found.fns;
  throw new InputError(`xpmem: mistake "${name}" is not one of ${XPMEM_MISTAKES.map((m) => m.name).join(', ')}`);
}
