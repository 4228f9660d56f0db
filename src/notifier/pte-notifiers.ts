// The pte notifiers of 2007 (Avi Kivity, an RFC for KVM): a notifier is linked into one VMA and told when reclaim is about to
// clear an entry of it. The first sketch of them all, and wrong in two ways that the later designs were made to repair.
//
//   try_to_unmap_one                        secondary MMU
//     clear(V): drops V
//                                             faults: the entry is still present, V -> F1 is back
//     clears V, flushes CPUs
//     frees F1                                writes F1
//
// Told: try_to_unmap_one (reclaim, and migration, which used it then), before the clear, under ptl and the rmap lock: may not
// sleep. Not told: munmap and every other zap, mprotect, copy on write, fork, write-back, truncate, mremap, aging. exit: close.
//
// The list is in the VMA, and the patch makes it only where mmap makes the VMA. VMAs of a split, of mremap, fork, brk, the stack and
// the loader have whatever was in the memory: a notifier linked there is never found again (here: lost; in the kernel, worse).
//
//                                     as posted                            fixed
//   split, mremap                     the new VMA has no list              both have the notifiers
//   merge, the VMA that vanishes      its notifiers are lost, no close     the survivor has them too
//   VMA not made by mmap              a registration is lost               it is kept
//
// close: the posted patch has the function and no caller; here remove_vma calls it, pages and tables being free.
// Register and unregister take no lock and wait for nobody.

import { CB_PTE_CLEAR, CB_VMA_CLOSE, E_SUBSCRIBE, E_UNSUBSCRIBE } from '../abi/events.ts';
import { assert } from '../base/assert.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import type { NotifierHost, NotifierMm, NotifierVma } from './host.ts';
import { QuietDesign } from './quiet-design.ts';
import { type ListOps, type Subscription, SubscriptionList } from './subscriptions.ts';

/** pte_notifier_ops. */
export interface PteNotifierOps {
  /** The entry of the page is about to be cleared and still present. Under ptl. */
  clear?(pn: PteNotifier, vma: NotifierVma, address: number): AtomicPath<void>;
  /** The VMA goes; the notifier is unlinked when this returns. Its pages are free already. */
  close?(pn: PteNotifier, vma: NotifierVma): KernelPath<void>;
}

/** pte_notifier: one subscriber of one VMA. */
export class PteNotifier implements Subscription {
  readonly ops: PteNotifierOps;
  id = 0;
  mm: NotifierMm | null = null;

  constructor(ops: PteNotifierOps) {
    this.ops = ops;
  }
}

/** What hangs on mm.notifiers: pte_notifier_list of each VMA that has one, newest notifier first. */
class VmaLists {
  readonly byVma = new Map<NotifierVma, PteNotifier[]>();
  /** Who follows the mmaps of the address space. */
  readonly followers: ((vma: NotifierVma) => void)[] = [];

  get hasSubscribers(): boolean {
    return this.byVma.size > 0;
  }
}

export class PteNotifiers extends QuietDesign {
  readonly name: string = 'pte-notifiers';
  readonly host: NotifierHost;
  readonly isFixed: boolean;
  /** Its events and counts; no subscriber stands in it. */
  readonly list: SubscriptionList<ListOps>;
  /** Registrations that nobody will ever find: into a VMA without a list, or in one that vanished. */
  lost = 0;

  constructor(host: NotifierHost, isFixed = false) {
    super();
    this.host = host;
    this.isFixed = isFixed;
    this.list = new SubscriptionList<ListOps>(host, 'unhash-then-release');
  }

  #lists(mm: NotifierMm): VmaLists {
    const lists = (mm.notifiers as VmaLists | null) ?? new VmaLists();
    mm.notifiers = lists;
    return lists;
  }

  /** pte_notifier_register. No lock, no error. */
  register(pn: PteNotifier, vma: NotifierVma): void {
    const lists = this.#lists(vma.mm);
    if (pn.id === 0) pn.id = this.list.takeId();
    pn.mm = vma.mm;
    const { log } = this.host;
    if (log.on) log.emit(E_SUBSCRIBE, vma.mm.id, vma.start, vma.end, 0, 0, 0, 0, 0, pn.id);
    if (!this.isFixed && !vma.isByMmap) {
      this.lost++;
      return;
    }
    const ofVma = lists.byVma.get(vma);
    if (ofVma === undefined) lists.byVma.set(vma, [pn]);
    else if (!ofVma.includes(pn)) ofVma.unshift(pn);
  }

  /** pte_notifier_unregister: off the list; a callback of it may still be running. */
  unregister(pn: PteNotifier): void {
    const { mm } = pn;
    assert(mm !== null, 'pte_notifier_unregister: registered');
    const { byVma } = this.#lists(mm);
    for (const [vma, ofVma] of byVma) {
      if (!ofVma.includes(pn)) continue;
      if (ofVma.length === 1) byVma.delete(vma);
      else ofVma.splice(ofVma.indexOf(pn), 1);
    }
    pn.mm = null;
    if (this.host.log.on) this.host.log.emit(E_UNSUBSCRIBE, mm.id, 0, 0, 0, 0, 0, 0, 0, pn.id);
  }

  /** Calls `follow` for every VMA that mmap makes from now on. Not of the patch: stands for the program, which tells its driver of
   *  each mapping. Returns how to stop. */
  followMmaps(mm: NotifierMm, follow: (vma: NotifierVma) => void): () => void {
    const { followers } = this.#lists(mm);
    followers.push(follow);
    return () => {
      followers.splice(followers.indexOf(follow), 1);
    };
  }

  override *pteAboutToBeCleared(mm: NotifierMm, vma: NotifierVma, address: number, _site: number): AtomicPath<void> {
    for (const pn of [...(this.#lists(mm).byVma.get(vma) ?? [])]) {
      const path = pn.ops.clear?.(pn, vma, address);
      if (path !== undefined) yield* this.list.callAtomic(pn, CB_PTE_CLEAR, mm, address, address + 4096, path);
    }
  }

  override *vmaClosed(vma: NotifierVma): KernelPath<void> {
    const { mm } = vma;
    const { byVma } = this.#lists(mm);
    for (const pn of [...(byVma.get(vma) ?? [])]) {
      const path = pn.ops.close?.(pn, vma);
      if (path !== undefined) yield* this.list.call(pn, CB_VMA_CLOSE, mm, vma.start, vma.end, path);
    }
    byVma.delete(vma);
  }

  override vmaMapped(vma: NotifierVma): void {
    for (const follow of [...this.#lists(vma.mm).followers]) follow(vma);
  }

  override vmaCopied(vma: NotifierVma, copy: NotifierVma): void {
    if (this.isFixed) this.#inherit(copy, vma);
  }

  override vmaMerged(into: NotifierVma, from: NotifierVma, isGone: boolean): void {
    const { byVma } = this.#lists(into.mm);
    if (this.isFixed) this.#inherit(into, from);
    else if (isGone) this.lost += byVma.get(from)?.length ?? 0;
    if (isGone) byVma.delete(from);
  }

  #inherit(into: NotifierVma, from: NotifierVma): void {
    const { byVma } = this.#lists(into.mm);
    const theirs = byVma.get(from);
    if (theirs === undefined) return;
    const own = byVma.get(into) ?? [];
    byVma.set(into, [...own, ...theirs.filter((pn) => !own.includes(pn))]);
  }

  override destroy(mm: NotifierMm): void {
    mm.notifiers = null;
  }
}
