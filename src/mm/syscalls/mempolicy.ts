// mbind, set_mempolicy, get_mempolicy, set_mempolicy_home_node, migrate_pages, move_pages (mm/mempolicy.c, mm/migrate.c): the
// arguments, their order of checks, and the policies themselves. What moves pages is in rooms numa and migrate. Structures of the
// program come by value: a NodeMask is what lies behind the pointer.
//
// Locks: mmapLock for write in mbind, while pages move too (as until 6.6), and for read in get_mempolicy.

import { EACCES, EFAULT, EINVAL, EIO, ENODEV, ENOENT, EOPNOTSUPP, EPERM, ESRCH } from '../../abi/errno.ts';
import type { KernelPath } from '../../sched/path.ts';
import { FOLL_GET } from '../gup/flags.ts';
import type { Kernel } from '../kernel.ts';
import { putbackMovablePages } from '../migrate/migrate-pages.ts';
import { doPagesMove, doPagesStat } from '../migrate/move-pages.ts';
import { isInterleave, nextInterleaved, ownVmaPolicy } from '../numa/alloc.ts';
import { doMigratePages, migrateByPolicy } from '../numa/migrate-nodes.ts';
import { MPOL_MF_MOVE, MPOL_MF_MOVE_ALL, MPOL_MF_STRICT, queuePagesRange } from '../numa/queue-pages.ts';
import { setSharedPolicy } from '../numa/shared-policy.ts';
import { pageToNid } from '../page/nodes.ts';
import {
  checkModeWord,
  isSamePolicy,
  type MemPolicy,
  MPOL_BIND,
  MPOL_DEFAULT,
  MPOL_PREFERRED_MANY,
  newPolicy,
} from '../policy.ts';
import { CAP_SYS_NICE, capable, ptraceMayRead } from '../process/cred.ts';
import type { MmStruct, Task } from '../types.ts';
import { vmaModify } from '../vma/split.ts';
import { TWO64 } from './args.ts';

export const MPOL_F_NODE = 1;
export const MPOL_F_ADDR = 2;
export const MPOL_F_MEMS_ALLOWED = 4;

/** MAX_NUMNODES with CONFIG_NODES_SHIFT=10. */
const NODES_MAX = 1024;
const PAGE_BITS = 4096 * 8;

/** A node mask in the program's memory. */
export interface NodeMask {
  /** NULL was passed. */
  readonly isNull: boolean;
  /** The pointer leads nowhere. */
  readonly isFault: boolean;
  /** Nodes set in the words that could be read, ascending; those at or above `maxNode` - 1 do not count. */
  readonly nodes: readonly number[];
  /** The argument maxnode, an unsigned word. */
  readonly maxNode: number;
}

function allowedNodes(k: Kernel): number[] {
  return Array.from({ length: k.config.numaNodes }, (_, node) => node);
}

/** get_nodes: the nodes, or -EINVAL, -EFAULT. One bit less than maxnode is read. */
function getNodes(mask: NodeMask): readonly number[] | number {
  const bits = mask.maxNode === 0 ? TWO64 : mask.maxNode - 1;
  if (bits === 0 || mask.isNull) return [];
  if (bits > PAGE_BITS) return -EINVAL;
  if (mask.isFault) return -EFAULT;
  const nodes = mask.nodes.filter((n) => n < bits);
  return nodes.some((n) => n >= NODES_MAX) ? -EINVAL : nodes;
}

/** The policy that mode word and mask ask for; null = default; or -errno. */
function policyOf(k: Kernel, word: number, mask: NodeMask): MemPolicy | null | number {
  const checked = checkModeWord(word, k.profile.mempolicyModes);
  if (checked < 0) return checked;
  const nodes = getNodes(mask);
  return typeof nodes === 'number' ? nodes : newPolicy(word, nodes, allowedNodes(k));
}

/** set_mempolicy(mode, nodemask, maxnode). 0, -EINVAL or -EFAULT. */
export function setMempolicy(k: Kernel, task: Task, word: number, mask: NodeMask): number {
  const policy = policyOf(k, word, mask);
  if (typeof policy === 'number') return policy;
  task.policy = policy;
  if (policy !== null && isInterleave(policy)) task.interleavePrev = -1;
  return 0;
}

/** What get_mempolicy writes back. */
export interface PolicyAnswer {
  result: number;
  mode: number;
  nodes: readonly number[];
}

