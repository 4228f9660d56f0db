// The tasks of a recording and their address spaces: made by the first record of a task, by clone, and ended by exit.

import type { Kernel } from '../../mm/kernel.ts';
import type { AreaLayout, ProgramLayout } from '../../mm/process/layout.ts';
import { createProcess, doClone, doExec, doExit } from '../../mm/process/task.ts';
import type { MmStruct, ProcessLimits, Task } from '../../mm/types.ts';
import { procMaps } from '../../mm/vma/proc-maps.ts';
import type { KernelPath } from '../../sched/path.ts';
import { type MapsSection, type MapsVma, parseMapsLine } from '../maps.ts';
import type { TraceOp } from '../strace/trace-op.ts';
import type { ReplayFiles } from './files.ts';
import { compareMaps, splitKnown } from './final-maps.ts';
import type { InitialMaps, ProgramImage } from './image.ts';
import type { FinalMapsResult } from './replayer.ts';
import { afterExec, enterTask } from './settings.ts';

export interface ReplayTask {
  readonly tid: number;
  /** Thread group: the tid of its leader. */
  readonly process: number;
  readonly task: Task;
  /** What may still be learned of a layout that nobody recorded; null when it is known. */
  learns: { brk: boolean; base: boolean } | null;
  /** The program's own mappings are not known: calls on them cannot be judged. */
  isImageUnknown: boolean;
  previousBrk: number;
  /** Limits and credentials of the process; in force (mm.limits) while one of its calls runs. */
  limits: ProcessLimits;
}

export class Processes {
  readonly #kernel: Kernel;
  readonly #files: ReplayFiles;
  readonly #initial: InitialMaps;
  readonly #finals = new Map<number, MapsSection[]>();
  readonly #results: FinalMapsResult[];
  readonly #tasks = new Map<number, ReplayTask>();
  /** All tids ever seen: a record of an ended task is not a new program. */
  readonly #seen = new Set<number>();
  /** Called when a task gets an address space: at its start, by fork, by exec. */
  onNewMm: (task: ReplayTask, mm: MmStruct) => KernelPath<void> = function* () {};
  /** Called when the last user of an address space has given it up. */
  onMmGone: (mm: MmStruct) => KernelPath<void> = function* () {};
  /** The task is about to leave its address space: by exec, or because it ends. */
  onMmLeft: (task: ReplayTask) => KernelPath<void> = function* () {};

  constructor(
    kernel: Kernel,
    files: ReplayFiles,
    initial: InitialMaps,
    finals: readonly MapsSection[],
    results: FinalMapsResult[],
  ) {
    this.#kernel = kernel;
    this.#files = files;
    this.#initial = initial;
    this.#results = results;
    for (const s of finals) {
      if (s.kind === 'execve') continue;
      const list = this.#finals.get(s.task) ?? [];
      list.push(s);
      this.#finals.set(s.task, list);
    }
  }

  get isEmpty(): boolean {
    return this.#seen.size === 0;
  }

  knows(tid: number): boolean {
    return this.#seen.has(tid);
  }

  of(tid: number): ReplayTask | null {
    return this.#tasks.get(tid) ?? null;
  }

  all(): IterableIterator<ReplayTask> {
    return this.#tasks.values();
  }

