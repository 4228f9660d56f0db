// Cutting the recording of a real program into segments: what belongs to which actor.

import { expect, test } from 'vitest';
import type { TraceRecord } from '../record.ts';
import { itemsOf } from './segments.ts';

function records(...list: Record<string, unknown>[]): TraceRecord[] {
  return list.map((r, i) => ({ i, t: '', ...r }) as TraceRecord);
}

/** Kind, actor and kinds of event of each segment; single records by their kind. */
function cut(...list: Record<string, unknown>[]): string[] {
  return itemsOf(records(...list)).map((item) =>
    'segment' in item
      ? `${item.segment.kind} ${item.segment.actor}: ${item.segment.events.map((r) => r.t).join(' ')}`
      : item.record.t,
  );
}

test('a memory call holds its events, other calls are single records', () => {
  expect(
    cut(
      { t: 'sys', p: 'P', name: 'munmap' },
      { t: 'cb', by: 'P' },
      { t: 'unmap' },
      { t: 'sysret', p: 'P', name: 'munmap' },
      { t: 'sys', p: 'P', name: 'getpid' },
      { t: 'sysret', p: 'P', name: 'getpid' },
    ),
  ).toEqual(['call P: cb unmap', 'sys', 'sysret']);
});

test('a fault that is tried again is one segment', () => {
  expect(
    cut(
      { t: 'fault', by: 'P' },
      { t: 'faultret', by: 'P', ret: ['MAJOR', 'RETRY'] },
      { t: 'fault', by: 'P' },
      { t: 'map' },
      { t: 'faultret', by: 'P', ret: ['NOPAGE'] },
    ),
  ).toEqual(['fault P: fault faultret fault map faultret']);
});

test('segments of two actors that overlap are kept apart, in the order of their ends', () => {
  expect(
    cut(
      { t: 'sys', p: 'P', name: 'munmap' },
      { t: 'unmap' },
      { t: 'fault', by: 'T1' },
      { t: 'map' },
      { t: 'faultret', by: 'T1', ret: [] },
      { t: 'cb', by: 'P' },
      { t: 'sysret', p: 'P', name: 'munmap' },
    ),
  ).toEqual(['fault T1: fault map faultret', 'call P: unmap cb']);
});

test('the end of an address space takes its last frees along', () => {
  expect(
    cut(
      { t: 'sys', p: 'P', name: 'exit_group' },
      { t: 'exit_mmap', at: 'begin', by: 'P' },
      { t: 'unmap' },
      { t: 'exit_mmap', at: 'end', by: 'P' },
      { t: 'free', by: 'P' },
      { t: 'end' },
    ),
  ).toEqual(['sys', 'exit P: exit_mmap unmap exit_mmap free', 'end']);
});

test('a fork ends where the child appears', () => {
  expect(
    cut(
      { t: 'sys', p: 'P', name: 'clone' },
      { t: 'cb', by: 'P' },
      { t: 'task', op: 'fork', p: 'P', child: 'T1' },
      { t: 'sysret', p: 'P', name: 'clone' },
    ),
  ).toEqual(['fork P: cb', 'sysret']);
});

test('a call that was interrupted goes on where its address space is named', () => {
  expect(
    cut(
      { t: 'sys', p: 'P', mm: 'P', name: 'munmap' },
      { t: 'unmap', mm: 'P' },
      { t: 'fault', mm: 'C', by: 'C' },
      { t: 'map', mm: 'C' },
      { t: 'faultret', mm: 'C', by: 'C', ret: [] },
      { t: 'unmap', mm: 'P' },
      { t: 'gather', mm: 'P' },
      { t: 'sysret', p: 'P', mm: 'P', name: 'munmap' },
    ),
  ).toEqual(['fault C: fault map faultret', 'call P: unmap unmap gather']);
});

test('what a fault does to another address space, where nobody is at work, is its own', () => {
  expect(
    cut({ t: 'fault', mm: 'C', by: 'C' }, { t: 'unmap', mm: 'P' }, { t: 'faultret', mm: 'C', by: 'C', ret: [] }),
  ).toEqual(['fault C: fault unmap faultret']);
});

test('what is freed on the way back to user mode belongs to the call', () => {
  expect(
    cut(
      { t: 'sys', p: 'P', name: 'munmap' },
      { t: 'sysret', p: 'P', name: 'munmap' },
      { t: 'free', by: 'P' },
      { t: 'free', by: 'P' },
      { t: 'sys', p: 'P', name: 'getpid' },
      { t: 'sysret', p: 'P', name: 'getpid' },
      { t: 'free', by: 'P' },
    ),
  ).toEqual(['call P: free free', 'sys', 'sysret', 'loose P: free']);
});

test('a page that is mapped belongs to the fault at its address, whoever ran before', () => {
  expect(
    cut(
      { t: 'fault', mm: 'P', by: 'T1', addr: '0x5018' },
      { t: 'sys', p: 'P', mm: 'P', name: 'mmap' },
      { t: 'map', mm: 'P', addr: '0x5000' },
      { t: 'faultret', mm: 'P', by: 'T1', ret: [] },
      { t: 'sysret', p: 'P', mm: 'P', name: 'mmap' },
    ),
  ).toEqual(['fault T1: fault map faultret', 'call P: ']);
});
