// Which callbacks each design makes of each moment, in which order and over which range. Expectations are what recordings of
// Linux 6.1 show (linux-6.1) and the lists of call sites in the sources of 3.19 and 2.6.27.

import { describe, expect, test } from 'vitest';
import { EAGAIN, EOVERFLOW } from '../abi/errno.ts';
import { CB_CLEAR_FLUSH_YOUNG, CB_CLEAR_YOUNG, CB_TEST_YOUNG } from '../abi/events.ts';
import {
  MMU_NOTIFY_CLEAR,
  MMU_NOTIFY_UNMAP,
  SITE_COW,
  SITE_KSM,
  SITE_MADV_FREE,
  SITE_MIGRATE,
  SITE_MKCLEAN,
  SITE_MPROTECT,
  SITE_MUNMAP,
  SITE_TRY_TO_UNMAP,
} from '../abi/notifier.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import { Deadlock } from '../sched/scheduler.ts';
import { DESIGNS, designInfo } from './designs.ts';
import type { NotifierDesign, NotifierMm, NotifierRange } from './host.ts';
import { IntervalNotifier } from './interval.ts';
import { InvalidateRangeDesign, type InvalidateRangeOps } from './invalidate-range.ts';
import { Linux2627, type Linux2627Ops } from './linux-2.6.27.ts';
import { Linux61, type MmuNotifierOps } from './linux-6.1.ts';
import { Linux66, type Linux66Ops } from './linux-6.6.ts';
import { MmuNotifier, type Subscription } from './subscriptions.ts';
import { TestHost } from './test-host.ts';

const PAGE = 0x1000;

function span(start: number, end: number): string {
  return `${start.toString(16)}-${end.toString(16)}`;
}

/** All callbacks of all designs; each writes a line "NAMEOP range". */
class Recorder implements MmuNotifierOps {
  readonly name: string;
  readonly lines: string[];
  young = false;

  constructor(name: string, lines: string[]) {
    this.name = name;
    this.lines = lines;
  }

  *release(): AtomicPath<void> {
    this.lines.push(`${this.name}.release`);
  }

  *clearFlushYoung(_mn: Subscription, _mm: NotifierMm, start: number): AtomicPath<boolean> {
    this.lines.push(`${this.name}.CFY ${start.toString(16)}`);
    return this.young;
  }

  *clearYoung(_mn: Subscription, _mm: NotifierMm, start: number): AtomicPath<boolean> {
    this.lines.push(`${this.name}.CY ${start.toString(16)}`);
    return this.young;
  }

  *testYoung(_mn: Subscription, _mm: NotifierMm, address: number): AtomicPath<boolean> {
    this.lines.push(`${this.name}.TY ${address.toString(16)}`);
    return this.young;
  }

  *changePte(_mn: Subscription, _mm: NotifierMm, address: number): AtomicPath<void> {
    this.lines.push(`${this.name}.C ${address.toString(16)}`);
  }

  *invalidatePage(_mn: Subscription, _mm: NotifierMm, address: number): AtomicPath<void> {
    this.lines.push(`${this.name}.P ${address.toString(16)}`);
  }

  *invalidateRange(_mn: Subscription, _mm: NotifierMm, start: number, end: number): AtomicPath<void> {
    this.lines.push(`${this.name}.R ${span(start, end)}`);
  }

  *invalidateRangeEnd(_mn: Subscription, range: NotifierRange): AtomicPath<void> {
    this.lines.push(`${this.name}.E ${span(range.start, range.end)}`);
  }
}

/** For 6.1 and 3.19, and with the start of 2.6.27's type. */
class Recorder61 extends Recorder {
  *invalidateRangeStart(_mn: Subscription, range: NotifierRange): AtomicPath<number> {
    this.lines.push(`${this.name}.S ${span(range.start, range.end)}`);
    return 0;
  }
}

class Recorder2627 implements Linux2627Ops {
  readonly #inner: Recorder;

  constructor(name: string, lines: string[]) {
    this.#inner = new Recorder(name, lines);
  }

  release(): AtomicPath<void> {
    return this.#inner.release();
  }

  clearFlushYoung(mn: Subscription, mm: NotifierMm, address: number): AtomicPath<boolean> {
    return this.#inner.clearFlushYoung(mn, mm, address);
  }

