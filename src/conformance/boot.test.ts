// The scripts of a boot share a memory cgroup: what is there before each, and which of them have to be run for that.
import { expect, it } from 'vitest';
import type { LruvecMemory } from '../mm/reclaim/lruvec.ts';
import { Boot, looksAtGroup } from './boot.ts';
import type { TraceRecord } from './record.ts';
import { type Recording, recordingOf } from './recording.ts';

const CALLS: Readonly<Record<string, object>> = {
  plain: { op: 'munmap', args: { addr: '0x1000', len: '0x1000' } },
  pageout: { op: 'madvise', args: { addr: '0x1000', len: '0x1000', advice: 'MADV_PAGEOUT' } },
  reclaim: { op: 'memory_reclaim', args: { bytes: '64K' } },
  limit: { op: 'write_file', args: { path: '/cg/t/memory.max', value: '2M' } },
  caches: { op: 'write_file', args: { path: '/proc/sys/vm/drop_caches', value: '3' } },
};

function recording(name: string, kind: string): Recording {
  const call = { i: 1, t: 'call', p: 'P', n: 1, ...CALLS[kind] } as unknown as TraceRecord;
  return recordingOf(name, [{ i: 0, t: 'head' } as TraceRecord, call]);
}

/** A boot whose scripts add one to the cost each; `ran` says which were run. */
function bootOf(kinds: Readonly<Record<string, string | null>>) {
  const ran: string[] = [];
  const boot = new Boot(
    Object.keys(kinds),
    async (name) => (kinds[name] === null ? null : recording(name, kinds[name]!)),
    (r, memory) => {
      ran.push(r.name);
      const cost = (memory?.cost[0] ?? 0) + 1;
      return { cost: [cost, 0], activated: [0, 0], activatedStats: [0, 0], refaults: [0, 0] };
    },
  );
  return { boot, ran };
}

const costOf = (memory: LruvecMemory | null): number | null => (memory === null ? null : memory.cost[0]!);

it('runs the scripts before it that evict, each once, in order', async () => {
  const { boot, ran } = bootOf({ a: 'plain', b: 'pageout', c: 'caches', d: 'limit', e: 'reclaim', f: 'reclaim' });
  expect(costOf(await boot.memoryBefore('b'))).toBe(null);
  expect(costOf(await boot.memoryBefore('e'))).toBe(2);
  expect(ran).toEqual(['b', 'd']);
  expect(costOf(await boot.memoryBefore('f'))).toBe(3);
  expect(costOf(await boot.memoryBefore('d'))).toBe(1);
  expect(costOf(await boot.memoryBefore('e'))).toBe(2);
  expect(ran).toEqual(['b', 'd', 'e']);
});

it('passes over a recording that cannot be read', async () => {
  const { boot } = bootOf({ a: 'reclaim', b: null, c: 'reclaim' });
  expect(costOf(await boot.memoryBefore('c'))).toBe(1);
});

it('tells reclaim from what leaves the lists alone', () => {
  const kinds = Object.keys(CALLS);
  expect(kinds.filter((kind) => looksAtGroup(recording(kind, kind)))).toEqual(['reclaim', 'limit']);
});
