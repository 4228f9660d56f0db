// The state of the world after each step of a shown run, kept from the events alone: the entry of each page, what each TLB
// holds of it, who owns each frame, what every thread is inside of, which locks are held. A TLB that replaces an entry
// leaves no record, so a translation shown is one that was not withdrawn.

import {
  AGENT_NAMES,
  CB_NAMES,
  E_CALLBACK,
  E_CALLBACK_END,
  E_CPU_FILL,
  E_CPU_INVAL,
  E_DEV_FILL,
  E_DEV_INVAL,
  E_FAULT,
  E_FAULT_END,
  E_FRAME_ALLOC,
  E_FRAME_FREE,
  E_GATHER,
  E_LOCK,
  E_PTE,
  E_PTE_AD,
  E_PWC_FILL,
  E_SECTION_END,
  E_SECTION_START,
  E_SYSCALL,
  E_SYSCALL_END,
  E_UNLOCK,
  EV_A,
  EV_ACTOR,
  EV_B,
  EV_C,
  EV_D,
  EV_END,
  EV_GEN,
  EV_MM,
  EV_PFN,
  EV_START,
  EV_TYPE,
  FRAME_NAMES,
} from '../abi/events.ts';
import { LOCKF_EXCLUSIVE } from '../abi/locks.ts';
import { MMU_NOTIFY_NAMES, SITE_NAMES } from '../abi/notifier.ts';
import { PTE_P, PTE_RW } from '../abi/pte.ts';
import { syscallName } from '../abi/syscalls.ts';
import { hex, type Names } from './describe.ts';

const PAGE = 4096;

/** The leaf entry that maps a page. */
export interface EntryState {
  readonly page: number;
  /** All 64 bits, such as 0x8000000000007867. */
  readonly word: string;
  readonly isPresent: boolean;
  readonly isWritable: boolean;
  /** Frame that it names while present, else null; and the frame's generation now. */
  readonly pfn: number | null;
  readonly generation: number | null;
}

/** A translation that a TLB was given and that was not withdrawn. */
export interface TranslationState {
  /** Name of the TLB. */
  readonly holder: string;
  readonly start: number;
  readonly end: number;
  readonly pfn: number;
  /** Generation that the frame had when the translation was made. */
  readonly generation: number;
  readonly isWritable: boolean;
  /** The frame was freed since. */
  readonly isStale: boolean;
}

export interface FrameState {
  readonly pfn: number;
  /** "free", or what it was allocated for. */
  readonly owner: string;
  /** Times that it was freed before. */
  readonly generation: number;
  /** It waits in an mmu_gather to be freed. */
  readonly isQueued: boolean;
}

/** A section that is open. */
export interface SectionState {
  readonly id: number;
  readonly thread: string;
  readonly what: string;
  readonly start: number;
  readonly end: number;
}

/** Something that concerns a thread, in words: what it is inside of, what it waits for, which lock it holds. */
export interface ThreadState {
  readonly thread: string;
  readonly what: string;
}

export interface Snapshot {
  readonly entries: readonly EntryState[];
  readonly translations: readonly TranslationState[];
  readonly frames: readonly FrameState[];
  readonly sections: readonly SectionState[];
  /** System calls, faults and callbacks under way, the outermost first. */
  readonly inside: readonly ThreadState[];
  readonly locks: readonly ThreadState[];
  readonly waits: readonly ThreadState[];
}

/** What a report is about. */
export interface Interest {
  readonly mm: number;
  readonly pages: readonly number[];
  readonly frames: readonly number[];
}

interface Frame {
  owner: string;
  generation: number;
  isQueued: boolean;
}

interface Held {
  readonly mm: number;
  readonly holder: string;
  readonly start: number;
  readonly end: number;
  readonly pfn: number;
  readonly generation: number;
  readonly isWritable: boolean;
}

