import {
  defineBug,
  defineLivepatch,
  type Kernel,
  type KernelPath,
  MMU_NOTIFY_CLEAR,
  type ScenarioContext,
  SITE_ZAP,
  ULONG_MAX,
} from 'shootdown';

/** An architecture with tagged TLBs: an address space that goes as a whole never uses its tag again, so nothing is flushed. */
const dyingNeedsNoFlush = defineLivepatch({
  tlbFlushMmuTlbonly: (original) =>
    function* (k, tlb) {
      if (tlb.fullMm) tlb.resetRange();
      else yield* original(k, tlb);
    },
});

/** oom_reap_task_mm: with one gather for the whole address space, or one for each VMA. */
function* reap(k: Kernel, hasOneGather: boolean): KernelPath<void> {
  const mm = k.mms.values().next().value!;
  yield* mm.mmapLock.readLock();
  const range = k.range(mm, 0, ULONG_MAX, MMU_NOTIFY_CLEAR, SITE_ZAP);
  yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  let tlb = k.fn.tlbGatherMmu(k, mm, hasOneGather, SITE_ZAP);
  for (let v = mm.vmas.first(); v !== null; v = mm.vmas.next(v)) {
    yield* k.fn.unmapPageRange(k, tlb, v, v.start, v.end, true);
    if (hasOneGather) continue;
    yield* k.fn.tlbFinishMmu(k, tlb);
    tlb = k.fn.tlbGatherMmu(k, mm, false, SITE_ZAP);
  }
  yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  yield* k.fn.tlbFinishMmu(k, tlb);
  mm.mmapLock.readUnlock();
}

function scenario(hasOneGather: boolean) {
  return {
    name: 'the OOM reaper beside a thread of the victim',
    summary: 'the memory of a process goes while one of its threads still runs',
    bound: false,
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
    ],
    threads: {
      reaper: {
        on: 'kernel',
        steps: [{ do: 'run', name: 'OOM reaper', path: (c: ScenarioContext) => reap(c.kernel, hasOneGather) }],
      },
      victim: {
        cpu: 1,
        steps: [
          { do: 'load', at: 0 },
          { do: 'store', at: 0 },
        ],
      },
    },
  } as const;
}

const revision = { design: 'linux-6.1', driver: 'iommu-v2', patches: dyingNeedsNoFlush } as const;

export default defineBug({
  number: 19,
  id: 'oom-reaper-fullmm-gather',
  title: 'The OOM reaper’s gather is mistaken for the end of the address space',
  year: '2017',
  summary:
    'A gather over everything means "dying" to the architecture, which then leaves its TLBs alone; but the victim still runs.',
  evidence:
    'Commit 687cb0884a71 "mm, oom_reaper: gather each vma to prevent leaking TLB entry" (Linux 4.15), CVE-2017-18202, checked.',
  tag: 'UAF-DATA',
  steps: '5',
  scenario: scenario(true),
  historic: { what: 'Linux 4.14: one gather for the whole address space', ...revision },
  fixed: { what: 'Linux 4.15: a gather for each VMA', ...revision, scenario: scenario(false) },
  story: `
1. A thread of the victim, on CPU 1, caches V -> F1.
2. The reaper opens a gather over the whole address space. The architecture reads: nobody will run here again, no flush needed.
3. It clears the entries and frees F1.
4. F1 gets a new owner.
5. CPU 1 stores through V -> F1.

A shortcut that holds for one caller needs a guard that says so, not the habits of its callers.`,
});
