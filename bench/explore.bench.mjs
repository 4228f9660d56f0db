// @ts-check
/**
 * The explorer of interleavings. Executions of three small tasks beside schedules of the same tasks under fast-check's scheduler;
 * executions and steps of a machine (munmap of one page that a device uses through an IOMMU) in one thread, and with two
 * workers beside one; how many executions stand for how many interleavings (Knuth's estimate).
 */

import { readdirSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import { note, now, option, report, wanted } from './harness.mjs';

const dist = pathToFileURL(`${resolve(option('dist') ?? 'dist')}/`).href;
/** @param {string} path under dist @returns {Promise<any>} */
const load = (path) => import(`${dist}${path}`);

/** @type {typeof import('../src/explore/explore.ts')} */
const { explore } = await load('explore/explore.js');
/** @type {typeof import('../src/explore/enumerate.ts')} */
const { estimateInterleavings } = await load('explore/enumerate.js');
/** @type {typeof import('../src/base/rng.ts')} */
const { Rng } = await load('base/rng.js');
/** @type {typeof import('../src/base/footprint.ts')} */
const { OBJ_FRAME } = await load('base/footprint.js');
/** @type {typeof import('../src/device/device.ts')} */
const { SMALL_DEVICE } = await load('device/device.js');
/** @type {typeof import('../src/workload/parallel/device-program.ts')} */
const { deviceProgram } = await load('workload/parallel/device-program.js');
/** @type {typeof import('../src/workload/parallel/pool.ts')} */
const { exploreParallel } = await load('workload/parallel/pool.js');

/**
 * Three tasks on one variable: two read it and write it back one larger, in two steps; one sets it, in one step.
 * @implements {Program}
 * @typedef {import('../src/explore/world.ts').Program} Program
 * @typedef {import('../src/explore/world.ts').World} World
 * @typedef {import('../src/explore/world.ts').Finding} Finding
 */
class ThreeTasks {
  name = 'three tasks';
  #value = 0;
  #registers = new Int32Array(2);
  #at = new Int32Array(3);
  #enabled = 0;
  /** @type {import('../src/base/footprint.ts').Footprint | null} */
  #footprint = null;
  /** @type {readonly Finding[]} */
  #none = [];

  /** @param {unknown} _ @param {import('../src/base/footprint.ts').Footprint} footprint @returns {World} */
  build(_, footprint) {
    this.#footprint = footprint;
    this.#value = 0;
    this.#at.fill(0);
    this.#enabled = 7;
    return this;
  }

  enabled() {
    return this.#enabled;
  }

  /** @param {number} t */
  step(t) {
    const isLast = t === 2 || this.#at[t] === 1;
    this.#footprint?.note(OBJ_FRAME, 0, isLast);
    if (t === 2) this.#value = 100;
    else if (isLast) this.#value = (this.#registers[t] ?? 0) + 1;
    else this.#registers[t] = this.#value;
    this.#at[t] = 1;
    if (isLast) this.#enabled &= ~(1 << t);
    return false;
  }

  findingCount() {
    return 0;
  }

  end() {
    return this.#none;
  }

  /** @param {number} t */
  threadName(t) {
    return `task ${t}`;
  }
}

/** Nanoseconds for one execution of the three tasks: whole explorations, one after the other. */
function oursToy() {
  const program = new ThreeTasks();
  let executions = 0;
  const start = now();
  for (let i = 0; i < 4000; i++) executions += explore(program).executions;
  return (now() - start) / executions;
}

/** Nanoseconds for one schedule of the same tasks, of `runs`. @param {number} runs */
async function referenceToy(runs) {
  const start = now();
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), async (s) => {
      let value = 0;
      const step = () => s.schedule(Promise.resolve());
      const increment = async () => {
        await step();
        const register = value;
        await step();
        value = register + 1;
      };
      const set = async () => {
        await step();
        value = 100;
      };
      await s.waitFor(Promise.all([increment(), increment(), set()]));
    }),
    { numRuns: runs },
  );
  return (now() - start) / runs;
}

/** @param {readonly ('load' | 'store')[]} accesses of the device @returns {import('../src/workload/parallel/device-program.ts').DeviceProgram} */
const munmap = (accesses) => ({
  scenario: {
    name: 'munmap',
    summary: 'one page goes while the device uses it',
    setup: [
      { do: 'mmap', at: 0 },
      { do: 'store', at: 0 },
    ],
    threads: {
      munmap: { steps: [{ do: 'munmap', at: 0 }] },
      device: { on: 'device', steps: accesses.map((access) => ({ do: access, at: 0 })) },
    },
  },
  design: 'linux-6.1',
  device: { ...SMALL_DEVICE, driver: 'iommu-v2' },
});

