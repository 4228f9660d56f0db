// Recorded memory calls whose arguments are structures or names in the program's memory: strace printed what lay there, so that
// the kernel gets them by value. The answer is what the kernel returns; null: not such a call.
//
// A descriptor that a call returns is input (descriptors are nothing of memory): such a call is right when it succeeds or fails
// as recorded. A string that strace cut may be of any length: it is long enough to be refused where the recording says so.

import { EFAULT, EINVAL } from '../../abi/errno.ts';
import { MREMAP_FIXED, MREMAP_MAYMOVE } from '../../abi/mman.ts';
import { NR_mincore, NR_mremap } from '../../abi/syscalls.ts';
import type { Kernel } from '../../mm/kernel.ts';
import { ioDestroy, ioSetup } from '../../mm/syscalls/aio.ts';
import { SyscallArgs } from '../../mm/syscalls/args.ts';
import { cachestat } from '../../mm/syscalls/cachestat.ts';
import { processMadvise } from '../../mm/syscalls/madvise.ts';
import { MFD_CLOEXEC, memfdFile, secretFile } from '../../mm/syscalls/memfd.ts';
import {
  getMempolicy,
  mbind,
  migratePages,
  movePages,
  type NodeMask,
  setMempolicy,
  setMempolicyHomeNode,
} from '../../mm/syscalls/mempolicy.ts';
import { mincorePages } from '../../mm/syscalls/mincore.ts';
import { type IoVector, importIovec, processVm } from '../../mm/syscalls/process-vm.ts';
import { mapShadowStack } from '../../mm/syscalls/shadow-stack.ts';
import { type ShmidDs, shmctl } from '../../mm/syscalls/shm.ts';
import { syscall } from '../../mm/syscalls/table.ts';
import type { OpenFile, Task } from '../../mm/types.ts';
import { UFFD_USER_MODE_ONLY } from '../../mm/uffd/context.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { CallRecord } from '../strace/record.ts';
import type { MaskArg, TraceOp } from '../strace/trace-op.ts';
import { type IoVec, parseStruct, parseWord } from '../strace/values.ts';
import type { Word64 } from '../word64.ts';
import type { FileCalls } from './file-calls.ts';
import type { Processes } from './processes.ts';
import { canRead, canWrite } from './reach.ts';
import { faultAddress, type UffdGuess, uffdIoctl, userfaultfdFile } from './uffd-calls.ts';

const TWO_32 = 4294967296;
const O_CLOEXEC = 0o2000000;
const RANGE_BYTES = 16;
const CACHESTAT_BYTES = 40;
const SHMID_DS_BYTES = 112;
/** An address that is never mapped: below mmap_min_addr. */
const UNREACHABLE = 1;

/** A word as an unsigned number, rounded above 2^53. */
function unsigned(word: Word64): number {
  return word.hi * TWO_32 + word.lo;
}

/** A word rounded up to pages as the kernel does it: exact, 0 on overflow. */
function pageAligned(word: Word64): number {
  const down = word.hi * TWO_32 + ((word.lo & ~4095) >>> 0);
  const up = (word.lo & 4095) === 0 ? down : down + 4096;
  return up >= 2 ** 64 ? 0 : up;
}

function maskOf(arg: MaskArg, maxNode: Word64): NodeMask {
  const nodes: number[] = [];
  for (const [i, word] of (arg.words ?? []).entries()) {
    for (let bit = 0; bit < 64; bit++) {
      const half = bit < 32 ? word.lo : word.hi;
      if (((half >>> (bit % 32)) & 1) !== 0) nodes.push(i * 64 + bit);
    }
  }
  const isNull = arg.words === null && arg.addr?.num === 0;
  return { isNull, isFault: arg.words === null && !isNull, nodes, maxNode: unsigned(maxNode) };
}

function vectorOf(pieces: readonly IoVec[] | null, count: Word64): IoVector {
  return {
    count: unsigned(count),
    pieces:
      pieces?.map((p) => ({
        base: p.base === null ? Number.NaN : unsigned(p.base),
        length: unsigned(p.length),
      })) ?? null,
  };
}

/** strace prints the bytes that process_vm_readv filled, not where. Of buffers beyond them it saw nothing: they may lead nowhere,
 *  and do when the call stopped in front of one. */
function leaveUnprinted(local: IoVector, filled: number): void {
  let at = 0;
  for (const piece of local.pieces ?? []) {
    if (at >= filled && Number.isNaN(piece.base)) piece.base = UNREACHABLE;
    at += piece.length;
  }
}

export class ValueCalls {
  readonly #kernel: Kernel;
  readonly #processes: Processes;
  readonly #files: FileCalls;
  readonly #args = new SyscallArgs();
  readonly #guess: UffdGuess = { faulted: 0, protectable: null };

