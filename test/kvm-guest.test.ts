// A guest that runs while its host is short of memory: swap, migration, compaction, KSM, huge pages, fork and a balloon work on guest
// memory below it. Each vCPU knows what every word must be, and so does a live migration, which copies what the dirty log names. Not a
// byte may be lost. OPERATIONS (of all vCPUs, all worlds) and SEED from the environment.
import { describe, expect, test } from 'vitest';
import {
  MADV_COLD,
  MADV_COLLAPSE,
  MADV_DONTNEED,
  MADV_HUGEPAGE,
  MADV_MERGEABLE,
  MADV_PAGEOUT,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_PRIVATE,
  PROT_READ,
  PROT_WRITE,
} from '../src/abi/mman.ts';
import { NR_madvise, NR_mmap } from '../src/abi/syscalls.ts';
import { Rng } from '../src/base/rng.ts';
import { Judge } from '../src/check/judge.ts';
import type { KvmConfig } from '../src/device/kvm/config.ts';
import type { KvmDevice } from '../src/device/kvm/device.ts';
import { GuestProgram, SHARED_FRAMES, wordOffset } from '../src/device/kvm/guest-program.ts';
import { clearDirtyLog, getDirtyLog, setMemoryRegion } from '../src/device/kvm/slots.ts';
import { checkWorld } from '../src/mm/check-world.ts';
import { userLoad, userStore } from '../src/mm/cpu-access.ts';
import { ksmRun } from '../src/mm/ksm/scan.ts';
import { compactMemory } from '../src/mm/migrate/compaction.ts';
import { doPagesMove } from '../src/mm/migrate/move-pages.ts';
import { createProcess, doClone, doExit } from '../src/mm/process/task.ts';
import type { Task } from '../src/mm/types.ts';
import type { KernelPath } from '../src/sched/path.ts';
import { P_SYSCALL } from '../src/sched/points.ts';
import { WaitQueue } from '../src/sched/scheduler.ts';
import { createMachine, type Machine } from '../src/system/machine.ts';

const seed = Number(process.env['SEED'] ?? 1);
const operations = Number(process.env['OPERATIONS'] ?? 6400);
const PAGE = 4096;
const HVA = 0x40000000;
/** Guest memory: two huge pages. */
const FRAMES = 1024;
const VCPUS = 2;
const RW = PROT_READ | PROT_WRITE;

interface Options {
  readonly design: string;
  readonly kvm?: Partial<KvmConfig>;
  readonly isJudged?: boolean;
  /** Guest memory in huge pages of the host, as far as there are any. */
  readonly hasHugePages?: boolean;
}

class World {
  readonly m: Machine;
  readonly rng: Rng;
  readonly task: Task;
  readonly device: KvmDevice;
  readonly guests: GuestProgram[] = [];
  readonly judge: Judge | null;
  #running = VCPUS;
  readonly #ended = new WaitQueue();
  /** The copy that a live migration makes: word of a frame -> value. */
  readonly copy = new Map<number, number>();
  rounds = 0;

  constructor(worldSeed: number, o: Options) {
    this.rng = new Rng(worldSeed);
    const slots = [{ baseGfn: 0, pages: FRAMES, hva: HVA, logsDirty: false }];
    const pfnCaches = [HVA + PAGE];
    this.m = createMachine({
      // About half of guest memory fits.
      kernel: { frames: 1536, swapPages: 4096, numaNodes: 2, thpEnabled: 'madvise', gatherBundle: 4 },
      design: o.design,
      device: { device: 'kvm', hasWorkload: false, kvm: { vcpus: VCPUS, slots, pfnCaches, ...o.kvm } },
      seed: worldSeed,
    });
    const k = this.m.kernel;
    this.judge = o.isJudged === true ? new Judge() : null;
    this.judge?.attach(k.memory.log);
    this.task = this.m.run(createProcess(k, { areas: [], startBrk: 0x600000 }));
    this.#call(NR_mmap, HVA, FRAMES * PAGE, RW, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (o.hasHugePages === true) this.#call(NR_madvise, HVA, FRAMES * PAGE, MADV_HUGEPAGE);
    else this.#call(NR_madvise, HVA, FRAMES * PAGE, MADV_MERGEABLE);
    this.device = this.m.device as unknown as KvmDevice;
    expect(this.m.run(this.m.device!.bind(this.task.mm!))).toBe(0);
    const share = Math.floor((FRAMES - SHARED_FRAMES) / VCPUS);
    for (let engine = 0; engine < VCPUS; engine++) {
      const first = SHARED_FRAMES + engine * share;
      const rng = new Rng(worldSeed * 100 + engine);
      const guest = { device: this.device, engine, rng, frames: FRAMES, first, end: first + share, windowPages: 600 };
      this.guests.push(new GuestProgram({ ...guest, balloon: (gfn) => this.#balloon(gfn) }));
    }
  }

  #call(nr: number, ...words: number[]): void {
    expect(this.m.run(this.m.call(this.task, nr, ...words))).toBeGreaterThanOrEqual(0);
  }

  *#balloon(gfn: number): KernelPath<void> {
    yield* this.m.call(this.task, NR_madvise, HVA + gfn * PAGE, PAGE, MADV_DONTNEED);
  }

  *#vcpu(guest: GuestProgram, count: number): KernelPath<void> {
    yield* guest.boot();
    yield* guest.run(count);
    this.#running--;
    this.#ended.wakeAll(this.m.kernel.sched);
  }

