// Killed processes and what is taken from them: whose pages go, who may refuse, how often the reaper tries. Counts are recounted.
import { describe, expect, test } from 'vitest';
import { EAGAIN, EINVAL, ESRCH } from '../../abi/errno.ts';
import * as A from '../../abi/mman.ts';
import * as NR from '../../abi/syscalls.ts';
import { IntervalNotifier } from '../../notifier/interval.ts';
import { Linux61, type MmuNotifierOps } from '../../notifier/linux-6.1.ts';
import { MmuNotifier } from '../../notifier/subscriptions.ts';
import { checkWorld } from '../check-world.ts';
import { userLoad, userStore } from '../cpu-access.ts';
import { notifierHost } from '../notifier-host.ts';
import { CLONE_VM, doClone, doExit, doGroupExit } from '../process/task.ts';
import { newMemCgroup } from '../reclaim/memcg.ts';
import { World } from '../vma/test-world.ts';
import { sendSigkill } from './kill.ts';
import { processMrelease } from './reap.ts';

const PRIVATE = 0x100000000;
const SHARED = 0x200000000;
const PAGE = 4096;
const FIXED = A.MAP_FIXED | A.MAP_ANONYMOUS;

class OomWorld extends World {
  readonly design: Linux61;

  constructor(parts = {}) {
    super('6.1', parts);
    this.design = new Linux61(notifierHost(this.k));
    this.k.design = this.design;
    this.call(NR.NR_mmap, PRIVATE, 4 * PAGE, 3, A.MAP_PRIVATE | FIXED, -1, 0);
    this.call(NR.NR_mmap, SHARED, 2 * PAGE, 3, A.MAP_SHARED | FIXED, -1, 0);
    for (let i = 0; i < 4; i++) this.store(PRIVATE + i * PAGE, 7);
    for (let i = 0; i < 2; i++) this.store(SHARED + i * PAGE, 8);
  }

  store(at: number, value: number): number {
    return this.k.sched.run(userStore(this.k, this.task, at, value));
  }

  mrelease(): number {
    return this.k.sched.run(processMrelease(this.k, this.task, 0));
  }

  register(ops: MmuNotifierOps): void {
    this.k.sched.run(this.design.list.register(new MmuNotifier(ops), this.task.mm!));
  }

  anonPages(): number {
    return this.task.mm!.rss[A.MM_ANONPAGES]!;
  }

  end(): void {
    this.k.sched.run(doGroupExit(this.k, this.task));
    checkWorld(this.k);
  }
}

describe('process_mrelease', () => {
  test('of a process that is not dying, or gone, or with flags: refused', () => {
    const w = new OomWorld();
    expect(w.mrelease()).toBe(-EINVAL);
    expect(w.k.sched.run(processMrelease(w.k, w.task, 1))).toBe(-EINVAL);
    expect(w.k.sched.run(processMrelease(w.k, null, 0))).toBe(-ESRCH);
    w.k.sched.run(doExit(w.k, w.task));
    expect(w.k.sched.run(processMrelease(w.k, w.task, 0))).toBe(-ESRCH);
  });

  test('takes private pages, leaves shared ones; what was private answers SIGBUS from then on', () => {
    const w = new OomWorld();
    sendSigkill(w.k, w.task);
    expect(w.mrelease()).toBe(0);
    expect([w.anonPages(), w.task.mm!.rss[A.MM_SHMEMPAGES]]).toEqual([0, 2]);
    expect(w.store(PRIVATE, 1)).toBe(-A.VM_FAULT_SIGBUS);
    expect(w.k.sched.run(userLoad(w.k, w.task, SHARED))).toBe(8);
    checkWorld(w.k);
    w.end();
  });

  test('another process that shares the address space must be dying too', () => {
    const w = new OomWorld();
    const other = w.k.tasks.get(w.k.sched.run(doClone(w.k, w.task, CLONE_VM)))!;
    sendSigkill(w.k, w.task);
    expect(w.mrelease()).toBe(-EINVAL);
    sendSigkill(w.k, other);
    expect(w.mrelease()).toBe(0);
    w.k.sched.run(doExit(w.k, other));
    w.end();
  });

  test('a subscriber that refuses one VMA: the others go, that one stays, -EAGAIN; who heard the start hears the end', () => {
    const w = new OomWorld();
    const lines: string[] = [];
    const name = (start: number): string => `${start === PRIVATE ? 'private' : 'other'}`;
    w.register({
      *invalidateRangeStart(_mn, range) {
        lines.push(`S ${name(range.start)} ${range.blockable}`);
        return 0;
      },
      *invalidateRangeEnd(_mn, range) {
        lines.push(`E ${name(range.start)}`);
      },
    });
    w.register({
      *invalidateRangeStart(_mn, range) {
        return range.start === PRIVATE ? -EAGAIN : 0;
      },
    });
    sendSigkill(w.k, w.task);
    expect(w.mrelease()).toBe(-EAGAIN);
    expect(w.anonPages()).toBe(4);
    // Program text, the private range, the stack.
    expect(lines).toEqual(['S other false', 'E other', 'S private false', 'E private', 'S other false', 'E other']);
    w.end();
  });
});

