// The objects of the memory manager. Addresses are byte addresses (exact doubles), ranges half-open.
// Locks are those of sched/locks.ts; every field says which one guards it.

import { VM_GROWSDOWN } from '../abi/mman.ts';
import { int32s } from '../base/arena.ts';
import { OBJ_LIST } from '../base/footprint.ts';
import type { Rwsem } from '../sched/locks.ts';
import type { KernelPath } from '../sched/path.ts';
import type { Rlimits } from './config.ts';
import type { HugetlbFile, HugetlbVma } from './hugetlb/state.ts';
import type { SharedPolicy } from './numa/shared-policy.ts';
import type { MemPolicy } from './policy.ts';
import type { Cred } from './process/cred.ts';
import type { UserfaultfdCtx } from './uffd/context.ts';
import type { VmaTree } from './vma/vma-tree.ts';

/** swap_readahead_info of a VMA. */
export class SwapReadahead {
  /** Page of the last swap fault; -1: none yet. */
  page = -1;
  window = 0;
  /** Hits of what was read ahead. */
  hits = 4;
}

/** The chain of every VMA that no anon_vma knows: most VMAs never have another. */
export const NO_CHAIN: AnonVmaChain[] = [];

/** vm_area_struct. Fields are guarded by mm.mmapLock (write) unless said otherwise. */
export class VmArea {
  start: number;
  end: number;
  /** Page offset: into the file, or start >> 12 for anonymous memory that was never faulted (kept linear on a move after). */
  pgoff: number;
  /** VM_* flags. */
  flags: number;
  /** Protection bits of entries made for this VMA (vm_page_prot): low and high word, no PFN. */
  pageProtLo = 0;
  pageProtHi = 0;
  file: OpenFile | null;
  mm: MmStruct;
  /** Guarded by mmapLock; set under mmapLock read + anon_vma lock by the first fault. */
  anonVma: AnonVma | null = null;
  /** anon_vma_chain: every anon_vma that may hold pages of this VMA. */
  chain: AnonVmaChain[] = NO_CHAIN;
  /** Special mappings: "[vdso]", "[vvar]", "[stack]"... null for the rest. */
  name: string | null = null;
  /** Kept free below `start`: stack_guard_gap for GROWSDOWN VMAs. Read by the VMA tree. */
  startGap: number;
  /** The tree's own fields. */
  treePrev: VmArea | null = null;
  treeNext: VmArea | null = null;
  /** vma_pkey: protection key of its entries (VM_PKEY_BIT0..3). */
  pkey = 0;
  /** vm_userfaultfd_ctx: whose monitor is asked about faults here; null exactly when no VM_UFFD_* flag is set. */
  uffd: UserfaultfdCtx | null = null;
  /** vm_file of a VMA whose memory is anonymous all the same: a private mapping of /dev/zero. `file` is null then. */
  shownFile: OpenFile | null = null;
  /** vm_policy: where its pages shall be; null = as the task says. */
  policy: MemPolicy | null = null;
  /** swap_readahead_info; null before the first swap fault. */
  swapRa: SwapReadahead | null = null;
  /** A driver's private data. */
  private: unknown = null;
  /** Guard regions were installed in it (VM_MAYBE_GUARD, of kernels that have the flag): sticks through merges, and fork copies its
   *  tables. */
  maybeGuard = false;
  /** Made by mmap itself; not by a split, fork, brk, mremap or the loader. */
  isByMmap = false;
  /** hugetlb: reservations and lock of the VMA (vm_private_data). */
  hugetlb: HugetlbVma | null = null;

  constructor(
    mm: MmStruct,
    start: number,
    end: number,
    flags: number,
    file: OpenFile | null,
    pgoff: number,
    guardGap: number,
  ) {
    this.mm = mm;
    this.start = start;
    this.end = end;
    this.flags = flags;
    this.file = file;
    this.pgoff = pgoff;
    this.startGap = (flags & VM_GROWSDOWN) !== 0 ? guardGap : 0;
  }
}

