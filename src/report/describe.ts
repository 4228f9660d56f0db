// An event in words, and the lane in which it belongs: program, kernel threads, IOMMU, device.

import { errnoName } from '../abi/errno.ts';
import {
  AGENT_IOTLB,
  AGENT_NAMES,
  AGENT_PWC,
  CB_NAMES,
  DEV_DONE,
  DEV_FAILED,
  E_BIND,
  E_CALLBACK,
  E_CALLBACK_END,
  E_CPU_ACCESS,
  E_CPU_FILL,
  E_CPU_INVAL,
  E_DEV_ACCESS,
  E_DEV_FILL,
  E_DEV_INVAL,
  E_DEV_STATE,
  E_DIRTY,
  E_DISCARD,
  E_FAULT,
  E_FAULT_END,
  E_FLUSH,
  E_FRAME_ALLOC,
  E_FRAME_FREE,
  E_GATHER,
  E_LAZYFREE,
  E_LOCK,
  E_LOCK_CONTENDED,
  E_MIGHT_SLEEP,
  E_MM_FREE,
  E_MM_NEW,
  E_MSG,
  E_PIN,
  E_PTE,
  E_PTE_AD,
  E_PWC_FILL,
  E_REFAULT,
  E_RELEASE,
  E_RMAP_ADD,
  E_RMAP_REMOVE,
  E_SECTION_END,
  E_SECTION_START,
  E_SUBSCRIBE,
  E_SWAP_IN,
  E_SWAP_OUT,
  E_SYSCALL,
  E_SYSCALL_END,
  E_UNLOCK,
  E_UNPIN,
  E_UNSUBSCRIBE,
  E_VMA_ADD,
  E_VMA_REMOVE,
  E_WALK,
  E_WRITE_OUT,
  EV_A,
  EV_ACTOR,
  EV_B,
  EV_C,
  EV_D,
  EV_END,
  EV_GEN,
  EV_PFN,
  EV_START,
  EV_TYPE,
  EVENT_NAMES,
  FRAME_NAMES,
  MSG_COMPLETION_WAIT_DONE,
  MSG_INVALIDATE_COMPLETION,
  MSG_INVALIDATE_REQUEST,
  MSG_NAMES,
  MSG_PAGE_REQUEST,
  MSG_PRG_RESPONSE,
  MSG_TRANSLATION_COMPLETION,
  MSG_TRANSLATION_REQUEST,
  PRG_FAILURE,
  PRG_INVALID,
  PRG_SUCCESS,
} from '../abi/events.ts';
import { LOCKF_EXCLUSIVE, SLEEP_CALLBACKS, SLEEP_RECLAIM, SLEEP_SECTIONS } from '../abi/locks.ts';
import { FAULT_FLAG_WRITE } from '../abi/mman.ts';
import { MMU_NOTIFY_NAMES, SITE_NAMES } from '../abi/notifier.ts';
import {
  PTE_A,
  PTE_D,
  PTE_P,
  PTE_PROTNONE,
  PTE_PS,
  PTE_RW,
  SWP_DEVICE_EXCLUSIVE_READ,
  SWP_DEVICE_EXCLUSIVE_WRITE,
  SWP_DEVICE_READ,
  SWP_DEVICE_WRITE,
} from '../abi/pte.ts';
import { syscallName } from '../abi/syscalls.ts';

/** Kinds of lanes, in the order in which they stand. */
export const LANES = ['program', 'kernel', 'IOMMU', 'device'] as const;
export type LaneKind = (typeof LANES)[number];

/** What the caller knows of the actors of a run. */
export interface Names {
  /** Name and lane of a thread. */
  readonly actor: (actor: number) => { readonly name: string; readonly lane: LaneKind };
  readonly device: (device: number) => string;
  /** Name of a lock class; by its number when left out. */
  readonly lock?: (lockClass: number) => string;
}

