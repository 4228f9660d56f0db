// NUMA nodes (include/linux/mmzone.h, mm/mempolicy.c): each has a contiguous part of the frames and free lists of its own. CPUs belong
// to node 0, so a request without a policy is served there, and from the next node when node 0 has nothing left.

import { InputError } from '../../base/assert.ts';
import type { KernelConfig } from '../config.ts';
import type { Kernel } from '../kernel.ts';
import { Buddy, MAX_ORDER } from './buddy.ts';
import type { Pages } from './pages.ts';

export const NUMA_NO_NODE = -1;

/** The free lists of every node. A boundary between two stands on the largest block that leaves each a share of it. */
export function makeNodes(pages: Pages, config: KernelConfig): Buddy[] {
  const count = config.numaNodes;
  if (!Number.isInteger(count) || count < 1 || count > 64 || pages.count < count * 4)
    throw new InputError(`numaNodes: ${count} is not an integer from 1 to 64 with four frames each`);
  const share = Math.floor(pages.count / count);
  let block = 1 << (MAX_ORDER - 1);
  while (block > share >> 2) block >>= 1;
  const nodes: Buddy[] = [];
  let first = pages.firstUsable;
  for (let i = 1; i <= count; i++) {
    const end = i === count ? pages.count : Math.floor((share * i) / Math.max(1, block)) * Math.max(1, block);
    nodes.push(new Buddy(pages, config.cpus, first, end));
    first = end;
  }
  return nodes;
}

/** page_to_nid. Memory of a device belongs to node 0. */
export function pageToNid(k: Kernel, pfn: number): number {
  const { nodes } = k;
  for (let i = 1; i < nodes.length; i++) if (pfn < nodes[i]!.first) return i - 1;
  return pfn < k.pages.count ? nodes.length - 1 : 0;
}

/** The node's free lists that a frame goes back to. */
export function buddyOf(k: Kernel, pfn: number): Buddy {
  return k.nodes.length === 1 ? k.buddy : k.nodes[pageToNid(k, pfn)]!;
}