/** anon_vma: owner of anonymous pages; finds their mappings. */
export class AnonVma {
  readonly id: number;
  root: AnonVma;
  parent: AnonVma;
  /** Child anon_vmas + VMAs that point here: at most 1 allows fork to reuse it. */
  numChildren = 0;
  numActiveVmas = 0;
  refcount = 1;
  /** rb_root interval tree: chains ordered by first page offset of their VMA, ties in insertion order. Guarded by root.lock. */
  readonly chains: AnonVmaChain[] = [];
  /** anon_vma->root->rwsem; only the root's is used. */
  readonly lock: Rwsem;

  constructor(id: number, lock: Rwsem, root: AnonVma | null, parent: AnonVma | null) {
    this.id = id;
    this.lock = lock;
    this.root = root ?? this;
    this.parent = parent ?? this;
  }
}

export interface AnonVmaChain {
  vma: VmArea;
  anonVma: AnonVma;
}

/** 'zero' is /dev/zero: shared mappings become memory of their own, private ones anonymous memory. */
export type FileKind = 'regular' | 'shmem' | 'hugetlbfs' | 'directory' | 'device' | 'zero' | 'pipe' | 'socket' | 'anon';

/** Inode and its page cache (address_space). */
export class Inode {
  readonly id: number;
  kind: FileKind;
  /** As /proc/PID/maps prints it. */
  path: string;
  /** Size in bytes. */
  size: number;
  major = 0xfe;
  minor = 0;
  isDeleted = false;
  /** Name is made by the kernel ("/dev/zero (deleted)", "/memfd:x (deleted)"). */
  linkCount = 1;
  readonly mapping: AddressSpace;
  /** What a userfaultfd descriptor is. */
  uffd: UserfaultfdCtx | null = null;
  /** Who made it. */
  uid = 0;
  /** F_SEAL_* of a memfd. */
  seals = 0;
  /** Bytes of a block of its file system: where a size that grows leaves the last page as it is. */
  blockSize = 4096;
  /** Open files of this inode. With no link and no open file it is evicted. */
  users = 0;
  /** Pages charged to vm_committed_as for the whole object (shmem without VM_NORESERVE), given back at eviction. */
  chargedPages = 0;
  /** Of shared memory: whose huge= option decides about huge pages. 'shm' is the kernel's own mount; 'none' has no such option. */
  mount: 'shm' | 'tmpfs' | 'none' = 'shm';
  /** Shmem charges page by page (VM_NORESERVE). */
  isNoReserve = false;
  /** SysV segment: its VMAs have a close operation, which keeps them from merging. */
  isSysv = false;
  /** Its mode has no execute bits (MFD_NOEXEC_SEAL). */
  isNoExec = false;
  /** memfd_secret: nobody but the program's own accesses gets at its pages. */
  isSecret = false;
  /** hugetlbfs: reservations and fault mutexes of the file. */
  hugetlb: HugetlbFile | null = null;

  constructor(id: number, kind: FileKind, path: string, size: number, iMmapRwsem: Rwsem, invalidateLock: Rwsem) {
    this.id = id;
    this.kind = kind;
    this.path = path;
    this.size = size;
    this.mapping = new AddressSpace(this, iMmapRwsem, invalidateLock);
  }
}

/** address_space: page cache and i_mmap tree of one inode. */
export class AddressSpace {
  readonly inode: Inode;
  /** Page index -> PFN of cached pages. Guarded by the page lock of each page. */
  readonly pages = new Map<number, number>();
  /** Shmem only: page index -> swap entry of pages that are out. */
  readonly swapped = new Map<number, number>();
  /** Shadows of evicted pages (reclaim/workingset.ts): page index -> shadow. */
  readonly shadows = new Map<number, number>();
  /** Shmem only: memory policies of its pages (numa/shared-policy.ts). */
  sharedPolicies: readonly SharedPolicy[] = [];
  /** Contents on disk that differ from the generated pattern: page index -> 4096 bytes. */
  readonly disk = new Map<number, Uint8Array>();
  /** Shmem only: huge pages among them; each is in `pages` with every one of its 512 frames. */
  hugePages = 0;
  /** VMAs that map this file, ordered by page offset (ties: insertion order). Guarded by iMmapRwsem. */
  readonly iMmap: VmArea[] = [];
  readonly iMmapRwsem: Rwsem;
  /** invalidate_lock: read to put a page into the cache, write to cut pages off the file. */
  readonly invalidateLock: Rwsem;
  /** VMAs that are VM_SHARED and may write (i_mmap_writable). */
  writableCount = 0;
  /** Bytes from here on were never part of the original contents: they read as zeros unless written. */
  patternEnd: number;

