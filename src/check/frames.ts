// What the record says about each frame: allocated or free, its generation, how many entries map it, pins, and when it was
// freed. Struct of arrays by PFN, grown on demand.

import { float64s, int32s, uint8s } from '../base/arena.ts';

export const FRAME_UNKNOWN = 0;
export const FRAME_ALLOCATED = 1;
export const FRAME_IS_FREE = 2;

/** Frames have 20-bit numbers. */
export const PFN_LIMIT = 1 << 20;

export class Frames {
  state = uint8s(0);
  purpose = uint8s(0);
  generation = float64s(0);
  /** Leaf entries (hardware-present or PROT_NONE) that map the frame, over all address spaces. */
  maps = int32s(0);
  pins = int32s(0);
  /** Last free: step, actor, and the documented gap under which it happened (0 none). */
  freedStep = float64s(0);
  freedBy = float64s(0);
  freedGap = uint8s(0);
  /** 1 + window cause of the last removed mapping when a device had translated it, else 0. */
  withdrawal = uint8s(0);
  /** Section in which that mapping was removed, 0 none. */
  withdrawalSection = float64s(0);
  /** Table pages: 1 when a device's walk cache pointed here in this generation; event at which the pointer to it was removed. */
  walkCached = uint8s(0);
  unlinkedAt = float64s(0);
  /** Events: last store; contents last kept elsewhere (Infinity: being given up), last written out, last marked dirty. */
  storedAt = float64s(0);
  savedAt = float64s(0);
  writtenAt = float64s(0);
  dirtyAt = float64s(0);
  /** 1 + the thread that dropped the page as clean, 0 none. */
  discardedBy = int32s(0);
  /** Where the last store went through. */
  lastMm = int32s(0);
  lastPage = float64s(0);
  /** Address spaces (bit mm mod 32) that have read the frame through a read-only entry. */
  seenBy = int32s(0);
  #size = 0;

  /** Makes room for `pfn`; false when it cannot be a frame number. */
  has(pfn: number): boolean {
    if (pfn >= this.#size || (pfn | 0) !== pfn || pfn < 0) return this.#grow(pfn);
    return true;
  }

  #grow(pfn: number): boolean {
    if (!(pfn >= 0 && pfn < PFN_LIMIT) || (pfn | 0) !== pfn) return false;
    let size = Math.max(64, this.#size);
    while (size <= pfn) size *= 2;
    this.#size = size;
    this.state = copyU8(this.state, size);
    this.purpose = copyU8(this.purpose, size);
    this.generation = copyF64(this.generation, size);
    this.maps = copyI32(this.maps, size);
    this.pins = copyI32(this.pins, size);
    this.freedStep = copyF64(this.freedStep, size);
    this.freedBy = copyF64(this.freedBy, size);
    this.freedGap = copyU8(this.freedGap, size);
    this.withdrawal = copyU8(this.withdrawal, size);
    this.withdrawalSection = copyF64(this.withdrawalSection, size);
    this.walkCached = copyU8(this.walkCached, size);
    this.unlinkedAt = copyF64(this.unlinkedAt, size);
    this.seenBy = copyI32(this.seenBy, size);
    this.discardedBy = copyI32(this.discardedBy, size);
    this.storedAt = copyF64(this.storedAt, size);
    this.savedAt = copyF64(this.savedAt, size);
    this.writtenAt = copyF64(this.writtenAt, size);
    this.dirtyAt = copyF64(this.dirtyAt, size);
    this.lastMm = copyI32(this.lastMm, size);
    this.lastPage = copyF64(this.lastPage, size);
    return true;
  }

  allocate(pfn: number, generation: number, purpose: number): void {
    this.state[pfn] = FRAME_ALLOCATED;
    this.purpose[pfn] = purpose;
    this.generation[pfn] = generation;
    this.withdrawal[pfn] = 0;
    this.withdrawalSection[pfn] = 0;
    this.walkCached[pfn] = 0;
    this.unlinkedAt[pfn] = 0;
    this.seenBy[pfn] = 0;
    this.discardedBy[pfn] = 0;
    this.storedAt[pfn] = 0;
    this.savedAt[pfn] = 0;
    this.writtenAt[pfn] = 0;
    this.dirtyAt[pfn] = 0;
  }

  /** `generation` is the one that just ended. */
  free(pfn: number, generation: number, step: number, actor: number, gap: number): void {
    this.state[pfn] = FRAME_IS_FREE;
    this.generation[pfn] = generation + 1;
    this.freedStep[pfn] = step;
    this.freedBy[pfn] = actor;
    this.freedGap[pfn] = gap;
    this.withdrawal[pfn] = 0;
  }
}

function copyU8(from: Uint8Array, size: number): Uint8Array<ArrayBuffer> {
  const to = uint8s(size);
  to.set(from);
  return to;
}

function copyI32(from: Int32Array, size: number): Int32Array<ArrayBuffer> {
  const to = int32s(size);
  to.set(from);
  return to;
}

function copyF64(from: Float64Array, size: number): Float64Array<ArrayBuffer> {
  const to = float64s(size);
  to.set(from);
  return to;
}
