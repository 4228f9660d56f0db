// Uses that an operation still under way does not excuse: I8, I13, I3 and I3c by promise, I23.
import { describe, expect, test } from 'vitest';
import { AGENT_PIN, E_MM_NEW, E_VMA_ADD, FRAME_TABLE } from '../abi/events.ts';
import { MADV_DONTNEED, MAP_FIXED, PROT_NONE, PROT_READ, VM_SHARED } from '../abi/mman.ts';
import { SITE_COW, SITE_FORK, SITE_TRY_TO_UNMAP, SITE_ZAP } from '../abi/notifier.ts';
import { PTE_A, PTE_P, PTE_TABLE, PTE_US } from '../abi/pte.ts';
import { NR_madvise, NR_mmap, NR_mprotect, NR_munmap } from '../abi/syscalls.ts';
import { DEVICE_ACTOR, EventScript, PAGE, PROGRAM } from './event-script.ts';
import { LEVEL_SPAN } from './shadow-tables.ts';

const END = PAGE + 4096;
const OLD = 10;
const NEW = 11;
const OTHER = 2;

/** PAGE -> OLD, writable, held by the device and by CPU 2. */
function held(): EventScript {
  const s = new EventScript().as(PROGRAM).bind(true).alloc(OLD).map(PAGE, OLD).cpuFill(PAGE, OLD, 2);
  return s.as(DEVICE_ACTOR).fill(PAGE, OLD).as(PROGRAM);
}

/** Thread 1 takes the page away and has not flushed yet. */
function zapPending(): EventScript {
  const s = held().call(NR_madvise, PAGE, 4096, MADV_DONTNEED).open(PAGE, END, SITE_ZAP).unmap(PAGE);
  return s.close(PAGE, END, SITE_ZAP);
}

describe('I13: a call that has returned promises that the page is gone, whoever else is busy with it', () => {
  test('another call over the page returns while the flush is pending: found, by CPU and by device', () => {
    const s = zapPending().as(OTHER).call(NR_madvise, PAGE, 4096, MADV_DONTNEED);
    s.as(3).cpuUse(PAGE, OLD, false, 2);
    expect(s.found()).toEqual([]);
    s.as(OTHER).returns(NR_madvise).as(3).cpuUse(PAGE, OLD, false, 2);
    expect(s.found()).toEqual(['I13']);
    expect(s.results().violations[0]!.text).toMatch(
      /^CPU 2 \(thread 3\) read page 0x7f0000000000 in frame 0xa through a translation made at step \d+, although thread 2 had returned from madvise over the page at step \d+\.$/,
    );
    s.as(DEVICE_ACTOR).access(PAGE, OLD, true);
    expect(s.results().byProperty).toEqual({ I13: 2 });
  });

  test('the call flushed first: nobody holds the old page, what is mapped anew is used freely', () => {
    const s = zapPending().as(OTHER).call(NR_madvise, PAGE, 4096, MADV_DONTNEED).cpuInvalidate(PAGE, END, 2);
    s.invalidateAll(PAGE, END).returns(NR_madvise).alloc(NEW).map(PAGE, NEW).cpuFill(PAGE, NEW, 2);
    s.cpuUse(PAGE, NEW, true, 2).as(DEVICE_ACTOR).fill(PAGE, NEW).access(PAGE, NEW, true);
    expect(s.found()).toEqual([]);
  });

  test('the new page was mapped and taken away again by a third operation that is not complete: in order', () => {
    const s = zapPending().as(OTHER).call(NR_munmap, PAGE, 4096).returns(NR_munmap).alloc(NEW).map(PAGE, NEW);
    s.as(3).open(PAGE, END, SITE_TRY_TO_UNMAP).unmap(PAGE).cpuUse(PAGE, NEW, true, 2);
    expect(s.found()).toEqual([]);
    s.cpuUse(PAGE, OLD, true, 2);
    expect(s.found()).toEqual(['I13']);
  });

  test('a call that failed, or was about other pages, promises nothing', () => {
    const s = zapPending().as(OTHER).call(NR_munmap, PAGE, 4096).returns(NR_munmap, -12);
    s.call(NR_munmap, END, 4096).returns(NR_munmap).cpuUse(PAGE, OLD, false, 2);
    expect(s.found()).toEqual([]);
  });

  test('mmap over the range promises as munmap does; a pinned page is exempt', () => {
    const s = zapPending().as(OTHER).call(NR_mmap, PAGE, 4096, 3, MAP_FIXED).returns(NR_mmap, PAGE);
    s.as(DEVICE_ACTOR).access(PAGE, OLD, true, undefined, AGENT_PIN);
    expect(s.found()).toEqual([]);
    s.access(PAGE, OLD, true);
    expect(s.found()).toEqual(['I13']);
  });

  test('when the first operation is complete the ordinary rule takes over', () => {
    const s = zapPending().as(OTHER).call(NR_munmap, PAGE, 4096).returns(NR_munmap);
    s.as(PROGRAM).flush(PAGE, END).returns(NR_madvise).as(3).cpuUse(PAGE, OLD, false, 2);
    expect(s.found()).toEqual(['I5', 'I4c']);
  });
});

