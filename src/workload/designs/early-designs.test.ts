// What sets the designs before 2.6.27, the one of 2011 and the late ones apart beyond the order of callbacks: lists in VMAs, RCU, marks on
// pages, gathers that free at once, flushes of upgrades. On whole kernels, each expectation from the designs' own description.

import { describe, expect, test } from 'vitest';
import type { Kernel } from '../../mm/kernel.ts';
import { lockPage, tryLockPage, unlockPage } from '../../mm/page/page-lock.ts';
import { createProcess } from '../../mm/process/task.ts';
import type { NotifierVma } from '../../notifier/host.ts';
import type { MmuNotifiersV4 } from '../../notifier/mmu-notifiers-v4.ts';
import { PteNotifier, type PteNotifiers } from '../../notifier/pte-notifiers.ts';
import { MmuRmapNotifier } from '../../notifier/rmap-notifiers.ts';
import { createMachine, type Machine } from '../../system/machine.ts';
import { ScenarioContext } from '../scenario/context.ts';
import { BASE, type Step } from '../scenario/scenario.ts';
import { runStep } from '../scenario/steps.ts';
import { ORDER_OPERATIONS, type OrderOperation, orderOf } from './orders.ts';

const PAGE = 4096;

/** A kernel with one program, whose steps run alone. */
class Program {
  readonly machine: Machine;
  readonly k: Kernel;
  readonly context: ScenarioContext;

  constructor(design: string) {
    this.machine = createMachine({ kernel: { frames: 256, swapPages: 32 }, design });
    this.k = this.machine.kernel;
    this.context = new ScenarioContext(this.k, null, { name: design, summary: '', setup: [], threads: {} });
    this.context.tasks.set('main', this.machine.run(createProcess(this.k, { areas: [], startBrk: 0x600000 })));
  }

  get main() {
    return this.context.task('main');
  }

  do(...steps: Step[]): void {
    for (const step of steps) this.machine.run(runStep(this.context, step, this.main));
  }

  vma(page: number): NotifierVma {
    return this.main.mm!.vmas.find(BASE + page * PAGE)!;
  }
}

const pageout = (at: number): Step => ({ do: 'madvise', at, advice: 'pageout' });

