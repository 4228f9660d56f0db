// Replays a recorded program: applies its memory, process and file calls to a kernel and compares every result that the kernel
// can predict with the recorded one.
//
// Input and prediction. What the file system held, which descriptor a call got, and the numbers of tasks are input: the
// recording decides them. Results of memory calls, and success or errno of process calls, are predicted and verified. After
// a divergence the recorded address is adopted, so that one error does not become many; the call stays diverged.
//
// Records come in the order of results. A child's first call can stand before its parent's clone returned: then the fork is
// applied at that point (the parent is inside clone, so nothing of it lies between), and its own record only verifies it.
//
// Calls of threads that overlap (unfinished ... resumed) are applied in the order of their results. The kernel may have run
// them in the other order: when an mmap gets another address than recorded, it is taken back, and an overlapping mmap of the
// same address space is tried before it. If both results are then the recorded ones, that was the order, and both count as
// verified (and as reordered); if not, the first order stands and the call has diverged.

import { errnoName } from '../../abi/errno.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_FIXED_NOREPLACE, MREMAP_FIXED, MREMAP_MAYMOVE } from '../../abi/mman.ts';
import { NR_brk, NR_mmap, NR_mremap, NR_munmap, NR_shmat, NR_shmdt } from '../../abi/syscalls.ts';
import type { Kernel } from '../../mm/kernel.ts';
import { SyscallArgs } from '../../mm/syscalls/args.ts';
import { syscall } from '../../mm/syscalls/table.ts';
import type { MmStruct, Task } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { MapsSection } from '../maps.ts';
import { decodeCall } from '../strace/decode.ts';
import type { CallRecord, TraceRecord } from '../strace/record.ts';
import type { TraceOp } from '../strace/trace-op.ts';
import { signed64, type Word64 } from '../word64.ts';
import { FileCalls } from './file-calls.ts';
import type { MapsDifference } from './final-maps.ts';
import { InitialMaps } from './image.ts';
import { rawCall } from './memory-calls.ts';
import { isMemoryCall } from './memory-names.ts';
import { Processes, type ReplayTask } from './processes.ts';
import { applySetting, enterTask } from './settings.ts';
import { Tally } from './tally.ts';
import type { Toucher } from './touch.ts';
import { accessiblePiece } from './touched-pieces.ts';
import { ValueCalls } from './value-calls.ts';

export interface ReplayTrace {
  readonly path: string;
  /** "after execve" sections; empty when the recording has no initial maps. */
  readonly initialMaps: readonly MapsSection[];
  /** "at exit" sections. */
  readonly finalMaps: readonly MapsSection[];
}

export interface FinalMapsResult {
  readonly task: number;
  readonly differences: readonly MapsDifference[];
  /** Recorded lines that were not compared: execve made them, and the recording has no initial maps. */
  readonly notCompared: number;
}

/** Records looked at for a call that overlaps with one whose result differs. */
const OVERLAP_RECORDS_MAX = 64;

/** An mmap that was taken back until the calls that overlap with it have been seen. */
interface Postponed {
  readonly task: ReplayTask;
  readonly record: CallRecord;
  readonly op: MmapOp;
  /** Held records already looked at. */
  seen: number;
}

type MmapOp = TraceOp & { op: 'mmap' };

/** Is the address of the mapping the kernel's choice? */
function isPlacedByKernel(op: TraceOp): op is MmapOp {
  return op.op === 'mmap' && (op.flags.lo & (MAP_FIXED | MAP_FIXED_NOREPLACE)) === 0;
}

export class Replayer {
  readonly kernel: Kernel;
  readonly tally = new Tally();
  readonly toucher: Toucher;
  readonly processes: Processes;
  readonly files: FileCalls;
  /** Maps of processes at their exit, against the recording. */
  readonly finalMaps: FinalMapsResult[] = [];
  /** Around each memory call: the call is about to be issued (true), or has returned (false). */
  aroundMemoryCall: (task: ReplayTask, op: TraceOp, isBefore: boolean) => KernelPath<void> = function* () {};
  /** Records that wait for the clone record of their task. */
  readonly #held: TraceRecord[] = [];
  readonly #args = new SyscallArgs();
  readonly #values: ValueCalls;
  #postponed: Postponed | null = null;
  #inputEnded = false;

