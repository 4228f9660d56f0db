// @ts-check
/**
 * What a round of callbacks costs by the number of subscribers of one address space, and what a search among intervals costs by
 * their number. The round: munmap of one populated page under the design of 6.1, whose subscribers do nothing, against the same
 * with none; and how much of it one subscriber is. The search: of what meets one page, among 10^5 intervals against 10^2, and
 * inserts and removals among as many.
 */
import { elapsed, figureOf, now, report, wanted } from './harness.mjs';
import { load, Machine, NR_munmap, PAGE, RW } from './simulated.mjs';

/** @type {typeof import('../src/notifier/designs.ts')} */
const { designInfo } = await load('notifier/designs.js');
/** @type {typeof import('../src/mm/notifier-host.ts')} */
const { notifierHost } = await load('mm/notifier-host.js');
/** @type {typeof import('../src/notifier/subscriptions.ts')} */
const { MmuNotifier } = await load('notifier/subscriptions.js');
/** @type {typeof import('../src/notifier/interval-tree.ts')} */
const { IntervalIndex, IntervalNode } = await load('notifier/interval-tree.js');

const ROUNDS = 40;

/** @type {import('../src/notifier/linux-6.1.ts').MmuNotifierOps} */
const NOTHING = {
  *invalidateRangeStart() {
    return 0;
  },
  *invalidateRangeEnd() {},
  *invalidateRange() {},
};

/** @param {number} subscribers */
function machineWith(subscribers) {
  const m = new Machine();
  m.k.design = designInfo('linux-6.1').create(notifierHost(m.k));
  const design = /** @type {import('../src/notifier/linux-6.1.ts').Linux61} */ (m.k.design);
  for (let i = 0; i < subscribers; i++) {
    const result = m.k.sched.run(design.list.register(new MmuNotifier(NOTHING), m.mm));
    if (result !== 0) throw new Error(`mmu_notifier_register answers ${result}`);
  }
  return m;
}

/** @param {Machine} m @param {number} reps ns for each munmap */
function unmaps(m, reps) {
  let ns = 0;
  for (let i = 0; i < reps; i++) {
    const base = m.mapAligned(PAGE, PAGE, RW);
    m.touch(base, 1);
    const start = now();
    m.must(NR_munmap, base, PAGE);
    ns += elapsed(start, now());
  }
  return ns / reps;
}

if (wanted('callback-round')) {
  const counts = [0, 1, 8, 64, 1000];
  const machines = counts.map(machineWith);
  /** @type {number[][]} */
  const samples = counts.map(() => []);
  for (let round = -2; round < ROUNDS; round++) {
    counts.forEach((count, i) => {
      const ns = unmaps(/** @type {Machine} */ (machines[i]), count > 100 ? 20 : 200);
      if (round >= 0) samples[i]?.push(ns);
    });
  }
  const none = figureOf(samples[0] ?? []).min;
  counts.forEach((count, i) => {
    const { min, median } = figureOf(samples[i] ?? []);
    const detail = { median, each: count === 0 ? 0 : (min - none) / count };
    report(`callback-round:${count}`, 'ns/munmap', min, { name: 'nobody subscribed', value: none }, null, detail);
  });
}

const SPAN = 16 * PAGE;

/** @param {number} count intervals of one page to sixteen, one beginning every sixteen pages */
function indexOf(count) {
  const index = new IntervalIndex();
  for (let i = 0; i < count; i++) index.insert(intervalAt(i));
  return index;
}

/** @param {number} i */
function intervalAt(i) {
  const node = new IntervalNode();
  node.start = i * SPAN;
  node.last = node.start + (1 + (i % 16)) * PAGE - 1;
  return node;
}

let seen = 0;

/** @param {ReturnType<typeof indexOf>} index @param {number} count */
function searches(index, count) {
  const reps = 20000;
  const start = now();
  for (let i = 0; i < reps; i++) {
    const page = ((i * 2654435761) % count) * SPAN;
    for (let n = index.first(page, page + PAGE); n !== null; n = index.next(n, page, page + PAGE)) seen++;
  }
  return elapsed(start, now()) / reps;
}

/** @param {ReturnType<typeof indexOf>} index @param {number} count one insert and one removal */
function changes(index, count) {
  const reps = 5000;
  const start = now();
  for (let i = 0; i < reps; i++) {
    const node = intervalAt((i * 2654435761) % count);
    index.insert(node);
    index.remove(node);
  }
  return elapsed(start, now()) / reps;
}

if (wanted('interval-lookup') || wanted('interval-change')) {
  const few = indexOf(100);
  const many = indexOf(100_000);
  /** @type {[string, number[]][]} */
  const cases = [
    ['interval-lookup:100', []],
    ['interval-lookup:100000', []],
    ['interval-change:100', []],
    ['interval-change:100000', []],
  ];
  for (let round = -2; round < ROUNDS; round++) {
    const ns = [searches(few, 100), searches(many, 100_000), changes(few, 100), changes(many, 100_000)];
    if (round < 0) continue;
    for (const [i, [, list]] of cases.entries()) list.push(/** @type {number} */ (ns[i]));
  }
  cases.forEach(([name, list], i) => {
    const { min, median } = figureOf(list);
    const reference = figureOf(cases[i - (i % 2)]?.[1] ?? []).min;
    const unit = name.startsWith('interval-lookup') ? 'ns/search' : 'ns/insert and remove';
    report(name, unit, min, { name: 'among 100', value: reference }, null, { median, seen });
  });
}
