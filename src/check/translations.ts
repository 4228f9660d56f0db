// Which translations each agent may still hold: entered at its fill, left at the invalidation that covers it. A TLB that
// replaces an entry leaves no record, so "held" means "not withdrawn": what the kernel must assume.
//
// One Holder per (address space, agent, device or CPU). Entries live in a pool of flat arrays; each is on the list of the
// frame that it points to, so that a free finds its holders at once.

import { AGENT_IOTLB, AGENT_PIN, AGENT_PWC } from '../abi/events.ts';
import { float64s, int32s, uint8s } from '../base/arena.ts';
import { PFN_LIMIT } from './frames.ts';
import type { Objects } from './objects.ts';

/** Agent number of a CPU TLB (device agents are AGENT_*). */
export const AGENT_CPU = 0;

const PAGE = 4096;
/** Entries, and frames, for which there is room at first. */
const POOL = 64;

export class Holder {
  readonly mm: number;
  readonly agent: number;
  /** Device id, or CPU number. */
  readonly device: number;
  /** Start address + log2 of the size in pages (below 4096) -> pool slot. */
  readonly slots = new Map<number, number>();
  /** Entries larger than a page. */
  large = 0;

  constructor(mm: number, agent: number, device: number) {
    this.mm = mm;
    this.agent = agent;
    this.device = device;
  }

  /** A TLB on the device side: it must follow the page tables. */
  get isDeviceTlb(): boolean {
    return this.agent >= AGENT_IOTLB && this.agent !== AGENT_PWC && this.agent !== AGENT_PIN;
  }

  /** Device TLB or DMA mapping: its entries must go before the frame does. */
  get isDevice(): boolean {
    return this.agent >= AGENT_IOTLB && this.agent !== AGENT_PWC;
  }
}

export class Translations {
  objects: Objects | null = null;
  readonly #byMm = new Map<number, Holder[]>();
  readonly #none: Holder[] = [];
  #lastMm = -1;
  #lastHolders: Holder[] = this.#none;
  // Pool.
  start = float64s(POOL);
  end = float64s(POOL);
  pfn = int32s(POOL);
  generation = float64s(POOL);
  step = float64s(POOL);
  writable = uint8s(POOL);
  owner: Holder[] = [];
  #next = int32s(POOL);
  #prev = int32s(POOL);
  #free: number[] = [];
  #used = 1; // slot 0 is nobody
  /** First slot of each frame's list, 0 when empty. */
  #head = int32s(POOL);

  /** Holders of an address space. */
  holders(mm: number): readonly Holder[] {
    if (mm !== this.#lastMm) {
      this.#lastMm = mm;
      this.#lastHolders = this.#byMm.get(mm) ?? this.#none;
    }
    return this.#lastHolders;
  }

  holder(mm: number, agent: number, device: number): Holder | null {
    const all = this.holders(mm);
    for (let i = 0; i < all.length; i++) {
      const h = all[i]!;
      if (h.agent === agent && h.device === device) return h;
    }
    return null;
  }