  invalidatePage(mn: Subscription, mm: NotifierMm, address: number): AtomicPath<void> {
    return this.#inner.invalidatePage(mn, mm, address);
  }

  *invalidateRangeStart(_mn: Subscription, range: NotifierRange): AtomicPath<void> {
    this.#inner.lines.push(`${this.#inner.name}.S ${span(range.start, range.end)}`);
  }

  invalidateRangeEnd(mn: Subscription, range: NotifierRange): AtomicPath<void> {
    return this.#inner.invalidateRangeEnd(mn, range);
  }
}

function setup61(...names: string[]): { host: TestHost; design: Linux61; lines: string[]; ops: Recorder61[] } {
  const host = new TestHost();
  const design = new Linux61(host);
  const lines: string[] = [];
  const ops = names.map((n) => new Recorder61(n, lines));
  for (const o of ops)
    expect(host.sched.run(design.list.register(new MmuNotifier<MmuNotifierOps>(o), host.mm))).toBe(0);
  return { host, design, lines, ops };
}

/** A munmap as mm announces it: section, then the gather's flush. */
function* munmap(host: TestHost, design: NotifierDesign, start: number, end: number): KernelPath<void> {
  const range = host.range(start, end, MMU_NOTIFY_UNMAP, SITE_MUNMAP);
  yield* design.invalidateRangeStart(range);
  yield* design.invalidateRangeEnd(range, false);
  yield* design.gatherFlushed(host.mm, start, end, false, SITE_MUNMAP);
}

function* copyOnWrite(host: TestHost, design: NotifierDesign, page: number): KernelPath<void> {
  const range = host.range(page, page + PAGE, MMU_NOTIFY_CLEAR, SITE_COW);
  yield* design.invalidateRangeStart(range);
  yield* design.pteClearedAndFlushed(host.mm, page, page + PAGE, SITE_COW, false);
  yield* design.changePte(host.mm, page, 7, 0);
  yield* design.invalidateRangeEnd(range, true);
}

function* rmapUnmap(
  host: TestHost,
  design: NotifierDesign,
  page: number,
  site: number,
  isFile: boolean,
): KernelPath<void> {
  const range = host.range(page, page + PAGE, MMU_NOTIFY_CLEAR, site);
  yield* design.invalidateRangeStart(range);
  yield* design.pteClearedAndFlushed(host.mm, page, page + PAGE, site, isFile);
  yield* design.invalidateRangeEnd(range, false);
}

