// The livepatch table: every kernel-named function of mm that locks, changes an entry, flushes, notifies or frees is called
// as k.fn.name(k, ...), never directly, so that a livepatch can replace it in one kernel instance. Files import this type
// only, which also breaks the cycles between allocator, reclaim and rmap. Word accessors, page-flag helpers and chunk bodies
// (loops over entries) are plain imports and not in the table.
//
// Each room declares its functions here and exports an object of them (`vmaFns`, `faultFns` ...); table.ts joins those.
// Conventions: addresses are byte addresses, ranges half-open; results >= 0 or -errno; a KernelPath may sleep, an
// AtomicPath may not, a plain function is atomic.

import type { AtomicPath, KernelPath } from '../sched/path.ts';
import type { MigrateVma } from './hmm/migrate-vma.ts';
import type { HmmRange } from './hmm/range-fault.ts';
import type { Kernel } from './kernel.ts';
import type { RmapItem } from './ksm/state.ts';
import type { NewPage, PutNewPage } from './migrate/migrate-pages.ts';
import type { NotifyFns } from './notify.ts';
import type { Lruvec } from './reclaim/lruvec.ts';
import type { MemCgroup } from './reclaim/mem-cgroup.ts';
import type { AddressSpace, Inode, MmStruct, OpenFile, Task, VmArea } from './types.ts';
import type { UserfaultfdCtx } from './uffd/context.ts';
import type { MmuGather } from './zap/mmu-gather.ts';

/** Room vma: address-space layout. mmapLock is held for write where a VMA changes. */
export interface VmaFns {
  /** do_mmap (mmapLock W held). `addr`, `len` as given, checks 6.. of the mmap table. Returns the address or -errno. */
  doMmap(
    k: Kernel,
    task: Task,
    file: OpenFile | null,
    addr: number,
    len: number,
    prot: number,
    flags: number,
    pgoff: number,
  ): KernelPath<number>;
  getUnmappedArea(
    k: Kernel,
    mm: MmStruct,
    file: OpenFile | null,
    addr: number,
    len: number,
    pgoff: number,
    flags: number,
  ): number;
  mmapRegion(
    k: Kernel,
    task: Task,
    file: OpenFile | null,
    addr: number,
    len: number,
    vmFlags: number,
    pgoff: number,
    shown?: OpenFile | null,
  ): KernelPath<number>;
  /** do_mas_align_munmap. `downgrade`: may turn mmapLock W into R; returns 1 if it did, 0, or -errno. */
  doMunmap(k: Kernel, mm: MmStruct, start: number, end: number, downgrade: boolean): KernelPath<number>;
  /** unmap_region: zaps the detached VMAs (ascending, already out of the tree) and frees their tables. prevEnd and
   *  nextStart bound the tables that may go (0 and USER_PGTABLES_CEILING when there is no neighbour). */
  unmapRegion(
    k: Kernel,
    mm: MmStruct,
    vmas: VmArea[],
    start: number,
    end: number,
    prevEnd: number,
    nextStart: number,
  ): KernelPath<void>;
  /** __split_vma: newBelow = the new VMA is the lower part. Announces vmaAdjustTransHuge. 0, -ENOMEM or -EINVAL (hugetlb). */
  splitVma(k: Kernel, mm: MmStruct, vma: VmArea, addr: number, newBelow: boolean): KernelPath<number>;
  mprotectFixup(
    k: Kernel,
    tlb: MmuGather,
    vma: VmArea,
    start: number,
    end: number,
    newFlags: number,
    pkey?: number,
  ): KernelPath<number>;
  moveVma(
    k: Kernel,
    task: Task,
    vma: VmArea,
    oldAddr: number,
    oldLen: number,
    newLen: number,
    newAddr: number,
    flags: number,
  ): KernelPath<number>;
  /** expand_stack: grows a GROWSDOWN VMA down to `address`. 0 or -errno. */
  expandStack(k: Kernel, vma: VmArea, address: number): KernelPath<number>;
  /** mm_populate: faults [start, start + len) in as mlock does; errors are ignored. mmapLock not held. */
  mmPopulate(k: Kernel, mm: MmStruct, start: number, end: number): KernelPath<number>;
  /** dup_mm/dup_mmap: a copy of the address space for fork. Null when out of memory. */
  dupMm(k: Kernel, parent: MmStruct): KernelPath<MmStruct | null>;
  /** mmput: drops a user; the last one runs exitMmap. */
  mmPut(k: Kernel, mm: MmStruct): KernelPath<void>;
  exitMmap(k: Kernel, mm: MmStruct): KernelPath<void>;
  /** vma_link's first half: into the tree. A file VMA also needs linkFileVma. */
  linkVma(k: Kernel, mm: MmStruct, vma: VmArea): void;
  /** remove_vma: drops the VMA's file. Its pages and rmap links are gone. */
  removeVma(k: Kernel, vma: VmArea): void;
}

