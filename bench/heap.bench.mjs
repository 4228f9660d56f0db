// @ts-check
/**
 * What translated accesses leave on the heap: ten million of them over three times as many pages as the TLB holds, so that a
 * good part misses and walks (no fault: every page is mapped). Bytes after a collection before and after are compared; those
 * before the second collection show what was allocated for a moment.
 */
import { note, report, wanted } from './harness.mjs';
import { cpuWithPages } from './page-tables.mjs';

const ACCESSES = 1e7;
const RUNS = 5;
const SETS = 64;
const WAYS = 8;
const PAGES = 3 * SETS * WAYS;
const FIRST_PAGE = 0x7f1234567;
const PAGE = 4096;

/** @param {import('../src/hw/cpu.ts').Cpu} cpu @param {number} count */
function run(cpu, count) {
  let sum = 0;
  let x = 1;
  for (let i = 0; i < count; i++) {
    // Three of four accesses stay in a few pages, the fourth goes anywhere.
    x = (Math.imul(x, 1664525) + 1013904223) | 0;
    const page = (i & 3) === 0 ? (x >>> 8) % PAGES : (x >>> 8) & 15;
    sum += cpu.translate((FIRST_PAGE + page) * PAGE + (x & 4095), i & 1);
  }
  return sum;
}

if (wanted('heap-growth')) {
  const gc = /** @type {(() => void) | undefined} */ (/** @type {any} */ (globalThis).gc);
  if (!gc) note('SKIPPED: heap-growth needs node --expose-gc');
  else {
    const cpu = cpuWithPages(
      Array.from({ length: PAGES }, (_, i) => FIRST_PAGE + i),
      SETS,
      WAYS,
    );
    const used = () => process.memoryUsage().heapUsed;
    // Compiled code and type feedback come with the first runs; the least of several is what the accesses leave.
    /** @type {number[]} */
    const growths = [];
    let atOnce = Number.POSITIVE_INFINITY;
    for (let i = 0; i < RUNS; i++) {
      gc();
      gc();
      const before = used();
      cpu.misses = 0;
      run(cpu, ACCESSES);
      atOnce = Math.min(atOnce, used() - before);
      gc();
      gc();
      growths.push(used() - before);
    }
    report('heap-growth', 'bytes', Math.min(...growths), null, null, {
      accesses: ACCESSES,
      missesWithWalk: cpu.misses,
      bytesPerAccessBeforeCollection: atOnce / ACCESSES,
      eachRun: growths,
    });
  }
}
