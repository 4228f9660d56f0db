import { describe, expect, test } from 'vitest';
import {
  AGENT_IOTLB,
  AGENT_MIRROR,
  AGENT_PIN,
  AGENT_PWC,
  DEV_DONE,
  DEV_FAILED,
  E_DEV_PART_MAPPED,
  FRAME_ANON,
  FRAME_KERNEL,
  FRAME_TABLE,
  MSG_CMD_INVALIDATE_IOMMU_PAGES,
  MSG_PAGE_REQUEST,
} from '../abi/events.ts';
import { VM_READ } from '../abi/mman.ts';
import {
  SITE_FORK,
  SITE_MPROTECT,
  SITE_MREMAP,
  SITE_MUNMAP,
  SITE_SPLIT_PMD,
  SITE_TRY_TO_UNMAP,
} from '../abi/notifier.ts';
import { PTE_D, PTE_TABLE } from '../abi/pte.ts';
import { NR_execve, NR_munmap } from '../abi/syscalls.ts';
import { EventScript, PAGE } from './event-script.ts';

const END = PAGE + 4096;
const DATA = 10;
/** Head of a page of two frames. */
const LARGE = 12;

/** A page that the device has translated, and a section over it. */
function translated(options = {}): EventScript {
  return new EventScript(options)
    .as(1)
    .alloc(DATA)
    .map(PAGE, DATA)
    .as(9)
    .fill(PAGE, DATA)
    .access(PAGE, DATA, true)
    .as(1);
}

describe('I1: no use after free by a device', () => {
  test('withdrawn between unmap and free: silent, one closed window', () => {
    const s = translated()
      .open(PAGE, END, SITE_MUNMAP)
      .unmap(PAGE)
      .invalidateAll(PAGE, END)
      .close(PAGE, END, SITE_MUNMAP);
    s.flush(PAGE, END).free(DATA);
    expect(s.found()).toEqual([]);
    const r = s.results();
    expect([r.verdict, r.windows, r.windowsOpen]).toEqual(['safe', 1, 0]);
    expect(r.windowCauses).toEqual([{ cause: 'munmap', windows: 1, open: 0 }]);
  });

  test('freed before the withdrawal, then written: the access is found and the window was open', () => {
    const s = translated().open(PAGE, END, SITE_MUNMAP).unmap(PAGE).flush(PAGE, END).free(DATA);
    s.as(9).access(PAGE, DATA, true, 0).access(PAGE, DATA, false, 0);
    expect(s.found()).toEqual(['I1']);
    expect(s.results().byProperty).toEqual({ I1: 2 });
    const r = s.results();
    expect([r.verdict, r.staleWrites, r.staleReads, r.windowsOpen, r.freedWhileReachable]).toEqual([
      'unsafe',
      1,
      1,
      1,
      1,
    ]);
    expect(r.windowCauses).toEqual([{ cause: 'munmap, forced flush', windows: 1, open: 1 }]);
    expect(r.violations[0]!.text).toBe(
      'The device TLB of device 0 wrote frame 0xa through a translation of page 0x7f0000000000 made in generation 0; ' +
        'thread 1 freed it at step 16; it is free now.',
    );
  });

  test('reallocated frame: a fresh translation of the new generation is no finding', () => {
    const s = translated().open(PAGE, END).unmap(PAGE).invalidateAll(PAGE, END).close(PAGE, END).flush(PAGE, END);
    s.free(DATA).alloc(DATA).map(PAGE, DATA).as(9).fill(PAGE, DATA).access(PAGE, DATA, true);
    expect(s.found()).toEqual([]);
  });

  test('a translation made of a frame that is free is found at once', () => {
    const s = translated().open(PAGE, END).unmap(PAGE).invalidateAll(PAGE, END).flush(PAGE, END).close(PAGE, END);
    s.free(DATA).as(9).fill(PAGE, DATA);
    expect(s.found()).toEqual(['I1']);
  });

  test('mremap, then reclaim through the new address before the section over the old range ends: documented gap 1', () => {
    const to = PAGE + 0x10000;
    const s = translated();
    s.open(PAGE, END, SITE_MREMAP).unmap(PAGE).map(to, DATA);
    const mremap = s.lastSection;
    s.as(2)
      .open(to, to + 4096, SITE_TRY_TO_UNMAP)
      .unmap(to)
      .flush(to, to + 4096)
      .invalidateAll(to, to + 4096);
    s.close(to, to + 4096, SITE_TRY_TO_UNMAP).free(DATA);
    s.as(9).access(PAGE, DATA, false, 0);
    s.as(1).invalidateAll(PAGE, END).close(PAGE, END, SITE_MREMAP, mremap);
    expect(s.found()).toEqual(['I1 gap 1']);
    expect(s.results().verdict).toBe('gap');
    expect(s.results().windowCauses).toEqual([{ cause: 'mremap', windows: 1, open: 1 }]);
  });

  test('the same when the design under test has no documented gap: unsafe', () => {
    const to = PAGE + 0x10000;
    const s = translated({ documentedGaps: [] });
    s.open(PAGE, END, SITE_MREMAP).unmap(PAGE).map(to, DATA).as(2);
    s.open(to, to + 4096, SITE_TRY_TO_UNMAP)
      .unmap(to)
      .flush(to, to + 4096)
      .close(to, to + 4096, SITE_TRY_TO_UNMAP);
    s.free(DATA).as(9).access(PAGE, DATA, false, 0);
    expect(s.found()).toEqual(['I1']);
    expect(s.results().verdict).toBe('unsafe');
  });
});