describe('linux-6.1', () => {
  test('two subscribers: start newest first; end gives each its invalidate_range and then its end', () => {
    const { host, design, lines } = setup61('0', '1');
    host.sched.run(munmap(host, design, 0x10000, 0x12000));
    expect(lines).toEqual([
      '1.S 10000-12000',
      '0.S 10000-12000',
      '1.R 10000-12000',
      '1.E 10000-12000',
      '0.R 10000-12000',
      '0.E 10000-12000',
      '1.R 10000-12000',
      '0.R 10000-12000',
    ]);
  });

  test('a subscriber with invalidate_range alone hears it at its place in the list', () => {
    const { host, design, lines } = setup61('0');
    const only: MmuNotifierOps = {
      invalidateRange: (mn, mm, s, e) => new Recorder('r', lines).invalidateRange(mn, mm, s, e),
    };
    host.sched.run(design.list.register(new MmuNotifier(only), host.mm));
    const range = host.range(0x1000, 0x2000, MMU_NOTIFY_UNMAP, SITE_MUNMAP);
    host.sched.run(design.invalidateRangeStart(range));
    host.sched.run(design.invalidateRangeEnd(range, false));
    expect(lines).toEqual(['0.S 1000-2000', 'r.R 1000-2000', '0.R 1000-2000', '0.E 1000-2000']);
  });

  test('copy on write: one invalidate_range, change_pte, end without another', () => {
    const { host, design, lines } = setup61('0');
    host.sched.run(copyOnWrite(host, design, 0x5000));
    expect(lines).toEqual(['0.S 5000-6000', '0.R 5000-6000', '0.C 5000', '0.E 5000-6000']);
  });

  test('reclaim: an anonymous page is told twice, a file page only by end; write-back and migration only by end', () => {
    for (const [site, isFile, expected] of [
      [SITE_TRY_TO_UNMAP, false, 'S R R E'],
      [SITE_TRY_TO_UNMAP, true, 'S R E'],
      [SITE_MKCLEAN, true, 'S R E'],
      [SITE_MIGRATE, false, 'S R E'],
      [SITE_KSM, false, 'S R E'],
    ] as const) {
      const { host, design, lines } = setup61('0');
      host.sched.run(rmapUnmap(host, design, 0x5000, site, isFile));
      expect(lines.map((l) => l.slice(2, 3)).join(' ')).toBe(expected);
    }
  });

  test('subscribing again after unregister moves to the front, release runs once each time', () => {
    const { host, design, lines, ops } = setup61('0', '1');
    const first = design.list.first(host.mm)!.next!;
    expect(first.ops).toBe(ops[0]);
    host.sched.run(design.list.unregister(first, host.mm));
    host.sched.run(design.list.register(first, host.mm));
    host.sched.run(design.release(host.mm));
    expect(lines).toEqual(['0.release', '0.release', '1.release']);
    expect(host.mm.notifiers).not.toBeNull();
    expect(host.mm.notifiers!.hasSubscribers).toBe(false);
    lines.length = 0;
    host.sched.run(munmap(host, design, 0x10000, 0x12000));
    expect(lines).toEqual([]);
  });

  test('young: flushing and clearing ask everyone, testing stops at the first yes', () => {
    const { host, design, lines, ops } = setup61('0', '1');
    ops[1]!.young = true;
    expect(host.sched.run(design.young(host.mm, 0x3000, 0x4000, CB_CLEAR_FLUSH_YOUNG))).toBe(true);
    expect(host.sched.run(design.young(host.mm, 0x3123, 0x4123, CB_CLEAR_YOUNG))).toBe(true);
    expect(host.sched.run(design.young(host.mm, 0x3000, 0x4000, CB_TEST_YOUNG))).toBe(true);
    expect(lines).toEqual(['1.CFY 3000', '0.CFY 3000', '1.CY 3123', '0.CY 3123', '1.TY 3000']);
    ops[1]!.young = false;
    expect(host.sched.run(design.young(host.mm, 0x3000, 0x4000, CB_CLEAR_FLUSH_YOUNG))).toBe(false);
  });

  test('a refused non-blockable start: the rest is still called, and those with an end hear it', () => {
    const { host, design, lines } = setup61('0');
    const refuse: MmuNotifierOps = {
      *invalidateRangeStart(_mn, range) {
        lines.push('refuse');
        return range.blockable ? 0 : -EAGAIN;
      },
    };
    host.sched.run(design.list.register(new MmuNotifier(refuse), host.mm));
    const range = host.range(0x1000, 0x2000, MMU_NOTIFY_UNMAP, SITE_MUNMAP, false);
    expect(host.sched.run(design.invalidateRangeStart(range))).toBe(-EAGAIN);
    expect(lines).toEqual(['refuse', '0.S 1000-2000', '0.E 1000-2000']);
    expect(host.sched.run(design.invalidateRangeStart(host.range(0, 1, 0, 0)))).toBe(0);
  });

  test('a refusing interval subscriber: list subscribers hear nothing, the count of open sections is back; a refusing list leaks it', () => {
    const { host, design, lines } = setup61('0');
    const sub = new IntervalNotifier({
      *invalidate(s, range, seq) {
        design.intervals.setSeq(s, seq);
        return range.blockable;
      },
    });
    expect(host.sched.run(design.intervals.insert(sub, host.mm, 0x1000, 0x1000))).toBe(0);
    const range = host.range(0, 0x4000, MMU_NOTIFY_UNMAP, SITE_MUNMAP, false);
    expect(host.sched.run(design.invalidateRangeStart(range))).toBe(-EAGAIN);
    expect(lines).toEqual([]);
    const tree = design.list.of(host.mm)!.intervals!;
    expect([tree.active, tree.seq]).toEqual([0, 4]);
    // The list side refusing after the intervals agreed does not give the count back (Linux has it so): the next section that
    // hits the interval never ends for its readers.
    const refuse: MmuNotifierOps = {
      *invalidateRangeStart() {
        return -EAGAIN;
      },
    };
    host.sched.run(design.list.register(new MmuNotifier(refuse), host.mm));
    const outside = host.range(0x8000, 0x9000, MMU_NOTIFY_UNMAP, SITE_MUNMAP, false);
    expect(host.sched.run(design.invalidateRangeStart(outside))).toBe(-EAGAIN);
    expect([tree.active, tree.seq]).toEqual([1, 4]);
    const blockable = host.range(0x1000, 0x2000, MMU_NOTIFY_UNMAP, SITE_MUNMAP);
    expect(host.sched.run(design.invalidateRangeStart(blockable))).toBe(0);
    host.sched.run(design.invalidateRangeEnd(blockable, false));
    expect([tree.active, tree.isInvalidating]).toEqual([1, true]);
    expect(() => host.sched.run(design.intervals.readBegin(sub))).toThrow(Deadlock);
  });

  test('get and put: one notifier per (ops, mm), counted; free comes from a worker, release does not run', () => {
    const host = new TestHost();
    const design = new Linux61(host);
    const lines: string[] = [];
    const ops: MmuNotifierOps = {
      allocNotifier: () => new MmuNotifier<MmuNotifierOps>(ops),
      freeNotifier: () => void lines.push('free'),
      *release() {
        lines.push('release');
      },
    };
    const a = host.sched.run(design.list.get(ops, host.mm)) as MmuNotifier<MmuNotifierOps>;
    expect(host.sched.run(design.list.get(ops, host.mm))).toBe(a);
    expect([a.users, host.mm.count]).toEqual([2, 2]);
    design.list.put(a);
    expect(lines).toEqual([]);
    design.list.put(a);
    expect([lines.length, a.isHashed]).toEqual([0, false]);
    host.sched.run(design.list.synchronize());
    expect(lines).toEqual(['free']);
    expect(host.mm.count).toBe(1);
    const b = host.sched.run(design.list.get(ops, host.mm)) as MmuNotifier<MmuNotifierOps>;
    expect(b).not.toBe(a);
    b.users = 0xffffffff;
    expect(host.sched.run(design.list.get(ops, host.mm))).toBe(-EOVERFLOW);
  });

  test('an mm without users cannot be subscribed to', () => {
    const host = new TestHost();
    const design = new Linux61(host);
    host.mm.users = 0;
    expect(host.sched.run(design.list.register(new MmuNotifier<MmuNotifierOps>({}), host.mm))).toBe(-22);
    expect(host.mm.notifiers).toBeNull();
    expect(host.mm.mmapLock.isLocked).toBe(false);
  });
});

