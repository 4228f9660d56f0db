// NUMA balancing (kernel/sched/fair.c task_numa_work, mm/mempolicy.c change_prot_numa, mm/memory.c do_numa_page): from time to time a
// task takes every right from entries of its own; whoever comes by faults, gives the rights back, and takes the page along to the
// node that its policy wants when it is elsewhere. The entry remembers whether it was writable (savedwrite: RW beside PROT_NONE).
//
// Of the statistics there is one rule: a misplaced page moves at its first fault, as in the first scans of a task. All CPUs are on
// node 0. Only a policy with MPOL_F_NUMA_BALANCING, or none at all, takes part.
//
// Locks: mmapLock for read; ptl inside; none while a page moves. Linux gives a scan up when mmapLock is taken; here it waits. Kernel
// names: vma_policy_mof, mpol_misplaced, migrate_misplaced_page, numamigrate_isolate_page, do_huge_pmd_numa_page.

import {
  PMD_SIZE,
  VM_ACCESS_FLAGS,
  VM_EXEC,
  VM_FAULT_FALLBACK,
  VM_HUGETLB,
  VM_READ,
  VM_WRITE,
} from '../../abi/mman.ts';
import { SITE_MPROTECT } from '../../abi/notifier.ts';
import { LEVEL_PTE, PTE_A, PTE_RW } from '../../abi/pte.ts';
import { entryLo, writeEntry } from '../../hw/pte.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_PTE_SET } from '../../sched/points.ts';
import { pteOffset, pteTable } from '../fault/page-tables.ts';
import { mkHugePmdHi, pmdFrame, pmdModifyLo, pmdTransHuge } from '../huge/pmd.ts';
import { setPmd } from '../huge/pmd-flush.ts';
import type { Kernel } from '../kernel.ts';
import { isolateForMigration } from '../migrate/isolate.ts';
import { putbackMovablePages } from '../migrate/migrate-pages.ts';
import { MIGRATE_ASYNC, MR_NUMA_MISPLACED } from '../migrate/mode.ts';
import { vmaMigratable } from '../migrate/move-pages.ts';
import { targetOn } from '../migrate/targets.ts';
import { compoundHead, pageMapcount } from '../page/compound.ts';
import { pageToNid } from '../page/nodes.ts';
import { isZoneDevice, PG_COMPOUND, PG_DIRTY, PG_SWAPBACKED } from '../page/pages.ts';
import { pteFrame, pteModifyHi, pteModifyLo, pteProtnone, pteSpecial } from '../page/swapops.ts';
import { MPOL_F_NUMA_BALANCING } from '../policy.ts';
import { getPage, notePage } from '../rmap/rmap.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { modPower } from '../vma/address.ts';
import { MM_CP_PROT_NUMA } from '../zap/cp-flags.ts';
import { LOCAL_NODE, ownVmaPolicy, taskPolicy, vmaPolicy } from './alloc.ts';

/** vma_policy_mof: may the pages of the VMA be moved by hints? */
function takesHints(k: Kernel, vma: VmArea): boolean {
  const own = ownVmaPolicy(vma, vma.start);
  if (own === null && vma.file?.inode.kind === 'shmem') return false;
  const policy = own ?? taskPolicy(k);
  return policy === null || (policy.flags & MPOL_F_NUMA_BALANCING) !== 0;
}

/** Does task_numa_work look at the VMA? Not where access is forbidden anyway, nor at text and other read-only files. */
function isScanned(k: Kernel, vma: VmArea): boolean {
  if (!vmaMigratable(vma) || (vma.flags & VM_HUGETLB) !== 0 || !takesHints(k, vma)) return false;
  if (vma.file !== null && (vma.flags & (VM_READ | VM_WRITE)) === VM_READ) return false;
  return (vma.flags & VM_ACCESS_FLAGS) !== 0;
}

/** task_numa_work for [start, end): change_prot_numa on the VMAs there that take part, in the running task. Number of entries that
 *  fault from now on (a huge one counts 512). */
export function* numaScan(k: Kernel, mm: MmStruct, start: number, end: number): KernelPath<number> {
  const lock = mm.mmapLock;
  let changed = 0;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  for (let vma = mm.vmas.intersects(start, end); vma !== null && vma.start < end; vma = mm.vmas.find(vma.end))
    if (isScanned(k, vma)) changed += yield* changeProtNuma(k, vma, Math.max(start, vma.start), Math.min(end, vma.end));
  lock.readUnlock();
  return changed;
}