describe('I1c: the same for CPUs', () => {
  test('flushed before the free: silent', () => {
    const s = new EventScript().as(1).alloc(DATA).map(PAGE, DATA).cpuFill(PAGE, DATA).cpuAccess(PAGE, DATA);
    s.unmap(PAGE).cpuInvalidate(PAGE, END).free(DATA);
    expect(s.found()).toEqual([]);
    expect(s.results().verdict).toBe('not exercised');
  });

  test('one CPU not flushed: found at the free and at the access', () => {
    const s = new EventScript().as(1).alloc(DATA).map(PAGE, DATA).cpuFill(PAGE, DATA, 0).cpuFill(PAGE, DATA, 1);
    s.unmap(PAGE).cpuInvalidate(PAGE, END, 0).free(DATA);
    expect(s.found()).toEqual(['I1c']);
    s.cpuAccess(PAGE, DATA, 0, 1);
    expect(s.results().byProperty).toEqual({ I1c: 2 });
    expect(s.results().staleReads + s.results().staleWrites).toBe(0);
  });

  test('a large page that reclaim frees before the flush: gap 18, and a small one not', () => {
    const free = (order: number): EventScript => {
      const s = new EventScript().as(1).alloc(LARGE, FRAME_ANON, order).map(PAGE, LARGE).cpuFill(PAGE, LARGE);
      return s.unmap(PAGE).discard(LARGE).free(LARGE, FRAME_ANON, order);
    };
    expect([free(1).found(), free(0).found()]).toEqual([['I1c gap 18'], ['I1c']]);
    expect(free(1).cpuAccess(PAGE, LARGE).results().byGap).toEqual({ 18: 2 });
    // Nobody dropped it as clean: it is unmapped, and must have been flushed.
    const s = new EventScript().as(1).alloc(LARGE, FRAME_ANON, 1).map(PAGE, LARGE).cpuFill(PAGE, LARGE);
    expect(s.unmap(PAGE).free(LARGE, FRAME_ANON, 1).found()).toEqual(['I1c']);
  });
});

describe('I3c and I4c: what the CPUs were flushed of is gone', () => {
  const mapped = (): EventScript => new EventScript().as(1).alloc(DATA).map(PAGE, DATA).cpuFill(PAGE, DATA);

  test('a store between write protection and flush is in order, after the system call it is not', () => {
    const s = mapped().syscall(10).map(PAGE, DATA, false).as(2).cpuAccess(PAGE, DATA).as(1).flush(PAGE, END);
    expect(s.cpuInvalidate(PAGE, END).syscallEnd(10).found()).toEqual([]);
    expect(s.as(2).cpuAccess(PAGE, DATA).found()).toEqual(['I3c']);
  });

  test('the same for an unmapped page', () => {
    const s = mapped().syscall(NR_munmap).unmap(PAGE).as(2).cpuAccess(PAGE, DATA).as(1).flush(PAGE, END);
    expect(s.syscallEnd(NR_munmap).found()).toEqual([]);
    expect(s.as(2).cpuAccess(PAGE, DATA).found()).toEqual(['I4c']);
  });
});