  #make(mm: number, agent: number, device: number): Holder {
    const h = new Holder(mm, agent, device);
    const all = this.#byMm.get(mm);
    if (all === undefined) this.#byMm.set(mm, [h]);
    else all.push(h);
    this.#lastMm = -1;
    return h;
  }

  /** Enters a translation; it replaces the one of the same range. `pfn` must be a frame number. */
  fill(
    mm: number,
    agent: number,
    device: number,
    start: number,
    end: number,
    pfn: number,
    generation: number,
    writable: boolean,
    step: number,
  ): Holder {
    const h = this.holder(mm, agent, device) ?? this.#make(mm, agent, device);
    const key = keyOf(start, end);
    const old = h.slots.get(key);
    if (this.objects !== null) {
      this.objects.held(mm, agent, device, start, end, true);
      this.objects.onFrame(pfn, true);
      if (old !== undefined) this.objects.onFrame(this.pfn[old]!, true);
    }
    let slot: number;
    if (old === undefined) {
      slot = this.#take();
      this.owner[slot] = h;
      this.start[slot] = start;
      this.end[slot] = end;
      h.slots.set(key, slot);
      if (end - start !== PAGE) h.large++;
    } else {
      slot = old;
      this.#unlink(slot);
    }
    this.pfn[slot] = pfn;
    this.generation[slot] = generation;
    this.writable[slot] = writable ? 1 : 0;
    this.step[slot] = step;
    this.#link(slot, pfn);
    return h;
  }

  /** Drops every entry of the holder that intersects [start, end). */
  drop(h: Holder, start: number, end: number): void {
    if (h.slots.size === 0) return;
    const before = h.slots.size;
    this.#dropRange(h, start, end);
    if (this.objects !== null && h.slots.size !== before) this.objects.held(h.mm, h.agent, h.device, start, end, true);
  }

  #dropRange(h: Holder, start: number, end: number): void {
    if (h.large === 0 && (end - start) / PAGE <= h.slots.size) {
      for (let va = start - (start % PAGE); va < end; va += PAGE) {
        const slot = h.slots.get(va);
        if (slot !== undefined) this.#drop(h, va, slot);
      }
      return;
    }
    for (const [key, slot] of h.slots) {
      if (this.start[slot]! < end && this.end[slot]! > start) this.#drop(h, key, slot);
    }
  }

  /** The entry that translates the page at `va` for this holder, 0 when none. */
  lookup(h: Holder, va: number): number {
    const slot = h.slots.get(va - (va % PAGE));
    if (slot !== undefined) return slot;
    if (h.large === 0) return 0;
    for (let span = 0x200000; span <= 0x40000000; span *= 512) {
      const start = va - (va % span);
      const large = h.slots.get(keyOf(start, start + span));
      if (large !== undefined) return large;
    }
    return 0;
  }

  /** First entry on the frame's list, 0 when none; go on with `nextOfFrame`. */
  firstOfFrame(pfn: number): number {
    return pfn < this.#head.length ? this.#head[pfn]! : 0;
  }

  nextOfFrame(slot: number): number {
    return this.#next[slot]!;
  }

  /** Forgets an address space and all that is held of it. */
  forget(mm: number): void {
    for (const h of this.holders(mm)) this.drop(h, 0, Number.POSITIVE_INFINITY);
    this.#byMm.delete(mm);
    this.#lastMm = -1;
  }

  #drop(h: Holder, key: number, slot: number): void {
    h.slots.delete(key);
    if (this.objects !== null) this.objects.onFrame(this.pfn[slot]!, true);
    if (this.end[slot]! - this.start[slot]! !== PAGE) h.large--;
    this.#unlink(slot);
    this.#free.push(slot);
  }

  #take(): number {
    const free = this.#free.pop();
    if (free !== undefined) return free;
    if (this.#used === this.pfn.length) this.#growPool();
    return this.#used++;
  }

  #growPool(): void {
    const size = this.pfn.length * 2;
    this.start = grow(this.start, float64s(size));
    this.end = grow(this.end, float64s(size));
    this.generation = grow(this.generation, float64s(size));
    this.step = grow(this.step, float64s(size));
    this.pfn = grow(this.pfn, int32s(size));
    this.writable = grow(this.writable, uint8s(size));
    this.#next = grow(this.#next, int32s(size));
    this.#prev = grow(this.#prev, int32s(size));
  }

  #link(slot: number, pfn: number): void {
    if (pfn >= this.#head.length) {
      let size = this.#head.length;
      while (size <= pfn) size *= 2;
      this.#head = grow(this.#head, int32s(Math.min(size, PFN_LIMIT)));
    }
    const first = this.#head[pfn]!;
    this.#next[slot] = first;
    this.#prev[slot] = 0;
    if (first !== 0) this.#prev[first] = slot;
    this.#head[pfn] = slot;
  }

  #unlink(slot: number): void {
    const next = this.#next[slot]!;
    const prev = this.#prev[slot]!;
    if (next !== 0) this.#prev[next] = prev;
    if (prev !== 0) this.#next[prev] = next;
    else this.#head[this.pfn[slot]!] = next;
  }
}

/** Key of a range in a holder: the start of a page-sized entry is its own key; larger ones add log2 of their pages. */
function keyOf(start: number, end: number): number {
  const size = end - start;
  return size === PAGE ? start : start + Math.log2(size / PAGE);
}

function grow<T extends Float64Array | Int32Array | Uint8Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
