// Credentials, as far as the memory system calls ask for them: user and group numbers and the capability sets (kernel/cred.c,
// kernel/sys.c, security/commoncap.c). A Cred is never changed: a call makes a new one (prepare_creds, commit_creds), so that
// fork shares it. Capabilities are numbers below 32: those above have no meaning for memory.

import type { ProcessLimits, Task } from '../types.ts';

export const CAP_DAC_OVERRIDE = 1;
export const CAP_FOWNER = 3;
export const CAP_IPC_LOCK = 14;
export const CAP_IPC_OWNER = 15;
export const CAP_SYS_RAWIO = 17;
export const CAP_SYS_PTRACE = 19;
export const CAP_SYS_ADMIN = 21;
export const CAP_SYS_NICE = 23;
export const CAP_SYS_RESOURCE = 24;

/** "Leave this number as it is" of setresuid and its kind. */
export const UNCHANGED = -1;

export interface Cred {
  readonly uid: number;
  readonly euid: number;
  readonly suid: number;
  readonly gid: number;
  readonly egid: number;
  readonly sgid: number;
  readonly groups: readonly number[];
  /** Sets of capabilities, bit n for capability n. */
  readonly permitted: number;
  readonly effective: number;
  readonly inheritable: number;
  /** PR_SET_KEEPCAPS: leaving root keeps the permitted set, until execve. */
  readonly keepsCaps: boolean;
}

/** The superuser with the capabilities of that set. */
export function rootCred(capabilities = ~0): Cred {
  const ids = { uid: 0, euid: 0, suid: 0, gid: 0, egid: 0, sgid: 0, groups: [] };
  return { ...ids, permitted: capabilities, effective: capabilities, inheritable: 0, keepsCaps: false };
}

/** ns_capable. */
export function capable(cred: Cred, capability: number): boolean {
  return ((cred.effective >>> capability) & 1) !== 0;
}

/** in_group_p. */
export function inGroup(cred: Cred, gid: number): boolean {
  return cred.egid === gid || cred.groups.includes(gid);
}

/** Gives a process these credentials. */
export function commitCred(limits: ProcessLimits, cred: Cred): void {
  limits.cred = cred;
  limits.capIpcLock = capable(cred, CAP_IPC_LOCK);
  limits.capSysRawio = capable(cred, CAP_SYS_RAWIO);
  limits.capSysAdmin = capable(cred, CAP_SYS_ADMIN);
}

/** setresuid, and what it does to capabilities (cap_emulate_setxuid): leaving user 0 drops them. Whether the call is allowed is
 *  the caller's to know. */
export function withUids(old: Cred, uid: number, euid: number, suid: number): Cred {
  const next = {
    ...old,
    uid: uid === UNCHANGED ? old.uid : uid,
    euid: euid === UNCHANGED ? old.euid : euid,
    suid: suid === UNCHANGED ? old.suid : suid,
  };
  const wasRoot = old.uid === 0 || old.euid === 0 || old.suid === 0;
  const isRoot = next.uid === 0 || next.euid === 0 || next.suid === 0;
  if (wasRoot && !isRoot && !old.keepsCaps) next.permitted = 0;
  if (wasRoot && !isRoot) next.effective = 0;
  if (old.euid === 0 && next.euid !== 0) next.effective = 0;
  if (old.euid !== 0 && next.euid === 0) next.effective = next.permitted;
  return next;
}

/** setuid: with CAP_SETUID all three numbers, else the effective one. */
export function withUid(old: Cred, uid: number): Cred {
  const isAll = ((old.effective >>> 7) & 1) !== 0;
  return isAll ? withUids(old, uid, uid, uid) : withUids(old, UNCHANGED, uid, UNCHANGED);
}

/** setreuid: the saved number follows the effective one when the real one is set, or the effective one to something new. */
export function withRealUids(old: Cred, uid: number, euid: number): Cred {
  const isSaved = uid !== UNCHANGED || (euid !== UNCHANGED && euid !== old.uid);
  const effective = euid === UNCHANGED ? old.euid : euid;
  return withUids(old, uid, euid, isSaved ? effective : UNCHANGED);
}

/** setresgid. */
export function withGids(old: Cred, gid: number, egid: number, sgid: number): Cred {
  return {
    ...old,
    gid: gid === UNCHANGED ? old.gid : gid,
    egid: egid === UNCHANGED ? old.egid : egid,
    sgid: sgid === UNCHANGED ? old.sgid : sgid,
  };
}

/** execve of a file without set-user bits (cap_bprm_creds_from_file): root gets its bounding set, nobody else keeps anything. */
export function credAfterExec(old: Cred, bounding: number): Cred {
  const isRoot = old.uid === 0 || old.euid === 0;
  const permitted = isRoot ? bounding | old.inheritable : 0;
  return {
    ...old,
    suid: old.euid,
    sgid: old.egid,
    permitted,
    effective: old.euid === 0 ? permitted : 0,
    keepsCaps: false,
  };
}

/** ptrace_may_access(PTRACE_MODE_READ_REALCREDS): may `task` look into the memory of `target`? Threads of one process may. */
export function ptraceMayRead(task: Task, target: Task): boolean {
  if (task.mm === null || target.mm === null || task.mm === target.mm) return true;
  const own = task.mm.limits.cred;
  const other = target.mm.limits.cred;
  if (capable(own, CAP_SYS_PTRACE)) return true;
  const isSameUser = own.uid === other.euid && own.uid === other.suid && own.uid === other.uid;
  const isSameGroup = own.gid === other.egid && own.gid === other.sgid && own.gid === other.gid;
  return isSameUser && isSameGroup && (other.permitted & ~own.permitted) === 0;
}
