// The walk in two dimensions: the guest's page tables (long mode, four levels) stand in guest memory, so each of their entries is
// reached through the sptes first. 4 x (nested look-up + entry) + the nested look-up of the page itself.
//
// Reads of guest table entries count as writes for the second dimension, as on hardware that keeps A and D bits there: a
// table page that is write-protected faults. A and D of the guest's entries are set in guest memory, by the vCPU itself.
//
// Between the look-up of a table page and the reading of its entry an invalidation may begin: its flush waits for the whole
// instruction (vcpu.ts), and with points on the walk stands there.

import { PTE_A, PTE_D, PTE_P, PTE_PS, PTE_RW } from '../../abi/pte.ts';
import { vpnHi, vpnLo } from '../../hw/page-table.ts';
import type { AtomicPath } from '../../sched/path.ts';
import { P_DEV_TRANSLATE } from '../../sched/points.ts';
import type { Vcpu } from './vcpu.ts';

// Outcomes of a translation.
export const TRANSLATED = 0;
/** The sptes do not allow it: `faultGfn`, `isFaultWrite` of the vCPU. */
export const EPT_VIOLATION = 1;
/** The guest's own tables do not allow it: an exception in the guest. */
export const GUEST_FAULT = 2;

/** The walk of a vCPU, one at a time. */
export class GuestWalk {
  page = 0;
  isWrite = false;
  /** Table to be read next, and its level (3 = top). */
  tableGfn = 0;
  level = 3;
  isWritable = true;
  /** Guest frame of the page, once found. */
  gfn = -1;

  begin(v: Vcpu, gva: number, isWrite: boolean): this {
    this.page = Math.floor(gva / 4096);
    this.isWrite = isWrite;
    this.tableGfn = v.cr3;
    this.level = 3;
    this.isWritable = true;
    this.gfn = -1;
    return this;
  }

  /** First half of a level: the table page itself, through the sptes. */
  locate(v: Vcpu): boolean {
    return v.nested(this.tableGfn, true) !== 0;
  }

  /** Second half: the entry. False: the guest's tables do not allow the access. */
  read(v: Vcpu): boolean {
    const { memory } = v.kvm.k;
    const { level } = this;
    const va = this.page * 4096;
    const half = level >= 2 ? vpnHi(va) : vpnLo(va);
    const index = (level & 1) === 1 ? half >>> 9 : half & 511;
    const word = v.pfn * 1024 + index * 2;
    const lo = memory.words[word]!;
    const hi = memory.words[word + 1]!;
    if ((lo & PTE_P) === 0 || (this.isWrite && (lo & PTE_RW) === 0)) {
      this.#reached(v, index, false);
      return false;
    }
    const isLeaf = level === 0 || (level === 1 && (lo & PTE_PS) !== 0);
    const bits = PTE_A | (isLeaf && this.isWrite ? PTE_D : 0);
    const sets = (lo & bits) !== bits;
    if (sets && v.mayStore()) memory.words[word] = lo | bits;
    this.#reached(v, index, sets);
    const gfn = (lo >>> 12) + (hi & 0xfffff) * 0x100000;
    // A TLB entry that lets stores through exists only where D is set.
    this.isWritable &&= (lo & PTE_RW) !== 0 && (!isLeaf || this.isWrite || (lo & PTE_D) !== 0);
    if (!isLeaf) {
      this.tableGfn = gfn;
      this.level--;
    } else this.gfn = level === 0 ? gfn : gfn + (this.page % 512);
    return true;
  }

  #reached(v: Vcpu, index: number, isWrite: boolean): void {
    v.kvm.k.memory.touch(v.pfn, isWrite);
    v.emitAccess(index * 8, isWrite);
  }
}

/** The whole walk in one step, and the TLB entry. TRANSLATED, EPT_VIOLATION or GUEST_FAULT. */
export function guestWalk(v: Vcpu, gva: number, isWrite: boolean): number {
  const walk = v.walk.begin(v, gva, isWrite);
  while (walk.gfn < 0) {
    if (!walk.locate(v)) return EPT_VIOLATION;
    if (!walk.read(v)) return GUEST_FAULT;
  }
  return v.fill(walk.page, walk.gfn, isWrite, walk.isWritable);
}

/** The same in steps. */
export function* guestWalkSteps(v: Vcpu, gva: number, isWrite: boolean): AtomicPath<number> {
  const walk = v.walk.begin(v, gva, isWrite);
  while (walk.gfn < 0) {
    if (!walk.locate(v)) return EPT_VIOLATION;
    yield P_DEV_TRANSLATE;
    if (!walk.read(v)) return GUEST_FAULT;
    yield P_DEV_TRANSLATE;
  }
  return v.fill(walk.page, walk.gfn, isWrite, walk.isWritable);
}
