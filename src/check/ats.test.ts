// I9, I10 and L3 by hand-made events: what breaks each, and what does not.
import { expect, it } from 'vitest';
import * as E from '../abi/events.ts';
import { EventScript, PAGE } from './event-script.ts';

const END = PAGE + 4096;
const ALL = Number.POSITIVE_INFINITY;

function found(s: EventScript): Readonly<Record<string, number>> {
  return s.judge.results().byProperty;
}

/** Frame 10 at PAGE, and a device that has asked for it and holds it. */
function held(): EventScript {
  const s = new EventScript().as(7).alloc(10).map(PAGE, 10);
  return s.ats(E.MSG_TRANSLATION_REQUEST, PAGE, END).fill(PAGE, 10).access(PAGE, 10, false);
}

const MAKERS = [
  ['AMD', E.MSG_CMD_INVALIDATE_IOMMU_PAGES, E.MSG_CMD_INVALIDATE_IOTLB_PAGES, E.MSG_CMD_COMPLETION_WAIT],
  ['Intel', E.MSG_QI_PIOTLB, E.MSG_QI_DEVICE_TLB, E.MSG_QI_WAIT],
  ['ARM', E.MSG_SMMU_TLBI, E.MSG_SMMU_ATC_INV, E.MSG_SMMU_SYNC],
] as const;

it.each(MAKERS)('I9, %s: IOMMU, wait, device is in order, again and again', (_, tlb, device, wait) => {
  const s = new EventScript().as(3);
  for (let n = 1; n < 6; n += 2) {
    s.ats(tlb, PAGE, END).ats(wait, 0, 0, n).ats(E.MSG_COMPLETION_WAIT_DONE, 0, 0, n);
    s.ats(device, PAGE - 4096, END).ats(wait, 0, 0, n + 1);
    s.ats(E.MSG_COMPLETION_WAIT_DONE, 0, 0, n + 1);
  }
  expect(found(s)).toEqual({});
});

it.each(MAKERS)('I9, %s: the device first, or without a wait, or not after this change', (_, tlb, device, wait) => {
  expect(found(new EventScript().ats(device, PAGE, END))).toEqual({ I9: 1 });
  expect(found(new EventScript().ats(tlb, PAGE, END).ats(device, PAGE, END))).toEqual({ I9: 1 });
  const unstored = new EventScript().ats(tlb, PAGE, END).ats(wait, 0, 0, 1).ats(device, PAGE, END);
  expect(found(unstored)).toEqual({ I9: 1 });
  const elsewhere = new EventScript().ats(tlb, END, END + 4096).ats(wait, 0, 0, 1);
  expect(found(elsewhere.ats(E.MSG_COMPLETION_WAIT_DONE, 0, 0, 1).ats(device, PAGE, END))).toEqual({ I9: 1 });
  const earlier = new EventScript().ats(tlb, PAGE, END).ats(wait, 0, 0, 1);
  earlier.ats(E.MSG_COMPLETION_WAIT_DONE, 0, 0, 1).ats(device, PAGE, END).ats(wait, 0, 0, 2);
  expect(found(earlier)).toEqual({});
  expect(found(earlier.ats(E.MSG_COMPLETION_WAIT_DONE, 0, 0, 2).ats(device, PAGE, END))).toEqual({ I9: 1 });
});

it('I9: what another thread has waited for does not count', () => {
  const s = new EventScript().as(3).ats(E.MSG_QI_PIOTLB, PAGE, END).ats(E.MSG_QI_WAIT, 0, 0, 1);
  s.ats(E.MSG_COMPLETION_WAIT_DONE, 0, 0, 1).as(4).ats(E.MSG_QI_DEVICE_TLB, PAGE, END);
  expect(found(s)).toEqual({ I9: 1 });
});

it('I10: an access with the translation after the completion, before it not', () => {
  const s = held().ats(E.MSG_INVALIDATE_REQUEST, PAGE, END, 5).access(PAGE, 10, false);
  expect(found(s)).toEqual({});
  expect(found(s.ats(E.MSG_INVALIDATE_COMPLETION, PAGE, END, 5).access(PAGE, 10, false))).toEqual({ I10: 1 });
});

it('I10: one of another page, or of none, says nothing', () => {
  const s = held().ats(E.MSG_INVALIDATE_REQUEST, END, END + 4096, 5);
  s.ats(E.MSG_INVALIDATE_COMPLETION, END, END + 4096, 5).ats(E.MSG_INVALIDATE_COMPLETION, PAGE, END, 6);
  expect(found(s.access(PAGE, 10, false))).toEqual({});
});

it('I10: asked for again after the Invalidate Request it may be used, asked for before it may not, whenever the answer came', () => {
  const fresh = held().ats(E.MSG_INVALIDATE_REQUEST, 0, ALL, 5).ats(E.MSG_TRANSLATION_REQUEST, PAGE, END);
  fresh.fill(PAGE, 10).ats(E.MSG_INVALIDATE_COMPLETION, 0, ALL, 5).access(PAGE, 10, false);
  expect(found(fresh)).toEqual({});
  const late = held().ats(E.MSG_TRANSLATION_REQUEST, PAGE, END).ats(E.MSG_INVALIDATE_REQUEST, 0, ALL, 5);
  late.ats(E.MSG_INVALIDATE_COMPLETION, 0, ALL, 5).fill(PAGE, 10).access(PAGE, 10, false);
  expect(found(late)).toEqual({ I10: 1 });
});

