// What KSM knows (mm/ksm.c): the mms that asked for merging, an rmap_item for each of their pages that was scanned, and two
// trees ordered by content.
//
//   stable tree      KSM pages: write-protected, so that the order holds. A stable_node names its page and holds the
//                    rmap_items of all places that map it; the page's mapping points back to it.
//   unstable tree    pages that did not change between two scans, still writable: the order may be wrong. Built anew in each
//                    full scan; an rmap_item hangs in it only if its sequence number is that of the running scan.
//   chain            a page has at most maxPageSharing mappings. When all stable_nodes with one content are full, the node in
//                    the tree becomes the head of a chain of duplicates.
//
// Trees, counters and rmap_items are guarded by ksm_thread_mutex; the items of a stable_node also by the lock of its
// page. The list of mms has a spinlock in Linux (ksm_mmlist_lock) that is never held across anything: no lock here.
//
// Kernel names: struct ksm_rmap_item, ksm_stable_node, ksm_mm_slot, ksm_scan; /sys/kernel/mm/ksm.

import { LOCK_KSM } from '../../abi/locks.ts';
import { assert } from '../../base/assert.ts';
import { OBJ_LIST } from '../../base/footprint.ts';
import { Rwsem } from '../../sched/locks.ts';
import { type Scheduler, WaitQueue } from '../../sched/scheduler.ts';
import type { Kernel } from '../kernel.ts';
import { LIST_KSM } from '../page/pages.ts';
import type { AnonVma, MmStruct } from '../types.ts';
import { ContentNode, ContentTree } from './content-tree.ts';

export const ITEM_IDLE = 0;
export const ITEM_UNSTABLE = 1;
export const ITEM_STABLE = 2;

/** One scanned page of one address space. A node of the unstable tree while `state` is ITEM_UNSTABLE. */
export class RmapItem extends ContentNode {
  readonly mm: MmStruct;
  readonly address: number;
  state = ITEM_IDLE;
  /** Full scan in which it was put into the unstable tree. */
  seqnr = 0;
  /** Checksum of the page when it was scanned last. */
  oldChecksum = 0;
  /** ITEM_STABLE: the node of the KSM page that is mapped here, and where rmap looks for it. */
  head: StableNode | null = null;
  anonVma: AnonVma | null = null;

  constructor(mm: MmStruct, address: number) {
    super();
    this.mm = mm;
    this.address = address;
  }
}

/** A KSM page; or the head of a chain of such with one content. */
export class StableNode extends ContentNode {
  /** Frame of the page. It may be gone: then the frame's mapping is another. */
  pfn: number;
  /** Newest first. Empty for the head of a chain. */
  readonly items: RmapItem[] = [];
  /** Chain heads: the duplicates, newest first. */
  dups: StableNode[] | null = null;
  /** Chain that this duplicate belongs to; null when it stands in the tree itself. */
  chain: StableNode | null = null;

  constructor(pfn: number) {
    super();
    this.pfn = pfn;
  }
}

/** An mm in which pages may be merged. */
export class MmSlot {
  readonly mm: MmStruct | null;
  /** Ascending addresses. */
  readonly items: RmapItem[] = [];

  constructor(mm: MmStruct | null) {
    this.mm = mm;
  }
}

export class KsmState {
  readonly mutex: Rwsem;
  /** ksmd sleeps here. */
  readonly wait = new WaitQueue();
  /** /sys/kernel/mm/ksm/run: 1 = ksmd scans. */
  run = false;
  /** pages_to_scan: of one round. */
  pagesToScan = 100;
  useZeroPages = false;
  maxPageSharing = 256;
  /** Checksum of a page of zeros; 0 = not computed yet. */
  zeroChecksum = 0;
  /** The entry that writeProtectPage left: replacePage goes on only if it is still there. */
  origLo = 0;
  origHi = 0;
  /** pages_shared, pages_sharing, pages_unshared, full_scans. */
  pagesShared = 0;
  pagesSharing = 0;
  pagesUnshared = 0;
  fullScans = 0;
  /** Nodes of the stable tree itself that are chains, and the duplicates in them. */
  stableNodeChains = 0;
  stableNodeDups = 0;

  readonly stable = new ContentTree();
  readonly unstable = new ContentTree();
  /** Every mm in the order of scanning; [0] is ksm_mm_head, which is none. */
  readonly slots: MmSlot[] = [new MmSlot(null)];
  readonly slotOf = new Map<MmStruct, MmSlot>();
  /** Where the scan stands. */
  cursor: MmSlot = this.slots[0]!;
  address = 0;
  /** Position in the items of the cursor's slot. */
  itemIndex = 0;
  seqnr = 0;

  constructor(sched: Scheduler) {
    this.mutex = new Rwsem(sched, LOCK_KSM, 0);
  }

  /** ksm_mm_head. */
  get head(): MmSlot {
    return this.slots[0]!;
  }

  /** Nothing to scan (list_empty(&ksm_mm_head.mm_list)). */
  get isEmpty(): boolean {
    return this.slots.length === 1;
  }

  /** list_add_tail before the scanning cursor: a new mm is scanned last. */
  addSlot(slot: MmSlot): void {
    const at = this.slots.indexOf(this.cursor);
    if (at === 0) this.slots.push(slot);
    else this.slots.splice(at, 0, slot);
    this.slotOf.set(slot.mm!, slot);
  }

  removeSlot(slot: MmSlot): void {
    const at = this.slots.indexOf(slot);
    assert(at > 0, 'KsmState.removeSlot: the slot is on the list');
    this.slots.splice(at, 1);
    this.slotOf.delete(slot.mm!);
  }

  nextSlot(slot: MmSlot): MmSlot {
    return this.slots[(this.slots.indexOf(slot) + 1) % this.slots.length]!;
  }
}

/** Tells the explorer's recorder that this step uses KSM's lists and trees. */
export function noteKsm(k: Kernel): void {
  const { footprint } = k.memory;
  if (footprint !== null) footprint.note(OBJ_LIST, LIST_KSM, true);
}