  /** A task without a parent in the recording. Its first record is normally the execve that started it; until then it has
   *  an empty address space. */
  *addFirst(tid: number): KernelPath<void> {
    this.#seen.add(tid);
    const task = yield* createProcess(this.#kernel, { areas: [] }, tid);
    this.#tasks.set(tid, {
      tid,
      process: tid,
      task,
      learns: { brk: true, base: true },
      isImageUnknown: true,
      previousBrk: 0,
      limits: (task.mm as MmStruct).limits,
    });
  }

  /** clone, fork, vfork. 0 or -errno. */
  *fork(parentTid: number, tid: number, op: TraceOp & { op: 'fork' }): KernelPath<number> {
    const parent = this.#tasks.get(parentTid);
    this.#seen.add(tid);
    if (parent === undefined || parent.task.mm === null) return 0;
    enterTask(parent);
    const result = yield* doClone(this.#kernel, parent.task, op.flags.num, tid);
    if (result < 0) return result;
    const child: ReplayTask = {
      tid,
      process: op.isThread ? parent.process : tid,
      task: this.#kernel.tasks.get(tid)!,
      learns: parent.learns === null ? null : { ...parent.learns },
      isImageUnknown: parent.isImageUnknown,
      previousBrk: parent.previousBrk,
      limits: op.isThread ? parent.limits : { ...parent.limits },
    };
    this.#tasks.set(tid, child);
    const cwd = this.#files.cwd.get(parent.task);
    if (cwd !== undefined) this.#files.cwd.set(child.task, cwd);
    if (!op.sharesMm && child.task.mm !== null) yield* this.onNewMm(child, child.task.mm);
    return 0;
  }

  /** execve succeeded: `tidStart` called it; it goes on as `tid` (they differ for a thread that is not the leader). */
  *exec(tidStart: number, tid: number): KernelPath<void> {
    const old = this.#tasks.get(tidStart);
    if (old === undefined) return;
    const k = this.#kernel;
    const oldMm = old.task.mm;
    const image = this.#initial.take(tid);
    enterTask(old);
    yield* this.onMmLeft(old);
    yield* doExec(k, old.task, this.#layoutOf(image));
    if (oldMm !== null && oldMm.users <= 0) yield* this.onMmGone(oldMm);
    const learns = image === null ? { brk: true, base: true } : null;
    const task: ReplayTask = {
      tid,
      process: tid,
      task: old.task,
      learns,
      isImageUnknown: image === null,
      previousBrk: old.task.mm?.brk ?? 0,
      limits: old.limits,
    };
    afterExec(k, task);
    if (tid !== tidStart) this.#tasks.delete(tidStart);
    this.#tasks.set(tid, task);
    yield* this.onNewMm(task, old.task.mm as MmStruct);
  }

  #layoutOf(image: ProgramImage | null): ProgramLayout {
    if (image === null) return { areas: [] };
    const areas: AreaLayout[] = image.vmas.map((v) => ({
      start: v.start,
      end: v.end,
      perms: v.perms,
      offset: v.offset,
      path: v.name,
    }));
    for (const a of areas) {
      if (a.path.startsWith('/')) this.#files.noteMapping(this.#files.inode(a.path), a.offset + a.end - a.start);
    }
    return { areas, startBrk: image.startBrk, brk: image.startBrk, inodeOf: (path) => this.#files.inode(path) };
  }

  /** `+++ superseded by execve in pid N +++`: the leader is gone; thread N goes on under its number. */
  *supersede(tid: number, byTid: number): KernelPath<void> {
    const old = this.#tasks.get(tid);
    if (old !== undefined && tid !== byTid) {
      yield* doExit(this.#kernel, old.task);
      this.#tasks.delete(tid);
    }
  }

  /** The task is gone; the last user of an address space ends it. */
  *exit(tid: number): KernelPath<void> {
    const t = this.#tasks.get(tid);
    if (t === undefined) return;
    this.#compareFinal(t);
    const { mm } = t.task;
    yield* this.onMmLeft(t);
    yield* doExit(this.#kernel, t.task);
    if (mm !== null && mm.users <= 0) yield* this.onMmGone(mm);
    this.#tasks.delete(tid);
  }

  #compareFinal(t: ReplayTask): void {
    const section = this.#finals.get(t.tid)?.shift();
    const { mm } = t.task;
    if (section === undefined || mm === null) return;
    const { learns } = t;
    // Nothing can be said of a layout that no call has told.
    if (learns?.brk || learns?.base) return;
    const recorded = learns !== null ? splitKnown(section.vmas, mm.startBrk, mm.mmapBase) : null;
    this.#results.push({
      task: t.tid,
      differences: compareMaps(recorded?.known ?? section.vmas, mapsOf(this.#kernel, mm)),
      notCompared: recorded?.unknownLines ?? 0,
    });
  }

  /** Why a call cannot be judged: it concerns the program's own mappings, which an execve made and nobody recorded. */
  touchesUnknownImage(t: ReplayTask, op: TraceOp): string | null {
    if (!t.isImageUnknown || !('addr' in op) || op.op === 'mmap' || op.op === 'brk' || op.op === 'shmat') return null;
    const mm = t.task.mm;
    const addr = op.addr;
    if (mm === null || addr === null || typeof addr !== 'object' || !('num' in addr) || Number.isNaN(addr.num))
      return null;
    const vma = mm.vmas.find(addr.num);
    return vma !== null && vma.start <= addr.num
      ? null
      : 'concerns a mapping that execve made and the recording does not show';
  }
}

/** /proc/PID/maps of an address space, as parsed lines. */
export function mapsOf(k: Kernel, mm: MmStruct): MapsVma[] {
  const lines = procMaps(mm, k.profile.heapNameStrict)
    .split('\n')
    .filter((line) => line !== '');
  return lines.map((line) => {
    const vma = parseMapsLine(line);
    if (vma === null) throw new Error(`mapsOf: not a maps line: ${line}`);
    return vma;
  });
}
