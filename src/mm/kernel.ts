// One kernel instance: memory, scheduler, struct pages, tables of functions, and the registries of its objects.

import { E_MM_NEW, FRAME_TABLE } from '../abi/events.ts';
import { LOCK_ANON_VMA, LOCK_I_MMAP, LOCK_INVALIDATE, LOCK_MMAP, LOCK_PTL } from '../abi/locks.ts';
import { assert } from '../base/assert.ts';
import { type Footprint, OBJ_LIST } from '../base/footprint.ts';
import { Cpu } from '../hw/cpu.ts';
import { PhysMemory } from '../hw/phys.ts';
import type { Tlb, WalkCache } from '../hw/tlb.ts';
import type { NotifierDesign, NotifierRange } from '../notifier/host.ts';
import { Rwsem, SpinLocks } from '../sched/locks.ts';
import type { KernelPath } from '../sched/path.ts';
import { type Chooser, Scheduler, WaitQueues } from '../sched/scheduler.ts';
import type { KernelConfig } from './config.ts';
import type { KernelFns } from './fns.ts';
import type { DevPagemap } from './hmm/device-memory.ts';
import { HugeState } from './huge/state.ts';
import { HugetlbPool, setNrHugepages } from './hugetlb/pool.ts';
import { KsmState } from './ksm/state.ts';
import { type Watermarks, watermarks } from './page/allocator.ts';
import type { Buddy } from './page/buddy.ts';
import { makeNodes } from './page/nodes.ts';
import { GFP_KERNEL, LIST_ANON_VMA, Pages } from './page/pages.ts';
import { CAP_IPC_LOCK, CAP_SYS_ADMIN, CAP_SYS_RAWIO, type Cred, rootCred } from './process/cred.ts';
import type { Profile } from './profile.ts';
import { ReclaimState } from './reclaim/state.ts';
import type { UnmapFlushBatch } from './rmap/flush-batch.ts';
import { SwapArea } from './swap/swap-area.ts';
import { ShmIds } from './syscalls/shm-ids.ts';
import { type AddressSpace, AnonVma, type FileKind, Inode, MmStruct, type ProcessLimits, type Task } from './types.ts';
import type { DueEvent } from './uffd/events.ts';
import type { Uprobe } from './uprobes/uprobes.ts';
import { VmaTree } from './vma/vma-tree.ts';
import { fastModeRemovePage } from './zap/fast-mode.ts';
import type { MmuGather } from './zap/mmu-gather.ts';

/** Why the last fault ended in a signal, with the numbers of siginfo. */
export const SEGV_MAPERR = 1;
export const SEGV_ACCERR = 2;
export const BUS_ADRERR = 2;

/** Counters that reports read; each says what it counts in its name. */
export class KernelStats {
  faults = 0;
  majorFaults = 0;
  cowCopies = 0;
  cowReuses = 0;
  swapOuts = 0;
  swapIns = 0;
  fileReads = 0;
  forcedFlushes = 0;
  gatherBatchFailures = 0;
  reclaimed = 0;
  oomKills = 0;
  framesPeak = 0;
}

/** The first credentials: the superuser's, but for what the configuration takes away. */
function initCred({ capIpcLock, capSysRawio, capSysAdmin }: KernelConfig): Cred {
  const off = (isOn: boolean, capability: number): number => (isOn ? 0 : 1 << capability);
  const missing = off(capIpcLock, CAP_IPC_LOCK) | off(capSysRawio, CAP_SYS_RAWIO) | off(capSysAdmin, CAP_SYS_ADMIN);
  return rootCred(~missing);
}