describe('invalidate-range (3.19)', () => {
  function setup(): { host: TestHost; design: InvalidateRangeDesign; lines: string[] } {
    const host = new TestHost();
    const design = new InvalidateRangeDesign(host);
    const lines: string[] = [];
    const inner = new Recorder('0', lines);
    const ops: InvalidateRangeOps = {
      clearFlushYoung: (mn, mm, s) => inner.clearFlushYoung(mn, mm, s),
      changePte: (mn, mm, a) => inner.changePte(mn, mm, a),
      invalidatePage: (mn, mm, a) => inner.invalidatePage(mn, mm, a),
      *invalidateRangeStart(_mn, range) {
        lines.push(`0.S ${span(range.start, range.end)}`);
      },
      invalidateRangeEnd: (mn, range) => inner.invalidateRangeEnd(mn, range),
      invalidateRange: (mn, mm, s, e) => inner.invalidateRange(mn, mm, s, e),
    };
    host.sched.run(design.list.register(new MmuNotifier(ops), host.mm));
    return { host, design, lines };
  }

  test('munmap: end implies invalidate_range, the gather flush gives another before the frees', () => {
    const { host, design, lines } = setup();
    host.sched.run(munmap(host, design, 0x1000, 0x3000));
    expect(lines).toEqual(['0.S 1000-3000', '0.R 1000-3000', '0.E 1000-3000', '0.R 1000-3000']);
  });

  test('copy on write: end without invalidate_range does not exist yet', () => {
    const { host, design, lines } = setup();
    host.sched.run(copyOnWrite(host, design, 0x5000));
    expect(lines).toEqual(['0.S 5000-6000', '0.R 5000-6000', '0.C 5000', '0.R 5000-6000', '0.E 5000-6000']);
  });

  test('reclaim, write-back and migration: invalidate_page and no section', () => {
    for (const site of [SITE_TRY_TO_UNMAP, SITE_MKCLEAN, SITE_MIGRATE]) {
      const { host, design, lines } = setup();
      host.sched.run(rmapUnmap(host, design, 0x5000, site, true));
      expect(lines).toEqual(['0.P 5000']);
    }
  });
});

