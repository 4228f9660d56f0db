// A program for the guest: a small kernel on each vCPU, with page tables of its own in guest memory. It maps, stores, loads, remaps,
// protects and unmaps by guest virtual addresses, gives frames to a balloon, and knows at each moment what every word must be. What
// the host does below (swap, migration, KSM, huge pages) must not show.
//
//   DIRECT   all guest memory, by 2 MiB pages: through it the program changes its page tables
//   WINDOW   pages that come and go
//
// Guest memory: frames [0, SHARED_FRAMES) are all vCPUs' together (each has a word of its own there); the rest is dealt out.

import { PTE_A, PTE_D, PTE_P, PTE_PS, PTE_RW, PTE_US } from '../../abi/pte.ts';
import type { Rng } from '../../base/rng.ts';
import { vpnHi, vpnLo } from '../../hw/page-table.ts';
import type { KernelPath } from '../../sched/path.ts';
import { ACCESS_DONE } from '../accessor.ts';
import type { KvmDevice } from './device.ts';
import { GUEST_FAULT } from './guest-walk.ts';
import type { Vcpu } from './vcpu.ts';

const DIRECT = 0x100000000000;
const WINDOW = 0x200000000;
/** Frames that all vCPUs use. */
export const SHARED_FRAMES = 2;
/** Words of a data frame that the program uses, spread over it. */
const WORDS = 8;
const TABLE = PTE_P | PTE_RW | PTE_US | PTE_A;

/** Frames that the host takes back: it drops what they hold, and calls back. */
export type Balloon = (gfn: number) => KernelPath<void>;

export interface GuestOptions {
  readonly device: KvmDevice;
  readonly engine: number;
  readonly rng: Rng;
  /** Guest frames of all vCPUs, and this one's part: [first, end). */
  readonly frames: number;
  readonly first: number;
  readonly end: number;
  /** Pages of the window. */
  readonly windowPages: number;
  readonly balloon: Balloon;
}

interface WindowPage {
  gfn: number;
  isWritable: boolean;
}

export class GuestProgram {
  readonly #o: GuestOptions;
  readonly #v: Vcpu;
  /** Next frame for a table; data frames follow. */
  #next: number;
  #pgd = 0;
  /** Guest frames of the window's PTE tables, by their number. */
  readonly #pteTables: number[] = [];
  readonly #window: (WindowPage | null)[];
  /** Data frames -> words expected. */
  readonly data = new Map<number, Int32Array>();
  readonly #free: number[] = [];
  readonly #shared: number[];
  #ownShared = 0;
  /** What went wrong, in words; empty: nothing. */
  readonly wrong: string[] = [];
  operations = 0;
  loads = 0;
  stores = 0;
  faults = 0;
  ballooned = 0;

  constructor(o: GuestOptions) {
    this.#o = o;
    this.#v = o.device.kvm!.vcpus[o.engine]!;
    this.#next = o.first;
    this.#window = Array.from({ length: o.windowPages }, () => null);
    this.#shared = Array.from({ length: o.device.engineCount }, () => 0);
  }

  // --- instructions

