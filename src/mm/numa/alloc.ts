// Frames where a memory policy wants them (mm/mempolicy.c vma_alloc_folio, alloc_pages). The policy of a VMA comes first, then that of
// the task that runs; shared memory has one for each range of the object. All CPUs belong to node 0: that is what "local" means.
//
//   default, LOCAL, PREFERRED_MANY without room   node 0, then the others
//   PREFERRED                                     its node, then the others
//   PREFERRED_MANY                                its nodes in order, then the others
//   BIND                                          its nodes in order, and no other
//   INTERLEAVE                                    in a VMA node number (page of the VMA's linear space) modulo nodes; elsewhere (page
//                                                 tables, page cache) the task's nodes in turn; then the others
//
// With one node every function here is the plain request. Watermarks and reclaim know no nodes: a task bound to a full node reclaims
// everywhere until a frame of its nodes is free. Locks: none. Kernel names: get_vma_policy, interleave_nid, offset_il_node,
// interleave_nodes, policy_node, policy_nodemask.

import { FRAME_FILE, FRAME_TABLE } from '../../abi/events.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { HPAGE_PMD_NR, HPAGE_PMD_ORDER } from '../page/compound.ts';
import { NUMA_NO_NODE } from '../page/nodes.ts';
import { GFP_KERNEL } from '../page/pages.ts';
import {
  type MemPolicy,
  MPOL_BIND,
  MPOL_INTERLEAVE,
  MPOL_PREFERRED,
  MPOL_PREFERRED_MANY,
  MPOL_WEIGHTED_INTERLEAVE,
} from '../policy.ts';
import { type AddressSpace, Task, type VmArea } from '../types.ts';
import { lookupSharedPolicy } from './shared-policy.ts';

/** numa_node_id. */
export const LOCAL_NODE = 0;
/** Rounds of reclaim that free something, but nothing on the nodes wanted. */
const BOUND_RETRIES_MAX = 16;
const SWAP_CLUSTER_MAX = 32;

/** The task that runs; null for a thread of the kernel. */
function currentTask(k: Kernel): Task | null {
  const { owner } = k.sched.current;
  return owner instanceof Task ? owner : null;
}

/** get_task_policy; null = default. */
export function taskPolicy(k: Kernel): MemPolicy | null {
  return currentTask(k)?.policy ?? null;
}

/** get_vma_policy: the policy for the page at `address`; null = default. mmapLock held. */
export function vmaPolicy(k: Kernel, vma: VmArea, address: number): MemPolicy | null {
  const own = ownVmaPolicy(vma, address);
  return own === null ? taskPolicy(k) : own;
}

/** __get_vma_policy: the same without the task's. */
export function ownVmaPolicy(vma: VmArea, address: number): MemPolicy | null {
  if (vma.file === null || vma.file.inode.kind !== 'shmem') return vma.policy;
  return lookupSharedPolicy(vma.file.inode.mapping, vma.pgoff + Math.floor((address - vma.start) / 4096));
}

export function isInterleave(policy: MemPolicy): boolean {
  return policy.mode === MPOL_INTERLEAVE || policy.mode === MPOL_WEIGHTED_INTERLEAVE;
}

/** offset_il_node. */
export function interleavedNode(policy: MemPolicy, index: number): number {
  return policy.nodes[index % policy.nodes.length]!;
}

/** The index by which a VMA interleaves its pages of 2^order frames. */
export function interleaveIndex(vma: VmArea, address: number, order: number): number {
  const size = 1 << order;
  return Math.floor(vma.pgoff / size) + Math.floor((address - vma.start) / (4096 * size));
}

/** interleave_nodes without taking the turn: the node of the next page. */
export function nextInterleaved(task: Task, policy: MemPolicy): number {
  return policy.nodes.find((node) => node > task.interleavePrev) ?? policy.nodes[0]!;
}

/** A page of 2^order frames from the nodes of `policy`; `index` is what an interleaving one goes by. 0: none without sleeping. */
function allocOn(k: Kernel, policy: MemPolicy | null, index: number, order: number, purpose: number): number {
  if (policy === null) return k.fn.allocPages(k, GFP_KERNEL, order, purpose);
  const { mode, nodes } = policy;
  if (isInterleave(policy)) return k.fn.allocPages(k, GFP_KERNEL, order, purpose, interleavedNode(policy, index));
  if (mode === MPOL_PREFERRED) return k.fn.allocPages(k, GFP_KERNEL, order, purpose, nodes[0]!);
  if (mode === MPOL_BIND || mode === MPOL_PREFERRED_MANY) {
    for (let i = 0; i < nodes.length; i++) {
      const page = k.fn.allocPages(k, GFP_KERNEL, order, purpose, nodes[i]!, true);
      if (page !== 0) return page;
    }
    if (mode === MPOL_BIND) return 0;
  }
  return k.fn.allocPages(k, GFP_KERNEL, order, purpose, NUMA_NO_NODE);
}