describe('I3, I3c: mprotect has returned, reclaim has cleared the entry and not flushed yet', () => {
  function protectedDuringReclaim(prot: number): EventScript {
    const s = held().as(5).open(PAGE, END, SITE_TRY_TO_UNMAP).unmap(PAGE).close(PAGE, END, SITE_TRY_TO_UNMAP);
    return s.as(PROGRAM).call(NR_mprotect, PAGE, 4096, prot).returns(NR_mprotect);
  }

  test('a store is found, a load is not: the page is still the same', () => {
    const s = protectedDuringReclaim(PROT_READ).as(3).cpuUse(PAGE, OLD, false, 2);
    expect(s.found()).toEqual([]);
    s.cpuUse(PAGE, OLD, true, 2);
    expect(s.found()).toEqual(['I3c']);
    s.as(DEVICE_ACTOR).access(PAGE, OLD, false).access(PAGE, OLD, true);
    expect(s.found()).toEqual(['I3c', 'I3']);
  });

  test('PROT_NONE: a load is found too', () => {
    expect(protectedDuringReclaim(PROT_NONE).as(3).cpuUse(PAGE, OLD, false, 2).found()).toEqual(['I13']);
  });
});

describe('I8: after a store to the copy nobody uses the original', () => {
  /** A write fault replaces the page by a copy inside its section; device and CPU 2 still hold the original. */
  function copied(): EventScript {
    const s = new EventScript().as(PROGRAM).bind(true).alloc(OLD).map(PAGE, OLD, false).cpuFill(PAGE, OLD, 2);
    s.as(DEVICE_ACTOR).fill(PAGE, OLD, false).as(PROGRAM);
    return s.open(PAGE, END, SITE_COW).alloc(NEW).unmap(PAGE).map(PAGE, NEW);
  }

  test('the device reads the original after the CPU has stored to the copy', () => {
    const s = copied().as(DEVICE_ACTOR).access(PAGE, OLD, false).as(2).cpuUse(PAGE, NEW, false, 1);
    s.as(DEVICE_ACTOR).access(PAGE, OLD, false);
    expect(s.found()).toEqual([]);
    s.as(2).cpuUse(PAGE, NEW, true, 1).as(DEVICE_ACTOR).access(PAGE, OLD, false);
    expect(s.found()).toEqual(['I8']);
    expect(s.results().violations[0]!.text).toContain('after thread 2 had stored to its copy, frame 0xb, at step');
    expect(s.results().violations[0]!.pfn).toBe(OLD);
  });

  test('the same with a CPU, and after a store of the device', () => {
    const s = copied().as(DEVICE_ACTOR).fill(PAGE, NEW).access(PAGE, NEW, true).as(3).cpuUse(PAGE, OLD, false, 2);
    expect(s.found()).toEqual(['I8']);
  });

  test('original withdrawn before the copy appears: nothing to find', () => {
    const s = new EventScript().as(PROGRAM).bind(true).alloc(OLD).map(PAGE, OLD, false);
    s.as(DEVICE_ACTOR).fill(PAGE, OLD, false).as(PROGRAM).open(PAGE, END, SITE_COW).alloc(NEW).unmap(PAGE);
    s.flush(PAGE, END).invalidateAll(PAGE, END).map(PAGE, NEW).cpuUse(PAGE, NEW, true);
    s.as(DEVICE_ACTOR).fill(PAGE, NEW).access(PAGE, NEW, true).as(PROGRAM).close(PAGE, END, SITE_COW);
    expect(s.found()).toEqual([]);
  });

  test('a page thrown away and filled anew by somebody else is no copy: a race of the program', () => {
    const s = zapPending().as(2).alloc(NEW).map(PAGE, NEW).cpuUse(PAGE, NEW, true, 1).as(3).cpuUse(PAGE, OLD, false, 2);
    expect(s.found()).toEqual([]);
  });
});

describe('I23: a store of the parent does not change what the child has read', () => {
  const RO = PTE_P | PTE_US | PTE_A;

  /** Address space 2 maps the same frame read-only at PAGE, through tables in frames 21..24. */
  function forked(vmaFlags = 3): EventScript {
    const s = held().emit(E_VMA_ADD, 1, PAGE, END, 0, 0, vmaFlags);
    for (let pfn = 21; pfn <= 24; pfn++) s.alloc(pfn, FRAME_TABLE);
    s.emit(E_MM_NEW, 2, 0, 0, 21, 0);
    for (let level = 3; level >= 1; level--) {
      const va = PAGE - (PAGE % LEVEL_SPAN[level]!);
      s.entry(24 - level, level, va, ((25 - level) << 12) | PTE_TABLE, undefined, 2);
    }
    s.call(57, 0, 0).open(PAGE, END, SITE_FORK).map(PAGE, OLD, false);
    return s.entry(24, 0, PAGE, (OLD << 12) | RO, undefined, 2);
  }

  test('a store inside fork is part of the snapshot; once the child has read, it is not', () => {
    const s = forked().as(DEVICE_ACTOR).access(PAGE, OLD, true).as(4).cpuUse(PAGE, OLD, false, 1, 1);
    s.as(DEVICE_ACTOR).access(PAGE, OLD, true);
    expect(s.found()).toEqual([]);
    s.as(4).cpuUse(PAGE, OLD, false, 1, 2).as(DEVICE_ACTOR).access(PAGE, OLD, true);
    expect(s.found()).toEqual(['I23']);
    expect(s.results().violations[0]!.text).toContain('which address space 2 shares since fork and has read');
  });

  test('a shared mapping changes for both, and a pinned page was copied', () => {
    const s = forked(3 | VM_SHARED)
      .as(4)
      .cpuUse(PAGE, OLD, false, 1, 2)
      .as(DEVICE_ACTOR)
      .access(PAGE, OLD, true);
    expect(s.found()).toEqual([]);
    const p = forked().as(4).cpuUse(PAGE, OLD, false, 1, 2);
    expect(p.as(DEVICE_ACTOR).access(PAGE, OLD, true, undefined, AGENT_PIN).found()).toEqual([]);
  });
});