describe('I2: no use of a freed page-table page', () => {
  const span = 0x200000;

  test('walk cache dropped before the free: silent, a closed window of a table page', () => {
    const s = translated()
      .as(9)
      .walkCache(PAGE, PAGE + span, 4)
      .as(1);
    s.open(PAGE, END).unmap(PAGE).invalidateAll(PAGE, END).close(PAGE, END).flush(PAGE, END).free(DATA);
    s.entry(3, 1, PAGE, 0).invalidate(PAGE, END, AGENT_PWC).free(4, FRAME_TABLE);
    expect(s.found()).toEqual([]);
    expect(s.results().windowCauses).toContainEqual({ cause: 'page-table page', windows: 1, open: 0 });
  });

  test('walk cache still points to the table: found; with a one-page range after the unlink, documented gap 3', () => {
    const bad = translated()
      .as(9)
      .walkCache(PAGE, PAGE + span, 4)
      .as(1);
    bad.open(PAGE, END).unmap(PAGE).invalidateAll(PAGE, END).close(PAGE, END).flush(PAGE, END).entry(3, 1, PAGE, 0);
    bad.free(4, FRAME_TABLE);
    expect(bad.found()).toEqual(['I2']);
    const gap = translated()
      .as(9)
      .walkCache(PAGE, PAGE + span, 4)
      .as(1);
    gap.open(PAGE, END).unmap(PAGE).invalidateAll(PAGE, END).close(PAGE, END).flush(PAGE, END).entry(3, 1, PAGE, 0);
    gap.callbackRange(PAGE, END).free(4, FRAME_TABLE);
    expect(gap.found()).toEqual(['I2 gap 3']);
    const empty = translated()
      .as(9)
      .walkCache(PAGE, PAGE + span, 4)
      .as(1)
      .entry(3, 1, PAGE, 0);
    empty.callbackRange(Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY).free(4, FRAME_TABLE);
    expect(empty.found()).toEqual(['I2 gap 2']);
    const exec = translated()
      .as(9)
      .walkCache(PAGE, PAGE + span, 4)
      .as(1)
      .syscall(NR_execve)
      .entry(3, 1, PAGE, 0);
    exec.callbackRange(PAGE, END).free(4, FRAME_TABLE);
    expect(exec.found()).toEqual(['I2 gap 9']);
  });

  test('a walker inside the table when it is freed', () => {
    const s = translated().as(9).walk(PAGE, 4, 0).as(1).open(PAGE, END).unmap(PAGE).invalidateAll(PAGE, END);
    s.flush(PAGE, END).close(PAGE, END).entry(3, 1, PAGE, 0).free(4, FRAME_TABLE);
    expect(s.found()).toEqual([]);
    s.as(9).walk(PAGE, 4, 0);
    expect(s.found()).toEqual(['I2']);
  });
});

describe('I3 and I4: what the section took away is gone when it is complete', () => {
  /** mprotect to read-only: the entry changes inside the section; flush before or after its end. */
  function writeProtected(isWithdrawn: boolean): EventScript {
    const s = translated().open(PAGE, END, SITE_FORK).map(PAGE, DATA, false).flush(PAGE, END);
    if (isWithdrawn) s.invalidateAll(PAGE, END);
    return s;
  }

  test('a store inside the section is in order, after it is not', () => {
    const s = writeProtected(true).as(9).access(PAGE, DATA, true).as(1).close(PAGE, END, SITE_FORK);
    expect(s.found()).toEqual([]);
    s.as(9).access(PAGE, DATA, false);
    expect(s.found()).toEqual([]);
    s.access(PAGE, DATA, true);
    expect(s.found()).toEqual(['I3']);
    expect(s.results().permissionViolations).toBe(1);
  });

  test('an upgrade in between permits the store again', () => {
    const s = writeProtected(true).close(PAGE, END, SITE_FORK).map(PAGE, DATA, true).as(9).access(PAGE, DATA, true);
    expect(s.found()).toEqual([]);
  });

  test('a store of a DMA mapping to a write-protected page is documented gap 5', () => {
    const s = writeProtected(true).close(PAGE, END, SITE_FORK).as(9).access(PAGE, DATA, true, 0, AGENT_PIN);
    expect(s.found()).toEqual(['I3 gap 5']);
  });

  test('another thread still inside a section over the page: not yet', () => {
    const s = writeProtected(true);
    const fork = s.lastSection;
    s.as(2).open(PAGE, END).as(1).close(PAGE, END, SITE_FORK, fork).as(9).access(PAGE, DATA, true);
    expect(s.found()).toEqual([]);
  });

  test('unmapped and complete: any use is I4', () => {
    const s = translated().open(PAGE, END).unmap(PAGE).flush(PAGE, END).invalidateAll(PAGE, END).close(PAGE, END);
    s.as(9).access(PAGE, DATA, false);
    expect(s.found()).toEqual(['I4']);
  });

  test('a pinned page is used after its mapping is gone: no finding, but orphaned', () => {
    const s = new EventScript().as(1).syscall(NR_munmap).alloc(DATA).map(PAGE, DATA).pin(PAGE, DATA);
    s.as(9).fill(PAGE, DATA, true, AGENT_PIN).as(1).unmap(PAGE).syscallEnd(NR_munmap);
    s.as(9).access(PAGE, DATA, true, 0, AGENT_PIN);
    expect(s.found()).toEqual([]);
    expect([s.results().orphaned, s.results().pinnedPeak]).toEqual([1, 1]);
    s.invalidate(PAGE, END, AGENT_PIN).as(1).unpin(PAGE, DATA).free(DATA);
    expect([s.results().windows, s.results().windowsOpen, s.results().verdict]).toEqual([1, 0, 'safe']);
  });
});

