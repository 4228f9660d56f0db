// Random lists of system calls for the comparison with a real kernel (host-layout.c), and their run on the model.

import {
  MADV_POPULATE_READ,
  MADV_POPULATE_WRITE,
  MAP_32BIT,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_FIXED_NOREPLACE,
  MAP_GROWSDOWN,
  MAP_LOCKED,
  MAP_NORESERVE,
  MAP_POPULATE,
  MAP_PRIVATE,
  MAP_SHARED,
  MAP_STACK,
  PMD_SIZE,
  PROT_GROWSDOWN,
} from '../../src/abi/mman.ts';
import * as NR from '../../src/abi/syscalls.ts';
import { Rng } from '../../src/base/rng.ts';

export const PRINT_SMAPS = 1001;
export const FORK = 1002;

/** number, six arguments (negative: sign-extended words), mask of arguments that are (index, offset) of an earlier result. */
export interface Call {
  readonly nr: number;
  readonly args: readonly (number | readonly [index: number, offset: number])[];
}

/** Where small mappings at given places go: crowded, so that neighbours meet. */
const ARENA = 0x100000000000;
const ARENA_PAGES = 96;
const ADVICE = [0, 1, 2, 3, 4, 4, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 23, 23, 24, 77];

export interface Mix {
  /** Calls between two prints of the map. */
  readonly printEvery: number;
  readonly forks: number;
  /** Chance in 1000 of sealing. */
  readonly seals: number;
}

