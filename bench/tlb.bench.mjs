// @ts-check
/**
 * Set-associative look-up over recorded references: the C loop beside the same loop in plain JavaScript, the floor for
 * the simulated TLB. Both must find the same hits and the same sum.
 */
import { join } from 'node:path';
import { hostref, interleave, recording, report, wanted, withTemporary } from './harness.mjs';
import { readLackey, writeReferences } from './lackey.mjs';

const SETS = 64;
const ROUNDS = 7;
const PAGE = 4096;

/** Tag and entry are 32-bit: a 36-bit page number is split, low 18 bits to choose the set, high 18 checked beside. */
class LoopTlb {
  /** @param {number} ways */
  constructor(ways) {
    this.ways = ways;
    this.tagLo = new Int32Array(SETS * ways).fill(-1);
    this.tagHi = new Int32Array(SETS * ways).fill(-1);
    this.entry = new Int32Array(SETS * ways);
    this.victim = new Int32Array(SETS);
    this.misses = 0;
    /** Page numbers mod 2^32 summed: the C loop hashes, so only the hits are comparable. */
    this.sum = 0;
  }
}

/** @param {LoopTlb} t @param {number} set @param {number} lo @param {number} hi */
function refill(t, set, lo, hi) {
  const way = t.victim[set] ?? 0;
  t.victim[set] = way + 1 === t.ways ? 0 : way + 1;
  const at = set * t.ways + way;
  t.tagLo[at] = lo;
  t.tagHi[at] = hi;
  // A 20-bit frame number and "writable".
  t.entry[at] = ((Math.imul(lo ^ (hi << 9), 0x9e3779b1) >>> 12) << 1) | 1;
  t.misses++;
  return t.entry[at] ?? 0;
}

/**
 * @param {LoopTlb} t
 * @param {Int32Array} vpnLo @param {Int32Array} vpnHi @param {Int32Array} offset @param {Uint8Array} kind
 */
function run(t, vpnLo, vpnHi, offset, kind) {
  const { tagLo, tagHi, ways, entry } = t;
  let sum = 0;
  for (let i = 0; i < vpnLo.length; i++) {
    const lo = vpnLo[i] ?? 0;
    const hi = vpnHi[i] ?? 0;
    const set = lo & (SETS - 1);
    let at = set * ways;
    const end = at + ways;
    while (at < end && (tagLo[at] !== lo || tagHi[at] !== hi)) at++;
    const e = at < end ? (entry[at] ?? 0) : refill(t, set, lo, hi);
    if (((kind[i] ?? 0) & 2) !== 0 && (e & 1) === 0) throw new Error('a write through a read-only entry');
    sum += (e >>> 1) * PAGE + (offset[i] ?? 0);
  }
  t.sum = sum;
}

withTemporary((dir) => {
  for (const program of ['mmap-copy', 'malloc-threads', 'perl-small', 'shm-queue']) {
    for (const ways of [4, 8]) {
      const name = `js-tlb:${program}:${SETS}x${ways}`;
      if (!wanted(name)) continue;
      const path = recording(`lackey/${program}.lackey`);
      if (!path) continue;
      const refs = readLackey(path);
      const file = join(dir, `${program}.refs`);
      writeReferences(refs, file);
      const vpnLo = Int32Array.from(refs.va, (va) => Math.floor(va / PAGE) % 2 ** 18);
      const vpnHi = Int32Array.from(refs.va, (va) => Math.floor(va / PAGE / 2 ** 18));
      const offset = Int32Array.from(refs.va, (va) => va % PAGE);
      const tlb = new LoopTlb(ways);
      let hostDetail = '';
      let hostMissing = false;
      const { ours, reference } = interleave(
        ROUNDS,
        () => {
          tlb.misses = 0;
          const start = process.hrtime.bigint();
          run(tlb, vpnLo, vpnHi, offset, refs.kind);
          return Number(process.hrtime.bigint() - start) / refs.count;
        },
        () => {
          const line = hostref('tlb', file, String(ways))?.get(`tlb-${SETS}x${ways}`);
          hostMissing = line === undefined;
          hostDetail = line?.detail ?? '';
          return line?.ns ?? 0;
        },
      );
      const detail = {
        references: refs.count,
        misses: tlb.misses,
        median: ours.median,
        referenceMedian: reference.median,
        host: hostDetail,
      };
      report(name, 'ns/reference', ours.min, hostMissing ? null : { name: 'C loop', value: reference.min }, null, detail);
    }
  }
});
