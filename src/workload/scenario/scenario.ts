// A scenario: a small program whose interleavings are explored. Plain data, so that it may come from a YAML or JSON file as well
// as from a module. Addresses are page numbers relative to BASE, which starts a page table of its own; page 512 is the
// first of the next table.
//
//   setup     steps of the first task, one after the other, nothing else running
//   threads   each a list of steps, all interleaved with each other, the kernel's own threads and the device

import type { KernelConfig } from '../../mm/config.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { ScenarioContext } from './context.ts';

/** Address of page 0. */
export const BASE = 0x10200000;

/** Where the heap of the first task begins, as an address and as a page. */
export const HEAP_START = 0x600000;
export const HEAP = (HEAP_START - BASE) / 4096;

export type Prot = 'none' | 'r' | 'rw' | 'rx' | 'rwx';

export interface MmapStep {
  readonly do: 'mmap';
  readonly at: number;
  /** 1 when left out, in every step. */
  readonly pages?: number;
  /** 'rw' when left out. */
  readonly prot?: Prot;
  readonly shared?: boolean;
  /** Name of a file (made at its first use, `filePages` long) and the page of it that is mapped first; anonymous when left out. */
  readonly file?: string;
  readonly filePage?: number;
  readonly populate?: boolean;
  /** MAP_HUGETLB: from the pool (kernel.hugePages); `pages` are still small ones. No reservation is made: MAP_NORESERVE. */
  readonly hugetlb?: boolean;
  readonly noReserve?: boolean;
}
export interface RangeStep {
  readonly do: 'munmap' | 'msync' | 'mlock' | 'mlock-onfault' | 'munlock';
  readonly at: number;
  readonly pages?: number;
}
export interface MprotectStep {
  readonly do: 'mprotect';
  readonly at: number;
  readonly pages?: number;
  readonly prot: Prot;
  /** pkey_mprotect with a key that is allocated for it (kernel.pkeys). */
  readonly key?: boolean;
}
export interface MadviseStep {
  readonly do: 'madvise';
  readonly at: number;
  readonly pages?: number;
  readonly advice:
    | 'dontneed'
    | 'free'
    | 'cold'
    | 'pageout'
    | 'willneed'
    | 'dontfork'
    | 'remove'
    | 'dontneed-locked'
    | 'populate-read'
    | 'populate-write'
    | 'mergeable'
    | 'unmergeable'
    | 'hugepage'
    | 'nohugepage'
    | 'collapse'
    | 'hwpoison'
    | 'soft-offline'
    | 'guard-install'
    | 'guard-remove';
  /** process_madvise by another process. */
  readonly remote?: boolean;
}
export interface MremapStep {
  readonly do: 'mremap';
  readonly at: number;
  readonly pages?: number;
  /** Pages afterwards; as before when left out. */
  readonly newPages?: number;
  /** Fixed new place; in place, or wherever the kernel chooses (mayMove), when left out. */
  readonly to?: number;
  readonly mayMove?: boolean;
  readonly dontUnmap?: boolean;
}
/** One access of a CPU or of the device (engine 0), by default of what the thread runs on. `value` of a store; `offset` bytes
 *  into the page. */
export interface AccessStep {
  readonly do: 'load' | 'store';
  readonly at: number;
  readonly by?: 'cpu' | 'device';
  readonly offset?: number;
  readonly value?: number;
  /** The access goes wrong, and that is in order (a signal, an Invalid answer). */
  readonly mayFail?: boolean;
}
export interface ForkStep {
  readonly do: 'fork';
  /** Name by which threads refer to the child. */
  readonly as?: string;
}
export interface ExitStep {
  readonly do: 'exit';
  /** Task that ends; the thread's own when left out. */
  readonly task?: string;
}
export interface FileStep {
  readonly do: 'truncate' | 'punch' | 'zero' | 'collapse' | 'insert' | 'fsync';
  readonly file: string;
  /** truncate: length in pages. punch, zero, collapse, insert (fallocate): first page and number of them. */
  readonly page?: number;
  readonly pages?: number;
}
export interface ReclaimStep {
  readonly do: 'reclaim' | 'swapoff';
  /** reclaim: pages wanted. */
  readonly pages?: number;
}
/** userfaultfd: who faults where it is registered waits for a thread that answers. One descriptor, of the task that registers first. */
export interface UffdRegisterStep {
  readonly do: 'uffd-register';
  readonly at: number;
  readonly pages?: number;
  readonly mode: 'missing' | 'wp';
}
/** UFFDIO_COPY from page `from` of the thread's task. */
export interface UffdCopyStep {
  readonly do: 'uffd-copy';
  readonly at: number;
  readonly pages?: number;
  readonly from: number;
}
/** UFFDIO_ZEROPAGE, UFFDIO_UNREGISTER; UFFDIO_WRITEPROTECT, which protects or takes the protection off. */
export interface UffdRangeStep {
  readonly do: 'uffd-zeropage' | 'uffd-unregister' | 'uffd-protect' | 'uffd-unprotect';
  readonly at: number;
  readonly pages?: number;
}
/** kill: SIGKILL to a task, which ends at an `exit` of its own. mrelease: process_mrelease of a killed task. */
export interface KillStep {
  readonly do: 'kill' | 'mrelease';
  /** The main task when left out. */
  readonly task?: string;
}
/** Moving pages of the thread's task: to the other NUMA node (by another process, MPOL_MF_MOVE_ALL), to memory of a device, and back; or a device
 *  takes them for itself until a CPU touches them. */