/** Room fault, with copy-on-write and fork's copying. */
export interface FaultFns {
  /** The architecture's page-fault entry: takes mmapLock, finds the VMA (growing a stack), checks access, retries.
   *  Returns VM_FAULT_* bits (0 = done); VM_FAULT_SIGSEGV with k.faultCode = SEGV_MAPERR or SEGV_ACCERR. */
  doUserAddrFault(k: Kernel, mm: MmStruct, address: number, flags: number): KernelPath<number>;
  /** handle_mm_fault. mmapLock held (R). Returns VM_FAULT_*; after VM_FAULT_RETRY the lock was dropped. */
  handleMmFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number>;
  doAnonymousPage(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number>;
  doWpPage(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number>;
  /** wp_page_copy: oldPfn (a reference is held and given up) or 0 for the zero page; origLo: the entry when it was judged. */
  wpPageCopy(
    k: Kernel,
    vma: VmArea,
    address: number,
    oldPfn: number,
    origLo: number,
    flags: number,
  ): KernelPath<number>;
  doSwapPage(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number>;
  doReadFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number>;
  doCowFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number>;
  doSharedFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number>;
  /** __pte_alloc and the upper levels: frame of the page table for the address (allocating), or 0 when out of memory. */
  pteAlloc(k: Kernel, mm: MmStruct, address: number): KernelPath<number>;
  /** copy_page_range: parent entries to the child (fork). Parent and child mmapLock W. 0 or -ENOMEM. */
  copyPageRange(k: Kernel, dst: VmArea, src: VmArea): KernelPath<number>;
}

/** Room rmap: from a page to its entries. */
export interface RmapFns {
  /** anon_vma_prepare. 0 or -ENOMEM. */
  anonVmaPrepare(k: Kernel, vma: VmArea): KernelPath<number>;
  /** anon_vma_clone: dst gets a chain to every anon_vma of src (a split sets dst.anonVma = src.anonVma first, as
   *  vm_area_dup does; fork leaves it null). 0 or -ENOMEM. Skip the call when src.chain is empty. */
  anonVmaClone(k: Kernel, dst: VmArea, src: VmArea): KernelPath<number>;
  /** anon_vma_fork. Skip the call when parent.anonVma is null. */
  anonVmaFork(k: Kernel, vma: VmArea, parent: VmArea): KernelPath<number>;
  /** unlink_anon_vmas: waits for rmap walkers. Skip the call when vma.chain is empty. */
  unlinkAnonVmas(k: Kernel, vma: VmArea): KernelPath<void>;
  /** i_mmap tree (vma_link, unlink_file_vma): waits for rmap walkers. No-op without a file. `parent`: fork puts the copy
   *  right after the VMA that it copies (dup_mmap). */
  linkFileVma(k: Kernel, vma: VmArea, parent?: VmArea | null): KernelPath<void>;
  unlinkFileVma(k: Kernel, vma: VmArea): KernelPath<void>;
  /** Around a change of pgoff/start/end of a linked VMA (vma_adjust: takes i_mmap and anon_vma locks for write and takes the
   *  VMA out of the interval trees; the second puts it back and unlocks). Needed when `vma.chain` or `vma.file` is set. */
  beforeVmaResize(k: Kernel, vma: VmArea): KernelPath<void>;
  afterVmaResize(k: Kernel, vma: VmArea): void;
  /** page_add_*_rmap, page_remove_rmap: mapcount, flags and mapping. RSS counters are the caller's business, as in Linux
   *  (MM_ANONPAGES; mmCounterFile(page) for the rest; update hiwaterRss before a decrease). ptl held. */
  pageAddNewAnonRmap(k: Kernel, pfn: number, vma: VmArea, address: number): void;
  pageAddAnonRmap(k: Kernel, pfn: number, vma: VmArea, address: number, exclusive: boolean): void;
  pageAddFileRmap(k: Kernel, pfn: number, vma: VmArea, address: number): void;
  pageRemoveRmap(k: Kernel, pfn: number, vma: VmArea, address: number): void;
  /** page_try_share_anon_rmap: clears PG_ANON_EXCLUSIVE of a page whose entry was just cleared; false when it may be pinned. */
  pageTryShareAnonRmap(k: Kernel, pfn: number): boolean;
  /** try_to_unmap_flush: the CPU TLB flush that TTU_BATCH_FLUSH put off; before the pages are freed (or written, if dirty). */
  tryToUnmapFlush(k: Kernel): AtomicPath<void>;
  tryToUnmapFlushDirty(k: Kernel): AtomicPath<void>;
  /** flush_tlb_batched_pending: call under ptl when mm.tlbFlushBatched, before entries of the mm are zapped, changed or moved. */
  flushTlbBatchedPending(k: Kernel, mm: MmStruct): AtomicPath<void>;
  /** try_to_unmap: page lock held. True when no entry maps the page any more. flags TTU_* (rmap/unmap.ts). */
  tryToUnmap(k: Kernel, pfn: number, flags: number): KernelPath<boolean>;
  tryToUnmapOne(k: Kernel, pfn: number, vma: VmArea, address: number, flags: number): KernelPath<boolean>;
  /** folio_referenced: number of mappings that were young, -1 when the rmap lock is contended, 1 when the page lock is (isLocked:
   *  the caller holds it; `target`: only what this memory cgroup did counts). k.referencedVmFlags then holds the flags of the VMAs that used it (VM_LOCKED: one of them is locked, and
   *  the walk stopped there). */
  folioReferenced(k: Kernel, pfn: number, isLocked: boolean, target?: MemCgroup | null): KernelPath<number>;
  folioReferencedOne(k: Kernel, pfn: number, vma: VmArea, address: number): AtomicPath<number>;
  /** page_mkclean: write-protects and cleans every shared mapping; number of entries changed. */
  pageMkclean(k: Kernel, pfn: number): KernelPath<number>;
  pageMkcleanOne(k: Kernel, pfn: number, vma: VmArea, address: number): KernelPath<number>;
}

/** Room zap: mmu_gather, unmapping, page-table freeing, protection changes, moving entries, CPU TLB flushes. */
export interface ZapFns {
  /** tlb_gather_mmu; `site` is SITE_*. End it with tlbFinishMmu, which reuses the object. */
  tlbGatherMmu(k: Kernel, mm: MmStruct, fullMm: boolean, site: number): MmuGather;
  tlbFinishMmu(k: Kernel, tlb: MmuGather): KernelPath<void>;
  /** tlb_flush_mmu_tlbonly: CPU flush of the gather range, then the design's moment (R). Under ptl or not. */
  tlbFlushMmuTlbonly(k: Kernel, tlb: MmuGather): AtomicPath<void>;
  /** tlb_batch_pages_flush: frees what was queued. */
  tlbFlushMmuFree(k: Kernel, tlb: MmuGather): KernelPath<void>;
  /** __tlb_remove_page_size: queues a page that an entry of `size` bytes (4096) at `address` mapped (a table: its base); true = full,
   *  flush now. */
  tlbRemovePage(k: Kernel, tlb: MmuGather, pfn: number, address: number, isTable: boolean, size?: number): boolean;
  /** mm_tlb_flush_pending: has somebody changed entries and not flushed yet? Until then a TLB may permit more than the entry. */
  mmTlbFlushPending(k: Kernel, mm: MmStruct): boolean;
  /** unmap_vmas: one UNMAP section over [start, end), zap of every VMA (ascending array). */
  unmapVmas(k: Kernel, tlb: MmuGather, vmas: readonly VmArea[], start: number, end: number): KernelPath<void>;
  /** unmap_single_vma / unmap_page_range, no section of its own. */
  unmapPageRange(
    k: Kernel,
    tlb: MmuGather,
    vma: VmArea,
    start: number,
    end: number,
    evenCows: boolean,
  ): KernelPath<void>;
  /** tlb_end_vma: after the entries of one VMA; null = nothing to do. */
  tlbEndVma(k: Kernel, tlb: MmuGather, vma: VmArea): AtomicPath<void> | null;
  zapPteRange(
    k: Kernel,
    tlb: MmuGather,
    vma: VmArea,
    pmdWord: number,
    start: number,
    end: number,
    evenCows: boolean,
  ): KernelPath<number>;
  /** zap_page_range_single (madvise DONTNEED, truncate): gather, section CLEAR, zap, end, finish. 0. */
  zapPageRangeSingle(
    k: Kernel,
    vma: VmArea,
    start: number,
    end: number,
    evenCows: boolean,
    site?: number,
  ): KernelPath<number>;
  /** free_pgtables for ascending VMAs between prevEnd and nextStart: takes each VMA out of the rmap trees first
   *  (unlinkAnonVmas, unlinkFileVma: the caller must not), then frees the tables that no other VMA needs. */
  freePgtables(
    k: Kernel,
    tlb: MmuGather,
    vmas: readonly VmArea[],
    prevEnd: number,
    nextStart: number,
  ): KernelPath<void>;
  /** free_pgd_range; null = no table is to be freed. */
  freePgdRange(
    k: Kernel,
    tlb: MmuGather,
    addr: number,
    end: number,
    floor: number,
    ceiling: number,
  ): KernelPath<void> | null;
  /** change_protection for [start, end) of a VMA whose flags and pageProt are already the new ones; `cpFlags`:
   *  MM_CP_* (zap/cp-flags.ts). Opens sections as the profile says. */
  changeProtection(
    k: Kernel,
    tlb: MmuGather,
    vma: VmArea,
    start: number,
    end: number,
    cpFlags: number,
  ): KernelPath<number>;
  /** change_pte_range: the part inside page table `table`. Number of present entries. */
  changePteRange(
    k: Kernel,
    tlb: MmuGather,
    vma: VmArea,
    table: number,
    start: number,
    end: number,
    cpFlags: number,
  ): AtomicPath<number>;
  /** move_normal_pmd, move_normal_pud: the entry at word `from` (of LEVEL_PMD or LEVEL_PUD) takes its table along to word
   *  `to`. False when that is taken. */
  moveNormalTable(
    k: Kernel,
    vma: VmArea,
    oldAddr: number,
    newAddr: number,
    from: number,
    to: number,
    level: number,
  ): KernelPath<boolean>;
  /** move_ptes: `len` bytes inside one page table on both sides, which exist. */
  movePtes(
    k: Kernel,
    vma: VmArea,
    oldAddr: number,
    newVma: VmArea,
    newAddr: number,
    len: number,
    needRmapLocks: boolean,
  ): KernelPath<void>;
  /** move_page_tables. `needRmapLocks`: the new VMA comes before the old one in rmap order (copy_vma says so). Returns
   *  bytes moved; less than `len` when out of memory. */
  movePageTables(
    k: Kernel,
    vma: VmArea,
    oldAddr: number,
    newVma: VmArea,
    newAddr: number,
    len: number,
    needRmapLocks: boolean,
  ): KernelPath<number>;
  /** madvise_free_single_vma, madvise_cold, madvise_pageout for a piece of one VMA. 0 or -errno. */
  madviseFree(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number>;
  madviseCold(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number>;
  madvisePageout(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number>;
  /** flush_tlb_mm_range on every CPU that runs the mm; then the design's moment for a CPU flush (a gather announces its
   *  own, and passes FLUSH_OF_GATHER as `site`). [0, ULONG_MAX): everything. */
  flushTlbMmRange(
    k: Kernel,
    mm: MmStruct,
    start: number,
    end: number,
    strideShift: number,
    freedTables: boolean,
    site: number,
  ): AtomicPath<void>;
  flushTlbMm(k: Kernel, mm: MmStruct, site: number): AtomicPath<void>;
  /** flush_tlb_page (ptep_clear_flush's second half). */
  flushTlbPage(k: Kernel, vma: VmArea, address: number, site: number): AtomicPath<void>;
}

/** Room huge: transparent huge pages. `word` is a PMD entry's; haddr and a block's address are multiples of 2 MiB. */
export interface HugeFns {
  /** vma_adjust_trans_huge: the split-PMD section of a boundary inside a covered, present 1 GiB. Call before a boundary changes. */
  vmaAdjustTransHuge(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<void>;
  /** __split_huge_pmd: the section, and the split if a huge page is mapped in the block of `address`. With `folio` (a locked head; 0: any)
   *  only that one; `freeze`: to migration entries. */
  splitHugePmd(k: Kernel, vma: VmArea, address: number, freeze: boolean, folio: number): KernelPath<void>;
  /** The PMD level of a fault: VM_FAULT_*; VM_FAULT_FALLBACK: go on with small pages. */
  handleHugePmd(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number>;
  doHugePmdAnonymousPage(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number>;
  doHugePmdWpPage(
    k: Kernel,
    vma: VmArea,
    address: number,
    word: number,
    orig: number,
    flags: number,
  ): KernelPath<number>;
  /** The fault of a file in a block without a page table: maps a huge page whole. VM_FAULT_*, VM_FAULT_FALLBACK as above. */
  doFileHugeFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number>;
  /** do_set_pmd: maps the page `head` whole at `haddr`, whose entry at `word` is none; its reference goes to the entry. False:
   *  the entry is there. Page lock held. */
  doSetPmd(k: Kernel, vma: VmArea, haddr: number, word: number, head: number, isWrite: boolean): AtomicPath<boolean>;
  /** pmd_migration_entry_wait. */
  pmdMigrationEntryWait(k: Kernel, vma: VmArea, word: number): KernelPath<number>;
  /** zap_huge_pmd: false when the entry is not huge (any more). */
  zapHugePmd(k: Kernel, tlb: MmuGather, vma: VmArea, word: number, haddr: number): KernelPath<boolean>;
  /** change_huge_pmd: 0 not huge, 1 left as it is, 512 changed. */
  changeHugePmd(
    k: Kernel,
    tlb: MmuGather,
    vma: VmArea,
    word: number,
    haddr: number,
    cpFlags: number,
  ): AtomicPath<number>;
  /** copy_huge_pmd: 0, -ENOMEM, -EAGAIN (not huge any more: copy the page table). */
  copyHugePmd(k: Kernel, dst: VmArea, src: VmArea, srcWord: number, haddr: number): KernelPath<number>;
  /** move_huge_pmd: false when it cannot move whole. */
  moveHugePmd(
    k: Kernel,
    vma: VmArea,
    oldAddr: number,
    newAddr: number,
    from: number,
    to: number,
    needRmapLocks: boolean,
  ): KernelPath<boolean>;
  /** madvise_free_huge_pmd for [start, end) of a block: true when it is done, false when its small entries are to be freed. */
  madviseFreeHugePmd(
    k: Kernel,
    tlb: MmuGather,
    vma: VmArea,
    word: number,
    start: number,
    end: number,
  ): KernelPath<boolean>;
  /** The huge half of madvise_cold_or_pageout_pte_range; pages to be reclaimed go to `isolated` (null: MADV_COLD). */
  coldHugePmd(
    k: Kernel,
    tlb: MmuGather,
    vma: VmArea,
    word: number,
    start: number,
    end: number,
    isolated: number[] | null,
  ): KernelPath<boolean>;
  /** split_huge_page_to_list: page lock and a reference held; both belong to `page` afterwards. 0, -EBUSY, -EAGAIN. */
  splitHugePage(k: Kernel, page: number, list: number[] | null): KernelPath<number>;
  /** hpage_collapse_scan_pmd: SCAN_* (huge/scan-result.ts). mmapLock held for read; dropped when k.huge.lockDropped says so. */
  collapseScanPmd(k: Kernel, vma: VmArea, haddr: number, isKhugepaged: boolean): KernelPath<number>;
  /** collapse_huge_page: mmapLock held for read, dropped. */
  collapseHugePage(
    k: Kernel,
    mm: MmStruct,
    haddr: number,
    hasSwapped: boolean,
    isKhugepaged: boolean,
  ): KernelPath<number>;
  /** hpage_collapse_scan_file, of the block at page `start` of a file: SCAN_*. For the mapping of `mm` at `address`. mmapLock not held. */
  collapseScanFile(
    k: Kernel,
    mm: MmStruct,
    address: number,
    mapping: AddressSpace,
    start: number,
    isKhugepaged: boolean,
  ): KernelPath<number>;
  collapseFile(
    k: Kernel,
    mm: MmStruct,
    address: number,
    mapping: AddressSpace,
    start: number,
    isKhugepaged: boolean,
  ): KernelPath<number>;
  /** retract_page_tables: SCAN_* for the target mapping. Page lock of `head` held. */
  retractPageTables(
    k: Kernel,
    mapping: AddressSpace,
    pgoff: number,
    target: MmStruct,
    targetAddress: number,
    head: number,
    isKhugepaged: boolean,
  ): KernelPath<number>;
  /** collapse_and_free_pmd: the page table that the entry at `word` points to, out of the tree and freed. */
  collapseAndFreePmd(k: Kernel, vma: VmArea, address: number, word: number): KernelPath<void>;
  /** collapse_pte_mapped_thp: SCAN_*. mmapLock held for write. */
  collapsePteMappedThp(k: Kernel, mm: MmStruct, address: number, install: boolean): KernelPath<number>;
  /** khugepaged_do_scan: number of blocks collapsed. */
  khugepagedScan(k: Kernel, pages: number): KernelPath<number>;
  /** khugepaged; spawned as a daemon in interleaved runs. */
  khugepaged(k: Kernel): KernelPath<void>;
  /** deferred_split_scan: number of pages split, of those of which a part is unmapped. */
  deferredSplitScan(k: Kernel, want: number): KernelPath<number>;
}

/** Room migrate: moving pages to other frames, and the entries that stand for pages on their way. */
export interface MigrateFns {
  /** do_numa_page: a fault on an entry that NUMA balancing took the rights from. 0. */
  doNumaPage(k: Kernel, vma: VmArea, address: number): KernelPath<number>;
  /** do_huge_pmd_numa_page, for the huge entry at `word`. VM_FAULT_FALLBACK when it is no longer one. */
  doHugePmdNumaPage(k: Kernel, vma: VmArea, address: number, word: number): KernelPath<number>;
  /** try_to_migrate: a migration entry in the place of every mapping. Page lock held. TTU_RMAP_LOCKED, TTU_SPLIT_HUGE_PMD. Pages
   *  that are pinned, or busy, stay mapped. */
  tryToMigrate(k: Kernel, pfn: number, flags: number): KernelPath<void>;
  /** try_to_migrate_one: false ends the walk. */
  tryToMigrateOne(k: Kernel, pfn: number, vma: VmArea, address: number, flags: number): KernelPath<boolean>;
  /** remove_migration_ptes: entries that name `src` map `dst` (head pages). Page locks held; isLocked: rmap lock held. */
  removeMigrationPtes(k: Kernel, src: number, dst: number, isLocked: boolean, toZeroPage?: boolean): KernelPath<void>;
  /** remove_migration_pte: in one VMA, whose first entry is at `address`. */
  removeMigrationPte(
    k: Kernel,
    src: number,
    dst: number,
    vma: VmArea,
    address: number,
    toZeroPage?: boolean,
  ): KernelPath<void>;
  /** migrate_pages: moves the isolated pages of `from` to pages that newPage gives. Those that stayed are left in `from` for
   *  putbackMovablePages. Number of pages that could not be moved, or -ENOMEM. */
  migratePages(
    k: Kernel,
    from: number[],
    newPage: NewPage,
    putNewPage: PutNewPage,
    mode: number,
    reason: number,
  ): KernelPath<number>;
  /** unmap_and_move: one page. 0, -EAGAIN, -EBUSY, -ENOMEM. */
  unmapAndMove(
    k: Kernel,
    pfn: number,
    newPage: NewPage,
    putNewPage: PutNewPage,
    force: boolean,
    mode: number,
    reason: number,
  ): KernelPath<number>;
  /** memory_failure, soft_offline_page: the caller's reference is taken over. 0, -EBUSY, -EHWPOISON. */
  memoryFailure(k: Kernel, pfn: number, address?: number): KernelPath<number>;
  softOfflinePage(k: Kernel, pfn: number): KernelPath<number>;
  /** compact_node. */
  compactNode(k: Kernel, node: number): KernelPath<void>;
  /** folio_migrate_mapping: the place of src (locked, not mapped) in its cache goes to dst. 0 or -EAGAIN (somebody refers to it). */
  folioMigrateMapping(k: Kernel, dst: number, src: number, extra: number): number;
}

/** Room hmm: what drivers of devices with page tables of their own call. mmapLock held for read throughout. */
export interface HmmFns {
  /** hmm_range_fault. 0, -EBUSY (invalidated: begin again), -EFAULT, -EPERM. */
  hmmRangeFault(k: Kernel, range: HmmRange): KernelPath<number>;
  /** migrate_vma_setup: pages of the range are locked and mapped nowhere afterwards. 0 or -EINVAL. */
  migrateVmaSetup(k: Kernel, args: MigrateVma): KernelPath<number>;
  migrateVmaCollect(k: Kernel, args: MigrateVma): KernelPath<void>;
  migrateDeviceUnmap(k: Kernel, src: Int32Array, npages: number, faultPage: number): KernelPath<void>;
  /** migrate_vma_pages, migrate_vma_finalize: after the driver has filled args.dst with locked pages and copied. */
  migrateVmaPages(k: Kernel, args: MigrateVma): KernelPath<void>;
  migrateVmaFinalize(k: Kernel, args: MigrateVma): KernelPath<void>;
  /** make_device_exclusive_range: `pages` gets locked, referenced frames, 0 where none could be had. Number looked at, or -errno. */
  makeDeviceExclusiveRange(
    k: Kernel,
    mm: MmStruct,
    start: number,
    end: number,
    pages: Int32Array,
    owner: object | null,
  ): KernelPath<number>;
  /** folio_make_device_exclusive. Page lock held. */
  pageMakeDeviceExclusive(
    k: Kernel,
    pfn: number,
    mm: MmStruct,
    address: number,
    owner: object | null,
  ): KernelPath<boolean>;
  /** remove_device_exclusive_entry: a fault on the entry at `word`. VM_FAULT_*. */
  removeDeviceExclusiveEntry(k: Kernel, vma: VmArea, address: number, word: number, flags: number): KernelPath<number>;
}

/** Room page: frames. */
export interface PageFns {
  /** Frame from the free lists (above the watermark that gfp may use), or 0: then call allocPagesSlow. refcount 1. `node`: asked there
   *  first (else on node 0), and with `isOnly` nowhere else (__GFP_THISNODE). */
  allocPage(k: Kernel, gfp: number, purpose: number, node?: number, isOnly?: boolean): number;
  /** prep_new_page: a frame that was taken off the free lists becomes a page with refcount 1; returns it. */
  prepNewPage(k: Kernel, pfn: number, purpose: number, mayReclaim: boolean): number;
  /** A compound page of 2^order frames with refcount 1, or 0; does not reclaim. Its frames hold what they held last. */
  allocPages(k: Kernel, gfp: number, order: number, purpose: number, node?: number, isOnly?: boolean): number;
  /** __alloc_pages_slowpath: wakes kswapd, reclaims, retries. Frame or 0 (out of memory). */
  allocPagesSlow(k: Kernel, gfp: number, purpose: number): KernelPath<number>;
  /** Gives a frame (or a compound page: its head) with refcount 0 back (free_unref_page, free_compound_page). Raises generations. */
  freePage(k: Kernel, pfn: number): void;
  /** The same for the entries (pfn << 1) of queue[from, to) that are not 0, the last first (free_unref_page_list). */
  freePageList(k: Kernel, queue: Int32Array, from: number, to: number): void;
  /** put_page: drops a reference (of the head, for a tail); the last one takes the page off the LRU and frees it. */
  putPage(k: Kernel, pfn: number): void;
}

/** Rooms reclaim and swap. */
export interface ReclaimFns {
  lruAdd(k: Kernel, pfn: number): void;
  lruDel(k: Kernel, pfn: number): void;
  markPageAccessed(k: Kernel, pfn: number): void;
  /** deactivate / lazyfree moves of madvise. */
  lruDeactivate(k: Kernel, pfn: number): void;
  /** try_to_free_pages: direct reclaim of at least `want` pages; number reclaimed. */
  tryToFreePages(k: Kernel, want: number): KernelPath<number>;
  /** shrink_folio_list of isolated pages, on behalf of `target` (null: of everybody). Number freed. */
  shrinkFolioList(
    k: Kernel,
    pages: number[],
    isKswapd: boolean,
    ignoreReferences: boolean,
    target?: MemCgroup | null,
    isEviction?: boolean,
  ): KernelPath<number>;
  shrinkActiveList(
    k: Kernel,
    lruvec: Lruvec,
    isFile: boolean,
    want: number,
    target: MemCgroup | null,
  ): KernelPath<void>;
  /** reclaim_pages (MADV_PAGEOUT): isolated pages. */
  reclaimPages(k: Kernel, pages: number[]): KernelPath<number>;
  /** kswapd's loop; spawned as a daemon in interleaved runs. */
  kswapd(k: Kernel): KernelPath<void>;
  /** get_swap_page / swap_duplicate / swap_free / free_swap_and_cache. Entry = slot number >= 1; 0 = none left. */
  getSwapPage(k: Kernel): number;
  swapDuplicate(k: Kernel, entry: number): number;
  swapFree(k: Kernel, entry: number): void;
  freeSwapAndCache(k: Kernel, entry: number): void;
  addToSwap(k: Kernel, pfn: number): boolean;
  /** swapin_readahead for the fault at `address` of `vma` (null: shmem): the slot's page, read into the swap cache with its
   *  neighbours. Frame (referenced), or 0 when the slot is unused or memory is short. */
  swapinReadahead(k: Kernel, entry: number, vma: VmArea | null, address: number): KernelPath<number>;
  /** read_swap_cache_async: the same without neighbours. */
  readSwapCache(k: Kernel, entry: number): KernelPath<number>;
  /** swap_writepage: contents go to the swap area. */
  swapWritepage(k: Kernel, pfn: number): KernelPath<void>;
  /** `shadow`: what reclaim leaves in the page's place; 0 = nothing. */
  deleteFromSwapCache(k: Kernel, pfn: number, shadow?: number): void;
  /** folio_free_swap: page lock held. Takes a swap-cache page off its slot when no entry uses it any more; true if it did. */
  folioFreeSwap(k: Kernel, pfn: number): boolean;
}

/** Room file: page cache, shared memory, truncate, writeback. */
export interface FileFns {
  /** Frame of page `index` in the cache (referenced), or 0. */
  findGetPage(k: Kernel, mapping: AddressSpace, index: number): number;
  /** The same, reading or (shmem) allocating it. `vma`: for a fault in it. Frame (referenced; of a huge
   *  page the one that belongs there) or -errno (-ENOMEM; -EFAULT beyond end of file). */
  filemapGetPage(k: Kernel, mapping: AddressSpace, index: number, vma?: VmArea | null): KernelPath<number>;
  /** Removes a clean or truncated page from the cache; drops the cache's reference. Page lock held. */
  deleteFromPageCache(k: Kernel, pfn: number, shadow?: number): void;
  /** writepage: mkclean, then contents to the disk. */
  writepage(k: Kernel, pfn: number): KernelPath<void>;
  /** filemap_write_and_wait_range, bytes. */
  filemapWriteAndWaitRange(k: Kernel, mapping: AddressSpace, start: number, end: number): KernelPath<void>;
  /** unmap_mapping_range over file bytes [start, end); end Infinity = to the end. */
  unmapMappingRange(k: Kernel, mapping: AddressSpace, start: number, end: number, evenCows: boolean): KernelPath<void>;
  /** truncate_setsize + page removal; a shared memory file that does not shrink only changes its size. */
  truncate(k: Kernel, inode: Inode, size: number): KernelPath<number>;
  /** fallocate PUNCH_HOLE over whole pages, zeroing of the edges. */
  punchHole(k: Kernel, inode: Inode, start: number, end: number): KernelPath<number>;
  /** fallocate ZERO_RANGE of a regular file: as punchHole, but nothing is written back first and the end may lie beyond EOF. */
  zeroRange(k: Kernel, inode: Inode, start: number, end: number): KernelPath<number>;
  /** fallocate COLLAPSE_RANGE, or INSERT_RANGE, of a regular file. 0, or -EINVAL (not in whole blocks, beyond the end). */
  shiftRange(k: Kernel, inode: Inode, start: number, end: number, isInsert: boolean): KernelPath<number>;
  /** read/write through the page cache; bytes moved or -errno. The data itself is a pattern or `bytes`. */
  fileWrite(k: Kernel, inode: Inode, offset: number, length: number, bytes: Uint8Array | null): KernelPath<number>;
  fileRead(
    k: Kernel,
    inode: Inode,
    offset: number,
    length: number,
    out: Uint8Array | null,
    file?: OpenFile | null,
  ): KernelPath<number>;
  /** Drops a reference of an inode that lost its last name and last user: its pages go. */
  evictInode(k: Kernel, inode: Inode): KernelPath<void>;
}

/** Room gup: get_user_pages and pins. */
export interface GupFns {
  /** get_user_pages_remote: faults in `count` pages from `start`; PFNs (referenced) to `out`. Number of pages or -errno.
   *  flags FOLL_*. mmapLock held for read; may be dropped and taken again. */
  getUserPages(
    k: Kernel,
    mm: MmStruct,
    start: number,
    count: number,
    flags: number,
    out: Int32Array | null,
  ): KernelPath<number>;
  /** pin_user_pages(FOLL_LONGTERM). */
  pinUserPages(
    k: Kernel,
    mm: MmStruct,
    start: number,
    count: number,
    flags: number,
    out: Int32Array,
  ): KernelPath<number>;
  unpinUserPage(k: Kernel, pfn: number, dirty: boolean): void;
  /** get_user_pages_fast, pin_user_pages_fast (FOLL_PIN): mmapLock not held. Looks without any lock first; takes mmapLock for the rest.
   *  FOLL_FAST_ONLY: does not. Number of pages or -errno. */
  getUserPagesFast(
    k: Kernel,
    mm: MmStruct,
    start: number,
    count: number,
    flags: number,
    out: Int32Array,
  ): KernelPath<number>;
  /** gup_pte_range for one entry, without mmapLock and ptl: the page, referenced or (FOLL_PIN) pinned; 0: the slow way. */
  gupPteRange(k: Kernel, mm: MmStruct, address: number, flags: number): AtomicPath<number>;
  /** access_process_vm-like copy for tests and process_vm_*: bytes moved or -EFAULT. */
  accessRemoteVm(
    k: Kernel,
    mm: MmStruct,
    address: number,
    bytes: Uint8Array,
    isWrite: boolean,
    force?: boolean,
  ): KernelPath<number>;
}

/** Room hugetlb: mappings of the pool's huge pages (VM_HUGETLB). Each takes the place of a generic walk, per VMA. Words are those of PMD
 *  entries, addresses multiples of 2 MiB where nothing else is said. */
export interface HugetlbFns {
  /** hugetlb_fault: handle_mm_fault of such a VMA. VM_FAULT_* bits. mmapLock read. */
  hugetlbFault(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number>;
  hugetlbNoPage(k: Kernel, vma: VmArea, address: number, word: number, flags: number): KernelPath<number>;
  /** hugetlb_wp: ptl held, returns without it. `cached`: the file's page there, locked, or 0. */
  hugetlbWp(k: Kernel, vma: VmArea, address: number, word: number, flags: number, cached: number): KernelPath<number>;
  /** follow_hugetlb_page for one small page: its frame, referenced as `flags` (FOLL_*) say, or FAULT_* of room gup. */
  followHugetlbPage(k: Kernel, vma: VmArea, address: number, flags: number): AtomicPath<number>;
  /** __unmap_hugepage_range_final: a piece of a VMA into the caller's gather. */
  unmapHugepageRangeFinal(k: Kernel, tlb: MmuGather, vma: VmArea, start: number, end: number): KernelPath<void>;
  /** unmap_hugepage_range: with its own gather; only the entry of page `refPage` unless 0. Locks of VMA and mapping held for write. */
  unmapHugepageRange(k: Kernel, vma: VmArea, start: number, end: number, refPage: number): KernelPath<void>;
  unmapRefPrivate(k: Kernel, vma: VmArea, head: number, address: number): KernelPath<void>;
  /** hugetlb_vmdelete_list of huge pages [first, end): i_mmap_rwsem held for write. */
  hugetlbVmdeleteList(k: Kernel, mapping: AddressSpace, first: number, end: number): KernelPath<void>;
  /** hugetlb_change_protection: the VMA has its new flags. Number of small pages changed. */
  hugetlbChangeProtection(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number>;
  /** copy_hugetlb_page_range (fork). 0 or -errno. */
  copyHugetlbPageRange(k: Kernel, dst: VmArea, src: VmArea): KernelPath<number>;
  /** move_hugetlb_page_tables. Bytes moved. */
  moveHugetlbPageTables(
    k: Kernel,
    vma: VmArea,
    oldAddr: number,
    newVma: VmArea,
    newAddr: number,
    len: number,
  ): KernelPath<number>;
  /** huge_pmd_unshare: unlinks a shared table from this address space; the gather remembers the GiB to flush. False when the table
   *  is not shared. VMA lock and i_mmap_rwsem held for write, ptl of the table held. */
  hugePmdUnshare(k: Kernel, tlb: MmuGather, vma: VmArea, address: number, word: number): boolean;
  /** hugetlb_unshare_pmds of [start, end), multiples of 1 GiB. */
  hugetlbUnsharePmds(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<void>;
}

/** Room oom: the OOM killer and its reaper. */
export interface OomFns {
  /** __oom_reap_task_mm: mmapLock R. False: a notifier refused a VMA. */
  oomReapTaskMm(k: Kernel, mm: MmStruct): KernelPath<boolean>;
  /** oom_reap_task: takes over a reference on mm. */
  oomReapTask(k: Kernel, mm: MmStruct): KernelPath<void>;
  /** out_of_memory, of the whole machine or (memcg not 0) of a group: false when nobody is left to kill. */
  outOfMemory(k: Kernel, memcg: number): KernelPath<boolean>;
}

/** Room uffd: userfaultfd. */
export interface UffdFns {
  /** handle_userfault: see uffd/fault.ts. VM_FAULT_RETRY: mmapLock was dropped. */
  handleUserfault(k: Kernel, vma: VmArea, address: number, flags: number, reason: number): KernelPath<number>;
  /** handle_pte_marker: a fault on a PTE marker. */
  handlePteMarker(k: Kernel, vma: VmArea, address: number, flags: number): KernelPath<number>;
  userfaultfdRegister(k: Kernel, ctx: UserfaultfdCtx, start: number, end: number, flags: number): KernelPath<number>;
  userfaultfdUnregister(k: Kernel, ctx: UserfaultfdCtx, start: number, end: number): KernelPath<number>;
  /** The descriptor's last close. */
  userfaultfdRelease(k: Kernel, ctx: UserfaultfdCtx): KernelPath<void>;
  /** __mcopy_atomic: bytes filled or -errno. `mode` MCOPY_ATOMIC_*, `flags` UFFDIO_COPY_MODE_WP or 0. */
  mcopyAtomic(
    k: Kernel,
    ctx: UserfaultfdCtx,
    start: number,
    len: number,
    mode: number,
    flags: number,
    source: ((offset: number) => KernelPath<Uint8Array | null>) | null,
  ): KernelPath<number>;
  mwriteprotectRange(k: Kernel, ctx: UserfaultfdCtx, start: number, len: number, enable: boolean): KernelPath<number>;
  uffdWpRange(k: Kernel, vma: VmArea, start: number, len: number, enable: boolean): KernelPath<void>;
  /** userfaultfd_unmap_prep, for one VMA of the unmapped range. */
  userfaultfdUnmapPrep(k: Kernel, vma: VmArea, start: number, end: number): void;
  mremapUserfaultfdPrep(k: Kernel, vma: VmArea, from: number, to: number, length: number): void;
  /** userfaultfd_remove. False: mmapLock (R) was dropped. */
  userfaultfdRemove(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<boolean>;
  dupUserfaultfd(k: Kernel, vma: VmArea): void;
  /** userfaultfd_unmap_complete and its likes: announces what the running system call has changed, and waits. */
  sendUffdEvents(k: Kernel): KernelPath<void>;
}

/** Room ksm: merging of equal pages. */
export interface KsmFns {
  /** write_protect_page: the page's entry in the VMA becomes read-only and clean. False: not alone, pinned, not mapped here. Page lock,
   *  mmapLock (R). */
  writeProtectPage(k: Kernel, vma: VmArea, pfn: number): KernelPath<boolean>;
  /** replace_page: `kpfn` in the place of `pfn`, if the entry is still the one that writeProtectPage left. */
  replacePage(k: Kernel, vma: VmArea, pfn: number, kpfn: number): KernelPath<boolean>;
  /** try_to_merge_one_page: as above, or (kpfn 0) `pfn` itself becomes a KSM page. */
  tryToMergeOnePage(k: Kernel, vma: VmArea, pfn: number, kpfn: number): KernelPath<boolean>;
  /** break_ksm: a page of its own for the address. 0 or -ENOMEM. mmapLock held. */
  breakKsm(k: Kernel, vma: VmArea, address: number): KernelPath<number>;
  /** ksm_madvise(MADV_UNMERGEABLE) for pages: breaks every KSM page of [start, end). 0 or -ENOMEM. */
  ksmUnmerge(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number>;
  /** __ksm_enter, ksm_fork, __ksm_exit. */
  ksmEnter(k: Kernel, mm: MmStruct): void;
  ksmFork(k: Kernel, child: MmStruct, parent: MmStruct): void;
  ksmExit(k: Kernel, mm: MmStruct): KernelPath<void>;
  /** ksm_do_scan: one round of at most `count` pages, to the end of a full scan at most. */
  ksmDoScan(k: Kernel, count: number): KernelPath<void>;
  cmpAndMergePage(k: Kernel, item: RmapItem, pfn: number): KernelPath<void>;
  /** ksm_scan_thread; spawned as a daemon in interleaved runs. */
  ksmd(k: Kernel): KernelPath<void>;
  /** rmap_walk_ksm: every place that may map the KSM page, until `visit` answers false. Page lock held; `visit` runs under the
   *  anon_vma's lock. */
  rmapWalkKsm(k: Kernel, pfn: number, visit: (vma: VmArea, address: number) => KernelPath<boolean>): KernelPath<void>;
  /** ksm_might_need_to_copy: the page to map at a swap-in of `pfn`: itself, or a referenced copy; -ENOMEM. */
  ksmMightNeedToCopy(k: Kernel, pfn: number, vma: VmArea, address: number): KernelPath<number>;
}

/** Room track: which pages were used or written. */
export interface TrackFns {
  /** CLEAR_REFS_SOFT_DIRTY: write-protects every entry and forgets what was written. mmapLock W. */
  clearSoftDirty(k: Kernel, mm: MmStruct): KernelPath<void>;
}

/** Room uprobes: breakpoints in programs. */
export interface UprobeFns {
  /** uprobe_mmap: the breakpoints of a new file mapping. mmapLock W. */
  uprobeMmap(k: Kernel, vma: VmArea): KernelPath<void>;
  /** uprobe_write_opcode: the byte at `address`, in a copy of its page. 0 or -errno. mmapLock W. */
  uprobeWriteOpcode(k: Kernel, vma: VmArea, address: number, opcode: number): KernelPath<number>;
}

export interface KernelFns
  extends VmaFns,
    FaultFns,
    RmapFns,
    ZapFns,
    HugeFns,
    PageFns,
    ReclaimFns,
    FileFns,
    GupFns,
    HugetlbFns,
    UffdFns,
    OomFns,
    MigrateFns,
    HmmFns,
    NotifyFns,
    KsmFns,
    TrackFns,
    UprobeFns {}
