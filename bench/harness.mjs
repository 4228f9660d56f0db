// @ts-check
/**
 * What every *.bench.mjs file shares. A result is one JSON line on stdout; everything for people goes to stderr.
 * A file of benchmarks runs in a process of its own (scripts/bench.mjs starts them), so that the call sites of one do not
 * turn polymorphic through another. Reference and ours alternate in rounds: a machine that gets slower slows both.
 * Speed is reported, never asserted.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/**
 * @typedef {object} HostLine what hostref prints for one figure
 * @property {string} name
 * @property {string} unit
 * @property {number} ns minimum
 * @property {number} median
 * @property {number} n
 * @property {string} detail
 *
 * @typedef {object} Reference
 * @property {string} name
 * @property {number} value
 *
 * @typedef {object} Figure
 * @property {number} min
 * @property {number} median
 * @property {number} rounds
 */

/** @param {string} name @returns {string | undefined} the word after --name on the command line */
export function option(name) {
  const at = process.argv.indexOf(`--${name}`);
  return at < 0 ? undefined : process.argv[at + 1];
}

const only = option('only');
const hostrefPath = option('hostref');
const recordings = option('recordings') ?? 'recordings';

/** Whether --only asks for this benchmark: it does if the name contains its word. @param {string} name */
export const wanted = (name) => only === undefined || name.includes(only);

/** Whether --only may ask for some benchmark whose name starts so. @param {string} prefix */
export const mayWant = (prefix) => only === undefined || prefix.includes(only) || only.includes(prefix);

/** @param {string} text */
export const note = (text) => {
  process.stderr.write(`${text}\n`);
};

/** @param {number[]} values @returns {Figure} */
export function figureOf(values) {
  const sorted = Float64Array.from(values).sort();
  return { min: sorted[0] ?? Number.NaN, median: sorted[sorted.length >> 1] ?? Number.NaN, rounds: values.length };
}

/** Nanoseconds that fn takes, of reps runs after one that is not counted. @param {() => void} fn @param {number} reps */
export function minOf(fn, reps) {
  fn();
  const values = [];
  for (let i = 0; i < reps; i++) {
    const start = process.hrtime.bigint();
    fn();
    values.push(Number(process.hrtime.bigint() - start));
  }
  return figureOf(values);
}

/**
 * Alternates the two for some rounds. Each gives nanoseconds for one unit of work (several runs may be one round).
 * @param {number} rounds @param {() => number} ours @param {() => number} reference
 * @returns {{ ours: Figure, reference: Figure }}
 */
export function interleave(rounds, ours, reference) {
  /** @type {number[]} */
  const a = [];
  /** @type {number[]} */
  const b = [];
  for (let i = 0; i < rounds; i++) {
    b.push(reference());
    a.push(ours());
  }
  return { ours: figureOf(a), reference: figureOf(b) };
}

/** Nanoseconds on a clock that costs no BigInt. */
export const now = () => performance.now() * 1e6;

/** What two calls of now() cost: taken off each sample, as hostref does. */
const clockCost = (() => {
  let least = Number.POSITIVE_INFINITY;
  for (let i = 0; i < 20000; i++) {
    const start = now();
    least = Math.min(least, now() - start);
  }
  return least;
})();

/** @param {number} start @param {number} end @returns {number} nanoseconds between, without the clock's own */
export const elapsed = (start, end) => Math.max(0, end - start - clockCost);

/** @typedef {ReadonlyMap<string, HostLine>} HostLines */

/**
 * A figure of ours that hostref has, too.
 * @typedef {object} Compared
 * @property {string} name
 * @property {string} unit
 * @property {number | null} target most that ours / reference may be
 * @property {number} reps samples in each round
 * @property {() => number} sample one sample of ours, nanoseconds for a unit
 * @property {(lines: HostLines) => number | undefined} host least of a run of hostref; undefined: it has no such figure
 * @property {(least: number) => number} [derive] the figure from the least (or median) of our samples
 * @property {() => string | Record<string, unknown>} [detail]
 */

/**
 * Measures and reports: rounds of hostref and ours in turn, the least of each side.
 * @param {string[]} args of hostref
 * @param {Compared[]} figures
 * @param {number} [rounds]
 */
