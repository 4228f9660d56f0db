// Typed arrays from one buffer that is used again. A small machine consists of some two hundred typed arrays; each of its own costs a
// microsecond to make and to collect, as a view of an arena a tenth of that (2026-11: a third of the time of an execution of a
// scenario). Whoever builds machines by the thousand puts an arena in force while one is built:
//
//   arena.reset();
//   Arena.use(arena, () => new Machine());   every int32s(n), float64s(n) ... inside is a view of the arena, zeroed
//
// What is made later, when no arena is in force, is an array of its own. The arrays live until the next reset.

const ALIGNMENT = 8;

export class Arena {
  #buffer: ArrayBuffer;
  #bytes: Uint8Array;
  #top = 0;
  /** Bytes asked for since the last reset, whether they fitted or not. */
  #wanted = 0;

  constructor(sizeBytes = 1 << 18) {
    this.#buffer = new ArrayBuffer(sizeBytes);
    this.#bytes = new Uint8Array(this.#buffer);
  }

  /** Zeroes what was used; arrays handed out before must not be used any more. Grows to what was wanted the last time. */
  reset(): void {
    if (this.#wanted > this.#buffer.byteLength) {
      this.#buffer = new ArrayBuffer(this.#wanted);
      this.#bytes = new Uint8Array(this.#buffer);
    } else {
      this.#bytes.fill(0, 0, this.#top);
    }
    this.#top = 0;
    this.#wanted = 0;
  }

  /** Puts the arena in force while `build` runs. */
  static use<T>(arena: Arena, build: () => T): T {
    const before = current;
    current = arena;
    try {
      return build();
    } finally {
      current = before;
    }
  }

  /** Offset of `size` bytes, or -1 when they do not fit. */
  place(size: number): number {
    const rounded = (size + ALIGNMENT - 1) & -ALIGNMENT;
    this.#wanted += rounded;
    if (this.#top + rounded > this.#buffer.byteLength) return -1;
    const at = this.#top;
    this.#top += rounded;
    return at;
  }

  get buffer(): ArrayBuffer {
    return this.#buffer;
  }
}

let current: Arena | null = null;

export function int32s(n: number): Int32Array<ArrayBuffer> {
  const at = current === null ? -1 : current.place(n * 4);
  return at < 0 ? new Int32Array(n) : new Int32Array(current!.buffer, at, n);
}

export function uint32s(n: number): Uint32Array<ArrayBuffer> {
  const at = current === null ? -1 : current.place(n * 4);
  return at < 0 ? new Uint32Array(n) : new Uint32Array(current!.buffer, at, n);
}

export function float64s(n: number): Float64Array<ArrayBuffer> {
  const at = current === null ? -1 : current.place(n * 8);
  return at < 0 ? new Float64Array(n) : new Float64Array(current!.buffer, at, n);
}

export function uint8s(n: number): Uint8Array<ArrayBuffer> {
  const at = current === null ? -1 : current.place(n);
  return at < 0 ? new Uint8Array(n) : new Uint8Array(current!.buffer, at, n);
}