  constructor(kernel: Kernel, trace: ReplayTrace, toucher: Toucher) {
    this.kernel = kernel;
    this.toucher = toucher;
    this.files = new FileCalls(kernel);
    const initial = new InitialMaps(trace.initialMaps);
    this.processes = new Processes(kernel, this.files.files, initial, trace.finalMaps, this.finalMaps);
    this.#values = new ValueCalls(kernel, this.processes, this.files);
  }

  /** The next record of the recording: applied at once, or held until the clone that explains its task has been read. */
  *push(record: TraceRecord): KernelPath<void> {
    this.#held.push(record);
    yield* this.#drain();
  }

  /** No record follows: what is still held is applied with its tasks taken as unrelated programs. */
  *finish(): KernelPath<void> {
    this.#inputEnded = true;
    yield* this.#drain();
    for (const plan of this.toucher.plans.values()) plan.finish();
  }

  *#drain(): KernelPath<void> {
    while (this.#postponed !== null || this.#held.length > 0) {
      if (this.#postponed !== null && !(yield* this.#settle(this.#postponed))) return;
      if (this.#held.length === 0) return;
      const record = this.#held[0]!;
      const tid = record.kind === 'call' ? record.tidStart : record.tid;
      if (record.kind !== 'note' && !this.processes.knows(tid) && !(yield* this.#adoptTask(tid))) return;
      this.#held.shift();
      yield* this.#apply(record);
    }
  }

  /** A task that nobody has introduced: the first of the recording, or a child whose clone has not returned yet. */
  *#adoptTask(tid: number): KernelPath<boolean> {
    if (this.processes.isEmpty) {
      yield* this.processes.addFirst(tid);
      return true;
    }
    for (const r of this.#held) {
      if (r.kind !== 'call' || r.ret === null || r.errno !== null || r.ret.num !== tid) continue;
      const op = decodeCall(r);
      if (op.op !== 'fork') continue;
      yield* this.processes.fork(r.tidStart, tid, op);
      return true;
    }
    if (!this.#inputEnded) return false;
    yield* this.processes.addFirst(tid);
    return true;
  }

  /** Applies a postponed call, in the order that explains its result. False: later records are needed to tell. */
  *#settle(first: Postponed): KernelPath<boolean> {
    const { task, record, op } = first;
    while (first.seen < this.#held.length) {
      const i = first.seen++;
      const other = this.#held[i]!;
      if (other.kind !== 'call' || other.lineStart > record.lineEnd) continue;
      if (!(yield* this.#isOtherOrder(first, other))) continue;
      this.#held.splice(i, 1);
      this.tally.reordered++;
      yield* this.#apply(other);
      yield* this.#applyMapping(task, record, op);
      this.#postponed = null;
      return true;
    }
    if (this.#held.length < OVERLAP_RECORDS_MAX && !this.#inputEnded) return false;
    yield* this.#applyMapping(task, record, op);
    this.#postponed = null;
    return true;
  }

  /** Would `other` before the postponed call give both their recorded results? Leaves the address space as it was. */
  *#isOtherOrder({ task, record, op }: Postponed, other: CallRecord): KernelPath<boolean> {
    if (other.name !== 'mmap' || other.ret === null || other.errno !== null) return false;
    const otherOp = decodeCall(other);
    const otherTask = this.processes.of(other.tidStart);
    if (otherTask === null || otherTask.task.mm !== task.task.mm || !isPlacedByKernel(otherOp)) return false;
    this.files.beforeMapping(otherTask.task, otherOp);
    const otherActual = yield* this.#issue(otherTask, NR_mmap, rawCall(otherOp)!.words);
    const isOther = otherActual === expectedOf(other);
    const actual = isOther ? yield* this.#issue(task, NR_mmap, rawCall(op)!.words) : -1;
    if (actual >= 0) yield* this.#unmap(task.task, actual, op.length.num);
    if (otherActual >= 0) yield* this.#unmap(otherTask.task, otherActual, otherOp.length.num);
    return isOther && actual === expectedOf(record);
  }

  *#applyMapping(task: ReplayTask, record: CallRecord, op: MmapOp): KernelPath<void> {
    yield* this.#memoryCall(task, record, op, NR_mmap, rawCall(op)!.words);
  }

  *#unmap(task: Task, start: number, length: number): KernelPath<void> {
    yield* syscall(this.kernel, task, NR_munmap, this.#args.of(start, length));
  }

  *#apply(record: TraceRecord): KernelPath<void> {
    if (record.kind === 'exited' || record.kind === 'killed') yield* this.processes.exit(record.tid);
    else if (record.kind === 'superseded') yield* this.processes.supersede(record.tid, record.byTid);
    else if (record.kind === 'call') yield* this.#call(record);
  }

  *#call(record: CallRecord): KernelPath<void> {
    const task = this.processes.of(record.tidStart);
    if (task === null) return;
    const op = decodeCall(record);
    if (op.op === 'other') {
      this.tally.ignored++;
      return;
    }
    if (op.op === 'undecodable') {
      this.tally.skip(op.name, op.reason);
      return;
    }
    if (task.task.mm !== null) yield* this.toucher.beforeCall(this.kernel, task.task, task.process, op);
    if (yield* this.#processCall(task, record, op)) return;
    if (record.errno === null && record.ret !== null) {
      const isSetting = applySetting(task, op, (pid) => this.processes.of(pid));
      if (isSetting) {
        this.tally.context++;
        return;
      }
    }
    const raw = rawCall(op);
    if (raw === null && task.task.mm !== null && record.ret !== null) {
      enterTask(task);
      const expected = expectedOf(record);
      const actual = yield* this.#values.apply(task.task, record, op, expected);
      if (actual !== null) {
        this.#judge(record, op, actual, expected);
        return;
      }
    }
    if (raw === null) {
      yield* this.#fileCall(task, record, op);
      return;
    }
    yield* this.#memoryCall(task, record, op, raw.nr, raw.words);
  }

  *#processCall(task: ReplayTask, record: CallRecord, op: TraceOp): KernelPath<boolean> {
    const failed = record.errno !== null;
    if (op.op === 'fork') {
      if (failed || record.ret === null)
        this.tally.skip(
          record.name,
          failed ? `failed with ${record.errno}: a limit of the recorded machine` : 'no result recorded',
        );
      else {
        const child = record.ret.num;
        const result = this.processes.knows(child) ? 0 : yield* this.processes.fork(task.tid, child, op);
        if (result >= 0) this.tally.count(record.name, 'verified');
        else this.#diverge(record, result);
      }
      return true;
    }
    if (op.op === 'execve') {
      if (failed || record.ret === null) this.tally.context++;
      else {
        yield* this.processes.exec(record.tidStart, record.tid);
        this.tally.count(record.name, 'verified');
      }
      return true;
    }
    if (op.op === 'exit') {
      this.tally.count(record.name, 'verified');
      return true;
    }
    return false;
  }

  *#fileCall(task: ReplayTask, record: CallRecord, op: TraceOp): KernelPath<void> {
    enterTask(task);
    const result = yield* this.files.apply(task.task, record, op);
    const name = countedAs(record, op);
    if (result !== null) this.#judge(record, op, result, expectedOf(record));
    else if (isMemoryCall(name)) this.tally.skip(name, record.ret === null ? 'no result recorded' : 'not modelled');
    else this.tally.context++;
  }