/** get_mempolicy(mode, nodemask, maxnode, addr, flags). `hasMask`: a node mask is asked for. */
export function* getMempolicy(
  k: Kernel,
  task: Task,
  hasMask: boolean,
  maxNode: number,
  addr: number,
  flags: number,
): KernelPath<PolicyAnswer> {
  k.sched.current.owner = task;
  const answer: PolicyAnswer = { result: 0, mode: MPOL_DEFAULT, nodes: [] };
  if (hasMask && maxNode < k.config.numaNodes) answer.result = -EINVAL;
  else if ((flags & ~(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED)) !== 0) answer.result = -EINVAL;
  else if ((flags & MPOL_F_MEMS_ALLOWED) !== 0) {
    if ((flags & (MPOL_F_NODE | MPOL_F_ADDR)) !== 0) answer.result = -EINVAL;
    else answer.nodes = allowedNodes(k);
  } else if ((flags & MPOL_F_ADDR) !== 0) yield* policyAt(k, task, addr, flags, answer);
  else if (addr !== 0) answer.result = -EINVAL;
  else if ((flags & MPOL_F_NODE) === 0) answerPolicy(answer, task.policy);
  else {
    // The node from which an interleaving task gets its next page.
    const { policy } = task;
    if (policy === null || !isInterleave(policy)) answer.result = -EINVAL;
    else answer.mode = nextInterleaved(task, policy);
  }
  return answer;
}

function answerPolicy(answer: PolicyAnswer, policy: MemPolicy | null): void {
  if (policy === null) return;
  answer.mode = policy.mode | policy.flags;
  answer.nodes = policy.nodes;
}

/** MPOL_F_ADDR: the policy of the VMA at addr or, with MPOL_F_NODE, the node of its page, which is faulted in. */
function* policyAt(k: Kernel, task: Task, addr: number, flags: number, answer: PolicyAnswer): KernelPath<void> {
  const mm = task.mm!;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  const vma = mm.vmas.findExact(addr - (addr % 4096));
  if (vma === null) answer.result = -EFAULT;
  else if ((flags & MPOL_F_NODE) === 0) answerPolicy(answer, ownVmaPolicy(vma, addr) ?? task.policy);
  else {
    // lookup_node.
    const pages = new Int32Array(1);
    const got = yield* k.fn.getUserPages(k, mm, addr, 1, FOLL_GET, pages);
    if (got < 1) answer.result = got < 0 ? got : -EFAULT;
    else {
      answer.mode = pageToNid(k, pages[0]!);
      k.fn.putPage(k, pages[0]!);
    }
  }
  lock.readUnlock();
}

/** mbind(addr, len, mode, nodemask, maxnode, flags), for addr and len as words (len rounded up to pages already).
 *  0, -EINVAL, -EPERM (MPOL_MF_MOVE_ALL), -EFAULT (hole, nodemask), -ENOMEM, -EIO (MPOL_MF_*: a page is, or stays, where the policy
 *  does not want it; the policy is set all the same if pages were to be moved). */
export function* mbind(
  k: Kernel,
  task: Task,
  start: number,
  len: number,
  word: number,
  mask: NodeMask,
  flags: number,
): KernelPath<number> {
  const checked = checkModeWord(word, k.profile.mempolicyModes);
  if (checked < 0) return checked;
  const nodes = getNodes(mask);
  if (typeof nodes === 'number') return nodes;
  if ((flags & ~(MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL)) !== 0) return -EINVAL;
  if ((flags & MPOL_MF_MOVE_ALL) !== 0 && !capable(task.mm!.limits.cred, CAP_SYS_NICE)) return -EPERM;
  if (start % 4096 !== 0) return -EINVAL;
  const end = start + len >= TWO64 ? start + len - TWO64 : start + len;
  if (end < start) return -EINVAL;
  if (end === start) return 0;
  const policy = newPolicy(word, nodes, allowedNodes(k));
  if (typeof policy === 'number') return policy;
  const lock = task.mm!.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  const strict = policy === null ? flags & ~MPOL_MF_STRICT : flags;
  k.sched.current.owner = task;
  const result = yield* mbindLocked(k, task.mm!, start, end, policy, nodes, strict);
  lock.writeUnlock();
  return result;
}

function* mbindLocked(
  k: Kernel,
  mm: MmStruct,
  start: number,
  end: number,
  policy: MemPolicy | null,
  nodes: readonly number[],
  flags: number,
): KernelPath<number> {
  const pages: number[] = [];
  // Pages outside the nodes asked for; a policy that names none takes hold of all.
  const qp = { flags, nodes, inverted: true, allowsHoles: policy === null, pages };
  const queued = yield* queuePagesRange(k, mm, start, end, qp);
  const bound = queued < 0 ? queued : yield* mbindRange(k, mm, start, end, policy);
  if (bound < 0) {
    putbackMovablePages(k, pages);
    return bound;
  }
  const stayed = yield* migrateByPolicy(k, mm, start, pages);
  return queued > 0 || (stayed !== 0 && (flags & MPOL_MF_STRICT) !== 0) ? -EIO : 0;
}

/** mbind_range over every VMA. */
function* mbindRange(
  k: Kernel,
  mm: MmStruct,
  start: number,
  end: number,
  policy: MemPolicy | null,
): KernelPath<number> {
  for (let at = start; at < end; ) {
    const vma = mm.vmas.intersects(at, end);
    if (vma === null) break;
    at = Math.max(at, vma.start);
    const stop = Math.min(end, vma.end);
    if (!isSamePolicy(vma.policy, policy)) {
      const change = vmaModify(k, vma, at, stop, vma.flags, policy);
      const piece = change === null ? vma : yield* change;
      if (piece === null) return k.vmaError;
      const file = piece.file?.inode;
      if (file?.kind === 'shmem') {
        const first = piece.pgoff + (at - piece.start) / 4096;
        setSharedPolicy(k, file.mapping, first, first + (stop - at) / 4096, policy);
      }
      piece.policy = policy;
    }
    at = stop;
  }
  return 0;
}