/** 64 bits of two words. */
export function wordText(lo: number, hi: number): string {
  const low = (lo >>> 0).toString(16);
  return hi === 0 ? `0x${low}` : `0x${(hi >>> 0).toString(16)}${low.padStart(8, '0')}`;
}

export class TraceState {
  readonly #names: Names;
  /** Leaf entries, low and high word, by address space and page. */
  readonly #entries = new Map<string, { readonly lo: number; readonly hi: number }>();
  readonly #frames = new Map<number, Frame>();
  #held: Held[] = [];
  #sections: (SectionState & { readonly mm: number })[] = [];
  /** Calls under way by actor. */
  readonly #inside = new Map<number, string[]>();
  #locks: { readonly key: string; readonly actor: number; readonly what: string }[] = [];

  constructor(names: Names) {
    this.#names = names;
  }

  apply(r: Float64Array): void {
    switch (r[EV_TYPE]) {
      case E_PTE:
      case E_PTE_AD:
        if (r[EV_GEN] === 0) this.#entries.set(`${r[EV_MM]} ${r[EV_START]}`, { lo: r[EV_A]! | 0, hi: r[EV_B]! | 0 });
        break;
      case E_FRAME_ALLOC: {
        const owner = FRAME_NAMES[r[EV_A]!] || 'in use';
        this.#frames.set(r[EV_PFN]!, { owner, generation: r[EV_GEN]!, isQueued: false });
        break;
      }
      case E_FRAME_FREE:
        this.#frames.set(r[EV_PFN]!, { owner: 'free', generation: r[EV_GEN]! + 1, isQueued: false });
        break;
      case E_GATHER: {
        const frame = this.#frames.get(r[EV_PFN]!);
        if (frame !== undefined) frame.isQueued = true;
        break;
      }
      default:
        this.#applyTlb(r);
    }
  }

