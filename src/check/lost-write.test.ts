// I20: stores that are in no copy when a page is dropped as clean, or that nothing noticed after it was written out.
import { describe, expect, test } from 'vitest';
import {
  E_DIRTY,
  E_DISCARD,
  E_LAZYFREE,
  E_UNLOCK,
  E_WRITE_OUT,
  FRAME_FILE,
  KEPT_FILE,
  KEPT_LAZYFREE,
  KEPT_SWAP,
} from '../abi/events.ts';
import { LOCK_PTL } from '../abi/locks.ts';
import { MADV_FREE } from '../abi/mman.ts';
import { SITE_MKCLEAN, SITE_ZAP } from '../abi/notifier.ts';
import { NR_madvise } from '../abi/syscalls.ts';
import { DEVICE_ACTOR, EventScript, PAGE, PROGRAM } from './event-script.ts';

const END = PAGE + 4096;
const FILE = 10;
const FLUSHER = 5;
const OTHER = 2;

class ContentScript extends EventScript {
  tell(type: number, pfn = FILE, a = 0): this {
    return this.emit(type, 0, 0, 0, pfn, this.gen(pfn), a);
  }

  unlockPtl(): this {
    return this.emit(E_UNLOCK, 0, 0, 0, 0, 0, LOCK_PTL);
  }
}

/** A page of a file, mapped writable; CPU 1 holds the translation. */
function mapped(): ContentScript {
  const s = new ContentScript().as(PROGRAM).alloc(FILE, FRAME_FILE).map(PAGE, FILE).cpuFill(PAGE, FILE, 1);
  return s.as(OTHER).cpuUse(PAGE, FILE, true, 1);
}

/** Its entry is cleared, the dirty bit goes to the page; the CPUs are not flushed yet. */
function zapped(): ContentScript {
  return mapped().as(PROGRAM).open(PAGE, END, SITE_ZAP).unmap(PAGE).tell(E_DIRTY).unlockPtl();
}

describe('I20: a page is dropped as clean', () => {
  test('written out after the last store: in order', () => {
    const s = zapped().flush(PAGE, END).cpuInvalidate(PAGE, END, 1).close(PAGE, END, SITE_ZAP);
    s.as(FLUSHER).tell(E_WRITE_OUT).tell(E_DISCARD, FILE, KEPT_FILE).free(FILE, FRAME_FILE);
    expect(s.found()).toEqual([]);
  });

  test('stored to after it was written out: found', () => {
    const s = mapped().as(FLUSHER).tell(E_WRITE_OUT).as(OTHER).cpuUse(PAGE, FILE, true, 1);
    s.as(PROGRAM).open(PAGE, END).unmap(PAGE).flush(PAGE, END).cpuInvalidate(PAGE, END, 1).close(PAGE, END);
    expect(s.as(FLUSHER).tell(E_DISCARD, FILE, KEPT_FILE).found()).toEqual(['I20']);
    expect(s.results().violations[0]).toMatchObject({ mm: 1, page: PAGE, pfn: FILE, tag: 'LOST-WRITE' });
  });

  test('never written out: found for swap, not for a page that was only read', () => {
    const s = mapped().as(PROGRAM).open(PAGE, END).unmap(PAGE).flush(PAGE, END).close(PAGE, END);
    expect(s.tell(E_DISCARD, FILE, KEPT_SWAP).found()).toEqual(['I20']);
    const read = new ContentScript().alloc(FILE, FRAME_FILE).map(PAGE, FILE).cpuFill(PAGE, FILE, 1);
    read.cpuUse(PAGE, FILE, false, 1).cpuInvalidate(PAGE, END, 1).unmap(PAGE).tell(E_DISCARD, FILE, KEPT_FILE);
    expect(read.found()).toEqual([]);
  });

  test('MADV_FREE: a store before it returned may go, a later one may not', () => {
    const given = (): ContentScript =>
      mapped().as(PROGRAM).call(NR_madvise, PAGE, 4096, MADV_FREE).tell(E_LAZYFREE).as(OTHER);
    const race = given().cpuUse(PAGE, FILE, true, 1).as(PROGRAM).returns(NR_madvise);
    expect(race.as(FLUSHER).tell(E_DISCARD, FILE, KEPT_LAZYFREE).found()).toEqual([]);
    const early = given().as(FLUSHER).tell(E_DISCARD, FILE, KEPT_LAZYFREE);
    expect(early.found()).toEqual([]);
    const late = given().as(PROGRAM).returns(NR_madvise).as(OTHER).cpuUse(PAGE, FILE, true, 1);
    expect(late.as(FLUSHER).tell(E_DISCARD, FILE, KEPT_LAZYFREE).found()).toEqual(['I20']);
  });
});

