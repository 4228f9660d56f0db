// How the GRU's driver hears of an address space, by notifier design.
//
//   linux-6.1 ... 6.12   mmu_notifier_get and put: one notifier for an address space, however many threads use it, counted; start and
//                        end; no release
//   before               mmu_notifier_register by the first thread, unregister by the last; start, end and invalidate_page, which
//                        purges one page. A release that did nothing but note that unregister is not needed any more
//
// Without a release nothing takes the translations away when the address space exits: see gru.ts.
//
// Kernel names: gru_register_mmu_notifier, gru_drop_mmu_notifier, gru_alloc_notifier, gru_free_notifier.

import { EINVAL } from '../../abi/errno.ts';
import type { MmStruct } from '../../mm/types.ts';
import { mmDrop } from '../../mm/vma/exit-mmap.ts';
import { Linux61 } from '../../notifier/linux-6.1.ts';
import { Linux66, type Linux66Ops } from '../../notifier/linux-6.6.ts';
import { MmuNotifiersV4 } from '../../notifier/mmu-notifiers-v4.ts';
import type { StartEndOps } from '../../notifier/start-end.ts';
import { MmuNotifier, type SubscriptionList } from '../../notifier/subscriptions.ts';
import type { KernelPath } from '../../sched/path.ts';
import { type MirrorReactions, type MirrorSubscription, subscribeMirror } from '../subscribe-mirror.ts';
import type { GruDriver } from './driver.ts';
import { GruMm } from './thread.ts';

export interface GruSubscriptions {
  /** gru_register_mmu_notifier: one more thread uses the address space. Its GruMm, or -errno. */
  get(mm: MmStruct): KernelPath<GruMm | number>;
  /** gru_drop_mmu_notifier: one less. */
  put(gms: GruMm): KernelPath<void>;
}

/** The registrations of that driver under the kernel's design. `isDeaf`: nothing is registered. */
export function gruSubscriptions(d: GruDriver, isDeaf: boolean): GruSubscriptions {
  const { design } = d.k;
  if (isDeaf) return new Counted(d, () => null);
  if (design instanceof Linux61 || design instanceof Linux66)
    return new GetPut(d, design.list as unknown as SubscriptionList<Linux66Ops>);
  return new Counted(d, (gms) => subscribeMirror(d.k, gms.mm, reactions(d, gms)));
}

class GruNotifier extends MmuNotifier<StartEndOps> {
  readonly gms: GruMm;

  constructor(ops: StartEndOps, gms: GruMm) {
    super(ops);
    this.gms = gms;
  }
}

/** mmu_notifier_get and put, keyed by the driver's one table of operations. */
class GetPut implements GruSubscriptions {
  readonly #list: SubscriptionList<StartEndOps>;
  readonly #ops: StartEndOps;
  readonly #notifiers = new Map<GruMm, GruNotifier>();

  constructor(d: GruDriver, list: SubscriptionList<Linux66Ops>) {
    this.#list = list as unknown as SubscriptionList<StartEndOps>;
    const ops: StartEndOps = {
      *invalidateRangeStart(mn, range) {
        yield* d.fn.rangeStart(d, (mn as GruNotifier).gms, range.start, range.end);
        return 0;
      },
      *invalidateRangeEnd(mn, _range) {
        d.fn.rangeEnd(d, (mn as GruNotifier).gms);
      },
      allocNotifier: (mm) => new GruNotifier(ops, new GruMm(d.k.sched, mm as MmStruct, d.chiplets.length)),
      freeNotifier: (mn) => {
        this.#notifiers.delete((mn as GruNotifier).gms);
      },
    };
    this.#ops = ops;
  }

  *get(mm: MmStruct): KernelPath<GruMm | number> {
    const mn = yield* this.#list.get(this.#ops, mm);
    if (typeof mn === 'number') return mn;
    const { gms } = mn as GruNotifier;
    this.#notifiers.set(gms, mn as GruNotifier);
    return gms;
  }

  *put(gms: GruMm): KernelPath<void> {
    this.#list.put(this.#notifiers.get(gms)!);
  }
}

interface Registered {
  readonly gms: GruMm;
  readonly subscription: MirrorSubscription | null;
  users: number;
}

/** Registered once for an address space and counted by the driver itself. */
class Counted implements GruSubscriptions {
  readonly #d: GruDriver;
  readonly #subscribe: (gms: GruMm) => MirrorSubscription | null;
  readonly #registered: Registered[] = [];

  constructor(d: GruDriver, subscribe: (gms: GruMm) => MirrorSubscription | null) {
    this.#d = d;
    this.#subscribe = subscribe;
  }

  *get(mm: MmStruct): KernelPath<GruMm | number> {
    const known = this.#registered.find((r) => r.gms.mm === mm);
    if (known !== undefined) {
      known.users++;
      return known.gms;
    }
    if (mm.users <= 0) return -EINVAL;
    const gms = new GruMm(this.#d.k.sched, mm, this.#d.chiplets.length);
    const subscription = this.#subscribe(gms);
    const result = subscription === null ? 0 : yield* subscription.register();
    if (result < 0) return result;
    this.#registered.push({ gms, subscription, users: 1 });
    return gms;
  }

  *put(gms: GruMm): KernelPath<void> {
    const at = this.#registered.findIndex((r) => r.gms === gms);
    const r = this.#registered[at]!;
    if (--r.users > 0) return;
    this.#registered.splice(at, 1);
    if (r.subscription === null) return;
    // The proposals of 2008 take mmapLock in unregister, which whoever closes the segment holds: a worker does it.
    const { k } = this.#d;
    if (k.design instanceof MmuNotifiersV4) {
      gms.mm.count++;
      k.sched.spawn('gru unregister', 'kernel', this.#unregisterLater(r.subscription, gms.mm));
    } else yield* r.subscription.unregister();
  }

  *#unregisterLater(subscription: MirrorSubscription, mm: MmStruct): KernelPath<void> {
    yield* subscription.unregister();
    mmDrop(this.#d.k, mm);
  }
}

function reactions(d: GruDriver, gms: GruMm): MirrorReactions {
  return {
    *rangeStart(range) {
      yield* d.fn.rangeStart(d, gms, range.start, range.end);
      return 0;
    },
    *rangeEnd() {
      d.fn.rangeEnd(d, gms);
    },
    invalidatePage: (address) => d.fn.flushTlbRange(d, gms, address, address + 4096),
    *release() {},
  };
}
