// @ts-check
/** Costs per huge page, and per page of reclaim, swap, migration and KSM; beside the running kernel's where it can show them. */
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
const MADV_PAGEOUT = 21;
const MADV_COLLAPSE = 25;
const HUGE_PAGES = 16;
const PAGES = 512;
const REPS = 60;

/** @type {typeof import('../src/mm/process/files.ts')} */
const { installFile } = await load('mm/process/files.js');
/** @type {typeof import('../src/mm/types.ts')} */
const { OpenFile } = await load('mm/types.js');

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

if (mayWant('thp-')) compareWithHost(['huge'], thp());
if (mayWant('reclaim-')) compareWithHost(['huge'], [reclaim()]);
if (mayWant('swap-')) compareWithHost(['huge'], swap());
