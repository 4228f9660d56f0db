// XPMEM as a device of a machine: partitions that map the memory of a process of this one, and access it with their CPUs. Its driver
// was never part of Linux: what it needs of a notifier, and could not get for years, is to sleep. Sources: SGI's out-of-tree
// module; the rmap notifiers of Christoph Lameter's proposals V4 and V5 (February 2008), which were made for it.
//
// segment.ts is the exporter, importer.ts a partition, reactions.ts what each design lets it do.

import { EBUSY, EINVAL } from '../../abi/errno.ts';
import { AGENT_MIRROR, DEV_FAILED, DEV_RUNNING, E_BIND, E_DEV_STATE, E_REFAULT } from '../../abi/events.ts';
import { InputError } from '../../base/assert.ts';
import type { Kernel } from '../../mm/kernel.ts';
import type { MmStruct } from '../../mm/types.ts';
import { mmDrop } from '../../mm/vma/exit-mmap.ts';
import type { KernelPath } from '../../sched/path.ts';
import { P_DEV_ACCESS, P_DEV_TRANSLATE, P_DEV_TRANSLATED } from '../../sched/points.ts';
import { ACCESS_DEAD, ACCESS_DONE, ACCESS_INVALID, type Accessor, DeviceStats } from '../accessor.ts';
import { callbackCounts, DEVICE_ID } from '../common.ts';
import type { Device, DeviceConfig } from '../device.ts';
import { type MirrorSubscription, subscribeMirror } from '../subscribe-mirror.ts';
import { Workload } from '../workload.ts';
import { XPMEM_DEFAULTS, type XpmemConfig } from './config.ts';
import { Importer, ImporterCpu } from './importer.ts';
import { NO_MEMORY, REFUSED } from './messages.ts';
import { xpmemMistake } from './mistakes.ts';
import { reactionsOf } from './reactions.ts';
import { noteFault, Segment, takeBack, xpmemFns } from './segment.ts';

const ENGINES_MAX = 8;
const ALL = Number.POSITIVE_INFINITY;

export class Xpmem implements Accessor {
  readonly k: Kernel;
  readonly config: XpmemConfig;
  readonly cpus: readonly ImporterCpu[];
  readonly importers: readonly Importer[];
  readonly segment: Segment;
  state = DEV_RUNNING;
  lastRead = 0;
  hits = 0;
  misses = 0;
  invalid = 0;
  refaults = 0;
  refaultsMax = 0;

  /** Throws InputError for impossible sizes. */
  constructor(k: Kernel, config: Partial<XpmemConfig>) {
    this.k = k;
    this.config = { ...XPMEM_DEFAULTS, ...config };
    const { importers, engines, workers } = this.config;
    if (!(importers >= 1 && importers <= 4)) throw new InputError(`xpmem: ${importers} importers, not 1 to 4`);
    if (!(engines >= importers && engines <= ENGINES_MAX))
      throw new InputError(`xpmem: ${engines} engines, not ${importers} to ${ENGINES_MAX}`);
    if (!(workers >= 1)) throw new InputError(`xpmem: ${workers} workers`);
    this.cpus = Array.from({ length: engines }, (_, i) => new ImporterCpu(k.memory, i));
    this.importers = Array.from({ length: importers }, (_, i) => {
      const cpus = this.cpus.filter((c) => c.id % importers === i);
      return new Importer(k.memory, k.sched, i, DEVICE_ID + i, cpus);
    });
    const fn = { ...xpmemFns, ...xpmemMistake(this.config.mistake) };
    this.segment = new Segment(k, this.config, this.importers, fn);
  }

  get engineCount(): number {
    return this.cpus.length;
  }

  tryAccess(engine: number, va: number, isWrite: boolean): boolean {
    const [importer, cpu] = this.#of(engine);
    if (this.state !== DEV_RUNNING || !importer.hold(cpu, va - (va % 4096), isWrite)) return false;
    this.hits++;
    this.#reach(importer, cpu, va, isWrite, null);
    return true;
  }

  access(engine: number, va: number, isWrite: boolean, _groupEnd: number): KernelPath<number> {
    return this.word(engine, va, isWrite, null);
  }