describe('I5: device translations agree with the entries when a section is complete', () => {
  test('read-only entry, writable translation left', () => {
    const s = translated()
      .open(PAGE, END, SITE_FORK)
      .map(PAGE, DATA, false)
      .flush(PAGE, END)
      .close(PAGE, END, SITE_FORK);
    expect(s.found()).toEqual(['I5']);
    expect(s.results().violations[0]!.text).toContain('the entry is read-only');
  });

  test('a read-only translation of a page write-protected is enough withdrawal', () => {
    const s = new EventScript().as(1).alloc(DATA).map(PAGE, DATA).as(9).fill(PAGE, DATA, false).as(1);
    s.open(PAGE, END, SITE_FORK).map(PAGE, DATA, false).flush(PAGE, END).close(PAGE, END, SITE_FORK);
    expect(s.found()).toEqual([]);
  });

  test('copy-on-write: the translation of the old page is stale', () => {
    const s = translated().alloc(11).open(PAGE, END).unmap(PAGE).flush(PAGE, END).map(PAGE, 11).close(PAGE, END);
    expect(s.found()).toEqual(['I5']);
    expect(s.results().violations[0]!.text).toContain('the entry maps frame 0xb');
  });

  test('an upgrade needs no withdrawal', () => {
    const s = new EventScript().as(1).alloc(DATA).map(PAGE, DATA, false).as(9).fill(PAGE, DATA, false).as(1);
    s.open(PAGE, END, SITE_MPROTECT).map(PAGE, DATA, true).close(PAGE, END, SITE_MPROTECT);
    expect(s.found()).toEqual([]);
  });

  test('end before the CPU flush (mprotect): judged when the flush is over', () => {
    const early = translated().syscall(10).open(PAGE, END, SITE_MPROTECT).map(PAGE, DATA, false);
    early.close(PAGE, END, SITE_MPROTECT).flush(PAGE, END).invalidateAll(PAGE, END).syscallEnd(10);
    expect(early.found()).toEqual([]);
    const never = translated().syscall(10).open(PAGE, END, SITE_MPROTECT).map(PAGE, DATA, false);
    never.close(PAGE, END, SITE_MPROTECT).flush(PAGE, END).syscallEnd(10);
    expect(never.found()).toEqual(['I5']);
  });

  test('a whole table moves (mremap): the pages below are judged at their old addresses', () => {
    const to = PAGE + 0x200000;
    const move = (s: EventScript): EventScript =>
      s
        .open(PAGE, to, SITE_MREMAP)
        .entry(3, 1, PAGE, 0)
        .entry(3, 1, to, (4 << 12) | PTE_TABLE)
        .flush(PAGE, to);
    expect(move(translated()).invalidateAll(PAGE, to).close(PAGE, to, SITE_MREMAP).found()).toEqual([]);
    expect(move(translated()).close(PAGE, to, SITE_MREMAP).found()).toEqual(['I5']);
  });

  test('a change outside any section is judged when the thread has flushed, or its system call is over', () => {
    const s = translated().syscall(10).map(PAGE, DATA, false);
    expect(s.as(9).access(PAGE, DATA, true).found()).toEqual([]);
    s.as(1).flush(PAGE, END).syscallEnd(10);
    expect(s.found()).toEqual(['I5']);
    expect(s.results().violations[0]!.text).toContain('What thread 1 changed outside any section');
    expect(s.as(9).access(PAGE, DATA, true).found()).toEqual(['I5', 'I3']);
    expect(s.results().uncovered).toBe(1);
  });

  test('the IOMMU TLB counts as well as the device TLB', () => {
    const s = new EventScript().as(1).alloc(DATA).map(PAGE, DATA).as(9).fill(PAGE, DATA, true, AGENT_IOTLB).as(1);
    s.open(PAGE, END).unmap(PAGE).flush(PAGE, END).invalidate(PAGE, END).close(PAGE, END);
    expect(s.found()).toEqual(['I5']);
    expect(s.results().violations[0]!.text).toContain('but the IOMMU TLB still translates page');
  });
});

