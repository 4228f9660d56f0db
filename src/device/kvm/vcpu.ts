// A virtual CPU (virt/kvm/kvm_main.c, arch/x86/kvm/x86.c vcpu_enter_guest). It runs guest instructions out of its TLB and, on a miss, by
// walking the guest's page tables and the VM's sptes; what the sptes do not allow takes it out of the guest, to page-fault.ts.
//
// Other CPUs ask things of it by requests, served before the next entry. A request is effective when nothing that the vCPU
// does later can have come before it:
//
//   who asks (kvm_make_all_cpus_request)       vCPU (vcpu_enter_guest)
//     sets the request                           serves requests: flushes its TLB
//     reads the mode                             sets the mode to IN_GUEST_MODE
//     IN_GUEST_MODE: IPI, waits for the exit     a request again? back, no entry
//                                                instructions, each whole
//                                                IPI: exits after the instruction under way
//
// The vCPU stays in guest mode between instructions; one that has none under way exits at once when it is kicked.

import { AGENT_MIRROR_TLB, E_DEV_ACCESS, E_DEV_FILL } from '../../abi/events.ts';
import { OBJ_DRIVER } from '../../base/footprint.ts';
import { Mutex } from '../../sched/locks.ts';
import type { AtomicPath } from '../../sched/path.ts';
import { P_VCPU_ENTRY } from '../../sched/points.ts';
import { WaitQueue } from '../../sched/scheduler.ts';
import { EPT_VIOLATION, GuestWalk, guestWalk, TRANSLATED } from './guest-walk.ts';
import type { Kvm } from './kvm.ts';
import { SPTE_A, SPTE_D, SPTE_R, SPTE_W } from './sptes.ts';
import { TLB_W, VcpuTlb } from './vcpu-tlb.ts';

export const OUTSIDE_GUEST_MODE = 0;
export const IN_GUEST_MODE = 1;

// Requests.
export const KVM_REQ_TLB_FLUSH = 1;
export const KVM_REQ_APIC_PAGE_RELOAD = 2;
/** KVM_REQ_OUTSIDE_GUEST_MODE: only out of the guest, and in again. */
export const KVM_REQ_OUTSIDE_GUEST_MODE = 4;

const VCPU = 0xc0000100;

export class Vcpu {
  readonly kvm: Kvm;
  readonly id: number;
  readonly tlb = new VcpuTlb();
  readonly walk = new GuestWalk();
  /** vcpu->mutex: one thread runs the vCPU. */
  readonly mutex: Mutex;
  mode = OUTSIDE_GUEST_MODE;
  requests = 0;
  /** Is an instruction under way? */
  isBusy = false;
  /** Was it kicked meanwhile? */
  #isKicked = false;
  /** Exits so far: who kicked it waits for the next. */
  exits = 0;
  readonly exitQueue = new WaitQueue();
  /** Guest frame of its page tables; -1 = paging is off, and a guest virtual address is a physical one. */
  cr3 = -1;
  /** How the last translation ended, and why it failed. */
  lastOutcome = 0;
  faultGfn = 0;
  isFaultWrite = false;
  /** What the access under way has translated to. */
  pfn = 0;
  generation = 0;
  gfn = 0;
  /** What the last load has read. */
  lastLo = 0;
  lastHi = 0;
  /** Frame behind APIC_ACCESS_ADDR and its generation; 0 = not loaded. */
  apicPfn = 0;
  apicGeneration = 0;
  /** For look-ups of pages by this vCPU. */
  readonly page = new Int32Array(1);

  constructor(kvm: Kvm, id: number) {
    this.kvm = kvm;
    this.id = id;
    const { sched } = kvm.k;
    this.mutex = new Mutex(sched, sched.lockClasses.define('vcpu->mutex'), id);
  }

  /** The vCPU's mode, requests or instruction are looked at or changed. */
  note(): void {
    const { footprint } = this.kvm.k.memory;
    if (footprint !== null) footprint.note(OBJ_DRIVER, VCPU + this.id, true);
  }

  // --- what other CPUs do

  /** kvm_make_request and kvm_vcpu_kick. True: it was in guest mode and `exits` will change. */
  request(bits: number): boolean {
    this.note();
    this.requests |= bits;
    if (this.mode !== IN_GUEST_MODE) return false;
    if (this.isBusy) this.#isKicked = true;
    else this.exitGuest();
    return true;
  }

  // --- what the vCPU does

  /** vcpu_enter_guest up to the entry. False: a request came in between. */
  *enterGuest(): AtomicPath<boolean> {
    this.note();
    this.serveRequests();
    if (this.kvm.k.sched.points) yield P_VCPU_ENTRY;
    this.note();
    this.mode = IN_GUEST_MODE;
    if (this.kvm.fn.mustLeave(this)) {
      this.mode = OUTSIDE_GUEST_MODE;
      return false;
    }
    return true;
  }