it('I10: a page of a large translation', () => {
  const size = 0x200000;
  const s = new EventScript().as(7).alloc(512);
  s.ats(E.MSG_TRANSLATION_REQUEST, PAGE, END).fill(PAGE, 512, true, E.AGENT_ATC, size);
  s.alloc(515).ats(E.MSG_INVALIDATE_REQUEST, PAGE + 4096, PAGE + 8192, 1);
  expect(found(s.access(PAGE + 3 * 4096, 515, false))['I10']).toBeUndefined();
  s.ats(E.MSG_INVALIDATE_COMPLETION, PAGE + 4096, PAGE + 8192, 1).access(PAGE + 3 * 4096, 515, false);
  expect(found(s)['I10']).toBe(1);
});

const request = (s: EventScript, prg: number, flags = E.PAGE_REQUEST_LAST, credits = 2): EventScript =>
  s.ats(E.MSG_PAGE_REQUEST, PAGE, END, prg, flags, credits);
const answer = (s: EventScript, prg: number, status = E.PRG_SUCCESS): EventScript =>
  s.ats(E.MSG_PRG_RESPONSE, 0, 0, prg, status);

it('L3: groups answered once, their indices used again, a Stop Marker that nobody answers', () => {
  const s = new EventScript();
  for (let i = 0; i < 3; i++) answer(request(request(s, 1, 0), 1), 1, i === 1 ? E.PRG_INVALID : E.PRG_SUCCESS);
  request(s, 0, E.PAGE_REQUEST_LAST | E.PAGE_REQUEST_STOP);
  expect([found(s), s.judge.results().unanswered]).toEqual([{}, 0]);
});

/** A group of two pages from PAGE, of which the request for the second finds the queue full; answered, and the access finds nothing. */
function lostRound(s: EventScript, times: number, isLost = true): EventScript {
  request(request(s, 1, 0), 1).ats(E.MSG_PAGE_REQUEST_LOST, isLost ? END : 0, isLost ? END + 4096 : 0, isLost ? 1 : 2);
  return answer(s, 1).refault(PAGE, times);
}

it('L2: rounds whose request was lost do not count, those between them do', () => {
  const s = new EventScript();
  for (let times = 1; times <= 20; times++) lostRound(s, times);
  lostRound(lostRound(s, 21, false), 22, false);
  expect(found(lostRound(s, 23))).toEqual({});
  expect(found(lostRound(s, 24, false))).toEqual({ L2: 1 });
});

it('L2: the queue is never emptied', () => {
  const s = new EventScript();
  for (let times = 1; times <= 64; times++) lostRound(s, times);
  expect(found(s)).toEqual({});
  expect(found(lostRound(s, 65))).toEqual({ L2: 1 });
});

it('L2: a request lost before the device got on is no excuse later', () => {
  for (const between of [
    (s: EventScript): unknown => s.alloc(10).map(PAGE, 10),
    (s: EventScript): unknown => s.alloc(10).map(PAGE, 10).fill(PAGE, 10).access(PAGE, 10, false),
  ]) {
    const s = new EventScript();
    answer(request(s, 1).ats(E.MSG_PAGE_REQUEST_LOST, PAGE, END, 1), 1);
    between(s);
    expect(found(s.refault(PAGE, 1).refault(PAGE, 2))).toEqual({});
    expect(found(s.refault(PAGE, 3))).toEqual({ L2: 1 });
  }
});

it('L1: a device that gives up as the queue is full is a finding all the same', () => {
  const s = new EventScript().vma(PAGE, END, 3);
  for (let times = 1; times <= 9; times++) lostRound(s, times);
  expect(found(s.deviceState(E.DEV_FAILED))).toEqual({ L1: 1 });
});

it('L3: answered twice, before its last request, never asked', () => {
  expect(found(answer(answer(request(new EventScript(), 1), 1), 1))).toEqual({ L3: 1 });
  expect(found(answer(request(new EventScript(), 1, 0), 1))).toEqual({ L3: 1 });
  expect(found(answer(new EventScript(), 1))).toEqual({ L3: 1 });
});

it('L3: an index used again before the answer, more requests than allowed', () => {
  expect(found(request(request(new EventScript(), 1), 1))).toEqual({ L3: 1 });
  expect(found(request(request(new EventScript(), 1, 0, 1), 1, 0, 1))).toEqual({ L3: 1 });
});

it('L3: after a Failure nothing is expected until the device runs again', () => {
  const s = answer(request(request(new EventScript(), 1), 2), 1, E.PRG_FAILURE);
  answer(s, 2);
  expect([found(s), s.judge.results().unanswered]).toEqual([{}, 0]);
  s.emit(E.E_DEV_STATE, 0, 0, 0, 0, 0, E.DEV_RUNNING);
  expect(found(answer(s, 2))).toEqual({ L3: 1 });
});

it('L3: a PASID that was drained has nothing unanswered; one that was not may', () => {
  const unbind = (c: number): EventScript => request(new EventScript(), 1).emit(E.E_BIND, 1, 0, 0, 0, 0, 0, 1, c, 0);
  expect(found(unbind(E.BIND_DRAINED))).toEqual({ L3: 1 });
  expect(found(unbind(0))).toEqual({});
});
