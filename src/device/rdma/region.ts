// What the application sees of registered memory, and what both forms of the on-demand driver share: regions with one umem (explicit) or
// with one for each span of the address space that was ever used (implicit), page faults of the adapter, prefetch, deregistration.
// Linux: drivers/infiniband/hw/mlx5/odp.c (mlx5_ib_odp_init_one, mlx5_ib_alloc_implicit_mr, implicit_get_child_mr, pagefault_mr,
// pagefault_real_mr, pagefault_implicit_mr, destroy_unused_implicit_child_mr, mlx5_ib_advise_mr_prefetch).
//
//   adapter           page fault (key, address, length, write?)
//   driver            key -> region -> umem (made now, if the region is implicit)
//                     the form's look-up: pages, DMA mappings, umem lock taken and kept
//                     MTT entries written, umem lock dropped, adapter resumed: it looks again
//
// A child of an implicit region whose last page was unmapped goes, in a worker: not while a page fault of it is under way.

import { EFAULT, EINVAL, ENOENT } from '../../abi/errno.ts';
import { E_MSG, MSG_NIC_PAGE_FAULT, MSG_NIC_RESUME } from '../../abi/events.ts';
import { OBJ_MM } from '../../base/footprint.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct } from '../../mm/types.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_DRIVER } from '../../sched/points.ts';
import { WaitQueue } from '../../sched/scheduler.ts';
import type { OdpConfig } from './config.ts';
import { isWritableAccess, type MemoryKey, type Nic, ODP_WRITE_ALLOWED_BIT } from './nic.ts';
import type { UmemOdp } from './umem-odp.ts';

/** End of what a user can map (TASK_SIZE_MAX with four levels). */
export const USER_END = 0x7ffffffff000;

/** Pages of the children, and what it takes to make and free them. */
export interface Region {
  readonly key: MemoryKey;
  readonly mm: MmStruct;
  readonly writable: boolean;
  /** Explicit: its only umem. Implicit: null. */
  readonly umem: UmemOdp | null;
  /** Implicit: umems by number of the span. */
  readonly children: Map<number, UmemOdp>;
}

// Parts in footprints (device/objects); 1 to 4 are the adapter's.
const PART_REGION = 5; // [key] is it registered?
const PART_CHILD = 6; // [span] the xarray's entry
const PART_USERS = 7; // [key] of a umem

/** What the two forms do differently. */
export abstract class OdpDriver {
  readonly k: Kernel;
  readonly nic: Nic;
  readonly config: OdpConfig;
  readonly regions = new Map<number, Region>();
  readonly #queue = new WaitQueue();
  /** Workers that free children. */
  #workers = 0;
  faults = 0;
  faultsRefused = 0;
  pagesMapped = 0;
  invalidations = 0;
  prefetched = 0;
  childrenMade = 0;
  childrenFreed = 0;

  constructor(k: Kernel, nic: Nic, config: OdpConfig) {
    this.k = k;
    this.nic = nic;
    this.config = config;
  }

  /** The address space is about to be used: registers what the form needs once for it. 0 or -errno. */
  abstract attach(mm: MmStruct): KernelPath<number>;
  abstract detach(mm: MmStruct): KernelPath<void>;
  /** ib_init_umem_odp: the umem is known to the notifiers, or -errno. */
  abstract createUmem(
    mm: MmStruct,
    start: number,
    end: number,
    writable: boolean,
    key: MemoryKey,
  ): KernelPath<UmemOdp | number>;
  /** ib_umem_odp_release: nothing is mapped, and no callback runs or will run. */
  abstract releaseUmem(umem: UmemOdp): KernelPath<void>;
  /** pagefault_real_mr of [va, va + length): pages entered into the MTT, or -errno; -EAGAIN: look again. `isFault`: pages that are not
   *  there are faulted in; false: only those that are there (prefetch without faults). */
  abstract faultUmem(umem: UmemOdp, va: number, length: number, isWrite: boolean, isFault: boolean): KernelPath<number>;
  /** Takes the umem lock. */
  abstract lock(umem: UmemOdp): KernelPath<void>;
  abstract unlock(umem: UmemOdp): void;

  // --- registration

  /** ib_umem_odp_get: an explicit region over [va, va + length); its umem is of whole pages. `access`: IB_ACCESS_*. Or -EINVAL (empty), or what the notifiers answer. */
  *register(mm: MmStruct, va: number, length: number, access: number): KernelPath<Region | number> {
    const start = va - (va % 4096);
    const end = Math.ceil((va + length) / 4096) * 4096;
    if (end <= start) return -EINVAL;
    const writable = isWritableAccess(access);
    const key = this.nic.createKey(va, va + length, access, true);
    const umem = yield* this.createUmem(mm, start, end, writable, key);
    if (typeof umem === 'number') {
      this.nic.destroyKey(key);
      return umem;
    }
    return this.#enter({ key, mm, writable, umem, children: new Map() });
  }

