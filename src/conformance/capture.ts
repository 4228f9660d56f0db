// The event log of the kernel under test as records of a recording (record.ts). Callbacks come from the notifiers that a script
// registers (notifiers.ts), which write into the same list, so everything stands in the order in which it happened.
//
// The recorder of the real kernel knows only pages that it has seen in an earlier record; a free of any other is not written
// down. The same holds here.

import {
  E_BATCH_FLUSH,
  E_CPU_INVAL,
  E_EXIT_MMAP,
  E_FAULT,
  E_FAULT_END,
  E_FLUSH,
  E_FRAME_FREE,
  E_GATHER,
  E_PMD_FLUSH,
  E_PMD_YOUNG_FLUSH,
  E_PTE_CLEAR_FLUSH,
  E_PTE_YOUNG_FLUSH,
  E_RMAP_ADD,
  E_RMAP_REMOVE,
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
  PMD_FLUSH_NAMES,
  RMAP_ANON,
} from '../abi/events.ts';
import { PAGE_SIZE, ULONG_MAX } from '../abi/mman.ts';
import type { RecordSink } from '../base/record-log.ts';
import { FREE_TO_HUGETLB_POOL } from '../mm/hugetlb/pool.ts';
import type { Kernel } from '../mm/kernel.ts';
import { PG_HUGETLB, PG_RESERVED } from '../mm/page/pages.ts';
import { hex, type MadeRecord } from './record.ts';

/** FAULT_FLAG_* by bit. */
export const FAULT_FLAG_NAMES: readonly string[] = [
  'WRITE',
  'MKWRITE',
  'ALLOW_RETRY',
  'RETRY_NOWAIT',
  'KILLABLE',
  'TRIED',
  'USER',
  'REMOTE',
  'INSTRUCTION',
  'INTERRUPTIBLE',
  'UNSHARE',
  'ORIG_PTE_VALID',
  'VMA_LOCK',
];
const VM_FAULT_NAMES: readonly string[] = [
  'OOM',
  'SIGBUS',
  'MAJOR',
  'WRITE',
  'HWPOISON',
  'HWPOISON_LARGE',
  'SIGSEGV',
  '',
  'NOPAGE',
  'LOCKED',
  'RETRY',
  'FALLBACK',
  'DONE_COW',
  'NEEDDSYNC',
  'COMPLETED',
];
/** Kinds of rmap additions (E_RMAP_ADD's b). */
const MAP_KINDS: readonly string[] = ['', 'anon', 'anon_new', 'file'];

function bitNames(names: readonly string[], bits: number): string[] {
  return names.filter((name, i) => name !== '' && (bits & (1 << i)) !== 0);
}

/** Name of a frame in made records. */
export function pageName(pfn: number, generation: number): string {
  return `${pfn}.${generation}`;
}

function freed(page: string, order: number, to: number): MadeRecord {
  if (to === FREE_TO_HUGETLB_POOL) return { t: 'free', page, order, to: 'hugetlb pool' };
  return order > 0 ? { t: 'free', page, order } : { t: 'free', page };
}

