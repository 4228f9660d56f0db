// Memslots (virt/kvm/kvm_main.c, struct kvm_memslots): which guest frames are which addresses of the process. A set never changes;
// an update makes a new one and publishes it (kvm_swap_active_memslots). Readers hold kvm.srcu; updaters hold kvm.slots_lock.
//
// Lookups: by gfn (binary search over slots that do not overlap there), and by range of addresses (an interval tree in Linux:
// here slots by address, with the furthest end of all before, since several slots may show the same memory).

export interface Memslot {
  readonly id: number;
  readonly baseGfn: number;
  readonly pages: number;
  /** First byte address in the process, and the end. */
  readonly hva: number;
  readonly hvaEnd: number;
  readonly isReadonly: boolean;
  /** KVM_MEMSLOT_INVALID: on its way out; faults wait. */
  readonly isInvalid: boolean;
  /** dirty_bitmap: gfns stored to since the log was last read; null: not logged. Written under mmu_lock or by the vCPU that stores. */
  readonly dirty: Set<number> | null;
}

export class MemslotSet {
  /** By baseGfn. */
  readonly slots: readonly Memslot[];
  readonly #byHva: readonly Memslot[];
  /** Largest hvaEnd of #byHva[0..i]. */
  readonly #furthest: readonly number[];
  #last: Memslot | null = null;
  #lastByHva: Memslot | null = null;
  /** Do two slots show the same memory? */
  readonly hasAliases: boolean;

  constructor(slots: readonly Memslot[]) {
    this.slots = [...slots].sort((a, b) => a.baseGfn - b.baseGfn);
    this.#byHva = [...slots].sort((a, b) => a.hva - b.hva);
    const furthest: number[] = [];
    let hasAliases = false;
    for (const s of this.#byHva) {
      const before = furthest.at(-1) ?? 0;
      hasAliases ||= s.hva < before;
      furthest.push(Math.max(before, s.hvaEnd));
    }
    this.#furthest = furthest;
    this.hasAliases = hasAliases;
  }

  /** gfn_to_memslot. */
  ofGfn(gfn: number): Memslot | null {
    const last = this.#last;
    if (last !== null && gfn >= last.baseGfn && gfn < last.baseGfn + last.pages) return last;
    let low = 0;
    let high = this.slots.length;
    while (low < high) {
      const mid = (low + high) >> 1;
      if (this.slots[mid]!.baseGfn <= gfn) low = mid + 1;
      else high = mid;
    }
    const slot = this.slots[low - 1];
    if (slot === undefined || gfn >= slot.baseGfn + slot.pages) return null;
    this.#last = slot;
    return slot;
  }

  /** kvm_for_each_memslot_in_hva_range: slots that show a byte of [start, end), in order of address. */
  ofRange(start: number, end: number): Memslot[] {
    const found: Memslot[] = [];
    let low = 0;
    let high = this.#byHva.length;
    while (low < high) {
      const mid = (low + high) >> 1;
      if (this.#byHva[mid]!.hva < end) low = mid + 1;
      else high = mid;
    }
    for (let i = low - 1; i >= 0 && this.#furthest[i]! > start; i--) {
      const slot = this.#byHva[i]!;
      if (slot.hvaEnd > start) found.unshift(slot);
    }
    return found;
  }

  /** A slot that shows the address, or null. */
  ofHva(hva: number): Memslot | null {
    const last = this.#lastByHva;
    if (last !== null && hva >= last.hva && hva < last.hvaEnd) return last;
    this.#lastByHva = this.ofRange(hva, hva + 1)[0] ?? null;
    return this.#lastByHva;
  }

  withId(id: number): Memslot | null {
    return this.slots.find((s) => s.id === id) ?? null;
  }

  /** The set with slot `id` replaced, or without it (null). */
  replacing(id: number, slot: Memslot | null): MemslotSet {
    const others = this.slots.filter((s) => s.id !== id);
    return new MemslotSet(slot === null ? others : [...others, slot]);
  }
}

/** hva of a guest frame in the slot. */
export function hvaOf(slot: Memslot, gfn: number): number {
  return slot.hva + (gfn - slot.baseGfn) * 4096;
}

/** hva_to_gfn_memslot. */
export function gfnOf(slot: Memslot, hva: number): number {
  return slot.baseGfn + Math.floor((hva - slot.hva) / 4096);
}
