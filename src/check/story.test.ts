import { expect, test } from 'vitest';
import {
  AGENT_ATC,
  AGENT_IOTLB,
  AGENT_PWC,
  CB_INVALIDATE_RANGE,
  CB_INVALIDATE_RANGE_END,
  CB_INVALIDATE_RANGE_START,
  E_CALLBACK,
  E_LOCK,
  E_LOCK_CONTENDED,
  E_UNLOCK,
} from '../abi/events.ts';
import { NR_munmap } from '../abi/syscalls.ts';
import { EventScript, PAGE } from './event-script.ts';
import { type Story, storyOf } from './story.ts';

const END = PAGE + 4096;
const OTHER = PAGE + 16 * 4096;
const DATA = 10;
const CPU = 1;
const IOMMU = 8;
const DEVICE = 9;

/** The story of what the script wrote; the page and frame of the violation as given. */
function told(s: EventScript, property = 'I1', pfn = DATA, page = PAGE): Story {
  const records = s.log.last(s.log.count).slice(new EventScript().log.count);
  const story = storyOf(records, { mm: 1, page, pfn }, property);
  expect(story.actOf.length).toBe(records.length);
  // Each act begins at its first record, and by the thread of that record.
  story.acts.forEach((act, i) => {
    expect(story.actOf.indexOf(i)).toBe(act.first);
    expect(records[act.first]![2]).toBe(act.actor);
  });
  return story;
}

const kinds = (s: EventScript, property = 'I1', pfn = DATA, page = PAGE): string =>
  told(s, property, pfn, page)
    .acts.map((act) => act.kind)
    .join(', ');

function callback(s: EventScript, kind: number, start = PAGE, end = END): EventScript {
  return s.emit(E_CALLBACK, 1, start, end, 0, 0, kind, 0, 0, 1);
}

test('flush at end: the textbook story has its seven acts', () => {
  const s = new EventScript().as(DEVICE);
  s.walk(PAGE, 4, 0).walkCache(PAGE, PAGE + 2 ** 21, 4);
  s.fill(PAGE, DATA, true, AGENT_IOTLB)
    .fill(PAGE, DATA, true, AGENT_ATC)
    .setDirty(PAGE, DATA)
    .access(PAGE, DATA, false);
  s.as(CPU).open(PAGE, END);
  callback(s, CB_INVALIDATE_RANGE_START);
  s.unmap(PAGE).flush(PAGE, END).cpuInvalidate(PAGE, END, 0).cpuInvalidate(PAGE, END, 1).free(DATA).alloc(DATA);
  s.as(DEVICE).access(PAGE, DATA, true, 0);
  expect(kinds(s)).toBe('fill, section, entry, CPU flush, free, alloc, access');
});

test('one flush reported by many caches is one act; the next edge or callback begins another', () => {
  const drop = (s: EventScript): EventScript => {
    s.as(IOMMU).invalidate(PAGE, END, AGENT_IOTLB).invalidate(0, Number.POSITIVE_INFINITY, AGENT_PWC);
    return s.as(DEVICE).invalidate(PAGE, END, AGENT_ATC).as(CPU);
  };
  const s = new EventScript().as(CPU).open(PAGE, END);
  drop(callback(s, CB_INVALIDATE_RANGE_START));
  s.unmap(PAGE);
  drop(callback(s, CB_INVALIDATE_RANGE));
  drop(callback(s, CB_INVALIDATE_RANGE_END)).close(PAGE, END);
  expect(kinds(s)).toBe('section, flush, entry, callback, flush, section, flush');
});

test('callbacks to several drivers at one edge are one act', () => {
  const s = new EventScript().as(CPU).open(PAGE, END);
  callback(callback(s, CB_INVALIDATE_RANGE_START), CB_INVALIDATE_RANGE_START);
  callback(callback(s, CB_INVALIDATE_RANGE_END), CB_INVALIDATE_RANGE_END).close(PAGE, END);
  expect(kinds(s)).toBe('section, section');
});

test('a refill after a flush is a fill of its own; accesses of what is held count once in a row', () => {
  const s = new EventScript().as(DEVICE);
  s.fill(PAGE, DATA).access(PAGE, DATA, false).access(PAGE, DATA, false);
  s.invalidate(PAGE, END).fill(PAGE, DATA);
  s.as(CPU).unmap(PAGE).as(DEVICE);
  s.access(PAGE, DATA, false).access(PAGE, DATA, true).access(PAGE, DATA, true);
  expect(kinds(s)).toBe('fill, flush, fill, entry, access');
});

test('other pages, frames, threads and walk caches do not belong to it; they do not end its acts either', () => {
  const s = new EventScript().as(CPU).flush(PAGE, END);
  s.as(2)
    .map(OTHER, 11)
    .flush(OTHER, OTHER + 4096)
    .free(11)
    .syscallEnd(NR_munmap);
  s.as(DEVICE)
    .fill(OTHER, 12)
    .access(OTHER, 12, true)
    .walkCache(PAGE, PAGE + 2 ** 21, 4);
  s.as(CPU).cpuInvalidate(PAGE, END).syscallEnd(NR_munmap);
  expect(kinds(s)).toBe('CPU flush, return');
});

test('a story about a page-table page tells of the entry that named it, of walk caches, and of the walk', () => {
  const s = new EventScript()
    .as(DEVICE)
    .walkCache(PAGE, PAGE + 2 ** 21, 4)
    .fill(PAGE, DATA);
  s.as(CPU)
    .unmap(PAGE)
    .entry(3, 1, PAGE - (PAGE % 2 ** 21), 0)
    .flush(PAGE, END)
    .free(4);
  s.as(DEVICE).walk(PAGE, 4, 0);
  expect(kinds(s, 'I2', 4)).toBe('fill, entry, CPU flush, free, access');
});

test('a table that is moved away with the page in it is an entry of the story, one that was emptied before is not', () => {
  const table = PAGE - (PAGE % 2 ** 21);
  const moved = new EventScript().as(CPU).entry(3, 1, table, 0).flush(PAGE, END);
  expect(kinds(moved)).toBe('entry, CPU flush');
  expect(kinds(new EventScript().as(CPU).unmap(PAGE).entry(3, 1, table, 0).flush(PAGE, END))).toBe('entry, CPU flush');
  // A new table where there was none is no news of the page.
  expect(
    kinds(
      new EventScript()
        .as(CPU)
        .entry(9, 1, table, (8 << 12) | 7)
        .map(PAGE, DATA),
    ),
  ).toBe('entry');
});

test('refaults are told one by one, locks only where they are what it is about and somebody waits', () => {
  const s = new EventScript().as(DEVICE).refault(PAGE, 1).refault(PAGE, 2).refault(OTHER, 1);
  expect(kinds(s, 'L2', 0)).toBe('refault, refault');
  const locks = new EventScript();
  const lock = (actor: number, type: number, instance: number): unknown =>
    locks.as(actor).emit(type, 0, 0, 0, 0, 0, 3, instance, 1);
  lock(1, E_LOCK, 7);
  lock(1, E_LOCK, 1);
  lock(2, E_LOCK, 2);
  lock(1, E_UNLOCK, 7);
  lock(1, E_LOCK_CONTENDED, 2);
  lock(2, E_LOCK_CONTENDED, 1);
  expect(kinds(locks, 'I60', 0, 0)).toBe('lock, lock, lock, lock');
  expect(kinds(locks, 'I1', 0, 0)).toBe('');
});
