// TLB of a vCPU: combined translations, guest virtual page to host frame. It forgets nothing until it is flushed as a whole (a TLB
// that forgets is kinder to a wrong driver), and a flush costs nothing: entries carry the number of the flush before them.
//
// Only its vCPU reads and writes it: what other CPUs want of it they request (vcpu.ts).

const FIRST_SIZE = 64;
export const TLB_W = 1;

export class VcpuTlb {
  #size = FIRST_SIZE;
  #used = 0;
  /** Flushes so far, + 1: what current entries carry. */
  #epoch = 1;
  #keyLo = new Int32Array(FIRST_SIZE);
  #keyHi = new Int32Array(FIRST_SIZE);
  #epochs = new Int32Array(FIRST_SIZE);
  /** pfn << 12 | TLB_W */
  value = new Int32Array(FIRST_SIZE);
  generation = new Uint32Array(FIRST_SIZE);
  /** gfn that the page is, for events. */
  gfn = new Float64Array(FIRST_SIZE);

  /** Slot of the page's entry, -1 when there is none. */
  find(page: number): number {
    const hi = (page / 0x40000) | 0;
    const lo = page - hi * 0x40000;
    const mask = this.#size - 1;
    for (let i = hash(hi, lo) & mask; this.#epochs[i] === this.#epoch; i = (i + 1) & mask)
      if (this.#keyLo[i] === lo && this.#keyHi[i] === hi) return i;
    return -1;
  }

  insert(page: number, gfn: number, pfn: number, flags: number, generation: number): number {
    if (this.#used * 2 >= this.#size) this.#grow();
    const hi = (page / 0x40000) | 0;
    const lo = page - hi * 0x40000;
    const mask = this.#size - 1;
    let i = hash(hi, lo) & mask;
    while (this.#epochs[i] === this.#epoch && (this.#keyLo[i] !== lo || this.#keyHi[i] !== hi)) i = (i + 1) & mask;
    if (this.#epochs[i] !== this.#epoch) this.#used++;
    this.#epochs[i] = this.#epoch;
    this.#keyLo[i] = lo;
    this.#keyHi[i] = hi;
    this.value[i] = (pfn << 12) | flags;
    this.generation[i] = generation;
    this.gfn[i] = gfn;
    return i;
  }

  flush(): void {
    this.#epoch++;
    this.#used = 0;
  }

  /** Entries as numbers: page, value, generation; in order of page. */
  stateWords(): number[] {
    const rows: number[][] = [];
    for (let i = 0; i < this.#size; i++) {
      if (this.#epochs[i] === this.#epoch)
        rows.push([this.#keyHi[i]! * 0x40000 + this.#keyLo[i]!, this.value[i]!, this.generation[i]!]);
    }
    return rows.sort((a, b) => a[0]! - b[0]!).flat();
  }

  #grow(): void {
    const old = { size: this.#size, lo: this.#keyLo, hi: this.#keyHi, epochs: this.#epochs };
    const { value, generation, gfn } = this;
    const size = old.size * 2;
    this.#size = size;
    this.#used = 0;
    this.#keyLo = new Int32Array(size);
    this.#keyHi = new Int32Array(size);
    this.#epochs = new Int32Array(size);
    this.value = new Int32Array(size);
    this.generation = new Uint32Array(size);
    this.gfn = new Float64Array(size);
    for (let i = 0; i < old.size; i++) {
      if (old.epochs[i] !== this.#epoch) continue;
      const page = old.hi[i]! * 0x40000 + old.lo[i]!;
      this.insert(page, gfn[i]!, value[i]! >>> 12, value[i]! & 0xfff, generation[i]!);
    }
  }
}

function hash(hi: number, lo: number): number {
  return (Math.imul(lo, 0x9e3779b1) ^ Math.imul(hi, 0x85ebca6b)) >>> 7;
}
