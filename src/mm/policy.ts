// Memory policies: on which NUMA nodes the pages of a task or of a VMA shall be (mm/mempolicy.c). A MemPolicy is a value: two
// equal ones are interchangeable, and VMAs with equal ones merge. Nodes that exist: those of KernelConfig.nodes.

import { EINVAL } from '../abi/errno.ts';

export const MPOL_DEFAULT = 0;
export const MPOL_PREFERRED = 1;
export const MPOL_BIND = 2;
export const MPOL_INTERLEAVE = 3;
export const MPOL_LOCAL = 4;
export const MPOL_PREFERRED_MANY = 5;
export const MPOL_WEIGHTED_INTERLEAVE = 6;

export const MPOL_F_STATIC_NODES = 1 << 15;
export const MPOL_F_RELATIVE_NODES = 1 << 14;
export const MPOL_F_NUMA_BALANCING = 1 << 13;
const MODE_FLAGS = MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES | MPOL_F_NUMA_BALANCING;

export interface MemPolicy {
  readonly mode: number;
  /** MPOL_F_* that were given with the mode. */
  readonly flags: number;
  /** Nodes in force, ascending. */
  readonly nodes: readonly number[];
}

/** mpol_equal. */
export function isSamePolicy(a: MemPolicy | null, b: MemPolicy | null): boolean {
  if (a === b) return true;
  if (a === null || b === null || a.mode !== b.mode || a.flags !== b.flags) return false;
  return a.nodes.length === b.nodes.length && a.nodes.every((node, i) => node === b.nodes[i]);
}

/** sanitize_mpol_flags: 0, or -EINVAL for a mode word that no policy has. `modes`: how many modes the kernel knows. */
export function checkModeWord(word: number, modes: number): number {
  const mode = word & ~MODE_FLAGS;
  if (mode < 0 || mode >= modes) return -EINVAL;
  const isStatic = (word & MPOL_F_STATIC_NODES) !== 0;
  if (isStatic && (word & MPOL_F_RELATIVE_NODES) !== 0) return -EINVAL;
  const canBalance = mode === MPOL_BIND || mode === MPOL_PREFERRED_MANY;
  return (word & MPOL_F_NUMA_BALANCING) !== 0 && !canBalance ? -EINVAL : 0;
}

/** nodes_fold, nodes_onto of MPOL_F_RELATIVE_NODES: node n means the n-th allowed one, counted round. */
function relativeNodes(nodes: readonly number[], allowed: readonly number[]): number[] {
  const hit = new Set(nodes.map((n) => allowed[n % allowed.length]!));
  return allowed.filter((n) => hit.has(n));
}

/** mpol_new and mpol_set_nodemask: the policy, null for the default one, or -EINVAL. `allowed`: nodes with memory. */
export function newPolicy(
  word: number,
  nodes: readonly number[],
  allowed: readonly number[],
): MemPolicy | null | number {
  const flags = word & MODE_FLAGS;
  const shape = flags & (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES);
  const mode = word & ~MODE_FLAGS;
  const isEmpty = nodes.length === 0;
  if (mode === MPOL_DEFAULT) return isEmpty ? null : -EINVAL;
  if (mode === MPOL_LOCAL || (mode === MPOL_PREFERRED && isEmpty)) {
    if (!isEmpty || shape !== 0) return -EINVAL;
    return { mode: MPOL_LOCAL, flags, nodes: [] };
  }
  if (isEmpty) return -EINVAL;
  const isRelative = (flags & MPOL_F_RELATIVE_NODES) !== 0;
  const inForce = isRelative ? relativeNodes(nodes, allowed) : allowed.filter((n) => nodes.includes(n));
  if (inForce.length === 0) return -EINVAL;
  return { mode, flags, nodes: mode === MPOL_PREFERRED ? inForce.slice(0, 1) : inForce };
}