  constructor(kernel: Kernel, processes: Processes, files: FileCalls) {
    this.#kernel = kernel;
    this.#processes = processes;
    this.#files = files;
  }

  /** The task that a pid argument names; 0 is the caller. */
  #target(task: Task, pid: number): Task | null {
    return pid === 0 ? task : (this.#processes.of(pid)?.task ?? null);
  }

  /** What the kernel answers; null: not a call of this kind. `expected`: the recorded result. */
  *apply(task: Task, record: CallRecord, op: TraceOp, expected: number): KernelPath<number | null> {
    const k = this.#kernel;
    const mm = task.mm!;
    switch (op.op) {
      case 'memfd_create':
        return yield* this.#memfdCreate(task, record, op, expected);
      case 'map_shadow_stack':
        return mapShadowStack();
      case 'memfd_secret':
        return yield* this.#made(task, record, secretFile(k, task, op.flags.lo), op.flags.lo, expected);
      case 'userfaultfd':
        return yield* this.#made(task, record, userfaultfdFile(k, task, op.flags.lo), op.flags.lo, expected);
      case 'uffd_ioctl':
        return yield* uffdIoctl(k, task, op, this.#guess);
      case 'read':
        if (op.fd.path === 'anon_inode:[userfaultfd]' && typeof op.buffer?.text === 'string')
          this.#guess.faulted = faultAddress(op.buffer.text) ?? this.#guess.faulted;
        return null;
      case 'fdopen': {
        // The ioctl of /dev/userfaultfd needs no capability: who may open the device may use it.
        if (op.how !== 'USERFAULTFD_IOC_NEW' || expected < 0) return null;
        const file = userfaultfdFile(k, task, UFFD_USER_MODE_ONLY);
        yield* this.#made(task, record, file, 0, expected);
        return null;
      }
      case 'shmctl':
        return yield* this.#shmctl(task, op);
      case 'mincore':
        return yield* this.#mincore(task, op);
      case 'cachestat': {
        const isRangeReadable = canRead(mm, op.rangeAddr, RANGE_BYTES);
        const isAnswerWritable = canWrite(mm, op.answerAddr, CACHESTAT_BYTES);
        const open = this.#files.openFile(task, op.fd);
        const file = open?.isPath === true ? undefined : open;
        return cachestat(k, task, file, { isRangeReadable, isAnswerWritable }, op.flags.lo | op.flags.hi);
      }
      case 'process_vm': {
        const remote = vectorOf(op.remote, op.remoteCount);
        const local = vectorOf(op.local, op.localCount);
        if (!op.isWrite && expected >= 0) leaveUnprinted(local, expected);
        const target = this.#target(task, op.pid === 0 ? -1 : op.pid);
        return yield* processVm(k, task, target, local, remote, unsigned(op.flags), op.isWrite);
      }
      case 'process_madvise':
        return yield* this.#processMadvise(task, op);
      case 'io_setup':
        return yield* this.#ioSetup(task, op, expected);
      case 'io_destroy':
        return yield* ioDestroy(k, task, unsigned(op.context));
      default:
        return yield* this.#policyCall(task, op);
    }
  }

  *#policyCall(task: Task, op: TraceOp): KernelPath<number | null> {
    const k = this.#kernel;
    const mm = task.mm!;
    switch (op.op) {
      case 'set_mempolicy':
        return setMempolicy(k, task, op.mode.lo | 0, maskOf(op.nodes, op.maxNode));
      case 'set_mempolicy_home_node':
        return setMempolicyHomeNode(
          k,
          task,
          unsigned(op.addr),
          pageAligned(op.length),
          unsigned(op.node),
          unsigned(op.flags),
        );
      case 'get_mempolicy': {
        const hasMask = op.nodes.words !== null || op.nodes.addr?.num !== 0;
        const { result } = yield* getMempolicy(
          k,
          task,
          hasMask,
          unsigned(op.maxNode),
          unsigned(op.addr),
          op.flags.lo | op.flags.hi,
        );
        if (result < 0) return result;
        const isModeLost = op.mode === null && op.modeAddr?.num !== 0 && !canWrite(mm, op.modeAddr, 4);
        const isMaskLost = hasMask && op.nodes.words === null && !canWrite(mm, op.nodes.addr, 8);
        return isModeLost || isMaskLost ? -EFAULT : 0;
      }
      case 'mbind':
        return yield* mbind(
          k,
          task,
          unsigned(op.addr),
          pageAligned(op.length),
          op.mode.lo | 0,
          maskOf(op.nodes, op.maxNode),
          op.flags.lo | op.flags.hi,
        );
      case 'migrate_pages': {
        const from = maskOf(op.from, op.maxNode);
        const to = maskOf(op.to, op.maxNode);
        return yield* migratePages(k, task, this.#target(task, op.pid), from, to);
      }
      case 'move_pages': {
        const isAsking = op.nodes === null && op.nodesAddr?.num === 0;
        return yield* movePages(k, task, this.#target(task, op.pid), {
          count: unsigned(op.count),
          pages: op.pages?.map(unsigned) ?? (canRead(mm, op.pagesAddr, 8 * unsigned(op.count)) ? [] : null),
          nodes: isAsking ? null : (op.nodes?.map((n) => n.lo | 0) ?? 'fault'),
          isStatusFault: !canWrite(mm, op.statusAddr, 4 * unsigned(op.count)),
          flags: op.flags.lo | op.flags.hi,
        });
      }
      default:
        return null;
    }
  }

