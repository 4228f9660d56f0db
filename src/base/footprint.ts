// What one step touched: (object, read or write) pairs, recorded by the accessors while the step runs. An explorer takes
// them after each step; nobody else turns the recorder on. Objects are integers: kind * 2^32 + identity.

export const OBJ_ENTRY = 1; // a page-table entry; identity = word index
export const OBJ_PAGE = 2; // a struct page; identity = pfn
export const OBJ_LOCK = 3; // a lock and all that it guards
export const OBJ_LIST = 4; // a list or queue
export const OBJ_TLB = 5; // a TLB set
export const OBJ_DRIVER = 6; // a driver instance's private state
export const OBJ_FRAME = 8; // the bytes of a frame that holds data; identity = pfn
export const OBJ_MM = 9; // what of an mm no lock guards (gathers pending, users)
export const OBJ_DEVICE = 10; // a piece of hardware or of its driver's state (device/objects)
export const OBJ_FILE = 11; // size and page cache of a file; identity = inode number
export const OBJ_PROPERTY = 7; // the object on which a property's order matters

export class Footprint {
  /** kind * 2 + (1: written), and the identity's 32 bits, of each entry. */
  #kinds = new Int32Array(64);
  #identities = new Int32Array(64);
  #count = 0;

  note(kind: number, identity: number, isWrite: boolean): void {
    if (this.#count === this.#kinds.length) this.#grow();
    this.#kinds[this.#count] = kind * 2 + (isWrite ? 1 : 0);
    this.#identities[this.#count] = identity;
    this.#count++;
  }

  get length(): number {
    return this.#count;
  }

  /** Object of entry i. */
  object(i: number): number {
    return (this.#kinds[i]! >> 1) * 4294967296 + (this.#identities[i]! >>> 0);
  }

  kind(i: number): number {
    return this.#kinds[i]! >> 1;
  }

  /** The identity as a signed integer of 32 bits. */
  identity(i: number): number {
    return this.#identities[i]!;
  }

  isWrite(i: number): boolean {
    return (this.#kinds[i]! & 1) !== 0;
  }

  clear(): void {
    this.#count = 0;
  }

  #grow(): void {
    const kinds = new Int32Array(this.#count * 2);
    const identities = new Int32Array(this.#count * 2);
    kinds.set(this.#kinds);
    identities.set(this.#identities);
    this.#kinds = kinds;
    this.#identities = identities;
  }
}
