// Limits and sizes of a simulated kernel. Defaults are Linux 6.1's on x86-64; small ones make exploration exhaustive.

import type { Profile } from './profile.ts';
import { profile } from './profile.ts';

export const RLIM_INFINITY = Number.POSITIVE_INFINITY;

export interface Rlimits {
  /** Bytes each; RLIM_INFINITY for none. */
  as: number;
  data: number;
  stack: number;
  memlock: number;
  fsize: number;
  nofile: number;
}

export interface KernelConfig {
  profile: Profile;
  /** Frames of simulated memory. */
  frames: number;
  shared: boolean;
  cpus: number;
  /** Pages of RAM that the kernel believes it has (heuristic overcommit); apart from `frames`. */
  ramPages: number;
  /** NUMA nodes, all with memory: 0 to numaNodes - 1. The frames are dealt out to them in equal, contiguous parts; CPUs belong to node 0. */
  numaNodes: number;
  /** Swap slots at the start; 0 = no swap area. Does its device answer at once (memory: SWP_SYNCHRONOUS_IO)? */
  swapPages: number;
  /** Huge pages in the hugetlb pool at the start (vm.nr_hugepages). */
  hugePages: number;
  swapSynchronous: boolean;
  /** vm.page-cluster: 2^n swapped pages are read together. */
  pageCluster: number;
  /** Pages of memory of a device that the kernel knows as ZONE_DEVICE (MEMORY_DEVICE_PRIVATE). */
  devicePrivatePages: number;
  /** vm.overcommit_memory: 0 heuristic, 1 always, 2 never. */
  overcommitMode: 0 | 1 | 2;
  overcommitRatio: number;
  maxMapCount: number;
  mmapMinAddr: number;
  /** Bytes kept free below a GROWSDOWN VMA. */
  stackGuardGap: number;
  /** Page pointers in the on-stack bundle of an mmu_gather, in each further batch, and how many further batches. */
  gatherBundle: number;
  gatherBatchEntries: number;
  gatherBatchesMax: number;
  /** tlb_fast_mode of kernels before 3.10 for one CPU: a gather frees each page while it clears, unless the notifier design forbids
   *  it. `gatherIsOwn`: the architecture has an mmu_gather of its own (arm, ia64, s390, sh, um). */
  gatherFastMode: boolean;
  gatherIsOwn: boolean;
  /** The architecture flushes the CPUs when a fault gives an entry more rights (arm64); x86 does not. */
  flushOnUpgrade: boolean;
  /** Pages above which flush_tlb_mm_range flushes everything (tlb_single_page_flush_ceiling). */
  tlbFlushCeiling: number;
  /** fault_around_bytes / PAGE_SIZE. */
  faultAroundPages: number;
  /** read_ahead_kb / 4 of the disk, and the pages that it takes in one request (max_sectors_kb / 4). */
  readAheadPages: number;
  ioPages: number;
  /** Reclaim watermarks in frames; 0 = derived from `frames`. */
  watermarkMin: number;
  watermarkLow: number;
  watermarkHigh: number;
  /** transparent_hugepage/enabled and shmem_enabled at the start, and the huge= option of mounted tmpfs. */
  thpEnabled: 'always' | 'madvise' | 'never';
  shmemHuge: 'always' | 'within_size' | 'advise' | 'never' | 'deny' | 'force';
  tmpfsHuge: 'always' | 'within_size' | 'advise' | 'never';
  /** The page of the old system calls is listed at the end of every map (CONFIG_LEGACY_VSYSCALL_XONLY). */
  vsyscall: boolean;
  /** Every allocation asks the chooser whether it fails (CHOOSE_ALLOC_FAILURE). */
  injectAllocFailures: boolean;
  /** Attempts of migration at a page that somebody else refers to. The last ones wait for its lock; the first three do not, where there are more. */
  migrateAttempts: number;
  /** Entries handled between two points: with points off, and with points on. */
  strideOff: number;
  strideOn: number;
  rlimits: Rlimits;
  /** Capabilities of every task. */
  capIpcLock: boolean;
  capSysRawio: boolean;
  capSysAdmin: boolean;
  /** An allocation for which nothing can be reclaimed kills a process and waits for its memory (Linux does). Off: it fails, and the
   *  caller answers -ENOMEM or VM_FAULT_OOM. Who runs the tasks ends those that are killed. */
  oomKiller: boolean;
  /** The CPU has protection keys (OSPKE). They are kept and stand in the entries; no access is refused by one. */
  pkeys: boolean;
  /** CONFIG_MEMORY_FAILURE: MADV_HWPOISON and MADV_SOFT_OFFLINE exist. */
  memoryFailure: boolean;
  /** Sets and ways of a CPU TLB. */
  tlbSets: number;
  tlbWays: number;
  /** Records of event history kept. */
  logCapacity: number;
}

/** A complete configuration from the given parts. */
export function kernelConfig(parts: Partial<KernelConfig> = {}): KernelConfig {
  const frames = parts.frames ?? 65536;
  return {
    profile: profile('6.1'),
    frames,
    shared: false,
    cpus: 1,
    ramPages: 6171023,
    numaNodes: 1,
    swapPages: 0,
    hugePages: 0,
    swapSynchronous: false,
    pageCluster: 3,
    devicePrivatePages: 0,
    overcommitMode: 0,
    overcommitRatio: 50,
    maxMapCount: 65530,
    mmapMinAddr: 65536,
    stackGuardGap: 256 * 4096,
    gatherBundle: 8,
    gatherBatchEntries: 510,
    gatherBatchesMax: 19,
    gatherFastMode: false,
    gatherIsOwn: false,
    flushOnUpgrade: false,
    tlbFlushCeiling: 33,
    faultAroundPages: 16,
    readAheadPages: 32,
    ioPages: 320,
    watermarkMin: 0,
    watermarkLow: 0,
    watermarkHigh: 0,
    thpEnabled: 'madvise',
    shmemHuge: 'never',
    tmpfsHuge: 'never',
    vsyscall: false,
    injectAllocFailures: false,
    migrateAttempts: 10,
    strideOff: 512,
    strideOn: 8,
    rlimits: {
      as: RLIM_INFINITY,
      data: RLIM_INFINITY,
      stack: 8 << 20,
      memlock: 8 << 20,
      fsize: RLIM_INFINITY,
      nofile: 20000,
    },
    capIpcLock: true,
    capSysRawio: true,
    capSysAdmin: true,
    oomKiller: false,
    pkeys: false,
    memoryFailure: true,
    tlbSets: 128,
    tlbWays: 8,
    logCapacity: 4096,
    ...parts,
  };
}