/** 0x7f0000001000; Infinity prints as ULONG_MAX. */
export function hex(n: number): string {
  return Number.isFinite(n) ? `0x${n.toString(16)}` : '0xffffffffffffffff';
}

/** A swap entry by its type, which is in the upper bits of its high word. */
function swapEntryText(hi: number): string {
  const type = hi >>> 27;
  if (type === SWP_DEVICE_WRITE || type === SWP_DEVICE_READ) return 'names a page of device memory now';
  const isExclusive = type === SWP_DEVICE_EXCLUSIVE_WRITE || type === SWP_DEVICE_EXCLUSIVE_READ;
  return isExclusive ? "is a device's alone now" : 'holds a swap entry now';
}

/** Name and kind of the lane in which a record belongs. */
export function laneOf(r: Float64Array, names: Names): { readonly name: string; readonly lane: LaneKind } {
  const device = r[EV_D]!;
  switch (r[EV_TYPE]) {
    case E_DEV_FILL:
    case E_DEV_INVAL:
      return r[EV_C] === AGENT_IOTLB || r[EV_C] === AGENT_PWC ? IOMMU : { name: names.device(device), lane: 'device' };
    case E_PWC_FILL:
      return IOMMU;
    case E_DEV_ACCESS:
    case E_DEV_STATE:
    case E_REFAULT:
      return { name: names.device(device), lane: 'device' };
    case E_MSG:
      return laneOfMessage(r, names);
    default:
      return names.actor(r[EV_ACTOR]!);
  }
}

const IOMMU = { name: 'IOMMU', lane: 'IOMMU' } as const;

function laneOfMessage(r: Float64Array, names: Names): { readonly name: string; readonly lane: LaneKind } {
  switch (r[EV_A]) {
    case MSG_TRANSLATION_REQUEST:
    case MSG_PAGE_REQUEST:
    case MSG_INVALIDATE_COMPLETION:
      return { name: names.device(r[EV_D]!), lane: 'device' };
    case MSG_TRANSLATION_COMPLETION:
    case MSG_INVALIDATE_REQUEST:
    case MSG_COMPLETION_WAIT_DONE:
      return IOMMU;
    default:
      return names.actor(r[EV_ACTOR]!);
  }
}

/** Is this the kind of event that a violation ends in? */
export function isStale(r: Float64Array): boolean {
  const type = r[EV_TYPE];
  return (type === E_DEV_ACCESS || type === E_CPU_ACCESS || type === E_WALK) && r[EV_GEN] !== r[EV_A];
}

/** Words events; remembers the generation that it last read of each frame, because page-table events do not carry it. */
export class Describer {
  readonly #generation = new Map<number, number>();
  readonly #names: Names;

  constructor(names: Names) {
    this.#names = names;
  }

  /** One event in words, without step and actor. */
  describe(r: Float64Array): string {
    const pfn = r[EV_PFN]!;
    switch (r[EV_TYPE]) {
      case E_PTE:
      case E_PTE_AD:
        return this.#entry(r);
      case E_FRAME_ALLOC:
        this.#generation.set(pfn, r[EV_GEN]!);
        return `frame ${hex(pfn)} ${r[EV_GEN] === 0 ? 'allocated' : 'reused'} (${FRAME_NAMES[r[EV_A]!] || 'unknown use'}, gen ${r[EV_GEN]})`;
      case E_FRAME_FREE:
        this.#generation.set(pfn, r[EV_GEN]! + 1);
        return `frame ${hex(pfn)} freed (gen ${r[EV_GEN]} ends)`;
      case E_CPU_FILL:
      case E_DEV_FILL:
      case E_PWC_FILL:
        this.#generation.set(pfn, r[EV_GEN]!);
        return fill(r);
      case E_CPU_ACCESS:
      case E_DEV_ACCESS:
        this.#generation.set(pfn, r[EV_A]!);
        return access(r);
      default:
        return describeRest(r, this.#names);
    }
  }

  #frame(pfn: number): string {
    const gen = this.#generation.get(pfn);
    return gen === undefined ? `frame ${hex(pfn)}` : `frame ${hex(pfn)} gen ${gen}`;
  }

