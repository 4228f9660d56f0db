import { createDriverDevice, type DeviceMaker, defineBug, defineDriver, type Kernel, type KernelPath } from 'shootdown';
import { KvmLike } from './kvm-like.ts';

const PAGE = 4096;

/** Pages of the block that the area at `va` would allow: two, where both belong to it. */
function* blockPages(k: Kernel, va: number): KernelPath<number> {
  const mm = k.mms.values().next().value!;
  yield* mm.mmapLock.readLock();
  const vma = mm.vmas.findExact(va);
  mm.mmapLock.readUnlock();
  const base = va - (va % (2 * PAGE));
  return vma !== null && vma.start <= base && vma.end >= base + 2 * PAGE ? 2 : 1;
}

/** user_mem_abort: the area's size decides the size of the mapping. `samplesFirst`: the sequence number is read before. */
function kvm(samplesFirst: boolean): DeviceMaker {
  return (k, config) => {
    const driver = defineDriver({
      name: samplesFirst ? 'kvm-arm64' : 'kvm-arm64-late-sample',
      design: 'linux-6.1',
      device: 'mirror',
      create(hw) {
        const kvm = new KvmLike(hw);
        return {
          invalidateRangeStart: (range) => kvm.invalidateRangeStart(range),
          invalidateRangeEnd: () => kvm.invalidateRangeEnd(),
          release: () => kvm.release(),
          *fault({ va }) {
            let sample = kvm.seq;
            const pages = yield* blockPages(k, va);
            yield* hw.step();
            if (!samplesFirst) sample = kvm.seq;
            const page = yield* hw.getUserPage(va - (va % (pages * PAGE)), true);
            if (page < 0) return page;
            yield* kvm.install(va, page, sample, pages);
            yield* hw.waitUntil(() => !kvm.isBeingInvalidated(va) || kvm.isReleased, 'the end of a section');
            return 0;
          },
        };
      },
    });
    return createDriverDevice(k, driver, config);
  };
}

export default defineBug({
  number: 28,
  id: 'kvm-arm64-vma-lookup-before-seq',
  title: 'The size of the mapping comes from an area that is gone',
  year: '2023',
  summary:
    'A fault learns the size of the area, then samples the sequence number: what replaced the area in between is not noticed, and a ' +
    'block is mapped over neighbours that were never mapped.',
  evidence:
    'Commit 13ec9308a857 "KVM: arm64: Retry fault if vma_lookup() results become invalid" (Linux 6.3), checked.',
  tag: 'STALE-MAP',
  steps: '6',
  scenario: {
    name: 'the second page goes',
    summary: 'two pages that could be mapped as a block; the second is unmapped while the first is faulted in',
    setup: [
      { do: 'mmap', at: 0, pages: 2 },
      { do: 'store', at: 0 },
      { do: 'store', at: 1 },
    ],
    threads: {
      munmap: { steps: [{ do: 'munmap', at: 1 }] },
      vcpu: {
        on: 'device',
        steps: [
          { do: 'load', at: 0 },
          { do: 'load', at: 1, mayFail: true },
        ],
      },
    },
  },
  historic: {
    what: 'Linux 6.2: looks the area up, then samples the sequence number',
    design: 'linux-6.1',
    driver: kvm(false),
  },
  fixed: {
    what: 'Linux 6.3: samples it before mmap_lock is dropped',
    design: 'linux-6.1',
    driver: kvm(true),
  },
  story: `
1. A vCPU faults: under mmap_lock it learns that the area allows a block of two pages; it drops the lock.
2. Another CPU unmaps the second page: start, clear, end. The sequence number advances.
3. Now the vCPU samples the sequence number.
4. It looks the first page up.
5. The number has not changed since the sample: all is well.
6. It maps a block of two pages. The second was unmapped, and its frame may be anybody's.

Whatever a fault concludes from must be looked up after the sample. KVM for PowerPC BookE once had no check at all (2013).`,
});
