import { defineBug, defineDriver } from 'shootdown';
import { KvmLike } from './kvm-like.ts';

/** The frame is cached without a reference and without a test for open sections: a request to reload it is obeyed at once. */
const reloadsAtStart = defineDriver({
  name: 'apic-reload-at-start',
  design: 'linux-6.1',
  device: 'mirror',
  create: (hw) => ({
    *invalidateRangeStart(range) {
      yield* hw.unmap(range.start, range.end);
    },
    *release() {
      yield* hw.unmapAll();
    },
    *fault({ va }) {
      const page = yield* hw.getUserPage(va, true);
      if (page < 0) return page;
      yield* hw.map(va, page, { writable: true });
      hw.putPage(page);
      return 0;
    },
  }),
});

/** The normal protocol. */
const retries = defineDriver({
  name: 'apic-retry',
  design: 'linux-6.1',
  device: 'mirror',
  create(hw) {
    const kvm = new KvmLike(hw);
    return {
      invalidateRangeStart: (range) => kvm.invalidateRangeStart(range),
      invalidateRangeEnd: () => kvm.invalidateRangeEnd(),
      release: () => kvm.release(),
      fault: ({ va }) => kvm.fault(va),
    };
  },
});

export default defineBug({
  number: 30,
  id: 'kvm-apic-access-page-reload-early',
  title: 'The vCPU reloads the page while it is still there',
  year: '2020',
  summary:
    '"Reload" is requested at the start of the section; a vCPU that obeys at once finds the old page, and keeps it.',
  evidence: 'Commit e649b3f0188f "KVM: x86: Fix APIC page invalidation race" (Linux 5.8), checked.',
  tag: 'UAF-DATA',
  steps: '6',
  scenario: {
    name: 'reclaim of the APIC page',
    summary: 'a page that the vCPU control block names is swapped out',
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
    ],
    threads: {
      pageout: { steps: [{ do: 'madvise', at: 0, advice: 'pageout' }] },
      vcpu: { on: 'device', steps: [{ do: 'store', at: 0 }] },
    },
  },
  historic: {
    what: 'Linux 5.7: drops the page at the start, and loads it again whenever it is asked for',
    design: 'linux-6.1',
    driver: reloadsAtStart,
  },
  fixed: {
    what: 'the retry protocol of every other mapping, to which the page was converted in the end',
    design: 'linux-6.1',
    driver: retries,
  },
  story: `
1. The control block holds F1.
2. Reclaim starts a section; the vCPU is told to reload.
3. It reloads at once: the entry is still there, F1 again.
4. Reclaim clears the entry and frees F1.
5. F1 gets a new owner.
6. The hardware uses F1.

A small proof that "start" does not mean "flush now".`,
});
