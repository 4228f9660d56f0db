// Two hosts: what was sent arrives, byte for byte, while the memory of both is pressed upon. Work requests by themselves first, then all at
// once: programs that fork, discard, protect and page out what does not matter to the transfer, reclaim, compaction, KSM and khugepaged.
//
// TRANSFERS=2000 is the full size. A failure names SEED; the same one gives the same run.
import { beforeEach, describe, expect, it } from 'vitest';
import { EFAULT, EINVAL, ENOMEM } from '../../abi/errno.ts';
import {
  MADV_COLD,
  MADV_DONTNEED,
  MADV_MERGEABLE,
  MADV_PAGEOUT,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_READ,
  PROT_WRITE,
} from '../../abi/mman.ts';
import { NR_madvise, NR_mmap, NR_mprotect } from '../../abi/syscalls.ts';
import { Rng } from '../../base/rng.ts';
import { Judge } from '../../check/judge.ts';
import { userLoad, userStore } from '../../mm/cpu-access.ts';
import { ksmRun } from '../../mm/ksm/scan.ts';
import { compactMemory } from '../../mm/migrate/compaction.ts';
import { createProcess, doClone, doExit } from '../../mm/process/task.ts';
import type { Task } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import { createMachine, type Machine } from '../../system/machine.ts';
import { RDMA_DEFAULTS } from './config.ts';
import { RdmaHost } from './host.ts';
import { mistakeOf } from './mistakes.ts';
import { IB_ACCESS_ALL, IB_ACCESS_REMOTE_READ, Nic } from './nic.ts';
import { IntervalOdp } from './odp-interval.ts';
import { ibUmemGet, ibUmemRelease, type PinnedMr } from './pinned-mr.ts';
import { connect, QPS_ERR, type QpConfig, QueuePair } from './queue-pair.ts';
import type { Region } from './region.ts';
import * as W from './verbs.ts';

const PAGE = 4096;
const V = 0x10000000;
const RW = PROT_READ | PROT_WRITE;
const ANON = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
const seed = Number(process.env['SEED'] ?? 1);
const transfers = Number(process.env['TRANSFERS'] ?? 30);

interface Side {
  readonly task: Task;
  readonly host: RdmaHost;
  readonly region: Region;
  readonly qp: QueuePair;
}

let m: Machine;
let a: Side;
let b: Side;
let judge: Judge;
let Driver: typeof IntervalOdp = IntervalOdp;

function side(id: number, pages: number, qp: Partial<QpConfig>, flags = ANON): Side {
  const k = m.kernel;
  const task = m.run(createProcess(k, { areas: [] }));
  const nic = new Nic(k.memory, k.sched, id, true);
  const host = new RdmaHost(k, nic, new Driver(k, nic, { ...RDMA_DEFAULTS, childPages: 64 }));
  expect(m.run(host.bind(task.mm!))).toBe(0);
  expect(m.run(m.call(task, NR_mmap, V, pages * PAGE, RW, flags, -1, 0))).toBe(V);
  const region = host.driver.registerImplicit(task.mm!, IB_ACCESS_ALL);
  return { task, host, region, qp: new QueuePair(host, 1, qp) };
}

function make(pages = 16, qp: Partial<QpConfig> = {}, frames = 512, flags = ANON): void {
  m = createMachine({ kernel: { frames, swapPages: 4096, cpus: 2 }, design: 'linux-6.1', seed });
  judge = new Judge();
  judge.attach(m.kernel.memory.log);
  a = side(1, pages, qp, flags);
  b = side(2, pages, qp, flags);
  connect(a.qp, b.qp);
}

/** The program of that side stores a pattern, 4 bytes at a time. */
function* fill(s: Side, va: number, length: number, value: number): KernelPath<void> {
  for (let i = 0; i < length; i += 4)
    while ((yield* userStore(m.kernel, s.task, va + i, Math.imul(value, 2654435761) + i, 4)) !== 0);
}

/** How many of its words are not what `fill` stores. */
function* wrongWords(s: Side, va: number, length: number, value: number): KernelPath<number> {
  let wrong = 0;
  for (let i = 0; i < length; i += 4) {
    let word = -1;
    while (word < 0) word = yield* userLoad(m.kernel, s.task, va + i, 4);
    if (word !== (Math.imul(value, 2654435761) + i) >>> 0) wrong++;
  }
  return wrong;
}

let nextId = 1;

function request(
  opcode: number,
  va: number,
  length: number,
  remoteVa: number,
  more: Partial<W.WorkRequest> = {},
): W.WorkRequest {
  return { id: nextId++, opcode, lkey: a.region.key.id, va, length, rkey: b.region.key.id, remoteVa, ...more };
}