  serveRequests(): void {
    if ((this.requests & KVM_REQ_TLB_FLUSH) !== 0) this.tlb.flush();
    if ((this.requests & KVM_REQ_APIC_PAGE_RELOAD) !== 0) this.apicPfn = 0;
    this.requests = 0;
  }

  exitGuest(): void {
    this.note();
    this.mode = OUTSIDE_GUEST_MODE;
    this.#isKicked = false;
    this.exits++;
    this.exitQueue.wakeAll(this.kvm.k.sched);
  }

  /** The instruction is over. */
  endInstruction(): void {
    this.note();
    this.isBusy = false;
    if (this.#isKicked) this.exitGuest();
  }

  /** Does the TLB lack what the access needs? */
  isMiss(gva: number, isWrite: boolean): boolean {
    const i = this.tlb.find(Math.floor(gva / 4096));
    return i < 0 || (isWrite && (this.tlb.value[i]! & TLB_W) === 0);
  }

  /** Translates a guest virtual address for an instruction under way: from the TLB, or by a walk in one step. With the guest's
   *  paging on and points on, walks are stepped (guest-walk.ts). */
  translate(gva: number, isWrite: boolean): number {
    const page = Math.floor(gva / 4096);
    const i = this.tlb.find(page);
    if (i >= 0) {
      const value = this.tlb.value[i]!;
      if (!isWrite || (value & TLB_W) !== 0) {
        this.pfn = value >>> 12;
        this.generation = this.tlb.generation[i]!;
        this.gfn = this.tlb.gfn[i]!;
        return TRANSLATED;
      }
    }
    if (this.cr3 >= 0) return guestWalk(this, gva, isWrite);
    return this.fill(page, page, isWrite, true);
  }

  /** The second dimension for the last guest frame of a walk, and a TLB entry for it. `isGuestWritable`: the guest's tables. */
  fill(page: number, gfn: number, isWrite: boolean, isGuestWritable: boolean): number {
    const spte = this.nested(gfn, isWrite);
    if (spte === 0) return EPT_VIOLATION;
    // A store sets D first: an entry made by a load lets no store through where that is still to do.
    const { hasAdBits } = this.kvm.config;
    const isWritable = isGuestWritable && (spte & SPTE_W) !== 0 && (!hasAdBits || (spte & SPTE_D) !== 0);
    this.tlb.insert(page, gfn, this.pfn, isWritable ? TLB_W : 0, this.generation);
    this.#emitFill(isWritable);
    return TRANSLATED;
  }

  /** Looks the guest frame up in the sptes as hardware does: A and D are set. The spte, with pfn, generation and gfn of the vCPU set;
   *  0: a violation. */
  nested(gfn: number, isWrite: boolean): number {
    const { sptes, config } = this.kvm;
    let spte = sptes.find(gfn);
    if ((spte & SPTE_R) === 0 || (isWrite && (spte & SPTE_W) === 0)) {
      this.faultGfn = gfn;
      this.isFaultWrite = isWrite;
      return 0;
    }
    const bits = config.hasAdBits ? SPTE_A | (isWrite ? SPTE_D : 0) : 0;
    if ((spte & bits) !== bits) {
      spte |= bits;
      sptes.setBits(sptes.at, sptes.level, sptes.first, spte);
    }
    const i = gfn - sptes.first;
    this.pfn = (spte >>> 12) + i;
    this.generation = sptes.generationAt(sptes.at, i);
    this.gfn = gfn;
    return spte;
  }

  /** Does a store through the translation land? Always in reality; a run may keep stale ones from changing what others own. */
  mayStore(): boolean {
    const { memory } = this.kvm.k;
    return this.kvm.config.staleStoresLand || memory.generation[this.pfn] === this.generation;
  }

  #emitFill(isWritable: boolean): void {
    const { log } = this.kvm.k.memory;
    if (!log.on) return;
    const va = this.kvm.hvaOfGfn(this.gfn);
    if (va < 0) return;
    const w = isWritable ? 1 : 0;
    log.emit(E_DEV_FILL, this.kvm.mm.id, va, va + 4096, this.pfn, this.generation, w, 0, AGENT_MIRROR_TLB, this.kvm.id);
  }

  /** Announces that the access reached [offset, offset + 8) of the page that was translated. */
  emitAccess(offset: number, isWrite: boolean): void {
    const { memory } = this.kvm.k;
    if (!memory.log.on) return;
    const va = this.kvm.hvaOfGfn(this.gfn) + offset;
    const now = memory.generation[this.pfn]!;
    const w = isWrite ? 1 : 0;
    const { id, mm } = this.kvm;
    memory.log.emit(E_DEV_ACCESS, mm.id, va, va + 8, this.pfn, this.generation, now, w, AGENT_MIRROR_TLB, id);
  }

  stateWords(): number[] {
    const { mode, requests, exits, cr3, apicPfn } = this;
    const flight = this.isBusy ? [this.pfn, this.generation, this.gfn] : [];
    return [mode, requests, exits, cr3, apicPfn, this.#isKicked ? 1 : 0, ...flight, -1, ...this.tlb.stateWords()];
  }
}
