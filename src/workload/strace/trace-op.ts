/**
 * What a recorded call asks for, as values. `op` names the system call or, where several differ only in form, the first of
 * them. Numbers are Word64 (64 bits as passed); small closed sets (signals, whence, commands) are plain numbers.
 */

import type { Word64 } from '../word64.ts';
import type { FdRef, IoVec, TextArg } from './values.ts';

export type MemoryOp =
  | {
      readonly op: 'mmap';
      readonly addr: Word64;
      readonly length: Word64;
      readonly prot: Word64;
      readonly flags: Word64;
      readonly fd: FdRef;
      readonly offset: Word64;
    }
  | { readonly op: 'munmap'; readonly addr: Word64; readonly length: Word64 }
  /** newAddr: null if strace printed four arguments (neither MREMAP_FIXED nor MREMAP_DONTUNMAP). */
  | {
      readonly op: 'mremap';
      readonly addr: Word64;
      readonly oldLength: Word64;
      readonly newLength: Word64;
      readonly flags: Word64;
      readonly newAddr: Word64 | null;
    }
  | { readonly op: 'mprotect'; readonly addr: Word64; readonly length: Word64; readonly prot: Word64 }
  /** pkey: an int, -1 for none. */
  | {
      readonly op: 'pkey_mprotect';
      readonly addr: Word64;
      readonly length: Word64;
      readonly prot: Word64;
      readonly pkey: number;
    }
  | { readonly op: 'pkey_alloc'; readonly flags: Word64; readonly rights: Word64 }
  | { readonly op: 'pkey_free'; readonly pkey: number }
  | { readonly op: 'brk'; readonly addr: Word64 }
  | { readonly op: 'madvise'; readonly addr: Word64; readonly length: Word64; readonly advice: number }
  | {
      readonly op: 'process_madvise';
      readonly pidfd: FdRef;
      readonly ranges: readonly IoVec[] | null;
      readonly count: Word64;
      readonly advice: number;
      readonly flags: Word64;
    }
  | { readonly op: 'msync'; readonly addr: Word64; readonly length: Word64; readonly flags: Word64 }
  /** resident: the answer, one number a page; null if the call failed or strace printed the pointer, which is vec then. */
  | {
      readonly op: 'mincore';
      readonly addr: Word64;
      readonly length: Word64;
      readonly vec: Word64 | null;
      readonly resident: readonly number[] | null;
    }
  | { readonly op: 'mlock'; readonly addr: Word64; readonly length: Word64 }
  | { readonly op: 'mlock2'; readonly addr: Word64; readonly length: Word64; readonly flags: Word64 }
  | { readonly op: 'munlock'; readonly addr: Word64; readonly length: Word64 }
  | { readonly op: 'mlockall'; readonly flags: Word64 }
  | { readonly op: 'munlockall' }
  | {
      readonly op: 'remap_file_pages';
      readonly addr: Word64;
      readonly length: Word64;
      readonly prot: Word64;
      readonly pgoff: Word64;
      readonly flags: Word64;
    }
  | { readonly op: 'mseal'; readonly addr: Word64; readonly length: Word64; readonly flags: Word64 }
  | { readonly op: 'map_shadow_stack'; readonly addr: Word64; readonly length: Word64; readonly flags: Word64 }
  /** rangeAddr: pointer to struct cachestat_range, or its fields where strace decodes them; answerAddr: where the answer goes. */
  | {
      readonly op: 'cachestat';
      readonly fd: FdRef;
      readonly rangeAddr: Word64 | null;
      readonly offset: Word64 | null;
      readonly length: Word64 | null;
      readonly answerAddr: Word64 | null;
      readonly flags: Word64;
    }
  | { readonly op: 'shmget'; readonly key: Word64; readonly size: Word64; readonly flags: Word64 }
  | { readonly op: 'shmat'; readonly shmid: number; readonly addr: Word64; readonly flags: Word64 }
  | { readonly op: 'shmdt'; readonly addr: Word64 }
  /** cmd: without IPC_64. */
  | { readonly op: 'shmctl'; readonly shmid: number; readonly cmd: number; readonly arg: string }
  | { readonly op: 'memfd_secret'; readonly flags: Word64 }
  | { readonly op: 'memfd_create'; readonly name: TextArg; readonly flags: Word64 }
  | {
      readonly op: 'mbind';
      readonly addr: Word64;
      readonly length: Word64;
      readonly mode: Word64;
      readonly nodes: MaskArg;
      readonly maxNode: Word64;
      readonly flags: Word64;
    }
  | {
      readonly op: 'set_mempolicy';
      readonly mode: Word64;
      readonly nodes: MaskArg;
      readonly maxNode: Word64;
    }
  | {
      readonly op: 'set_mempolicy_home_node';
      readonly addr: Word64;
      readonly length: Word64;
      readonly node: Word64;
      readonly flags: Word64;
    }
  /** mode and nodes: the answer; modeAddr: the pointer where strace printed that. */
  | {
      readonly op: 'get_mempolicy';
      readonly mode: Word64 | null;
      readonly modeAddr: Word64 | null;
      readonly nodes: MaskArg;
      readonly maxNode: Word64;
      readonly addr: Word64;
      readonly flags: Word64;
    }
  | {
      readonly op: 'migrate_pages';
      readonly pid: number;
      readonly maxNode: Word64;
      readonly from: MaskArg;
      readonly to: MaskArg;
    }
  /** pages, nodes: null where strace printed pointers; these follow. nodesAddr 0 means "only ask". */
  | {
      readonly op: 'move_pages';
      readonly pid: number;
      readonly count: Word64;
      readonly pages: readonly Word64[] | null;
      readonly nodes: readonly Word64[] | null;
      readonly pagesAddr: Word64 | null;
      readonly nodesAddr: Word64 | null;
      readonly statusAddr: Word64 | null;
      readonly flags: Word64;
    }
  | { readonly op: 'userfaultfd'; readonly flags: Word64 }
  | UffdIoctl
  | {
      readonly op: 'process_vm';
      readonly isWrite: boolean;
      readonly pid: number;
      /** Null where strace printed the pointer: it leads nowhere, or is NULL. */
      readonly local: readonly IoVec[] | null;
      readonly localCount: Word64;
      readonly remote: readonly IoVec[] | null;
      readonly remoteCount: Word64;
      readonly flags: Word64;
    }
  | { readonly op: 'io_setup'; readonly events: Word64; readonly context: Word64 | null }
  | { readonly op: 'io_destroy'; readonly context: Word64 };

