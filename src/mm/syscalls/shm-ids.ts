// Identifiers of SysV shared memory segments (ipc/util.c ipc_idr_alloc).

import type { Inode } from '../types.ts';

const IDS_MIN_CYCLE = 64;
/** An identifier is (sequence << SEQ_SHIFT) + slot. */
export const SEQ_SHIFT = 15;

/** shmid_kernel. */
export interface ShmSegment {
  readonly id: number;
  /** 0 = IPC_PRIVATE, and after IPC_RMID. */
  key: number;
  readonly size: number;
  readonly inode: Inode;
  /** kern_ipc_perm: permission bits, owner and creator. */
  mode: number;
  uid: number;
  gid: number;
  readonly cuid: number;
  readonly cgid: number;
  /** SHM_LOCK. */
  isLocked: boolean;
}

/** The ipc namespace's shm_ids: slots are used cyclically; the sequence number rises at each wrap. */
export class ShmIds {
  readonly byId = new Map<number, ShmSegment>();
  #next = 0;
  #last = -1;
  #seq = 0;

  /** ipc_idr_alloc. */
  newId(): number {
    const slots = Math.max(Math.floor((this.byId.size * 3) / 2), IDS_MIN_CYCLE);
    const used = new Set<number>();
    for (const id of this.byId.keys()) used.add(id & ((1 << SEQ_SHIFT) - 1));
    let slot = this.#next >= slots ? 0 : this.#next;
    while (used.has(slot)) slot = slot + 1 >= slots ? 0 : slot + 1;
    if (slot <= this.#last) this.#seq++;
    this.#last = slot;
    this.#next = slot + 1;
    return (this.#seq << SEQ_SHIFT) + slot;
  }

  /** ipc_get_maxidx: the highest slot in use, 0 when there is none. */
  highestSlot(): number {
    let highest = 0;
    for (const id of this.byId.keys()) highest = Math.max(highest, id & ((1 << SEQ_SHIFT) - 1));
    return highest;
  }

  /** The segment in a slot, whatever its sequence number. */
  bySlot(slot: number): ShmSegment | null {
    for (const s of this.byId.values()) if ((s.id & ((1 << SEQ_SHIFT) - 1)) === slot) return s;
    return null;
  }

  /** The segment's file is gone. */
  forget(inode: Inode): void {
    for (const s of this.byId.values()) if (s.inode === inode) this.byId.delete(s.id);
  }

  byKey(key: number): ShmSegment | null {
    for (const s of this.byId.values()) if (s.key === key) return s;
    return null;
  }
}
