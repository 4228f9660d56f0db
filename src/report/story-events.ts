// Which events belong to the story of a finding: what happened to its page, and to the frame behind it. Everything else that
// the same steps did (locks, bookkeeping, other pages) is left to "all steps".

import {
  AGENT_PWC,
  E_CALLBACK,
  E_CPU_ACCESS,
  E_CPU_FILL,
  E_DEV_ACCESS,
  E_DEV_FILL,
  E_DEV_INVAL,
  E_DEV_STATE,
  E_FLUSH,
  E_FRAME_ALLOC,
  E_FRAME_FREE,
  E_LOCK,
  E_LOCK_CONTENDED,
  E_MIGHT_SLEEP,
  E_PTE,
  E_PWC_FILL,
  E_REFAULT,
  E_RELEASE,
  E_SECTION_END,
  E_SECTION_START,
  E_SWAP_OUT,
  E_SYSCALL,
  E_SYSCALL_END,
  E_UNLOCK,
  E_WALK,
  EV_A,
  EV_B,
  EV_C,
  EV_END,
  EV_GEN,
  EV_MM,
  EV_PFN,
  EV_START,
  EV_TYPE,
} from '../abi/events.ts';
import { PTE_PS } from '../abi/pte.ts';

const PAGE = 4096;

export interface StoryFocus {
  readonly mm: number;
  /** Byte addresses. */
  readonly pages: readonly number[];
  readonly frames: readonly number[];
  /** Are page-table pages and walk caches part of it? */
  readonly hasTables: boolean;
  /** Are locks? */
  readonly hasLocks: boolean;
}

export function isStoryEvent(r: Float64Array, f: StoryFocus): boolean {
  const sameMm = r[EV_MM] === f.mm;
  switch (r[EV_TYPE]) {
    case E_PTE:
      return isStoryEntry(r, f);
    case E_FRAME_ALLOC:
    case E_FRAME_FREE:
      return f.frames.includes(r[EV_PFN]!);
    case E_CPU_FILL:
    case E_CPU_ACCESS:
    case E_FLUSH:
    case E_SECTION_START:
    case E_SECTION_END:
    case E_SWAP_OUT:
    case E_REFAULT:
      return sameMm && overlaps(r, f);
    case E_CALLBACK:
      return sameMm && (r[EV_END] === 0 || overlaps(r, f));
    case E_PWC_FILL:
      return f.hasTables && sameMm && overlaps(r, f);
    case E_DEV_FILL:
    case E_DEV_INVAL:
    case E_DEV_ACCESS:
      return sameMm && (r[EV_C] !== AGENT_PWC || f.hasTables) && (overlaps(r, f) || f.frames.includes(r[EV_PFN]!));
    case E_WALK:
      return sameMm && ((r[EV_B] === 0 && overlaps(r, f)) || (f.frames.includes(r[EV_PFN]!) && r[EV_GEN] !== r[EV_A]));
    case E_SYSCALL:
    case E_SYSCALL_END:
    case E_RELEASE:
    case E_DEV_STATE:
      return true;
    case E_LOCK:
    case E_LOCK_CONTENDED:
    case E_MIGHT_SLEEP:
    case E_UNLOCK:
      return f.hasLocks;
    default:
      return false;
  }
}

function overlaps(r: Float64Array, f: StoryFocus): boolean {
  return f.pages.some((page) => r[EV_START]! < page + PAGE && r[EV_END]! > page);
}

/** A leaf entry of the page, or an entry that names the frame; entries above when tables are what it is about. */
function isStoryEntry(r: Float64Array, f: StoryFocus): boolean {
  const names = (word: number): boolean => (word & 1) !== 0 && f.frames.includes(word >>> 12);
  if (names(r[EV_A]!) || names(r[EV_C]!)) return true;
  const isLeaf = r[EV_GEN] === 0 || ((r[EV_A]! | r[EV_C]!) & PTE_PS) !== 0;
  return r[EV_MM] === f.mm && overlaps(r, f) && (isLeaf || f.hasTables);
}
