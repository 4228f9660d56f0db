// gfn-to-pfn caches (virt/kvm/pfncache.c): a guest page that the kernel itself uses for long (steal time, shared info, a nested VM's
// structures). A cache holds no reference on its page: the start of a section makes it invalid before the page can go, and
// refreshing waits for the end.
//
//   user                                 refresh                          start of a section
//     read lock, valid? uses the page      seq, look-up                     write lock: valid = false: waits for users
//     not valid: refresh                   write lock
//                                          section open, or seq changed? again
//                                          valid = true
//
// The lock of a cache is inside everything; its holder does not sleep.

import { EFAULT, EINVAL } from '../../abi/errno.ts';
import { AGENT_PFN_CACHE, E_DEV_ACCESS, E_DEV_FILL, E_DEV_INVAL } from '../../abi/events.ts';
import { OBJ_DRIVER } from '../../base/footprint.ts';
import { getUserPagesUnlocked } from '../../mm/gup/fast.ts';
import { FOLL_WRITE } from '../../mm/gup/flags.ts';
import { Mutex } from '../../sched/locks.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { P_DEV_ACCESS, P_DRIVER, P_GUP } from '../../sched/points.ts';
import { RwSpinLock } from '../../sched/rw-spin-lock.ts';
import type { Kvm } from './kvm.ts';
import type { MemslotSet } from './memslots.ts';
import { setPfnDirty } from './mmu.ts';
import { KVM_REQ_OUTSIDE_GUEST_MODE } from './vcpu.ts';

const CACHE = 0xc0000300;
/** A word of the page that only the kernel writes, as engines have theirs (workload.ts). */
const CACHE_WORD = 4096 - 72;

export class GfnToPfnCache {
  readonly kvm: Kvm;
  readonly id: number;
  readonly hva: number;
  /** GUEST_USES_PFN: vCPUs run with the page's address; they leave the guest when it becomes invalid. */
  readonly isUsedByGuest: boolean;
  readonly lock: RwSpinLock;
  readonly refreshLock: Mutex;
  isValid = false;
  /** Memslots with which it was looked up. */
  slots: MemslotSet | null = null;
  pfn = 0;
  generation = 0;
  stores = 0;
  readonly #page = new Int32Array(1);

  constructor(kvm: Kvm, id: number, hva: number, isUsedByGuest = false) {
    const { sched } = kvm.k;
    this.kvm = kvm;
    this.id = id;
    this.hva = hva;
    this.isUsedByGuest = isUsedByGuest;
    this.lock = new RwSpinLock(sched, sched.lockClasses.define('gpc->lock'), id);
    this.refreshLock = new Mutex(sched, sched.lockClasses.define('gpc->refresh_lock'), id);
  }

  note(isWrite: boolean): void {
    const { footprint } = this.kvm.k.memory;
    if (footprint !== null) footprint.note(OBJ_DRIVER, CACHE + this.id, isWrite);
  }

  /** One store by the kernel through the cache, which is refreshed as often as needed. 0 or -errno. */
  *store(): KernelPath<number> {
    const { kvm } = this;
    const { k, config, mm, id } = kvm;
    for (;;) {
      yield* this.lock.readLock();
      this.note(false);
      // kvm_gpc_check: valid, and looked up with the slots of now.
      kvm.noteSlots(false);
      if (this.isValid && this.slots === kvm.memslots) break;
      this.lock.readUnlock();
      const result = yield* this.refresh();
      if (result < 0) return result;
    }
    if (k.sched.points) yield P_DEV_ACCESS;
    const { pfn, generation } = this;
    const { memory } = k;
    memory.touch(pfn, true);
    if (config.staleStoresLand || memory.generation[pfn] === generation)
      memory.doubles[(pfn * 4096 + CACHE_WORD) / 8] = ++this.stores;
    if (memory.log.on) {
      const va = this.hva - (this.hva % 4096) + CACHE_WORD;
      memory.log.emit(
        E_DEV_ACCESS,
        mm.id,
        va,
        va + 8,
        pfn,
        generation,
        memory.generation[pfn]!,
        1,
        AGENT_PFN_CACHE,
        id,
      );
    }
    setPfnDirty(kvm, pfn);
    this.lock.readUnlock();
    return 0;
  }