  *#memfdCreate(
    task: Task,
    record: CallRecord,
    op: TraceOp & { op: 'memfd_create' },
    expected: number,
  ): KernelPath<number> {
    const k = this.#kernel;
    const { text, isCut } = op.name;
    const name = isCut && expected === -EINVAL ? text!.padEnd(256) : text;
    const isClosing = (op.flags.lo & MFD_CLOEXEC) !== 0;
    return yield* this.#made(task, record, memfdFile(k, task, name, op.flags.lo), isClosing ? O_CLOEXEC : 0, expected);
  }

  /** A call that made a file, or failed: the file goes to the descriptor that the recorded call got. */
  *#made(task: Task, record: CallRecord, file: OpenFile | number, flags: number, expected: number): KernelPath<number> {
    if (typeof file === 'number') return file;
    yield* this.#files.placeMade(task, record, file, (flags & O_CLOEXEC) !== 0);
    return expected >= 0 ? expected : 0;
  }

  *#shmctl(task: Task, op: TraceOp & { op: 'shmctl' }): KernelPath<number> {
    const addr = parseWord(op.arg);
    const fields = parseStruct(op.arg);
    const isReachable =
      op.cmd === 1 ? canRead(task.mm!, addr, SHMID_DS_BYTES) : canWrite(task.mm!, addr, SHMID_DS_BYTES);
    const perm = parseStruct(fields?.get('shm_perm') ?? '');
    const number = (name: string): number | null => parseWord(perm?.get(name) ?? '')?.lo ?? null;
    const [uid, gid, mode] = [number('uid'), number('gid'), number('mode')];
    const given: ShmidDs | null = uid === null || gid === null || mode === null ? null : { uid, gid, mode };
    return yield* shmctl(this.#kernel, task, op.shmid, op.cmd, isReachable, given);
  }

  *#mincore(task: Task, op: TraceOp & { op: 'mincore' }): KernelPath<number> {
    const args = this.#args;
    args.setWords(0, op.addr.hi, op.addr.lo);
    args.setWords(1, op.length.hi, op.length.lo);
    args.setWords(2, op.vec?.hi ?? 0, op.vec?.lo ?? 0);
    const pages = pageAligned(op.length) / 4096;
    if (op.resident === null || op.addr.num % 4096 !== 0 || pages !== op.resident.length)
      return yield* syscall(this.#kernel, task, NR_mincore, args);
    return yield* mincorePages(this.#kernel, task.mm!, op.addr.num, new Uint8Array(pages));
  }

  /** The context is the ring's address: another one than recorded is a wrong answer, and the ring goes where it was. */
  *#ioSetup(task: Task, op: TraceOp & { op: 'io_setup' }, expected: number): KernelPath<number> {
    const k = this.#kernel;
    const old = expected === 0 ? 0 : (op.context?.num ?? 0);
    const at = yield* ioSetup(k, task, unsigned(op.events), old);
    if (at < 0 || at === op.context?.num || expected !== 0) return Math.min(at, 0);
    if (op.context !== null) {
      const { size } = task.mm!.vmas.findExact(at)!.file!.inode;
      const words = [at, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, op.context.num] as const;
      yield* syscall(k, task, NR_mremap, this.#args.of(...words));
    }
    return at;
  }

  *#processMadvise(task: Task, op: TraceOp & { op: 'process_madvise' }): KernelPath<number> {
    const target = this.#target(task, this.#files.pidOf(task, op.pidfd));
    const ranges = (op.ranges ?? []).map((r): [number, number] => [
      r.base === null ? Number.NaN : unsigned(r.base),
      unsigned(r.length),
    ]);
    const refused = unsigned(op.flags) === 0 ? importIovec(vectorOf(op.ranges, op.count)) : 0;
    if (refused < 0) return refused;
    return yield* processMadvise(this.#kernel, task, target, ranges, op.advice, unsigned(op.flags));
  }
}
