// I20a: dirty bits of a device's own table that go in a callback.
import { expect, test } from 'vitest';
import {
  AGENT_MIRROR,
  CB_INVALIDATE_RANGE_START,
  E_CALLBACK,
  E_CALLBACK_END,
  E_DEV_INVAL,
  E_DIRTY,
  E_MSG,
  E_WRITE_OUT,
  MSG_XPMEM_RECALL,
} from '../abi/events.ts';
import { EventScript, PAGE, PROGRAM } from './event-script.ts';

const END = PAGE + 4096;
const FRAME = 10;
const DEVICE = 1;
const OTHER = 2;

class DirtyScript extends EventScript {
  callback(type: number): this {
    return this.emit(type, 1, PAGE, END, 0, 0, CB_INVALIDATE_RANGE_START, 0, 0, 1);
  }

  /** The driver takes the device's entry out. */
  drop(isDirty: boolean): this {
    return this.emit(E_DEV_INVAL, 1, PAGE, END, FRAME, this.gen(FRAME), isDirty ? 1 : 0, 0, AGENT_MIRROR, DEVICE);
  }

  tell(type: number): this {
    return this.emit(type, 0, 0, 0, FRAME, this.gen(FRAME));
  }
}

/** A thread is in the start of a section over a page that the device has. */
function inCallback(before: (s: DirtyScript) => void = () => {}): DirtyScript {
  const s = new DirtyScript().as(PROGRAM).alloc(FRAME).map(PAGE, FRAME);
  before(s);
  return s.as(PROGRAM).open(PAGE, END).callback(E_CALLBACK);
}

const rest = (s: DirtyScript): string[] => s.callback(E_CALLBACK_END).unmap(PAGE).close(PAGE, END).found();

test('the page is not marked: found, though the entry of the CPUs is dirty', () => {
  const s = inCallback().drop(true);
  expect(rest(s)).toEqual(['I20a']);
  expect(s.results().violations[0]).toMatchObject({ mm: 1, page: PAGE, pfn: FRAME, tag: 'LOST-WRITE' });
});

test('marked in the callback, or before and not written out since: in order', () => {
  expect(rest(inCallback().drop(true).tell(E_DIRTY))).toEqual([]);
  expect(rest(inCallback((s) => s.tell(E_DIRTY)).drop(true))).toEqual([]);
});

test('written out since it was marked: found, unless that was after the entry had gone', () => {
  expect(rest(inCallback((s) => s.tell(E_DIRTY).tell(E_WRITE_OUT)).drop(true))).toEqual(['I20a']);
  const s = inCallback((x) => x.tell(E_DIRTY)).drop(true);
  expect(rest(s.as(OTHER).tell(E_WRITE_OUT).as(PROGRAM))).toEqual([]);
});

test('a clean entry, and one that goes outside a callback: in order', () => {
  expect(rest(inCallback().drop(false))).toEqual([]);
  expect(rest(inCallback((s) => s.as(OTHER).drop(true)))).toEqual([]);
});

test('a partition takes it out for the callback that sent the recall', () => {
  const recall = (s: DirtyScript): DirtyScript =>
    s.emit(E_MSG, 1, PAGE, END, 0, 0, MSG_XPMEM_RECALL, 0, 0, DEVICE).as(OTHER).drop(true);
  expect(rest(recall(inCallback()).as(PROGRAM))).toEqual(['I20a']);
  expect(rest(recall(inCallback()).tell(E_DIRTY).as(PROGRAM))).toEqual([]);
  // Sent outside a callback: the driver's own business.
  const before = inCallback((s) => recall(s));
  expect(rest(before)).toEqual([]);
});

test('the page is free before the callback returns: nobody misses what it held', () => {
  const s = inCallback().drop(true).as(OTHER).unmap(PAGE).free(FRAME).as(PROGRAM);
  expect(s.callback(E_CALLBACK_END).found()).not.toContain('I20a');
});
