import { defineBug, defineDriver } from 'shootdown';
import { KvmLike } from './kvm-like.ts';

/** The driver holds a reference of each page in its table; it takes entries out at the start of a section and gives the pages
 *  back at its end. */
function driver(name: string, flushes: boolean) {
  return defineDriver({
    name,
    design: 'linux-6.1',
    device: 'mirror',
    create(hw) {
      const gpu = new KvmLike(hw);
      const pages = new Set<number>();
      const unbound: number[] = [];
      return {
        *invalidateRangeStart(range) {
          yield* hw.lock();
          gpu.begin(range);
          const removed = yield* hw.removeEntries(range.start, range.end);
          if (flushes) yield* hw.flushTlb(range.start, range.end);
          for (const m of removed) {
            if (m.isDirty) hw.markDirty(m.page);
            if (pages.delete(m.page)) unbound.push(m.page);
          }
          hw.unlock();
        },
        *invalidateRangeEnd() {
          for (const page of unbound.splice(0)) hw.putPage(page);
          yield* gpu.invalidateRangeEnd();
        },
        *release() {
          yield* gpu.release();
          for (const page of pages) hw.putPage(page);
          pages.clear();
        },
        *fault({ va }) {
          const sample = gpu.seq;
          const page = yield* hw.getUserPage(va, true);
          if (page < 0) return page;
          yield* hw.lock();
          const maps = !gpu.isStale(va, sample) && !gpu.isReleased && !pages.has(page);
          if (maps) {
            pages.add(page);
            yield* hw.map(va, page, { writable: true });
          }
          hw.unlock();
          if (!maps) hw.putPage(page);
          return gpu.isReleased ? -14 : 0;
        },
      };
    },
  });
}

export default defineBug({
  number: 36,
  id: 'i915-free-before-gpu-flush',
  title: "Pages are given back before the GPU's TLB is flushed",
  year: '2022',
  summary:
    'Unbinding an object cleared the GPU’s entries and released the pages; a job that still ran wrote them through its TLB.',
  evidence:
    'Commit "drm/i915: Flush TLBs before releasing backing store", CVE-2022-0330; seen in a distribution changelog.',
  tag: 'UAF-DATA',
  steps: '5',
  scenario: {
    name: 'munmap beside a job',
    summary: 'a page that a GPU uses is unmapped by the program',
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
      { do: 'store', at: 0, by: 'device' },
    ],
    threads: {
      munmap: { steps: [{ do: 'munmap', at: 0 }] },
      job: { on: 'device', steps: [{ do: 'store', at: 0, mayFail: true }] },
    },
  },
  historic: {
    what: 'entries out, pages given back; the TLB is flushed some other time',
    design: 'linux-6.1',
    driver: driver('free-before-flush', false),
  },
  fixed: {
    what: 'the flush is discharged before pages are released',
    design: 'linux-6.1',
    driver: driver('flush-before-free', true),
  },
  story: `
1. A GPU job caches V -> F1.
2. The driver takes the entry out of the GPU's table.
3. It releases F1; the GPU's TLB is not flushed.
4. F1 gets a new owner.
5. The job, still running, stores through V -> F1.

The same shape on CPUs: huge pages went back to their pool before the flush (2006), the huge zero page could be freed before the
gather's flush (aa88b68c3b1d, 4.6).`,
});