/** `count` calls from a seed. */
export function randomCalls(seed: number, count: number, mix: Mix): Call[] {
  const r = new Rng(seed);
  const calls: Call[] = [];
  /** Indices of calls that asked for an address. */
  const placed: number[] = [];
  const forkAt = new Set<number>();
  for (let i = 0; i < mix.forks; i++) forkAt.add(r.below(count));

  const page = (): number => r.below(ARENA_PAGES) * 4096;
  const pages = (): number => (r.chance(1, 12) ? r.between(1, 40) : r.between(1, 6)) * 4096;
  const length = (): number => {
    const c = r.below(40);
    if (c === 0) return 0;
    if (c === 1) return -4096;
    if (c === 2) return -1;
    if (c === 3) return r.between(1, 20000);
    if (c === 4) return r.between(1, 4) * PMD_SIZE;
    if (c === 5) return 2 ** 47;
    return pages();
  };
  const address = (): number | readonly [number, number] => {
    const c = r.below(60);
    if (c === 0) return ARENA + page() + r.between(1, 4095);
    if (c === 1) return 2 ** 47 - 4096 * r.between(0, 1);
    if (c === 2) return -4096;
    if (placed.length > 0 && c < 18) return [placed[r.below(placed.length)]!, r.below(6) * 4096];
    return ARENA + page();
  };
  const prot = (): number => [0, 1, 3, 3, 3, 3, 5, 7, 2, 8][r.below(10)]!;
  const add = (nr: number, ...args: Call['args']): void => {
    calls.push({ nr, args: [...args, ...new Array<number>(6 - args.length).fill(0)] });
  };

  add(NR.NR_brk, 0);
  add(PRINT_SMAPS);
  while (calls.length < count) {
    if (calls.length % mix.printEvery === 0) {
      add(PRINT_SMAPS);
      continue;
    }
    if (forkAt.delete(calls.length)) {
      add(FORK);
      continue;
    }
    const c = r.below(1000);
    if (c < 330) {
      addMmap();
      placed.push(calls.length - 1);
    } else if (c < 470) add(NR.NR_munmap, address(), length());
    else if (c < 650) add(NR.NR_mprotect, address(), length(), r.chance(1, 30) ? PROT_GROWSDOWN | 3 : prot());
    else if (c < 770) {
      const flags = [0, 1, 1, 1, 3, 3, 3, 5, 7, 2, 4, 8][r.below(12)]!;
      const oldLen = r.chance(1, 30) ? 0 : length();
      const newLen = r.chance(1, 2) || (flags & 4) !== 0 ? oldLen : length();
      add(NR.NR_mremap, address(), oldLen, newLen, flags, address());
      placed.push(calls.length - 1);
    } else if (c < 800) add(NR.NR_brk, [0, r.below(64) * 4096 + (r.chance(1, 4) ? 77 : 0)]);
    else if (c < 930) {
      const advice = ADVICE[r.below(ADVICE.length)]!;
      // Populating a large area would need more memory than a model has.
      const isPopulate = advice === MADV_POPULATE_READ || advice === MADV_POPULATE_WRITE;
      add(NR.NR_madvise, address(), isPopulate ? pages() : Math.min(length(), 4 * PMD_SIZE), advice);
    } else if (c < 960) addLock();
    else if (c < 970) add(NR.NR_msync, address(), length(), [0, 1, 2, 4, 5, 6, 8][r.below(7)]!);
    else if (c < 975) add(NR.NR_remap_file_pages, address(), pages(), 0, r.below(64), 0);
    else if (c < 990) addShm();
    else if (c < 990 + mix.seals) add(NR.NR_mseal, address(), pages(), 0);
    else add(NR.NR_munmap, ARENA + page(), 8 * 4096);
  }
  add(PRINT_SMAPS);
  return calls;

  function addMmap(): void {
    let flags = r.chance(1, 6) ? MAP_SHARED : MAP_PRIVATE;
    const isAnon = r.chance(3, 4);
    if (isAnon) flags |= MAP_ANONYMOUS;
    const c = r.below(24);
    let len = length();
    let at: number | readonly [number, number] = address();
    if (c < 10) flags |= MAP_FIXED;
    else if (c < 12) flags |= MAP_FIXED_NOREPLACE;
    else if (c < 18) at = 0;
    if (c === 18) flags |= MAP_32BIT;
    if (r.chance(1, 20)) flags |= MAP_NORESERVE;
    if (r.chance(1, 30)) flags |= MAP_STACK;
    if (r.chance(1, 30)) flags |= MAP_GROWSDOWN;
    if (r.chance(1, 60)) flags = (flags & ~15) | [0, 3, 4, 12][r.below(4)]!;
    if (r.chance(1, 30) && len < PMD_SIZE) flags |= MAP_LOCKED;
    if (r.chance(1, 10) && len < PMD_SIZE) flags |= MAP_POPULATE;
    if (!isAnon && r.chance(1, 6)) len = PMD_SIZE + r.below(3) * 4096;
    const offset = r.chance(1, 20) ? [100, 2 ** 44, -4096][r.below(3)]! : r.below(8) * 4096;
    add(NR.NR_mmap, at, len, prot(), flags, isAnon ? -1 : [3, 4, 5, 9][r.below(4)]!, isAnon ? 0 : offset);
  }

  function addLock(): void {
    const c = r.below(8);
    const len = pages() + (r.chance(1, 10) ? 5 : 0);
    if (c < 3) add(NR.NR_mlock, address(), len);
    else if (c < 4) add(NR.NR_mlock2, address(), len, r.below(3));
    else if (c < 6) add(NR.NR_munlock, address(), len);
    else if (c < 7) add(NR.NR_mlockall, [2, 2, 4, 8, 0][r.below(5)]!);
    else add(NR.NR_munlockall);
  }

  function addShm(): void {
    const c = r.below(6);
    if (c < 2) add(NR.NR_shmget, 0, r.between(1, 30000), 0o600);
    else if (c < 4) {
      add(NR.NR_shmat, r.below(6), r.chance(1, 2) ? 0 : address(), [0, 0o10000, 0o20000, 0o40000][r.below(4)]!);
      placed.push(calls.length - 1);
    } else if (c < 5) add(NR.NR_shmdt, address());
    else add(NR.NR_shmctl, r.below(6), 0, 0);
  }
}

/** The records that host-layout.c reads. */
export function encodeCalls(calls: readonly Call[]): Uint8Array {
  const words = new Uint32Array(calls.length * 16);
  calls.forEach((call, i) => {
    const at = i * 16;
    words[at] = call.nr;
    let mask = 0;
    call.args.forEach((arg, j) => {
      if (typeof arg === 'number') {
        words[at + 2 + 2 * j] = arg;
        words[at + 3 + 2 * j] = Math.floor(arg / 4294967296);
      } else {
        words[at + 2 + 2 * j] = arg[1];
        words[at + 3 + 2 * j] = arg[0];
        mask |= 1 << j;
      }
    });
    words[at + 14] = mask;
  });
  return new Uint8Array(words.buffer);
}
