// @ts-check
/**
 * A device behind an IOMMU: an access that its own TLB answers, one that the IOMMU's TLB answers, one that a walk answers, and a page
 * request from the denied translation to the access (log, interrupt thread, worker, fault, response, translation). Each against what the
 * CPU takes for the same in the same run: a hit of its TLB, a miss and walk, a page fault. With points off, as in a replay; the detail of
 * the page request says how many scheduler steps it takes, and how many with points on.
 */
import { elapsed, interleave, mayWant, now, report, wanted } from './harness.mjs';
import { load } from './simulated.mjs';

/** @type {typeof import('../src/system/machine.ts')} */
const { createMachine } = await load('system/machine.js');
/** @type {typeof import('../src/mm/process/task.ts')} */
const { createProcess } = await load('mm/process/task.js');
/** @type {typeof import('../src/mm/cpu-access.ts')} */
const { pageFault, switchMm, tryStore } = await load('mm/cpu-access.js');
/** @type {typeof import('../src/abi/syscalls.ts')} */
const { NR_madvise } = await load('abi/syscalls.js');

const PAGES = 512;
const VA = 0x40000000;
const DONTNEED = 4;
const ROUNDS = 15;
const ACCESS_WRITE = 1;

/** A process with PAGES pages, and the device bound to it. @param {string} name */
function world(name) {
  const device = { device: name, hasWorkload: false, faultWorkers: 1, ats: { engines: 1, atcSets: 128, atcWays: 8 } };
  const m = createMachine({
    kernel: { frames: 4096, cpus: 1, tlbSets: 128, tlbWays: 8 },
    design: 'linux-6.12',
    device,
  });
  const areas = [{ start: VA, end: VA + PAGES * 4096, perms: 'rw-p', offset: 0, path: '' }];
  const task = m.run(createProcess(m.kernel, { areas, startBrk: 0x600000 }));
  if (!task.mm || !m.device || m.run(m.device.bind(task.mm)) !== 0) throw new Error('bind refuses');
  const shared = /** @type {import('../src/device/shared-table-device.ts').SharedTableDevice} */ (m.device);
  const cpu = m.kernel.cpus[0];
  if (!cpu) throw new Error('no CPU');
  switchMm(m.kernel, cpu, task.mm);
  return { m, task, mm: task.mm, cpu, ats: shared.ats, iommu: shared.iommu };
}

/** @typedef {ReturnType<typeof world>} World */

/** Nanoseconds for an access of each page, which `prepare` has got ready. @param {World} w @param {number} times @param {() => void} prepare */
function accesses(w, times, prepare) {
  let total = 0;
  for (let i = 0; i < times; i++) {
    prepare();
    const start = now();
    for (let p = 0; p < PAGES; p++) {
      const va = VA + p * 4096;
      if (!w.ats.tryAccess(0, va, true) && w.m.run(w.ats.access(0, va, true, 0)) !== 0) throw new Error('refused');
    }
    total += elapsed(start, now());
  }
  return total / (times * PAGES);
}

/** The same by the CPU. @param {World} w @param {number} times @param {() => void} prepare */
function touches(w, times, prepare) {
  const { cpu } = w;
  let total = 0;
  for (let i = 0; i < times; i++) {
    prepare();
    const start = now();
    for (let p = 0; p < PAGES; p++) {
      const va = VA + p * 4096;
      if (tryStore(cpu, va, 1)) continue;
      w.m.run(pageFault(w.m.kernel, w.mm, va, ACCESS_WRITE));
      if (!tryStore(cpu, va, 1)) throw new Error('refused');
    }
    total += elapsed(start, now());
  }
  return total / (times * PAGES);
}

/** @param {World} w */
function discard(w) {
  w.m.run(w.m.call(w.task, NR_madvise, VA, PAGES * 4096, DONTNEED));
}

/** Steps of a page request with points on, from the first Translation Request to the access. @param {string} name */
function stepsOf(name) {
  const w = world(name);
  const before = w.m.kernel.sched.steps;
  w.m.interleave({ engine: w.ats.access(0, VA, true, 0) });
  return w.m.kernel.sched.steps - before;
}

/** @param {string} name @param {number} times @param {World} w @param {(w: World) => void} ours @param {(w: World) => void} cpus */
function compare(name, times, w, ours, cpus) {
  if (!wanted(name)) return;
  accesses(w, 3, () => ours(w));
  touches(w, 3, () => cpus(w));
  const r = interleave(
    ROUNDS,
    () => accesses(w, times, () => ours(w)),
    () => touches(w, times, () => cpus(w)),
  );
  const of = { name: 'CPU', value: r.reference.min };
  report(name, 'ns/access', r.ours.min, of, null, { median: r.ours.median, medianOfReference: r.reference.median });
}

if (mayWant('ats-')) {
  const w = world('amd-iommu-v2');
  discard(w);
  accesses(w, 1, () => {});
  const { cpu } = w;
  compare(
    'ats-hit',
    200,
    w,
    () => {},
    () => {},
  );
  compare(
    'ats-miss-iotlb',
    40,
    w,
    () => w.ats.atc.invalidateAsid(-1),
    () => cpu.tlb.invalidateAsid(-1),
  );
  const dropAll = () => {
    w.ats.atc.invalidateAsid(-1);
    w.iommu.tlb.invalidateAsid(-1);
    w.iommu.walkCache.invalidateAsid(-1);
  };
  compare('ats-miss-walk', 40, w, dropAll, () => {
    cpu.tlb.invalidateAsid(-1);
    cpu.walkCache.invalidateAsid(-1);
  });
}

for (const name of ['amd-iommu-v2', 'intel-svm']) {
  const figure = `page-request-${name}`;
  if (!wanted(figure)) continue;
  const w = world(name);
  discard(w);
  accesses(w, 2, () => discard(w));
  touches(w, 2, () => discard(w));
  const { sched } = w.m.kernel;
  discard(w);
  const before = sched.steps;
  accesses(w, 1, () => {});
  const steps = (sched.steps - before) / PAGES;
  const r = interleave(
    ROUNDS,
    () => accesses(w, 4, () => discard(w)),
    () => touches(w, 4, () => discard(w)),
  );
  const of = { name: 'page fault of a CPU', value: r.reference.min };
  report(figure, 'ns/round trip', r.ours.min, of, null, {
    median: r.ours.median,
    medianOfReference: r.reference.median,
    steps,
    stepsWithPoints: stepsOf(name),
  });
}
