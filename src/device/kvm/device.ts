// KVM as a device: a VM of the bound process, each vCPU an engine. The workload that knows nothing of guests drives it by addresses of
// the process: the default memslots show all of it at gpa = hva, and paging is off in the guest.
//
//   bind     KVM_CREATE_VM, KVM_SET_USER_MEMORY_REGION, KVM_CREATE_VCPU; mmu_notifier_register
//   access   KVM_RUN for one instruction: guest mode, TLB, walk; a violation leaves the guest, takes the fault, enters again
//   unbind   the vCPUs stop; kvm_destroy_vm: mmu_notifier_unregister, everything zapped

import { EBUSY, EFAULT, EINVAL } from '../../abi/errno.ts';
import { AGENT_MIRROR_TLB, DEV_RUNNING, E_BIND, E_DEV_ACCESS, E_REFAULT } from '../../abi/events.ts';
import { InputError } from '../../base/assert.ts';
import { OBJ_DRIVER, OBJ_MM } from '../../base/footprint.ts';
import type { PhysMemory } from '../../hw/phys.ts';
import type { Kernel } from '../../mm/kernel.ts';
import { hasTaskWork, runTaskWork } from '../../mm/syscalls/edge.ts';
import type { MmStruct } from '../../mm/types.ts';
import { mmDrop } from '../../mm/vma/exit-mmap.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_DEV_ACCESS, P_DEV_TRANSLATE, P_DEV_TRANSLATED } from '../../sched/points.ts';
import { WaitQueue } from '../../sched/scheduler.ts';
import { ACCESS_DONE, ACCESS_INVALID, type Accessor, DeviceStats } from '../accessor.ts';
import { callbackCounts, DEVICE_ID } from '../common.ts';
import type { Device, DeviceConfig } from '../device.ts';
import { type MirrorSubscription, subscribeMirror } from '../subscribe-mirror.ts';
import { Workload } from '../workload.ts';
import { loadApicPage } from './apic.ts';
import { KVM_DEFAULTS, type KvmConfig } from './config.ts';
import { type KvmFns, kvmFns } from './fns.ts';
import { GUEST_FAULT, guestWalkSteps, TRANSLATED } from './guest-walk.ts';
import { Kvm, KvmStats } from './kvm.ts';
import { KVM_MISTAKES } from './mistakes.ts';
import { pageFault, RET_PF_FIXED, RET_PF_INVALID_SLOT } from './page-fault.ts';
import { GfnToPfnCache } from './pfn-cache.ts';
import { reactionsOf } from './reactions.ts';
import { nextMemslots } from './slots.ts';
import { IN_GUEST_MODE, type Vcpu } from './vcpu.ts';

/** Words that the engines write: the last 64 bytes of a page (workload.ts). */
const DEVICE_WORDS = 4096 - 64;
/** The VM as a whole, in footprints: is there one, do vCPUs run. */
const MACHINE = 0xc0000003;

/** What an instruction does with memory: a word of 8 bytes. */
export interface Instruction {
  readonly isWrite: boolean;
  /** Offset in the page. */
  readonly offset: number;
  /** What is stored: a double, or with `hi` the lower half of an integer. */
  readonly value: number;
  readonly hi: number | null;
}

function store(memory: PhysMemory, at: number, what: Instruction): void {
  if (what.hi === null) memory.doubles[at] = what.value;
  else {
    memory.words[at * 2] = what.value;
    memory.words[at * 2 + 1] = what.hi;
  }
}

export class KvmDevice implements Device, Accessor {
  readonly k: Kernel;
  readonly config: KvmConfig;
  readonly workload: Workload;
  readonly kvmStats = new KvmStats();
  readonly state = DEV_RUNNING;
  readonly #fn: KvmFns;
  readonly #isDeaf: boolean;
  /** The VM; null before bind and after unbind. */
  kvm: Kvm | null = null;
  #subscription: MirrorSubscription | null = null;
  /** vCPUs in KVM_RUN. */
  #running = 0;
  #isStopping = false;
  readonly #idle = new WaitQueue();
  reads = 0;
  writes = 0;
  hits = 0;
  refaults = 0;
  refaultsMax = 0;
  invalid = 0;
  /** What the last load has read. */
  lastRead = 0;

