// The law that exploration rests on: two adjacent steps of different threads whose footprints share no object that either writes can
// change places. Random runs of programs, reclaim and a device are recorded step by step; each such pair is then run in both orders
// from equal states (built by replaying the same choices) and the whole machine is compared. A counterexample is a footprint
// that lacks an object. Beside it: a step that changed the machine touched something. Once for a walker with the kernel's own driver, and
// once for a mirror with a driver of this file that keeps a running sum of the order in which its code ran.
//
// PAIRS is the number of pairs tried; a failure names SEED, run and step.
import { expect, it } from 'vitest';
import {
  MADV_COLD,
  MADV_DONTNEED,
  MADV_FREE,
  MADV_PAGEOUT,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  MAP_SHARED,
  MREMAP_FIXED,
  MREMAP_MAYMOVE,
  MS_SYNC,
  PROT_READ,
  PROT_WRITE,
} from '../src/abi/mman.ts';
import {
  NR_fsync,
  NR_ftruncate,
  NR_madvise,
  NR_mmap,
  NR_mprotect,
  NR_mremap,
  NR_msync,
  NR_munmap,
} from '../src/abi/syscalls.ts';
import { Footprint } from '../src/base/footprint.ts';
import { Rng } from '../src/base/rng.ts';
import type { Accessor } from '../src/device/accessor.ts';
import type { AtsDevice } from '../src/device/ats-pri.ts';
import { type Driver, defineDriver } from '../src/device/define-driver.ts';
import { createDevice, createDriverDevice, type Device, SMALL_DEVICE } from '../src/device/device.ts';
import type { GpuSvmDevice } from '../src/device/gpu-svm/gpu-svm.ts';
import type { Gru } from '../src/device/gru/gru.ts';
import type { Iommu } from '../src/device/iommu.ts';
import type { PageRequestHandler } from '../src/device/iopf.ts';
import type { KvmDevice } from '../src/device/kvm/device.ts';
import type { Kvm } from '../src/device/kvm/kvm.ts';
import type { MirrorDevice } from '../src/device/mirror.ts';
import type { RdmaDevice } from '../src/device/rdma/rdma.ts';
import type { Xpmem } from '../src/device/xpmem/xpmem.ts';
import type { Tlb, WalkCache } from '../src/hw/tlb.ts';
import { userLoad, userStore } from '../src/mm/cpu-access.ts';
import type { Kernel } from '../src/mm/kernel.ts';
import { installFile } from '../src/mm/process/files.ts';
import { CLONE_VM, createProcess, doClone, doExit } from '../src/mm/process/task.ts';
import { SyscallArgs } from '../src/mm/syscalls/args.ts';
import { syscall } from '../src/mm/syscalls/table.ts';
import { OpenFile, type Task } from '../src/mm/types.ts';
import type { IntervalTree } from '../src/notifier/interval.ts';
import type { KernelPath } from '../src/sched/path.ts';
import { P_SYSCALL, pointInfo } from '../src/sched/points.ts';
import { firstChooser, RUNNABLE, SLEEPING, type Thread } from '../src/sched/scheduler.ts';
import { createMachine } from '../src/system/machine.ts';

const seed = Number(process.env['SEED'] ?? 1);
const pairsWanted = Number(process.env['PAIRS'] ?? 600);
const STEPS = 350;
/** Where a thread stands, and what it may change as long as it holds a lock that it noted when it took it. */
const GUARDED = ['threads', 'address spaces'];
const PAGE = 4096;
const BASE = 0x10000000 + 0x200000 - 4 * PAGE;
const WINDOW = 8;
const RW = PROT_READ | PROT_WRITE;

type Parts = [string, ArrayLike<number>][];
type Kind =
  | 'walker'
  | 'intel-svm'
  | 'arm-smmu-sva'
  | 'mirror'
  | 'gru'
  | 'xpmem'
  | 'kvm'
  | 'rdma'
  | 'gpu-svm'
  | 'amdkfd-svm';