export class Capture implements RecordSink {
  /** Records made since the last take(). */
  records: MadeRecord[] = [];
  /** Names of address spaces, by number. Those without a name are not watched. */
  readonly mmNames = new Map<number, string>();
  isOn = false;
  /** Stride of the flush under way, as its shift. */
  #stride = 12;
  readonly #kernel: Kernel;
  /** Pages that stood in some record. */
  readonly #seen = new Set<string>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    kernel.memory.log.attach(this);
  }

  /** The records since the last call. */
  take(): MadeRecord[] {
    const { records } = this;
    this.records = [];
    return records;
  }

  /** The page is known to the recorder from now on. */
  see(page: string): string {
    this.#seen.add(page);
    return page;
  }

  push(record: MadeRecord): void {
    if (this.isOn) this.records.push(record);
  }

  onRecord(ring: Float64Array, at: number): void {
    if (!this.isOn) return;
    const type = ring[at + EV_TYPE]!;
    if (type === E_FRAME_FREE) {
      const page = pageName(ring[at + EV_PFN]!, ring[at + EV_GEN]!);
      const order = ring[at + EV_B]!;
      if (this.#seen.delete(page)) this.push(freed(page, order, ring[at + EV_C]!));
      return;
    }
    if (type === E_BATCH_FLUSH) {
      this.push({ t: 'batch_flush' });
      return;
    }
    const mm = this.mmNames.get(ring[at + EV_MM]!);
    if (mm !== undefined) this.#onMm(ring, at, type, mm);
  }

  #onMm(ring: Float64Array, at: number, type: number, mm: string): void {
    const start = ring[at + EV_START]!;
    const [a, b] = [ring[at + EV_A]!, ring[at + EV_B]!];
    if (type === E_FAULT) this.push({ t: 'fault', mm, addr: hex(start), flags: bitNames(FAULT_FLAG_NAMES, a) });
    else if (type === E_FAULT_END) this.push({ t: 'faultret', mm, ret: bitNames(VM_FAULT_NAMES, b) });
    else if (type === E_RMAP_ADD) this.#map(ring, at, mm, start, b);
    else if (type === E_RMAP_REMOVE) this.#unmap(ring, at, mm);
    else if (type === E_GATHER) this.#gather(ring, at, mm, a);
    else if (type === E_FLUSH) this.#flush(ring, at, mm, start);
    else if (type === E_CPU_INVAL) this.#tlb(ring, at, mm, start);
    else if (type === E_PTE_CLEAR_FLUSH) this.push({ t: 'pte_clear_flush', mm, addr: hex(start) });
    else if (type === E_PTE_YOUNG_FLUSH) this.push({ t: 'pte_young_flush', mm, addr: hex(start) });
    else if (type === E_PMD_YOUNG_FLUSH) this.push({ t: 'pmd_young_flush', mm, addr: hex(start) });
    else if (type === E_PMD_FLUSH) this.push({ t: 'pmd', op: PMD_FLUSH_NAMES[a]!, mm, addr: hex(start) });
    else if (type === E_EXIT_MMAP) this.push({ t: 'exit_mmap', at: a === 1 ? 'begin' : 'end', mm });
  }

  #page(ring: Float64Array, at: number): string {
    return this.see(pageName(ring[at + EV_PFN]!, ring[at + EV_GEN]!));
  }

  /** All frames of a huge page are known with it. */
  #seeParts(head: number, order: number): void {
    const { generation } = this.kernel.memory;
    for (let pfn = head + 1; pfn < head + 2 ** order; pfn++) this.see(pageName(pfn, generation[pfn]!));
  }

  /** E_RMAP_ADD without a kind is a copy of fork, which the recorder cannot see. */
  #map(ring: Float64Array, at: number, mm: string, start: number, kind: number): void {
    if (kind === 0 || this.#isUnseen(ring[at + EV_PFN]!)) return;
    const page = this.#page(ring, at);
    const order = ring[at + EV_C]!;
    // folio_add_anon_rmap_pmd (a huge page that was moved) has no probe either.
    if (order > 0 && kind === RMAP_ANON && this.kernel.profile.splitRemovesHugeRmap) return;
    if (order > 0) this.#seeParts(ring[at + EV_PFN]!, order);
    const addr = this.#addressByIndex(ring[at + EV_MM]!, ring[at + EV_PFN]!, start);
    const record = { t: 'map', mm, page, addr: hex(addr), kind: MAP_KINDS[kind]! };
    this.push(order > 0 ? { ...record, order } : record);
  }

  /** The recorder computes a page's address from its index in the object; pages of the kernel's image all have index 0. */
  #addressByIndex(mm: number, pfn: number, address: number): number {
    const { kernel } = this;
    if ((kernel.pages.flags[pfn]! & PG_RESERVED) === 0) return address;
    return kernel.mms.get(mm)?.vmas.findExact(address)?.start ?? address;
  }

  /** The recorder's probes are on the functions for all pages; hugetlb may have its own. */
  #isUnseen(pfn: number): boolean {
    const { flags } = this.kernel.pages;
    return this.kernel.profile.hugetlbOwnRmap && (flags[pfn]! & PG_HUGETLB) !== 0;
  }

  #unmap(ring: Float64Array, at: number, mm: string): void {
    if (this.#isUnseen(ring[at + EV_PFN]!)) return;
    const page = this.#page(ring, at);
    const order = ring[at + EV_C]!;
    this.push(order > 0 ? { t: 'unmap', mm, page, order } : { t: 'unmap', mm, page });
  }

  #gather(ring: Float64Array, at: number, mm: string, isTable: number): void {
    const isKnown = this.#seen.has(pageName(ring[at + EV_PFN]!, ring[at + EV_GEN]!));
    const page = this.#page(ring, at);
    const size = ring[at + EV_B]!;
    // A page that was in no record before is taken for a table.
    if (isTable === 1 || !isKnown)
      this.push(
        size > PAGE_SIZE ? { t: 'gather', mm, page, table: true, size } : { t: 'gather', mm, page, table: true },
      );
    else this.push(size > PAGE_SIZE ? { t: 'gather', mm, page, size } : { t: 'gather', mm, page });
  }

  /** `stride` and `freed_tables` as the caller of flush_tlb_mm_range gave them. */
  #flush(ring: Float64Array, at: number, mm: string, start: number): void {
    const end = ring[at + EV_END]!;
    this.#stride = ring[at + EV_A]!;
    this.push({
      t: 'flush',
      mm,
      start: hex(start),
      end: end === ULONG_MAX ? 'ALL' : hex(end),
      stride: ring[at + EV_A]!,
      freed_tables: ring[at + EV_B]! === 1,
    });
  }

  /** Pieces of the size that the flush function was told. */
  #tlb(ring: Float64Array, at: number, mm: string, start: number): void {
    const end = ring[at + EV_END]!;
    const pages = end === ULONG_MAX ? 'ALL' : Math.floor((end - start) / 2 ** this.#stride);
    const { kernel } = this;
    const cpu = ring[at + EV_D]!;
    const own = kernel.sched.current.cpu;
    const mask = kernel.mms.get(ring[at + EV_MM]!)?.cpuMask ?? 0;
    if (cpu === own) {
      if ((mask & ~(1 << own)) !== 0) this.push({ t: 'tlb', mm, reason: 'remote_send_ipi', pages });
      this.push({ t: 'tlb', mm, reason: 'local_mm_shootdown', pages });
    } else if (!kernel.cpus[cpu]!.isLazy) this.push({ t: 'tlb', mm, reason: 'remote_shootdown', pages });
  }

  /** Frame numbers of a name, for messages. */
  get kernel(): Kernel {
    return this.#kernel;
  }
}