describe('the reaper', () => {
  /** A subscriber that refuses the first `count` starts that must not block. */
  function refusing(w: OomWorld, count: number): { tries: number } {
    const seen = { tries: 0 };
    w.register({
      *invalidateRangeStart(_mn, range) {
        if (range.blockable || range.start !== PRIVATE) return 0;
        return ++seen.tries > count ? 0 : -EAGAIN;
      },
    });
    return seen;
  }

  function reap(w: OomWorld): void {
    sendSigkill(w.k, w.task);
    w.task.mm!.count++;
    w.k.sched.run(w.k.fn.oomReapTask(w.k, w.task.mm!));
  }

  test('tries again until the subscriber agrees', () => {
    const w = new OomWorld();
    const seen = refusing(w, 3);
    reap(w);
    expect([seen.tries, w.anonPages(), w.task.mm!.isOomSkip]).toEqual([4, 0, true]);
    w.end();
  });

  test('gives up after ten tries, and the OOM killer waits for it no longer', () => {
    const w = new OomWorld();
    const seen = refusing(w, 100);
    reap(w);
    expect([seen.tries, w.anonPages(), w.task.mm!.isOomSkip]).toEqual([10, 4, true]);
    w.end();
  });

  test('a holder of mmapLock for write keeps it out', () => {
    const w = new OomWorld();
    const { mmapLock } = w.task.mm!;
    expect(mmapLock.tryWrite()).toBe(true);
    reap(w);
    expect([w.anonPages(), w.task.mm!.isOomSkip]).toEqual([4, true]);
    mmapLock.writeUnlock();
    w.end();
  });

  test('each refusal of a list subscriber leaves the count of open sections raised: interval readers wait for ever', () => {
    const w = new OomWorld();
    const sub = new IntervalNotifier({
      *invalidate(s, _range, seq) {
        w.design.intervals.setSeq(s, seq);
        return true;
      },
    });
    w.k.sched.run(w.design.intervals.insert(sub, w.task.mm!, PRIVATE, PAGE));
    refusing(w, 2);
    reap(w);
    const tree = w.design.list.of(w.task.mm!)!.intervals!;
    expect([tree.active, tree.isInvalidating]).toEqual([2, true]);
    w.end();
  });
});

describe('the OOM killer', () => {
  test('an allocation that nothing can serve kills the largest process and gets its memory', () => {
    const w = new OomWorld({ frames: 512, oomKiller: true });
    const small = w.k.tasks.get(w.call(NR.NR_fork))!;
    const big = 0x300000000;
    w.call(NR.NR_mmap, big, 4096 * PAGE, 3, A.MAP_PRIVATE | FIXED | A.MAP_NORESERVE, -1, 0);
    let stored = 0;
    while (w.store(big + stored * PAGE, 1) === 0) stored++;
    expect(stored).toBeGreaterThan(300);
    expect([w.task.isKilled, small.isKilled, w.k.stats.oomKills]).toEqual([true, false, 1]);
    expect(w.anonPages()).toBe(0);
    w.end();
  });

  test('a full group kills one of its own', () => {
    const w = new OomWorld({ frames: 2048, oomKiller: true });
    const member = w.k.tasks.get(w.call(NR.NR_fork))!;
    const group = newMemCgroup(w.k);
    group.max = 100;
    member.mm!.memcg = group.id;
    const big = 0x300000000;
    w.callAs(member, NR.NR_mmap, big, 4096 * PAGE, 3, A.MAP_PRIVATE | FIXED | A.MAP_NORESERVE, -1, 0);
    let stored = 0;
    while (w.k.sched.run(userStore(w.k, member, big + stored * PAGE, 1)) === 0) stored++;
    expect(stored).toBeLessThanOrEqual(100);
    expect([member.isKilled, w.task.isKilled, w.anonPages()]).toEqual([true, false, 4]);
    w.k.sched.run(doExit(w.k, member));
    w.end();
  });

  test('without it the access fails and nobody dies', () => {
    const w = new OomWorld({ frames: 512 });
    const big = 0x300000000;
    w.call(NR.NR_mmap, big, 4096 * PAGE, 3, A.MAP_PRIVATE | FIXED | A.MAP_NORESERVE, -1, 0);
    let stored = 0;
    while (w.store(big + stored * PAGE, 1) === 0) stored++;
    expect([w.task.isKilled, w.k.stats.oomKills]).toEqual([false, 0]);
    w.end();
  });
});