  constructor(inode: Inode, iMmapRwsem: Rwsem, invalidateLock: Rwsem) {
    this.inode = inode;
    this.iMmapRwsem = iMmapRwsem;
    this.invalidateLock = invalidateLock;
    this.patternEnd = inode.kind === 'regular' ? inode.size : 0;
  }
}

/** file_ra_state: the read-ahead window of an open file (file/readahead.ts), in pages. */
export class FileRaState {
  start = 0;
  size = 0;
  asyncSize = 0;
  /** Faults that missed, less those that hit. */
  mmapMiss = 0;
  /** Byte that the last read() ended at; -1 before the first. */
  prevPos = -1;
}

/** struct file. */
export class OpenFile {
  readonly inode: Inode;
  readonly isReadable: boolean;
  readonly isWritable: boolean;
  readonly isAppend: boolean;
  /** O_PATH: a name, not an open file; calls that want one answer -EBADF. */
  readonly isPath: boolean;
  position = 0;
  refcount = 1;
  readonly ra = new FileRaState();

  constructor(inode: Inode, isReadable: boolean, isWritable: boolean, isAppend = false, isPath = false) {
    this.inode = inode;
    this.isReadable = isReadable;
    this.isWritable = isWritable;
    this.isAppend = isAppend;
    this.isPath = isPath;
  }
}

/** Whether an address space has notifiers, in footprints. */
const LIST_FIRST_NOTIFIER = 0x6000000;

/** mm_struct. */
export class MmStruct {
  /** Also its ASID and the `mm` of events; 1 and up. */
  readonly id: number;
  /** Frame of the PGD. */
  pgd: number;
  readonly mmapLock: Rwsem;
  /** Guarded by mmapLock. Its `count` is map_count. */
  readonly vmas: VmaTree<VmArea>;
  /** Tasks that use the address space (mm_users) and references to the struct (mm_count). */
  users = 1;
  count = 1;
  /** Pages of VMAs: all, locked, data, stack, exec; pinned_vm. */
  totalVm = 0;
  lockedVm = 0;
  dataVm = 0;
  stackVm = 0;
  execVm = 0;
  pinnedVm = 0;
  /** Program layout. */
  startCode = 0;
  endCode = 0;
  startBrk = 0;
  brk = 0;
  startStack = 0;
  mmapBase = 0;
  legacyBase = 0;
  /** PR_SET_MDWE: PR_MDWE_* bits. */
  mdwe = 0;
  /** MCL_FUTURE state: VM_LOCKED | VM_LOCKONFAULT or 0. */
  defFlags = 0;
  /** MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES. */
  readonly rss = int32s(4);
  hiwaterRss = 0;
  /** Bytes of page tables in frames (mm_pgtables_bytes / 4096). */
  tablePages = 0;
  /** Gathers open on this mm (tlb_flush_pending). */
  tlbFlushPending = 0;
  /** Entries were cleared by reclaim with their CPU flush put off (tlb_flush_batched). Guarded by any ptl of the mm. */
  tlbFlushBatched = false;
  /** A pin was ever taken (MMF_HAS_PINNED). */
  hasPinned = false;
  /** vm_ops->close of mappings of devices that have no VMA here: run by exit where those of VMAs are. */
  readonly closes: (() => KernelPath<void>)[] = [];
  /** MMF_UNSTABLE: being reaped. */
  isUnstable = false;
  isExiting = false;
  /** MMF_DISABLE_THP (prctl), and MMF_HUGE_ZERO_PAGE: a reference to the huge zero page is held. */
  thpDisabled = false;
  hasHugeZeroPage = false;
  /** Every task of the address space has a fatal signal pending: nobody waits for an answer any more. */
  isKilled = false;
  /** Protection keys that pkey_alloc gave out, as a bit set; 0 is everybody's. Guarded by mmapLock. */
  pkeyMap = 1;
  /** The key of memory that may only be executed (PROT_EXEC alone); -1 until somebody wants one. */
  executeOnlyPkey = -1;
  /** MMF_OOM_SKIP: its memory is gone, or nobody can take it; the OOM killer waits for it no longer. */
  isOomSkip = false;
  /** MMF_OOM_VICTIM. */
  isOomVictim = false;
  /** Limits and capabilities of the process that owns the address space (signal_struct and cred in Linux). */
  limits: ProcessLimits;
  /** Memory cgroup that its memory is charged to, by number; 0 = the root. */
  memcg = 0;
  /** CPUs that have run this mm (mm_cpumask), as a bit set of CPU ids (< 31). */
  cpuMask = 0;
  #notifiers: MmNotifiers | null = null;
  /** The first registration was a step whose footprint somebody keeps: what is asked after it might have been asked before. */
  #isFirstRegistrationNoted = false;