export interface MigrateStep {
  readonly do: 'move-pages' | 'to-device' | 'to-ram' | 'exclusive';
  readonly at: number;
  readonly pages?: number;
}
/** By the task itself: mbind(MPOL_BIND, last NUMA node, MPOL_MF_MOVE), or a scan of NUMA balancing, after which accesses fault and take
 *  the page along to the node of the CPUs. */
export interface NumaStep {
  readonly do: 'mbind' | 'numa-scan';
  readonly at: number;
  readonly pages?: number;
}
/** Compaction of all memory. */
export interface CompactStep {
  readonly do: 'compact';
}
/** KSM: whole scans over all mergeable memory. */
export interface KsmStep {
  readonly do: 'ksm';
  /** 1 when left out. */
  readonly scans?: number;
}
/** What the kernel does to the thread's task from outside: soft-dirty bits are cleared (clear_refs 4), the page is marked idle, a
 *  debugger writes four bytes of it (ptrace), another process does (process_vm_writev), accessed bits are cleared (clear_refs 1), DAMON takes one
 *  sample of the page. */
export interface OutsideStep {
  readonly do: 'soft-dirty' | 'referenced' | 'idle' | 'poke' | 'vm-write' | 'damon';
  /** 0 when left out. */
  readonly at?: number;
  /** poke, vm-write: what is written; 1 when left out. */
  readonly value?: number;
}
/** Mappings that have system calls of their own: a SysV segment, the ring of an AIO context (made, and moved to `at`). */
export interface AttachStep {
  readonly do: 'shmat' | 'shmdt' | 'io-setup' | 'io-destroy';
  readonly at: number;
  /** shmat: size of the segment. */
  readonly pages?: number;
}
/** remap_file_pages: shows page `filePage` of the file that is mapped shared at `at`. */
export interface RemapStep {
  readonly do: 'remap-file-pages';
  readonly at: number;
  readonly pages?: number;
  readonly filePage: number;
}
/** The heap is that long from now on; it begins at page HEAP. */
export interface BrkStep {
  readonly do: 'brk';
  readonly pages: number;
}
/** Of the whole address space: a new program takes its place, or everything is locked in memory (MCL_CURRENT). */
export interface WholeStep {
  readonly do: 'exec' | 'mlockall';
}
/** A driver that keeps pages for direct I/O takes or gives back pages of the task (FOLL_PIN | FOLL_LONGTERM | FOLL_WRITE). */
export interface PinStep {
  readonly do: 'pin' | 'unpin';
  readonly at: number;
  readonly pages?: number;
}
/** What an administrator does: the task's memory is limited to so many pages (memory.max of a group of its own), its pages go to another NUMA
 *  node (migrate_pages), khugepaged looks at everything, multi-generation reclaim is on. */
export interface AdminStep {
  readonly do: 'memory-max' | 'migrate-pages' | 'khugepaged' | 'lru-gen';
  /** memory-max. */
  readonly pages?: number;
}
/** A breakpoint at the start of a page of a file (uprobe), or its removal. */
export interface ProbeStep {
  readonly do: 'probe' | 'unprobe';
  readonly file: string;
  readonly page?: number;
}
/** Registers the driver with the address space of the thread's task, or takes the device off it. */
export interface BindStep {
  readonly do: 'bind' | 'unbind';
}
/** Only in modules: any kernel path. */
export interface RunStep {
  readonly do: 'run';
  readonly name: string;
  readonly path: (context: ScenarioContext) => KernelPath<unknown>;
}

export type Step =
  | MmapStep
  | RangeStep
  | MprotectStep
  | MadviseStep
  | MremapStep
  | AccessStep
  | ForkStep
  | ExitStep
  | FileStep
  | ReclaimStep
  | UffdRegisterStep
  | UffdCopyStep
  | UffdRangeStep
  | KillStep
  | KsmStep
  | MigrateStep
  | NumaStep
  | CompactStep
  | OutsideStep
  | AttachStep
  | RemapStep
  | BrkStep
  | WholeStep
  | PinStep
  | AdminStep
  | ProbeStep
  | BindStep
  | RunStep;

export interface ThreadScript {
  /** 'cpu' (the default): a thread of a program. 'device': an engine of the device. 'kernel': a kernel thread. */
  readonly on?: 'cpu' | 'device' | 'kernel';
  /** Task that runs it: 'main' (the default) or the name given to a fork of the setup. Threads of a task share its address space. */
  readonly task?: string;
  /** CPU: by default each cpu thread has one of its own, in order. */
  readonly cpu?: number;
  /** Engine of a device thread, 0 when left out. */
  readonly engine?: number;
  readonly steps: readonly Step[];
}

export interface Scenario {
  readonly name: string;
  /** What happens, in a line. */
  readonly summary: string;
  readonly kernel?: Partial<KernelConfig>;
  /** Pages of each file named in the steps; 4 when not here. */
  readonly files?: Readonly<Record<string, number>>;
  /** Files in memory (memfd_create) and their pages. */
  readonly memfds?: Readonly<Record<string, number>>;
  /** Is the device bound to the main task before the setup begins? True when left out. */
  readonly bound?: boolean;
  /** For a scenario with very long executions: steps of one (more than the check's own bound), and executions at most. */
  readonly bounds?: { readonly steps: number; readonly executions: number };
  readonly setup: readonly Step[];
  /** By name. */
  readonly threads: Readonly<Record<string, ThreadScript>>;
}