describe('pte-notifiers', () => {
  const mapped: Step[] = [
    { do: 'mmap', at: 0, pages: 4 },
    { do: 'store', at: 0 },
    { do: 'store', at: 3 },
  ];

  function listening(design: string): { p: Program; said: string[]; d: PteNotifiers } {
    const p = new Program(design);
    const said: string[] = [];
    p.do(...mapped);
    const d = p.k.design as PteNotifiers;
    const pn = new PteNotifier({
      *clear(_pn, _vma, address) {
        said.push(`clear ${(address - BASE) / PAGE}`);
      },
      *close(_pn, vma) {
        said.push(`close ${(vma.start - BASE) / PAGE}-${(vma.end - BASE) / PAGE}`);
      },
    });
    d.register(pn, p.vma(0));
    return { p, said, d };
  }

  test('a split leaves the notifier with one half; fixed, with both', () => {
    for (const [design, expected] of [
      ['pte-notifiers', 1],
      ['pte-notifiers-fixed', 2],
    ] as const) {
      const { p, said } = listening(design);
      p.do({ do: 'mprotect', at: 2, pages: 2, prot: 'r' }, pageout(0), pageout(3));
      expect(said.length, design).toBe(expected);
    }
  });

  test('a merge loses the notifiers of the VMA that vanishes; fixed, the survivor has them', () => {
    for (const [design, lost, heard] of [
      ['pte-notifiers', 1, 0],
      ['pte-notifiers-fixed', 0, 1],
    ] as const) {
      const p = new Program(design);
      p.do({ do: 'mmap', at: 0 }, { do: 'mmap', at: 1, prot: 'r' }, { do: 'mprotect', at: 1, prot: 'none' });
      const d = p.k.design as PteNotifiers;
      let clears = 0;
      const pn = new PteNotifier({
        *clear() {
          clears++;
        },
      });
      expect(p.vma(1)).not.toBe(p.vma(0));
      d.register(pn, p.vma(1));
      p.do({ do: 'mprotect', at: 1, prot: 'rw' }, { do: 'store', at: 1 });
      expect(p.vma(1)).toBe(p.vma(0));
      p.do(pageout(1));
      expect([d.lost, clears], design).toEqual([lost, heard]);
    }
  });

  test('VMAs that mmap did not make have no list: a registration is lost', () => {
    const { p, said, d } = listening('pte-notifiers');
    p.do({ do: 'mremap', at: 3, to: 8 });
    d.register(
      new PteNotifier({
        clear: () => {
          throw new Error('nobody finds it');
        },
      }),
      p.vma(8),
    );
    p.do(pageout(8));
    expect([said, d.lost]).toEqual([[], 1]);
  });

  test('fork: the child has no notifiers', () => {
    const { p, said } = listening('pte-notifiers');
    p.do({ do: 'fork', as: 'child' });
    p.machine.run(runStep(p.context, { do: 'exit' }, p.context.task('child')));
    expect(said).toEqual([]);
  });

  test('close comes once, when the pages are gone; brk and stack VMAs of the program have none', () => {
    const { p, said } = listening('pte-notifiers');
    p.do({ do: 'munmap', at: 0, pages: 4 });
    expect(said).toEqual(['close 0-4']);
    p.do({ do: 'exit' });
    expect(said).toEqual(['close 0-4']);
  });

  test('who follows the mmaps of the program learns of each VMA that mmap makes', () => {
    const p = new Program('pte-notifiers');
    const d = p.k.design as PteNotifiers;
    const seen: number[] = [];
    const stop = d.followMmaps(p.main.mm!, (vma) => seen.push((vma.start - BASE) / PAGE));
    p.do({ do: 'mmap', at: 0 }, { do: 'mmap', at: 4 }, { do: 'mprotect', at: 4, prot: 'r' });
    stop();
    p.do({ do: 'mmap', at: 8 });
    expect(seen).toEqual([0, 4]);
  });
});

describe('rmap notifiers of mmu-notifiers-v4', () => {
  test('an exported page is told once, locked, when reclaim unmaps it; others are not', () => {
    const p = new Program('mmu-notifiers-v4');
    p.do({ do: 'mmap', at: 0, pages: 2 }, { do: 'store', at: 0 }, { do: 'store', at: 1 });
    const { rmap } = p.k.design as MmuNotifiersV4;
    const told: number[] = [];
    const mrn = new MmuRmapNotifier({
      *invalidatePage(_mrn, pfn) {
        expect([rmap.isExported(pfn), tryLockPage(p.k, pfn)]).toEqual([true, false]);
        told.push(pfn);
      },
    });
    (p.k.design as MmuNotifiersV4).registerRmap(mrn);
    const pfn = frameOf(p, 0);
    expect(() => rmap.exportPage(pfn)).toThrow(/page is locked/);
    p.machine.run(lockPage(p.k, pfn));
    rmap.exportPage(pfn);
    unlockPage(p.k, pfn);
    p.do(pageout(1));
    expect(told).toEqual([]);
    p.do(pageout(0));
    expect([told, rmap.isExported(pfn)]).toEqual([[pfn], false]);
    (p.k.design as MmuNotifiersV4).unregisterRmap(mrn);
    expect(p.k.design!.hasRmapNotifiers).toBe(false);
  });
});

function frameOf(p: Program, page: number): number {
  const { k, main } = p;
  for (let pfn = 1; pfn < k.config.frames; pfn++) {
    if (k.pages.mapcount[pfn] === 1 && k.pages.index[pfn] === (BASE + page * PAGE) / PAGE) return pfn;
  }
  throw new Error(`page ${page} of ${main.pid} is not mapped`);
}

const named = (name: string): OrderOperation => ORDER_OPERATIONS.find((o) => o.name === name)!;