  #applyTlb(r: Float64Array): void {
    switch (r[EV_TYPE]) {
      case E_CPU_FILL:
        this.#fill(r, `CPU ${r[EV_D]} TLB`, (r[EV_A]! & 1) !== 0);
        break;
      case E_CPU_INVAL:
        this.#drop(r, `CPU ${r[EV_D]} TLB`);
        break;
      case E_DEV_FILL:
        this.#fill(r, this.#agent(r), (r[EV_A]! & 1) !== 0);
        break;
      case E_PWC_FILL:
        this.#fill(r, AGENT_NAMES[2]!, false);
        break;
      case E_DEV_INVAL:
        this.#drop(r, this.#agent(r));
        break;
      default:
        this.#applyThread(r);
    }
  }

  #agent(r: Float64Array): string {
    const name = AGENT_NAMES[r[EV_C]!] || 'TLB';
    return r[EV_D] === 0 || r[EV_D] === 1 ? name : `${name} of ${this.#names.device(r[EV_D]!)}`;
  }

  #fill(r: Float64Array, holder: string, isWritable: boolean): void {
    const [mm, start, end] = [r[EV_MM]!, r[EV_START]!, r[EV_END]!];
    this.#held = this.#held.filter((h) => h.holder !== holder || h.mm !== mm || h.start !== start || h.end !== end);
    this.#held.push({ mm, holder, start, end, pfn: r[EV_PFN]!, generation: r[EV_GEN]!, isWritable });
  }

  #drop(r: Float64Array, holder: string): void {
    this.#held = this.#held.filter(
      (h) => h.holder !== holder || h.mm !== r[EV_MM] || h.start >= r[EV_END]! || h.end <= r[EV_START]!,
    );
  }

  #applyThread(r: Float64Array): void {
    const actor = r[EV_ACTOR]!;
    switch (r[EV_TYPE]) {
      case E_SECTION_START: {
        const what = `${SITE_NAMES[r[EV_B]!] ?? 'site'} ${MMU_NOTIFY_NAMES[r[EV_A]!] ?? ''}`;
        const thread = this.#names.actor(actor).name;
        this.#sections.push({ id: r[EV_D]!, thread, what, mm: r[EV_MM]!, start: r[EV_START]!, end: r[EV_END]! });
        break;
      }
      case E_SECTION_END:
        this.#sections = this.#sections.filter((s) => s.id !== r[EV_D]);
        break;
      case E_SYSCALL:
        this.#enter(actor, `${syscallName(r[EV_A]!)}(${hex(r[EV_START]!)}, ${hex(r[EV_END]!)})`);
        break;
      case E_FAULT:
        this.#enter(actor, `page fault at ${hex(r[EV_START]!)}`);
        break;
      case E_CALLBACK:
        this.#enter(actor, `${CB_NAMES[r[EV_A]!] || 'callback'} of subscriber ${r[EV_D]}`);
        break;
      case E_SYSCALL_END:
      case E_FAULT_END:
      case E_CALLBACK_END:
        this.#inside.get(actor)?.pop();
        break;
      case E_LOCK:
      case E_UNLOCK:
        this.#lock(r, actor);
        break;
    }
  }

  #enter(actor: number, what: string): void {
    const stack = this.#inside.get(actor);
    if (stack === undefined) this.#inside.set(actor, [what]);
    else stack.push(what);
  }

  #lock(r: Float64Array, actor: number): void {
    const isExclusive = (r[EV_C]! & LOCKF_EXCLUSIVE) !== 0;
    const key = `${r[EV_A]} ${r[EV_B]} ${isExclusive}`;
    if (r[EV_TYPE] === E_LOCK) {
      const how = isExclusive ? '' : ' (shared)';
      this.#locks.push({ key, actor, what: `${this.#names.lock?.(r[EV_A]!) ?? 'lock'} ${r[EV_B]}${how}` });
      return;
    }
    let at = this.#locks.findLastIndex((l) => l.key === key && l.actor === actor);
    if (at < 0) at = this.#locks.findLastIndex((l) => l.key === key);
    if (at >= 0) this.#locks.splice(at, 1);
  }

  /** The state now, of what the report is about. `waits`: who waits for what. */
  snapshot(interest: Interest, waits: readonly ThreadState[]): Snapshot {
    const { mm, pages, frames } = interest;
    const isShown = (start: number, end: number): boolean => pages.some((p) => start < p + PAGE && end > p);
    const thread = (actor: number): string => this.#names.actor(actor).name;
    return {
      entries: pages.map((page) => this.#entry(mm, page)),
      translations: this.#held
        .filter((h) => h.mm === mm && (isShown(h.start, h.end) || frames.includes(h.pfn)))
        .map(({ mm: _, ...h }) => ({ ...h, isStale: (this.#frames.get(h.pfn)?.generation ?? 0) !== h.generation })),
      frames: frames.map((pfn) => {
        const { owner, generation, isQueued } = this.#frame(pfn);
        return { pfn, owner, generation, isQueued };
      }),
      sections: this.#sections.filter((s) => s.mm === mm).map(({ mm: _, ...s }) => s),
      inside: [...this.#inside].flatMap(([actor, stack]) => stack.map((what) => ({ thread: thread(actor), what }))),
      locks: this.#locks.map((l) => ({ thread: thread(l.actor), what: l.what })),
      waits,
    };
  }

  #frame(pfn: number): Frame {
    return this.#frames.get(pfn) ?? { owner: 'free', generation: 0, isQueued: false };
  }

  #entry(mm: number, page: number): EntryState {
    const { lo, hi } = this.#entries.get(`${mm} ${page}`) ?? { lo: 0, hi: 0 };
    const isPresent = (lo & PTE_P) !== 0;
    const pfn = isPresent ? lo >>> 12 : null;
    return {
      page,
      word: wordText(lo, hi),
      isPresent,
      isWritable: isPresent && (lo & PTE_RW) !== 0,
      pfn,
      generation: pfn === null ? null : this.#frame(pfn).generation,
    };
  }
}
