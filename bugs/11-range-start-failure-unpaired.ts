import {
  CB_INVALIDATE_RANGE_START,
  defineBug,
  EAGAIN,
  type Kernel,
  type KernelPath,
  Linux61,
  MMU_NOTIFY_CLEAR,
  MmuNotifier,
  type MmuNotifierOps,
  type NotifierRange,
  type ScenarioContext,
  SITE_ZAP,
} from 'shootdown';

/** When a subscriber refuses, those that have begun are not told that it is over. */
class Forgetful extends Linux61 {
  override *invalidateRangeStart(range: NotifierRange): KernelPath<number> {
    const { list } = this;
    const section = list.srcu.readLock();
    let result = 0;
    for (let n = list.first(range.mm); n !== null && result === 0; n = n.next) {
      if (n.ops.invalidateRangeStart === undefined) continue;
      list.enter(n, CB_INVALIDATE_RANGE_START, range.mm, range.start, range.end);
      result = yield* n.ops.invalidateRangeStart(n, range);
      list.leave(n, CB_INVALIDATE_RANGE_START, range.mm, range.start, range.end, result);
    }
    list.srcu.readUnlock(section);
    return result;
  }
}

/** A second client, called last, that refuses whoever cannot wait. */
const refusing: MmuNotifierOps = {
  *invalidateRangeStart(_mn, range) {
    return range.blockable ? 0 : -EAGAIN;
  },
};

/** The first client would count what is open. Newer subscribers stand before older ones. */
function* subscribe({ kernel, task }: ScenarioContext): KernelPath<void> {
  const design = kernel.design as Linux61;
  const counting: MmuNotifierOps = {
    *invalidateRangeStart() {
      return 0;
    },
    *invalidateRangeEnd() {},
  };
  const { mm } = kernel.tasks.values().next().value ?? task('main');
  for (const ops of [refusing, counting]) yield* design.list.register(new MmuNotifier(ops), mm!);
}

/** oom_reap_task_mm of one page: goes on to the next VMA when it is refused. */
function* reap(k: Kernel, va: number): KernelPath<void> {
  const mm = k.mms.values().next().value!;
  yield* mm.mmapLock.readLock();
  const range = k.range(mm, va, va + 4096, MMU_NOTIFY_CLEAR, SITE_ZAP, false);
  if ((yield* k.fn.mmuNotifierInvalidateRangeStart(k, range)) >= 0)
    yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  mm.mmapLock.readUnlock();
}

export default defineBug({
  number: 11,
  id: 'range-start-failure-unpaired',
  title: 'One client refuses, and the others wait for an end that never comes',
  year: '2021',
  summary:
    'When a non-blockable start was refused, clients that had already begun were not told that it was over: their counts stayed up.',
  evidence:
    'Commit c2655835fd8c "mm/mmu_notifiers: ensure range_end() is paired with range_start()" (Linux 5.12), checked.',
  tag: 'UNPAIRED',
  steps: '5',
  scenario: {
    name: 'the OOM reaper is refused',
    summary: 'two clients; the second cannot do without sleeping',
    bound: false,
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
      { do: 'run', name: 'two clients subscribe', path: subscribe },
    ],
    threads: {
      reaper: {
        on: 'kernel',
        steps: [{ do: 'run', name: 'OOM reaper', path: (c: ScenarioContext) => reap(c.kernel, c.va(0)) }],
      },
    },
  },
  historic: { what: 'Linux 5.11: reports the failure and is done', design: Forgetful, driver: 'iommu-v2' },
  fixed: {
    what: 'Linux 5.12: calls the end of every client that has one',
    design: 'linux-6.1',
    driver: 'iommu-v2',
  },
  story: `
1. The OOM reaper, which cannot wait, starts a section. Client A counts it: 1.
2. Client B would have to sleep, and refuses.
3. The core reports the failure; the reaper goes on to the next area and calls no end.
4. A's device faults. A's count is not 0: try again.
5. And again, for ever.`,
});
