// Policies of shared memory (mm/mempolicy.c mpol_set_shared_policy): they belong to ranges of pages of the object, whoever maps them
// and however the mappings were cut. Ranges are disjoint, ascending, half-open. Guarded by shared_policy.lock in Linux; here each
// function is one step.

import { OBJ_FILE } from '../../base/footprint.ts';
import type { Kernel } from '../kernel.ts';
import type { MemPolicy } from '../policy.ts';
import type { AddressSpace } from '../types.ts';

/** sp_node: pages [start, end) have the policy. */
export interface SharedPolicy {
  readonly start: number;
  readonly end: number;
  readonly policy: MemPolicy;
}

/** mpol_shared_policy_lookup; null = none. */
export function lookupSharedPolicy(mapping: AddressSpace, index: number): MemPolicy | null {
  const ranges = mapping.sharedPolicies;
  for (let i = 0; i < ranges.length && ranges[i]!.start <= index; i++)
    if (index < ranges[i]!.end) return ranges[i]!.policy;
  return null;
}

/** shared_policy_replace: pages [start, end) have `policy` from now on; null = none of their own. */
export function setSharedPolicy(
  k: Kernel,
  mapping: AddressSpace,
  start: number,
  end: number,
  policy: MemPolicy | null,
): void {
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_FILE, mapping.inode.id, true);
  const next: SharedPolicy[] = [];
  for (const range of mapping.sharedPolicies) {
    if (range.start < start) next.push({ ...range, end: Math.min(range.end, start) });
    if (range.end > end) next.push({ ...range, start: Math.max(range.start, end) });
  }
  if (policy !== null) next.push({ start, end, policy });
  mapping.sharedPolicies = next.sort((a, b) => a.start - b.start);
}