  #of(engine: number): [Importer, ImporterCpu] {
    const cpu = this.cpus[engine]!;
    return [this.importers[engine % this.importers.length]!, cpu];
  }

  /** An access to any word: a store puts `value` there, or (null) counts up the CPU's own word of the page. ACCESS_*; what is there then
   *  in lastRead. */
  *word(engine: number, va: number, isWrite: boolean, value: number | null): KernelPath<number> {
    const [importer, cpu] = this.#of(engine);
    const page = va - (va % 4096);
    const { sched } = this.k;
    for (let attempts = 0; ; attempts++) {
      if (sched.points) yield P_DEV_TRANSLATE;
      if (this.state !== DEV_RUNNING) return ACCESS_DEAD;
      if (importer.hold(cpu, page, isWrite)) {
        if (attempts === 0) this.hits++;
        break;
      }
      if (attempts > 0 && !this.#refault(importer, page, attempts)) return ACCESS_DEAD;
      const answer = yield* this.#fault(importer, cpu, page, isWrite);
      if (answer === NO_MEMORY) {
        this.invalid++;
        return ACCESS_INVALID;
      }
      if (answer !== REFUSED) continue;
      yield* sched.sleepSteps(this.config.retrySteps, 'XPMEM retry');
      attempts = -1;
    }
    if (sched.points) yield P_DEV_TRANSLATED;
    this.#reach(importer, cpu, va, isWrite, value);
    const read = this.lastRead;
    if (sched.points) yield P_DEV_ACCESS;
    this.lastRead = read;
    return ACCESS_DONE;
  }

  #reach(importer: Importer, cpu: ImporterCpu, va: number, isWrite: boolean, value: number | null): void {
    const at = isWrite && value === null ? importer.ownWord(cpu, va) : va - (va % 8);
    this.lastRead = importer.reach(cpu, at, isWrite, value ?? cpu.writes + 1, this.config.staleStoresLand);
    importer.release(cpu);
  }

  /** Sends the fault and waits. The code of the reply. */
  *#fault(importer: Importer, cpu: ImporterCpu, page: number, isWrite: boolean): KernelPath<number> {
    this.misses++;
    importer.touchAnswer(cpu, true);
    cpu.answer = -1;
    noteFault(importer, page);
    this.segment.receive({ kind: 'fault', importer, engine: cpu.id, page, isWrite });
    yield* this.k.sched.waitSteady(() => cpu.answer >= 0, cpu.answered, 'XPMEM reply');
    importer.touchAnswer(cpu, false);
    return cpu.answer;
  }

  /** False: the program has given up. */
  #refault(importer: Importer, page: number, attempts: number): boolean {
    this.refaults++;
    if (attempts > this.refaultsMax) this.refaultsMax = attempts;
    const { log } = this.k.memory;
    const { mm, device } = importer;
    if (log.on) log.emit(E_REFAULT, mm, page, page + 4096, 0, 0, attempts, 0, AGENT_MIRROR, device);
    if (attempts <= this.config.refaultBudget) return true;
    this.segment.touch(true);
    this.state = DEV_FAILED;
    if (log.on) log.emit(E_DEV_STATE, mm, page, page + 4096, 0, 0, DEV_FAILED, 0, 0, device);
    return false;
  }

  /** All that the partitions keep, as numbers. */
  stateWords(): number[] {
    return [this.state, ...this.segment.stateWords(), ...this.importers.flatMap((i) => i.stateWords())];
  }
}

class XpmemDevice implements Device {
  readonly k: Kernel;
  readonly xpmem: Xpmem;
  readonly workload: Workload;
  readonly driverName = 'xpmem';
  readonly #isDeaf: boolean;
  #mm: MmStruct | null = null;
  #subscription: MirrorSubscription | null = null;

  constructor(k: Kernel, config: DeviceConfig) {
    this.k = k;
    this.xpmem = new Xpmem(k, config.xpmem);
    this.#isDeaf = config.isDeaf;
    this.workload = new Workload(k, this.xpmem, config.workload);
    this.xpmem.segment.start();
    if (config.hasWorkload) this.workload.start();
  }

  get accessor(): Accessor {
    return this.xpmem;
  }

  get refusal(): string | null {
    return null;
  }

  /** xpmem_make of a segment over the whole address space, and xpmem_attach by every partition. */
  *bind(mm: MmStruct): KernelPath<number> {
    if (this.#mm !== null) return -EBUSY;
    if (mm.users <= 0) return -EINVAL;
    const { segment, importers } = this.xpmem;
    this.#mm = mm;
    mm.count++;
    for (const importer of importers) importer.mm = mm.id;
    this.#subscription = this.#isDeaf ? null : subscribeMirror(this.k, mm, reactionsOf(this.k, segment));
    const result = this.#subscription === null ? 0 : yield* this.#subscription.register();
    if (result < 0) {
      this.#mm = null;
      mmDrop(this.k, mm);
      return result;
    }
    segment.touch(true);
    segment.mm = mm;
    segment.setExportBit = this.#subscription?.exportPage ?? null;
    segment.isDead = false;
    this.#emitBind(mm, 1);
    this.workload.mm = mm;
    return 0;
  }

  /** xpmem_remove: everything is taken back. */
  *unbind(): KernelPath<void> {
    const mm = this.#mm;
    if (mm === null) return;
    this.workload.mm = null;
    const { segment } = this.xpmem;
    segment.touch(true);
    segment.isDead = true;
    segment.seq++;
    segment.changed.wakeAll(this.k.sched);
    yield* segment.quiesce();
    yield* takeBack(segment, segment.exportsOf(0, ALL), 0, ALL);
    if (this.#subscription !== null) yield* this.#subscription.unregister();
    this.#subscription = null;
    this.#emitBind(mm, 0);
    segment.mm = null;
    this.#mm = null;
    mmDrop(this.k, mm);
  }

  #emitBind(mm: MmStruct, isBound: number): void {
    const { log } = this.k.memory;
    if (!log.on) return;
    for (const i of this.xpmem.importers) log.emit(E_BIND, mm.id, 0, 0, 0, 0, isBound, 0, 0, i.device);
  }

  stats(): DeviceStats {
    const s = new DeviceStats();
    const { xpmem } = this;
    for (const cpu of xpmem.cpus) {
      s.reads += cpu.reads;
      s.writes += cpu.writes;
    }
    s.hits = xpmem.hits;
    s.pageRequests = xpmem.misses;
    s.answersInvalid = xpmem.invalid;
    s.refaults = xpmem.refaults;
    s.refaultsMax = xpmem.refaultsMax;
    for (const i of xpmem.importers) s.deviceTlbFlushes += i.recalls;
    s.state = xpmem.state;
    s.callbacks = callbackCounts(this.k);
    return s;
  }
}

export function createXpmem(k: Kernel, config: DeviceConfig): Device {
  return new XpmemDevice(k, config);
}
