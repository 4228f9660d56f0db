// @ts-check
/**
 * Ways to zero and to copy a 4 KiB frame of one large buffer, for ArrayBuffer, SharedArrayBuffer and WebAssembly memory,
 * beside memset and memmove. Frames come in random order: from a small recycled set (the free list's usual case, in
 * cache) and from the whole buffer, other frames in each round. Each kind of buffer runs in a process of its own.
 */
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { figureOf, hostref, note, report, wanted } from './harness.mjs';

/** Not among the types of a library without DOM. */
const { WebAssembly } = /** @type {any} */ (globalThis);

const PAGE = 4096;
const FRAMES = 1 << 18;
const RECYCLED = 1024;
const PER_SAMPLE = 4096;
const ROUNDS = 15;

/**
 * (module (memory (import "m" "m") N N [shared]) (func (export "z") (param d n) memory.fill d 0 n)
 *         (func (export "c") (param d s n) memory.copy d s n))
 * @param {boolean} shared
 */
function bulkModule(shared) {
  const pages = [0x80, 0x80, 0x01]; // 16384
  const memory = [1, 1, 0x6d, 1, 0x6d, 2, shared ? 3 : 1, ...pages, ...pages];
  const zero = [0, 0x20, 0, 0x41, 0, 0x20, 1, 0xfc, 0x0b, 0, 0x0b];
  const copy = [0, 0x20, 0, 0x20, 1, 0x20, 2, 0xfc, 0x0a, 0, 0, 0x0b];
  const section = (/** @type {number} */ id, /** @type {number[]} */ body) => [id, body.length, ...body];
  return Uint8Array.from([
    ...[0, 0x61, 0x73, 0x6d, 1, 0, 0, 0],
    ...section(1, [2, 0x60, 2, 0x7f, 0x7f, 0, 0x60, 3, 0x7f, 0x7f, 0x7f, 0]),
    ...section(2, memory),
    ...section(3, [2, 0, 1]),
    ...section(7, [2, 1, 0x7a, 0, 0, 1, 0x63, 0, 1]),
    ...section(10, [2, zero.length, ...zero, copy.length, ...copy]),
  ]);
}

/** @param {string} kind @returns {{ buffer: ArrayBufferLike, bulk: Record<string, (...n: number[]) => void> | null }} */
function allocate(kind) {
  if (kind === 'array') return { buffer: new ArrayBuffer(FRAMES * PAGE), bulk: null };
  if (kind === 'shared') return { buffer: new SharedArrayBuffer(FRAMES * PAGE), bulk: null };
  const shared = kind === 'wasm-shared';
  const memory = new WebAssembly.Memory({ initial: 16384, maximum: 16384, shared });
  const instance = new WebAssembly.Instance(new WebAssembly.Module(bulkModule(shared)), { m: { m: memory } });
  return { buffer: memory.buffer, bulk: /** @type {Record<string, (...n: number[]) => void>} */ (instance.exports) };
}

/** @param {ArrayBufferLike} buffer @param {ReturnType<typeof allocate>['bulk']} bulk */
function zeroWays(buffer, bulk) {
  const u8 = new Uint8Array(buffer);
  const i32 = new Int32Array(buffer);
  const f64 = new Float64Array(buffer);
  const i64 = new BigInt64Array(buffer);
  const zero8 = new Uint8Array(PAGE);
  const zero64 = new Float64Array(PAGE / 8);
  /** @type {Record<string, (frame: number) => void>} */
  const ways = {
    'Uint8Array.fill': (f) => void u8.fill(0, f * PAGE, f * PAGE + PAGE),
    'Int32Array.fill': (f) => void i32.fill(0, f * 1024, f * 1024 + 1024),
    'Float64Array.fill': (f) => void f64.fill(0, f * 512, f * 512 + 512),
    'BigInt64Array.fill': (f) => void i64.fill(0n, f * 512, f * 512 + 512),
    'Uint8Array.set(zeros)': (f) => u8.set(zero8, f * PAGE),
    'Float64Array.set(zeros)': (f) => f64.set(zero64, f * 512),
    'Uint8Array.copyWithin(zero frame)': (f) => void u8.copyWithin(f * PAGE, 0, PAGE),
    'Float64Array.copyWithin(zero frame)': (f) => void f64.copyWithin(f * 512, 0, 512),
    'Int32Array loop': (f) => {
      for (let i = f * 1024, end = i + 1024; i < end; i++) i32[i] = 0;
    },
    'Float64Array loop': (f) => {
      for (let i = f * 512, end = i + 512; i < end; i++) f64[i] = 0;
    },
    'Float64Array loop by 8': (f) => {
      for (let i = f * 512, end = i + 512; i < end; i += 8) {
        f64[i] = 0;
        f64[i + 1] = 0;
        f64[i + 2] = 0;
        f64[i + 3] = 0;
        f64[i + 4] = 0;
        f64[i + 5] = 0;
        f64[i + 6] = 0;
        f64[i + 7] = 0;
      }
    },
  };
  if (bulk) ways['memory.fill'] = (f) => bulk['z']?.(f * PAGE, PAGE);
  return ways;
}

