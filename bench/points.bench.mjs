// @ts-check
/**
 * What the preemption points cost when they are off: the same modules with the points taken out by syntax
 * (scripts/strip-points.mjs), in processes of their own, in turn.
 */
import { execFileSync } from 'node:child_process';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { stripPoints } from '../scripts/strip-points.mjs';
import { mayWant, option, report, wanted, withTemporary } from './harness.mjs';

const ROUNDS = 4;
const UNITS = { fault: 'ns/page', munmap: 'ns/page', calls: 'ns/call' };

/** @typedef {keyof typeof UNITS} Name */

/** @param {string} dist @returns {Record<Name, number>} */
function run(dist) {
  const program = fileURLToPath(new URL('points-run.mjs', import.meta.url));
  const args = [program, '--dist', dist, '--recordings', option('recordings') ?? 'recordings'];
  return JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] }));
}

/** @param {Record<Name, number> | null} a @param {Record<Name, number>} b */
const least = (a, b) =>
  a === null
    ? b
    : { fault: Math.min(a.fault, b.fault), munmap: Math.min(a.munmap, b.munmap), calls: Math.min(a.calls, b.calls) };

if (mayWant('points-off-overhead')) {
  withTemporary((dir) => {
    const dist = resolve(option('dist') ?? 'dist');
    const bare = join(dir, 'dist');
    const stripped = stripPoints(dist, bare);
    /** @type {Record<Name, number> | null} */
    let ours = null;
    /** @type {Record<Name, number> | null} */
    let reference = null;
    for (let round = 0; round < ROUNDS; round++) {
      reference = least(reference, run(bare));
      ours = least(ours, run(dist));
    }
    for (const [key, unit] of Object.entries(UNITS)) {
      const name = `points-off-overhead:${key}`;
      const value = ours?.[/** @type {Name} */ (key)] ?? Number.NaN;
      const without = reference?.[/** @type {Name} */ (key)] ?? Number.NaN;
      if (wanted(name)) report(name, unit, value, { name: 'without points', value: without }, 1.1, { ...stripped });
    }
  });
}
