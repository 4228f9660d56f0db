// Recorded calls that change what later memory calls may do: limits, credentials, personality, prctl. Whether they succeeded is
// input; what they changed is applied. Limits and credentials belong to a process: threads share them, and a child that shares
// the address space (vfork) has its own, so they are put into force before each call.

import type { Kernel } from '../../mm/kernel.ts';
import {
  type Cred,
  commitCred,
  credAfterExec,
  UNCHANGED,
  withGids,
  withRealUids,
  withUid,
  withUids,
} from '../../mm/process/cred.ts';
import { PR_SET_THP_DISABLE, prctlMdwe } from '../../mm/syscalls/prctl.ts';
import type { ProcessLimits } from '../../mm/types.ts';
import type { TraceOp } from '../strace/trace-op.ts';
import type { Word64 } from '../word64.ts';
import type { ReplayTask } from './processes.ts';

const RLIMIT_FIELDS: Readonly<Record<number, 'fsize' | 'data' | 'stack' | 'nofile' | 'memlock' | 'as'>> = {
  1: 'fsize',
  2: 'data',
  3: 'stack',
  7: 'nofile',
  8: 'memlock',
  9: 'as',
};

const PR_SET_KEEPCAPS = 8;
const PR_SET_MDWE = 65;

function limitOf(word: Word64): number {
  const isInfinite = word.hi === 0xffffffff && word.lo === 0xffffffff;
  return isInfinite ? Number.POSITIVE_INFINITY : word.hi * 4294967296 + word.lo;
}

/** Puts the limits and credentials of the caller into force. */
export function enterTask(t: ReplayTask): void {
  if (t.task.mm !== null) t.task.mm.limits = t.limits;
}

/** What execve does to them. The limits go on to the new address space. */
export function afterExec(k: Kernel, t: ReplayTask): void {
  commitCred(t.limits, credAfterExec(t.limits.cred, k.initialLimits().cred.permitted));
  enterTask(t);
}

function withIds(cred: Cred, how: string, ids: readonly number[]): Cred {
  const [a = UNCHANGED, b = UNCHANGED, c = UNCHANGED] = ids;
  switch (how) {
    case 'setuid':
      return withUid(cred, a);
    case 'setreuid':
      return withRealUids(cred, a, b);
    case 'setresuid':
      return withUids(cred, a, b, c);
    case 'setgid':
      return cred.euid === 0 ? withGids(cred, a, a, a) : withGids(cred, UNCHANGED, a, UNCHANGED);
    case 'setregid':
      return withGids(cred, a, b, UNCHANGED);
    default:
      return withGids(cred, a, b, c);
  }
}

/** Applies a call that succeeded. `other`: the task of a pid argument. True: it was one of these calls. */
export function applySetting(t: ReplayTask, op: TraceOp, other: (pid: number) => ReplayTask | null): boolean {
  switch (op.op) {
    case 'prlimit': {
      const field = RLIMIT_FIELDS[op.resource];
      const target: ProcessLimits | undefined = op.pid === 0 ? t.limits : other(op.pid)?.limits;
      if (field !== undefined && op.next !== null && target !== undefined) target[field] = limitOf(op.next.cur);
      return true;
    }
    case 'setid':
      commitCred(t.limits, withIds(t.limits.cred, op.how, op.ids));
      return true;
    case 'setgroups':
      commitCred(t.limits, { ...t.limits.cred, groups: op.groups });
      return true;
    case 'capset': {
      const { effective, permitted, inheritable } = op;
      commitCred(t.limits, { ...t.limits.cred, effective, permitted, inheritable });
      return true;
    }
    case 'personality':
      if (op.persona.lo !== 0xffffffff) t.task.personality = op.persona.lo;
      return true;
    case 'prctl':
      if (op.option === PR_SET_KEEPCAPS) commitCred(t.limits, { ...t.limits.cred, keepsCaps: op.args[0]?.lo === 1 });
      else if (op.option === PR_SET_THP_DISABLE && t.task.mm !== null) t.task.mm.thpDisabled = op.args[0]?.lo !== 0;
      else if (op.option === PR_SET_MDWE && t.task.mm !== null) prctlMdwe(t.task.mm, op.args[0]?.lo ?? 0);
      return true;
    default:
      return false;
  }
}