  *#memoryCall(
    task: ReplayTask,
    record: CallRecord,
    op: TraceOp,
    nr: number,
    words: readonly Word64[],
  ): KernelPath<void> {
    if (task.task.mm === null || record.ret === null) {
      this.tally.skip(record.name, record.ret === null ? 'no result recorded' : 'its task has no address space');
      return;
    }
    if (op.op === 'mmap') this.files.beforeMapping(task.task, op);
    const expected = expectedOf(record);
    if (task.learns !== null && this.#learn(task, op, expected)) {
      this.tally.count(record.name, 'learned');
      yield* this.#issue(task, nr, words);
      return;
    }
    const unknown = this.processes.touchesUnknownImage(task, op);
    if (unknown !== null) {
      this.tally.skip(record.name, unknown);
      return;
    }
    yield* this.aroundMemoryCall(task, op, true);
    const actual = yield* this.#issue(task, nr, words);
    yield* this.aroundMemoryCall(task, op, false);
    if (actual === expected) this.tally.count(record.name, 'verified');
    else {
      // Another task may have been inside a call: it may have come first.
      if (this.#postponed === null && task.task.mm.users > 1 && expected >= 0 && actual >= 0 && isPlacedByKernel(op)) {
        yield* this.#unmap(task.task, actual, op.length.num);
        this.#postponed = { task, record, op, seen: 0 };
        return;
      }
      this.#diverge(record, actual);
      yield* this.#adopt(task.task, op, words, expected, actual);
    }
    if (expected >= 0) {
      const piece = accessiblePiece(task.task.mm, op, expected, task.previousBrk);
      const isCommit = op.op === 'mmap' && (op.flags.lo & MAP_FIXED) !== 0 && (op.flags.lo & MAP_ANONYMOUS) !== 0;
      if (piece !== null) this.toucher.afterMapping(task.task, piece.start, piece.end, isCommit);
    }
    if (op.op === 'brk') task.previousBrk = task.task.mm.brk;
  }

  /** The first brk(NULL) and the first mapping after an execve whose map nobody recorded tell the layout. */
  #learn(task: ReplayTask, op: TraceOp, expected: number): boolean {
    const mm = task.task.mm as MmStruct;
    const learns = task.learns!;
    if (op.op === 'brk' && learns.brk) {
      learns.brk = false;
      mm.startBrk = expected;
      mm.brk = expected;
      task.previousBrk = expected;
      return true;
    }
    if (op.op === 'mmap' && learns.base && expected >= 0) {
      learns.base = false;
      if ((op.flags.lo & MAP_FIXED) !== 0) return false;
      mm.mmapBase = expected + Math.ceil(op.length.num / 4096) * 4096;
      return true;
    }
    return false;
  }

  *#issue(task: ReplayTask, nr: number, words: readonly Word64[]): KernelPath<number> {
    const args = this.#args;
    enterTask(task);
    for (let i = 0; i < 6; i++) args.setWords(i, words[i]?.hi ?? 0, words[i]?.lo ?? 0);
    return yield* syscall(this.kernel, task.task, nr, args);
  }

  /** Makes the address space what the recording says it is. */
  *#adopt(task: Task, op: TraceOp, words: readonly Word64[], expected: number, actual: number): KernelPath<void> {
    const k = this.kernel;
    const args = this.#args;
    if (op.op === 'mmap') {
      const length = op.length.num;
      if (actual >= 0) yield* this.#unmap(task, actual, length);
      if (expected < 0) return;
      for (let i = 0; i < 6; i++) args.setWords(i, words[i]!.hi, words[i]!.lo);
      args.set(0, expected);
      args.set(3, op.flags.num | MAP_FIXED);
      yield* syscall(k, task, NR_mmap, args);
    } else if (op.op === 'mremap' && expected >= 0) {
      const from = actual >= 0 ? actual : op.addr.num;
      const oldLength = actual >= 0 ? op.newLength.num : op.oldLength.num;
      yield* syscall(
        k,
        task,
        NR_mremap,
        args.of(from, oldLength, op.newLength.num, MREMAP_MAYMOVE | MREMAP_FIXED, expected),
      );
    } else if (op.op === 'shmat') {
      if (actual >= 0) yield* syscall(k, task, NR_shmdt, args.of(actual));
      if (expected >= 0) yield* syscall(k, task, NR_shmat, args.of(op.shmid, expected, op.flags.lo));
    } else if (op.op === 'brk') {
      yield* syscall(k, task, NR_brk, args.of(expected));
    }
  }

  #judge(record: CallRecord, op: TraceOp, actual: number, expected: number): void {
    const name = countedAs(record, op);
    if (actual === expected) this.tally.count(name, 'verified');
    else this.#diverge(record, actual, name);
  }

  #diverge(record: CallRecord, actual: number, name = record.name): void {
    this.tally.diverge({
      line: record.lineEnd,
      name,
      call: `${record.name}(${(record.args ?? ['...']).join(', ')})`.slice(0, 200),
      expected: formatResult(expectedOf(record)),
      actual: formatResult(actual),
    });
  }
}

/** Name under which the call is counted: requests to a userfaultfd by themselves. */
function countedAs(record: CallRecord, op: TraceOp): string {
  return op.op === 'uffd_ioctl' ? op.request : record.name;
}

/** The recorded result as the kernel returns it: a value, or a negative errno. */
export function expectedOf(record: CallRecord): number {
  if (record.errno !== null) return -errnoNumber(record.errno);
  return record.ret === null ? 0 : signed64(record.ret);
}

const ERRNO_NUMBERS = new Map<string, number>();
for (let n = 1; n < 134; n++) ERRNO_NUMBERS.set(errnoName(n), n);

function errnoNumber(name: string): number {
  return ERRNO_NUMBERS.get(name) ?? 4096;
}

/** A result for people: an errno name, a small number, or an address. */
export function formatResult(value: number): string {
  if (value < 0) return value === -4096 ? 'an unknown error' : `-1 ${errnoName(-value)}`;
  return value < 4096 ? String(value) : `0x${value.toString(16)}`;
}