/** What a machine with a walker has beside its kernel. */
interface Hardware {
  readonly iommu: Iommu;
  readonly ats: AtsDevice;
  readonly faults: PageRequestHandler;
}

/** Parts of the device and of its driver. */
const devicePartsOf = new WeakMap<Kernel, () => Parts>();

/** A mirror with both kinds of subscriber. `ran` hears when the driver's code runs, and where. */
function tracingMirror(ran: (place: number) => void): Driver {
  return defineDriver({
    name: 'tracing-mirror',
    design: 'linux-6.1',
    device: 'mirror',
    create(hw) {
      let count = 0;
      return {
        *invalidateRangeStart(range) {
          ran(1);
          yield* hw.lock();
          ran(2);
          count++;
          yield* hw.unmap(range.start, range.end);
          ran(3);
          hw.unlock();
        },
        *invalidateRangeEnd() {
          ran(4);
          yield* hw.lock();
          ran(5);
          count--;
          hw.unlock();
          hw.wake();
        },
        *invalidate(range, seq) {
          ran(6);
          if (range.blockable) yield* hw.mutexLock();
          ran(7);
          hw.setSeq(seq);
          if (range.blockable) hw.mutexUnlock();
        },
        *clearFlushYoung(start, end) {
          ran(8);
          yield* hw.step();
          ran(9);
          return hw.clearYoung(start, end);
        },
        *release() {
          ran(10);
          yield* hw.unmapAll();
        },
        *fault({ va, isWrite }) {
          ran(11);
          const seq = yield* hw.readBegin();
          ran(12);
          const page = yield* hw.getUserPage(va, isWrite);
          ran(13);
          if (page < 0) return page;
          yield* hw.mutexLock();
          ran(14);
          yield* hw.lock();
          ran(15);
          if (!hw.readRetry(seq) && count === 0) yield* hw.map(va, page, { writable: isWrite });
          ran(16);
          hw.unlock();
          hw.mutexUnlock();
          hw.putPage(page);
          yield* hw.waitUntil(() => count === 0);
          ran(17);
          return 0;
        },
      };
    },
  });
}