/** @param {ArrayBufferLike} buffer @param {ReturnType<typeof allocate>['bulk']} bulk */
function copyWays(buffer, bulk) {
  const u8 = new Uint8Array(buffer);
  const i32 = new Int32Array(buffer);
  const f64 = new Float64Array(buffer);
  /** @type {Record<string, (to: number, from: number) => void>} */
  const ways = {
    'Uint8Array.copyWithin': (t, f) => void u8.copyWithin(t * PAGE, f * PAGE, f * PAGE + PAGE),
    'Float64Array.copyWithin': (t, f) => void f64.copyWithin(t * 512, f * 512, f * 512 + 512),
    'Uint8Array.set(subarray)': (t, f) => u8.set(u8.subarray(f * PAGE, f * PAGE + PAGE), t * PAGE),
    'Float64Array.set(subarray)': (t, f) => f64.set(f64.subarray(f * 512, f * 512 + 512), t * 512),
    'Int32Array loop': (t, f) => {
      for (let i = 0, a = t * 1024, b = f * 1024; i < 1024; i++) i32[a + i] = i32[b + i] ?? 0;
    },
    // Not for use: a signalling NaN's bits may change on the way through a double.
    'Float64Array loop': (t, f) => {
      for (let i = 0, a = t * 512, b = f * 512; i < 512; i++) f64[a + i] = f64[b + i] ?? 0;
    },
  };
  if (bulk) ways['memory.copy'] = (t, f) => bulk['c']?.(t * PAGE, f * PAGE, PAGE);
  return ways;
}

let state = 12345;

function nextRandom() {
  state ^= state << 13;
  state ^= state >>> 17;
  state ^= state << 5;
  return state >>> 0;
}

/** Never frame 0, which is kept zero. */
const randomFrame = () => 1 + (nextRandom() % (FRAMES - 1));
const recycledFrames = Int32Array.from({ length: RECYCLED }, randomFrame);
const order = new Int32Array(PER_SAMPLE + 1);

/** Other frames for each round. @param {boolean} all of the whole buffer, not of the recycled set */
function chooseFrames(all) {
  for (let i = 0; i < order.length; i++)
    order[i] = all ? randomFrame() : (recycledFrames[nextRandom() % RECYCLED] ?? 1);
  return order;
}

/**
 * All ways in turn, round by round: memory that the machine has just handed out gets faster for a while.
 * @param {Record<string, (a: number, b: number) => void>} ways @param {boolean} all
 * @returns {Map<string, import('./harness.mjs').Figure>} ns per page
 */
function measureWays(ways, all) {
  const runs = Object.entries(ways).map(([name, way]) => {
    // A loop of its own for each way keeps the call site monomorphic.
    const source = `for (let i = 0; i < ${PER_SAMPLE}; i++) way(frames[i], frames[i + 1]);`;
    const loop = /** @type {(w: typeof way, f: Int32Array) => void} */ (new Function('way', 'frames', source));
    return { name, way, loop, samples: /** @type {number[]} */ ([]) };
  });
  for (let round = -3; round < ROUNDS; round++) {
    for (const { way, loop, samples } of runs) {
      const frames = chooseFrames(all);
      const start = process.hrtime.bigint();
      loop(way, frames);
      if (round >= 0) samples.push(Number(process.hrtime.bigint() - start) / PER_SAMPLE);
    }
  }
  return new Map(runs.map(({ name, samples }) => [name, figureOf(samples)]));
}

/** @param {ArrayBufferLike} buffer @param {string} kind */
function measureViews(buffer, kind) {
  const u8 = new Uint8Array(buffer);
  /** @type {{ last: Uint8Array | Float64Array }} */
  const kept = { last: u8 };
  const ways = {
    'subarray()': (/** @type {number} */ f) => {
      kept.last = u8.subarray(f * PAGE, f * PAGE + PAGE);
    },
    'new Float64Array(buffer, at, 512)': (/** @type {number} */ f) => {
      kept.last = new Float64Array(buffer, f * PAGE, 512);
    },
  };
  for (const [name, figure] of measureWays(ways, false)) {
    report(`js-view:${kind}:${name}`, 'ns/view', figure.min, null, null, `median ${figure.median}`);
  }
}

/** Runs in the child: all ways on one kind of buffer. @param {string} kind */
function measure(kind) {
  const { buffer, bulk } = allocate(kind);
  const u8 = new Uint8Array(buffer);
  for (let f = 1; f < FRAMES; f++) u8[f * PAGE] = 1;
  const host = hostref('copy');
  for (const [operation, all] of Object.entries({ zero: zeroWays(buffer, bulk), copy: copyWays(buffer, bulk) })) {
    for (const set of ['recycled', 'whole']) {
      const prefix = `js-page-${operation}:${kind}:${set}`;
      const ways = Object.fromEntries(Object.entries(all).filter(([name]) => wanted(`${prefix}:${name}`)));
      const line = host?.get(`page-${operation}/${set}`);
      const reference = line ? { name: operation === 'zero' ? 'memset' : 'memmove', value: line.ns } : null;
      for (const [name, figure] of measureWays(ways, set === 'whole')) {
        report(`${prefix}:${name}`, 'ns/page', figure.min, reference, null, `median ${figure.median}`);
      }
    }
  }
  if (wanted(`js-view:${kind}`)) measureViews(buffer, kind);
}

const kindAt = process.argv.indexOf('--kind');
if (kindAt >= 0) {
  measure(process.argv[kindAt + 1] ?? '');
} else {
  for (const kind of ['array', 'shared', 'wasm', 'wasm-shared']) {
    note(`-- ${kind}`);
    const args = [fileURLToPath(import.meta.url), ...process.argv.slice(2), '--kind', kind];
    execFileSync(process.execPath, args, { stdio: 'inherit' });
  }
}
