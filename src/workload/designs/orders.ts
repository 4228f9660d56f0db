// In which order things happen under a notifier design: an operation is run once, alone, with a subscriber that has every callback of
// the design and does nothing, and what happens to one page is written down from the event record. This is how the project
// draws a design's timeline; nothing of it is written by hand.

import {
  CB_INVALIDATE_RANGE_BEGIN,
  CB_INVALIDATE_RANGE_END,
  CB_INVALIDATE_RANGE_FINISH,
  CB_INVALIDATE_RANGE_START,
  CB_NAMES,
  E_CALLBACK,
  E_FLUSH,
  E_FRAME_FREE,
  E_PTE,
  EV_A,
  EV_B,
  EV_C,
  EV_D,
  EV_END,
  EV_MM,
  EV_PFN,
  EV_START,
  EV_TYPE,
} from '../../abi/events.ts';
import { PTE_P, PTE_RW } from '../../abi/pte.ts';
import type { RecordLog } from '../../base/record-log.ts';
import { CALLBACK_NAMES, type Driver, defineDriver } from '../../device/define-driver.ts';
import type { DesignName } from '../../device/driver-face.ts';
import { DriverInstance } from '../../device/driver-run.ts';
import { ptePfn } from '../../hw/pte.ts';
import { type KernelConfig, kernelConfig } from '../../mm/config.ts';
import { Kernel } from '../../mm/kernel.ts';
import { notifierHost } from '../../mm/notifier-host.ts';
import { createProcess } from '../../mm/process/task.ts';
import { profile } from '../../mm/profile.ts';
import { linuxFns } from '../../mm/table.ts';
import type { MmStruct } from '../../mm/types.ts';
import { designInfo } from '../../notifier/designs.ts';
import type { NotifierDesign } from '../../notifier/host.ts';
import { firstChooser } from '../../sched/scheduler.ts';
import { ScenarioContext } from '../scenario/context.ts';
import { BASE, type Step } from '../scenario/scenario.ts';
import { SMALL_KERNEL } from '../scenario/scenario-world.ts';
import { runStep } from '../scenario/steps.ts';

export interface OrderOperation {
  readonly name: string;
  /** What is there before; page 0 is the one that is watched. */
  readonly setup: readonly Step[];
  readonly steps: readonly Step[];
}

const ANON: readonly Step[] = [
  { do: 'mmap', at: 0 },
  { do: 'store', at: 0 },
];
const FILE: readonly Step[] = [
  { do: 'mmap', at: 0, pages: 2, file: 'f', shared: true },
  { do: 'store', at: 0 },
];

/** What a secondary MMU must survive. */
export const ORDER_OPERATIONS: readonly OrderOperation[] = [
  { name: 'munmap', setup: ANON, steps: [{ do: 'munmap', at: 0 }] },
  {
    name: 'munmap, batch full',
    setup: [
      { do: 'mmap', at: 0, pages: 3 },
      { do: 'store', at: 0 },
      { do: 'store', at: 1 },
      { do: 'store', at: 2 },
    ],
    steps: [{ do: 'munmap', at: 0, pages: 3 }],
  },
  { name: 'madvise', setup: ANON, steps: [{ do: 'madvise', at: 0, advice: 'dontneed' }] },
  { name: 'truncate', setup: FILE, steps: [{ do: 'truncate', file: 'f', pages: 0 }] },
  {
    name: 'copy on write',
    setup: [...ANON, { do: 'fork', as: 'child' }],
    steps: [{ do: 'store', at: 0, value: 2 }],
  },
  { name: 'fork', setup: ANON, steps: [{ do: 'fork', as: 'child' }] },
  { name: 'mprotect', setup: ANON, steps: [{ do: 'mprotect', at: 0, prot: 'r' }] },
  {
    name: 'mremap',
    setup: [{ do: 'mmap', at: 0, pages: 2 }, ...ANON.slice(1)],
    steps: [{ do: 'mremap', at: 0, to: 3 }],
  },
  { name: 'reclaim', setup: ANON, steps: [{ do: 'madvise', at: 0, advice: 'pageout' }] },
  { name: 'write-back', setup: FILE, steps: [{ do: 'fsync', file: 'f' }] },
  { name: 'exit', setup: ANON, steps: [{ do: 'exit' }] },
];

