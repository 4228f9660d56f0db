// @ts-check
/**
 * What subscribers of MMU notifiers cost: munmap of 512 populated pages without a notifier design, with the design of 6.1 and
 * nobody subscribed, and with one subscriber that does nothing. No target is held.
 */
import { elapsed, figureOf, now, report, wanted } from './harness.mjs';
import { load, Machine, NR_munmap, PAGE, PMD_SIZE, RW } from './simulated.mjs';

/** @type {typeof import('../src/notifier/designs.ts')} */
const { designInfo } = await load('notifier/designs.js');
/** @type {typeof import('../src/mm/notifier-host.ts')} */
const { notifierHost } = await load('mm/notifier-host.js');
/** @type {typeof import('../src/notifier/subscriptions.ts')} */
const { MmuNotifier } = await load('notifier/subscriptions.js');

const PAGES = 512;
const REPS = 2000;

/** @param {Machine} m */
function unmapOnce(m) {
  const base = m.mapAligned(PAGES * PAGE, PMD_SIZE, RW);
  m.touch(base, PAGES);
  const start = now();
  m.must(NR_munmap, base, PAGES * PAGE);
  return elapsed(start, now());
}

class Calls {
  starts = 0;
  ends = 0;
  ranges = 0;
}

/** @param {Machine} m @param {Calls} calls */
function subscribe(m, calls) {
  const design = /** @type {import('../src/notifier/linux-6.1.ts').Linux61} */ (m.k.design);
  /** @type {import('../src/notifier/linux-6.1.ts').MmuNotifierOps} */
  const ops = {
    *invalidateRangeStart() {
      calls.starts++;
      return 0;
    },
    *invalidateRangeEnd() {
      calls.ends++;
    },
    *invalidateRange() {
      calls.ranges++;
    },
  };
  const result = m.k.sched.run(design.list.register(new MmuNotifier(ops), m.mm));
  if (result !== 0) throw new Error(`mmu_notifier_register answers ${result}`);
}

if (wanted('callback-cost')) {
  const plain = new Machine();
  const idle = new Machine();
  idle.k.design = designInfo('linux-6.1').create(notifierHost(idle.k));
  const heard = new Machine();
  heard.k.design = designInfo('linux-6.1').create(notifierHost(heard.k));
  const calls = new Calls();
  subscribe(heard, calls);
  /** @type {[string, Machine, number[]][]} */
  const cases = [
    ['no-design', plain, []],
    ['no-subscriber', idle, []],
    ['one-subscriber', heard, []],
  ];
  for (let i = -REPS / 4; i < REPS; i++) {
    for (const [, machine, samples] of cases) {
      const ns = unmapOnce(machine);
      if (i >= 0) samples.push(ns);
    }
  }
  const base = figureOf(cases[0]?.[2] ?? []).min;
  for (const [name, , samples] of cases) {
    const { min, median } = figureOf(samples);
    const detail = name === 'one-subscriber' ? { median, ...calls } : { median };
    report(`callback-cost:${name}`, 'ns/munmap of 512', min, { name: 'no design', value: base }, null, detail);
  }
}