describe('linux-2.6.27', () => {
  function setup(): { host: TestHost; design: Linux2627; lines: string[] } {
    const host = new TestHost();
    const design = new Linux2627(host);
    const lines: string[] = [];
    host.sched.run(design.list.register(new MmuNotifier<Linux2627Ops>(new Recorder2627('0', lines)), host.mm));
    return { host, design, lines };
  }

  test('munmap, mprotect, MADV_FREE: start and end, nothing at the flush', () => {
    for (const site of [SITE_MUNMAP, SITE_MPROTECT, SITE_MADV_FREE]) {
      const { host, design, lines } = setup();
      const range = host.range(0x1000, 0x3000, MMU_NOTIFY_UNMAP, site);
      host.sched.run(design.invalidateRangeStart(range));
      host.sched.run(design.invalidateRangeEnd(range, false));
      host.sched.run(design.gatherFlushed(host.mm, 0x1000, 0x3000, false, site));
      expect(lines).toEqual(['0.S 1000-3000', '0.E 1000-3000']);
    }
  });

  test('copy on write: invalidate_page at the clear, and again for change_pte that the subscriber lacks', () => {
    const { host, design, lines } = setup();
    host.sched.run(copyOnWrite(host, design, 0x5000));
    expect(lines).toEqual(['0.P 5000', '0.P 5000']);
  });

  test('reclaim and write-back of anonymous and file pages: invalidate_page', () => {
    for (const site of [SITE_TRY_TO_UNMAP, SITE_MKCLEAN, SITE_MIGRATE]) {
      const { host, design, lines } = setup();
      host.sched.run(rmapUnmap(host, design, 0x5000, site, true));
      expect(lines).toEqual(['0.P 5000']);
    }
  });
});

describe('linux-6.6', () => {
  test('one call for each CPU flush, none by end; a walker needs nothing else', () => {
    const host = new TestHost();
    const design = new Linux66(host);
    const lines: string[] = [];
    const walker: Linux66Ops = {
      *archInvalidateSecondaryTlbs(_mn, _mm, start, end) {
        lines.push(`w.A ${span(start, end)}`);
      },
    };
    const inner = new Recorder61('m', lines);
    const mirror: Linux66Ops = {
      invalidateRangeStart: (mn, range) => inner.invalidateRangeStart(mn, range),
      invalidateRangeEnd: (mn, range) => inner.invalidateRangeEnd(mn, range),
    };
    expect(host.sched.run(design.register(new MmuNotifier(walker), host.mm))).toBe(0);
    expect(host.sched.run(design.register(new MmuNotifier(mirror), host.mm))).toBe(0);
    host.sched.run(munmap(host, design, 0x1000, 0x3000));
    expect(lines).toEqual(['m.S 1000-3000', 'm.E 1000-3000', 'w.A 1000-3000']);
    lines.length = 0;
    const range = host.range(0x5000, 0x6000, MMU_NOTIFY_CLEAR, SITE_COW);
    host.sched.run(design.invalidateRangeStart(range));
    host.sched.run(design.cpuTlbFlushed(host.mm, 0x5000, 0x6000, SITE_COW));
    host.sched.run(design.pteClearedAndFlushed(host.mm, 0x5000, 0x6000, SITE_COW, false));
    host.sched.run(design.invalidateRangeEnd(range, false));
    expect(lines).toEqual(['m.S 5000-6000', 'w.A 5000-6000', 'm.E 5000-6000']);
  });

  test('a subscriber that is both mirror and TLB is refused', () => {
    const host = new TestHost();
    const design = new Linux66(host);
    const both: Linux66Ops = {
      *invalidateRangeEnd() {},
      *archInvalidateSecondaryTlbs() {},
    };
    expect(host.sched.run(design.register(new MmuNotifier(both), host.mm))).toBe(-22);
    expect(host.mm.notifiers).toBeNull();
  });
});

test('the registry creates each design under its own name and refuses others', () => {
  for (const info of DESIGNS) expect(info.create(new TestHost()).name).toBe(info.name);
  expect(() => designInfo('linux-9')).toThrow(/"linux-9" is not one of pinned, pte-notifiers/);
});