describe('I20: a store that nothing notices', () => {
  test('zapped, written out, stored to through the stale translation: found at the end', () => {
    const s = zapped().as(FLUSHER).tell(E_WRITE_OUT).as(OTHER).cpuUse(PAGE, FILE, true, 1);
    expect(s.found()).toEqual([]);
    s.judge.finish();
    expect(s.found()).toContain('I20');
    expect(s.results().violations.find((v) => v.property === 'I20')!.text).toMatch(
      /^CPU 1 \(thread 2\) wrote page 0x7f0000000000 in frame 0xa .* at step \d+, after the frame had been written out; nothing marks it dirty/,
    );
  });

  test('the same store of a device; one before the page is written out is in the copy', () => {
    const early = zapped().as(DEVICE_ACTOR).access(PAGE, FILE, true).as(FLUSHER).tell(E_WRITE_OUT);
    early.judge.finish();
    expect(early.results().byProperty['I20']).toBeUndefined();
    const late = zapped().as(FLUSHER).tell(E_WRITE_OUT).as(DEVICE_ACTOR).access(PAGE, FILE, true);
    late.judge.finish();
    expect(late.results().byProperty['I20']).toBe(1);
  });

  test('while zap still holds the page-table lock: documented gap 13', () => {
    const s = mapped().as(PROGRAM).open(PAGE, END, SITE_ZAP).unmap(PAGE).tell(E_DIRTY).as(FLUSHER).tell(E_WRITE_OUT);
    s.as(OTHER).cpuUse(PAGE, FILE, true, 1).as(PROGRAM).flush(PAGE, END).unlockPtl();
    s.cpuInvalidate(PAGE, END, 1).close(PAGE, END, SITE_ZAP);
    s.judge.finish();
    expect(s.found()).toEqual(['I20 gap 13']);
  });

  test('the page is marked dirty again, or goes with its file: nothing is lost', () => {
    const stored = (): ContentScript => zapped().as(FLUSHER).tell(E_WRITE_OUT).as(OTHER).cpuUse(PAGE, FILE, true, 1);
    for (const s of [stored().tell(E_DIRTY), stored().cpuInvalidate(PAGE, END, 1).free(FILE, FRAME_FILE)]) {
      s.judge.finish();
      expect(s.results().byProperty['I20']).toBeUndefined();
    }
    const mappedElsewhere = stored().map(PAGE + 0x5000, FILE);
    mappedElsewhere.judge.finish();
    expect(mappedElsewhere.results().byProperty['I20']).toBeUndefined();
  });

  test('write-protected by page_mkclean and written out: a store through the old right is found', () => {
    const s = mapped().as(FLUSHER).open(PAGE, END, SITE_MKCLEAN).map(PAGE, FILE, false).tell(E_DIRTY);
    s.unlockPtl().close(PAGE, END, SITE_MKCLEAN).tell(E_WRITE_OUT).as(OTHER).cpuUse(PAGE, FILE, true, 1);
    s.judge.finish();
    expect(s.found()).toEqual(['I20']);
  });
});