describe('I12: nothing after release or unbind', () => {
  test('empty at release, silent afterwards', () => {
    expect(translated().invalidateAll(0, Number.POSITIVE_INFINITY).release().found()).toEqual([]);
  });

  test('translations left, a fill and an access afterwards', () => {
    const s = translated().release();
    expect(s.found()).toEqual(['I12']);
    s.as(9).fill(PAGE, DATA).access(PAGE, DATA, false);
    expect(s.results().byProperty).toEqual({ I12: 3 });
  });

  test('unbind, and bound again', () => {
    const s = translated().bind(true).invalidateAll(PAGE, END).bind(false);
    expect(s.found()).toEqual([]);
    s.fill(PAGE, DATA);
    expect(s.found()).toEqual(['I12']);
    s.invalidateAll(PAGE, END).fill(PAGE, DATA, true, AGENT_IOTLB);
    expect(s.results().byProperty).toEqual({ I12: 2 });
    s.invalidateAll(PAGE, END).bind(true).fill(PAGE, DATA);
    expect(s.results().byProperty).toEqual({ I12: 2 });
  });
});

describe('I24: a frame is freed when nothing maps it', () => {
  test('mapped twice, unmapped once', () => {
    const s = new EventScript().as(1).alloc(DATA).map(PAGE, DATA).map(END, DATA).unmap(PAGE).free(DATA);
    expect(s.found()).toEqual(['I24']);
  });
});

describe('I40: sections pair up', () => {
  test('nested and closed innermost first: silent', () => {
    const s = new EventScript()
      .as(1)
      .syscall(NR_munmap)
      .open(PAGE, PAGE + 8192);
    const outer = s.lastSection;
    s.open(PAGE, END)
      .close(PAGE, END)
      .close(PAGE, PAGE + 8192, 0, outer)
      .syscallEnd(NR_munmap);
    s.judge.finish();
    expect(s.found()).toEqual([]);
  });

  test('closed in the wrong order, with another range, never opened, never closed', () => {
    const order = new EventScript()
      .as(1)
      .open(PAGE, PAGE + 8192)
      .open(PAGE, END)
      .close(PAGE, PAGE + 8192, 0, 1);
    expect(order.found()).toEqual(['I40']);
    expect(
      new EventScript()
        .as(1)
        .open(PAGE, END)
        .close(PAGE, PAGE + 8192)
        .found(),
    ).toEqual(['I40']);
    expect(new EventScript().as(1).close(PAGE, END, 0, 77).found()).toEqual(['I40']);
    expect(new EventScript().as(1).open(PAGE, END).as(2).close(PAGE, END).found()).toEqual(['I40']);
    const open = new EventScript().as(1).syscall(NR_munmap).open(PAGE, END).syscallEnd(NR_munmap);
    expect(open.found()).toEqual(['I40']);
    expect(open.results().violations[0]!.text).toContain('returned from munmap without leaving section 1 of munmap');
    const thread = new EventScript().as(5).open(PAGE, END);
    thread.judge.finish();
    expect(thread.found()).toEqual(['I40']);
  });
});

