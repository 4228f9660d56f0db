import {
  createDriverDevice,
  type DeviceMaker,
  defineBug,
  defineDriver,
  defineLivepatch,
  FRAME_KERNEL,
  GFP_KERNEL,
  type Kernel,
  type KernelPath,
  MMU_NOTIFY_CLEAR,
  SITE_ZAP,
  ULONG_MAX,
  WaitQueue,
} from 'shootdown';
import { KvmLike } from './kvm-like.ts';

/** What the other process has. */
const hogs = new WeakMap<Kernel, number[]>();
/** Who waits for memory. */
const waiting = new WeakMap<Kernel, WaitQueue>();

function queueOf(k: Kernel): WaitQueue {
  const queue = waiting.get(k) ?? new WaitQueue();
  waiting.set(k, queue);
  return queue;
}

/** "Too small to fail": the allocation of a page waits until somebody frees one. */
const tooSmallToFail = defineLivepatch({
  allocPagesSlow: () =>
    function* (k, gfp, purpose) {
      let pfn = k.fn.allocPage(k, gfp, purpose);
      while (pfn === 0) {
        yield* k.sched.waitUntil(() => k.pages.free > k.watermarks.min, queueOf(k), 'free memory');
        pfn = k.fn.allocPage(k, gfp, purpose);
      }
      return pfn;
    },
  freePage: (original) => (k, pfn) => {
    original(k, pfn);
    queueOf(k).wakeAll(k.sched);
  },
});

/** oom_reap_task_mm: takes the memory of a victim away. `isBlockable`: callbacks may sleep, whatever for. A victim that refuses is
 *  left alone, and another one chosen. */
function* oomReaper(k: Kernel, isBlockable: boolean): KernelPath<void> {
  const mm = k.mms.values().next().value!;
  yield* mm.mmapLock.readLock();
  const range = k.range(mm, 0, ULONG_MAX, MMU_NOTIFY_CLEAR, SITE_ZAP, isBlockable);
  const isRefused = (yield* k.fn.mmuNotifierInvalidateRangeStart(k, range)) < 0;
  if (!isRefused) {
    const tlb = k.fn.tlbGatherMmu(k, mm, false, SITE_ZAP);
    for (let v = mm.vmas.first(); v !== null; v = mm.vmas.next(v))
      yield* k.fn.unmapPageRange(k, tlb, v, v.start, v.end, true);
    yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
    yield* k.fn.tlbFinishMmu(k, tlb);
  }
  mm.mmapLock.readUnlock();
  if (isRefused) for (const pfn of hogs.get(k) ?? []) k.fn.putPage(k, pfn);
}

/** A driver whose lock is held over an allocation in its fault path, and taken in its callback. */
const driver: DeviceMaker = (k, config) =>
  createDriverDevice(
    k,
    defineDriver({
      name: 'allocates-under-lock',
      design: 'linux-6.1',
      device: 'mirror',
      create(hw) {
        const kvm = new KvmLike(hw);
        return {
          *invalidateRangeStart(range) {
            if (!hw.mutexTryLock()) {
              if (!range.blockable) return -11;
              yield* hw.mutexLock();
            }
            yield* hw.unmap(range.start, range.end);
            hw.mutexUnlock();
            return 0;
          },
          release: () => kvm.release(),
          *fault() {
            yield* hw.mutexLock();
            const table = yield* k.fn.allocPagesSlow(k, GFP_KERNEL, FRAME_KERNEL);
            hw.mutexUnlock();
            k.fn.putPage(k, table);
            return -14;
          },
        };
      },
    }),
    config,
  );

/** Another process takes all free memory. */
function* exhaust(k: Kernel): KernelPath<void> {
  const taken: number[] = [];
  hogs.set(k, taken);
  for (let pfn = k.fn.allocPage(k, GFP_KERNEL, FRAME_KERNEL); pfn !== 0; ) {
    taken.push(pfn);
    pfn = k.fn.allocPage(k, GFP_KERNEL, FRAME_KERNEL);
  }
}

function scenario(isBlockable: boolean) {
  return {
    name: 'no memory is left',
    summary: 'a fault waits for memory with the lock of the driver held, and the OOM reaper calls the driver',
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
      { do: 'run', name: 'use all memory', path: (c: { kernel: Kernel }) => exhaust(c.kernel) },
    ],
    threads: {
      fault: { on: 'device', steps: [{ do: 'load', at: 0, mayFail: true }] },
      reaper: {
        on: 'kernel',
        steps: [{ do: 'run', name: 'OOM reaper', path: (c: { kernel: Kernel }) => oomReaper(c.kernel, isBlockable) }],
      },
    },
  } as const;
}

const revision = { design: 'linux-6.1', driver, patches: tooSmallToFail } as const;

export default defineBug({
  number: 12,
  id: 'oom-reaper-blocks-in-notifier',
  title: 'The OOM reaper sleeps in a callback',
  year: '2017',
  summary:
    'The reaper frees memory when nobody else can, but it calls drivers that wait for locks whose holders wait for memory.',
  evidence:
    'Commits 4d4bbd8526a8 "mm, oom_reaper: skip mm structs with mmu notifiers" (4.14) and 93065ac753e4 (blockable ranges, 4.19), checked.',
  tag: 'DEADLOCK',
  steps: '5',
  scenario: scenario(true),
  historic: { what: 'Linux 4.13: the callbacks of the reaper may sleep', ...revision },
  fixed: {
    what: 'Linux 4.19: the callback is told that it may not sleep, and refuses',
    ...revision,
    scenario: scenario(false),
  },
  story: `
1. A fault holds the driver's lock and allocates memory. There is none left; it waits.
2. The OOM reaper has chosen a victim and starts a section on its address space.
3. The driver's callback wants the lock, and sleeps.
4. The fault waits for memory that only the reaper can free.
5. A circle: lock, callback, memory.

Free memory is a lock like any other. The lock-order monitor sees the circle in any run, without a shortage. The same shape: Xen's
gntdev waited for I/O in its callback (dbe97cff7dd9, 2022).`,
});