function send(wr: W.WorkRequest): number {
  a.qp.postSend(wr);
  return m.run(a.qp.await()).status;
}

beforeEach(() => {
  Driver = IntervalOdp;
  make();
});

describe('work requests', () => {
  it.each([
    ['RDMA write', W.WR_RDMA_WRITE],
    ['send', W.WR_SEND],
  ])('%s: from unaligned to unaligned, over pages that nobody has touched', (_name, opcode) => {
    m.run(fill(a, V + 100, 9000, 5));
    const receive = { id: 99, opcode: W.WR_RECV, lkey: b.region.key.id, va: V + 2048 + 12, length: 9001 };
    if (opcode === W.WR_SEND) b.qp.postReceive(receive);
    expect(send(request(opcode, V + 100, 9000, V + 2048 + 12))).toBe(W.WC_SUCCESS);
    expect(m.run(wrongWords(b, V + 2048 + 12, 9000, 5))).toBe(0);
    expect(b.qp.rnrNaks).toBeGreaterThan(0);
    if (opcode === W.WR_SEND)
      expect(b.qp.poll()).toEqual({ id: 99, opcode: W.WR_RECV, status: W.WC_SUCCESS, length: 9000 });
  });

  it('RDMA read brings what the peer stored; local pages that are missing make the request begin again', () => {
    m.run(fill(b, V, 8192, 6));
    expect(send(request(W.WR_RDMA_READ, V + 4096 + 4, 8192, V))).toBe(W.WC_SUCCESS);
    expect(m.run(wrongWords(a, V + 4096 + 4, 8192, 6))).toBe(0);
    expect(a.qp.replays).toBeGreaterThan(0);
  });

  it('atomics change the word once, also when the answer must be asked for again', () => {
    m.run(userStore(m.kernel, b.task, V, 40, 4));
    const atomic = (opcode: number, compare: number, operand: number): number =>
      send(request(opcode, V + 8 * PAGE, 8, V, { compare, operand }));
    expect(atomic(W.WR_ATOMIC_FETCH_AND_ADD, 0, 2)).toBe(W.WC_SUCCESS);
    expect([m.run(userLoad(m.kernel, a.task, V + 8 * PAGE, 4)), m.run(userLoad(m.kernel, b.task, V, 4))]).toEqual([
      40, 42,
    ]);
    expect(a.qp.replays).toBe(1);
    expect(atomic(W.WR_ATOMIC_CMP_AND_SWP, 41, 7)).toBe(W.WC_SUCCESS);
    expect(atomic(W.WR_ATOMIC_CMP_AND_SWP, 42, 8)).toBe(W.WC_SUCCESS);
    expect(m.run(userLoad(m.kernel, b.task, V, 4))).toBe(8);
  });

  it('lost packets and lost answers: sent again, executed once', () => {
    make(16, { lossOneIn: 4 });
    m.run(fill(a, V, 20000, 7));
    expect(send(request(W.WR_RDMA_WRITE, V, 20000, V))).toBe(W.WC_SUCCESS);
    expect(m.run(wrongWords(b, V, 20000, 7))).toBe(0);
    for (let i = 0; i < 20; i++)
      expect(send(request(W.WR_ATOMIC_FETCH_AND_ADD, V, 8, V + 8 * PAGE, { operand: 1 }))).toBe(0);
    expect(m.run(userLoad(m.kernel, b.task, V + 8 * PAGE, 4))).toBe(20);
    expect(a.qp.retransmissions).toBeGreaterThan(0);
  });
});

