// @ts-check
/**
 * Set-associative look-up over recorded references, against the C loops of bench/native/tlb.c, with the same sets, ways and
 * replacement. Both sides must miss equally often, else the benchmark fails.
 *
 *   tlb-hit   the simulated CPU over recorded references as `replay --lackey` streams them (Cpu.translateRun): page numbers and
 *             access in, physical addresses out, summed; a miss walks real page tables (all pages are mapped, A and D
 *             set). It tries what hit last in the set first. Reference: the plain loop in C over the same references, sets
 *             and ways, which searches the ways. Beside it, in the detail: the loop in C that also tries the last hit first.
 *   tlb-one   the same through translate(), one address at a time
 *   js-tlb    the C loop's two forms in plain JavaScript with page numbers split beforehand: what the language alone costs
 */
import { join } from 'node:path';
import { elapsed, hostref, interleave, now, recording, report, wanted, withTemporary } from './harness.mjs';
import { readLackey, writeReferences } from './lackey.mjs';
import { cpuWithPages } from './page-tables.mjs';

const SETS = 64;
const ROUNDS = 15;
const WARMUPS = 10;
const PAGE = 4096;
const WORDS = 4;
const WRITABLE = 1;

/**
 * Entries of four words: page number's low 18 bits, its high 18, frame << 1 | writable, unused. One array and int32
 * arithmetic throughout.
 */
class LoopTlb {
  /** @param {number} ways */
  constructor(ways) {
    this.ways = ways;
    this.words = new Int32Array(SETS * ways * WORDS).fill(-1);
    this.victim = new Int32Array(SETS);
    this.last = new Int32Array(SETS);
    this.misses = 0;
    this.sum = 0;
  }

  clear() {
    this.words.fill(-1);
    this.victim.fill(0);
    this.last.fill(0);
    this.misses = 0;
  }
}

/**
 * The references of the program at hand, in arrays that the compiler knows as constants: handed in as an object's fields
 * they cost 2 ns a reference, which is not the TLB's doing.
 */
const MOST = 2 ** 21;
const LO = new Int32Array(MOST);
const HI = new Int32Array(MOST);
const OFFSET = new Int32Array(MOST);
const KIND = new Uint8Array(MOST);

/** @param {import('./lackey.mjs').References} refs */
function load(refs) {
  if (refs.count > MOST) throw new Error(`${refs.count} references, there is room for ${MOST}`);
  for (let i = 0; i < refs.count; i++) {
    const va = refs.va[i];
    LO[i] = Math.floor(va / PAGE) % 2 ** 18;
    HI[i] = Math.floor(va / PAGE / 2 ** 18);
    OFFSET[i] = va % PAGE;
    KIND[i] = refs.kind[i];
  }
}

/** @param {LoopTlb} t @param {number} set @param {number} lo @param {number} hi */
function refill(t, set, lo, hi) {
  const way = t.victim[set];
  t.victim[set] = way + 1 === t.ways ? 0 : way + 1;
  const at = (set * t.ways + way) * WORDS;
  t.words[at] = lo;
  t.words[at + 1] = hi;
  t.words[at + 2] = ((Math.imul(lo ^ (hi << 9), 0x9e3779b1) >>> 12) << 1) | WRITABLE;
  t.misses++;
  return at;
}

/** @param {LoopTlb} t @param {number} lo @param {number} hi @returns {number} index of the entry */
function search(t, lo, hi) {
  const words = t.words;
  const set = lo & (SETS - 1);
  let at = set * t.ways * WORDS;
  const end = at + t.ways * WORDS;
  while (at < end && (words[at] !== lo || words[at + 1] !== hi)) at += WORDS;
  if (at === end) at = refill(t, set, lo, hi);
  return at;
}

/** @param {LoopTlb} t @param {number} lo @param {number} hi */
function searchAndNote(t, lo, hi) {
  const at = search(t, lo, hi);
  t.last[lo & (SETS - 1)] = at;
  return at;
}

/** @param {LoopTlb} t @param {number} count */
function runPlain(t, count) {
  const words = t.words;
  let frames = 0;
  let bytes = 0;
  for (let i = 0; i < count; i++) {
    const entry = words[search(t, LO[i], HI[i]) + 2];
    if ((KIND[i] & 2) !== 0 && (entry & WRITABLE) === 0) throw new Error('a write through a read-only entry');
    frames = (frames + (entry >>> 1)) | 0;
    bytes = (bytes + OFFSET[i]) | 0;
  }
  t.sum = frames ^ bytes;
}

/** @param {LoopTlb} t @param {number} count */
function runHint(t, count) {
  const { words, last } = t;
  let frames = 0;
  let bytes = 0;
  for (let i = 0; i < count; i++) {
    const l = LO[i];
    const h = HI[i];
    let at = last[l & (SETS - 1)];
    if (words[at] !== l || words[at + 1] !== h) at = searchAndNote(t, l, h);
    const entry = words[at + 2];
    if ((KIND[i] & 2) !== 0 && (entry & WRITABLE) === 0) throw new Error('a write through a read-only entry');
    frames = (frames + (entry >>> 1)) | 0;
    bytes = (bytes + OFFSET[i]) | 0;
  }
  t.sum = frames ^ bytes;
}