  #entry(r: Float64Array): string {
    const level = r[EV_GEN]!;
    const lo = r[EV_A]! | 0;
    const old = r[EV_C]! | 0;
    const name = `${['PTE', 'PMD', 'PUD', 'PGD'][level] ?? 'entry'} ${hex(r[EV_START]!)}`;
    if (level > 0 && ((lo | old) & PTE_PS) === 0) {
      if ((lo & PTE_P) !== 0) return `${name} points to table ${hex(lo >>> 12)}`;
      return (old & PTE_P) !== 0 ? `${name} cleared (table ${hex(old >>> 12)})` : `${name} cleared`;
    }
    if (r[EV_TYPE] === E_PTE_AD) return `${name}: hardware set A or D`;
    const right = (lo & PTE_RW) !== 0 ? 'writable' : 'read-only';
    const wasPresent = (old & PTE_P) !== 0;
    if ((lo & PTE_P) === 0) {
      const to =
        (lo & PTE_PROTNONE) !== 0 ? 'PROT_NONE now' : (lo | r[EV_B]!) === 0 ? 'cleared' : swapEntryText(r[EV_B]!);
      return wasPresent ? `${name} ${to} (${this.#frame(old >>> 12)})` : `${name} ${to}`;
    }
    if (wasPresent && lo >>> 12 === old >>> 12) {
      if (((lo ^ old) & PTE_RW) === 0) {
        const bits = [flip(lo, old, PTE_A, 'accessed'), flip(lo, old, PTE_D, 'dirty')].filter((text) => text !== '');
        return `${name} ${bits.length === 0 ? 'updated' : bits.join(', ')} (${this.#frame(lo >>> 12)}, ${right})`;
      }
      return `${name} made ${right} (${this.#frame(lo >>> 12)})`;
    }
    const from = wasPresent ? `, was ${this.#frame(old >>> 12)}` : '';
    return `${name} maps ${this.#frame(lo >>> 12)}, ${right}${from}`;
  }
}

/** "accessed cleared" where the bit changed. */
function flip(lo: number, old: number, bit: number, name: string): string {
  if (((lo ^ old) & bit) === 0) return '';
  return `${name} ${(lo & bit) !== 0 ? 'set' : 'cleared'}`;
}

function fill(r: Float64Array): string {
  if (r[EV_TYPE] === E_PWC_FILL) {
    return `walk cache filled: ${hex(r[EV_START]!)}..${hex(r[EV_END]!)} → table ${hex(r[EV_PFN]!)} gen ${r[EV_GEN]}`;
  }
  const who = r[EV_TYPE] === E_CPU_FILL ? `CPU ${r[EV_D]} TLB` : AGENT_NAMES[r[EV_C]!] || 'TLB';
  const right = (r[EV_A]! & 1) !== 0 ? 'writable' : 'read-only';
  return `${who} filled: ${hex(r[EV_START]!)} → frame ${hex(r[EV_PFN]!)} gen ${r[EV_GEN]}, ${right}`;
}

function access(r: Float64Array): string {
  const isStore = r[EV_B] === 1;
  const who = r[EV_TYPE] === E_CPU_ACCESS ? `CPU ${r[EV_D]}` : AGENT_NAMES[r[EV_C]!] || 'TLB';
  const hit = `${who} hit ${hex(r[EV_START]!)} → frame ${hex(r[EV_PFN]!)} gen ${r[EV_GEN]}`;
  if (r[EV_GEN] === r[EV_A]) return `${hit}: ${isStore ? 'write' : 'read'}`;
  return `${hit}, frame now gen ${r[EV_A]}: ${isStore ? 'STALE WRITE' : 'STALE READ'}`;
}

