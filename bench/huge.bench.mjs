// @ts-check
/**
 * Costs per huge page, and per page of reclaim, swap, migration and KSM; beside the running kernel's where it can show them: the pool
 * of huge pages and KSM are switched on for that and put back, move_pages needs two nodes. Reclaim from the LRU lists has no reference:
 * the running kernel would have to be short of memory.
 */
import { compareWithHost, elapsed, mayWant, now } from './harness.mjs';
import {
  load,
  MADV_DONTNEED,
  Machine,
  NR_madvise,
  NR_mmap,
  NR_munmap,
  PAGE,
  PMD_SIZE,
  PROT_READ,
  RW,
} from './simulated.mjs';

/** @typedef {import('./harness.mjs').Compared} Compared */
/** @typedef {import('./harness.mjs').HostLines} HostLines */

const MADV_HUGEPAGE = 14;
const MADV_MERGEABLE = 12;
const MADV_PAGEOUT = 21;
const MADV_COLLAPSE = 25;
const HUGE_PAGES = 16;
const PAGES = 512;
const REPS = 60;
const MAP_PRIVATE_HUGETLB = 0x40022;

/** @type {typeof import('../src/mm/process/files.ts')} */
const { installFile } = await load('mm/process/files.js');
/** @type {typeof import('../src/mm/types.ts')} */
const { OpenFile } = await load('mm/types.js');
/** @type {typeof import('../src/mm/ksm/scan.ts')} */
const { ksmRun } = await load('mm/ksm/scan.js');
/** @type {typeof import('../src/mm/migrate/move-pages.ts')} */
const { doPagesMove } = await load('mm/migrate/move-pages.js');

/** @param {string} figure */
const least = (figure) => (/** @type {HostLines} */ lines) => lines.get(figure)?.ns;

/** @param {Machine} m @param {number} bytes @param {number} advice */
function advised(m, bytes, advice) {
  const base = m.mapAligned(bytes, PMD_SIZE, RW);
  m.must(NR_madvise, base, bytes, advice);
  return base;
}

/** @returns {Compared[]} */
function thp() {
  const m = new Machine();
  const bytes = HUGE_PAGES * PMD_SIZE;
  const touchHuge = (/** @type {number} */ base) => {
    for (let i = 0; i < HUGE_PAGES; i++) m.touch(base + i * PMD_SIZE, 1);
  };
  return [
    {
      name: 'thp-fault',
      unit: 'ns/huge page',
      target: null,
      reps: REPS,
      host: least('thp-fault'),
      sample: () => {
        const base = advised(m, bytes, MADV_HUGEPAGE);
        const start = now();
        touchHuge(base);
        const ns = elapsed(start, now()) / HUGE_PAGES;
        m.must(NR_munmap, base, bytes);
        return ns;
      },
    },
    {
      name: 'thp-split',
      unit: 'ns/huge page',
      target: null,
      reps: REPS,
      host: least('thp-split'),
      sample: () => {
        const base = advised(m, bytes, MADV_HUGEPAGE);
        touchHuge(base);
        const start = now();
        for (let i = 0; i < HUGE_PAGES; i++) m.must(NR_madvise, base + i * PMD_SIZE, PAGE, MADV_DONTNEED);
        const ns = elapsed(start, now()) / HUGE_PAGES;
        m.must(NR_munmap, base, bytes);
        return ns;
      },
    },
    {
      name: 'thp-collapse',
      unit: 'ns/huge page',
      target: null,
      reps: REPS,
      host: least('thp-collapse'),
      sample: () => {
        const base = m.mapAligned(PMD_SIZE, PMD_SIZE, RW);
        m.touch(base, PMD_SIZE / PAGE);
        m.must(NR_madvise, base, PMD_SIZE, MADV_HUGEPAGE);
        const start = now();
        m.must(NR_madvise, base, PMD_SIZE, MADV_COLLAPSE);
        const ns = elapsed(start, now());
        m.must(NR_munmap, base, PMD_SIZE);
        return ns;
      },
    },
  ];
}

/** @returns {Compared} */
function hugetlb() {
  const m = new Machine({ hugePages: 4 });
  const bytes = 4 * PMD_SIZE;
  return {
    name: 'hugetlb-fault',
    unit: 'ns/huge page',
    target: null,
    reps: REPS,
    host: least('hugetlb-fault'),
    sample: () => {
      const base = m.must(NR_mmap, 0, bytes, RW, MAP_PRIVATE_HUGETLB, -1, 0);
      const start = now();
      for (let at = 0; at < bytes; at += PMD_SIZE) m.touch(base + at, 1);
      const ns = elapsed(start, now()) / 4;
      m.must(NR_munmap, base, bytes);
      return ns;
    },
  };
}

/** Unchanged pages of which no two are alike. @returns {Compared} */
function ksm() {
  const m = new Machine();
  const pages = 1024;
  const base = m.mapAligned(pages * PAGE, PAGE, RW);
  for (let i = 0; i < pages; i++) {
    m.store(base + i * PAGE, (i + 1) & 255);
    m.store(base + i * PAGE + 1, (i + 1) >> 8);
  }
  m.must(NR_madvise, base, pages * PAGE, MADV_MERGEABLE);
  m.k.ksm.pagesToScan = pages;
  return {
    name: 'ksm-scan-per-page',
    unit: 'ns/page',
    target: null,
    reps: 20,
    host: least('ksm-scan'),
    sample: () => {
      const start = now();
      m.k.sched.run(ksmRun(m.k, 1));
      return elapsed(start, now()) / pages;
    },
  };
}