function* changeProtNuma(k: Kernel, vma: VmArea, start: number, end: number): KernelPath<number> {
  const tlb = k.fn.tlbGatherMmu(k, vma.mm, false, SITE_MPROTECT);
  const changed = yield* k.fn.changeProtection(k, tlb, vma, start, end, MM_CP_PROT_NUMA);
  yield* k.fn.tlbFinishMmu(k, tlb);
  return changed;
}

/** mpol_misplaced: the node where the page ought to be, or -1 when it is well where it is. */
function misplaced(k: Kernel, vma: VmArea, address: number, pfn: number): number {
  const policy = vmaPolicy(k, vma, address);
  const node = pageToNid(k, pfn);
  if (policy === null) return node === LOCAL_NODE ? -1 : LOCAL_NODE;
  // MPOL_BIND: towards the CPU that asks, if it is on one of the nodes.
  if ((policy.flags & MPOL_F_NUMA_BALANCING) === 0 || !policy.nodes.includes(LOCAL_NODE)) return -1;
  return node === LOCAL_NODE ? -1 : LOCAL_NODE;
}

/** migrate_misplaced_page: true when the page moved. The caller's reference is given up. */
function* migrateMisplaced(k: Kernel, vma: VmArea, pfn: number, node: number): KernelPath<boolean> {
  const { flags } = k.pages;
  const isFile = (flags[pfn]! & PG_SWAPBACKED) === 0;
  const isShared = isFile && (vma.flags & VM_EXEC) !== 0 && pageMapcount(k.pages, pfn) !== 1;
  const stays = isShared || (isFile && (flags[pfn]! & PG_DIRTY) !== 0) || !isolateForMigration(k, pfn);
  k.fn.putPage(k, pfn);
  if (stays) return false;
  const list = [pfn];
  const failed = yield* k.fn.migratePages(k, list, targetOn(node), null, MIGRATE_ASYNC, MR_NUMA_MISPLACED);
  if (failed !== 0) putbackMovablePages(k, list);
  return failed === 0;
}

/** do_numa_page: a fault on a hint. 0, always. */
export function* doNumaPage(k: Kernel, vma: VmArea, address: number): KernelPath<number> {
  const table = pteTable(k, vma.mm, address);
  if (table === 0) return 0;
  const word = pteOffset(table, address);
  if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
  const lo = entryLo(k.memory, word);
  if (pteProtnone(lo)) {
    const pfn = pteFrame(lo);
    const mayMove = !pteSpecial(lo) && !isZoneDevice(k.pages, pfn) && (k.pages.flags[pfn]! & PG_COMPOUND) === 0;
    const node = mayMove && compoundHead(k.pages, pfn) === pfn ? misplaced(k, vma, address, pfn) : -1;
    if (node >= 0) {
      notePage(k, pfn);
      getPage(k, pfn);
      k.ptl.unlock(table);
      if (yield* migrateMisplaced(k, vma, pfn, node)) return 0;
      if (k.sched.points || !k.ptl.tryLock(table)) yield* k.ptl.lock(table);
    }
    if (entryLo(k.memory, word) === lo) {
      const newLo = pteModifyLo(lo, vma.pageProtLo) | PTE_A | (lo & PTE_RW);
      const newHi = pteModifyHi(vma.pageProtLo, vma.pageProtHi);
      writeEntry(k.memory, word, newLo, newHi, vma.mm.id, address, LEVEL_PTE);
    }
  }
  k.ptl.unlock(table);
  if (k.sched.points) yield P_PTE_SET;
  return 0;
}

/** do_huge_pmd_numa_page: the same for the huge entry at `word`. */
export function* doHugePmdNumaPage(k: Kernel, vma: VmArea, address: number, word: number): KernelPath<number> {
  const haddr = address - modPower(address, PMD_SIZE);
  const ptl = word >>> 10;
  if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
  const lo = entryLo(k.memory, word);
  if (!pmdTransHuge(lo)) {
    k.ptl.unlock(ptl);
    return VM_FAULT_FALLBACK;
  }
  if (pteProtnone(lo)) {
    const head = pmdFrame(lo);
    const node = misplaced(k, vma, haddr, head);
    if (node >= 0) {
      notePage(k, head);
      getPage(k, head);
      k.ptl.unlock(ptl);
      if (yield* migrateMisplaced(k, vma, head, node)) return 0;
      if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
    }
    if (entryLo(k.memory, word) === lo) {
      const newLo = pmdModifyLo(lo, vma.pageProtLo) | PTE_A | (lo & PTE_RW);
      setPmd(k, vma, word, newLo, mkHugePmdHi(vma.pageProtLo, vma.pageProtHi), haddr);
    }
  }
  k.ptl.unlock(ptl);
  if (k.sched.points) yield P_PTE_SET;
  return 0;
}
