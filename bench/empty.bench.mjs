// @ts-check
/**
 * Calls on 256 MiB that were never touched, alone and beside a neighbour that has a page table, and one page among 60,000
 * areas. No call may look at every page: the number of page-table entries that it reads is counted on 64 and on 256 MiB,
 * and both times are given.
 */
import { compareWithHost, elapsed, mayWant, now } from './harness.mjs';
import {
  ANON,
  load,
  MADV_DONTNEED,
  Machine,
  NR_madvise,
  NR_mmap,
  NR_mprotect,
  NR_munmap,
  PAGE,
  PMD_SIZE,
  PROT_NONE,
  PROT_READ,
  RW,
} from './simulated.mjs';

/** @typedef {import('./harness.mjs').Compared} Compared */

const MIB = 1 << 20;
const GIB = 1 << 30;
const BATCH = 200;
const ROUNDS = 50;
const MAP_FIXED_NOREPLACE = 0x100000;

/** @type {typeof import('../src/base/footprint.ts')} */
const { Footprint, OBJ_ENTRY } = await load('base/footprint.js');

/** Counts page-table entries that are read. */
class EntryReads extends Footprint {
  reads = 0;

  /** @override @param {number} kind @param {number} _identity @param {boolean} isWrite */
  note(kind, _identity, isWrite) {
    if (kind === OBJ_ENTRY && !isWrite) this.reads++;
  }
}

/** Entries read by one call of fn. @param {Machine} m @param {() => void} fn */
function entryReads(m, fn) {
  const counter = new EntryReads();
  m.k.memory.footprint = counter;
  fn();
  m.k.memory.footprint = null;
  return counter.reads;
}

const m = new Machine();

/** @type {Record<string, { unit: string, calls: number, run: (base: number, bytes: number) => void }>} */
const OPERATIONS = {
  mprotect: {
    unit: 'ns/call',
    calls: 2,
    run: (base, bytes) => {
      m.must(NR_mprotect, base, bytes, PROT_READ);
      m.must(NR_mprotect, base, bytes, RW);
    },
  },
  dontneed: { unit: 'ns/call', calls: 1, run: (base, bytes) => void m.must(NR_madvise, base, bytes, MADV_DONTNEED) },
};

function mapAndUnmap(/** @type {number} */ bytes) {
  m.must(NR_munmap, m.must(NR_mmap, 0, bytes, RW, ANON, -1, 0), bytes);
}

/** @param {() => void} run @param {number} calls */
function batch(run, calls) {
  const start = now();
  for (let i = 0; i < BATCH; i++) run();
  return elapsed(start, now()) / (BATCH * calls);
}

/** Least of some batches. @param {() => void} run @param {number} calls */
function leastOf(run, calls) {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < ROUNDS; i++) least = Math.min(least, batch(run, calls));
  return Math.round(least);
}

/** @param {(bytes: number) => void} run @param {number} calls */
function scaling(run, calls) {
  const small = 64 * MIB;
  const large = 256 * MIB;
  return {
    entryReads: { '64MiB': entryReads(m, () => run(small)), '256MiB': entryReads(m, () => run(large)) },
    ns: { '64MiB': leastOf(() => run(small), calls), '256MiB': leastOf(() => run(large), calls) },
  };
}

/** The range begins a GiB of its own, as hostref's does; with a neighbour its last page is touched. */
function roomFor(/** @type {boolean} */ beside) {
  const base = m.mapAligned(GIB, GIB, PROT_NONE);
  m.must(NR_mprotect, base, 256 * MIB, RW);
  if (beside) {
    m.must(NR_mprotect, base + GIB - PAGE, PAGE, RW);
    m.touch(base + GIB - PAGE, 1);
  }
  return base;
}

function timedFork() {
  const start = now();
  const pid = m.fork();
  const ns = elapsed(start, now());
  m.exit(pid);
  return ns;
}

/** @param {string} suffix @param {number} base @returns {Compared[]} */
function figures(suffix, base) {
  const bytes = 256 * MIB;
  const list = Object.entries(OPERATIONS).map(
    ([name, { unit, calls, run }]) =>
      /** @type {Compared} */ ({
        name: `empty-256M-${name}${suffix}`,
        unit,
        target: 1,
        reps: ROUNDS,
        host: (lines) => lines.get(`empty-${name}${suffix}/256MiB`)?.ns,
        sample: () => batch(() => run(base, bytes), calls),
        detail: () => scaling((size) => run(base, size), calls),
      }),
  );
  list.push({
    name: `empty-256M-fork${suffix}`,
    unit: 'ns/call',
    target: 1,
    reps: ROUNDS,
    host: (lines) => lines.get(`empty-fork${suffix}/256MiB`)?.ns,
    sample: timedFork,
    detail: () => ({ entryReads: entryReads(m, () => m.exit(m.fork())) }),
  });
  return list;
}

if (mayWant('empty-256M-')) {
  const first = roomFor(false);
  compareWithHost(
    ['empty'],
    [
      {
        name: 'empty-256M-mmap-munmap',
        unit: 'ns/pair',
        target: 1,
        reps: ROUNDS,
        host: (lines) => lines.get('empty-mmap-munmap/256MiB')?.ns,
        sample: () => batch(() => mapAndUnmap(256 * MIB), 1),
        detail: () => scaling(mapAndUnmap, 1),
      },
      ...figures('', first),
    ],
  );
  m.must(NR_munmap, first, GIB);
  compareWithHost(['empty'], figures('-beside', roomFor(true)));
}

/** Pages of alternating protection; with holes every second one is not mapped. */
function manyAreas(/** @type {Machine} */ many, /** @type {number} */ areas, /** @type {boolean} */ holes) {
  const pages = holes ? 2 * areas : areas;
  const base = many.mapAligned(pages * PAGE, PMD_SIZE, PROT_READ);
  for (let i = 1; i < pages; i += 2) {
    if (holes) many.must(NR_munmap, base + i * PAGE, PAGE);
    else many.must(NR_mprotect, base + i * PAGE, PAGE, PROT_NONE);
  }
  return base;
}

/** @param {string} suffix @param {() => void} pair @returns {Compared} */
const pairs = (suffix, pair) => ({
  name: `vmas-60000${suffix}`,
  unit: 'ns/pair',
  target: 1,
  reps: ROUNDS,
  host: (lines) => lines.get(`vmas-mmap-munmap${suffix}/60000`)?.ns,
  sample: () => batch(pair, 1),
});

if (mayWant('vmas-60000')) {
  const AREAS = 60000;
  const many = new Machine();
  const anywhere = (/** @type {number} */ bytes) => () => {
    many.must(NR_munmap, many.must(NR_mmap, 0, bytes, RW, ANON, -1, 0), bytes);
  };
  const base = manyAreas(many, AREAS, false);
  compareWithHost(['vmas'], [pairs('', anywhere(PAGE))]);
  const hole = base + (AREAS / 2) * PAGE;
  many.must(NR_munmap, hole, PAGE);
  const inTheHole = () => {
    many.must(NR_mmap, hole, PAGE, RW, ANON | MAP_FIXED_NOREPLACE, -1, 0);
    many.must(NR_munmap, hole, PAGE);
  };
  compareWithHost(['vmas'], [pairs('-middle', inTheHole)]);
  many.must(NR_munmap, base, AREAS * PAGE);
  manyAreas(many, AREAS, true);
  compareWithHost(['vmas'], [pairs('-holes', anywhere(2 * PAGE))]);
}