  constructor(k: Kernel, config: DeviceConfig) {
    this.k = k;
    this.config = { ...KVM_DEFAULTS, ...config.kvm };
    const { mistake } = this.config;
    const patch = mistake === '' ? {} : KVM_MISTAKES[mistake]?.fns;
    if (patch === undefined)
      throw new InputError(`kvm: mistake "${mistake}" is none of ${Object.keys(KVM_MISTAKES).join(', ')}`);
    this.#fn = { ...kvmFns, ...patch };
    this.#isDeaf = config.isDeaf;
    this.workload = new Workload(k, this, config.workload);
    if (config.hasWorkload) this.workload.start();
  }

  get driverName(): string {
    return this.#isDeaf ? 'kvm-deaf' : this.config.mistake === '' ? 'kvm' : `kvm-${this.config.mistake}`;
  }

  get accessor(): Accessor {
    return this;
  }

  get refusal(): string | null {
    return null;
  }

  get engineCount(): number {
    return this.config.vcpus;
  }

  // --- the VM

  *bind(mm: MmStruct): KernelPath<number> {
    if (this.kvm !== null) return -EBUSY;
    if (mm.users <= 0) return -EINVAL;
    const kvm = new Kvm(this.k, mm, DEVICE_ID, this.config, this.#fn, this.kvmStats);
    this.config.pfnCaches.forEach((hva, i) => {
      kvm.pfnCaches.push(new GfnToPfnCache(kvm, i, hva));
    });
    mm.count++;
    this.#subscription = this.#isDeaf ? null : subscribeMirror(this.k, mm, reactionsOf(kvm));
    const result = this.#subscription === null ? 0 : yield* this.#subscription.register();
    if (result < 0) {
      this.#subscription = null;
      mmDrop(this.k, mm);
      return result;
    }
    this.#note(true);
    this.kvm = kvm;
    this.#emitBind(kvm, 1);
    this.#isStopping = false;
    this.workload.mm = mm;
    return 0;
  }

  *unbind(): KernelPath<void> {
    const { kvm } = this;
    if (kvm === null) return;
    this.workload.mm = null;
    this.#note(true);
    this.#isStopping = true;
    const isIdle = (): boolean => {
      this.#note(false);
      return this.#running === 0;
    };
    yield* this.k.sched.waitUntil(isIdle, this.#idle, 'vCPUs to stop');
    if (this.#subscription !== null) yield* this.#subscription.unregister();
    this.#subscription = null;
    kvm.mnActiveInvalidateCount = 0;
    // kvm_arch_destroy_vm: the table goes, whoever has heard of a release.
    yield* this.#fn.zapAll(kvm);
    for (const cache of kvm.pfnCaches) yield* cache.invalidate(0, Number.POSITIVE_INFINITY);
    kvm.sptes.reset();
    for (const pfn of kvm.pinnedPages.splice(0)) this.k.fn.putPage(this.k, pfn);
    this.#emitBind(kvm, 0);
    this.#note(true);
    this.kvm = null;
    mmDrop(this.k, kvm.mm);
  }

  #emitBind(kvm: Kvm, isBound: number): void {
    const { log } = this.k.memory;
    if (log.on) log.emit(E_BIND, kvm.mm.id, 0, 0, 0, 0, isBound, 0, 0, DEVICE_ID);
  }

  #note(isWrite: boolean): void {
    const { footprint } = this.k.memory;
    if (footprint !== null) footprint.note(OBJ_DRIVER, MACHINE, isWrite);
  }

  // --- KVM_RUN

  tryAccess(engine: number, va: number, isWrite: boolean): boolean {
    const { kvm } = this;
    if (kvm === null || this.#isStopping) return false;
    const v = kvm.vcpus[engine]!;
    const gpa = kvm.gpaOf(va);
    if (gpa < 0 || v.mutex.isLocked) return false;
    if (v.mode !== IN_GUEST_MODE) {
      v.serveRequests();
      v.mode = IN_GUEST_MODE;
    }
    if (v.translate(gpa, isWrite) !== TRANSLATED) return false;
    this.hits++;
    this.#reach(v, this.#deviceWord(engine, va, isWrite));
    return true;
  }

  *access(engine: number, va: number, isWrite: boolean, _groupEnd: number): KernelPath<number> {
    this.#note(false);
    const gpa = this.kvm === null ? -1 : this.kvm.gpaOf(va);
    if (gpa < 0) return ACCESS_INVALID;
    return yield* this.run(engine, gpa, this.#deviceWord(engine, va, isWrite));
  }

  /** Engines read what the program has stored, and write words of their own. */
  #deviceWord(engine: number, va: number, isWrite: boolean): Instruction {
    if (isWrite) return { isWrite, offset: DEVICE_WORDS + engine * 8, value: this.writes + 1, hi: null };
    return { isWrite, offset: (va % 4096) - (va % 8), value: 0, hi: null };
  }

  /** One instruction of the guest at a guest virtual address. ACCESS_DONE, or ACCESS_INVALID: the VM leaves to user space, or the
   *  guest's own tables do not allow it (`vcpu.lastOutcome`). */
  *run(engine: number, gva: number, what: Instruction): KernelPath<number> {
    const { kvm } = this;
    if (kvm === null) return ACCESS_INVALID;
    const v = kvm.vcpus[engine]!;
    this.#running++;
    if (!v.mutex.trylock()) yield* v.mutex.lock();
    const result = this.#isStopping ? ACCESS_INVALID : yield* this.#guest(v, gva, what);
    v.mutex.unlock();
    this.#leave();
    if (result !== ACCESS_DONE) this.invalid++;
    return result;
  }

  *#guest(v: Vcpu, gva: number, what: Instruction): KernelPath<number> {
    const { k } = this;
    const { points } = k.sched;
    // Faults fixed in a row, while nothing was taken away from the table again: sections elsewhere in the VM, and the dirty log, may make
    // a guest fault as often as they come.
    let fixed = 0;
    let withdrawn = -1;
    for (;;) {
      if (points) yield P_DEV_TRANSLATE;
      v.note();
      if (v.mode !== IN_GUEST_MODE && !(yield* v.enterGuest())) continue;
      v.isBusy = true;
      const isStepped = points && v.cr3 >= 0 && v.isMiss(gva, what.isWrite);
      const outcome = isStepped ? yield* guestWalkSteps(v, gva, what.isWrite) : v.translate(gva, what.isWrite);
      v.lastOutcome = outcome;
      if (outcome === TRANSLATED) break;
      v.isBusy = false;
      v.exitGuest();
      if (outcome === GUEST_FAULT) return ACCESS_INVALID;
      if (withdrawn !== v.kvm.withdrawn) fixed = 0;
      if (fixed > 0) this.#refault(v, fixed);
      withdrawn = v.kvm.withdrawn;
      const answer = yield* this.#holdingMm(v.kvm, this.#fault(v.kvm, v));
      if (answer < 0) return ACCESS_INVALID;
      if (answer === RET_PF_FIXED) fixed++;
    }
    if (points) yield P_DEV_TRANSLATED;
    this.#reach(v, what);
    v.endInstruction();
    if (points) yield P_DEV_ACCESS;
    return ACCESS_DONE;
  }

  /** A load from the page behind APIC_ACCESS_ADDR, as hardware makes for the guest. ACCESS_DONE, or ACCESS_INVALID: there is none. */
  *accessApic(engine: number): KernelPath<number> {
    const { kvm, k } = this;
    if (kvm === null || kvm.config.apicAccessHva === 0) return ACCESS_INVALID;
    const v = kvm.vcpus[engine]!;
    this.#running++;
    if (!v.mutex.trylock()) yield* v.mutex.lock();
    let result = this.#isStopping ? ACCESS_INVALID : ACCESS_DONE;
    while (result === ACCESS_DONE) {
      if (k.sched.points) yield P_DEV_TRANSLATE;
      v.note();
      if (v.mode !== IN_GUEST_MODE && !(yield* v.enterGuest())) continue;
      if (v.apicPfn !== 0) break;
      v.exitGuest();
      if ((yield* this.#holdingMm(kvm, loadApicPage(v))) < 0) result = ACCESS_INVALID;
    }
    if (result === ACCESS_DONE) {
      v.isBusy = true;
      v.pfn = v.apicPfn;
      v.generation = v.apicGeneration;
      if (k.sched.points) yield P_DEV_TRANSLATED;
      this.#reachApic(v);
      v.endInstruction();
    }
    v.mutex.unlock();
    this.#leave();
    return result;
  }

  #reachApic(v: Vcpu): void {
    const { memory } = this.k;
    const va = v.kvm.config.apicAccessHva;
    memory.touch(v.pfn, false);
    const now = memory.generation[v.pfn]!;
    this.reads++;
    if (memory.log.on)
      memory.log.emit(E_DEV_ACCESS, v.kvm.mm.id, va, va + 8, v.pfn, v.generation, now, 0, AGENT_MIRROR_TLB, DEVICE_ID);
  }

  #leave(): void {
    this.#note(true);
    this.#running--;
    if (this.#running === 0) this.#idle.wakeAll(this.k.sched);
  }

  /** The exit for a violation: RET_PF_*, or -errno: user space hears of it. */
  *#fault(kvm: Kvm, v: Vcpu): KernelPath<number> {
    const idx = kvm.srcu.readLock();
    const set = kvm.memslots;
    const result = yield* pageFault(kvm, v, v.faultGfn, v.isFaultWrite);
    kvm.srcu.readUnlock(idx);
    if (result === RET_PF_INVALID_SLOT) yield* nextMemslots(kvm, set);
    return result;
  }

  /** Work of a vCPU's thread, which is one of the process: it holds mm_users. -EFAULT when the process has none left. */
  *#holdingMm(kvm: Kvm, path: KernelPath<number>): KernelPath<number> {
    const { k, mm } = kvm;
    if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_MM, mm.id, true);
    if (mm.users <= 0) return -EFAULT;
    mm.users++;
    const result = yield* path;
    yield* k.fn.mmPut(k, mm);
    // xfer_to_guest_mode_handle_work, where the last user was this vCPU.
    if (mm.users === 0 && hasTaskWork(k)) yield* runTaskWork(k);
    return result;
  }

  #reach(v: Vcpu, what: Instruction): void {
    const { memory } = this.k;
    const { isWrite, offset } = what;
    const at = (v.pfn * 4096 + offset) / 8;
    if (memory.footprint !== null) memory.touch(v.pfn, isWrite);
    if (isWrite) {
      this.writes++;
      if (v.mayStore()) store(memory, at, what);
    } else {
      this.reads++;
      this.lastRead = memory.doubles[at]!;
      v.lastLo = memory.words[at * 2]!;
      v.lastHi = memory.words[at * 2 + 1]!;
    }
    v.emitAccess(offset, isWrite);
  }

  /** The guest has entered again and the sptes still do not allow the access. */
  #refault(v: Vcpu, attempts: number): void {
    this.refaults++;
    if (attempts > this.refaultsMax) this.refaultsMax = attempts;
    const { log } = this.k.memory;
    const hva = v.kvm.hvaOfGfn(v.faultGfn);
    if (log.on && hva >= 0)
      log.emit(E_REFAULT, v.kvm.mm.id, hva, hva + 4096, 0, 0, attempts, 0, AGENT_MIRROR_TLB, DEVICE_ID);
  }

  stats(): DeviceStats {
    const s = new DeviceStats();
    s.reads = this.reads;
    s.writes = this.writes;
    s.hits = this.hits;
    s.pageRequests = this.kvmStats.faults;
    s.answersInvalid = this.invalid;
    s.refaults = this.refaults;
    s.refaultsMax = this.refaultsMax;
    s.deviceTlbFlushes = this.kvmStats.remoteFlushes;
    s.state = this.state;
    s.callbacks = callbackCounts(this.k);
    return s;
  }

  stateWords(): number[] {
    return [this.#running, this.#isStopping ? 1 : 0, ...(this.kvm?.stateWords() ?? [])];
  }
}