export class Kernel {
  readonly config: KernelConfig;
  readonly profile: Profile;
  readonly memory: PhysMemory;
  readonly sched: Scheduler;
  readonly cpus: Cpu[] = [];
  /** TLBs and walk caches of devices: recorded like the CPUs'. */
  readonly deviceTlbs: (Tlb | WalkCache)[] = [];
  /** The livepatch table: own copy of this instance. */
  readonly fn: KernelFns;
  readonly pages: Pages;
  /** Free frames of node 0 and of every node, and how many of them each kind of request must leave. */
  readonly buddy: Buddy;
  readonly nodes: readonly Buddy[];
  readonly watermarks: Watermarks;
  readonly swap: SwapArea;
  readonly reclaim: ReclaimState;
  /** Huge pages set aside (room hugetlb). */
  readonly hugetlb = new HugetlbPool();
  /** Transparent huge pages. */
  readonly huge: HugeState;
  readonly ksm: KsmState;
  /** Registered probes, in the order of their registration. */
  readonly uprobes: Uprobe[] = [];
  /** The notifier design in force; null = no notifier support compiled in. */
  design: NotifierDesign | null = null;
  readonly mms = new Map<number, MmStruct>();
  readonly tasks = new Map<number, Task>();
  readonly inodes = new Map<number, Inode>();
  /** Memory of devices, in order of frames. */
  readonly pagemaps: DevPagemap[] = [];
  /** SysV shared memory segments. */
  readonly shm = new ShmIds();
  /** Inodes whose last open file went while their last name was gone: evicted at the end of the system call (task_work). */
  readonly delayedFput: Inode[] = [];
  /** Page-table locks, by frame of the table page; page locks, by frame. */
  readonly ptl: SpinLocks;
  /** Gathers not in use (a gather is reused, its arrays with it). */
  readonly gathers: MmuGather[] = [];
  readonly pageLockQueues = new WaitQueues();
  /** Does a fault that starts over come before the disk has delivered what read-ahead asked it for? Nobody can tell beforehand: a
   *  recording says so. */
  diskIsSlow = false;
  /** Pages that read-ahead has asked the disk for and that nobody has waited for (file/readahead.ts). */
  readonly readsInFlight: { readonly mapping: AddressSpace; readonly index: number }[] = [];
  /** CPU flushes that reclaim has put off, by thread. */
  readonly tlbUbc = new Map<number, UnmapFlushBatch>();
  readonly stats = new KernelStats();
  /** vm_committed_as, pages. */
  committed = 0;
  /** siginfo of the last failed fault. */
  faultCode = 0;
  /** User address of the SIGBUS (BUS_MCEERR_AR) that the current task gets when its call returns, or -1 (force_sig_mceerr). */
  memoryErrorAt = -1;
  /** The last getUserPages with FOLL_UNLOCKABLE came back without mmapLock. Read and cleared at once by its caller. */
  gupUnlocked = false;
  /** Why vmaModify gave no VMA. */
  vmaError = 0;
  /** vm_flags that the last folioReferenced collected. */
  referencedVmFlags = 0;
  /** Frame of the shared zero page. */
  zeroPfn = 0;
  /** Pages of the kernel that special mappings show, by name and page. */
  readonly specialPages = new Map<string, number>();
  /** Events of userfaultfd that running system calls will announce. */
  uffdEvents: DueEvent[] = [];
  /** Number of the next userfaultfd context. */
  nextUffd = 1;
  /** init_cred, without the capabilities that the configuration takes away. */
  readonly #initCred: Cred;
  #nextMm = 1;
  #nextAnonVma = 1;
  #nextInode = 1;
  nextSection = 1;