/** A bit mask by pointer: its words, or the pointer that strace printed (0 for NULL). */
export interface MaskArg {
  readonly words: readonly Word64[] | null;
  readonly addr: Word64 | null;
}

/** UFFDIO_* on a userfaultfd. A field that the request does not have, or that strace did not decode, is null. */
export interface UffdIoctl {
  readonly op: 'uffd_ioctl';
  readonly fd: FdRef;
  /** `UFFDIO_COPY` and its kind. */
  readonly request: string;
  /** REGISTER, UNREGISTER, WAKE, ZEROPAGE, WRITEPROTECT, CONTINUE. */
  readonly start: Word64 | null;
  /** Also COPY and MOVE. */
  readonly length: Word64 | null;
  readonly dst: Word64 | null;
  readonly src: Word64 | null;
  readonly mode: Word64 | null;
  /** UFFDIO_API: as asked for. */
  readonly features: Word64 | null;
  /** COPY, ZEROPAGE, CONTINUE, MOVE: what the kernel wrote back. */
  readonly done: Word64 | null;
}

export type FileOp =
  | {
      readonly op: 'open';
      readonly how: 'open' | 'openat' | 'openat2' | 'creat';
      readonly dirFd: FdRef;
      readonly path: TextArg;
      readonly flags: Word64;
      readonly mode: Word64 | null;
    }
  | { readonly op: 'close'; readonly fd: FdRef }
  | { readonly op: 'close_range'; readonly first: Word64; readonly last: Word64; readonly flags: Word64 }
  /** dup, dup2, dup3, fcntl(F_DUPFD...): `newFd` is the wanted number (dup2, dup3), `minFd` the least one (F_DUPFD). */
  | {
      readonly op: 'dup';
      readonly fd: FdRef;
      readonly newFd: FdRef | null;
      readonly minFd: number | null;
      readonly isCloexec: boolean;
    }
  /** Every fcntl but F_DUPFD. arg: a number, or flags (F_SETFD, F_SETFL, F_ADD_SEALS); null if there is none or it is a struct. */
  | { readonly op: 'fcntl'; readonly fd: FdRef; readonly cmd: number; readonly arg: Word64 | null }
  /** Calls that make descriptors and otherwise mean nothing here: pipes, sockets, epoll, eventfd, timerfd, pidfd and so on. */
  | {
      readonly op: 'fdopen';
      readonly how: string;
      readonly fds: readonly FdRef[];
      /** pidfd_open: the process. */
      readonly pid?: number;
    }
  | {
      readonly op: 'read' | 'write';
      readonly how: string;
      readonly fd: FdRef;
      readonly buffer: TextArg | null;
      readonly length: Word64;
      readonly iov: readonly IoVec[] | null;
      readonly offset: Word64 | null;
    }
  | { readonly op: 'lseek'; readonly fd: FdRef; readonly offset: Word64; readonly whence: number }
  | { readonly op: 'ftruncate'; readonly fd: FdRef; readonly length: Word64 }
  | { readonly op: 'truncate'; readonly path: TextArg; readonly length: Word64 }
  | {
      readonly op: 'fallocate';
      readonly fd: FdRef;
      readonly mode: Word64;
      readonly offset: Word64;
      readonly length: Word64;
    }
  /** Offsets: null = the file's own position is used and moved. */
  | {
      readonly op: 'copy_file_range';
      readonly inFd: FdRef;
      readonly inOffset: Word64 | null;
      readonly outFd: FdRef;
      readonly outOffset: Word64 | null;
      readonly length: Word64;
      readonly flags: Word64;
    }
  | {
      readonly op: 'sendfile';
      readonly outFd: FdRef;
      readonly inFd: FdRef;
      readonly offset: Word64 | null;
      readonly length: Word64;
    }
  | StatOp
  | { readonly op: 'unlink'; readonly dirFd: FdRef; readonly path: TextArg; readonly flags: Word64 }
  | {
      readonly op: 'rename';
      readonly oldDirFd: FdRef;
      readonly oldPath: TextArg;
      readonly newDirFd: FdRef;
      readonly newPath: TextArg;
      readonly flags: Word64;
    }
  | {
      readonly op: 'link';
      readonly oldDirFd: FdRef;
      readonly oldPath: TextArg;
      readonly newDirFd: FdRef;
      readonly newPath: TextArg;
      readonly flags: Word64;
    }
  | { readonly op: 'chdir'; readonly path: TextArg | null; readonly fd: FdRef | null };