test('what a driver does not take for mapped is documented gap 17, until the entries are made anew', () => {
  const fill = (isPart: boolean): EventScript => {
    const s = new EventScript().as(1).alloc(DATA).map(PAGE, DATA).fill(PAGE, DATA, true, AGENT_MIRROR);
    if (isPart) s.emit(E_DEV_PART_MAPPED, 1, PAGE, END, 0, 0, 0, 0, 0, 0);
    return s;
  };
  const gone = (s: EventScript): string[] =>
    s.open(PAGE, END, SITE_MUNMAP).unmap(PAGE).flush(PAGE, END).close(PAGE, END, SITE_MUNMAP).found();
  expect(gone(fill(true))).toEqual(['I5 gap 17']);
  expect(gone(fill(false))).toEqual(['I5']);
  expect(gone(fill(true).fill(PAGE, DATA, true, AGENT_MIRROR))).toEqual(['I5']);
  expect(gone(fill(true).invalidate(PAGE, END, AGENT_MIRROR).fill(PAGE, DATA, true, AGENT_MIRROR))).toEqual(['I5']);
});

describe('what a split of a huge page leaves with a device', () => {
  /** A device holds a page; the split replaces its entry by `lo`, at `site`. */
  const split = (lo: number, site: number): EventScript => {
    const s = new EventScript().as(1).alloc(DATA).map(PAGE, DATA).fill(PAGE, DATA).open(PAGE, END, site);
    return s.entry(4, 0, PAGE, lo).flush(PAGE, END).close(PAGE, END, site);
  };
  // Not present, and not empty: a migration entry.
  const frozen = (DATA << 12) | PTE_D;

  test('a page that is frozen is documented gap 16; elsewhere it is none, nor where the entry is empty', () => {
    expect(split(frozen, SITE_SPLIT_PMD).found()).toEqual(['I5 gap 16']);
    expect(split(frozen, SITE_MUNMAP).found()).toEqual(['I5']);
    expect(split(0, SITE_SPLIT_PMD).found()).toEqual(['I5']);
  });

  test('zeros of the huge zero page are read after the entry has those of the small one: gap 14; anything else is none', () => {
    const ZERO = 11;
    const read = (now: number, purpose: number, isStore = false): string[] => {
      const s = new EventScript().as(1).alloc(DATA, purpose).map(PAGE, DATA, false).fill(PAGE, DATA, false);
      s.open(PAGE, END, SITE_SPLIT_PMD).map(PAGE, now, false).flush(PAGE, END).close(PAGE, END, SITE_SPLIT_PMD);
      return s.as(9).access(PAGE, DATA, isStore).found();
    };
    expect(read(ZERO, FRAME_KERNEL)).toEqual(['I5 gap 14', 'I4 gap 14']);
    expect(read(ZERO, FRAME_ANON)).toEqual(['I5', 'I4']);
    expect(read(ZERO, FRAME_KERNEL, true)).toContain('I4');
  });

  test('a frame that was freed meanwhile is none either', () => {
    const s = new EventScript().as(1).alloc(DATA).map(PAGE, DATA).fill(PAGE, DATA).open(PAGE, END, SITE_SPLIT_PMD);
    s.entry(4, 0, PAGE, frozen).flush(PAGE, END).free(DATA).close(PAGE, END, SITE_SPLIT_PMD);
    expect(s.found()).toContain('I5');
  });
});

