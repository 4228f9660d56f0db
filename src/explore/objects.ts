// Footprints as an explorer keeps them: objects get small numbers, a footprint is a run of words (object * 2 + written) in
// one array that grows and shrinks like the stack of steps that it describes.

import type { Footprint } from '../base/footprint.ts';

/** Numbers objects 0, 1, 2 ... in the order in which they are met. */
export class ObjectTable {
  /** Open addressing; a kind of 0 is an empty place. */
  #kinds = new Int32Array(64);
  #identities = new Int32Array(64);
  #numbers = new Int32Array(64);
  /** Place of each number in the table. */
  #places: number[] = [];

  get count(): number {
    return this.#places.length;
  }

  numberOf(kind: number, identity: number): number {
    const mask = this.#kinds.length - 1;
    let at = (Math.imul(identity ^ (kind * 0x1000193), 0x9e3779b1) >>> 12) & mask;
    while (this.#kinds[at] !== 0) {
      if (this.#identities[at] === identity && this.#kinds[at] === kind) return this.#numbers[at]!;
      at = (at + 1) & mask;
    }
    return this.#insert(at, kind, identity);
  }

  kindOf(number: number): number {
    return this.#kinds[this.#places[number]!]!;
  }

  identityOf(number: number): number {
    return this.#identities[this.#places[number]!]!;
  }

  #insert(at: number, kind: number, identity: number): number {
    const number = this.#places.length;
    this.#kinds[at] = kind;
    this.#identities[at] = identity;
    this.#numbers[at] = number;
    this.#places.push(at);
    if (this.#places.length * 2 > this.#kinds.length) this.#grow();
    return number;
  }

  #grow(): void {
    const [kinds, identities, places] = [this.#kinds, this.#identities, this.#places];
    const size = kinds.length * 2;
    this.#kinds = new Int32Array(size);
    this.#identities = new Int32Array(size);
    this.#numbers = new Int32Array(size);
    this.#places = [];
    for (const at of places) this.numberOf(kinds[at]!, identities[at]!);
  }
}

/** The array in which footprints stand. */
export class FootprintStack {
  readonly objects = new ObjectTable();
  data = new Int32Array(256);
  /** First free word: whoever pops sets it back. */
  top = 0;
  /** Of each object: the last footprint (a running number) that has it, and where. */
  #seenIn = new Int32Array(64);
  #seenAt = new Int32Array(64);
  #running = 0;

  /** Pushes what `footprint` holds, each object once. It starts at the old top. */
  push(footprint: Footprint): void {
    this.#begin(footprint.length);
    for (let i = 0; i < footprint.length; i++) {
      const object = this.objects.numberOf(footprint.kind(i), footprint.identity(i));
      this.#add(object, footprint.isWrite(i) ? 1 : 0);
    }
  }

  /** Pushes a footprint in the form of `touched`. */
  pushTouched(touched: readonly number[]): void {
    this.#begin(touched.length);
    for (let i = 0; i < touched.length; i += 3) {
      this.#add(this.objects.numberOf(touched[i]!, touched[i + 1]!), touched[i + 2]!);
    }
  }

  /** [from, to) as plain data: kind, identity and 1 or 0 (written) of each object. */
  touched(from: number, to: number): number[] {
    const touched: number[] = [];
    for (let i = from; i < to; i++) {
      const word = this.data[i]!;
      touched.push(this.objects.kindOf(word >> 1), this.objects.identityOf(word >> 1), word & 1);
    }
    return touched;
  }

  /** Pushes one entry of the footprint that stands on top. */
  #add(object: number, written: number): void {
    if (object >= this.#seenIn.length) this.#growObjects(object);
    if (this.#seenIn[object] === this.#running) {
      this.data[this.#seenAt[object]!]! |= written;
      return;
    }
    this.#seenIn[object] = this.#running;
    this.#seenAt[object] = this.top;
    this.data[this.top++] = object * 2 + written;
  }

  /** Joins the footprints that stand on the stack from `from` on into one. */
  join(from: number): void {
    const end = this.top;
    this.#begin(0);
    this.top = from;
    // Entries are read at or after the place where they are written.
    for (let i = from; i < end; i++) {
      const word = this.data[i]!;
      this.#add(word >> 1, word & 1);
    }
  }

  /** Makes [from, to) the footprint that `meets` compares with. */
  select(from: number, to: number): void {
    this.#begin(0);
    for (let i = from; i < to; i++) {
      this.#seenIn[this.data[i]! >> 1] = this.#running;
      this.#seenAt[this.data[i]! >> 1] = i;
    }
  }

  /** Has the footprint pushed or selected last an object of [from, to) that either writes? */
  meets(from: number, to: number): boolean {
    const { data } = this;
    for (let i = from; i < to; i++) {
      const word = data[i]!;
      if (this.#seenIn[word >> 1] === this.#running && ((word | data[this.#seenAt[word >> 1]!]!) & 1) !== 0)
        return true;
    }
    return false;
  }

  #begin(room: number): void {
    this.#running++;
    if (this.#running === 0x7fffffff) {
      this.#seenIn.fill(0);
      this.#running = 1;
    }
    if (this.top + room <= this.data.length) return;
    const data = new Int32Array(Math.max(this.data.length * 2, this.top + room));
    data.set(this.data);
    this.data = data;
  }

  #growObjects(object: number): void {
    const size = Math.max(this.#seenIn.length * 2, object + 1);
    const [seenIn, seenAt] = [new Int32Array(size), new Int32Array(size)];
    seenIn.set(this.#seenIn);
    seenAt.set(this.#seenAt);
    this.#seenIn = seenIn;
    this.#seenAt = seenAt;
  }
}