/** A device of that kind for the kernel; its parts are found in devicePartsOf. */
function createHardware(k: Kernel, kind: Kind, runSeed: number): Device {
  const ats = { ...SMALL_DEVICE.ats, engines: 2 };
  // The smallest hardware in every other run; else two of each, which take each other's work.
  const iommu = runSeed % 2 === 0 ? SMALL_DEVICE.iommu! : { ...SMALL_DEVICE.iommu!, walkers: 2, executors: 2 };
  const config = { ...SMALL_DEVICE, ats, iommu, mirror: { engines: 2, refaultBudget: 1000 } };
  if (kind === 'walker' || kind === 'intel-svm' || kind === 'arm-smmu-sva') {
    // A request queue so short that it overflows in every third run.
    const short = kind === 'walker' || runSeed % 3 !== 0 ? {} : { pprLogEntries: 1 };
    const made = { ...config, iommu: { ...iommu, ...short }, ats: { ...ats, groupPagesMax: 1 + (runSeed % 2) } };
    const device = createDevice(k, { ...made, faultWorkers: 1 + (runSeed % 2), device: kind === 'walker' ? '' : kind });
    devicePartsOf.set(k, () => hardwareParts(device as unknown as Hardware));
    return device;
  }
  if (kind === 'gru') {
    // One context for two threads in every other run.
    const contextsPerChiplet = 1 + (runSeed % 2);
    const gru = {
      ...SMALL_DEVICE.gru,
      engines: 2,
      chiplets: 1 + (runSeed % 3),
      contextsPerChiplet,
      refaultBudget: 1000,
    };
    const device = createDevice(k, { ...config, device: 'gru', gru });
    devicePartsOf.set(k, () => [['GRU', (device.accessor as Gru).stateWords()]]);
    return device;
  }
  if (kind === 'xpmem') {
    const xpmem = {
      importers: 1 + (runSeed % 2),
      engines: 2,
      workers: 1 + (runSeed % 3),
      isRefusing: runSeed % 5 === 0,
    };
    const sizes = { ...SMALL_DEVICE.xpmem, ...xpmem, refaultBudget: 1000 };
    const device = createDevice(k, { ...config, device: 'xpmem', xpmem: sizes });
    devicePartsOf.set(k, () => [['XPMEM', (device.accessor as Xpmem).stateWords()]]);
    return device;
  }
  if (kind === 'kvm') {
    // Accesses tracked without A bits in every other run; the kernel has a page of its own in the guest.
    const kvm = { vcpus: 2, hasAdBits: runSeed % 2 === 0, pfnCaches: [BASE], zapBatch: 1 };
    const device = createDevice(k, { ...config, device: 'kvm', kvm }) as KvmDevice;
    devicePartsOf.set(k, () => [['KVM', device.stateWords()]]);
    return device;
  }
  if (kind === 'gpu-svm' || kind === 'amdkfd-svm') {
    // The minimal driver: memory of its own, pages for itself, both, neither. AMD's: memory or not, with retry faults or not.
    const isMinimal = kind === 'gpu-svm';
    const hasMemory = isMinimal ? runSeed % 2 === 0 : runSeed % 4 < 2;
    const memory = { hasMemory, memoryPages: 4, storesAreAtomic: isMinimal && runSeed % 4 < 2 };
    const gpuSvm = { ...SMALL_DEVICE.gpuSvm, granularityPages: 4, refaultBudget: 1000, ...memory };
    const name = !isMinimal && runSeed % 2 === 0 ? 'amdkfd-svm-no-retry' : kind;
    const device = createDevice(k, { ...config, device: name, gpuSvm }) as GpuSvmDevice;
    devicePartsOf.set(k, () => [['GPU', device.stateWords()], intervalsPart(k)]);
    return device;
  }
  if (kind === 'rdma') {
    // Spans of four pages; in every other run one that is empty is freed.
    const rdma = { ...SMALL_DEVICE.rdma, childPages: 4, freesChildren: runSeed % 2 === 0, rnrRetries: 1000 };
    const device = createDevice(k, { ...config, device: 'rdma-odp', rdma }) as RdmaDevice;
    devicePartsOf.set(k, () => [
      ['adapter', device.nic.stateWords()],
      ['regions', device.driver.stateWords()],
    ]);
    return device;
  }
  let order = 0;
  const driver = tracingMirror((place) => {
    order = (Math.imul(order, 31) + place) | 0;
  });
  const device = createDriverDevice(k, driver, config);
  const mirror = device.accessor as MirrorDevice;
  devicePartsOf.set(k, () => [['mirror', mirror.stateWords()], ['order of the driver', [order]], intervalsPart(k)]);
  return device;
}

function intervalsPart(k: Kernel): Parts[number] {
  const list = [...k.mms.values()].map((mm) => (mm.notifiers as { intervals?: IntervalTree } | null)?.intervals);
  const words = list.flatMap((t) => (t == null ? [] : [t.seq, t.active, ...t.index.toArray().map((sub) => sub.seq)]));
  return ['intervals', words];
}

