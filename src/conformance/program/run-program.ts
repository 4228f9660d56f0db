// The recording of a real program, run again. Input: its system calls, and the faults that its accesses took (address, flags).
// Judged: results of memory calls (level calls), the area that each fault fell into (maps), callbacks, and all that follows from
// calls and faults (events). There are no records of residency.
//
// Learned, that is, taken from the recording because nothing before it tells:
//   - the page cache, when a file page is mapped for the first time, or a fault on a file did not have to read
//   - what a process did that nobody watched (between fork and exec): when the recording shows that a page is no longer shared
//     with it, it has written there
//   - the policy of transparent huge pages ("always" when one appears that no madvise asked for)

import { FAULT_FLAG_TRIED, VM_FAULT_RETRY, VM_WRITE } from '../../abi/mman.ts';
import * as NR from '../../abi/syscalls.ts';
import { touchPage } from '../../mm/cpu-access.ts';
import type { AreaLayout, ProgramLayout } from '../../mm/process/layout.ts';
import { CLONE_FILES, CLONE_VM, createProcess, doClone, doExec } from '../../mm/process/task.ts';
import type { MmStruct } from '../../mm/types.ts';
import type { KernelPath } from '../../sched/path.ts';
import { FAULT_FLAG_NAMES } from '../capture.ts';
import { Comparison, type Divergence, LEVELS } from '../compare.ts';
import { exitTask } from '../ops/process.ts';
import { address, hex, type TraceRecord } from '../record.ts';
import type { Recording, Step } from '../recording.ts';
import { residencyOf } from '../residency.ts';
import type { CaseResult } from '../run-case.ts';
import { type Process, World } from '../world.ts';
import { ProgramFiles } from './files.ts';
import { type Learned, nothingLearned } from './learned.ts';
import { FORKS, itemsOf, type Segment } from './segments.ts';

const NR_OF: Readonly<Record<string, number>> = {
  mmap: NR.NR_mmap,
  munmap: NR.NR_munmap,
  mprotect: NR.NR_mprotect,
  brk: NR.NR_brk,
  mremap: NR.NR_mremap,
  madvise: NR.NR_madvise,
  msync: NR.NR_msync,
  mlock: NR.NR_mlock,
  mlock2: NR.NR_mlock2,
  munlock: NR.NR_munlock,
  mlockall: NR.NR_mlockall,
  munlockall: NR.NR_munlockall,
  remap_file_pages: NR.NR_remap_file_pages,
};
/** Pages of vvar and vdso, which the first areas do not name. */
const VVAR_BYTES = 4 * 4096;
const VDSO_BYTES = 2 * 4096;
const THP_ENABLED = '/sys/kernel/mm/transparent_hugepage/enabled';

/** Runs the program's calls and faults again. */
export function runProgram(recording: Recording): CaseResult {
  const settings = new Map<string, string>();
  const learned = nothingLearned();
  if (hasUnaskedHugePage(recording.records)) {
    settings.set(THP_ENABLED, 'always');
    learned.settings++;
  }
  const world = new World(1, settings, String(recording.head['kernel'] ?? ''));
  const comparison = new Comparison(world.kernel);
  const run = new ProgramRun(world, comparison, recording.records, learned);
  let at: TraceRecord | null = null;
  try {
    for (const item of itemsOf(recording.records)) {
      at = 'segment' in item ? item.segment.opener : item.record;
      if ('segment' in item) run.segment(item.segment);
      else run.record(item.record);
    }
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    comparison.broken(at, `stopped: ${message}`, LEVELS);
  }
  const order = (d: Divergence): number => LEVELS.indexOf(d.level);
  const divergences = [...comparison.first.values()].sort((a, b) => order(a) - order(b));
  return { name: recording.name, kernel: world.version, divergences, learned };
}

/** Is there a huge anonymous page before any madvise(MADV_HUGEPAGE)? */
function hasUnaskedHugePage(records: readonly TraceRecord[]): boolean {
  for (const r of records) {
    if (r.t === 'sys' && r['name'] === 'madvise' && address((r['args'] as string[] | undefined)?.[2]) === 14)
      return false;
    if (r.t === 'map' && r['order'] !== undefined && r['kind'] === 'anon_new') return true;
  }
  return false;
}

