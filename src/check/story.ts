// The story of a violation: what a reader must follow to understand it, counted in acts. An act is one thing that somebody does to
// the page of the violation or the frame behind it; it may take many records. The rules:
//
//   entry      a leaf entry of the page, or one that names the frame, is stored, or an entry above takes the table away with the page
//              in it; where the story is about a page-table page, only the entries that name it. A hardware update of A or D
//              belongs to the access that made it and is none
//   section    a section over the page opens or closes, together with the callbacks of that edge
//   callback   one outside of such an edge, whose range covers the page
//   CPU flush  from flush_tlb_mm_range to the last CPU that drops its entries
//   flush      IOMMU and devices drop the page: all of them, until an entry, a section, a callback or a fill comes in between
//   fill       a device gets a translation of the page: walk, walk cache, IOMMU TLB, device TLB, and the access that asked for it
//   access     by a translation held before; again and again counts once, until anything else happens in the story
//   free, alloc  of the frame
//   refault    the device does not get on; each one
//   return     of a system call whose thread did something in the story
//   lock       taken or waited for, where the story is about locks (of those that somebody waits for)
//   bind, release, state  of the address space or the device
//
// Acts of different threads may lie in each other; each record belongs to one act at most.

import {
  AGENT_PWC,
  CB_INTERVAL_INVALIDATE,
  CB_INVALIDATE_RANGE_END,
  CB_INVALIDATE_RANGE_START,
  DEV_FAILED,
  E_BIND,
  E_CALLBACK,
  E_CPU_ACCESS,
  E_CPU_FILL,
  E_CPU_INVAL,
  E_DEV_ACCESS,
  E_DEV_FILL,
  E_DEV_INVAL,
  E_DEV_STATE,
  E_FLUSH,
  E_FRAME_ALLOC,
  E_FRAME_FREE,
  E_LOCK,
  E_LOCK_CONTENDED,
  E_PTE,
  E_PWC_FILL,
  E_REFAULT,
  E_RELEASE,
  E_SECTION_END,
  E_SECTION_START,
  E_SUBSCRIBE,
  E_SYSCALL_END,
  E_UNSUBSCRIBE,
  E_WALK,
  EV_A,
  EV_ACTOR,
  EV_B,
  EV_C,
  EV_END,
  EV_GEN,
  EV_MM,
  EV_PFN,
  EV_START,
  EV_TYPE,
} from '../abi/events.ts';
import { PTE_P, PTE_PS } from '../abi/pte.ts';
import type { Focus } from './timeline.ts';

const PAGE = 4096;

export type ActKind =
  | 'entry'
  | 'section'
  | 'callback'
  | 'CPU flush'
  | 'flush'
  | 'fill'
  | 'access'
  | 'free'
  | 'alloc'
  | 'refault'
  | 'return'
  | 'lock'
  | 'bind'
  | 'release'
  | 'state';

export interface Act {
  readonly kind: ActKind;
  /** Thread that began it. */
  readonly actor: number;
  /** Its first record. */
  readonly first: number;
}

export interface Story {
  readonly acts: readonly Act[];
  /** For each record: its act, -1 when it belongs to none. */
  readonly actOf: readonly number[];
}

/** The story in the records of a run (oldest first, from its first step on) that ends in a violation of `property`. The number
 *  of acts is what reports call story steps. */
export function storyOf(records: readonly Float64Array[], focus: Focus, property: string): Story {
  const teller = new Teller(focus, property, records);
  const actOf = records.map((r) => teller.place(r));
  return { acts: teller.acts, actOf };
}

const NONE = -1;

/** Acts of several records of one thread. */
type Opened = 'start of a section' | 'end of a section' | 'CPU flush' | 'bind';

