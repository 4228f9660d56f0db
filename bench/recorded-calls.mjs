// @ts-check
/**
 * A recorded program's memory calls in a form that two address spaces can issue alike: the running kernel's
 * (bench/native/calls.c) and the simulated one's.
 *
 * Recorded addresses mean nothing in another process, so an address becomes *slot + delta*:
 *
 * - slot 0 is the heap; its base is the first program break, and every brk is relative to it;
 * - each mmap that chooses its own place, and each mremap, opens a slot whose base is the address it returns;
 * - an address belongs to the newest slot that covered it in the recording; none (slot -1) is hint NULL, or a query of
 *   the break;
 * - ranges that the program had before its first call (its image, the loader) become anonymous slots, mapped by *setup*
 *   records at the head of the list;
 * - an mmap with MAP_FIXED stays fixed if the slot is mapped there, so it can never replace somebody else's memory;
 *   otherwise it becomes one that chooses its place;
 * - munmap, mprotect and madvise are cut where slots end and skip what is no longer mapped: neighbours in the recording
 *   need not be neighbours here. Each piece is a record;
 * - a mapping of a file maps a memory file of the needed size, one for each path, with the recorded offset and sharing.
 *
 * *Teardown* records at the end unmap what is left and reset the break, so that the list can be repeated. Whoever issues it
 * counts the calls that fail, and those that fail otherwise than recorded; a slot whose mmap failed lies at 2^47.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';

export const OP_MMAP = 0;
export const OP_MUNMAP = 1;
export const OP_MPROTECT = 2;
export const OP_BRK = 3;
export const OP_MADVISE = 4;
export const OP_MREMAP = 5;

const MAGIC = 0x4c4c4143;
const VERSION = 1;
const HEADER_BYTES = 32;
const RECORD_BYTES = 56;
const PAGE = 4096;
/** Ranges of the program's image that lie closer than this share one slot. */
const IMAGE_GAP = 1 << 20;

const MAP_FIXED = 0x10;
const MAP_ANONYMOUS = 0x20;
const MAP_FIXED_NOREPLACE = 0x100000;
const PROT_RW = 3;

/** @type {Record<string, number>} */
const WORDS = {
  PROT_NONE: 0,
  PROT_READ: 1,
  PROT_WRITE: 2,
  PROT_EXEC: 4,
  PROT_GROWSDOWN: 0x01000000,
  PROT_GROWSUP: 0x02000000,
  MAP_SHARED: 1,
  MAP_PRIVATE: 2,
  MAP_SHARED_VALIDATE: 3,
  MAP_FIXED,
  MAP_ANONYMOUS,
  MAP_32BIT: 0x40,
  MAP_GROWSDOWN: 0x100,
  MAP_DENYWRITE: 0x800,
  MAP_EXECUTABLE: 0x1000,
  MAP_LOCKED: 0x2000,
  MAP_NORESERVE: 0x4000,
  MAP_POPULATE: 0x8000,
  MAP_NONBLOCK: 0x10000,
  MAP_STACK: 0x20000,
  MAP_HUGETLB: 0x40000,
  MAP_SYNC: 0x80000,
  MAP_FIXED_NOREPLACE,
  MREMAP_MAYMOVE: 1,
  MREMAP_FIXED: 2,
  MREMAP_DONTUNMAP: 4,
  MADV_NORMAL: 0,
  MADV_RANDOM: 1,
  MADV_SEQUENTIAL: 2,
  MADV_WILLNEED: 3,
  MADV_DONTNEED: 4,
  MADV_FREE: 8,
  MADV_REMOVE: 9,
  MADV_DONTFORK: 10,
  MADV_DOFORK: 11,
  MADV_MERGEABLE: 12,
  MADV_UNMERGEABLE: 13,
  MADV_HUGEPAGE: 14,
  MADV_NOHUGEPAGE: 15,
  MADV_DONTDUMP: 16,
  MADV_DODUMP: 17,
  MADV_WIPEONFORK: 18,
  MADV_KEEPONFORK: 19,
  MADV_COLD: 20,
  MADV_PAGEOUT: 21,
  MADV_POPULATE_READ: 22,
  MADV_POPULATE_WRITE: 23,
  MADV_DONTNEED_LOCKED: 24,
  MADV_COLLAPSE: 25,
};

