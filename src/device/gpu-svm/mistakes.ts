// What drivers over HMM get wrong: each is the faithful driver with one step left out or moved, and `breaks` says by which properties that
// shows. `gpuSvm: { mistake }` of the device's configuration chooses one.

import { MMU_NOTIFY_EXCLUSIVE } from '../../abi/notifier.ts';
import { InputError } from '../../base/assert.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { NotifierRange } from '../../notifier/host.ts';
import type { IntervalNotifier } from '../../notifier/interval.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_DRIVER, P_UNLOCK } from '../../sched/points.ts';
import type { MirrorDevice } from '../mirror.ts';
import type { GpuSvmConfig } from './config.ts';
import { DmirrorDriver } from './dmirror.ts';
import type { GpuDriver, Lookup } from './interval-mirror.ts';

export type DriverClass = new (k: Kernel, gpu: MirrorDevice, config: GpuSvmConfig) => GpuDriver;

export interface GpuMistake {
  readonly name: string;
  /** What is left out, and what comes of it. */
  readonly what: string;
  readonly breaks: readonly string[];
  /** What the GPU must have for it to show. */
  readonly needs?: Partial<GpuSvmConfig>;
  readonly driver: DriverClass;
}

const MEMORY: Partial<GpuSvmConfig> = { hasMemory: true, memoryPages: 2 };
const ATOMIC: Partial<GpuSvmConfig> = { storesAreAtomic: true };

