// What a driver of an ARM SMMU can get wrong: each is the faithful one with one step left out or moved. For tests and for readers;
// `armSmmu: { mistake }` of the device's configuration chooses one.

import { InputError } from '../../base/assert.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { IopfQueue } from '../iopf-queue.ts';
import type { PprEntry } from '../messages.ts';
import type { PasidState } from '../sva-iommu.ts';
import { ArmSmmu } from './arm-smmu.ts';
import type { Span } from './ranges.ts';

export interface ArmMistake {
  readonly name: string;
  /** What is left out, and what comes of it. */
  readonly what: string;
  /** Properties by which it shows. */
  readonly breaks: readonly string[];
  readonly smmu: typeof ArmSmmu;
  readonly faults: typeof IopfQueue;
}

class AtcFirst extends ArmSmmu {
  override *flushRange(state: PasidState, start: number, end: number): AtomicPath<void> {
    if (end <= start) return;
    yield* this.flushAtcs(state, start, end);
    yield* this.flushTlb(state, start, end);
  }
}

class NoSyncBetween extends ArmSmmu {
  override *flushTlb(state: PasidState, start: number, end: number): AtomicPath<void> {
    for (const span of this.tlbiSpans(start, end))
      this.iommu.invalidateIommuPages(state.pasid, span.start, span.end, true);
  }
}

class NoAtcInv extends ArmSmmu {
  override *flushAtcs(): AtomicPath<void> {}
}

class FirstCommandOnly extends ArmSmmu {
  override tlbiSpans(start: number, end: number): Span[] {
    return super.tlbiSpans(start, end).slice(0, 1);
  }
}

class SpanOfSize extends ArmSmmu {
  override atcSpan(start: number, end: number): Span {
    if (end === Number.POSITIVE_INFINITY) return super.atcSpan(start, end);
    let size = 4096;
    while (size < end - start) size *= 2;
    const at = start - (start % size);
    return { start: at, end: at + size };
  }
}

class LeafOnly extends ArmSmmu {
  override *flushTlb(state: PasidState, start: number, end: number): AtomicPath<void> {
    for (const span of this.tlbiSpans(start, end))
      this.iommu.invalidateIommuPages(state.pasid, span.start, span.end, false);
    yield* this.completionWait();
  }
}

class ReleaseKeepsContext extends ArmSmmu {
  override *release(state: PasidState): KernelPath<void> {
    yield* this.flushPasid(state);
  }
}

class ClearedTooEarly extends ArmSmmu {
  override *setTable(state: PasidState, root: number): AtomicPath<void> {
    if (root === 0) state.isCleared = true;
    if (root === 0) this.iommu.setGcr3(state.pasid, 0);
    else yield* super.setTable(state, root);
  }
}

class NoFlushOfQueue extends IopfQueue {
  override *drain(): KernelPath<void> {}
}

class LastErrorWins extends IopfQueue {
  override *handleGroup(group: readonly PprEntry[]): KernelPath<void> {
    let status = 0;
    for (const entry of group) status = yield* this.handle(entry);
    this.respond(group.at(-1)!, status);
  }
}

function flush(name: string, what: string, breaks: readonly string[], smmu: typeof ArmSmmu): ArmMistake {
  return { name, what, breaks, smmu, faults: IopfQueue };
}

function handler(name: string, what: string, breaks: readonly string[], faults: typeof IopfQueue): ArmMistake {
  return { name, what, breaks, smmu: ArmSmmu, faults };
}

export const ARM_MISTAKES: readonly ArmMistake[] = [
  flush('atc-first', "devices' TLBs are flushed before the SMMU's", ['I9'], AtcFirst),
  flush('no-sync-between', 'TLBI and ATC_INV stand before one CMD_SYNC', ['I9'], NoSyncBetween),
  flush('no-atc-inv', 'only TLBI: as if no device had a TLB', ['I1', 'I4', 'I5'], NoAtcInv),
  flush(
    'first-command-only',
    'of the TLBI commands of a range the first is issued',
    ['I1', 'I4', 'I5'],
    FirstCommandOnly,
  ),
  flush(
    'span-of-size',
    'ATC_INV takes a block of the size of the range: its end may lie outside',
    ['I1', 'I4', 'I5'],
    SpanOfSize,
  ),
  flush('leaf-only', 'TLBI for leaf entries although page tables are freed', ['I2'], LeafOnly),
  flush(
    'release-keeps-context',
    'release flushes and leaves the context: it is loaded again',
    ['I1', 'I2', 'I12'],
    ReleaseKeepsContext,
  ),
  flush('cleared-too-early', 'the context goes, TLBs are not flushed', ['I1', 'I4', 'I12'], ClearedTooEarly),
  handler('no-flush-of-queue', 'unbind waits for no page request', ['L3'], NoFlushOfQueue),
  handler('last-error-wins', 'a group is answered with what its last request came to', [], LastErrorWins),
];

/** Throws InputError for an unknown name; '' is the faithful driver. */
export function armMistake(name: string): Pick<ArmMistake, 'smmu' | 'faults'> {
  if (name === '') return { smmu: ArmSmmu, faults: IopfQueue };
  const found = ARM_MISTAKES.find((m) => m.name === name);
  if (found !== undefined) return found;
  throw new InputError(`arm-smmu-sva: mistake "${name}" is not one of ${ARM_MISTAKES.map((m) => m.name).join(', ')}`);
}
