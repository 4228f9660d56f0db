// How IOMMU drivers hear, once for all of them: as a subscriber of one design's list (ListDriver), or through reactions that stand
// for the same driver under any design (ReactionDriver).

import { InputError } from '../../base/assert.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { NotifierMm } from '../../notifier/host.ts';
import { type ListOps, MmuNotifier } from '../../notifier/subscriptions.ts';
import type { KernelPath } from '../../sched/path.ts';
import { type MirrorReactions, type MirrorSubscription, subscribeMirror } from '../subscribe-mirror.ts';
import type { IommuDriver, PasidState } from '../sva-iommu.ts';

/** What a design's list, or the design itself, offers. */
export interface Registrar<Ops extends ListOps> {
  register(mn: MmuNotifier<Ops>, mm: NotifierMm): KernelPath<number>;
  unregister(mn: MmuNotifier<Ops>, mm: NotifierMm): KernelPath<void>;
}

/** A driver with callbacks of one design: `makeOps` makes them for a bound address space. */
export class ListDriver<Ops extends ListOps> implements IommuDriver {
  readonly name: string;
  readonly #registrar: Registrar<Ops>;
  readonly #makeOps: (state: PasidState) => Ops;

  constructor(name: string, registrar: Registrar<Ops>, makeOps: (state: PasidState) => Ops) {
    this.name = name;
    this.#registrar = registrar;
    this.#makeOps = makeOps;
  }

  subscribe(state: PasidState): KernelPath<number> {
    const mn = new MmuNotifier<Ops>(this.#makeOps(state));
    state.subscription = mn;
    return this.#registrar.register(mn, state.mm);
  }

  unsubscribe(state: PasidState): KernelPath<void> {
    return this.#registrar.unregister(state.subscription as MmuNotifier<Ops>, state.mm);
  }
}

/** A driver that reacts alike under every design that calls it. */
export class ReactionDriver implements IommuDriver {
  readonly name: string;
  readonly #k: Kernel;
  readonly #react: (state: PasidState) => MirrorReactions;

  constructor(name: string, k: Kernel, react: (state: PasidState) => MirrorReactions) {
    this.name = name;
    this.#k = k;
    this.#react = react;
  }

  subscribe(state: PasidState): KernelPath<number> {
    const subscription = subscribeMirror(this.#k, state.mm, this.#react(state));
    if (subscription === null)
      throw new InputError(`driver ${this.name}: design ${this.#k.design?.name} tells nobody anything`);
    state.subscription = subscription;
    return subscription.register();
  }

  unsubscribe(state: PasidState): KernelPath<void> {
    return (state.subscription as MirrorSubscription).unregister();
  }
}