  constructor(id: number, pgd: number, mmapLock: Rwsem, vmas: VmaTree<VmArea>, limits: ProcessLimits) {
    this.id = id;
    this.pgd = pgd;
    this.mmapLock = mmapLock;
    this.vmas = vmas;
    this.limits = limits;
  }

  /** notifier_subscriptions: null until the first registration; then never null again. Owned by room notifier. */
  get notifiers(): MmNotifiers | null {
    if (this.#notifiers === null || this.#isFirstRegistrationNoted) this.#touchNotifiers(false);
    return this.#notifiers;
  }

  set notifiers(notifiers: MmNotifiers | null) {
    if (notifiers === this.#notifiers) return;
    this.#isFirstRegistrationNoted = this.mmapLock.sched.footprint !== null;
    this.#touchNotifiers(true);
    this.#notifiers = notifiers;
  }

  /** Whether anybody has registered ever is an object of its own: the list behind it changes more often. */
  #touchNotifiers(isWrite: boolean): void {
    const { footprint } = this.mmapLock.sched;
    if (footprint !== null) footprint.note(OBJ_LIST, LIST_FIRST_NOTIFIER + this.id, isWrite);
  }
}

/** Resource limits in bytes (RLIM_INFINITY for none) and the capabilities that the memory system calls ask for. */
export interface ProcessLimits extends Rlimits {
  capIpcLock: boolean;
  capSysRawio: boolean;
  capSysAdmin: boolean;
  /** Whose the process is; the capabilities above are those of it (commitCred keeps them so). */
  cred: Cred;
}

/** What mm knows of an mm's subscriptions: nothing but that they exist. */
export interface MmNotifiers {
  readonly hasSubscribers: boolean;
}

/** A task: one mm (shared by threads), its files, limits. */
export class Task {
  readonly pid: number;
  mm: MmStruct | null;
  /** Shared by threads and CLONE_FILES children. */
  files: FileTable;
  comm: string;
  isAlive = true;
  /** Thread group: pid of the first thread. */
  tgid: number;
  /** A fatal signal is pending: the task ends when it is about to return to user mode. */
  isKilled = false;
  /** vfork_done: the parent that waits until this task gives up the address space. */
  vforkParent: Task | null = null;
  /** CPU that it runs on. */
  cpu = 0;
  /** personality(2). */
  personality = 0;
  /** set_mempolicy; null = MPOL_DEFAULT. */
  policy: MemPolicy | null = null;
  /** il_prev: node of the last page that an interleaving policy took in turn; -1 before the first. */
  interleavePrev = -1;

  constructor(pid: number, mm: MmStruct | null, files: FileTable, comm: string) {
    this.pid = pid;
    this.tgid = pid;
    this.mm = mm;
    this.files = files;
    this.comm = comm;
  }
}

/** files_struct: descriptor -> open file, and which of them close on exec. */
export class FileTable {
  users = 1;
  readonly open = new Map<number, OpenFile>();
  readonly closeOnExec = new Set<number>();
}