/** The order of callbacks, changes of the page's entry, CPU flushes and the free of its frame. `kernel`: other limits. */
export function orderOf(design: string, operation: OrderOperation, kernel: Partial<KernelConfig> = {}): string[] {
  const of = profileOf(design);
  // Two pages to a batch, in kernels too that leave a place in it free.
  const gatherBundle = of.gatherKeepsRoom ? 3 : 2;
  const config = { ...SMALL_KERNEL, frames: 128, gatherBundle, profile: of, ...kernel };
  const k = new Kernel(kernelConfig(config), { ...linuxFns }, firstChooser);
  k.design = designInfo(design).create(notifierHost(k));
  const main = k.sched.run(createProcess(k, { areas: [], startBrk: 0x600000 }));
  const context = new ScenarioContext(k, null, { name: operation.name, summary: '', setup: [], threads: {} });
  context.tasks.set('main', main);
  const before: Step[] = [{ do: 'mmap', at: -512 }, { do: 'store', at: -512 }, ...operation.setup];
  for (const step of before) k.sched.run(runStep(context, step, main));
  for (const driver of listeners(k.design)) k.sched.run(subscribed(k, driver, main.mm!));
  const order = new Order(main.mm!.id);
  order.watch(k.memory.log);
  for (const step of operation.steps) k.sched.run(runStep(context, step, main));
  return order.words;
}

/** The kernel that the design belongs to, as far as there is one. */
function profileOf(design: string): KernelConfig['profile'] {
  return profile(design === 'linux-6.6' ? '6.6' : design === 'linux-6.12' ? '6.12' : '6.1');
}

function* subscribed(k: Kernel, driver: Driver, mm: MmStruct) {
  const instance = new DriverInstance(k, driver, mm);
  instance.create({});
  yield* instance.subscribe();
}

/** Subscribers with every callback; where a mirror and a TLB must be two, two. */
function listeners(design: NotifierDesign): Driver[] {
  const name = design.name as DesignName;
  const names = CALLBACK_NAMES[name].filter((c) => c !== 'invalidate');
  const isPair = (c: string): boolean => c === 'invalidateRangeStart' || c === 'invalidateRangeEnd';
  if (!names.includes('archInvalidateSecondaryTlbs')) return names.length === 0 ? [] : [listener(name, names)];
  return [
    listener(
      name,
      names.filter((c) => !isPair(c)),
    ),
    listener(name, names.filter(isPair)),
  ];
}

function listener(design: DesignName, names: readonly string[]): Driver {
  const callbacks = Object.fromEntries(names.map((n) => [n, () => (n === 'invalidateRangeStart' ? 0 : false)]));
  return defineDriver({ name: 'listener', design, device: 'walker', create: () => callbacks as never });
}

/** What the words of a timeline call the callbacks. */
function callbackWord(callback: number): string {
  if (callback === CB_INVALIDATE_RANGE_START) return 'start';
  if (callback === CB_INVALIDATE_RANGE_BEGIN) return 'begin';
  if (callback === CB_INVALIDATE_RANGE_END || callback === CB_INVALIDATE_RANGE_FINISH) return 'end';
  return CB_NAMES[callback]!;
}

/** Writes down what concerns page 0 of address space `mm`. */
class Order {
  readonly words: string[] = [];
  readonly #mm: number;
  /** Frame that the page had at first; 0: not seen yet. */
  #frame = 0;

  constructor(mm: number) {
    this.#mm = mm;
  }

  watch(log: RecordLog): void {
    log.attach({ onRecord: (ring, at) => this.#record(ring, at) });
  }

  #say(word: string): void {
    if (this.words.at(-1) !== word) this.words.push(word);
  }

  #record(r: Float64Array, at: number): void {
    const type = r[at + EV_TYPE]!;
    const start = r[at + EV_START]!;
    const end = r[at + EV_END]!;
    if (type === E_FRAME_FREE) {
      if (r[at + EV_PFN] === this.#frame && this.#frame !== 0) this.#say('page freed');
      return;
    }
    if (r[at + EV_MM] !== this.#mm) return;
    const isOfPage = start <= BASE && end > BASE;
    if (type === E_CALLBACK && (isOfPage || end === 0)) this.#say(callbackWord(r[at + EV_A]!));
    else if (type === E_FLUSH && isOfPage) this.#say('CPUs flushed');
    else if (type === E_PTE && start === BASE && end === BASE + 4096)
      this.#entry(r[at + EV_C]!, r[at + EV_D]!, r[at + EV_A]!, r[at + EV_B]!);
  }

  #entry(oldLo: number, _oldHi: number, lo: number, _hi: number): void {
    if ((oldLo & PTE_P) !== 0) this.#frame ||= ptePfn(oldLo);
    if ((oldLo & PTE_P) !== 0 && (lo & PTE_P) === 0) this.#say('entry cleared');
    else if ((lo & PTE_P) !== 0 && (oldLo & PTE_P) === 0) this.#say('entry set');
    else if ((oldLo & PTE_RW) !== 0 && (lo & PTE_RW) === 0 && (lo & PTE_P) !== 0) this.#say('write-protected');
  }
}