/** A kernel with threads that stand at their first point, and the recorder on. The same seed gives the same machine. */
function build(kind: Kind, runSeed: number): Kernel {
  const devicePrivatePages = kind === 'gpu-svm' || kind === 'amdkfd-svm' ? 4 : 0;
  const sizes = { frames: 72, swapPages: 64, devicePrivatePages, cpus: 2, strideOn: 2 };
  const kernel = { ...sizes, gatherBundle: 2, tlbSets: 4, tlbWays: 2 };
  const m = createMachine({ kernel, design: 'linux-6.1', chooser: firstChooser });
  const k = m.kernel;
  const device = createHardware(k, kind, runSeed);
  const task = m.run(createProcess(k, { areas: [], startBrk: 0x600000 }));
  const inode = k.newInode('regular', '/f', WINDOW * PAGE);
  inode.users++;
  const fd = installFile(k, task, new OpenFile(inode, true, true));
  expect(m.run(device.bind(task.mm!))).toBe(0);
  const child = k.tasks.get(m.run(doClone(k, task, 0)))!;
  const sibling = k.tasks.get(m.run(doClone(k, task, CLONE_VM)))!;
  child.cpu = 1;
  k.sched.points = true;
  [task, child, sibling].forEach((t, i) => {
    k.sched.spawn(`program ${i}`, 'cpu', program(k, t, fd, new Rng(runSeed * 10 + i)));
  });
  k.sched.spawn('kswapd', 'kernel', k.fn.kswapd(k), true);
  for (const e of [0, 1])
    k.sched.spawn(`engine ${e}`, 'device', engine(device.accessor, e, new Rng(runSeed * 10 + 8 + e)), true);
  const { kvm } = device as Partial<KvmDevice>;
  if (kvm) k.sched.spawn('pfn cache', 'kernel', kernelUser(kvm), true);
  k.record(new Footprint());
  return k;
}

/** Chance is each program's own: what a thread does depends on what it reads alone. */
function* program(k: Kernel, task: Task, fd: number, rng: Rng): KernelPath<void> {
  const call = (nr: number, ...a: number[]): KernelPath<number> =>
    syscall(k, task, nr, new SyscallArgs().of(a[0], a[1], a[2], a[3], a[4], a[5]));
  for (;;) {
    const from = rng.below(WINDOW);
    const va = BASE + from * PAGE;
    const length = Math.min(WINDOW - from, 1 + rng.below(3)) * PAGE;
    const roll = rng.below(20);
    if (roll < 3) yield* call(NR_mmap, va, length, RW, MAP_FIXED | MAP_ANONYMOUS | MAP_PRIVATE, -1, 0);
    else if (roll < 5)
      yield* call(NR_mmap, va, length, RW, MAP_FIXED | (rng.chance(1, 2) ? MAP_SHARED : MAP_PRIVATE), fd, 0);
    else if (roll < 6) yield* call(NR_munmap, va, length);
    else if (roll < 7) yield* call(NR_mprotect, va, length, rng.chance(1, 2) ? PROT_READ : RW);
    else if (roll < 8) {
      const to = BASE + (WINDOW + rng.below(2)) * PAGE;
      yield* call(NR_mremap, va, PAGE, PAGE, MREMAP_MAYMOVE | MREMAP_FIXED, to);
    } else if (roll < 10) yield* call(NR_madvise, va, length, rng.chance(1, 2) ? MADV_DONTNEED : MADV_PAGEOUT);
    else if (roll < 11) {
      const pid = yield* doClone(k, task, 0);
      if (pid > 0) yield* doExit(k, k.tasks.get(pid)!);
    } else if (roll < 12) yield* call(NR_madvise, va, length, rng.chance(1, 2) ? MADV_FREE : MADV_COLD);
    else if (roll < 13) yield* call(NR_ftruncate, fd, rng.below(WINDOW + 1) * PAGE);
    else if (roll < 14) yield* rng.chance(1, 2) ? call(NR_fsync, fd) : call(NR_msync, va, length, MS_SYNC);
    else if (rng.chance(1, 2)) yield* userStore(k, task, va + rng.below(PAGE / 4) * 4, rng.below(1000), 4);
    else yield* userLoad(k, task, va + rng.below(PAGE / 4) * 4, 4);
  }
}

/** The kernel's own stores to a page of the guest. */
function* kernelUser(kvm: Kvm): KernelPath<void> {
  for (;;) {
    yield P_SYSCALL;
    yield* kvm.pfnCaches[0]!.store();
  }
}

