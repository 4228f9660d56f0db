// What a driver of an Intel IOMMU can get wrong: each is the faithful one with one step left out or moved. For tests and for readers;
// `intelSvm: { mistake }` of the device's configuration chooses one.

import { InputError } from '../../base/assert.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { IopfQueue } from '../iopf-queue.ts';
import type { PprEntry } from '../messages.ts';
import { ALL_ADDRESSES, type PasidState } from '../sva-iommu.ts';
import type { Block } from './blocks.ts';
import { IntelIommu } from './intel-iommu.ts';

export interface IntelMistake {
  readonly name: string;
  /** What is left out, and what comes of it. */
  readonly what: string;
  /** Properties by which it shows. */
  readonly breaks: readonly string[];
  readonly iommu: typeof IntelIommu;
  readonly faults: typeof IopfQueue;
}

class DeviceTlbFirst extends IntelIommu {
  override *flushBlock(state: PasidState, block: Block): AtomicPath<void> {
    yield* this.flushDeviceTlb(state, block);
    yield* this.flushPiotlb(state, block);
  }
}

class NoWaitBetween extends IntelIommu {
  override *flushPiotlb(state: PasidState, block: Block): AtomicPath<void> {
    this.iommu.invalidateIommuPages(state.pasid, block.start, block.end, true);
  }
}

class NoDeviceTlb extends IntelIommu {
  override *flushDeviceTlb(): AtomicPath<void> {}
}

class NoPiotlb extends IntelIommu {
  override *flushPiotlb(): AtomicPath<void> {}
}

class MisalignedBlock extends IntelIommu {
  override blocks(start: number, end: number): Block[] {
    return super.blocks(start, end).slice(0, 1);
  }
}

class WholeOverflows extends IntelIommu {
  override blocks(start: number, end: number): Block[] {
    return end === ALL_ADDRESSES && start === 0 ? [] : super.blocks(start, end);
  }
}

class PagingCachesKept extends IntelIommu {
  override *flushPiotlb(state: PasidState, block: Block): AtomicPath<void> {
    this.iommu.invalidateIommuPages(state.pasid, block.start, block.end, false);
    yield* this.completionWait();
  }
}

class EntryNotFlushed extends IntelIommu {
  override *setTable(state: PasidState, root: number): AtomicPath<void> {
    if (root === 0) this.iommu.setGcr3(state.pasid, 0);
    else yield* super.setTable(state, root);
  }
}

class NoPrqDrain extends IntelIommu {
  override *drainPrq(): KernelPath<void> {}
}

class QueueNotAwaited extends IntelIommu {
  override *drainPrq(state: PasidState): KernelPath<void> {
    yield* this.faults.flush();
    yield* this.completionWait();
    yield* this.flushPasid(state);
  }
}

class AnswersEach extends IopfQueue {
  override *handleGroup(group: readonly PprEntry[]): KernelPath<void> {
    for (const entry of group) this.respond(entry, yield* this.handle(entry));
  }
}

class PartialsKept extends IopfQueue {
  override discardPartial(): void {}
}

function flush(name: string, what: string, breaks: readonly string[], iommu: typeof IntelIommu): IntelMistake {
  return { name, what, breaks, iommu, faults: IopfQueue };
}

function handler(name: string, what: string, breaks: readonly string[], faults: typeof IopfQueue): IntelMistake {
  return { name, what, breaks, iommu: IntelIommu, faults };
}

export const INTEL_MISTAKES: readonly IntelMistake[] = [
  flush('device-tlb-first', 'the device TLB is flushed before the IOTLB', ['I9'], DeviceTlbFirst),
  flush('no-wait-between', 'both are asked for, and waited for together', ['I9'], NoWaitBetween),
  flush('no-device-tlb', 'only the IOTLB is flushed', ['I1', 'I4', 'I5'], NoDeviceTlb),
  flush('no-piotlb', 'only the device TLB is flushed', ['I1', 'I4', 'I5', 'I9'], NoPiotlb),
  flush(
    'misaligned-block',
    'a range across a boundary is given one block, as before 5.11 (1efd17e7acb6): its end is not flushed',
    ['I1', 'I4', 'I5'],
    MisalignedBlock,
  ),
  flush(
    'whole-overflows',
    'the end of [0, ULONG_MAX] is rounded up to 0, as in 6.6 (e7ad6c2a4b1a): nothing is flushed',
    ['I1', 'I3', 'I4', 'I5'],
    WholeOverflows,
  ),
  flush('paging-caches-kept', 'the hint IH is set although page tables are freed', ['I2'], PagingCachesKept),
  flush('entry-not-flushed', 'the PASID entry is cleared, TLBs are not flushed', ['I1', 'I4', 'I12'], EntryNotFlushed),
  flush('no-prq-drain', 'unbind waits for no page request', ['L3'], NoPrqDrain),
  flush(
    'queue-not-awaited',
    'unbind waits for what was taken, not for what stands in the queue',
    ['L3'],
    QueueNotAwaited,
  ),
  handler('answers-each', 'each request of a group is answered', ['L3'], AnswersEach),
  handler(
    'partials-kept',
    'requests whose last one was lost to an overflow are kept, and join the next group of that index',
    [],
    PartialsKept,
  ),
];

/** Throws InputError for an unknown name; '' is the faithful driver. */
export function intelMistake(name: string): Pick<IntelMistake, 'iommu' | 'faults'> {
  if (name === '') return { iommu: IntelIommu, faults: IopfQueue };
  const found = INTEL_MISTAKES.find((m) => m.name === name);
  if (found !== undefined) return found;
  throw new InputError(`intel-svm: mistake "${name}" is not one of ${INTEL_MISTAKES.map((m) => m.name).join(', ')}`);
}
