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
  #objects: number[] = [];
  #writes: boolean[] = [];

  note(kind: number, identity: number, isWrite: boolean): void {
    this.#objects.push(kind * 4294967296 + identity);
    this.#writes.push(isWrite);
  }

  get length(): number {
    return this.#objects.length;
  }

  /** Object of entry i. */
  object(i: number): number {
    return this.#objects[i]!;
  }

  isWrite(i: number): boolean {
    return this.#writes[i]!;
  }

  clear(): void {
    this.#objects.length = 0;
    this.#writes.length = 0;
  }
}