function range(r: Float64Array): string {
  if (r[EV_START] === 0 && r[EV_END] === Number.POSITIVE_INFINITY) return 'everything';
  return `${hex(r[EV_START]!)}..${hex(r[EV_END]!)}`;
}

function describeRest(r: Float64Array, names: Names): string {
  switch (r[EV_TYPE]) {
    case E_GATHER:
      return `frame ${hex(r[EV_PFN]!)} queued to be freed${r[EV_A] === 1 ? ' (page table)' : ''}`;
    case E_CPU_INVAL:
      return `CPU ${r[EV_D]} TLB dropped ${range(r)}`;
    case E_FLUSH:
      return `CPU TLB flush of ${range(r)}`;
    case E_DEV_INVAL:
      return `${AGENT_NAMES[r[EV_C]!] || 'all TLBs'} dropped ${range(r)}`;
    case E_WALK: {
      const stale = r[EV_GEN] === r[EV_A] ? '' : `, table now gen ${r[EV_A]}: STALE TABLE`;
      return `walk of ${hex(r[EV_START]!)} reads table ${hex(r[EV_PFN]!)} gen ${r[EV_GEN]}${stale}`;
    }
    case E_MSG:
      return message(r);
    case E_DEV_STATE:
      return `${names.device(r[EV_D]!)} ${r[EV_A] === DEV_FAILED ? 'FAILED' : r[EV_A] === DEV_DONE ? 'done' : 'running'}`;
    case E_REFAULT:
      return `no progress at ${hex(r[EV_START]!)}, refault ${r[EV_A]}`;
    case E_SECTION_START:
      return `section ${r[EV_D]} opens: ${SITE_NAMES[r[EV_B]!] ?? 'site'} ${MMU_NOTIFY_NAMES[r[EV_A]!] ?? ''} ${range(r)}`;
    case E_SECTION_END:
      return `section ${r[EV_D]} ends${r[EV_C] === 1 ? ' (only_end)' : r[EV_C] === 2 ? ' (start refused)' : ''}`;
    case E_CALLBACK_END:
      return `${CB_NAMES[r[EV_A]!] || `callback ${r[EV_A]}`} of subscriber ${r[EV_D]} returns ${result(r[EV_B]!)}`;
    case E_CALLBACK:
      return `callback ${CB_NAMES[r[EV_A]!] || r[EV_A]}(${r[EV_END] === 0 ? '' : range(r)}) of subscriber ${r[EV_D]}`;
    default:
      return describeKernel(r, names);
  }
}

