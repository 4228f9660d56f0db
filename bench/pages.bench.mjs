// @ts-check
/** Costs per populated page: first write, munmap, MADV_DONTNEED, mprotect, fork, mremap; each beside the running kernel's. */
import { compareWithHost, elapsed, mayWant, now } from './harness.mjs';
import {
  ANON,
  MADV_DONTNEED,
  MAP_FIXED,
  Machine,
  MREMAP_MOVE_FIXED,
  NR_madvise,
  NR_mmap,
  NR_mprotect,
  NR_mremap,
  NR_munmap,
  PAGE,
  PMD_SIZE,
  PROT_NONE,
  PROT_READ,
  RW,
  repsFor,
} from './simulated.mjs';

/** @typedef {import('./harness.mjs').Compared} Compared */

const SIZES = [16, 512, 8192];
const m = new Machine();

/** @param {string} figure */
const least = (figure) => (/** @type {import('./harness.mjs').HostLines} */ lines) => lines.get(figure)?.ns;

/** @param {number} pages @returns {Compared} */
const fault = (pages) => ({
  name: `anon-write-fault/${pages}`,
  unit: 'ns/page',
  target: 0.5,
  reps: repsFor(pages),
  host: least(`fault-anon-write/${pages}`),
  sample: () => {
    const base = m.mapAligned(pages * PAGE, PMD_SIZE, RW);
    const start = now();
    m.touch(base, pages);
    const ns = elapsed(start, now()) / pages;
    m.must(NR_munmap, base, pages * PAGE);
    return ns;
  },
});

/** @param {number} pages @returns {Compared[]} */
const unmap = (pages) => [
  {
    name: `munmap-per-page/${pages}`,
    unit: 'ns/page',
    target: 1,
    reps: repsFor(pages),
    host: least(`munmap/${pages}`),
    sample: () => {
      const base = m.mapAligned(pages * PAGE, PMD_SIZE, RW);
      m.touch(base, pages);
      const start = now();
      m.must(NR_munmap, base, pages * PAGE);
      return elapsed(start, now()) / pages;
    },
  },
  {
    name: `dontneed-per-page/${pages}`,
    unit: 'ns/page',
    target: 1,
    reps: repsFor(pages),
    host: least(`dontneed/${pages}`),
    sample: () => {
      const base = m.mapAligned(pages * PAGE, PMD_SIZE, RW);
      m.touch(base, pages);
      const start = now();
      m.must(NR_madvise, base, pages * PAGE, MADV_DONTNEED);
      const ns = elapsed(start, now()) / pages;
      m.must(NR_munmap, base, pages * PAGE);
      return ns;
    },
  },
];

/** @param {number} pages @returns {Compared} */
const protect = (pages) => {
  let base = 0;
  return {
    name: `mprotect-per-page/${pages}`,
    unit: 'ns/page, pair',
    target: 1,
    reps: repsFor(pages),
    host: least(`mprotect-pair/${pages}`),
    sample: () => {
      if (base === 0) base = m.mapAligned(pages * PAGE, PMD_SIZE, RW);
      m.touch(base, pages);
      const start = now();
      m.must(NR_mprotect, base, pages * PAGE, PROT_READ);
      m.must(NR_mprotect, base, pages * PAGE, RW);
      return elapsed(start, now()) / pages;
    },
  };
};

/** Least of forks without the pages: taken off, as on the host's side. */
let bareFork = Number.POSITIVE_INFINITY;

function timedFork() {
  const start = now();
  const pid = m.fork();
  const ns = elapsed(start, now());
  m.exit(pid);
  return ns;
}

/** @param {number} pages @returns {Compared} */
const fork = (pages) => ({
  name: `fork-per-page/${pages}`,
  unit: 'ns/page',
  target: 1,
  reps: repsFor(pages) / 2,
  host: (lines) => {
    const bare = lines.get('fork-call/0');
    const call = lines.get(`fork-call/${pages}`);
    return bare && call && (call.ns - bare.ns) / pages;
  },
  sample: () => {
    bareFork = Math.min(bareFork, timedFork());
    const base = m.mapAligned(pages * PAGE, PMD_SIZE, RW);
    m.touch(base, pages);
    const ns = timedFork();
    m.must(NR_munmap, base, pages * PAGE);
    return ns;
  },
  derive: (ns) => (ns - bareFork) / pages,
  detail: () => ({ bareForkNs: Math.round(bareFork) }),
});

/** There and back; with `skew` pages between the offsets in 2 MiB, so that entries move one by one. */
function move(/** @type {number} */ pages, /** @type {string} */ what, /** @type {number} */ skew) {
  const bytes = pages * PAGE;
  const half = Math.ceil((bytes + PMD_SIZE) / PMD_SIZE) * PMD_SIZE;
  let at = 0;
  let other = 0;
  /** @type {Compared} */
  const figure = {
    name: `mremap-${what}-per-page/${pages}`,
    unit: 'ns/page',
    target: 1,
    reps: repsFor(pages),
    host: least(`mremap-${what}/${pages}`),
    sample: () => {
      if (at === 0) {
        at = m.mapAligned(2 * half, PMD_SIZE, PROT_NONE);
        other = at + half + skew * PAGE;
        m.must(NR_mmap, at, bytes, RW, ANON | MAP_FIXED, -1, 0);
      }
      m.touch(at, pages);
      const start = now();
      m.must(NR_mremap, at, bytes, bytes, MREMAP_MOVE_FIXED, other);
      const ns = elapsed(start, now()) / pages;
      [at, other] = [other, at];
      return ns;
    },
  };
  return figure;
}

if (mayWant('anon-write-fault')) compareWithHost(['fault'], SIZES.map(fault));
if (mayWant('munmap-per-page') || mayWant('dontneed-per-page')) compareWithHost(['unmap'], SIZES.flatMap(unmap));
if (mayWant('mprotect-per-page')) compareWithHost(['protect'], SIZES.map(protect));
if (mayWant('fork-per-page')) compareWithHost(['fork'], SIZES.map(fork));
if (mayWant('mremap-'))
  compareWithHost(
    ['move'],
    SIZES.flatMap((pages) => [
      move(pages, 'entries', 17),
      ...(pages * PAGE >= PMD_SIZE ? [move(pages, 'tables', 0)] : []),
    ]),
  );
