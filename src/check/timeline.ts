// The events that led to a violation, picked from the log's own history: those about the same page, frame or address
// space that a reader needs, oldest first, the violation's event last. Only what the ring still holds can be shown.

import {
  AGENT_PWC,
  E_BIND,
  E_CALLBACK,
  E_CPU_ACCESS,
  E_CPU_FILL,
  E_CPU_INVAL,
  E_DEV_ACCESS,
  E_DEV_FILL,
  E_DEV_INVAL,
  E_DEV_STATE,
  E_FAULT,
  E_FLUSH,
  E_FRAME_ALLOC,
  E_FRAME_FREE,
  E_GATHER,
  E_MARK,
  E_MM_FREE,
  E_MM_NEW,
  E_MSG,
  E_PIN,
  E_PTE,
  E_PWC_FILL,
  E_REFAULT,
  E_RELEASE,
  E_SECTION_END,
  E_SECTION_START,
  E_SUBSCRIBE,
  E_SWAP_IN,
  E_SWAP_OUT,
  E_SYSCALL,
  E_UNPIN,
  E_UNSUBSCRIBE,
  E_VMA_ADD,
  E_VMA_REMOVE,
  E_WALK,
  EV_A,
  EV_B,
  EV_C,
  EV_D,
  EV_END,
  EV_GEN,
  EV_MM,
  EV_PFN,
  EV_START,
  EV_TYPE,
  EV_WORDS,
} from '../abi/events.ts';
import type { Violation } from './findings.ts';
import { I2 } from './properties.ts';

/** What a timeline is about. `page` 0: the whole address space; `pfn` 0: no frame. */
export interface Focus {
  readonly mm: number;
  readonly page: number;
  readonly pfn: number;
}

export interface Timeline {
  readonly violation: Violation;
  readonly focus: Focus;
  /** Records of EV_WORDS doubles, oldest first. */
  readonly records: readonly Float64Array[];
  /** True when older events about the focus were left out. */
  readonly isCut: boolean;
}

/** Accesses that found a fresh frame shown in a row; a loop of them tells nothing new. */
const ACCESSES_IN_A_ROW = 2;

/** Picks at most `lines` events from the ring, going back from the record at `at`. */
export function collectTimeline(
  ring: Float64Array,
  at: number,
  focus: Focus,
  lines: number,
  violation: Violation,
): Timeline {
  const records: Float64Array[] = [];
  let row = 0;
  let isCut = false;
  const isAboutTable = violation.property === I2.id;
  const capacity = ring.length;
  for (let back = 0; back < capacity; back += EV_WORDS) {
    const i = (at - back + capacity) % capacity;
    const type = ring[i + EV_TYPE]!;
    if (type === 0) break;
    if (back > 0 && !isRelevant(ring, i, focus, isAboutTable)) continue;
    const isPlain = back > 0 && isPlainAccess(ring, i);
    row = isPlain ? row + 1 : 0;
    if (isPlain && row > ACCESSES_IN_A_ROW) continue;
    if (records.length === lines) {
      isCut = true;
      break;
    }
    records.push(ring.slice(i, i + EV_WORDS));
  }
  return { violation, focus, records: records.reverse(), isCut };
}

function isPlainAccess(r: Float64Array, i: number): boolean {
  const type = r[i + EV_TYPE];
  return (type === E_DEV_ACCESS || type === E_CPU_ACCESS) && r[i + EV_GEN] === r[i + EV_A];
}

/** Does the event at `i` belong to the story of the focus? Walk caches matter only when it is about a page-table page. */
function isRelevant(r: Float64Array, i: number, f: Focus, isAboutTable: boolean): boolean {
  const sameMm = r[i + EV_MM] === f.mm;
  const overlaps = sameMm && (f.page === 0 || (r[i + EV_START]! < f.page + 4096 && r[i + EV_END]! > f.page));
  const sameFrame = f.pfn !== 0 && r[i + EV_PFN] === f.pfn;
  const holds = sameMm && f.page !== 0 && r[i + EV_START]! >= f.page && r[i + EV_START]! < f.page + 4096;
  switch (r[i + EV_TYPE]) {
    case E_PTE:
      return overlaps || (f.pfn !== 0 && (r[i + EV_A]! >>> 12 === f.pfn || r[i + EV_C]! >>> 12 === f.pfn));
    case E_FRAME_ALLOC:
    case E_FRAME_FREE:
      return f.pfn !== 0 && r[i + EV_PFN]! <= f.pfn && f.pfn < r[i + EV_PFN]! + 2 ** Math.min(20, r[i + EV_B]!);
    case E_GATHER:
    case E_PIN:
    case E_UNPIN:
      return sameFrame;
    case E_CPU_FILL:
    case E_CPU_ACCESS:
    case E_CPU_INVAL:
    case E_FLUSH:
    case E_SECTION_START:
    case E_SECTION_END:
    case E_SWAP_OUT:
    case E_SWAP_IN:
    case E_VMA_ADD:
    case E_VMA_REMOVE:
      return overlaps;
    case E_DEV_FILL:
    case E_DEV_ACCESS:
    case E_DEV_INVAL:
    case E_PWC_FILL:
      return (overlaps && (isAboutTable || r[i + EV_C] !== AGENT_PWC)) || sameFrame;
    case E_WALK:
      return sameFrame && r[i + EV_GEN] !== r[i + EV_A];
    case E_CALLBACK:
      return overlaps || (sameMm && r[i + EV_END] === 0);
    case E_MSG:
      return holds || overlaps;
    case E_FAULT:
    case E_REFAULT:
      return holds;
    case E_SYSCALL:
      return f.page === 0 || (r[i + EV_START]! <= f.page && f.page < r[i + EV_START]! + r[i + EV_END]!);
    case E_DEV_STATE:
    case E_MARK:
      return true;
    case E_BIND:
    case E_SUBSCRIBE:
    case E_UNSUBSCRIBE:
    case E_RELEASE:
    case E_MM_NEW:
    case E_MM_FREE:
      return sameMm && r[i + EV_D]! >= 0;
    default:
      return false;
  }
}