/** set_mempolicy_home_node(start, len, home_node, flags). 0, -EINVAL, -ENOENT (no VMA has a policy), -EOPNOTSUPP. */
export function setMempolicyHomeNode(
  k: Kernel,
  task: Task,
  start: number,
  len: number,
  node: number,
  flags: number,
): number {
  if (start % 4096 !== 0 || flags !== 0) return -EINVAL;
  if (node >= NODES_MAX || node >= k.config.numaNodes) return -EINVAL;
  const end = start + len >= TWO64 ? start + len - TWO64 : start + len;
  if (end < start) return -EINVAL;
  if (end === start) return 0;
  let result = -ENOENT;
  const { vmas } = task.mm!;
  for (let v = vmas.intersects(start, end); v !== null && v.start < end; v = vmas.intersects(v.end, end)) {
    if (v.policy === null) continue;
    if (v.policy.mode !== MPOL_BIND && v.policy.mode !== MPOL_PREFERRED_MANY) return -EOPNOTSUPP;
    result = 0;
  }
  return result;
}

/** migrate_pages(pid, maxnode, old_nodes, new_nodes): pages that could not be moved, or -errno. `target` null: no such task. */
export function* migratePages(
  k: Kernel,
  task: Task,
  target: Task | null,
  from: NodeMask,
  to: NodeMask,
): KernelPath<number> {
  const old = getNodes(from);
  if (typeof old === 'number') return old;
  const next = getNodes(to);
  if (typeof next === 'number') return next;
  if (target === null) return -ESRCH;
  if (!ptraceMayRead(task, target)) return -EPERM;
  const allowed = allowedNodes(k);
  if (next.some((n) => !allowed.includes(n)) && !capable(task.mm!.limits.cred, CAP_SYS_NICE)) return -EPERM;
  const dest = allowed.filter((n) => next.includes(n));
  if (dest.length === 0 || target.mm === null) return -EINVAL;
  const source = [...old].sort((a, b) => a - b);
  return yield* doMigratePages(k, target.mm, source, dest, capable(task.mm!.limits.cred, CAP_SYS_NICE));
}

/** What move_pages finds behind its pointers. */
export interface MovePagesArgs {
  readonly count: number;
  /** Null: the pointer leads nowhere. */
  readonly pages: readonly number[] | null;
  /** Null: NULL was passed (the nodes are only asked for). 'fault': the pointer leads nowhere. */
  readonly nodes: readonly number[] | null | 'fault';
  readonly isStatusFault: boolean;
  readonly flags: number;
  /** Left out: nobody reads the status words. They hold a node or -errno for each page that was looked at. */
  readonly status?: Int32Array;
}

/** move_pages(pid, count, pages, nodes, status, flags): pages that could not be moved, or -errno. */
export function* movePages(k: Kernel, task: Task, target: Task | null, args: MovePagesArgs): KernelPath<number> {
  const { count, pages, nodes, flags } = args;
  if ((flags & ~(MPOL_MF_MOVE | MPOL_MF_MOVE_ALL)) !== 0) return -EINVAL;
  if ((flags & MPOL_MF_MOVE_ALL) !== 0 && !capable(task.mm!.limits.cred, CAP_SYS_NICE)) return -EPERM;
  if (target === null) return -ESRCH;
  if (!ptraceMayRead(task, target)) return -EPERM;
  if (target.mm === null) return -EINVAL;
  if (count === 0) return 0;
  if (pages === null || nodes === 'fault') return -EFAULT;
  // What comes before an entry that is wrong, or cannot be read, is done.
  let error = 0;
  let good = 0;
  for (; good < count; good++) {
    error = moveEntryError(k, pages, nodes, good);
    if (error < 0) break;
  }
  const status = args.status?.subarray(0, good) ?? new Int32Array(good);
  const addresses = pages.slice(0, good).map((at) => at - (at % 4096));
  if (nodes === null) yield* doPagesStat(k, target.mm, addresses, status);
  else {
    const all = (flags & MPOL_MF_MOVE_ALL) !== 0;
    const moved = yield* doPagesMove(k, target.mm, addresses, nodes.slice(0, good), status, all);
    if (error === 0 && moved !== 0) return moved;
  }
  if (error < 0) return error;
  return args.isStatusFault ? -EFAULT : 0;
}

function moveEntryError(k: Kernel, pages: readonly number[], nodes: readonly number[] | null, i: number): number {
  if (i >= pages.length || (nodes !== null && i >= nodes.length)) return -EFAULT;
  const node = nodes === null ? 0 : nodes[i]!;
  if (node < 0 || node >= NODES_MAX || node >= k.config.numaNodes) return -ENODEV;
  return allowedNodes(k).includes(node) ? 0 : -EACCES;
}
