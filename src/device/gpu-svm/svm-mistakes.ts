// What a driver with ranges gets wrong: each is the faithful one (svm-driver.ts) with one step left out or moved.

import { InputError } from '../../base/assert.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct } from '../../mm/types.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import type { MirrorDevice } from '../mirror.ts';
import type { GpuSvmConfig } from './config.ts';
import { SvmDriver } from './svm-driver.ts';
import { SVM_OP_ADD_RANGE, type SvmRange } from './svm-range.ts';

type SvmDriverClass = new (k: Kernel, gpu: MirrorDevice, config: GpuSvmConfig) => SvmDriver;

export interface SvmMistake {
  readonly name: string;
  /** What is left out, and what comes of it. */
  readonly what: string;
  readonly breaks: readonly string[];
  readonly hasRetryFaults: boolean;
  readonly driver: SvmDriverClass;
}

/** Registers with nobody. */
class Deaf extends SvmDriver {
  override *subscribe(): KernelPath<number> {
    return 0;
  }
  override *addNotifier(): KernelPath<number> {
    return 0;
  }
  override *readBegin(): KernelPath<number> {
    return 0;
  }
  override mustRetry(): boolean {
    return false;
  }
  override isStale(): boolean {
    return false;
  }
}

class NoRetryCheck extends SvmDriver {
  override mustRetry(): boolean {
    return false;
  }
}

class ChildUnheard extends SvmDriver {
  override *addNotifier(range: SvmRange): KernelPath<number> {
    return range.op === SVM_OP_ADD_RANGE ? 0 : yield* super.addNotifier(range);
  }
}

class NoRelease extends SvmDriver {
  override *subscribe(): KernelPath<number> {
    return 0;
  }
}

class PutInCallback extends SvmDriver {
  override putInCallback(mm: MmStruct): KernelPath<void> {
    return this.k.fn.mmPut(this.k, mm);
  }
}

class QueuesRun extends SvmDriver {
  override *quiesce(): AtomicPath<void> {}
}

class EvictionsForgotten extends SvmDriver {
  override isUnchanged(): boolean {
    return true;
  }
}

class NoTlbFlush extends SvmDriver {
  override *flushTlbs(): AtomicPath<void> {}
}

export const SVM_MISTAKES: readonly SvmMistake[] = [
  { name: 'deaf', what: 'registers with nobody', breaks: ['I1', 'I4', 'I5'], hasRetryFaults: true, driver: Deaf },
  {
    name: 'no-retry-check',
    what: 'uses what it looked up although the sequence moved',
    breaks: ['I1', 'I5', 'I7'],
    hasRetryFaults: true,
    driver: NoRetryCheck,
  },
  {
    name: 'no-tlb-flush',
    what: 'erases entries of the page table but not the copies of the engines',
    breaks: ['I1', 'I4', 'I5'],
    hasRetryFaults: true,
    driver: NoTlbFlush,
  },
  {
    name: 'child-unheard',
    what: 'gives a range that was split off no notifier',
    breaks: ['I1', 'I4', 'I5'],
    hasRetryFaults: true,
    driver: ChildUnheard,
  },
  {
    name: 'no-release',
    what: 'does not end the queues when the process goes: its ranges pass over what happens then',
    breaks: ['I1', 'I4', 'I5', 'I12'],
    hasRetryFaults: true,
    driver: NoRelease,
  },
  {
    name: 'put-in-callback',
    what: 'drops its reference to the address space in the callback: the last one tears it down under the locks of reclaim',
    breaks: ['I60'],
    hasRetryFaults: true,
    driver: PutInCallback,
  },
  {
    name: 'queues-run',
    what: 'counts an eviction and lets the queues go on',
    breaks: ['I1', 'I4', 'I5'],
    hasRetryFaults: false,
    driver: QueuesRun,
  },
  {
    name: 'evictions-forgotten',
    what: 'restores without looking whether something was evicted meanwhile',
    breaks: ['I1', 'I4', 'I5', 'I7'],
    hasRetryFaults: false,
    driver: EvictionsForgotten,
  },
];

/** The driver with that mistake. Throws InputError for an unknown name. */
export function svmMistakeOf(name: string): SvmDriverClass {
  const found = SVM_MISTAKES.find((m) => m.name === name);
  if (found !== undefined) return found.driver;
  throw new InputError(`amdkfd-svm: mistake "${name}" is not one of ${SVM_MISTAKES.map((m) => m.name).join(', ')}`);
}
