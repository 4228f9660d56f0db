// Random programs. Small mappings crowd an arena, so that neighbours meet, merge and are cut; some lie at multiples of 2 MiB, where
// huge pages fit; lengths and addresses are sometimes impossible.

import * as A from '../../src/abi/mman.ts';
import * as NR from '../../src/abi/syscalls.ts';
import { Rng } from '../../src/base/rng.ts';
import {
  type Arg,
  OP_FORK,
  OP_FORK_RUN,
  OP_LOAD,
  OP_MAPS,
  OP_MINCORE,
  OP_SMAPS,
  OP_STORE,
  OP_SWEEP,
  type Op,
} from './program.ts';

const ARENA = 0x100000000000;
const ARENA_PAGES = 96;
/** Aligned to 2 MiB, four blocks. */
const BLOCKS = 0x200000000000;
const FD_FILE = 3;
const FD_MEMFD = 4;
const FD_READ_ONLY = 5;
const FD_NONE = 9;
const FILE_FDS = [FD_FILE, FD_MEMFD, FD_MEMFD, FD_READ_ONLY, FD_NONE];
const ADVICE = [
  0, 1, 2, 3, 4, 4, 4, 8, 8, 9, 10, 11, 12, 13, 14, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 23, 24, 77, 102, 103,
] as const;
/** Operations between two looks at the map. */
const MAPS_EVERY = 24;

interface Features {
  readonly mseal: boolean;
}

/** A program of about `count` operations. */
export function randomProgram(seed: number, count: number, features: Features): Op[] {
  return new Generator(seed, features).program(count);
}

class Generator {
  readonly #r: Rng;
  readonly #features: Features;
  readonly #ops: Op[] = [];
  /** Operations whose result is an address. */
  readonly #placed: number[] = [];
  /** Does this program fork, seal, use huge blocks? */
  readonly #forks: boolean;
  readonly #seals: boolean;
  readonly #blocks: boolean;

  constructor(seed: number, features: Features) {
    this.#r = new Rng(seed);
    this.#features = features;
    this.#forks = this.#r.chance(1, 2);
    this.#seals = this.#r.chance(1, 4);
    this.#blocks = this.#r.chance(1, 3);
  }

  program(count: number): Op[] {
    this.#add(NR.NR_brk, 0);
    while (this.#ops.length < count) {
      if (this.#ops.length % MAPS_EVERY === 0) this.#add(OP_MAPS);
      else if (this.#forks && this.#r.chance(1, 60)) this.#fork();
      else this.#operation();
    }
    this.#add(OP_MAPS);
    this.#add(OP_SWEEP, ARENA, ARENA_PAGES);
    if (this.#blocks) this.#add(OP_SWEEP, BLOCKS, 64);
    this.#add(OP_SMAPS);
    return this.#ops;
  }

  #add(nr: number, ...args: Arg[]): void {
    this.#ops.push({ nr, args });
  }

  #fork(): void {
    if (this.#r.chance(1, 6)) {
      this.#add(OP_FORK);
      return;
    }
    const at = this.#ops.length;
    const placed = this.#placed.length;
    this.#add(OP_FORK_RUN, 0);
    const count = this.#r.between(1, 10);
    while (this.#ops.length <= at + count) this.#operation();
    this.#ops[at] = { nr: OP_FORK_RUN, args: [this.#ops.length - at - 1] };
    // What the child mapped is not there for its parent.
    this.#placed.length = placed;
  }

  #operation(): void {
    const c = this.#r.below(1000);
    if (c < 150) this.#mmap();
    else if (c < 400) this.#add(OP_STORE, this.#touched(), this.#r.between(1, 255));
    else if (c < 520) this.#add(OP_LOAD, this.#touched());
    else if (c < 570) this.#add(OP_MINCORE, this.#address(), this.#pages());
    else if (c < 640) this.#add(NR.NR_munmap, this.#address(), this.#length());
    else if (c < 730) this.#mprotect();
    else if (c < 800) this.#mremap();
    else if (c < 815) this.#add(NR.NR_brk, [0, this.#r.below(64) * 4096 + (this.#r.chance(1, 4) ? 77 : 0)]);
    else if (c < 910) this.#madvise();
    else if (c < 940) this.#lock();
    else if (c < 950) this.#add(NR.NR_msync, this.#address(), this.#length(), this.#pick([0, 1, 2, 4, 5, 6, 8]));
    else if (c < 955) this.#add(NR.NR_remap_file_pages, this.#address(), this.#pages(), 0, this.#r.below(64), 0);
    else if (c < 985) this.#file();
    else if (c < 990 && this.#seals && this.#features.mseal)
      this.#add(NR.NR_mseal, this.#address(), this.#pages(), this.#r.chance(1, 10) ? 1 : 0);
    else this.#add(NR.NR_munmap, ARENA + this.#page(), 8 * 4096);
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#r.below(list.length)]!;
  }

  #page(): number {
    return this.#r.below(ARENA_PAGES) * 4096;
  }

  #pages(): number {
    return (this.#r.chance(1, 12) ? this.#r.between(1, 40) : this.#r.between(1, 6)) * 4096;
  }

  #length(): number {
    const c = this.#r.below(40);
    if (c === 0) return 0;
    if (c === 1) return -4096;
    if (c === 2) return -1;
    if (c === 3) return this.#r.between(1, 20000);
    if (c === 4) return this.#r.between(1, 4) * A.PMD_SIZE;
    if (c === 5) return 2 ** 47;
    return this.#pages();
  }

