// The objects on which the monitors' verdicts depend, noted in the explorer's footprint while a step runs. What the monitors remember
// is cut into cells; a monitor notes a cell where it reads or writes it, as the kernel's accessors do with theirs. Two steps of
// different threads that touch no common cell that either writes leave the monitors in the same state, and with the same findings,
// whatever their order: each event does what it did, since nothing that it read has changed.
//
//   entry    leaf of (mm, page) as the record tells it          cover   sections over (mm, page), and refaults waiting there
//   held     translations of (mm, page), cells of their own for IOMMU TLBs, device TLBs, walk caches and each CPU
//   frame    state and generation of a frame                    onFrame translations and entries that point to a frame
//   seen     address spaces that have read a shared frame        saved   stores to a frame since it was written out
//   book     teardown state of an address space; life of a subscriber        vmas    its VMAs
//   commands number that the IOMMU's last wait stored             requests groups of page requests of a device
//   agents   order of the uses of (mm, page) by different frames
//
// An access that the entry permits reads two cells, entry and frame: it commutes with other accesses, and with sections, which
// matter only to an access that the entry does not permit.
//
// Ranges: whoever touches a page also reads the WIDE cell of its kind and address space; a range of more than RANGE_MAX pages (a whole
// address space, an empty table) writes that cell instead of each page. So nobody needs to know which pages exist, and what a step
// notes depends on its own events alone, never on the history before.
//
// Not cells: tallies, windows and residency (no finding depends on them), texts, the order of findings, and what a thread keeps for
// itself (its open sections, its last flush), which its own program order fixes.

import { AGENT_IOTLB, AGENT_PWC } from '../abi/events.ts';
import { type Footprint, OBJ_PROPERTY } from '../base/footprint.ts';

/** Longest range, in pages, noted page by page. */
const RANGE_MAX = 16;

// Kinds of cells. Identity: kind (4 bits), address space (4 bits), page (24 bits); numbers that do not fit wrap around, which makes
// two things one cell and the reduction coarser, never unsound.
const ENTRY = 0;
const COVER = 1;
const AGENTS = 2;
/** Of a frame: four cells, told apart in the place of the address space. */
const FRAME = 3;
const STATE = 0;
const POINTERS = 1;
const SEEN = 2;
const SAVED = 3;
/** Requests for translations and invalidations. Of no address space: what the IOMMU has completed, and by device its page requests. */
const PROTOCOL = 4;
const BOOK = 5;
const VMAS = 6;
const WIDE = 7;
const HELD_IOTLB = 8;
const HELD_DEVICE = 9;
const HELD_WALK_CACHE = 10;
/** Translations of CPU 0; further CPUs follow, the sixth shares with the first. */
const HELD_CPU = 11;
const HELD_CPUS = 5;

const KIND = 2 ** 28;
const MM = 2 ** 24;
const PAGES = 2 ** 24;

function cell(kind: number, mm: number, n: number): number {
  return kind * KIND + (mm & 15) * MM + (n % PAGES);
}

export class Objects {
  readonly #footprint: Footprint;

  constructor(footprint: Footprint) {
    this.#footprint = footprint;
  }

  entry(mm: number, start: number, end: number, isWrite: boolean): void {
    this.#range(ENTRY, mm, start, end, isWrite);
  }

  cover(mm: number, start: number, end: number, isWrite: boolean): void {
    this.#range(COVER, mm, start, end, isWrite);
  }

  agents(mm: number, start: number, end: number, isWrite: boolean): void {
    this.#range(AGENTS, mm, start, end, isWrite);
  }

  /** Translations held by an agent (AGENT_*; 0 a CPU) of a device or CPU. */
  held(mm: number, agent: number, device: number, start: number, end: number, isWrite: boolean): void {
    let kind = HELD_DEVICE;
    if (agent === AGENT_IOTLB) kind = HELD_IOTLB;
    else if (agent === AGENT_PWC) kind = HELD_WALK_CACHE;
    else if (agent === 0) kind = HELD_CPU + (device % HELD_CPUS);
    this.#range(kind, mm, start, end, isWrite);
  }

  /** What IOMMU and devices hold, looked at. */
  heldByDevices(mm: number, start: number, end: number): void {
    this.#range(HELD_IOTLB, mm, start, end, false);
    this.#range(HELD_DEVICE, mm, start, end, false);
  }

  frame(pfn: number, isWrite: boolean): void {
    this.#footprint.note(OBJ_PROPERTY, cell(FRAME, STATE, pfn), isWrite);
  }

  onFrame(pfn: number, isWrite: boolean): void {
    this.#footprint.note(OBJ_PROPERTY, cell(FRAME, POINTERS, pfn), isWrite);
  }

  /** Who has read the frame. */
  seen(pfn: number, isWrite: boolean): void {
    this.#footprint.note(OBJ_PROPERTY, cell(FRAME, SEEN, pfn), isWrite);
  }

  /** What of the frame's contents is stored elsewhere. */
  saved(pfn: number, isWrite: boolean): void {
    this.#footprint.note(OBJ_PROPERTY, cell(FRAME, SAVED, pfn), isWrite);
  }

  book(mm: number, isWrite: boolean): void {
    this.#footprint.note(OBJ_PROPERTY, cell(BOOK, mm, 0), isWrite);
  }

  /** Life of a subscriber. */
  subscriber(id: number, isWrite: boolean): void {
    this.#footprint.note(OBJ_PROPERTY, cell(BOOK, 0, 1 + id), isWrite);
  }

  vmas(mm: number, isWrite: boolean): void {
    this.#footprint.note(OBJ_PROPERTY, cell(VMAS, mm, 0), isWrite);
  }

  /** Number that the last wait of the IOMMU stored. */
  commands(isWrite: boolean): void {
    this.#footprint.note(OBJ_PROPERTY, cell(PROTOCOL, 0, 0), isWrite);
  }

  /** Groups of page requests of a device. */
  pageRequests(device: number, isWrite: boolean): void {
    this.#footprint.note(OBJ_PROPERTY, cell(PROTOCOL, 0, 1 + device), isWrite);
  }

  /** Order in which translations and invalidations of pages were asked for. */
  requests(mm: number, start: number, end: number, isWrite: boolean): void {
    this.#range(PROTOCOL, mm, start, end, isWrite);
  }

  #range(kind: number, mm: number, start: number, end: number, isWrite: boolean): void {
    const f = this.#footprint;
    const first = Math.floor(start / 4096);
    const pages = Math.ceil(end / 4096) - first;
    if (!(pages <= RANGE_MAX)) {
      f.note(OBJ_PROPERTY, cell(WIDE, mm, kind), true);
      return;
    }
    f.note(OBJ_PROPERTY, cell(WIDE, mm, kind), false);
    for (let i = 0; i < pages; i++) f.note(OBJ_PROPERTY, cell(kind, mm, first + i), isWrite);
  }
}