  /** What the host does to guest memory meanwhile. */
  *host(): KernelPath<void> {
    const { rng, m, task } = this;
    const k = m.kernel;
    while (this.#running > 0) {
      this.rounds++;
      const pages = 1 + rng.below(64);
      const start = HVA + rng.below(FRAMES - pages) * PAGE;
      const huge = HVA + rng.below(FRAMES / 512) * 512 * PAGE;
      const roll = rng.below(14);
      if (roll < 3) yield* m.call(task, NR_madvise, start, pages * PAGE, rng.chance(2, 3) ? MADV_PAGEOUT : MADV_COLD);
      else if (roll < 5) yield* k.fn.tryToFreePages(k, pages);
      else if (roll === 5) yield* ksmRun(k, 1);
      else if (roll === 6) yield* compactMemory(k);
      else if (roll === 7) yield* m.call(task, NR_madvise, huge, 512 * PAGE, MADV_COLLAPSE);
      else if (roll < 10) yield* this.#migrate(start, pages);
      else if (roll === 10) yield* this.#fork(start);
      else if (roll === 11) yield* this.#hotplug();
      else if (roll === 12) yield* this.device.kvm!.pfnCaches[0]!.store();
      else yield* this.#hog(pages * 4);
      yield P_SYSCALL;
    }
  }

  *#migrate(start: number, pages: number): KernelPath<void> {
    const addresses = Array.from({ length: pages }, (_, i) => start + i * PAGE);
    const node = this.rng.below(2);
    const nodes = addresses.map(() => node);
    yield* doPagesMove(this.m.kernel, this.task.mm!, addresses, nodes, new Int32Array(pages), true);
  }

  /** A child shares all of it copy-on-write, looks, and goes. */
  *#fork(at: number): KernelPath<void> {
    const k = this.m.kernel;
    const pid = yield* doClone(k, this.task, 0);
    if (pid < 0) return;
    const child = k.tasks.get(pid)!;
    yield* userLoad(k, child, at, 4);
    yield* doExit(k, child);
  }

  /** A second slot shows a part of the same memory elsewhere, for a while. */
  *#hotplug(): KernelPath<void> {
    const { kvm } = this.device;
    const region = { pages: 16, hva: HVA + this.rng.below(32) * PAGE };
    expect(yield* setMemoryRegion(kvm!, 1, { ...region, baseGfn: 0x100000 })).toBe(0);
    yield P_SYSCALL;
    if (this.rng.chance(1, 2)) expect(yield* setMemoryRegion(kvm!, 1, { ...region, baseGfn: 0x200000 })).toBe(0);
    expect(yield* setMemoryRegion(kvm!, 1, null)).toBe(0);
  }

  /** Another use of memory, which takes frames from the guest. */
  *#hog(pages: number): KernelPath<void> {
    const { m, task } = this;
    const at = yield* m.call(task, NR_mmap, 0, pages * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at < 0) return;
    for (let i = 0; i < pages; i++) yield* userStore(m.kernel, task, at + i * PAGE, i, 4);
    yield* m.call(task, NR_madvise, at, pages * PAGE, MADV_DONTNEED);
  }

  /** Live migration: the log goes on, and what it names is copied, until the guests stand still. */
  *migration(): KernelPath<void> {
    const { kvm } = this.device;
    const slot = { baseGfn: 0, pages: FRAMES, hva: HVA };
    for (let round = 0; this.#running > 0; round++) {
      if (round % 8 === 0) {
        yield* setMemoryRegion(kvm!, 0, slot);
        yield* setMemoryRegion(kvm!, 0, { ...slot, logsDirty: true });
        for (let gfn = 0; gfn < FRAMES; gfn++) yield* this.#copyFrame(gfn);
      }
      const log = yield* getDirtyLog(kvm!, 0);
      if (typeof log === 'number') throw new Error(`getDirtyLog answers ${log}`);
      for (const gfn of log) yield* this.#copyFrame(gfn);
      yield P_SYSCALL;
    }
    const last = yield* getDirtyLog(kvm!, 0);
    for (const gfn of last as readonly number[]) yield* this.#copyFrame(gfn);
    expect(yield* clearDirtyLog(kvm!, 0, [])).toBe(0);
  }

  *#copyFrame(gfn: number): KernelPath<void> {
    for (let word = 0; word < 8; word++) {
      const at = gfn * PAGE + wordOffset(word);
      const value = yield* userLoad(this.m.kernel, this.task, HVA + at, 4);
      this.copy.set(at, value);
    }
  }

  play(count: number): void {
    const { sched } = this.m.kernel;
    sched.points = true;
    for (const guest of this.guests) sched.spawn('vCPU', 'device', this.#vcpu(guest, count));
    const host = sched.spawn('host', 'cpu', this.host());
    const migration = sched.spawn('migration', 'cpu', this.migration());
    const kswapd = sched.spawn('kswapd', 'kernel', this.m.kernel.fn.kswapd(this.m.kernel), true);
    // Nobody stands in the middle of something, with a page in hand.
    const isOver = (): boolean =>
      this.#running === 0 && migration.path === null && host.path === null && kswapd.waitingFor !== '';
    const end = sched.runUntil(isOver, 100_000_000);
    const waiting = sched.threads
      .filter((t) => t.waitingFor !== '' && t !== kswapd)
      .map((t) => `${t.name}: ${t.waitingFor}`);
    expect([end, end === 'reached' ? '' : waiting.join(', ')]).toEqual(['reached', '']);
    expect(this.guests.flatMap((g) => g.wrong)).toEqual([]);
    this.checkCopy();
    sched.points = false;
    for (const guest of this.guests) this.m.run(guest.checkAll());
    expect(this.guests.flatMap((g) => g.wrong)).toEqual([]);
  }

  /** The target of the migration has every word, except in frames that the balloon emptied by the host's hand, which no log names. */
  checkCopy(): void {
    const wrong: string[] = [];
    for (const guest of this.guests) {
      for (const [gfn, words] of guest.data)
        words.forEach((value, w) => {
          const copied = this.copy.get(gfn * PAGE + wordOffset(w));
          if (copied !== value && value !== 0) wrong.push(`frame ${gfn} word ${w}: ${copied}, not ${value}`);
        });
    }
    expect(wrong).toEqual([]);
  }

  finish(): void {
    const { m } = this;
    m.kernel.sched.points = false;
    m.run(m.device!.unbind());
    m.run(doExit(m.kernel, this.task));
    // ksmd lets go of the address space when it comes by again.
    m.run(ksmRun(m.kernel, 1));
    checkWorld(m.kernel);
    expect([m.kernel.mms.size, m.kernel.swap.used]).toEqual([0, 0]);
  }
}