function* engine(accessor: Accessor, e: number, rng: Rng): KernelPath<void> {
  for (;;) {
    const va = BASE + rng.below(WINDOW) * PAGE;
    yield* accessor.access(e, va, rng.chance(1, 2), va + PAGE);
  }
}

/** Of a thread that waits for what it alone can undo, an explorer sees whether it is enabled, not whether it was woken. */
function stateOf(k: Kernel, t: Thread): number {
  return t.until === null ? t.state : k.sched.isEnabled(t) ? RUNNABLE : SLEEPING;
}

function enabled(k: Kernel): Thread[] {
  return k.sched.threads.filter((t) => k.sched.isEnabled(t));
}

/** Frames of a list in their order, and 0. */
function list(next: Int32Array, head: number): number[] {
  const out: number[] = [];
  for (let pfn = head; pfn !== 0; pfn = next[pfn]!) out.push(pfn);
  return [...out, 0];
}

/** Parts of the machine, each as numbers; threads stand where they stand. */
function parts(k: Kernel): Parts {
  const { pages, reclaim, swap } = k;
  const slots = Array.from({ length: swap.pages + 1 }, (_, s) => swap.users(s) * 4096 + swap.cached(s));
  const mmList = [...k.mms.values()];
  const mms = mmList.flatMap((mm) => [...mm.rss, mm.tablePages, mm.totalVm, mm.vmas.count, mm.users]);
  return [
    ['memory', k.memory.words],
    ['generation', k.memory.generation],
    ['refcount', pages.refcount],
    ['mapcount', pages.mapcount],
    ['flags', pages.flags],
    ['index', pages.index],
    ['private', pages.private],
    ['purpose', pages.purpose],
    ['LRU lists', Array.from(reclaim.root.head, (head) => list(pages.next, head)).flat()],
    ['free blocks', k.buddy.heads],
    ['free frames', k.buddy.freeFrames()],
    ['swap map', slots],
    ['pending gathers', mmList.map((mm) => mm.tlbFlushPending)],
    ['address spaces', mms],
    ['CPU TLBs', k.cpus.flatMap((c) => [...c.tlb.entries, ...c.walkCache.tagHi, ...c.walkCache.table])],
    ...devicePartsOf.get(k)!(),
    ['threads', k.sched.threads.flatMap((t) => [stateOf(k, t), t.point, t.atomicDepth])],
  ];
}

function hardwareParts({ iommu, ats, faults }: Hardware): Parts {
  const tlb = (t: Tlb): number[] => [...t.entries, t.count, t.largeCount];
  const cache = (c: WalkCache): number[] => [...c.tagHi, ...c.tagLo, ...c.table, ...c.gen, ...c.rights, c.count];
  return [
    ['IOMMU TLB', tlb(iommu.tlb)],
    ['IOMMU walk cache', cache(iommu.walkCache)],
    ['ATC', tlb(ats.atc)],
    ['IOMMU', iommu.state()],
    ['device', ats.stateWords()],
    ['page-request handler', faults.state()],
  ];
}

function hash(data: ArrayLike<number>): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < data.length; i++) h = Math.imul(h ^ data[i]!, 0x01000193) + i;
  return h;
}

function digest(k: Kernel): Map<string, number> {
  return new Map(parts(k).map(([name, data]) => [name, hash(data)]));
}

/** Names of the parts that differ. */
function difference(a: Map<string, number>, b: Map<string, number>): string[] {
  return [...a.keys()].filter((name) => a.get(name) !== b.get(name));
}

interface Step {
  readonly thread: number;
  readonly point: number;
  /** Threads that could have run instead. */
  readonly runnable: readonly number[];
  /** Object -> is it written? */
  readonly touched: ReadonlyMap<number, boolean>;
}

function stepOf(k: Kernel, t: Thread): Step {
  const f = k.memory.footprint!;
  f.clear();
  const runnable = enabled(k).map((e) => e.id);
  const { point } = t;
  k.sched.stepEnabled(t);
  const touched = new Map<number, boolean>();
  for (let i = 0; i < f.length; i++) touched.set(f.object(i), touched.get(f.object(i)) === true || f.isWrite(i));
  return { thread: t.id, point, runnable, touched };
}

