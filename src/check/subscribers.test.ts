// I41, I42, I46, I47: what a subscriber hears, and how long it lives.
import { describe, expect, test } from 'vitest';
import {
  CB_FREE_NOTIFIER,
  CB_INVALIDATE_RANGE,
  CB_INVALIDATE_RANGE_END,
  CB_INVALIDATE_RANGE_START,
  CB_RELEASE,
  E_CALLBACK,
  E_CALLBACK_END,
  E_RELEASE,
  E_SECTION_END,
  E_SUBSCRIBE,
  E_UNSUBSCRIBE,
} from '../abi/events.ts';
import { EventScript, PAGE } from './event-script.ts';

const END = PAGE + 4096;
const EAGAIN = -11;

class Script extends EventScript {
  subscribe(id: number, hasEnd = true): this {
    return this.emit(E_SUBSCRIBE, 1, 0, 0, 0, 0, hasEnd ? 1 : 0, 0, 0, id);
  }

  unsubscribe(id: number): this {
    return this.emit(E_UNSUBSCRIBE, 1, 0, 0, 0, 0, 0, 0, 0, id);
  }

  begins(id: number, callback: number, start = PAGE, end = END): this {
    return this.emit(E_CALLBACK, 1, start, end, 0, 0, callback, 0, 0, id);
  }

  ends(id: number, callback: number, start = PAGE, end = END, result = 0): this {
    return this.emit(E_CALLBACK_END, 1, start, end, 0, 0, callback, result, 0, id);
  }

  /** The whole callback. */
  hears(id: number, callback: number, start = PAGE, end = END, result = 0): this {
    return this.begins(id, callback, start, end).ends(id, callback, start, end, result);
  }

  refused(id = this.lastSection): this {
    return this.emit(E_SECTION_END, 1, PAGE, END, 0, 0, 1, 0, 2, id);
  }
}

const START = CB_INVALIDATE_RANGE_START;
const FINISH = CB_INVALIDATE_RANGE_END;

describe('I41: starts and ends match', () => {
  test('two threads, nested and overlapping sections, a subscriber without an end callback: silent', () => {
    const s = new Script().subscribe(1).subscribe(2, false).as(1).open(PAGE, END).hears(1, START).hears(2, START);
    const outer = s.lastSection;
    s.as(2).open(PAGE, END).hears(1, START).hears(2, START).as(1);
    s.open(PAGE, PAGE + 8192).hears(1, START, PAGE, PAGE + 8192);
    s.hears(1, FINISH, PAGE, PAGE + 8192).close(PAGE, PAGE + 8192);
    s.hears(1, FINISH)
      .close(PAGE, END, 0, outer)
      .as(2)
      .hears(1, FINISH)
      .close(PAGE, END, 0, outer + 1);
    expect(s.found()).toEqual([]);
  });

  test('a section inside another over the same range: each end is its own', () => {
    const inner = (): Script =>
      new Script().subscribe(1).as(1).open(PAGE, END).hears(1, START).open(PAGE, END).hears(1, START);
    const s = inner();
    const id = s.lastSection;
    expect(s.hears(1, FINISH).close(PAGE, END).found()).toEqual([]);
    expect(
      s
        .hears(1, FINISH)
        .close(PAGE, END, 0, id - 1)
        .found(),
    ).toEqual([]);
    expect(inner().close(PAGE, END).found()).toEqual(['I41']);
    expect(
      inner()
        .hears(1, FINISH)
        .close(PAGE, END)
        .close(PAGE, END, 0, id - 1)
        .found(),
    ).toEqual(['I41']);
  });

  test('registered between start and end: the end without a start is found', () => {
    const s = new Script().as(1).open(PAGE, END).subscribe(1).hears(1, FINISH).close(PAGE, END);
    expect(s.found()).toEqual(['I41']);
    expect(s.results().violations[0]!.text).toContain('whose start it has not heard');
  });

  test('the end of another thread, or of another range, is no match', () => {
    const thread = new Script().subscribe(1).as(1).open(PAGE, END).hears(1, START).as(2).hears(1, FINISH);
    expect(thread.found()).toEqual(['I41']);
    const range = new Script()
      .subscribe(1)
      .as(1)
      .open(PAGE, END)
      .hears(1, START)
      .hears(1, FINISH, PAGE, PAGE + 8192);
    expect(range.found()).toEqual(['I41']);
  });

  test('left without telling a subscriber that heard the start: found; one that went away meanwhile need not hear', () => {
    const s = new Script().subscribe(1).as(1).open(PAGE, END).hears(1, START).close(PAGE, END);
    expect(s.found()).toEqual(['I41']);
    const gone = new Script().subscribe(1).as(1).open(PAGE, END).hears(1, START).as(2).unsubscribe(1);
    expect(gone.as(1).close(PAGE, END).found()).toEqual([]);
  });
});