if (wanted('explore-toy')) {
  const runs = 2000;
  await referenceToy(runs);
  oursToy();
  let [ours, reference] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  for (let round = 0; round < 5; round++) {
    reference = Math.min(reference, await referenceToy(runs));
    ours = Math.min(ours, oursToy());
  }
  const { executions } = explore(new ThreeTasks());
  const detail = {
    executionsPerSecond: Math.round(1e9 / ours),
    schedulesPerSecond: Math.round(1e9 / reference),
    executions,
  };
  report('explore-toy', 'ns/execution', ours, { name: 'fast-check scheduler', value: reference }, 0.1, detail);
}

if (wanted('explore-munmap')) {
  const program = deviceProgram(munmap(['load', 'store']));
  explore(program, { executionsMax: 500 });
  let best = Number.POSITIVE_INFINITY;
  /** @type {Record<string, unknown>} */
  let detail = {};
  for (let round = 0; round < 3; round++) {
    const start = now();
    const { executions, steps, exhaustive } = explore(program, { executionsMax: 2000 });
    const seconds = (now() - start) / 1e9;
    if (seconds / executions >= best) continue;
    best = seconds / executions;
    detail = { executionsPerSecond: Math.round(1 / best), stepsPerSecond: Math.round(steps / seconds), exhaustive };
  }
  report('explore-munmap', 'us/execution', best * 1e6, null, null, detail);
}

if (wanted('explore-reduction')) {
  const program = deviceProgram(munmap(['load']));
  const { executions, exhaustive } = explore(program);
  const { mean, low, high, walks } = estimateInterleavings(program, new Rng(1), 20_000);
  const detail = { exhaustive, walks, low: low.toPrecision(3), high: high.toPrecision(3) };
  report('explore-reduction', 'executions', executions, { name: 'interleavings, about', value: mean }, null, detail);
}

if (wanted('explore-workers')) {
  // Long enough that what a worker costs to start (its own compiled code above all) is little.
  const accesses = Array.from({ length: 8 }, (_, i) =>
    i % 2 === 0 ? /** @type {const} */ ('load') : /** @type {const} */ ('store'),
  );
  const source = {
    module: `${dist}workload/parallel/device-program.js`,
    export: 'deviceProgram',
    argument: munmap(accesses),
  };
  let [one, two] = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY];
  /** @type {Record<string, unknown>} */
  const detail = {};
  for (let round = 0; round < 2; round++) {
    for (const workers of [1, 2]) {
      const start = now();
      const { executions, exhaustive } = await exploreParallel(source, { workers });
      const seconds = (now() - start) / 1e9;
      note(`explore-workers: ${workers}: ${executions} executions, ${seconds.toFixed(1)} s`);
      detail[`executions${workers}`] = executions;
      detail[`exhaustive${workers}`] = exhaustive;
      if (workers === 1) one = Math.min(one, seconds);
      else two = Math.min(two, seconds);
    }
  }
  report('explore-workers', 's on two workers', two, { name: 'one worker', value: one }, 1 / 1.7, detail);
}

// Time from the start of a search to the first counterexample of each museum entry, the shortest of three, without making it short.
if (wanted('museum-first')) {
  /** @type {typeof import('../src/author/bundle.ts')} */
  const { openModules } = await load('author/bundle.js');
  /** @type {typeof import('../src/workload/museum/run-bug.ts')} */
  const { runRevision } = await load('workload/museum/run-bug.js');
  const files = readdirSync('bugs').filter((f) => /^\d+-.*\.ts$/.test(f));
  const bundle = await openModules(files.map((f) => `bugs/${f}`));
  const modules = await import(pathToFileURL(bundle.path).href);
  bundle.close();
  /** @type {number[]} */
  const all = [];
  for (let i = 0; i < files.length; i++) {
    const bug = modules[`m${i}`].default;
    let best = Number.POSITIVE_INFINITY;
    for (let round = 0; round < 3; round++) {
      const start = now();
      const { witness } = runRevision(bug, 'historic', { minimiseExecutions: 1 });
      if (witness !== null) best = Math.min(best, (now() - start) / 1e6);
    }
    note(`museum-first: ${bug.id}: ${best.toFixed(0)} ms`);
    all.push(best);
  }
  all.sort((a, b) => a - b);
  const detail = {
    entries: all.length,
    fastest: Math.round(all[0] ?? 0),
    slowest: Math.round(all[all.length - 1] ?? 0),
  };
  report('museum-first', 'ms, median', all[all.length >> 1] ?? 0, null, null, detail);
}
