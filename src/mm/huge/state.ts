// Settings of transparent huge pages (/sys/kernel/mm/transparent_hugepage) and the objects that all address spaces share: the huge
// zero page and the queue of huge pages of which a part is unmapped. Changed at run time through the fields; each is read
// where Linux reads it. Nothing here is held across a point, so split_queue_lock needs no object.

import { WaitQueue } from '../../sched/scheduler.ts';
import type { KernelConfig } from '../config.ts';
import type { MmStruct } from '../types.ts';

export type ThpEnabled = 'always' | 'madvise' | 'never';
export type TmpfsHuge = 'always' | 'within_size' | 'advise' | 'never';
export type ShmemHuge = 'always' | 'within_size' | 'advise' | 'never' | 'deny' | 'force';

/** khugepaged_mm_slot. */
export interface KhugepagedSlot {
  readonly mm: MmStruct;
  /** Places where small entries map a huge page of a file (pte_mapped_thp). */
  readonly pteMapped: number[];
}

export class HugeState {
  /** transparent_hugepage/enabled. */
  enabled: ThpEnabled;
  /** transparent_hugepage/shmem_enabled: shared anonymous memory, memfd and SysV segments. */
  shmemEnabled: ShmemHuge;
  /** huge= of a mounted tmpfs. */
  tmpfsHuge: TmpfsHuge;
  /** transparent_hugepage/use_zero_page. */
  useZeroPage = true;
  /** khugepaged: entries looked at in one pass, and what a block may hold and still be collapsed. */
  pagesToScan = 4096;
  maxPtesNone = 511;
  maxPtesSwap = 64;
  maxPtesShared = 256;
  /** Head of the huge zero page (0: not made yet), and its references: one of the kernel, one of each mm that ever mapped it. */
  zeroPfn = 0;
  zeroRefs = 0;
  /** ShmemHugePages and ShmemPmdMapped of /proc/meminfo, in huge pages: in page caches, and mapped whole by at least one entry. */
  shmemThps = 0;
  shmemPmdMapped = 0;
  /** Huge pages partly unmapped, the longest queued first (deferred_split_queue). */
  readonly splitQueue = new Set<number>();
  /** Address spaces that khugepaged visits, in order of registration, and where it stopped last (null: at the head of the list). */
  readonly slots = new Map<MmStruct, KhugepagedSlot>();
  scanSlot: KhugepagedSlot | null = null;
  scanAddress = 0;
  /** khugepaged's thread waits here for work; scanWanted: it is to scan. */
  readonly wait = new WaitQueue();
  scanWanted = false;
  /** khugepaged/pages_collapsed and full_scans; SCAN_* of the block that it looked at last. */
  pagesCollapsed = 0;
  fullScans = 0;
  lastResult = 0;
  /** The last collapseScanPmd dropped mmapLock. */
  lockDropped = false;

  constructor(config: KernelConfig) {
    this.enabled = config.thpEnabled;
    this.shmemEnabled = config.shmemHuge;
    this.tmpfsHuge = config.tmpfsHuge;
  }
}