/** stat, fstat, lstat, newfstatat, statx. All answers are null if the call failed. */
export interface StatOp {
  readonly op: 'stat';
  readonly how: string;
  /** fstat: the file; *at: the directory, or the file if `path` is empty. Null for stat and lstat. */
  readonly fd: FdRef | null;
  readonly path: TextArg | null;
  readonly size: Word64 | null;
  readonly inode: Word64 | null;
  readonly deviceMajor: number | null;
  readonly deviceMinor: number | null;
  /** st_mode with its type bits. */
  readonly mode: number | null;
}

export type TaskOp =
  /** fork, vfork, clone, clone3. The child's tid is the result. */
  | {
      readonly op: 'fork';
      readonly how: 'fork' | 'vfork' | 'clone' | 'clone3';
      /** clone flags without the signal. */
      readonly flags: Word64;
      readonly exitSignal: number;
      readonly sharesMm: boolean;
      readonly isThread: boolean;
      readonly isVfork: boolean;
      readonly sharesFiles: boolean;
      /** Lowest byte for clone3 (with stackSize), top for clone; null if none is given. */
      readonly stack: Word64 | null;
      readonly stackSize: Word64 | null;
    }
  | {
      readonly op: 'execve';
      readonly how: 'execve' | 'execveat';
      readonly dirFd: FdRef | null;
      readonly path: TextArg;
      readonly argv: readonly string[] | null;
    }
  | { readonly op: 'exit'; readonly isGroup: boolean; readonly status: number }
  /** pid: as passed; statusText: raw, such as `[{WIFEXITED(s) && WEXITSTATUS(s) == 0}]`. The child's pid is the result (not for waitid). */
  | { readonly op: 'wait'; readonly how: 'wait4' | 'waitid'; readonly pid: number; readonly statusText: string }
  /** pid 0: itself. getrlimit has only `old`, setrlimit only `next`. */
  | {
      readonly op: 'prlimit';
      readonly pid: number;
      readonly resource: number;
      readonly next: Limit | null;
      readonly old: Limit | null;
    }
  | { readonly op: 'personality'; readonly persona: Word64 }
  /** args: the rest, each a number, or null where it is none. */
  | {
      readonly op: 'prctl';
      readonly option: number;
      readonly args: readonly (Word64 | null)[];
      readonly texts: readonly string[];
    }
  | { readonly op: 'arch_prctl'; readonly option: number; readonly addr: Word64 | null }
  | { readonly op: 'unshare'; readonly flags: Word64 }
  /** setuid, setreuid, setresgid and their kind: the numbers as passed, -1 for "unchanged". */
  | { readonly op: 'setid'; readonly how: string; readonly ids: readonly number[] }
  | { readonly op: 'setgroups'; readonly groups: readonly number[] }
  /** Sets as bits; those above 31 are left out. */
  | {
      readonly op: 'capset';
      readonly effective: number;
      readonly permitted: number;
      readonly inheritable: number;
    };

export interface Limit {
  /** All ones is infinity. */
  readonly cur: Word64;
  readonly max: Word64;
}

export type TraceOp =
  | MemoryOp
  | FileOp
  | TaskOp
  /** A call that says nothing about memory, files or tasks. */
  | { readonly op: 'other'; readonly name: string }
  /** A call that would matter but could not be read; the reason names the argument. */
  | { readonly op: 'undecodable'; readonly name: string; readonly reason: string };