function describeKernel(r: Float64Array, names: Names): string {
  const page = hex(r[EV_START]!);
  switch (r[EV_TYPE]) {
    case E_SYSCALL:
      return call(syscallName(r[EV_A]!), [page, hex(r[EV_END]!)]);
    case E_SYSCALL_END:
      return `${syscallName(r[EV_A]!)} returns ${result(r[EV_START]!)}`;
    case E_FAULT_END:
      return `page fault at ${page} handled`;
    case E_LOCK:
    case E_UNLOCK:
    case E_LOCK_CONTENDED:
      return lock(r, names);
    case E_MIGHT_SLEEP:
      return `may sleep: ${MIGHT_SLEEP[r[EV_A]!] ?? names.lock?.(r[EV_B]!) ?? 'a wake-up'}`;
    case E_DIRTY:
      return `frame ${hex(r[EV_PFN]!)} marked dirty`;
    case E_WRITE_OUT:
      return `frame ${hex(r[EV_PFN]!)} written out`;
    case E_DISCARD:
      return `frame ${hex(r[EV_PFN]!)} dropped as clean`;
    case E_LAZYFREE:
      return `frame ${hex(r[EV_PFN]!)} given up by MADV_FREE`;
    case E_RMAP_ADD:
      return `frame ${hex(r[EV_PFN]!)} has an rmap of ${page}`;
    case E_RMAP_REMOVE:
      return `frame ${hex(r[EV_PFN]!)} loses its rmap of ${page}`;
    case E_FAULT:
      return `page fault at ${page} (${(r[EV_A]! & FAULT_FLAG_WRITE) !== 0 ? 'write' : 'read'})`;
    case E_BIND:
      return `${names.device(r[EV_D]!)} ${r[EV_A] === 1 ? 'bound to' : 'unbound from'} the address space`;
    case E_RELEASE:
      return r[EV_A] === 1 ? 'release begins' : 'release has returned';
    case E_SUBSCRIBE:
      return `subscriber ${r[EV_D]} registered`;
    case E_UNSUBSCRIBE:
      return `subscriber ${r[EV_D]} ${r[EV_A] === 1 ? 'taken off the list' : 'removed'}`;
    case E_PIN:
      return `frame ${hex(r[EV_PFN]!)} pinned for ${page}`;
    case E_UNPIN:
      return `frame ${hex(r[EV_PFN]!)} unpinned`;
    case E_SWAP_OUT:
      return `page ${page} swapped out`;
    case E_SWAP_IN:
      return `page ${page} swapped in`;
    case E_VMA_ADD:
      return `VMA ${range(r)} added`;
    case E_VMA_REMOVE:
      return `VMA ${range(r)} removed`;
    case E_MM_NEW:
      return 'address space created';
    case E_MM_FREE:
      return 'address space freed';
    default:
      return EVENT_NAMES[r[EV_TYPE]!] || `event ${r[EV_TYPE]}`;
  }
}

const MIGHT_SLEEP: Readonly<Record<number, string>> = {
  [SLEEP_RECLAIM]: 'allocates with reclaim',
  [SLEEP_CALLBACKS]: 'waits for callbacks under way',
  [SLEEP_SECTIONS]: 'waits for open sections',
};

/** Arguments of the calls that have fewer than three; the record has the first two. */
const ARGUMENT_COUNTS: Readonly<Record<string, number>> = {
  brk: 1,
  close: 1,
  exit: 0,
  exit_group: 0,
  fdatasync: 1,
  fork: 0,
  fsync: 1,
  ftruncate: 2,
  mlock: 2,
  munlock: 2,
  munmap: 2,
  vfork: 0,
};

function call(name: string, args: readonly string[]): string {
  const count = ARGUMENT_COUNTS[name];
  return `${name}(${count === undefined ? [...args, '…'].join(', ') : args.slice(0, count).join(', ')})`;
}

const PRG_NAMES: Readonly<Record<number, string>> = {
  [PRG_SUCCESS]: 'success',
  [PRG_INVALID]: 'invalid',
  [PRG_FAILURE]: 'failure',
};

function message(r: Float64Array): string {
  const name = MSG_NAMES[r[EV_A]!] || 'message';
  if (r[EV_A] === MSG_PRG_RESPONSE) return `${name}: ${PRG_NAMES[r[EV_PFN]!] ?? r[EV_PFN]} (tag ${r[EV_B]})`;
  if (r[EV_END] === 0) return `${name} (tag ${r[EV_B]})`;
  return `${name} ${r[EV_END]! - r[EV_START]! > 4096 ? range(r) : hex(r[EV_START]!)} (tag ${r[EV_B]})`;
}

/** A result: an address or count, or the name of an error. */
function result(n: number): string {
  if (n < 0 && n > -4096) return `-${errnoName(-n)}`;
  return n < 4096 ? String(n) : hex(n);
}

function lock(r: Float64Array, names: Names): string {
  const name = names.lock?.(r[EV_A]!) ?? `lock class ${r[EV_A]}`;
  const how = (r[EV_C]! & LOCKF_EXCLUSIVE) !== 0 ? '' : ' (shared)';
  const verb = r[EV_TYPE] === E_LOCK ? 'takes' : r[EV_TYPE] === E_UNLOCK ? 'drops' : 'wants';
  return `${verb} ${name} ${r[EV_B]}${how}`;
}