const PER_WORLD = 1600;

describe(`a guest under memory pressure (SEED=${seed}, OPERATIONS=${operations})`, () => {
  const kinds: readonly (readonly [string, Options])[] = [
    ['small pages, A bits', { design: 'linux-6.1' }],
    ['huge pages', { design: 'linux-6.12', hasHugePages: true }],
    ['access tracking', { design: 'linux-6.6', kvm: { hasAdBits: false }, hasHugePages: true }],
    ['judged', { design: 'linux-6.1', isJudged: true, hasHugePages: true }],
  ];
  test.each(kinds)(
    '%s: no word is lost',
    (_name, options) => {
      const total: Record<string, number> = {};
      const worlds = Math.max(1, Math.ceil(operations / kinds.length / PER_WORLD));
      for (let world = 0; world < worlds; world++) {
        const w = new World(seed * 1000 + world, options);
        try {
          w.play(PER_WORLD / VCPUS);
          w.finish();
        } catch (error) {
          throw new Error(`SEED=${seed} world ${world}: ${(error as Error).message}`, { cause: error });
        }
        const { kvmStats } = w.device;
        for (const [name, n] of Object.entries(kvmStats)) total[name] = (total[name] ?? 0) + n;
        for (const g of w.guests)
          for (const name of ['loads', 'stores', 'faults', 'ballooned'] as const)
            total[`guest ${name}`] = (total[`guest ${name}`] ?? 0) + g[name];
        total['swapIns'] = (total['swapIns'] ?? 0) + w.m.kernel.stats.swapIns;
        total['rounds'] = (total['rounds'] ?? 0) + w.rounds;
        total['steps'] = (total['steps'] ?? 0) + w.m.kernel.sched.steps;
        if (w.judge !== null) {
          w.judge.finish();
          const { violations } = w.judge.results();
          expect(violations).toEqual([]);
        }
      }
      if (process.env['OPERATIONS']) console.log(_name, JSON.stringify(total));
      expect(total['zapped']).toBeGreaterThan(worlds * 10);
      expect(total['swapIns']).toBeGreaterThan(worlds);
    },
    3_600_000,
  );
});

describe(`the same test finds (SEED=${seed})`, () => {
  test.each(['no-flush', 'first-page-only', 'always-writable'])(
    '%s',
    (mistake) => {
      expect(() => {
        for (let world = 0; world < 12; world++)
          new World(seed * 1000 + world, { design: 'linux-6.1', kvm: { mistake } }).play(PER_WORLD / VCPUS);
      }).toThrow();
    },
    120_000,
  );
});