/** Registers with nobody. */
class Deaf extends DmirrorDriver {
  override *insert(): KernelPath<number> {
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

class NoRetryCheck extends DmirrorDriver {
  override mustRetry(): boolean {
    return false;
  }
}

class NoReadBegin extends DmirrorDriver {
  override *readBegin(l: Lookup): KernelPath<number> {
    return l.notifier.seq;
  }
}

class SetSeqAfterUnlock extends DmirrorDriver {
  override *invalidate(sub: IntervalNotifier, range: NotifierRange, seq: number): KernelPath<boolean> {
    yield* this.mutex.lock();
    yield* this.unmapFromGpu(range.start, range.end);
    this.mutex.unlock();
    if (this.k.sched.points) yield P_UNLOCK;
    this.intervals.setSeq(sub, seq);
    return true;
  }
}

class NoTlbFlush extends DmirrorDriver {
  override *flushTlbs(): AtomicPath<void> {}
}

class FlushNotAwaited extends DmirrorDriver {
  override *flushTlbs(start: number, end: number): AtomicPath<void> {
    this.gpu.dropTlbs(start, end);
  }
}

class FlushFirst extends DmirrorDriver {
  override *unmapFromGpu(start: number, end: number): AtomicPath<void> {
    yield* this.flushTlbs(start, end);
    if (this.k.sched.points) yield P_DRIVER;
    this.markDirty(this.eraseEntries(start, end));
  }
}

class AlwaysWritable extends DmirrorDriver {
  override mayWrite(): boolean {
    return true;
  }
}

class NoDirty extends DmirrorDriver {
  override markDirty(): void {}
}

class EveryMigrationOwn extends DmirrorDriver {
  override isOwn(range: NotifierRange): boolean {
    return super.isOwn({ ...range, owner: this.owner });
  }
}

class RefusesNothing extends DmirrorDriver {
  override refuse(): boolean {
    return true;
  }
}

class SleepsForReaper extends DmirrorDriver {
  override invalidate(sub: IntervalNotifier, range: NotifierRange, seq: number): KernelPath<boolean> {
    return super.invalidate(sub, { ...range, blockable: true }, seq);
  }
}

/** Look-ups go on while a page moves. */
class NoMigrateLock extends DmirrorDriver {
  override *keepInPlace(): KernelPath<void> {}
  override letMove(): void {}
}

class EntriesStay extends DmirrorDriver {
  override *takeAway(): KernelPath<void> {}
}

class MapsBeforeFinalize extends DmirrorDriver {
  override arrived(va: number, pfn: number, isWritable: boolean): void {
    this.gpu.map(0, va, pfn, 1, isWritable);
  }
}

class TouchUnheard extends DmirrorDriver {
  override *beforeTouch(): KernelPath<void> {}
}

class ExclusiveUnheard extends DmirrorDriver {
  override isOwn(range: NotifierRange): boolean {
    return range.event === MMU_NOTIFY_EXCLUSIVE || super.isOwn(range);
  }
}

class OwnerForgotten extends DmirrorDriver {
  override exclusiveOwner(): null {
    return null;
  }
}

class ForeignMemory extends DmirrorDriver {
  override privateOwner(): object | null {
    return this.k.pagemaps.find((p) => p.owner !== this.owner)?.owner ?? this.owner;
  }
}

class AtomicsAnywhere extends DmirrorDriver {
  override isAlone(): boolean {
    return true;
  }
}

export const GPU_MISTAKES: readonly GpuMistake[] = [
  { name: 'deaf', what: 'registers with nobody', breaks: ['I1', 'I4', 'I5'], driver: Deaf },
  {
    name: 'no-retry-check',
    what: 'uses what it looked up although the sequence moved',
    breaks: ['I1', 'I5', 'I7'],
    driver: NoRetryCheck,
  },
  {
    name: 'no-read-begin',
    what: 'takes the sequence while an invalidation is open, and does not wait',
    breaks: ['I1', 'I5', 'I7'],
    driver: NoReadBegin,
  },
  {
    name: 'set-seq-after-unlock',
    what: 'moves the sequence after it dropped the driver lock',
    breaks: ['I1', 'I5', 'I7'],
    driver: SetSeqAfterUnlock,
  },
  {
    name: 'no-tlb-flush',
    what: 'erases entries of the page table but not the copies of the engines',
    breaks: ['I1', 'I4', 'I5'],
    driver: NoTlbFlush,
  },
  {
    name: 'flush-not-awaited',
    what: 'does not wait for accesses in flight',
    breaks: ['I1', 'I4'],
    driver: FlushNotAwaited,
  },
  {
    name: 'flush-first',
    what: 'flushes the TLBs before the page table is empty: they are filled again',
    breaks: ['I1', 'I4', 'I5'],
    driver: FlushFirst,
  },
  {
    name: 'always-writable',
    what: 'gives the right to write to what was looked up for reading',
    breaks: ['I3', 'I5', 'I7'],
    driver: AlwaysWritable,
  },
  {
    name: 'no-dirty',
    what: 'does not mark dirty what the GPU may have stored',
    breaks: ['I20'],
    driver: NoDirty,
  },
  {
    name: 'every-migration-own',
    what: 'takes every migration for one of its own',
    breaks: ['I1', 'I4', 'I5', 'I7'],
    driver: EveryMigrationOwn,
  },
  {
    name: 'refuses-nothing',
    what: 'tells the reaper that all is well, and did nothing',
    breaks: ['I1', 'I4', 'I5'],
    driver: RefusesNothing,
  },
  {
    name: 'sleeps-for-reaper',
    what: 'waits for its mutex although the caller may not sleep',
    breaks: ['I44'],
    driver: SleepsForReaper,
  },
  {
    name: 'foreign-memory',
    what: 'looks up with the name of another device: pages in its memory come back as they are, and are mapped',
    breaks: ['I1', 'I5', 'I7'],
    driver: ForeignMemory,
  },
  {
    name: 'no-migrate-lock',
    what: 'looks pages up while they move to its memory or back, of which its notifier does not tell it',
    breaks: ['I1', 'I4', 'I5', 'I7'],
    needs: MEMORY,
    driver: NoMigrateLock,
  },
  {
    name: 'entries-stay',
    what: 'keeps its entries of a page that moves: sections of its own migrations do not take them',
    breaks: ['I1', 'I4', 'I5'],
    needs: MEMORY,
    driver: EntriesStay,
  },
  {
    name: 'maps-before-finalize',
    what: 'maps a page in its memory before the entry of the CPUs names it: who discards it meanwhile finds nothing to discard',
    breaks: ['I1', 'I4', 'I5', 'I7'],
    needs: MEMORY,
    driver: MapsBeforeFinalize,
  },
  {
    name: 'touch-unheard',
    what: 'keeps its entry of a page that a CPU touches and that comes back to RAM',
    breaks: ['I1', 'I4', 'I5'],
    needs: MEMORY,
    driver: TouchUnheard,
  },
  {
    name: 'exclusive-unheard',
    what: 'keeps a page for itself that a CPU has taken back',
    breaks: ['I15'],
    needs: ATOMIC,
    driver: ExclusiveUnheard,
  },
  {
    name: 'owner-forgotten',
    what: 'asks for a page alone without its name: its own sections move the sequence, and it asks again',
    breaks: ['L1'],
    needs: ATOMIC,
    driver: OwnerForgotten,
  },
  {
    name: 'atomics-anywhere',
    what: 'lets atomic operations go to pages that CPUs can use too',
    breaks: ['I15'],
    needs: ATOMIC,
    driver: AtomicsAnywhere,
  },
];

/** The driver with that mistake. Throws InputError for an unknown name. */
export function gpuMistakeOf(name: string): DriverClass {
  const found = GPU_MISTAKES.find((m) => m.name === name);
  if (found !== undefined) return found.driver;
  throw new InputError(`gpu-svm: mistake "${name}" is not one of ${GPU_MISTAKES.map((m) => m.name).join(', ')}`);
}