  *#store(gva: number, lo: number, hi = 0): KernelPath<number> {
    this.stores++;
    const what = { isWrite: true, offset: gva % 4096, value: lo, hi };
    return yield* this.#o.device.run(this.#o.engine, gva, what);
  }

  *#load(gva: number): KernelPath<number> {
    this.loads++;
    return yield* this.#o.device.run(this.#o.engine, gva, { isWrite: false, offset: gva % 4096, value: 0, hi: 0 });
  }

  /** A store that must succeed. */
  *#must(gva: number, lo: number, hi = 0): KernelPath<void> {
    const result = yield* this.#store(gva, lo, hi);
    if (result !== ACCESS_DONE) this.#say(`store to ${gva.toString(16)} answers ${result}`);
  }

  *#expect(gva: number, lo: number, what: string): KernelPath<void> {
    const result = yield* this.#load(gva);
    if (result !== ACCESS_DONE) this.#say(`${what}: load of ${gva.toString(16)} answers ${result}`);
    else if (this.#v.lastLo !== lo) this.#say(`${what}: ${gva.toString(16)} is ${this.#v.lastLo}, not ${lo}`);
  }

  #say(text: string): void {
    this.wrong.push(`vCPU ${this.#o.engine}, operation ${this.operations}: ${text}`);
  }

  // --- page tables

  #table(): number {
    return this.#next++;
  }

  /** Entry of a table, stored while paging is off. */
  *#entry(table: number, index: number, gfn: number, flags: number): KernelPath<void> {
    yield* this.#must(table * 4096 + index * 8, lowWord(gfn, flags), Math.floor(gfn / 0x100000));
  }

  /** Tables for both areas; then paging goes on. */
  *boot(): KernelPath<void> {
    const { frames, end, windowPages } = this.#o;
    this.#pgd = this.#table();
    const directPud = this.#table();
    const directPmd = this.#table();
    yield* this.#entry(this.#pgd, vpnHi(DIRECT) >>> 9, directPud, TABLE);
    yield* this.#entry(directPud, vpnHi(DIRECT) & 511, directPmd, TABLE);
    for (let i = 0; i * 512 < frames; i++) yield* this.#entry(directPmd, i, i * 512, TABLE | PTE_PS);
    const pud = this.#table();
    const pmd = this.#table();
    yield* this.#entry(this.#pgd, vpnHi(WINDOW) >>> 9, pud, TABLE);
    yield* this.#entry(pud, vpnHi(WINDOW) & 511, pmd, TABLE);
    for (let i = 0; i * 512 < windowPages; i++) {
      const table = this.#table();
      this.#pteTables.push(table);
      yield* this.#entry(pmd, (vpnLo(WINDOW) >>> 9) + i, table, TABLE);
    }
    for (let gfn = this.#next; gfn < end; gfn++) {
      this.#free.push(gfn);
      this.data.set(gfn, new Int32Array(WORDS));
    }
    this.#v.cr3 = this.#pgd;
    this.#flush();
    // No two frames are equal, or little memory would be needed for all of them.
    for (const [gfn, words] of this.data) {
      words[WORDS - 1] = gfn + 1;
      yield* this.#must(addressOf(this.#directOf(gfn), WORDS - 1), gfn + 1);
    }
  }

  /** mov cr3: the vCPU's TLB is empty. */
  #flush(): void {
    this.#v.tlb.flush();
  }

  #directOf(gfn: number): number {
    return DIRECT + gfn * 4096;
  }

  #pteOf(page: number): number {
    return this.#directOf(this.#pteTables[page >> 9]!) + (page & 511) * 8;
  }

  *#setPte(page: number, entry: WindowPage | null): KernelPath<void> {
    const flags = entry === null ? 0 : PTE_P | PTE_US | (entry.isWritable ? PTE_RW : 0);
    yield* this.#must(
      this.#pteOf(page),
      entry === null ? 0 : lowWord(entry.gfn, flags),
      entry === null ? 0 : Math.floor(entry.gfn / 0x100000),
    );
    this.#window[page] = entry;
  }

  // --- operations

  *run(operations: number): KernelPath<void> {
    const { rng } = this.#o;
    for (let i = 0; i < operations && this.wrong.length === 0; i++, this.operations++) {
      const page = rng.below(this.#window.length);
      const entry = this.#window[page]!;
      const roll = rng.below(100);
      if (roll < 3) yield* this.#useShared();
      else if (roll < 6) yield* this.#inflate();
      else if (roll < 16) yield* this.#sweep(rng.below(4));
      else if (entry === null) yield* roll < 90 ? this.#map(page) : this.#mustFault(page, rng.chance(1, 2));
      else if (roll < 45) yield* this.#change(page, entry);
      else if (roll < 85) yield* this.#check(page, entry, rng.below(WORDS));
      else yield* this.#remap(page, entry);
    }
  }

  *#map(page: number): KernelPath<void> {
    const { rng } = this.#o;
    if (this.#free.length === 0) return;
    const at = rng.below(this.#free.length);
    const gfn = this.#free[at]!;
    this.#free[at] = this.#free.at(-1)!;
    this.#free.pop();
    // What was not present is in no TLB.
    yield* this.#setPte(page, { gfn, isWritable: true });
  }

  *#change(page: number, entry: WindowPage): KernelPath<void> {
    const { rng } = this.#o;
    if (!entry.isWritable) return yield* this.#mustFault(page, true);
    const word = rng.below(WORDS);
    const value = 1 + rng.below(0x7ffffffe);
    yield* this.#must(addressOf(WINDOW + page * 4096, word), value);
    this.data.get(entry.gfn)![word] = value;
    if (!rng.chance(1, 8)) return;
    // The hardware has told the guest's entry.
    if (
      (yield* this.#load(this.#pteOf(page))) === ACCESS_DONE &&
      (this.#v.lastLo & (PTE_A | PTE_D)) !== (PTE_A | PTE_D)
    )
      this.#say(`page ${page} was stored to, and D is not set in its entry`);
  }

  *#check(page: number, entry: WindowPage, word: number): KernelPath<void> {
    yield* this.#expect(addressOf(WINDOW + page * 4096, word), this.data.get(entry.gfn)![word]!, `page ${page}`);
  }

  *#remap(page: number, entry: WindowPage): KernelPath<void> {
    const { rng } = this.#o;
    const roll = rng.below(3);
    if (roll === 0) yield* this.#setPte(page, { gfn: entry.gfn, isWritable: !entry.isWritable });
    else {
      yield* this.#setPte(page, null);
      this.#free.push(entry.gfn);
      if (roll === 1) yield* this.#map(page);
    }
    this.#flush();
  }

  /** An access that the guest's own tables forbid. */
  *#mustFault(page: number, isWrite: boolean): KernelPath<void> {
    this.faults++;
    const gva = addressOf(WINDOW + page * 4096, 0);
    const result = yield* isWrite ? this.#store(gva, 1) : this.#load(gva);
    if (result === ACCESS_DONE || this.#v.lastOutcome !== GUEST_FAULT) this.#say(`page ${page}: no exception`);
  }

  /** Words of some data frame, through the direct map: mapped in the window or not. */
  *#sweep(count: number): KernelPath<void> {
    const { rng, end } = this.#o;
    for (let i = 0; i <= count; i++) {
      const gfn = this.#next + rng.below(end - this.#next);
      const word = rng.below(WORDS);
      yield* this.#expect(addressOf(this.#directOf(gfn), word), this.data.get(gfn)![word]!, `frame ${gfn}`);
    }
  }

  /** A free frame goes to the host, and comes back empty. */
  *#inflate(): KernelPath<void> {
    const gfn = this.#free.pop();
    if (gfn === undefined) return;
    yield* this.#o.balloon(gfn);
    this.ballooned++;
    this.data.get(gfn)!.fill(0);
    yield* this.#expect(addressOf(this.#directOf(gfn), 0), 0, `frame ${gfn} from the balloon`);
    this.#free.push(gfn);
  }

  /** Each vCPU counts in a word of its own; nobody's count falls. */
  *#useShared(): KernelPath<void> {
    const { rng, engine } = this.#o;
    const frame = this.#directOf(rng.below(SHARED_FRAMES));
    const other = rng.below(this.#shared.length);
    if (other === engine) {
      for (let f = 0; f < SHARED_FRAMES; f++) yield* this.#must(this.#directOf(f) + 8 * engine, this.#ownShared + 1);
      this.#ownShared++;
      return;
    }
    if ((yield* this.#load(frame + 8 * other)) !== ACCESS_DONE) return;
    const seen = this.#v.lastLo;
    // The two frames are written one after the other.
    if (seen < this.#shared[other]! - 1)
      this.#say(`the count of vCPU ${other} fell from ${this.#shared[other]} to ${seen}`);
    this.#shared[other] = Math.max(this.#shared[other]!, seen);
  }

  /** Every word, through the direct map. */
  *checkAll(): KernelPath<void> {
    for (const [gfn, words] of this.data) {
      for (let w = 0; w < WORDS && this.wrong.length === 0; w++)
        yield* this.#expect(addressOf(this.#directOf(gfn), w), words[w]!, `frame ${gfn} in the end`);
    }
  }
}

/** Offset of a word in its page, for who looks from outside. */
export function wordOffset(word: number): number {
  return word * 512 + word * 8;
}

function addressOf(page: number, word: number): number {
  return page + wordOffset(word);
}

/** Lower half of an entry for the frame. */
function lowWord(gfn: number, flags: number): number {
  return ((gfn % 0x100000) << 12) | flags;
}
