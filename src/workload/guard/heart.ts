// What a thread that runs somebody's driver shares with the thread that watches it: a counter that rises with every step, and
// where the thread is. A driver that never gives control back stops the counter; the watcher, who cannot ask, reads here how far
// it came. Written by one thread, read by the other; the only word that flows the other way is "stop".

/** What the watched thread does. Own work (exploring, minimising) is not watched: only somebody else's code may never return. */
export const PHASE_OWN = 0;
export const PHASE_IMPORT = 1;
export const PHASE_CREATE = 2;
export const PHASE_STEP = 3;

const BEATS = 0;
const PHASE = 1;
const PLACE = 2;
const STOP = 3;
const PLACE_COUNT = 4;
const WORDS = 8;

const PLACES_MAX = 64;
const PLACE_BYTES = 64;

/** A callback that goes on and on, and the turns that threads had when that was first noticed. */
export interface Suspect {
  readonly driver: string;
  readonly callback: string;
  readonly turnsThen: Int32Array;
}

export class Heart {
  readonly buffer: ArrayBufferLike;
  // Of the watched thread alone:
  /** Steps of each thread of the world. */
  readonly turns = new Int32Array(32);
  suspect: Suspect | null = null;
  /** Notifications of the driver so far: what it may have to start over for. */
  told = 0;
  readonly #words: Int32Array;
  readonly #text: Uint8Array;

  /** Over a buffer that another thread has, or one of its own (SharedArrayBuffer). */
  constructor(buffer: ArrayBufferLike = new SharedArrayBuffer(4 * WORDS + PLACES_MAX * PLACE_BYTES)) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer, 0, WORDS);
    this.#text = new Uint8Array(buffer, 4 * WORDS);
  }

  get beats(): number {
    return Atomics.load(this.#words, BEATS);
  }

  /** One of PHASE_*. */
  get phase(): number {
    return Atomics.load(this.#words, PHASE);
  }

  /** Name of the callback that runs, '' outside of callbacks. */
  get place(): string {
    const place = Atomics.load(this.#words, PLACE);
    if (place === 0) return '';
    const bytes = this.#text.slice((place - 1) * PLACE_BYTES, place * PLACE_BYTES);
    const end = bytes.indexOf(0);
    return new TextDecoder().decode(bytes.subarray(0, end < 0 ? PLACE_BYTES : end));
  }

  get isStopped(): boolean {
    return Atomics.load(this.#words, STOP) !== 0;
  }

  /** The watcher asks the thread to end its work at the next moment that suits. */
  stop(): void {
    Atomics.store(this.#words, STOP, 1);
  }

  /** A step begins, or another piece of somebody else's work. Returns the phase until now, for `leave`. */
  enter(phase: number): number {
    const before = this.#words[PHASE]!;
    Atomics.store(this.#words, BEATS, (this.#words[BEATS]! + 1) | 0);
    Atomics.store(this.#words, PHASE, phase);
    return before;
  }

  leave(before: number): void {
    Atomics.store(this.#words, PHASE, before);
  }

  /** Number of a place (a callback), for `at`. Names are cut to 64 bytes; more than 64 places share the last one. */
  placeNumber(name: string): number {
    const bytes = new TextEncoder().encode(name).subarray(0, PLACE_BYTES);
    const count = this.#words[PLACE_COUNT]!;
    for (let i = 0; i < count; i++) {
      const slot = this.#text.subarray(i * PLACE_BYTES, (i + 1) * PLACE_BYTES);
      if (slot[bytes.length] !== 0 && bytes.length < PLACE_BYTES) continue;
      if (bytes.every((b, k) => slot[k] === b)) return i + 1;
    }
    if (count === PLACES_MAX) return PLACES_MAX;
    this.#text.set(bytes, count * PLACE_BYTES);
    this.#words[PLACE_COUNT] = count + 1;
    return count + 1;
  }

  /** The callback runs from now on (0: none does). Returns the place until now. */
  at(place: number): number {
    const before = this.#words[PLACE]!;
    Atomics.store(this.#words, PLACE, place);
    return before;
  }
}