/** move_pages of all pages to the other node, there and back. @returns {Compared} */
function migrate() {
  const m = new Machine({ numaNodes: 2 });
  const base = m.mapAligned(PAGES * PAGE, PAGE, RW);
  m.touch(base, PAGES);
  const addresses = Array.from({ length: PAGES }, (_, i) => base + i * PAGE);
  const status = new Int32Array(PAGES);
  let node = 0;
  return {
    name: 'migrate-per-page',
    unit: 'ns/page',
    target: null,
    reps: REPS,
    host: least('migrate'),
    sample: () => {
      node = 1 - node;
      const targets = addresses.map(() => node);
      const start = now();
      const left = m.k.sched.run(doPagesMove(m.k, m.mm, addresses, targets, status, false));
      const ns = elapsed(start, now()) / PAGES;
      if (left !== 0 || status[0] !== node) throw new Error(`move_pages answers ${left}, status ${status[0]}`);
      return ns;
    },
  };
}

/** Anonymous pages without swap: reclaim looks at them and puts them back. @returns {Compared} */
function scan() {
  const m = new Machine({ swapPages: 0 });
  const bytes = PAGES * PAGE;
  const base = m.mapAligned(bytes, PAGE, RW);
  return {
    name: 'reclaim-scan-per-page',
    unit: 'ns/page',
    target: null,
    reps: REPS,
    host: least('reclaim-scan'),
    sample: () => {
      m.touch(base, PAGES);
      const start = now();
      m.must(NR_madvise, base, bytes, MADV_PAGEOUT);
      return elapsed(start, now()) / PAGES;
    },
  };
}

/** Clean pages of a file that nobody maps any more, from the LRU lists. @returns {Compared} */
function lru() {
  const m = new Machine();
  const bytes = PAGES * PAGE;
  const inode = m.k.newInode('regular', '/bench', bytes);
  const fd = installFile(m.k, m.task, new OpenFile(inode, true, false));
  return {
    name: 'reclaim-lru-per-page',
    unit: 'ns/page',
    target: null,
    reps: REPS,
    host: () => undefined,
    sample: () => {
      m.must(NR_munmap, m.must(NR_mmap, 0, bytes, PROT_READ, 0x8002, fd, 0), bytes);
      const start = now();
      for (let i = 0; inode.mapping.pages.size > 0; i++) {
        if (i > PAGES) throw new Error('reclaim gets nowhere');
        m.k.sched.run(m.k.fn.tryToFreePages(m.k, 32));
      }
      return elapsed(start, now()) / PAGES;
    },
  };
}

/** Clean pages of a file, mapped. @returns {Compared} */
function reclaim() {
  const m = new Machine();
  const bytes = PAGES * PAGE;
  const inode = m.k.newInode('regular', '/bench', bytes);
  const fd = installFile(m.k, m.task, new OpenFile(inode, true, false));
  return {
    name: 'reclaim-file-per-page',
    unit: 'ns/page',
    target: null,
    reps: REPS,
    host: least('reclaim-file'),
    sample: () => {
      const base = m.must(NR_mmap, 0, bytes, PROT_READ, 0x8002, fd, 0);
      const start = now();
      m.must(NR_madvise, base, bytes, MADV_PAGEOUT);
      const ns = elapsed(start, now()) / PAGES;
      m.must(NR_munmap, base, bytes);
      return ns;
    },
  };
}

/** @returns {Compared[]} */
function swap() {
  const m = new Machine({ swapPages: 8192 });
  const bytes = PAGES * PAGE;
  const sample = (/** @type {boolean} */ isOut) => () => {
    const base = m.mapAligned(bytes, PAGE, RW);
    m.touch(base, PAGES);
    const start = now();
    m.must(NR_madvise, base, bytes, MADV_PAGEOUT);
    const middle = now();
    m.touch(base, PAGES);
    const ns = (isOut ? elapsed(start, middle) : elapsed(middle, now())) / PAGES;
    m.must(NR_munmap, base, bytes);
    return ns;
  };
  const figure = (/** @type {string} */ name, /** @type {boolean} */ isOut) => ({
    name: `${name}-per-page`,
    unit: 'ns/page',
    target: null,
    reps: REPS,
    host: least(name),
    sample: sample(isOut),
  });
  return [figure('swap-out', true), figure('swap-in', false)];
}

if (mayWant('thp-')) compareWithHost(['huge', 'thp'], thp());
if (mayWant('hugetlb-')) compareWithHost(['huge', 'hugetlb'], [hugetlb()]);
if (mayWant('ksm-')) compareWithHost(['huge', 'ksm'], [ksm()]);
if (mayWant('migrate-')) compareWithHost(['huge', 'migrate'], [migrate()]);
if (mayWant('reclaim-')) compareWithHost(['huge', 'reclaim'], [reclaim(), scan(), lru()]);
if (mayWant('swap-')) compareWithHost(['huge', 'swap'], swap());
