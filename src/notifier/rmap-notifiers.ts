// External reverse maps (mmu_rmap_notifier of the proposal of February 2008): for a driver that must sleep to take a page back, as
// XPMEM must, which asks other machines. The driver exports the page (PageExternalRmap) before it enters it in its own table;
// try_to_unmap and page_mkclean then call it after the kernel's own walk, with the page lock and no spinlock held:
//
//   try_to_unmap: rmap walk done, locks dropped     page is exported: every rmap notifier, which may wait; the bit goes
//
// One list for the whole kernel. Guards: the list and the bits change in single steps; the page lock orders export and call.

import { CB_RMAP_INVALIDATE_PAGE, E_SUBSCRIBE } from '../abi/events.ts';
import { assert } from '../base/assert.ts';
import { OBJ_LIST } from '../base/footprint.ts';
import type { KernelPath } from '../sched/path.ts';
import type { NotifierHost, NotifierMm } from './host.ts';
import type { ListOps, Subscription, SubscriptionList } from './subscriptions.ts';

/** Exported bits in footprints, by frame; the list. */
const EXPORTED = 0x3000000;
const RMAP_LIST = 0x2ffffff;

export interface MmuRmapNotifierOps {
  /** The page goes, or is to be clean: on return the external rmap has no entry of it. Page lock held; may sleep. */
  invalidatePage?(mrn: MmuRmapNotifier, pfn: number): KernelPath<void>;
}

/** mmu_rmap_notifier. */
export class MmuRmapNotifier implements Subscription {
  readonly ops: MmuRmapNotifierOps;
  id = 0;
  readonly mm: NotifierMm | null = null;

  constructor(ops: MmuRmapNotifierOps) {
    this.ops = ops;
  }
}

/** An event's `mm` when a callback is of no address space. */
const NO_MM = { id: 0 } as NotifierMm;

export class RmapNotifiers {
  readonly #host: NotifierHost;
  readonly #list: SubscriptionList<ListOps>;
  readonly #notifiers: MmuRmapNotifier[] = [];
  readonly #exported = new Set<number>();

  /** `list` numbers and announces the callbacks. */
  constructor(host: NotifierHost, list: unknown) {
    this.#host = host;
    this.#list = list as SubscriptionList<ListOps>;
  }

  get isEmpty(): boolean {
    return this.#notifiers.length === 0;
  }

  #note(object: number, isWrite: boolean): void {
    this.#host.sched.footprint?.note(OBJ_LIST, object, isWrite);
  }

  /** mmu_rmap_notifier_register. */
  register(mrn: MmuRmapNotifier): void {
    this.#note(RMAP_LIST, true);
    if (mrn.id === 0) mrn.id = this.#list.takeId();
    this.#notifiers.unshift(mrn);
    if (this.#host.log.on) this.#host.log.emit(E_SUBSCRIBE, 0, 0, 0, 0, 0, 0, 1, 0, mrn.id);
  }

  /** mmu_rmap_notifier_unregister; synchronize before the notifier is freed. */
  unregister(mrn: MmuRmapNotifier): void {
    this.#note(RMAP_LIST, true);
    const at = this.#notifiers.indexOf(mrn);
    assert(at >= 0, 'mmu_rmap_notifier_unregister: registered');
    this.#notifiers.splice(at, 1);
  }

  /** mmu_rmap_export_page: before the page is entered in an external rmap. The caller holds the page lock (BUG otherwise). */
  exportPage(pfn: number): void {
    assert(this.#host.isPageLocked(pfn), 'mmu_rmap_export_page: page is locked');
    this.#note(EXPORTED + pfn, true);
    this.#exported.add(pfn);
  }

  isExported(pfn: number): boolean {
    return this.#exported.has(pfn);
  }

  /** After the walk of a page of `pages` frames: those that are exported. */
  *pageUnmapped(pfn: number, pages: number): KernelPath<void> {
    for (let p = pfn; p < pfn + pages; p++) {
      this.#note(EXPORTED + p, false);
      if (this.#exported.has(p)) yield* this.#tell(p);
    }
  }

  *#tell(pfn: number): KernelPath<void> {
    this.#note(RMAP_LIST, false);
    const section = this.#list.srcu.readLock();
    for (const mrn of [...this.#notifiers]) {
      const path = mrn.ops.invalidatePage?.(mrn, pfn);
      if (path !== undefined) yield* this.#list.call(mrn, CB_RMAP_INVALIDATE_PAGE, NO_MM, pfn, pfn, path);
    }
    this.#list.srcu.readUnlock(section);
    this.#note(EXPORTED + pfn, true);
    this.#exported.delete(pfn);
  }
}