class Teller {
  readonly acts: Act[] = [];
  readonly #focus: Focus;
  readonly #hasTables: boolean;
  /** Locks that somebody waited for, where locks are what it is about. */
  readonly #locks: ReadonlySet<number>;
  readonly #actors = new Set<number>();
  /** By thread: the act that its next record may belong to, and what it must be for that. */
  readonly #open = new Map<number, { readonly act: number; readonly what: Opened }>();
  /** The flush of IOMMU and devices, and the fill, that may go on. */
  #flush = NONE;
  #fill = NONE;
  /** The page's leaf entry was not cleared. */
  #isMapped = true;
  /** Records read. */
  #at = 0;

  constructor(focus: Focus, property: string, records: readonly Float64Array[]) {
    this.#focus = focus;
    this.#hasTables = property === 'I2';
    const contended = property.startsWith('I6') ? records.filter((r) => r[EV_TYPE] === E_LOCK_CONTENDED) : [];
    this.#locks = new Set(contended.map(lockOf));
  }

  /** The act of the next record, -1: none. */
  place(r: Float64Array): number {
    const act = this.#place(r);
    this.#at++;
    return act;
  }

  #place(r: Float64Array): number {
    switch (r[EV_TYPE]) {
      case E_PTE:
        return this.#isStoryEntry(r) ? this.#begin('entry', r) : NONE;
      case E_SECTION_START:
        return this.#covers(r) ? this.#opened('section', r, 'start of a section') : NONE;
      case E_SECTION_END:
        return this.#covers(r) ? this.#join('section', r, 'end of a section') : NONE;
      case E_CALLBACK:
        return this.#callback(r);
      case E_FLUSH:
        return this.#covers(r) ? this.#opened('CPU flush', r, 'CPU flush') : NONE;
      case E_CPU_INVAL:
        return this.#covers(r) ? this.#join('CPU flush', r, 'CPU flush') : NONE;
      case E_DEV_INVAL:
        return this.#covers(r) && this.#isTold(r) ? this.#deviceFlush(r) : NONE;
      case E_WALK:
      case E_DEV_FILL:
      case E_PWC_FILL:
        return this.#translation(r);
      case E_CPU_FILL:
      case E_CPU_ACCESS:
      case E_DEV_ACCESS:
        return this.#access(r);
      default:
        return this.#placeRest(r);
    }
  }

  #placeRest(r: Float64Array): number {
    const isSameMm = r[EV_MM] === this.#focus.mm;
    switch (r[EV_TYPE]) {
      case E_FRAME_FREE:
        return this.#isFrame(r) ? this.#begin('free', r) : NONE;
      case E_FRAME_ALLOC:
        return this.#isFrame(r) ? this.#begin('alloc', r) : NONE;
      case E_REFAULT:
        return this.#covers(r) ? this.#begin('refault', r) : NONE;
      case E_SYSCALL_END:
        return this.#actors.has(r[EV_ACTOR]!) ? this.#begin('return', r) : NONE;
      case E_LOCK:
      case E_LOCK_CONTENDED:
        return this.#locks.has(lockOf(r)) ? this.#begin('lock', r) : NONE;
      case E_BIND:
      case E_SUBSCRIBE:
      case E_UNSUBSCRIBE:
        return isSameMm ? this.#join('bind', r, 'bind') : NONE;
      case E_RELEASE:
        return isSameMm ? this.#begin('release', r) : NONE;
      case E_DEV_STATE:
        return r[EV_A] === DEV_FAILED ? this.#begin('state', r) : NONE;
      default:
        return NONE;
    }
  }

  #begin(kind: ActKind, r: Float64Array): number {
    const actor = r[EV_ACTOR]!;
    this.#flush = NONE;
    this.#fill = NONE;
    this.#open.delete(actor);
    this.#actors.add(actor);
    return this.acts.push({ kind, actor, first: this.#at }) - 1;
  }

  /** Begins an act that the thread's next records may belong to. */
  #opened(kind: ActKind, r: Float64Array, what: Opened): number {
    const act = this.#begin(kind, r);
    this.#open.set(r[EV_ACTOR]!, { act, what });
    return act;
  }

  /** The thread's act of that kind that goes on, or a new one. */
  #join(kind: ActKind, r: Float64Array, what: Opened): number {
    const open = this.#open.get(r[EV_ACTOR]!);
    return open?.what === what ? open.act : this.#opened(kind, r, what);
  }

  #callback(r: Float64Array): number {
    if (r[EV_MM] !== this.#focus.mm || (r[EV_END] !== 0 && !this.#covers(r))) return NONE;
    switch (r[EV_A]) {
      case CB_INVALIDATE_RANGE_START:
      case CB_INTERVAL_INVALIDATE:
        return this.#join('section', r, 'start of a section');
      case CB_INVALIDATE_RANGE_END:
        return this.#join('section', r, 'end of a section');
      default:
        return this.#begin('callback', r);
    }
  }

  #deviceFlush(r: Float64Array): number {
    if (this.#flush === NONE) {
      const act = this.#begin('flush', r);
      this.#flush = act;
    }
    return this.#flush;
  }

  /** A read of the page's entry by a walker, or a translation made of it. */
  #translation(r: Float64Array): number {
    const isStaleWalk = r[EV_TYPE] === E_WALK && r[EV_GEN] !== r[EV_A];
    if (isStaleWalk && this.#hasTables && this.#isFrame(r)) return this.#begin('access', r);
    if (!this.#covers(r) || (r[EV_TYPE] === E_WALK ? r[EV_B] !== 0 : !this.#isTold(r))) return NONE;
    if (this.#fill === NONE) {
      const act = this.#begin('fill', r);
      this.#fill = act;
    }
    return this.#fill;
  }

  #access(r: Float64Array): number {
    const { pfn } = this.#focus;
    const isStale = r[EV_TYPE] !== E_CPU_FILL && r[EV_GEN] !== r[EV_A];
    if (isStale && pfn !== 0 && r[EV_PFN] === pfn) return this.#begin('access', r);
    if (!this.#covers(r)) return NONE;
    if (r[EV_TYPE] === E_DEV_ACCESS && this.#fill !== NONE) return this.#fill;
    const last = this.acts.length - 1;
    if (last >= 0 && this.acts[last]!.kind === 'access' && this.acts[last]!.actor === r[EV_ACTOR]) return last;
    return this.#begin('access', r);
  }

  #covers(r: Float64Array): boolean {
    const { mm, page } = this.#focus;
    return (
      r[EV_MM] === mm && (page === 0 || (r[EV_START]! < page + PAGE && Math.max(r[EV_END]!, r[EV_START]! + 1) > page))
    );
  }

  /** Walk caches are told of only where the story is about page tables. */
  #isTold(r: Float64Array): boolean {
    return this.#hasTables || (r[EV_TYPE] !== E_PWC_FILL && r[EV_C] !== AGENT_PWC);
  }

  #isFrame(r: Float64Array): boolean {
    const { pfn } = this.#focus;
    const order = r[EV_TYPE] === E_FRAME_FREE || r[EV_TYPE] === E_FRAME_ALLOC ? Math.min(20, r[EV_B]!) : 0;
    return pfn !== 0 && r[EV_PFN]! <= pfn && pfn < r[EV_PFN]! + 2 ** order;
  }

  #isStoryEntry(r: Float64Array): boolean {
    const { pfn } = this.#focus;
    const names = (word: number): boolean => pfn !== 0 && (word & PTE_P) !== 0 && word >>> 12 === pfn;
    const namesFrame = names(r[EV_A]!) || names(r[EV_C]!);
    if (!this.#covers(r) || this.#hasTables) return namesFrame;
    const isLeaf = r[EV_GEN] === 0 || ((r[EV_A]! | r[EV_C]!) & PTE_PS) !== 0;
    if (isLeaf) this.#isMapped = (r[EV_A]! & PTE_P) !== 0;
    // A table that goes away with the page still mapped in it.
    return namesFrame || isLeaf || (this.#isMapped && (r[EV_C]! & PTE_P) !== 0);
  }
}

function lockOf(r: Float64Array): number {
  return r[EV_A]! * 2 ** 32 + r[EV_B]!;
}