  constructor(config: KernelConfig, fns: KernelFns, chooser?: Chooser) {
    this.config = config;
    this.profile = config.profile;
    this.fn = { ...fns };
    this.#initCred = initCred(config);
    if (config.gatherFastMode) this.fn.tlbRemovePage = fastModeRemovePage(this.fn.tlbRemovePage);
    this.memory = new PhysMemory(config.frames + config.devicePrivatePages, config.shared, config.logCapacity);
    this.sched = new Scheduler(this.memory.log, chooser);
    this.pages = new Pages(config, this.memory);
    this.swap = new SwapArea(config.swapPages, config.swapSynchronous);
    this.reclaim = new ReclaimState(this.pages, this.config.cpus, this.profile);
    this.huge = new HugeState(config);
    this.ksm = new KsmState(this.sched);
    this.ptl = new SpinLocks(this.sched, LOCK_PTL, config.frames + config.devicePrivatePages);
    for (let i = 0; i < config.cpus; i++) this.cpus.push(new Cpu(i, this.memory, config.tlbSets, config.tlbWays));
    this.zeroPfn = this.pages.takeReserved();
    assert(this.zeroPfn > 0, 'Kernel: a frame for the zero page');
    this.nodes = makeNodes(this.pages, config);
    this.buddy = this.nodes[0]!;
    this.watermarks = watermarks(config);
    if (config.hugePages > 0) setNrHugepages(this, config.hugePages);
  }

  /** Turns the explorer's recorder on (null: off) in everything that this kernel and its devices own. */
  record(footprint: Footprint | null): void {
    this.memory.footprint = footprint;
    this.sched.footprint = footprint;
    for (const cpu of this.cpus) {
      cpu.tlb.footprint = footprint;
      cpu.walkCache.footprint = footprint;
    }
    for (const tlb of this.deviceTlbs) tlb.footprint = footprint;
  }

  /** Entries that a chunk function handles between two points. */
  get stride(): number {
    return this.sched.points ? this.config.strideOn : this.config.strideOff;
  }

  /** mm_alloc: newMm that reclaims when memory is short. */
  *mmAlloc(): KernelPath<MmStruct | null> {
    const mm = this.newMm();
    if (mm !== null) return mm;
    return this.newMm(yield* this.fn.allocPagesSlow(this, GFP_KERNEL, FRAME_TABLE));
  }

  /** mm_init: an empty address space with the PGD given; null when there is none, as no frame is free. */
  newMm(pgd = this.fn.allocPage(this, GFP_KERNEL, FRAME_TABLE)): MmStruct | null {
    if (pgd === 0) return null;
    this.memory.zero(pgd);
    const id = this.#nextMm++;
    const mm = new MmStruct(id, pgd, new Rwsem(this.sched, LOCK_MMAP, id), new VmaTree(), this.initialLimits());
    mm.pkeyMap = this.config.pkeys ? 1 : 0;
    this.mms.set(id, mm);
    if (this.memory.log.on) this.memory.log.emit(E_MM_NEW, id, 0, 0, pgd, this.memory.generation[pgd]!, 0, 0, 0, 0);
    return mm;
  }

  /** Limits of a first process: those of the configuration. */
  initialLimits(): ProcessLimits {
    const { rlimits, capIpcLock, capSysRawio, capSysAdmin } = this.config;
    const { as, data, stack, memlock, fsize, nofile } = rlimits;
    return { as, data, stack, memlock, fsize, nofile, capIpcLock, capSysRawio, capSysAdmin, cred: this.#initCred };
  }

  newAnonVma(root: AnonVma | null, parent: AnonVma | null): AnonVma {
    if (this.memory.footprint !== null) this.memory.footprint.note(OBJ_LIST, LIST_ANON_VMA, true);
    const id = this.#nextAnonVma++;
    return new AnonVma(id, root === null ? new Rwsem(this.sched, LOCK_ANON_VMA, id) : root.lock, root, parent);
  }

  newInode(kind: FileKind, path: string, size: number): Inode {
    const id = this.#nextInode++;
    const iMmapRwsem = new Rwsem(this.sched, LOCK_I_MMAP, id);
    const inode = new Inode(id, kind, path, size, iMmapRwsem, new Rwsem(this.sched, LOCK_INVALIDATE, id));
    this.inodes.set(id, inode);
    return inode;
  }

  /** mmu_notifier_range_init. */
  range(mm: MmStruct, start: number, end: number, event: number, site: number, blockable = true): NotifierRange {
    return { mm, start, end, event, site, blockable, owner: null, id: this.nextSection++, hasFailed: false };
  }
}