/** The second attempt, which may reclaim. */
function* allocOnSlow(k: Kernel, policy: MemPolicy | null, purpose: number): KernelPath<number> {
  if (policy === null || policy.mode !== MPOL_BIND || policy.nodes.length === k.nodes.length)
    return yield* k.fn.allocPagesSlow(k, GFP_KERNEL, purpose);
  for (let i = 0; i < BOUND_RETRIES_MAX; i++) {
    const page = allocOn(k, policy, 0, 0, purpose);
    if (page !== 0) return page;
    if (k.reclaim.isReclaiming(k.sched.current)) return 0;
    if ((yield* k.fn.tryToFreePages(k, SWAP_CLUSTER_MAX)) === 0) break;
  }
  return allocOn(k, policy, 0, 0, purpose);
}

/** vma_alloc_folio of order 0: a frame for the page at `address`, or 0: then vmaAllocPageSlow. mmapLock held. */
export function vmaAllocPage(k: Kernel, vma: VmArea, address: number, purpose: number): number {
  if (k.nodes.length === 1) return k.fn.allocPage(k, GFP_KERNEL, purpose);
  return allocOn(k, vmaPolicy(k, vma, address), interleaveIndex(vma, address, 0), 0, purpose);
}

/** The same, reclaiming: 0 is out of memory. */
export function vmaAllocPageSlow(k: Kernel, vma: VmArea, address: number, purpose: number): KernelPath<number> {
  if (k.nodes.length === 1) return k.fn.allocPagesSlow(k, GFP_KERNEL, purpose);
  return allocOnSlow(k, vmaPolicy(k, vma, address), purpose);
}

/** vma_alloc_folio: a compound page, or 0. */
export function vmaAllocPages(k: Kernel, vma: VmArea, address: number, order: number, purpose: number): number {
  if (k.nodes.length === 1) return k.fn.allocPages(k, GFP_KERNEL, order, purpose);
  return allocOn(k, vmaPolicy(k, vma, address), interleaveIndex(vma, address, order), order, purpose);
}

/** alloc_pages for a page table: as the task's policy says, an interleaving one in turn. 0: then allocTableSlow. */
export function allocTable(k: Kernel): number {
  return k.nodes.length === 1 ? k.fn.allocPage(k, GFP_KERNEL, FRAME_TABLE) : allocInTurn(k, FRAME_TABLE);
}

export function allocTableSlow(k: Kernel): KernelPath<number> {
  if (k.nodes.length === 1) return k.fn.allocPagesSlow(k, GFP_KERNEL, FRAME_TABLE);
  return allocOnSlow(k, taskPolicy(k), FRAME_TABLE);
}

function allocInTurn(k: Kernel, purpose: number): number {
  const task = currentTask(k);
  const policy = task === null ? null : task.policy;
  if (policy === null || !isInterleave(policy)) return allocOn(k, policy, 0, 0, purpose);
  const node = nextInterleaved(task!, policy);
  task!.interleavePrev = node;
  return k.fn.allocPages(k, GFP_KERNEL, 0, purpose, node);
}

/** filemap_alloc_folio, shmem_alloc_folio: a frame for page `index` of a file. 0: then allocFilePageSlow. */
export function allocFilePage(k: Kernel, mapping: AddressSpace, index: number): number {
  if (k.nodes.length === 1) return k.fn.allocPage(k, GFP_KERNEL, FRAME_FILE);
  if (mapping.inode.kind !== 'shmem') return allocInTurn(k, FRAME_FILE);
  // shmem_pseudo_vma_init: the inode number keeps files from all beginning on one node.
  const policy = lookupSharedPolicy(mapping, index) ?? taskPolicy(k);
  return allocOn(k, policy, index + mapping.inode.id, 0, FRAME_FILE);
}

/** shmem_alloc_hugefolio: the block from page `index` of a file on, or 0. */
export function allocHugeFilePage(k: Kernel, mapping: AddressSpace, index: number): number {
  if (k.nodes.length === 1) return k.fn.allocPages(k, GFP_KERNEL, HPAGE_PMD_ORDER, FRAME_FILE);
  const policy = lookupSharedPolicy(mapping, index) ?? taskPolicy(k);
  return allocOn(k, policy, Math.floor((index + mapping.inode.id) / HPAGE_PMD_NR), HPAGE_PMD_ORDER, FRAME_FILE);
}

export function allocFilePageSlow(k: Kernel, mapping: AddressSpace, index: number): KernelPath<number> {
  if (k.nodes.length === 1) return k.fn.allocPagesSlow(k, GFP_KERNEL, FRAME_FILE);
  const shared = mapping.inode.kind === 'shmem' ? lookupSharedPolicy(mapping, index) : null;
  return allocOnSlow(k, shared ?? taskPolicy(k), FRAME_FILE);
}