describe('L1 and L2: the device gets on', () => {
  test('two refaults in a row are in order, the third without any change is a finding; the verdict stays', () => {
    const s = new EventScript().as(9).message(MSG_PAGE_REQUEST, PAGE).refault(PAGE, 1).refault(PAGE, 2);
    expect(s.found()).toEqual([]);
    s.refault(PAGE, 3).refault(PAGE, 4);
    expect(s.found()).toEqual(['L2']);
    const r = s.results();
    expect([r.pageRequests, r.maxRefaults, r.livenessFindings, r.verdict]).toEqual([1, 4, 1, 'not exercised']);
  });

  test('two engines that wait for the same page are counted each for itself', () => {
    const s = new EventScript().as(9).refault(PAGE, 1).refault(PAGE, 1).refault(PAGE, 2).refault(PAGE, 2);
    expect(s.found()).toEqual([]);
  });

  test('a section over the page, a change of its entry, or success begin a new count', () => {
    const s = new EventScript().as(9).refault(PAGE, 1).refault(PAGE, 2).as(1).open(PAGE, END).as(9).refault(PAGE, 1);
    s.refault(PAGE, 2).as(1).close(PAGE, END).as(9).refault(PAGE, 1).refault(PAGE, 2).as(1).alloc(DATA).map(PAGE, DATA);
    s.as(9).refault(PAGE, 1).refault(PAGE, 2).fill(PAGE, DATA).access(PAGE, DATA, false).refault(PAGE, 1);
    expect(s.found()).toEqual([]);
  });

  test('setting A or D is no change', () => {
    const s = new EventScript().as(1).alloc(DATA).map(PAGE, DATA).as(9).refault(PAGE, 1).refault(PAGE, 2);
    expect(s.setDirty(PAGE, DATA).refault(PAGE, 3).found()).toEqual(['L2']);
  });

  test('a read-only translation of an entry that became writable is documented gap 11', () => {
    const s = new EventScript().as(1).alloc(DATA).map(PAGE, DATA, false).as(9).fill(PAGE, DATA, false);
    s.as(1).map(PAGE, DATA, true).as(9).refault(PAGE, 1).refault(PAGE, 2).refault(PAGE, 3);
    expect(s.found()).toEqual(['L7 gap 11']);
  });

  test('a device that gives up because each round went to another change is no finding, one round more for nothing is', () => {
    const s = new EventScript().as(1).alloc(DATA).vma(PAGE, END, VM_READ).as(9).refault(PAGE, 1);
    for (let times = 2; times <= 9; times++) s.as(1).open(PAGE, END).close(PAGE, END).as(9).refault(PAGE, times);
    expect(s.deviceState(DEV_FAILED).found()).toEqual([]);

    // The first two and the last one: three rounds that nothing took from it.
    const idle = new EventScript().vma(PAGE, END, VM_READ).as(9).refault(PAGE, 1).refault(PAGE, 2);
    for (let times = 3; times <= 8; times++) idle.as(1).open(PAGE, END).close(PAGE, END).as(9).refault(PAGE, times);
    expect(idle.refault(PAGE, 9).deviceState(DEV_FAILED).found()).toEqual(['L1']);
  });

  test('a device that gives up is a finding where a VMA permits the access', () => {
    const permitted = new EventScript().vma(PAGE, END, VM_READ).as(9).refault(PAGE, 1).deviceState(DEV_FAILED);
    expect(permitted.found()).toEqual(['L1']);
    expect(permitted.results().deviceState).toBe('failed');
    const outside = new EventScript().vma(PAGE, END, VM_READ).as(9).deviceState(DEV_FAILED, END);
    expect(outside.found()).toEqual([]);
    expect(new EventScript().deviceState(DEV_DONE).results().deviceState).toBe('done');
  });
});

describe('amounts', () => {
  test('resident, swapped and pinned peaks; a moved page is no orphan', () => {
    const s = new EventScript().as(1).alloc(DATA).map(PAGE, DATA).alloc(11).map(END, 11).pin(PAGE, DATA);
    s.syscall(25)
      .unmap(PAGE)
      .map(PAGE + 0x5000, DATA)
      .syscallEnd(25);
    s.entry(4, 0, END, 0x2000).free(11).unpin(PAGE, DATA);
    const r = s.results();
    expect([r.residentPeak, r.pinnedPeak, r.orphaned, r.swappedPeak]).toEqual([2, 1, 0, 1]);
    expect(r.residency.resident.at(-1)).toBe(1);
  });

  test('flush commands and the verdict when nothing was at stake', () => {
    const s = new EventScript().message(MSG_CMD_INVALIDATE_IOMMU_PAGES, PAGE).callbackRange(PAGE, END);
    const r = s.results();
    expect([r.iotlbFlushes, r.callbacks, r.verdict, r.malformed, r.unannouncedStores]).toEqual([
      1,
      1,
      'not exercised',
      0,
      0,
    ]);
  });

  test('kept violations are bounded and about different things, counts are not', () => {
    const s = new EventScript({ keep: 3 }).as(1);
    for (let i = 0; i < 5; i++)
      s.alloc(DATA + i)
        .map(PAGE + i * 4096, DATA + i)
        .fill(PAGE + i * 4096, DATA + i);
    s.open(PAGE, PAGE + 0x5000);
    for (let i = 0; i < 5; i++) s.unmap(PAGE + i * 4096).free(DATA + i);
    for (let i = 0; i < 10; i++) s.as(9).access(PAGE + (i >> 1) * 4096, DATA + (i >> 1), true, 0);
    const r = s.results();
    expect(r.violations.map((v) => v.page)).toEqual([PAGE, PAGE + 4096, PAGE + 8192]);
    expect([r.byProperty, r.timelines.length]).toEqual([{ I1: 10 }, 1]);
  });
});