export function compareWithHost(args, figures, rounds = 3) {
  const chosen = figures.filter(({ name }) => wanted(name));
  if (chosen.length === 0) return;
  /** @type {number[][]} */
  const samples = chosen.map(() => []);
  /** @type {number[]} */
  const references = chosen.map(() => Number.POSITIVE_INFINITY);
  for (const { sample, reps } of chosen) for (let i = 0; i < reps; i++) sample();
  for (let round = 0; round < rounds; round++) {
    const lines = hostref(...args);
    chosen.forEach(({ host, sample, reps }, i) => {
      const value = lines && host(lines);
      if (value !== undefined) references[i] = Math.min(references[i] ?? value, value);
      for (let rep = 0; rep < reps; rep++) samples[i]?.push(sample());
    });
  }
  chosen.forEach(({ name, unit, target, derive = (x) => x, detail }, i) => {
    const { min, median, rounds: n } = figureOf(samples[i] ?? []);
    const least = references[i] ?? Number.POSITIVE_INFINITY;
    const reference = Number.isFinite(least) ? { name: 'host kernel', value: least } : null;
    const more = detail?.() ?? {};
    report(name, unit, derive(min), reference, target, {
      median: rounded(derive(median)),
      samples: n,
      ...(typeof more === 'string' ? { note: more } : more),
    });
  });
}

/** @param {number} x */
const rounded = (x) => Number(x.toPrecision(5));

/**
 * Prints one result.
 * @param {string} name
 * @param {string} unit
 * @param {number} value
 * @param {Reference | null} reference null: there is none on this machine
 * @param {number | null} target the most that value / reference may be; null: none is held
 * @param {string | Record<string, unknown>} [detail]
 */
export function report(name, unit, value, reference = null, target = null, detail = '') {
  const ratio = reference && reference.value > 0 ? rounded(value / reference.value) : null;
  const ok = ratio === null || target === null ? null : ratio < target;
  const shown = reference && { name: reference.name, value: rounded(reference.value) };
  console.log(JSON.stringify({ name, unit, value: rounded(value), reference: shown, ratio, target, ok, detail }));
  const against = reference ? `  ${rounded(reference.value)} ${reference.name}  ratio ${ratio}` : '';
  const verdict = ok === null ? '' : ok ? `  (target < ${target})` : `  MISSES the target < ${target}`;
  note(`${name.padEnd(36)} ${String(rounded(value)).padStart(10)} ${unit}${against}${verdict}`);
}

/**
 * Runs hostref, the reference program.
 * @param {string[]} args
 * @returns {Map<string, HostLine> | undefined} its figures by name; undefined without a C compiler, or off Linux
 */
export function hostref(...args) {
  if (!hostrefPath) return undefined;
  const text = execFileSync(hostrefPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  const lines = /** @type {HostLine[]} */ (
    text
      .split('\n')
      .filter(Boolean)
      .map((line) => JSON.parse(line))
  );
  return new Map(lines.map((line) => [line.name, line]));
}

/** Reports figures that have no counterpart of ours (yet). @param {string[]} args of hostref */
export function reportHost(...args) {
  for (const line of hostref(...args)?.values() ?? []) {
    if (wanted(`host:${line.name}`))
      report(`host:${line.name}`, line.unit, line.ns, null, null, `median ${line.median}, ${line.detail}`);
  }
}

/**
 * A recording, compressed or not.
 * @param {string} name such as 'lackey/mmap-copy.lackey'
 * @returns {string | undefined} its path; undefined, and a line on stderr, when it is not there
 */
export function recording(name) {
  const found = [join(recordings, `${name}.gz`), join(recordings, name)].find(existsSync);
  if (!found) note(`SKIPPED: no ${name} or ${name}.gz under ${recordings} (--recordings DIR)`);
  return found;
}

/** Calls fn with a directory that is removed afterwards. @param {(dir: string) => void} fn */
export function withTemporary(fn) {
  const dir = mkdtempSync(join(tmpdir(), 'shootdown-bench-'));
  try {
    fn(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