describe('errors', () => {
  it.each([
    ['an unknown local key', { lkey: 77 }, W.WC_LOC_PROT_ERR],
    ['an unknown remote key', { rkey: 77 }, W.WC_REM_ACCESS_ERR],
    ['remote memory that is not mapped', { remoteVa: V + 64 * PAGE }, W.WC_REM_ACCESS_ERR],
    ['local memory that is not mapped', { va: V + 64 * PAGE }, W.WC_LOC_PROT_ERR],
  ])('%s: the request fails, and with it the queue pair', (_name, more, status) => {
    expect(send(request(W.WR_RDMA_WRITE, V, 8, V, more))).toBe(status);
    expect(a.qp.state).toBe(QPS_ERR);
    expect(send(request(W.WR_RDMA_WRITE, V, 8, V))).toBe(W.WC_WR_FLUSH_ERR);
    connect(a.qp, b.qp);
    expect(send(request(W.WR_RDMA_WRITE, V, 8, V))).toBe(W.WC_SUCCESS);
  });

  it('rights of the key: no write, no atomic through one that may be read', () => {
    const r = m.run(b.host.driver.register(b.task.mm!, V, 100, IB_ACCESS_REMOTE_READ)) as Region;
    const rkey = r.key.id;
    expect(send(request(W.WR_RDMA_READ, V, 100, V, { rkey }))).toBe(W.WC_SUCCESS);
    expect(send(request(W.WR_RDMA_READ, V, 100, V + 1, { rkey }))).toBe(W.WC_REM_ACCESS_ERR);
    for (const opcode of [W.WR_RDMA_WRITE, W.WR_ATOMIC_FETCH_AND_ADD]) {
      connect(a.qp, b.qp);
      expect(send(request(opcode, V, 8, V, { rkey }))).toBe(W.WC_REM_ACCESS_ERR);
    }
  });

  it('a message for which nobody is ready, and one that is too long', () => {
    make(16, { rnrRetry: 3 });
    expect(send(request(W.WR_SEND, V, 8, 0))).toBe(W.WC_RNR_RETRY_EXC_ERR);
    expect(b.qp.rnrNaks).toBe(4);
    connect(a.qp, b.qp);
    b.qp.postReceive({ id: 5, opcode: W.WR_RECV, lkey: b.region.key.id, va: V, length: 4 });
    expect(send(request(W.WR_SEND, V, 8, 0))).toBe(W.WC_REM_INV_REQ_ERR);
    expect(b.qp.poll()).toMatchObject({ id: 5, status: W.WC_WR_FLUSH_ERR });
  });
});

/** What presses on both hosts while transfers run: memory beside the buffers comes and goes, and the buffers themselves are paged out,
 *  forked, merged and moved, which must not show. */
function* pressure(s: Side, rng: Rng, isOver: () => boolean): KernelPath<void> {
  const k = m.kernel;
  const buffers = 16;
  const call = (nr: number, ...words: number[]): KernelPath<number> => m.call(s.task, nr, ...words);
  while (!isOver()) {
    const page = rng.below(buffers);
    const pages = 1 + rng.below(buffers - page);
    const va = V + page * PAGE;
    const beside = V + (buffers + rng.below(8)) * PAGE;
    const roll = rng.below(12);
    if (roll < 3) yield* call(NR_madvise, va, pages * PAGE, rng.chance(1, 2) ? MADV_PAGEOUT : MADV_COLD);
    else if (roll < 4) yield* call(NR_madvise, beside, PAGE, MADV_DONTNEED);
    else if (roll < 6) yield* userStore(k, s.task, beside, rng.below(1000), 4);
    else if (roll < 7) {
      // Write access comes and goes: a transfer that meets it waits in its own retries no longer than this lasts.
      yield* call(NR_mprotect, beside, PAGE, PROT_READ);
      yield* call(NR_mprotect, beside, PAGE, RW);
    } else if (roll < 8) {
      const pid = yield* doClone(k, s.task, 0);
      if (pid > 0) yield* doExit(k, k.tasks.get(pid)!);
    } else if (roll < 9) yield* k.fn.tryToFreePages(k, 4);
    else if (roll < 10) yield* compactMemory(k);
    else yield* ksmRun(k, 1);
  }
}

/** Transfers while both hosts are pressed upon; throws when one arrives otherwise than it was sent. */
function runTransfers(count: number): void {
  make(24, { lossOneIn: 40, rnrTimerSteps: 5 }, 110);
  for (const s of [a, b]) m.run(m.call(s.task, NR_madvise, V, 16 * PAGE, MADV_MERGEABLE));
  const rng = new Rng(seed);
  let isOver = false;
  function* transfer(): KernelPath<void> {
    for (let i = 1; i <= count; i++) {
      const length = 4 + rng.below(2000) * 4;
      const from = V + rng.below(16 * PAGE - length);
      const to = V + rng.below(16 * PAGE - length);
      const [va, remoteVa] = [from - (from % 4), to - (to % 4)];
      const isRead = rng.chance(1, 2);
      const [source, target] = isRead ? [b, a] : [a, b];
      yield* fill(source, isRead ? remoteVa : va, length, i);
      const opcode = isRead ? W.WR_RDMA_READ : rng.chance(1, 2) ? W.WR_RDMA_WRITE : W.WR_SEND;
      if (opcode === W.WR_SEND)
        b.qp.postReceive({ id: 0, opcode: W.WR_RECV, lkey: b.region.key.id, va: remoteVa, length });
      a.qp.postSend(request(opcode, va, length, remoteVa));
      const { status } = yield* a.qp.await();
      if (status !== W.WC_SUCCESS) throw new Error(`transfer ${i}: ${W.WC_NAMES[status]}`);
      const wrong = yield* wrongWords(target, isRead ? va : remoteVa, length, i);
      if (wrong > 0) throw new Error(`transfer ${i}: ${wrong} words are not what was sent`);
    }
    isOver = true;
  }
  const end = m.interleave({
    transfer: transfer(),
    'pressure a': pressure(a, new Rng(seed + 100), () => isOver),
    'pressure b': pressure(b, new Rng(seed + 200), () => isOver),
  });
  expect(end).toBe('reached');
}