class ProgramRun {
  readonly #world: World;
  readonly #comparison: Comparison;
  readonly #records: readonly TraceRecord[];
  readonly #files: ProgramFiles;
  readonly #learned: Learned;
  /** System calls under way of which nothing is judged. */
  readonly #calls = new Map<string, TraceRecord>();
  /** The segment that is being run. */
  #current: Segment | null = null;
  /** Children by their recorded pids. */
  readonly #pids = new Map<number, string>();
  /** The child of the fork whose result comes next, by parent. */
  readonly #forked = new Map<string, string>();

  constructor(world: World, comparison: Comparison, records: readonly TraceRecord[], learned: Learned) {
    this.#world = world;
    this.#learned = learned;
    this.#comparison = comparison;
    this.#records = records;
    this.#files = new ProgramFiles(world, learned);
    world.capture.isOn = true;
    const { fn } = world.kernel;
    const { handleMmFault } = fn;
    const beforeRetry = (): void => this.#beforeRetry();
    fn.handleMmFault = function* (k, vma, at, flags): KernelPath<number> {
      const result = yield* handleMmFault(k, vma, at, flags);
      if ((result & VM_FAULT_RETRY) !== 0) beforeRetry();
      return result;
    };
  }

  /** A record outside of segments. */
  record(r: TraceRecord): void {
    const world = this.#world;
    const actor = String(r['p'] ?? '');
    if (r.t === 'sys') this.#calls.set(actor, r);
    else if (r.t === 'sysret') {
      const sys = this.#calls.get(actor);
      const p = world.processes.get(actor);
      this.#calls.delete(actor);
      const result = typeof r['ret'] === 'string' ? address(r['ret']) : -1;
      const child = this.#forked.get(actor);
      if (FORKS.has(String(r['name'])) && child !== undefined) this.#pids.set(result, child);
      if (r['name'] === 'wait4' && result > 0) this.#reap(result);
      if (sys !== undefined && p !== undefined) this.#quietly(() => world.run(this.#files.sysret(p, sys, r)));
      if (sys !== undefined && sys['name'] === 'exit' && p !== undefined) this.#end(p);
    } else if (r.t === 'task' && r['op'] === 'exec') this.#exec(actor, r, []);
    else if (r.t === 'task' && r['op'] === 'fork') this.#forkUnwatched(r);
    else if (r.t === 'attached') this.#attach(r);
    if (r.t === 'sys' && r['name'] === 'exit') this.#threadExit(actor);
  }

  /** wait4 has told of the end of a child that nobody watched. */
  #reap(pid: number): void {
    const child = this.#world.processes.get(this.#pids.get(pid) ?? '');
    const mm = child?.task.mm ?? null;
    if (child === undefined || mm === null || this.#world.capture.mmNames.has(mm.id)) return;
    this.#learned.unseenEnds++;
    this.#quietly(() => this.#end(child));
  }

