// @ts-check
/** One side of points.bench.mjs: a few benches on the modules of --dist; the least of each as one JSON line. */
import { elapsed, now, option, recording } from './harness.mjs';
import { IssuedCalls } from './issue-calls.mjs';
import { convertStrace, readText } from './recorded-calls.mjs';
import { Machine, NR_munmap, PAGE, PMD_SIZE, RW } from './simulated.mjs';

const PAGES = 512;
const REPS = 400;
const CALLS = Number(option('calls') ?? 200_000);

const least = { fault: Number.POSITIVE_INFINITY, munmap: Number.POSITIVE_INFINITY, calls: Number.POSITIVE_INFINITY };

const m = new Machine();
for (let i = 0; i < REPS; i++) {
  const base = m.mapAligned(PAGES * PAGE, PMD_SIZE, RW);
  const start = now();
  m.touch(base, PAGES);
  const middle = now();
  m.must(NR_munmap, base, PAGES * PAGE);
  least.munmap = Math.min(least.munmap, elapsed(middle, now()) / PAGES);
  least.fault = Math.min(least.fault, elapsed(start, middle) / PAGES);
}

const strace = recording('programs/mmap-copy.strace');
if (strace) {
  const calls = convertStrace(readText(strace));
  const issued = new IssuedCalls(new Machine(), calls);
  for (let done = 0; done < CALLS; done += calls.count) {
    const start = now();
    issued.iterate();
    least.calls = Math.min(least.calls, elapsed(start, now()) / calls.count);
  }
}
console.log(JSON.stringify(least));