it(`pattern under pressure: ${transfers} transfers, SEED=${seed}`, () => {
  runTransfers(transfers);
  judge.finish();
  const results = judge.results();
  expect(results.violations).toEqual([]);
  expect([results.verdict, results.swapOuts > 0, a.host.driver.invalidations > 0]).toEqual(['safe', true, true]);
}, 7_200_000);

it('and with a driver that leaves copies in the cache the pattern is wrong', () => {
  Driver = mistakeOf('cache-not-flushed');
  expect(() => runTransfers(30)).toThrow(/not what was sent/);
}, 60_000);

describe('pinned regions', () => {
  /** Side b registers [V, V + 16 pages) pinned, and its own program has no other key. */
  function pin(access = IB_ACCESS_ALL, length = 16 * PAGE): PinnedMr | number {
    return m.run(ibUmemGet(m.kernel, b.host.nic, b.task.mm!, V, length, access));
  }

  it('never fault, stay where they are, and go back marked dirty', () => {
    const mr = pin() as PinnedMr;
    const rkey = mr.key.id;
    m.run(fill(a, V, 9000, 4));
    m.run(m.call(b.task, NR_madvise, V, 16 * PAGE, MADV_PAGEOUT));
    expect(send(request(W.WR_RDMA_WRITE, V, 9000, V + 8, { rkey }))).toBe(W.WC_SUCCESS);
    expect([b.qp.rnrNaks, m.run(wrongWords(b, V + 8, 9000, 4)), b.task.mm!.pinnedVm]).toEqual([0, 0, 16]);
    m.run(ibUmemRelease(m.kernel, b.host.nic, mr));
    expect([b.task.mm!.pinnedVm, b.host.nic.keys.has(rkey)]).toEqual([0, false]);
    expect(send(request(W.WR_RDMA_WRITE, V, 8, V, { rkey }))).toBe(W.WC_REM_ACCESS_ERR);
    judge.finish();
    expect(judge.results().violations).toEqual([]);
  });

  it('what the program maps anew the adapter does not see, and nothing is unsafe', () => {
    const mr = pin() as PinnedMr;
    expect(m.run(m.call(b.task, NR_mmap, V, PAGE, RW, ANON, -1, 0))).toBe(V);
    m.run(fill(a, V, 64, 9));
    expect(send(request(W.WR_RDMA_WRITE, V, 64, V, { rkey: mr.key.id }))).toBe(W.WC_SUCCESS);
    expect(m.run(userLoad(m.kernel, b.task, V, 4))).toBe(0);
    judge.finish();
    expect(judge.results().violations.filter((v) => v.gap === null)).toEqual([]);
  });

  it('RLIMIT_MEMLOCK, holes and empty ranges are refused, and leave nothing pinned', () => {
    const { limits } = b.task.mm!;
    const mm = b.task.mm!;
    Object.assign(limits, { memlock: 8 * PAGE, capIpcLock: false });
    expect([pin(), pin(IB_ACCESS_ALL, 0), typeof pin(IB_ACCESS_ALL, 8 * PAGE), pin(IB_ACCESS_ALL, 1)]).toEqual([
      -ENOMEM,
      -EINVAL,
      'object',
      -ENOMEM,
    ]);
    Object.assign(limits, { capIpcLock: true });
    expect([pin(IB_ACCESS_ALL, 17 * PAGE), mm.pinnedVm]).toEqual([-EFAULT, 8]);
  });
});

it('shared memory: what one host wrote another process of the peer reads', () => {
  make(4, {}, 512, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED);
  const child = m.kernel.tasks.get(m.run(doClone(m.kernel, b.task, 0)))!;
  m.run(fill(a, V, 4096, 3));
  expect(send(request(W.WR_RDMA_WRITE, V, 4096, V))).toBe(W.WC_SUCCESS);
  expect(m.run(wrongWords({ ...b, task: child }, V, 4096, 3))).toBe(0);
});
