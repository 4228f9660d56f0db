// Recorded memory calls as calls of the simulated kernel: number and six 64-bit words, exactly as the program passed them.

import {
  NR_brk,
  NR_madvise,
  NR_mlock,
  NR_mlock2,
  NR_mlockall,
  NR_mmap,
  NR_mprotect,
  NR_mremap,
  NR_mseal,
  NR_msync,
  NR_munlock,
  NR_munlockall,
  NR_munmap,
  NR_pkey_alloc,
  NR_pkey_free,
  NR_pkey_mprotect,
  NR_remap_file_pages,
  NR_shmat,
  NR_shmdt,
  NR_shmget,
} from '../../abi/syscalls.ts';
import type { TraceOp } from '../strace/trace-op.ts';
import { type Word64, word64FromNumber, ZERO64 } from '../word64.ts';

/** A call as words; `nr` < 0: not a call that is issued this way. */
export interface RawCall {
  readonly nr: number;
  readonly words: readonly Word64[];
}

const int = word64FromNumber;

/** The raw call of an operation that needs nothing but its words; null for the others. */
export function rawCall(op: TraceOp): RawCall | null {
  switch (op.op) {
    case 'mmap':
      return { nr: NR_mmap, words: [op.addr, op.length, op.prot, op.flags, int(op.fd.fd), op.offset] };
    case 'munmap':
      return { nr: NR_munmap, words: [op.addr, op.length] };
    case 'mremap':
      return { nr: NR_mremap, words: [op.addr, op.oldLength, op.newLength, op.flags, op.newAddr ?? ZERO64] };
    case 'mprotect':
      return { nr: NR_mprotect, words: [op.addr, op.length, op.prot] };
    case 'pkey_mprotect':
      return { nr: NR_pkey_mprotect, words: [op.addr, op.length, op.prot, int(op.pkey)] };
    case 'pkey_alloc':
      return { nr: NR_pkey_alloc, words: [op.flags, op.rights] };
    case 'pkey_free':
      return { nr: NR_pkey_free, words: [int(op.pkey)] };
    case 'brk':
      return { nr: NR_brk, words: [op.addr] };
    case 'madvise':
      return { nr: NR_madvise, words: [op.addr, op.length, int(op.advice)] };
    case 'msync':
      return { nr: NR_msync, words: [op.addr, op.length, op.flags] };
    case 'mlock':
      return { nr: NR_mlock, words: [op.addr, op.length] };
    case 'mlock2':
      return { nr: NR_mlock2, words: [op.addr, op.length, op.flags] };
    case 'munlock':
      return { nr: NR_munlock, words: [op.addr, op.length] };
    case 'mlockall':
      return { nr: NR_mlockall, words: [op.flags] };
    case 'munlockall':
      return { nr: NR_munlockall, words: [] };
    case 'remap_file_pages':
      return { nr: NR_remap_file_pages, words: [op.addr, op.length, op.prot, op.pgoff, op.flags] };
    case 'mseal':
      return { nr: NR_mseal, words: [op.addr, op.length, op.flags] };
    case 'shmget':
      return { nr: NR_shmget, words: [op.key, op.size, op.flags] };
    case 'shmat':
      return { nr: NR_shmat, words: [int(op.shmid), op.addr, op.flags] };
    case 'shmdt':
      return { nr: NR_shmdt, words: [op.addr] };
    default:
      return null;
  }
}