  /** An address for a call. */
  #address(): Arg {
    const c = this.#r.below(60);
    if (c === 0) return ARENA + this.#page() + this.#r.between(1, 4095);
    if (c === 1) return 2 ** 47 - 4096 * this.#r.between(0, 1);
    if (c === 2) return -4096;
    if (this.#placed.length > 0 && c < 18) return [this.#pick(this.#placed), this.#r.below(6) * 4096];
    if (this.#blocks && c < 26) return BLOCKS + this.#r.below(4) * A.PMD_SIZE + this.#r.below(3) * 4096;
    return ARENA + this.#page();
  }

  /** An address for an access: often where something is. */
  #touched(): Arg {
    const c = this.#r.below(30);
    const inside = this.#r.chance(1, 4) ? this.#r.below(4096) : 0;
    if (this.#placed.length > 0 && c < 12) return [this.#pick(this.#placed), this.#r.below(6) * 4096 + inside];
    if (this.#blocks && c < 18) return BLOCKS + this.#r.below(4) * A.PMD_SIZE + this.#r.below(512) * 4096 + inside;
    return ARENA + this.#page() + inside;
  }

  #prot(): number {
    return this.#pick([0, 1, 3, 3, 3, 3, 3, 5, 7, 2, 8]);
  }

  #mprotect(): void {
    const prot = this.#r.chance(1, 30) ? A.PROT_GROWSDOWN | 3 : this.#prot();
    this.#add(NR.NR_mprotect, this.#address(), this.#length(), prot);
  }

  #mmap(): void {
    const r = this.#r;
    let flags = r.chance(1, 4) ? A.MAP_SHARED : A.MAP_PRIVATE;
    const isAnon = r.chance(3, 4);
    if (isAnon) flags |= A.MAP_ANONYMOUS;
    const c = r.below(24);
    let len = this.#length();
    let at = this.#address();
    if (c < 13) flags |= A.MAP_FIXED;
    else if (c < 15) flags |= A.MAP_FIXED_NOREPLACE;
    else if (c < 20) at = 0;
    if (c === 20) flags |= A.MAP_32BIT;
    if (r.chance(1, 20)) flags |= A.MAP_NORESERVE;
    if (r.chance(1, 30)) flags |= A.MAP_STACK;
    if (r.chance(1, 30)) flags |= A.MAP_GROWSDOWN;
    if (r.chance(1, 60)) flags = (flags & ~15) | this.#pick([0, 3, 4, 12]);
    if (r.chance(1, 60)) flags |= A.MAP_HUGETLB;
    if (r.chance(1, 30) && len < A.PMD_SIZE) flags |= A.MAP_LOCKED;
    if (r.chance(1, 8) && len < A.PMD_SIZE) flags |= A.MAP_POPULATE;
    if (this.#blocks && isAnon && r.chance(1, 5)) {
      at = BLOCKS + r.below(4) * A.PMD_SIZE;
      len = r.between(1, 2) * A.PMD_SIZE;
      flags = (flags & ~(A.MAP_LOCKED | A.MAP_POPULATE)) | A.MAP_FIXED;
    }
    if (!isAnon && r.chance(1, 6)) len = A.PMD_SIZE + r.below(3) * 4096;
    const offset = r.chance(1, 20) ? this.#pick([100, 2 ** 44, -4096]) : r.below(8) * 4096;
    this.#placed.push(this.#ops.length);
    this.#add(NR.NR_mmap, at, len, this.#prot(), flags, isAnon ? -1 : this.#pick(FILE_FDS), isAnon ? 0 : offset);
  }

  #mremap(): void {
    const r = this.#r;
    const flags = this.#pick([0, 1, 1, 1, 3, 3, 3, 5, 7, 2, 4, 8]);
    const oldLen = r.chance(1, 30) ? 0 : this.#length();
    const newLen = r.chance(1, 2) || (flags & 4) !== 0 ? oldLen : this.#length();
    this.#placed.push(this.#ops.length);
    this.#add(NR.NR_mremap, this.#address(), oldLen, newLen, flags, this.#address());
  }

  #madvise(): void {
    const advice = this.#pick(ADVICE);
    // Populating a large area would need more memory than the simulated machine has.
    const isPopulate = advice === A.MADV_POPULATE_READ || advice === A.MADV_POPULATE_WRITE;
    const len = isPopulate ? this.#pages() : Math.min(this.#length(), 4 * A.PMD_SIZE);
    this.#add(NR.NR_madvise, this.#address(), len, advice);
  }

  #lock(): void {
    const c = this.#r.below(8);
    const len = this.#pages() + (this.#r.chance(1, 10) ? 5 : 0);
    if (c < 3) this.#add(NR.NR_mlock, this.#address(), len);
    else if (c < 4) this.#add(NR.NR_mlock2, this.#address(), len, this.#r.below(3));
    else if (c < 6) this.#add(NR.NR_munlock, this.#address(), len);
    else if (c < 7) this.#add(NR.NR_mlockall, this.#pick([2, 2, 4, 8, 0]));
    else this.#add(NR.NR_munlockall);
  }

  /** The memfd changes its size, gets holes, or is filled; sometimes the file on the disk. */
  #file(): void {
    const r = this.#r;
    const fd = r.chance(1, 5) ? this.#pick([FD_FILE, FD_READ_ONLY, FD_NONE]) : FD_MEMFD;
    const offset = r.below(70) * 4096 + (r.chance(1, 8) ? r.below(4096) : 0);
    const len = this.#pages() - (r.chance(1, 8) ? r.below(4096) : 0);
    const c = r.below(6);
    if (c < 3) this.#add(NR.NR_ftruncate, fd, offset);
    else if (c < 5) this.#add(NR.NR_fallocate, fd, 3, offset, len);
    else this.#add(NR.NR_fallocate, fd, this.#pick([0, 1]), offset, len);
  }
}