  /** kvm_gpc_refresh, hva_to_pfn_retry. 0; -EFAULT no page there; -EINVAL no slot shows the address. */
  *refresh(): KernelPath<number> {
    const { kvm } = this;
    const { k, mm } = kvm;
    if (mm.users <= 0) return -EFAULT;
    yield* this.refreshLock.lock();
    const idx = kvm.srcu.readLock();
    kvm.noteSlots(false);
    let result = kvm.memslots.ofHva(this.hva) === null ? -EINVAL : 1;
    while (result === 1) {
      kvm.stats.cacheRefreshes++;
      const seq = kvm.fn.sampleSequence(kvm);
      const got = yield* getUserPagesUnlocked(k, mm, this.hva, 1, FOLL_WRITE, this.#page);
      if (got !== 1) {
        result = got < 0 ? got : -EFAULT;
        break;
      }
      const pfn = this.#page[0]!;
      if (k.sched.points) yield P_GUP;
      yield* this.lock.writeLock();
      this.note(true);
      if (!kvm.fn.isCacheStale(kvm, seq)) {
        this.isValid = true;
        this.slots = kvm.memslots;
        this.pfn = pfn;
        this.generation = k.memory.generation[pfn]!;
        this.#emit(E_DEV_FILL, pfn, this.generation);
        result = 0;
      }
      this.lock.writeUnlock();
      k.fn.putPage(k, pfn);
      if (result === 1) yield* this.#sectionsEnd();
    }
    kvm.srcu.readUnlock(idx);
    this.refreshLock.unlock();
    return result;
  }

  /** Linux spins; what it finds is the same until the last section is closed. */
  *#sectionsEnd(): KernelPath<void> {
    const { kvm } = this;
    const isQuiet = (): boolean => {
      kvm.noteActive(false);
      return kvm.mnActiveInvalidateCount === 0;
    };
    yield* kvm.k.sched.waitUntil(isQuiet, kvm.activeQueue, 'sections');
  }

  /** gfn_to_pfn_cache_invalidate_start for this cache. True: vCPUs use the page. */
  *invalidate(start: number, end: number): AtomicPath<boolean> {
    if (this.hva < start || this.hva >= end) return false;
    yield* this.lock.writeLock();
    this.note(true);
    const wasValid = this.isValid;
    this.isValid = false;
    if (wasValid) this.#emit(E_DEV_INVAL, 0, 0);
    this.lock.writeUnlock();
    return wasValid && this.isUsedByGuest;
  }

  #emit(type: number, pfn: number, generation: number): void {
    const { log } = this.kvm.k.memory;
    if (!log.on) return;
    const va = this.hva - (this.hva % 4096);
    const w = type === E_DEV_FILL ? 1 : 0;
    log.emit(type, this.kvm.mm.id, va, va + 4096, pfn, generation, w, 0, AGENT_PFN_CACHE, this.kvm.id);
  }

  stateWords(): number[] {
    return [this.isValid ? 1 : 0, this.pfn, this.generation];
  }
}

/** mmu_notifier_retry_cache: any open section of the process, slot or not, and the sequence. */
export function isCacheStale(kvm: Kvm, seq: number): boolean {
  kvm.noteActive(false);
  kvm.noteSequence(false);
  return kvm.mnActiveInvalidateCount > 0 || kvm.mmuInvalidateSeq !== seq;
}

/** gfn_to_pfn_cache_invalidate_start. */
export function* invalidateCaches(kvm: Kvm, start: number, end: number): AtomicPath<void> {
  let mustKick = false;
  for (const cache of kvm.pfnCaches) {
    if (kvm.k.sched.points) yield P_DRIVER;
    if (yield* cache.invalidate(start, end)) mustKick = true;
  }
  if (mustKick) yield* kvm.fn.makeAllCpusRequest(kvm, KVM_REQ_OUTSIDE_GUEST_MODE);
}