  /** ib_umem_odp_alloc_implicit: a region over all that the process will ever map. */
  registerImplicit(mm: MmStruct, access: number): Region {
    const key = this.nic.createKey(0, USER_END, access, true, this.config.childPages * 4096);
    return this.#enter({ key, mm, writable: isWritableAccess(access), umem: null, children: new Map() });
  }

  #enter(region: Region): Region {
    this.nic.note(PART_REGION, region.key.id, true);
    this.regions.set(region.key.id, region);
    return region;
  }

  /** Deregisters: the key is gone for the adapter, pages are unmapped, subscriptions end. */
  *deregister(region: Region): KernelPath<void> {
    this.nic.note(PART_REGION, region.key.id, true);
    this.regions.delete(region.key.id);
    if (this.k.sched.points) yield P_DRIVER;
    this.nic.destroyKey(region.key);
    yield* this.#idle(region.umem, () => this.#workers === 0);
    if (region.umem !== null) yield* this.releaseUmem(region.umem);
    for (const [index, child] of [...region.children]) {
      this.nic.note(PART_CHILD, index, true);
      region.children.delete(index);
      yield* this.#freeChild(region, index, child);
    }
  }

  /** Waits until no page fault uses the umem (mlx5r_deref_wait_odp_mkey). */
  #idle(umem: UmemOdp | null, isQuiet = (): boolean => true): KernelPath<void> {
    const isIdle = (): boolean => {
      this.nic.note(PART_USERS, umem?.key.id ?? 0, true);
      return (umem === null || umem.users === 1) && isQuiet();
    };
    return this.k.sched.waitUntil(isIdle, this.#queue, 'page faults of the region');
  }

  #get(umem: UmemOdp): void {
    this.nic.note(PART_USERS, umem.key.id, true);
    umem.users++;
  }

  #put(umem: UmemOdp): void {
    this.nic.note(PART_USERS, umem.key.id, true);
    umem.users--;
    if (umem.users === 1) this.#queue.wakeAll(this.k.sched);
  }

  // --- children of implicit regions

  /** implicit_get_child_mr: the umem of a span, made when it is not there, with a use counted. Or -errno. */
  *#child(region: Region, index: number): KernelPath<UmemOdp | number> {
    this.nic.note(PART_CHILD, index, false);
    const there = region.children.get(index);
    if (there !== undefined) {
      this.#get(there);
      return there;
    }
    const bytes = this.config.childPages * 4096;
    const start = index * bytes;
    const end = Math.min(USER_END, start + bytes);
    const key = this.nic.createKey(start, end, region.key.access, true);
    const made = yield* this.createUmem(region.mm, start, end, region.writable, key);
    if (typeof made === 'number') {
      this.nic.destroyKey(key);
      return made;
    }
    if (this.k.sched.points) yield P_DRIVER;
    this.nic.note(PART_CHILD, index, true);
    this.nic.note(PART_REGION, region.key.id, false);
    const other = region.children.get(index);
    const isGone = !this.regions.has(region.key.id);
    if (other === undefined && !isGone) {
      this.childrenMade++;
      region.children.set(index, made);
      this.#get(made);
      return made;
    }
    // Somebody was faster.
    if (other !== undefined) this.#get(other);
    yield* this.releaseUmem(made);
    this.nic.destroyKey(key);
    return other ?? -EINVAL;
  }

  /** destroy_unused_implicit_child_mr: the last page of a child was unmapped. Umem lock held, so a worker does it. */
  childUnused(umem: UmemOdp): void {
    const region = [...this.regions.values()].find((r) => r.umem === null && [...r.children.values()].includes(umem));
    if (region === undefined || !this.config.freesChildren) return;
    const index = Math.floor(umem.start / (this.config.childPages * 4096));
    this.nic.note(PART_CHILD, index, true);
    region.children.delete(index);
    this.#workers++;
    this.k.sched.spawn(`free child ${umem.key.id}`, 'kernel', this.#freeChildWork(region, index, umem));
  }

  /** free_implicit_child_mr_work. */
  *#freeChildWork(region: Region, index: number, umem: UmemOdp): KernelPath<void> {
    yield* this.#freeChild(region, index, umem);
    this.nic.note(PART_USERS, 0, true);
    this.#workers--;
    this.#queue.wakeAll(this.k.sched);
  }

  *#freeChild(region: Region, index: number, umem: UmemOdp): KernelPath<void> {
    yield* this.#idle(umem);
    if (this.k.sched.points) yield P_DRIVER;
    // Another child may have taken its place meanwhile.
    if (region.key.ksm!.get(index) === umem.key) this.nic.setKsm(region.key, index, null);
    yield* this.releaseUmem(umem);
    this.nic.destroyKey(umem.key);
    this.childrenFreed++;
  }

  // --- page faults

  /** The adapter found no translation. 0: resume, it looks again. -EAGAIN: the same. Another -errno: the work request fails. */
  *pageFault(id: number, va: number, length: number, isWrite: boolean): KernelPath<number> {
    this.faults++;
    const { log } = this.k.memory;
    if (log.on) this.#message(MSG_NIC_PAGE_FAULT, va, length, isWrite ? 1 : 0);
    const mapped = yield* this.#faultRegion(id, va, length, isWrite, true, true);
    const result = mapped > 0 ? 0 : mapped;
    if (result < 0) this.faultsRefused++;
    if (log.on) this.#message(MSG_NIC_RESUME, va, length, -result);
    return result;
  }

  #message(message: number, va: number, length: number, word: number): void {
    const { log } = this.k.memory;
    log.emit(E_MSG, this.nic.mm, va, va + length, word, 0, message, 0, 0, this.nic.id);
  }

  /** mlx5_ib_advise_mr_prefetch: pages entered into the MTT, or -errno. `isWrite`: to be written (PREFETCH_WRITE); else to be read, even
   *  through a region that may be written (MLX5_PF_FLAGS_DOWNGRADE). Without `isFault` (PREFETCH_NO_FAULT) only pages that are there. */
  prefetch(id: number, va: number, length: number, isWrite: boolean, isFault: boolean): KernelPath<number> {
    this.prefetched++;
    return this.#faultRegion(id, va, length, isWrite, isFault, false);
  }

  /** pagefault_mr: pages mapped, or -errno. */
  *#faultRegion(
    id: number,
    va: number,
    length: number,
    isWrite: boolean,
    isFault: boolean,
    mayAskForMore: boolean,
  ): KernelPath<number> {
    this.nic.note(PART_REGION, id, false);
    const region = this.regions.get(id);
    if (region === undefined) return -ENOENT;
    const wantsWrite = region.writable && (isWrite || (mayAskForMore && this.config.alwaysWrite));
    if (isWrite && !region.writable) return -EFAULT;
    if (region.umem !== null) {
      if (va < region.umem.start || va + length > region.umem.end) return -EFAULT;
      this.#get(region.umem);
      const mapped = yield* this.faultUmem(region.umem, va, length, wantsWrite, isFault);
      this.#put(region.umem);
      return mapped;
    }
    return yield* this.#faultImplicit(region, va, length, wantsWrite, isFault);
  }

  /** pagefault_implicit_mr: child by child. */
  *#faultImplicit(region: Region, va: number, length: number, isWrite: boolean, isFault: boolean): KernelPath<number> {
    if (va + length > USER_END) return -EFAULT;
    const bytes = this.config.childPages * 4096;
    let pages = 0;
    for (let at = va; at < va + length; ) {
      const index = Math.floor(at / bytes);
      const umem = yield* this.#child(region, index);
      if (typeof umem === 'number') return umem;
      const part = Math.min(va + length, umem.end) - at;
      const mapped = yield* this.faultUmem(umem, at, part, isWrite, isFault);
      // The indirect key is written after its children changed, whatever became of the fault: adapter and xarray agree again.
      if (this.k.sched.points) yield P_DRIVER;
      this.nic.note(PART_CHILD, index, false);
      if (region.children.get(index) === umem && region.key.ksm!.get(index) !== umem.key)
        this.nic.setKsm(region.key, index, umem.key);
      this.#put(umem);
      if (mapped < 0) return mapped;
      pages += mapped;
      at += part;
    }
    return pages;
  }

  /** mlx5r_umr_update_xlt of pages [first, first + count) from the DMA list. Umem lock held. */
  *updateXlt(umem: UmemOdp, first: number, count: number): AtomicPath<void> {
    if (this.k.sched.points) yield P_DRIVER;
    for (let i = first; i < first + count; i++) {
      const dma = umem.dmaList[i]!;
      if (dma === 0) continue;
      this.nic.setMtt(umem.key, umem.va(i), dma >>> 12, (dma & ODP_WRITE_ALLOWED_BIT) !== 0);
      this.pagesMapped++;
    }
  }

  /** All that the driver keeps of its regions, as numbers. */
  stateWords(): number[] {
    const umem = (u: UmemOdp): number[] => [
      u.key.id,
      u.npages,
      u.users,
      u.notifiersCount,
      u.notifiersSeq,
      ...u.dmaList,
    ];
    return [...this.regions.values()].flatMap((r) => [
      -1,
      r.key.id,
      ...(r.umem === null ? [] : umem(r.umem)),
      ...[...r.children].sort((a, b) => a[0] - b[0]).flatMap(([index, u]) => [-2, index, u.notifier.seq, ...umem(u)]),
    ]);
  }

  // --- address spaces

  /** mmget_not_zero. */
  mmGetNotZero(mm: MmStruct): boolean {
    const { footprint } = this.k.memory;
    if (footprint !== null) footprint.note(OBJ_MM, mm.id, true);
    if (mm.users <= 0) return false;
    mm.users++;
    return true;
  }
}