describe('I42: a refused start', () => {
  test('who heard it hears the end, the one that refused need not', () => {
    const s = new Script().subscribe(1).subscribe(2).as(1).open(PAGE, END).hears(1, START);
    s.hears(2, START, PAGE, END, EAGAIN).hears(1, FINISH).refused();
    expect(s.found()).toEqual([]);
  });

  test('no end for the one before: its count of open ranges is wrong for ever', () => {
    const s = new Script().subscribe(1).subscribe(2).as(1).open(PAGE, END).hears(1, START);
    expect(s.hears(2, START, PAGE, END, EAGAIN).refused().found()).toEqual(['I42']);
  });
});

describe('I46: release', () => {
  test('once by exit and once by unregister is what the core may do', () => {
    const s = new Script().subscribe(1).as(1).emit(E_RELEASE, 1, 0, 0, 0, 0, 1).begins(1, CB_RELEASE, 0, 0);
    s.as(2).hears(1, CB_RELEASE, 0, 0).as(1).ends(1, CB_RELEASE, 0, 0).emit(E_RELEASE, 1, 0, 0, 0, 0, 0);
    expect(s.as(2).unsubscribe(1).found()).toEqual([]);
  });

  test('twice by the same: found; registered again: a new life', () => {
    const s = new Script().subscribe(1).as(2).hears(1, CB_RELEASE, 0, 0).hears(1, CB_RELEASE, 0, 0);
    expect(s.found()).toEqual(['I46']);
    const again = new Script().subscribe(1).as(2).hears(1, CB_RELEASE, 0, 0).unsubscribe(1).subscribe(1);
    expect(again.hears(1, CB_RELEASE, 0, 0).unsubscribe(1).found()).toEqual([]);
  });
});

describe('I47: silence after removal', () => {
  test('a callback that begins after unregister has returned, or after free_notifier', () => {
    expect(new Script().subscribe(1).unsubscribe(1).as(3).hears(1, CB_INVALIDATE_RANGE).found()).toEqual(['I47']);
    const freed = new Script().subscribe(1).hears(1, CB_FREE_NOTIFIER, 0, 0).as(3).hears(1, CB_INVALIDATE_RANGE);
    expect(freed.found()).toEqual(['I47']);
  });

  test('a callback that still runs when unregister returns', () => {
    const s = new Script().subscribe(1).as(3).begins(1, CB_INVALIDATE_RANGE).as(2).unsubscribe(1);
    expect(s.found()).toEqual(['I47']);
    expect(s.results().violations[0]!.text).toContain('while thread 3 was inside its invalidate_range callback');
  });

  test('callbacks that ended before, and the other subscriber: silent', () => {
    const s = new Script().subscribe(1).subscribe(2).as(3).hears(1, CB_INVALIDATE_RANGE).as(2).unsubscribe(1);
    s.as(3).hears(2, CB_INVALIDATE_RANGE).as(2).hears(2, CB_FREE_NOTIFIER, 0, 0).unsubscribe(2);
    expect(s.found()).toEqual([]);
  });
});
