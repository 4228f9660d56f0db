// @ts-check
/**
 * Recorded programs' memory calls, a million of them for each program: on the running kernel and on the simulated one, which
 * get the same records. Parsed beforehand; no page is touched, no device listens. The detail says how many calls fail on
 * either side, which is to be the same number.
 */
import { join } from 'node:path';
import { elapsed, figureOf, hostref, note, now, recording, report, wanted, withTemporary } from './harness.mjs';
import { IssuedCalls } from './issue-calls.mjs';
import { writeRecordedCalls } from './recorded-calls.mjs';
import { Machine } from './simulated.mjs';

const TOTAL = 1e6;
const TURNS = 4;

/** @param {string} file @param {number} total */
function runHost(file, total) {
  return hostref('calls', file, String(total))?.get('calls');
}

withTemporary((dir) => {
  for (const program of ['malloc-threads', 'mmap-copy', 'perl-sort', 'gcc-compile']) {
    const name = `recorded-calls:${program}`;
    if (!wanted(name)) continue;
    const strace = recording(`programs/${program}.strace`);
    if (!strace) continue;
    const file = join(dir, `${program}.calls`);
    const calls = writeRecordedCalls(strace, file);
    note(`${program}: ${calls.count} calls, ${calls.setup} to set up and ${calls.teardown} to tear down among them`);
    const issued = new IssuedCalls(new Machine(), calls);
    const iterations = Math.ceil(TOTAL / TURNS / calls.count);
    for (let i = 0; i < Math.min(iterations, 200); i++) issued.iterate();
    /** @type {number[]} */
    const samples = [];
    /** @type {number[]} */
    const hostNs = [];
    let host = runHost(file, 1);
    for (let turn = 0; turn < TURNS; turn++) {
      host = runHost(file, TOTAL / TURNS);
      if (host) hostNs.push(host.ns);
      for (let i = 0; i < iterations; i++) {
        const start = now();
        issued.iterate();
        samples.push(elapsed(start, now()) / calls.count);
      }
    }
    const { min, median } = figureOf(samples);
    const mean = samples.reduce((a, b) => a + b, 0) / samples.length;
    report(name, 'ns/call', min, host ? { name: 'host kernel', value: Math.min(...hostNs) } : null, 1, {
      median,
      mean,
      calls: samples.length * calls.count,
      failed: issued.failed,
      otherwiseThanRecorded: issued.differs,
      host: host?.detail,
    });
  }
});