/** @type {Record<string, number>} */
const ERRNOS = { EPERM: 1, EAGAIN: 11, ENOMEM: 12, EACCES: 13, EBUSY: 16, EEXIST: 17, ENODEV: 19, EINVAL: 22 };

/**
 * @typedef {object} RecordedCalls One program's calls; entry i of each array belongs to record i.
 * @property {number} count
 * @property {number} slots slots in use, the heap's included
 * @property {number} setup records at the head that map the program's image
 * @property {number} teardown records at the end that unmap what is left
 * @property {Float64Array} fileBytes size of each memory file
 * @property {Int32Array} op OP_*
 * @property {Int32Array} slot -1: no address
 * @property {Int32Array} result slot whose base the call's answer is, or -1
 * @property {Int32Array} prot PROT_*; of madvise the advice
 * @property {Int32Array} flags
 * @property {Int32Array} file index of the memory file, or -1
 * @property {Int32Array} recordedErrno 0: the recorded call did not fail
 * @property {Float64Array} delta bytes from the slot's base
 * @property {Float64Array} length bytes
 * @property {Float64Array} extra of mmap the file offset, of mremap the new length
 */

/**
 * @typedef {object} Call One call as recorded, with absolute addresses.
 * @property {number} op
 * @property {number} addr
 * @property {number} length
 * @property {number} prot
 * @property {number} flags
 * @property {string} path of the mapped file, '' when anonymous
 * @property {number} extra
 * @property {number} answer
 * @property {number} errno
 * @property {number} line
 */

