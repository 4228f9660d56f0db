// I7: what a driver puts into its table; and exposure: whether an execution could have gone wrong at all.
import { describe, expect, test } from 'vitest';
import { AGENT_ATC, AGENT_MIRROR } from '../abi/events.ts';
import { SITE_MUNMAP } from '../abi/notifier.ts';
import { DEVICE_ACTOR, EventScript, PAGE, PROGRAM } from './event-script.ts';

const END = PAGE + 4096;
const DATA = 10;

function mapped(isWritable = true): EventScript {
  return new EventScript().as(PROGRAM).bind(true).alloc(DATA).map(PAGE, DATA, isWritable);
}

describe('I7: a driver puts a page into its table', () => {
  test('as the entry says, or with fewer rights: in order', () => {
    expect(mapped().fill(PAGE, DATA, true, AGENT_MIRROR).fill(PAGE, DATA, false, AGENT_MIRROR).found()).toEqual([]);
  });

  test('looked up before the section, put in after it: found at once, without any access', () => {
    const s = mapped().open(PAGE, END, SITE_MUNMAP).unmap(PAGE).flush(PAGE, END).close(PAGE, END, SITE_MUNMAP);
    expect(s.as(DEVICE_ACTOR).fill(PAGE, DATA, false, AGENT_MIRROR).found()).toEqual(['I7']);
    expect(s.results().violations[0]!.text).toBe(
      'The driver of device 0 put page 0x7f0000000000 into its table with frame 0xa, but its entry is not present and no ' +
        'section over it is open.',
    );
  });

  test('writable where the entry is read-only', () => {
    expect(mapped(false).as(DEVICE_ACTOR).fill(PAGE, DATA, true, AGENT_MIRROR).found()).toEqual(['I7']);
  });

  test('while the section is open its end may take it out; a walker is judged by its uses', () => {
    const s = mapped().open(PAGE, END, SITE_MUNMAP).unmap(PAGE).as(DEVICE_ACTOR).fill(PAGE, DATA, false, AGENT_MIRROR);
    s.invalidate(PAGE, END, AGENT_MIRROR).as(PROGRAM).flush(PAGE, END).close(PAGE, END, SITE_MUNMAP);
    expect(s.as(DEVICE_ACTOR).fill(PAGE, DATA, false, AGENT_ATC).found()).toEqual([]);
  });
});

describe('exposure', () => {
  test('nothing changed under the device: not exposed', () => {
    const s = mapped().as(DEVICE_ACTOR).fill(PAGE, DATA).access(PAGE, DATA, true).invalidate(PAGE, END);
    s.as(PROGRAM).unmap(PAGE);
    expect([s.results().exposed, s.results().exposures, s.judge.exposures]).toEqual([false, 0, 0]);
  });

  test('removed, write-protected or replaced while the device held it', () => {
    const s = mapped().as(DEVICE_ACTOR).fill(PAGE, DATA).as(PROGRAM).map(PAGE, DATA, false);
    expect(s.judge.exposures).toBe(1);
    s.alloc(11).map(PAGE, 11);
    expect(s.judge.exposures).toBe(2);
    s.unmap(PAGE);
    expect([s.results().exposed, s.results().exposures]).toEqual([true, 3]);
  });

  test('an access in flight: translated before, reached memory after', () => {
    const s = mapped().as(DEVICE_ACTOR).fill(PAGE, DATA).invalidate(PAGE, END).as(PROGRAM).open(PAGE, END).unmap(PAGE);
    expect(s.judge.exposures).toBe(0);
    expect(s.as(DEVICE_ACTOR).access(PAGE, DATA, false).judge.exposures).toBe(1);
  });
});