describe('one CPU before 3.10: pages are freed while they are unmapped', () => {
  const FAST = { cpus: 1, gatherFastMode: true };
  const munmap = named('munmap');

  test('no call can come between, whatever the design calls at the flush', () => {
    const order = ['start', 'entry cleared', 'page freed', 'end', 'CPUs flushed'];
    expect(orderOf('linux-2.6.27', munmap, FAST)).toEqual(order);
    expect(orderOf('invalidate-range', munmap, FAST).indexOf('invalidate_range')).toBeGreaterThan(
      orderOf('invalidate-range', munmap, FAST).indexOf('page freed'),
    );
  });

  test('2011 turns it off for an mm with notifiers, where the generic gather is used', () => {
    expect(orderOf('free-pages-2011', munmap, FAST)).toEqual(orderOf('free-pages-2011', munmap));
  });

  test('an architecture with a gather of its own keeps it: the call comes when the page is free; the variant reaches it too', () => {
    const own = { ...FAST, gatherIsOwn: true };
    const order = orderOf('free-pages-2011', munmap, own);
    expect(order.indexOf('page freed')).toBeLessThan(order.indexOf('invalidate_range_free_pages'));
    expect(order.indexOf('page freed')).toBeGreaterThan(0);
    expect(orderOf('free-pages-2011-all', munmap, own)).toEqual(orderOf('free-pages-2011', munmap));
  });

  test('several CPUs never had it', () => {
    expect(orderOf('linux-2.6.27', munmap, { gatherFastMode: true })).toEqual(orderOf('linux-2.6.27', munmap));
  });
});

describe('an entry gains rights', () => {
  const upgrade: OrderOperation = {
    name: 'upgrade',
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
      { do: 'fork', as: 'child' },
      { do: 'exit', task: 'child' },
    ],
    steps: [{ do: 'store', at: 0, value: 2 }],
  };

  test('x86 flushes nobody; where the CPUs are flushed, 6.6 tells and 6.1 does not', () => {
    const arm = { flushOnUpgrade: true };
    for (const design of ['linux-6.1', 'linux-6.6', 'linux-6.12']) expect(orderOf(design, upgrade)).toEqual([]);
    expect(orderOf('linux-6.1', upgrade, arm)).toEqual(['CPUs flushed']);
    for (const design of ['linux-6.6', 'linux-6.12'])
      expect(orderOf(design, upgrade, arm)).toEqual(['CPUs flushed', 'arch_invalidate_secondary_tlbs']);
  });

  test('rights that mprotect gives back at once are flushed with the entries; a secondary TLB hears of that flush', () => {
    const back: OrderOperation = {
      name: 'mprotect back',
      setup: [
        { do: 'mmap', at: 0 },
        { do: 'store', at: 0 },
        { do: 'mprotect', at: 0, prot: 'r' },
      ],
      steps: [{ do: 'mprotect', at: 0, prot: 'rw' }],
    };
    const flush = ['CPUs flushed', 'arch_invalidate_secondary_tlbs'];
    for (const design of ['linux-6.6', 'linux-6.12']) expect(orderOf(design, back).slice(-2)).toEqual(flush);
  });
});

describe('flushes that are put off', () => {
  /** Another CPU has the address space, so that its flush is worth putting off. */
  const elsewhere: Step = {
    do: 'run',
    name: 'on another CPU',
    *path(c) {
      c.task('main').mm!.cpuMask |= 2;
    },
  };
  const migrates: OrderOperation = {
    name: 'migration',
    setup: [{ do: 'mmap', at: 0 }, { do: 'store', at: 0 }, elsewhere],
    steps: [{ do: 'move-pages', at: 0 }],
  };
  const kernel = { numaNodes: 2 };

  test('migration since 6.3: secondary TLBs are told when the flush is put off, the CPUs flush before the copy', () => {
    const now = orderOf('linux-6.1', migrates, kernel);
    expect(now.slice(0, 3)).toEqual(['start', 'entry cleared', 'CPUs flushed']);
    const later = orderOf('linux-6.12', migrates, kernel);
    expect(later.slice(0, 4)).toEqual(['start', 'entry cleared', 'arch_invalidate_secondary_tlbs', 'end']);
    expect(later.indexOf('CPUs flushed')).toBeLessThan(later.indexOf('entry set'));
    expect(later.indexOf('CPUs flushed')).toBeGreaterThan(later.indexOf('end'));
  });
});