  /** exit of one thread among several: its address space stays. */
  #threadExit(actor: string): void {
    const p = this.#world.processes.get(actor);
    if (p !== undefined && (p.task.mm?.users ?? 0) > 1) this.#end(p);
  }

  #end(p: Process): void {
    this.#world.run(exitTask(this.#world, p));
  }

  #quietly(body: () => void): void {
    const { capture } = this.#world;
    const wasOn = capture.isOn;
    capture.isOn = false;
    body();
    capture.isOn = wasOn;
  }

  segment(s: Segment): void {
    this.#current = s;
    const world = this.#world;
    const p = world.processes.get(s.actor);
    if (s.kind === 'loose') this.#loose(s, p);
    else if (p !== undefined) {
      world.switchTo(p);
      if (s.kind === 'call') this.#call(s, p);
      else if (s.kind === 'fork') this.#fork(s, p);
      else if (s.kind === 'fault') this.#fault(s, p);
      else if (s.kind === 'exec') this.#exec(s.actor, s.opener, s.events);
      else this.#exit(s, p);
    }
  }

  /** Compares what was made with what the segment recorded. */
  #compare(s: Segment, op: string, args: Readonly<Record<string, unknown>>, isUnordered = false): void {
    const call = { i: s.opener.i, t: 'call', p: s.actor, op, args };
    const step: Step = { call, ret: s.closer, events: s.events, states: [] };
    this.#comparison.events(step, this.#world.capture.take(), isUnordered);
  }

  #call(s: Segment, p: Process): void {
    const name = String(s.opener['name']);
    const words = s.opener['args'] as readonly string[];
    const isMapping = name === 'mmap' && (address(words[3]) & 0x20) === 0;
    if (isMapping) {
      const file = p.task.files.open.get(address(words[4]) | 0);
      if (file !== undefined) this.#files.noteMapping(file.inode, address(words[5]) + address(words[1]));
    }
    const result = this.#world.run(this.#world.syscall(p, NR_OF[name]!, ...words));
    const args = Object.fromEntries(words.map((w, i) => [String(i), w]));
    const call = { i: s.opener.i, t: 'call', p: s.actor, op: name, args };
    const step: Step = { call, ret: s.closer, events: s.events, states: [] };
    this.#comparison.ret(step, { ret: result < 0 ? result : hex(result) });
    this.#compare(s, name, args);
  }

  #fork(s: Segment, p: Process): void {
    const world = this.#world;
    if (s.closer === null || s.closer.t !== 'task') return;
    const child = String(s.closer['child']);
    const isSame = s.closer['same_mm'] === true;
    this.#forked.set(s.actor, child);
    const pid = world.run(doClone(world.kernel, p.task, isSame ? CLONE_VM | CLONE_FILES : 0));
    if (pid > 0) world.addProcess(child, world.kernel.tasks.get(pid)!, false);
    this.#compare(s, String(s.opener['name']), { child });
  }

  /** A fork by a process that nobody watches: only the new task is recorded. */
  #forkUnwatched(r: TraceRecord): void {
    const world = this.#world;
    const p = world.processes.get(String(r['p']));
    if (p === undefined || p.task.mm === null) return;
    const flags = r['same_mm'] === true ? CLONE_VM | CLONE_FILES : 0;
    this.#quietly(() => {
      const pid = world.run(doClone(world.kernel, p.task, flags));
      if (pid > 0) world.addProcess(String(r['child']), world.kernel.tasks.get(pid)!, false);
    });
  }

  #fault(s: Segment, p: Process): void {
    const world = this.#world;
    const { mm } = p.task;
    if (mm === null) return;
    const va = address(s.opener['addr']);
    const names = s.opener['flags'] as readonly string[];
    let flags = 0;
    for (const name of names) flags |= 1 << FAULT_FLAG_NAMES.indexOf(name);
    this.#learnPages(s, mm, va);
    if (names.includes('WRITE')) this.#learnUnwatched(s, mm, va);
    world.run(world.kernel.fn.doUserAddrFault(world.kernel, mm, va, flags & ~FAULT_FLAG_TRIED));
    const vma = mm.vmas.find(va);
    const area = vma === null ? '(none)' : `${hex(vma.start)}-${hex(vma.end)}`;
    const [start, end] = s.opener['vma'] as readonly string[];
    const args = { addr: hex(va), flags: names.join('|') };
    this.#comparison.area(s.opener, `${s.actor} fault ${hex(va)}`, `${start}-${end}`, area);
    this.#compare(s, 'fault', args);
  }

  /** Pages of files that the fault maps, or that it found in the page cache. */
  #learnPages(s: Segment, mm: MmStruct, va: number): void {
    const results = s.events.filter((r) => r.t === 'faultret').map((r) => r['ret'] as readonly string[]);
    const isMajor = results.some((r) => r.includes('MAJOR'));
    const isRetried = results.some((r) => r.includes('RETRY'));
    const isMarked = isRetried && !isMajor;
    if (!isMajor) this.#files.learn(mm, va, isMarked);
    for (const r of s.events) {
      // What it maps at its second try, its own read has brought.
      if (r.t === 'faultret' && isRetried) return;
      if (r.t === 'map' && r['kind'] === 'file') this.#files.learn(mm, address(r['addr']));
    }
  }

  /** A fault is about to be tried again. What it maps then was read meanwhile; what else our read-ahead brought goes again. */
  #beforeRetry(): void {
    const s = this.#current;
    const mm = s === null ? null : (this.#world.processes.get(s.actor)?.task.mm ?? null);
    if (s === null || s.kind !== 'fault' || mm === null) return;
    const first = s.events.findIndex((r) => r.t === 'faultret');
    this.#quietly(() => {
      this.#files.forgetReadAhead(mm, address(s.opener['addr']));
      for (const r of s.events.slice(first + 1)) {
        if (r.t === 'map' && r['kind'] === 'file') this.#files.learn(mm, address(r['addr']));
      }
    });
  }

  /** The fault found a page of its own where here a process that nobody watches still has it too. */
  #learnUnwatched(s: Segment, mm: MmStruct, va: number): void {
    const isCopied = s.events.some((r) => r.t === 'map' || r.t === 'cb');
    if (isCopied) return;
    const world = this.#world;
    for (const p of world.processes.values()) {
      const other = p.task.mm;
      if (other === null || other === mm || world.capture.mmNames.has(other.id)) continue;
      const vma = other.vmas.findExact(va);
      if (vma === null || (vma.flags & VM_WRITE) === 0) continue;
      this.#learned.unseenWrites++;
      this.#quietly(() => world.run(touchPage(world.kernel, other, p.task.cpu, va, true)));
    }
    world.switchTo(world.process(s.actor));
  }

  /** The end of an address space that nobody watches freed these pages: whoever else nobody watches had written there by then. */
  #learnFreed(events: readonly TraceRecord[], p: Process): void {
    const world = this.#world;
    const frames = new Set<string>();
    for (const r of events) if (r.t === 'free') frames.add(this.#comparison.frameOf(String(r['page'])) ?? '');
    for (const other of world.processes.values()) {
      const { mm } = other.task;
      if (mm === null || mm === p.task.mm || world.capture.mmNames.has(mm.id)) continue;
      for (const [va, { page }] of residencyOf(world.kernel, mm)) {
        if (!frames.has(page) || ((mm.vmas.find(va)?.flags ?? 0) & VM_WRITE) === 0) continue;
        this.#learned.unseenWrites++;
        this.#quietly(() => world.run(touchPage(world.kernel, mm, other.task.cpu, va, true)));
      }
    }
  }

  /** The last user of an address space ends it, and with it every thread that is left. */
  #exit(s: Segment, p: Process): void {
    const world = this.#world;
    const { mm } = p.task;
    for (const other of [...world.processes.values()]) {
      if (other !== p && other.task.mm === mm) this.#end(other);
    }
    this.#end(p);
    this.#compare(s, 'exit', {});
  }

  /** Frees outside of calls: by a process that nobody watches, which is exec (its task record follows) or exit. */
  #loose(s: Segment, p: Process | undefined): void {
    const isWatched = p === undefined || p.task.mm === null || this.#world.capture.mmNames.has(p.task.mm.id);
    if (!isWatched) {
      this.#learnFreed(s.events, p!);
      const next = this.#records.find((r) => r.i > s.opener.i && r.t === 'task' && r['p'] === s.actor);
      if (next?.['op'] === 'exec') {
        this.#exec(s.actor, next, s.events);
        return;
      }
      this.#end(p!);
    }
    this.#compare(s, 'frees', {}, !isWatched);
  }

  /** The layout that the start record after `from` shows for the process. */
  #layoutAfter(from: TraceRecord, actor: string): ProgramLayout | null {
    const attached = this.#records.findIndex((r) => r.i >= from.i && r.t === 'attached' && r['p'] === actor);
    const start = this.#records.slice(attached + 1).find((r) => r.t === 'start');
    return attached < 0 || start === undefined ? null : this.#layoutOf(start);
  }

  #layoutOf(start: TraceRecord): ProgramLayout {
    const vmas = start['vmas'] as readonly (readonly string[])[];
    const areas = vmas.map((v, i): AreaLayout => {
      const [from, to] = [address(v[0]), address(v[1])];
      const area = { start: from, end: to, perms: v[2]!, offset: address(v[3]), path: v[4]! };
      const next = vmas[i + 1];
      const previous = vmas[i - 1];
      if (v[4] !== '') {
        if (!v[4]!.startsWith('[')) this.#files.noteMapping(this.#files.inode(v[4]!), area.offset + to - from);
        return v[4] === '[heap]' ? { ...area, path: '' } : area;
      }
      if (v[2] === 'r--p' && to - from === VVAR_BYTES && next?.[2] === 'r-xp' && next[4] === '')
        return { ...area, path: '[vvar]' };
      if (v[2] === 'r-xp' && to - from === VDSO_BYTES && previous?.[2] === 'r--p') return { ...area, path: '[vdso]' };
      return area;
    });
    const brk = address(start['brk']);
    return { areas, startBrk: brk, brk, inodeOf: (path) => this.#files.inode(path) };
  }

  /** exec: `events` are the records of the old address space's end. */
  #exec(actor: string, from: TraceRecord, events: readonly TraceRecord[]): void {
    const world = this.#world;
    const known = world.processes.get(actor);
    const layout = this.#layoutAfter(from, actor);
    if (layout === null) return;
    if (known === undefined) world.addProcess(actor, world.run(createProcess(world.kernel, layout)), false);
    else if (!known.isExecDone) {
      const old = known.task.mm;
      if (old !== null && old.users === 1) old.cpuMask &= ~(1 << known.task.cpu);
      world.run(doExec(world.kernel, known.task, layout));
      known.isExecDone = events.length > 0;
      const call = { i: from.i, t: 'call', p: actor, op: 'execve', args: {} };
      const isUnwatched = old !== null && !world.capture.mmNames.has(old.id);
      const made = world.capture.take();
      this.#comparison.events({ call, ret: null, events: [...events], states: [] }, made, isUnwatched);
    } else known.isExecDone = false;
    this.#touchStart(world.process(actor), layout, from);
  }

  /** What exec itself writes: the arguments on the stack, and the end of the page in which .bss begins. */
  #touchStart(p: Process, layout: ProgramLayout, from: TraceRecord): void {
    const world = this.#world;
    const mm = this.#records.find((r) => r.i >= from.i && r.t === 'attached' && r['p'] === p.name)?.['mm'];
    world.switchTo(p);
    this.#quietly(() => {
      for (const a of layout.areas) {
        const isData = a.perms === 'rw-p' && a.path !== '' && !a.path.startsWith('[');
        if (!isData && a.path !== '[stack]') continue;
        if (isData && this.#isMappedLater(from, String(mm), a.end - 4096)) continue;
        if (isData) this.#files.learn(p.task.mm!, a.end - 4096);
        this.#learned.execPages++;
        world.run(touchPage(world.kernel, p.task.mm!, p.task.cpu, a.end - 4096, true));
      }
    });
  }

  /** Is a page of the file, or a first copy of it, mapped at `va` later on? Then exec left it alone. */
  #isMappedLater(from: TraceRecord, mm: string, va: number): boolean {
    const at = hex(va);
    let isCleared = false;
    for (const r of this.#records) {
      if (r.i < from.i || r['mm'] !== mm || r['addr'] !== at) continue;
      if (r.t === 'pte_clear_flush') isCleared = true;
      if (r.t === 'map') return !isCleared;
    }
    return false;
  }

  /** The recorder begins to watch the process's address space. */
  #attach(r: TraceRecord): void {
    const world = this.#world;
    const p = world.processes.get(String(r['p']));
    if (p === undefined || p.task.mm === null) return;
    world.capture.mmNames.set(p.task.mm.id, String(r['mm']));
    const n = world.newNotifier(Number(r['id']), { omit: [], young: 0, eagain: 0 });
    world.run(world.design.list.register(n.mn, p.task.mm));
  }
}