/** @param {string} name @param {number} count @param {string} file @param {number} ways @param {boolean} hint */
function compare(name, count, file, ways, hint) {
  const tlb = new LoopTlb(ways);
  const run = hint ? runHint : runPlain;
  for (let i = 0; i < WARMUPS; i++) run(tlb, count);
  const twin = `tlb-${SETS}x${ways}${hint ? '-hint' : ''}`;
  let host = hostref('tlb', file, String(ways))?.get(twin);
  const { ours, reference } = interleave(
    ROUNDS,
    () => {
      tlb.clear();
      const start = process.hrtime.bigint();
      run(tlb, count);
      return Number(process.hrtime.bigint() - start) / count;
    },
    () => {
      host = hostref('tlb', file, String(ways))?.get(twin);
      return host?.ns ?? Number.NaN;
    },
  );
  if (host && !host.detail.includes(`misses ${tlb.misses},`)) {
    throw new Error(`${name}: ${tlb.misses} misses, but the C loop has ${host.detail}`);
  }
  const detail = { references: count, misses: tlb.misses, median: ours.median, referenceMedian: reference.median };
  report(name, 'ns/reference', ours.min, host ? { name: 'C loop', value: reference.min } : null, null, detail);
}

const VA = new Float64Array(MOST);
const ACCESS = new Uint8Array(MOST);

/** ACCESS_READ, ACCESS_WRITE, ACCESS_EXEC of KIND_*. */
const ACCESS_OF_KIND = [2, 0, 1, 1];

/** @param {import('../src/hw/cpu.ts').Cpu} cpu @param {number} count */
function runOne(cpu, count) {
  let sum = 0;
  for (let i = 0; i < count; i++) sum += cpu.translate(VA[i], ACCESS[i]);
  return sum;
}

const REFS = { kind: ACCESS, vpnHi: new Int32Array(MOST), vpnLo: new Int32Array(MOST), offset: new Uint16Array(MOST) };
const SAME = Uint8Array.from([0, 1, 2]);

/** @param {import('../src/hw/cpu.ts').Cpu} cpu @param {number} count */
function runStream(cpu, count) {
  let at = 0;
  while (at < count) {
    at = cpu.translateRun(REFS, SAME, at, count);
    if (at < count) {
      cpu.translate(VA[at], ACCESS[at]);
      at++;
    }
  }
}

/** @param {string} name @param {import('./lackey.mjs').References} refs @param {string} file @param {number} ways
 *  @param {boolean} isStream */
function compareCpu(name, refs, file, ways, isStream) {
  const runCpu = isStream ? runStream : runOne;
  const count = refs.count;
  const pages = new Set();
  VA.set(refs.va);
  for (let i = 0; i < count; i++) {
    ACCESS[i] = ACCESS_OF_KIND[refs.kind[i] ?? 0] ?? 0;
    const page = Math.floor((refs.va[i] ?? 0) / PAGE);
    pages.add(page);
    REFS.vpnHi[i] = Math.floor(page / 0x40000);
    REFS.vpnLo[i] = page % 0x40000;
    REFS.offset[i] = (refs.va[i] ?? 0) % PAGE;
  }
  const cpu = cpuWithPages(pages, SETS, ways);
  for (let i = 0; i < WARMUPS; i++) runCpu(cpu, count);
  const twin = `tlb-${SETS}x${ways}`;
  let hint = hostref('tlb', file, String(ways))?.get(`${twin}-hint`);
  let hintNs = Number.NaN;
  const { ours, reference } = interleave(
    ROUNDS,
    () => {
      cpu.invalidateAll(cpu.asid);
      cpu.misses = 0;
      const start = now();
      runCpu(cpu, count);
      return elapsed(start, now()) / count;
    },
    () => {
      const lines = hostref('tlb', file, String(ways));
      hint = lines?.get(`${twin}-hint`);
      if (hint) hintNs = Number.isNaN(hintNs) ? hint.ns : Math.min(hintNs, hint.ns);
      return lines?.get(twin)?.ns ?? Number.NaN;
    },
  );
  if (hint && !hint.detail.includes(`misses ${cpu.misses},`))
    throw new Error(`${name}: ${cpu.misses} misses, but the C loop has ${hint.detail}`);
  const target = isStream ? 2 : null;
  report(name, 'ns/reference', ours.min, hint ? { name: 'C loop', value: reference.min } : null, target, {
    references: count,
    pages: pages.size,
    misses: cpu.misses,
    median: ours.median,
    referenceMedian: reference.median,
    lastHitFirstInC: { ns: hintNs, ratio: ours.min / hintNs },
  });
}

withTemporary((dir) => {
  for (const program of ['mmap-copy', 'malloc-threads', 'perl-small', 'shm-queue']) {
    const names = [4, 8].flatMap((ways) =>
      [false, true].map((hint) => ({ ways, hint, name: `js-tlb:${program}:${SETS}x${ways}${hint ? '-hint' : ''}` })),
    );
    const hits = [4, 8].flatMap((ways) =>
      [true, false].map((isStream) => ({
        ways,
        isStream,
        name: `${isStream ? 'tlb-hit' : 'tlb-one'}:${program}:${SETS}x${ways}`,
      })),
    );
    if (![...names, ...hits].some(({ name }) => wanted(name))) continue;
    const path = recording(`lackey/${program}.lackey`);
    if (!path) continue;
    const refs = readLackey(path);
    const file = join(dir, `${program}.refs`);
    writeReferences(refs, file);
    load(refs);
    for (const { name, ways, isStream } of hits) if (wanted(name)) compareCpu(name, refs, file, ways, isStream);
    for (const { name, ways, hint } of names) if (wanted(name)) compare(name, refs.count, file, ways, hint);
  }
});