/** The text of a recording, unpacked if its name says so. @param {string} path */
export function readText(path) {
  const bytes = readFileSync(path);
  return (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('latin1');
}

/** @param {string} text @param {number} line */
function wordsOf(text, line) {
  let value = 0;
  for (const word of text.split('|')) {
    const digits = /^(?:0x[0-9a-f]+|\d+)/.exec(word);
    const bits = digits ? Number(digits[0]) : WORDS[word];
    if (bits === undefined) throw new Error(`strace line ${line}: ${word} is not a known flag`);
    value |= bits;
  }
  return value;
}

/**
 * The memory calls of the first process of a strace text (`-f`, pid in front) up to its next execve, its threads
 * included, in the order in which they returned.
 * @param {string} text
 * @returns {Call[]}
 */
export function callsOfStrace(text) {
  const lines = text.split('\n');
  const tasks = threadsOfFirst(lines);
  /** @type {Map<string, string>} */
  const unfinished = new Map();
  /** @type {Call[]} */
  const calls = [];
  let execs = 0;
  for (let i = 0; i < lines.length; i++) {
    const head = /^(\d+) +(.*)$/.exec(lines[i] ?? '');
    if (!head || !tasks.has(head[1] ?? '')) continue;
    const pid = head[1] ?? '';
    let rest = head[2] ?? '';
    const cut = rest.indexOf(' <unfinished ...>');
    if (cut >= 0) {
      unfinished.set(pid, rest.slice(0, cut));
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(rest);
    if (resumed) rest = (unfinished.get(pid) ?? '') + resumed[1];
    if (rest.startsWith('execve(') && / = 0$/.test(rest) && ++execs > 1) break;
    const call = callOf(rest, i + 1);
    if (call) calls.push(call);
  }
  return calls;
}

/** The first task and all threads that it or its threads made. @param {string[]} lines */
function threadsOfFirst(lines) {
  const tasks = new Set([/^(\d+) /.exec(lines[0] ?? '')?.[1] ?? '']);
  /** @type {Set<string>} */
  const cloning = new Set();
  for (const line of lines) {
    const pid = /^(\d+) /.exec(line)?.[1] ?? '';
    if (!tasks.has(pid)) continue;
    if (line.includes('CLONE_THREAD')) cloning.add(pid);
    const made = /(?:clone3?\(|clone3? resumed>).* = (\d+)$/.exec(line);
    if (made && cloning.delete(pid)) tasks.add(made[1] ?? '');
  }
  return tasks;
}

/** @param {string} text @param {number} line @returns {Call | undefined} */
function callOf(text, line) {
  const match = /^(mmap|munmap|mprotect|brk|madvise|mremap)\((.*)\) += (\S+)(?: (E[A-Z]+))?/.exec(text);
  if (!match) return undefined;
  const args = (match[2] ?? '').split(', ');
  const number = (/** @type {number} */ i) => (args[i] === 'NULL' ? 0 : Number(args[i]));
  const errno = match[3] === '-1' ? (ERRNOS[match[4] ?? ''] ?? 22) : 0;
  const call = {
    op: 0,
    addr: number(0),
    length: number(1),
    prot: 0,
    flags: 0,
    path: '',
    extra: 0,
    answer: 0,
    errno,
    line,
  };
  if (!errno) call.answer = Number(match[3]);
  switch (match[1]) {
    case 'mmap':
      call.op = OP_MMAP;
      call.prot = wordsOf(args[2] ?? '', line);
      call.flags = wordsOf(args[3] ?? '', line);
      call.path = call.flags & MAP_ANONYMOUS ? '' : (/<(.*)>/.exec(args[4] ?? '')?.[1] ?? `fd ${args[4]}`);
      call.extra = number(5);
      break;
    case 'munmap':
      call.op = OP_MUNMAP;
      break;
    case 'mprotect':
      call.op = OP_MPROTECT;
      call.prot = wordsOf(args[2] ?? '', line);
      break;
    case 'brk':
      call.op = OP_BRK;
      call.length = 0;
      break;
    case 'madvise':
      call.op = OP_MADVISE;
      call.prot = wordsOf(args[2] ?? '', line);
      break;
    default:
      call.op = OP_MREMAP;
      call.extra = number(2);
      call.flags = wordsOf(args[3] ?? '', line);
      // A fixed target would need a second slot in the record; no recording has one.
      if (call.flags & 2) throw new Error(`strace line ${line}: mremap with MREMAP_FIXED is not convertible`);
  }
  const numbers = [call.addr, call.length, call.extra, call.answer];
  if (!numbers.every(Number.isSafeInteger)) throw new Error(`strace line ${line}: unreadable number in ${text}`);
  return call;
}

/** @param {number} bytes */
const pageUp = (bytes) => Math.ceil(bytes / PAGE) * PAGE;

/** A slot: where it was in the recording, and which parts are mapped, as sorted [start, end) of recorded addresses. */
class Slot {
  /** @param {number} start @param {number} end */
  constructor(start, end) {
    this.start = start;
    this.end = end;
    /** @type {[number, number][]} */
    this.live = end > start ? [[start, end]] : [];
  }

  /** @param {number} start @param {number} end @returns {[number, number][]} */
  liveWithin(start, end) {
    return this.live
      .map(([s, e]) => /** @type {[number, number]} */ ([Math.max(s, start), Math.min(e, end)]))
      .filter(([s, e]) => s < e);
  }

  /** @param {number} start @param {number} end */
  remove(start, end) {
    /** @type {[number, number][]} */
    const parts = this.live.flatMap(([s, e]) => [
      [s, Math.min(e, start)],
      [Math.max(s, end), e],
    ]);
    this.live = parts.filter(([s, e]) => s < e);
  }
}

/** Builds the records of one program. */
class Converter {
  constructor() {
    /** @type {Slot[]} newest last; slot 0 is the heap */
    this.slots = [new Slot(0, 0)];
    /** @type {number[][]} op, slot, result, prot, flags, file, errno, delta, length, extra */
    this.rows = [];
    /** @type {Map<string, number>} */
    this.files = new Map();
    /** @type {number[]} */
    this.fileBytes = [];
    this.firstBreak = 0;
  }

  /** The newest slot that covers the address, or -1. @param {number} addr */
  slotAt(addr) {
    for (let k = this.slots.length - 1; k >= 0; k--) {
      const slot = this.slots[k];
      if (slot && addr >= slot.start && addr < slot.end) return k;
    }
    return -1;
  }

  /** @param {number} start @param {number} bytes */
  open(start, bytes) {
    return this.slots.push(new Slot(start, start + pageUp(bytes))) - 1;
  }

  /** @param {number} k @param {number} addr */
  deltaIn(k, addr) {
    return k < 0 ? 0 : addr - (this.slots[k]?.start ?? 0);
  }

  /** @param {Call} call @param {Partial<{ slot: number, result: number, delta: number, length: number, flags: number, file: number }>} how */
  push(call, how) {
    const { slot = -1, result = -1, delta = 0, length = call.length, flags = call.flags, file = -1 } = how;
    this.rows.push([call.op, slot, result, call.prot, flags, file, call.errno, delta, length, call.extra]);
  }

  /** @param {Call} call */
  fileOf(call) {
    if (call.flags & MAP_ANONYMOUS) return -1;
    let index = this.files.get(call.path);
    if (index === undefined) {
      index = this.fileBytes.push(0) - 1;
      this.files.set(call.path, index);
    }
    this.fileBytes[index] = Math.max(this.fileBytes[index] ?? 0, pageUp(call.extra + call.length));
    return index;
  }

  /** @param {Call} call */
  mmap(call) {
    const file = this.fileOf(call);
    const end = call.addr + pageUp(call.length);
    const k = this.slotAt(call.addr);
    const slot = this.slots[k];
    const fixed = (call.flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) !== 0;
    if (fixed && slot) {
      const live = slot.liveWithin(call.addr, end);
      if (live.length === 1 && live[0]?.[0] === call.addr && live[0][1] === end) {
        this.push(call, { slot: k, delta: this.deltaIn(k, call.addr), file });
        return;
      }
    }
    const flags = call.flags & ~(MAP_FIXED | MAP_FIXED_NOREPLACE);
    const hint = fixed || !slot ? { slot: -1, delta: 0 } : { slot: k, delta: this.deltaIn(k, call.addr) };
    if (!call.errno && fixed) this.forget(call.answer, call.answer + pageUp(call.length));
    const result = call.errno ? -1 : this.open(call.answer, call.length);
    this.push(call, { ...hint, result, flags, file });
  }

  /** A fixed mapping that had to move took the place of these: unmap them, as it did. @param {number} start @param {number} end */
  forget(start, end) {
    this.pieces(start, end, (k, from, to) => {
      this.slots[k]?.remove(from, to);
      this.rows.push([OP_MUNMAP, k, -1, 0, 0, -1, 0, this.deltaIn(k, from), to - from, 0]);
    });
  }

  /**
   * Visits the mapped pieces of a recorded range, slot by slot.
   * @param {number} start @param {number} end @param {(k: number, from: number, to: number) => void} visit
   */
  pieces(start, end, visit) {
    let at = start;
    while (at < end) {
      const k = this.slotAt(at);
      let stop = k < 0 ? end : Math.min(end, this.slots[k]?.end ?? end);
      for (let j = k + 1; j < this.slots.length; j++) {
        const from = this.slots[j]?.start ?? end;
        if (from > at && from < stop) stop = from;
      }
      for (const [from, to] of this.slots[k]?.liveWithin(at, stop) ?? []) visit(k, from, to);
      at = stop;
    }
  }

  /** munmap, mprotect, madvise. @param {Call} call */
  range(call) {
    const end = call.addr + pageUp(call.length);
    /** @type {[number, number, number][]} */
    const found = [];
    this.pieces(call.addr, end, (k, from, to) => found.push([k, from, to]));
    for (const [k, from, to] of found) {
      // The last piece keeps a length that is no multiple of a page: rounding it is part of the call.
      const length = to === end ? call.addr + call.length - from : to - from;
      this.push(call, { slot: k, delta: this.deltaIn(k, from), length });
      if (call.op === OP_MUNMAP && !call.errno) this.slots[k]?.remove(from, to);
    }
  }

  /** @param {Call} call */
  brk(call) {
    const heap = this.slots[0];
    if (!heap) return;
    if (!call.addr || !this.firstBreak) {
      this.push(call, {});
      if (!this.firstBreak) this.firstBreak = heap.start = heap.end = call.answer;
      return;
    }
    this.push(call, { slot: 0, delta: call.addr - this.firstBreak });
    const from = pageUp(this.firstBreak);
    const to = pageUp(call.answer);
    heap.end = Math.max(heap.end, to);
    if (from < to) heap.live = [[from, to]];
    else heap.live = [];
  }

  /** @param {Call} call */
  mremap(call) {
    const k = this.slotAt(call.addr);
    const end = call.addr + pageUp(call.length);
    this.push(call, {
      slot: k,
      delta: this.deltaIn(k, call.addr),
      result: call.errno ? -1 : this.slots.length,
    });
    if (call.errno) return;
    this.slots[k]?.remove(call.addr, end);
    this.open(call.answer, call.extra);
  }

  /** @param {Call} call */
  convert(call) {
    if (call.op === OP_MMAP) this.mmap(call);
    else if (call.op === OP_BRK) this.brk(call);
    else if (call.op === OP_MREMAP) this.mremap(call);
    else this.range(call);
  }

  /** @returns {number} the records that it took */
  teardown() {
    const before = this.rows.length;
    this.slots.forEach((slot, k) => {
      if (k === 0) return;
      for (const [from, to] of slot.live) {
        this.rows.push([OP_MUNMAP, k, -1, 0, 0, -1, 0, from - slot.start, to - from, 0]);
      }
    });
    if (this.firstBreak) this.rows.push([OP_BRK, 0, -1, 0, 0, -1, 0, 0, 0, 0]);
    return this.rows.length - before;
  }
}

/**
 * The ranges that calls name before anything was mapped there, joined where they lie close together: the program's image.
 * @param {Call[]} calls
 * @returns {[number, number][]}
 */
function imageOf(calls) {
  /** @type {[number, number][]} */
  const known = [];
  /** @type {[number, number][]} */
  const image = [];
  let firstBreak = 0;
  for (const call of calls) {
    const end = call.addr + pageUp(call.length);
    if (call.op === OP_BRK) {
      firstBreak ||= call.answer;
      known.push([firstBreak, pageUp(call.answer)]);
    } else if (call.op === OP_MMAP || call.op === OP_MREMAP) {
      if (!call.errno) known.push([call.answer, call.answer + pageUp(call.op === OP_MMAP ? call.length : call.extra)]);
    } else if (!call.errno && !known.some(([s, e]) => call.addr < e && end > s)) {
      image.push([call.addr, end]);
    }
  }
  image.sort((a, b) => a[0] - b[0]);
  /** @type {[number, number][]} */
  const joined = [];
  for (const [start, end] of image) {
    const last = joined.at(-1);
    if (last && start - last[1] < IMAGE_GAP) last[1] = Math.max(last[1], end);
    else joined.push([start, end]);
  }
  return joined;
}

/**
 * The records of a strace text's first process.
 * @param {string} text
 * @returns {RecordedCalls}
 */
export function convertStrace(text) {
  const calls = callsOfStrace(text);
  if (calls.length === 0) throw new Error('no memory calls of a first process: a strace -f text is expected');
  const converter = new Converter();
  for (const [start, end] of imageOf(calls)) {
    const result = converter.open(start, end - start);
    const flags = MAP_ANONYMOUS | 2;
    converter.rows.push([OP_MMAP, -1, result, PROT_RW, flags, -1, 0, 0, end - start, 0]);
  }
  const setup = converter.rows.length;
  for (const call of calls) converter.convert(call);
  const teardown = converter.teardown();
  const column = (/** @type {number} */ i) => converter.rows.map((row) => row[i] ?? 0);
  return {
    count: converter.rows.length,
    slots: converter.slots.length,
    setup,
    teardown,
    fileBytes: Float64Array.from(converter.fileBytes),
    op: Int32Array.from(column(0)),
    slot: Int32Array.from(column(1)),
    result: Int32Array.from(column(2)),
    prot: Int32Array.from(column(3)),
    flags: Int32Array.from(column(4)),
    file: Int32Array.from(column(5)),
    recordedErrno: Int32Array.from(column(6)),
    delta: Float64Array.from(column(7)),
    length: Float64Array.from(column(8)),
    extra: Float64Array.from(column(9)),
  };
}

/** @param {DataView} view @param {number} at @param {number} value */
function putInt64(view, at, value) {
  view.setInt32(at + 4, Math.floor(value / 2 ** 32), true);
  view.setUint32(at, value >>> 0, true);
}

/** @param {DataView} view @param {number} at */
const getInt64 = (view, at) => view.getInt32(at + 4, true) * 2 ** 32 + view.getUint32(at, true);

/** @param {RecordedCalls} calls @returns {Uint8Array} what bench/native/calls.c reads */
export function encodeCalls(calls) {
  const files = calls.fileBytes.length;
  const bytes = new Uint8Array(HEADER_BYTES + 8 * files + RECORD_BYTES * calls.count);
  const view = new DataView(bytes.buffer);
  const head = [MAGIC, VERSION, calls.count, calls.slots, files, calls.setup, calls.teardown, 0];
  head.forEach((word, i) => {
    view.setUint32(4 * i, word, true);
  });
  calls.fileBytes.forEach((size, i) => {
    putInt64(view, HEADER_BYTES + 8 * i, size);
  });
  const words = [calls.op, calls.slot, calls.result, calls.prot, calls.flags, calls.file, calls.recordedErrno];
  const longs = [calls.delta, calls.length, calls.extra];
  for (let i = 0; i < calls.count; i++) {
    const at = HEADER_BYTES + 8 * files + RECORD_BYTES * i;
    words.forEach((column, k) => {
      view.setInt32(at + 4 * k, column[i] ?? 0, true);
    });
    longs.forEach((column, k) => {
      putInt64(view, at + 32 + 8 * k, column[i] ?? 0);
    });
  }
  return bytes;
}

/** The inverse of encodeCalls. @param {Uint8Array} bytes @returns {RecordedCalls} */
export function decodeCalls(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < HEADER_BYTES || view.getUint32(0, true) !== MAGIC || view.getUint32(4, true) !== VERSION) {
    throw new Error(`not a file of recorded calls, version ${VERSION}`);
  }
  const count = view.getUint32(8, true);
  const files = view.getUint32(16, true);
  const records = HEADER_BYTES + 8 * files;
  if (bytes.length !== records + RECORD_BYTES * count)
    throw new Error(`${bytes.length} bytes do not fit ${count} records`);
  const words = (/** @type {number} */ k) =>
    Int32Array.from({ length: count }, (_, i) => view.getInt32(records + RECORD_BYTES * i + 4 * k, true));
  const longs = (/** @type {number} */ k) =>
    Float64Array.from({ length: count }, (_, i) => getInt64(view, records + RECORD_BYTES * i + 32 + 8 * k));
  return {
    count,
    slots: view.getUint32(12, true),
    setup: view.getUint32(20, true),
    teardown: view.getUint32(24, true),
    fileBytes: Float64Array.from({ length: files }, (_, i) => getInt64(view, HEADER_BYTES + 8 * i)),
    op: words(0),
    slot: words(1),
    result: words(2),
    prot: words(3),
    flags: words(4),
    file: words(5),
    recordedErrno: words(6),
    delta: longs(0),
    length: longs(1),
    extra: longs(2),
  };
}

/** Converts a strace file and writes the binary form. @param {string} strace @param {string} out @returns {RecordedCalls} */
export function writeRecordedCalls(strace, out) {
  const calls = convertStrace(readText(strace));
  writeFileSync(out, encodeCalls(calls));
  return calls;
}