/** What the step touched, for a message: kind:identity, + where it wrote. */
function objects(s: Step): string {
  const name = (o: number): string => `${Math.floor(o / 2 ** 32)}:${(o % 2 ** 32).toString(16)}`;
  return [...s.touched].map(([o, written]) => name(o) + (written ? '+' : '')).join(' ');
}

function isDisjoint(a: Step, b: Step): boolean {
  for (const [object, written] of a.touched) {
    const other = b.touched.get(object);
    if (other !== undefined && (written || other)) return false;
  }
  return true;
}

/** The machine after the steps of these threads; null when one of them could not run. */
function replay(kind: Kind, runSeed: number, threads: readonly number[]): Kernel | null {
  const k = build(kind, runSeed);
  for (const id of threads) {
    const t = k.sched.threads[id]!;
    if (!k.sched.isEnabled(t)) return null;
    k.memory.footprint!.clear();
    k.sched.stepEnabled(t);
  }
  return k;
}

function record(kind: Kind, runSeed: number): { readonly steps: Step[]; readonly silent: string[] } {
  const k = build(kind, runSeed);
  const rng = new Rng(runSeed);
  const steps: Step[] = [];
  const silent: string[] = [];
  let before = digest(k);
  for (let able = enabled(k); steps.length < STEPS && able.length > 0; able = enabled(k)) {
    const t = able[rng.below(able.length)]!;
    const step = stepOf(k, t);
    steps.push(step);
    const after = digest(k);
    const changed = difference(before, after).filter((name) => !GUARDED.includes(name));
    if (changed.length > 0 && step.touched.size === 0)
      silent.push(`${t.name} from ${pointInfo(step.point).name}: ${changed}`);
    before = after;
  }
  return { steps, silent };
}

it.each<Kind>([
  'walker',
  'intel-svm',
  'arm-smmu-sva',
  'mirror',
  'gru',
  'xpmem',
  'kvm',
  'rdma',
  'gpu-svm',
  'amdkfd-svm',
])(`%s: disjoint neighbours commute (SEED=${seed}, PAIRS=${pairsWanted})`, (kind) => {
  const wrong = new Map<string, number>();
  const silent = new Set<string>();
  let pairs = 0;
  for (let run = 0; pairs < pairsWanted; run++) {
    const runSeed = seed * 1000 + run;
    const recorded = record(kind, runSeed);
    for (const s of recorded.silent) silent.add(s);
    const rng = new Rng(runSeed);
    for (let i = 0; i + 1 < recorded.steps.length && pairs < pairsWanted; i++) {
      const [a, b] = [recorded.steps[i]!, recorded.steps[i + 1]!];
      if (a.thread === b.thread || !a.runnable.includes(b.thread) || !isDisjoint(a, b) || !rng.chance(1, 2)) continue;
      pairs++;
      const prefix = recorded.steps.slice(0, i).map((s) => s.thread);
      const one = replay(kind, runSeed, [...prefix, a.thread, b.thread])!;
      const two = replay(kind, runSeed, [...prefix, b.thread, a.thread]);
      const differs = two === null ? ['one could not run'] : difference(digest(one), digest(two));
      if (differs.length === 0) continue;
      const name = (s: Step): string =>
        `${one.sched.threads[s.thread]!.name} from ${pointInfo(s.point).name} (${objects(s)})`;
      const text = `${name(a)} | ${name(b)}: ${differs}`;
      wrong.set(text, (wrong.get(text) ?? 0) + 1);
    }
  }
  expect([...silent], 'steps without a footprint that changed the machine').toEqual([]);
  expect([...wrong].sort((x, y) => y[1] - x[1]).map(([text, n]) => `${n}x ${text}`)).toEqual([]);
});
