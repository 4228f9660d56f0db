/**
 * The converter of recorded calls, against a naive address space of single pages that places mappings elsewhere than the
 * recording did. Whatever the placement: no call fails, none touches memory that is not the program's, and nothing is
 * left at the end.
 */
import { describe, expect, test } from 'vitest';
import { parseLackey } from '../bench/lackey.mjs';
import {
  callsOfStrace,
  convertStrace,
  decodeCalls,
  encodeCalls,
  OP_BRK,
  OP_MMAP,
  OP_MREMAP,
  OP_MUNMAP,
} from '../bench/recorded-calls.mjs';

const PAGE = 4096;
const MAP_FIXED = 0x10;

type RecordedCalls = ReturnType<typeof convertStrace>;

/**
 * Issues every record on a set of mapped pages; places are chosen by the caller. Answers what went wrong; before the
 * teardown as many pages must be mapped as were at the end of the recording.
 */
function replay(
  calls: RecordedCalls,
  expected: number,
  place: (pages: number, mapped: Set<number>) => number,
): string[] {
  const mapped = new Set<number>();
  const owner = new Map<number, number>();
  const heapFirst = 0x10000;
  const base = new Array<number>(calls.slots).fill(Number.NaN);
  base[0] = heapFirst * PAGE;
  const wrong: string[] = [];
  let brk = base[0];
  const pagesOf = (at: number, bytes: number) =>
    Array.from({ length: Math.ceil(bytes / PAGE) }, (_, i) => at / PAGE + i);
  const put = (pages: number[], slot: number) => {
    for (const page of pages) {
      mapped.add(page);
      owner.set(page, slot);
    }
  };
  for (let i = 0; i < calls.count; i++) {
    if (i === calls.count - calls.teardown && mapped.size !== expected) {
      wrong.push(`${mapped.size} pages at the end, ${expected} in the recording`);
    }
    const slot = calls.slot[i]!;
    const at = slot < 0 ? 0 : base[slot]! + calls.delta[i]!;
    const pages = pagesOf(at, calls.length[i]!);
    const stray = () => {
      for (const page of pages) {
        if (!mapped.has(page)) wrong.push(`record ${i}: page ${page} is not mapped`);
        else if (owner.get(page) !== slot) wrong.push(`record ${i}: page ${page} belongs to slot ${owner.get(page)}`);
      }
    };
    switch (calls.op[i]) {
      case OP_MMAP:
        if (calls.flags[i]! & MAP_FIXED) {
          stray();
        } else {
          const first = place(pages.length, mapped);
          base[calls.result[i]!] = first * PAGE;
          put(pagesOf(first * PAGE, calls.length[i]!), calls.result[i]!);
        }
        break;
      case OP_MREMAP: {
        stray();
        for (const page of pages) mapped.delete(page);
        const first = place(Math.ceil(calls.extra[i]! / PAGE), mapped);
        base[calls.result[i]!] = first * PAGE;
        put(pagesOf(first * PAGE, calls.extra[i]!), calls.result[i]!);
        break;
      }
      case OP_BRK:
        if (slot < 0) break;
        for (let page = heapFirst; page < Math.ceil(brk / PAGE); page++) mapped.delete(page);
        brk = at;
        put(pagesOf(base[0], brk - base[0]), 0);
        break;
      case OP_MUNMAP:
        stray();
        for (const page of pages) mapped.delete(page);
        break;
      default:
        stray();
    }
  }
  if (mapped.size > 0) wrong.push(`${mapped.size} pages are left`);
  return wrong;
}

/** Places upwards from 2^30, never reusing: neighbours of the recording are far apart. */
function scattered() {
  let next = 2 ** 18;
  return (pages: number) => {
    next += 1000 + pages;
    return next - pages;
  };
}

/** The lowest gap from a low address on: reuses every hole at once. */
function tight(pages: number, mapped: Set<number>) {
  let first = 0x40000;
  for (let page = first; page < first + pages; page++) if (mapped.has(page)) first = page + 1;
  return first;
}

const hex = (page: number) => `0x${(page * PAGE).toString(16)}`;
const ANON = 'PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0';

/** A random program as strace would have seen it, with the kernel's top-down placement. */
function randomProgram(seed: number, length: number): { text: string; pages: number } {
  let state = seed;
  const random = (n: number) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const mapped = new Set<number>();
  let brk = 0x80000;
  const text = ['7 execve("/p", [], []) = 0', `7 brk(NULL) = ${hex(brk)}`];
  const find = (pages: number) => {
    let first = 0x7ffff000 - pages;
    for (let page = first + pages - 1; page >= first; page--) {
      if (mapped.has(page)) {
        first = page - pages;
        page = first + pages;
      }
    }
    return first;
  };
  const put = (first: number, pages: number) => {
    for (let i = 0; i < pages; i++) mapped.add(first + i);
  };
  for (let i = 0; i < length; i++) {
    const pages = 1 + random(12);
    const all = [...mapped];
    const start = all.length > 0 ? all[random(all.length)]! : find(pages);
    const kind = random(all.length > 300 ? 5 : 8);
    if (kind < 2) {
      text.push(`7 munmap(${hex(start)}, ${pages * PAGE - random(PAGE)}) = 0`);
      for (let k = 0; k < pages; k++) mapped.delete(start + k);
    } else if (kind === 2 && all.length > 0) {
      text.push(`7 mprotect(${hex(start)}, ${pages * PAGE}, PROT_READ) = 0`);
    } else if (kind === 3) {
      text.push(`7 mmap(${hex(start)}, ${pages * PAGE}, ${ANON.replace('MAP_P', 'MAP_FIXED|MAP_P')}) = ${hex(start)}`);
      put(start, pages);
    } else if (kind === 4 && all.length > 0) {
      mapped.delete(start);
      const first = find(pages);
      put(first, pages);
      text.push(`7 mremap(${hex(start)}, ${PAGE}, ${pages * PAGE}, MREMAP_MAYMOVE) = ${hex(first)}`);
    } else if (kind === 5) {
      brk += random(9) - 4;
      brk = Math.max(brk, 0x80000);
      text.push(`7 brk(${hex(brk)}) = ${hex(brk)}`);
    } else {
      const first = find(pages);
      put(first, pages);
      text.push(`7 mmap(NULL, ${pages * PAGE}, ${ANON}) = ${hex(first)}`);
    }
  }
  return { text: text.join('\n'), pages: mapped.size + brk - 0x80000 };
}

describe('recorded calls', () => {
  const seed = Number(process.env['SEED'] ?? 1);

  test(`random programs replay at other addresses without a stray call (SEED=${seed})`, () => {
    let records = 0;
    for (let k = 0; k < 60; k++) {
      const program = randomProgram(seed * 1000 + k, 250);
      const calls = convertStrace(program.text);
      records += calls.count;
      expect(replay(calls, program.pages, scattered()), `seed ${seed * 1000 + k}, scattered`).toEqual([]);
      expect(replay(calls, program.pages, tight), `seed ${seed * 1000 + k}, tight`).toEqual([]);
    }
    expect(records).toBeGreaterThan(60 * 200);
  });

  test('encode, then decode gives the same records', () => {
    const calls = convertStrace(randomProgram(seed, 300).text);
    expect(decodeCalls(encodeCalls(calls))).toEqual(calls);
    expect(() => decodeCalls(encodeCalls(calls).subarray(0, 100))).toThrow(/do not fit/);
    expect(() => decodeCalls(new Uint8Array(64))).toThrow(/not a file of recorded calls/);
  });

  test('threads belong to the process, children and what follows a second execve do not', () => {
    const text = [
      '7 execve("/p", [], []) = 0',
      '7 brk(NULL) = 0x80000000',
      `7 mmap(NULL, 8192, ${ANON} <unfinished ...>`,
      '7 <... mmap resumed>) = 0x7fff0000',
      '7 clone3({flags=CLONE_VM|CLONE_THREAD, exit_signal=0}, 88 <unfinished ...>',
      '8 munmap(0x7fff0000, 4096) = 0',
      '7 <... clone3 resumed>) = 8',
      '7 clone(child_stack=NULL, flags=SIGCHLD) = 9',
      '9 munmap(0x7fff1000, 4096) = 0',
      '7 madvise(0x7fff1000, 4096, MADV_DONTNEED) = -1 EINVAL (Invalid argument)',
      '7 execve("/q", [], []) = 0',
      '7 brk(NULL) = 0x90000000',
    ].join('\n');
    const seen = callsOfStrace(text).map((call) => [call.line, call.op, call.errno]);
    expect(seen).toEqual([
      [2, OP_BRK, 0],
      [4, OP_MMAP, 0],
      [6, OP_MUNMAP, 0],
      [10, 4, 22],
    ]);
  });

  test('a range that was there before the first call is mapped by a set-up record', () => {
    const calls = convertStrace('7 brk(NULL) = 0x80000000\n7 mprotect(0x555555557000, 4096, PROT_READ) = 0');
    expect(calls.setup).toBe(1);
    expect([...calls.op]).toEqual([OP_MMAP, OP_BRK, 2, OP_MUNMAP, OP_BRK]);
    expect([...calls.slot]).toEqual([-1, -1, 1, 1, 0]);
  });

  test('an unknown flag is refused with its line', () => {
    const text = '7 brk(NULL) = 0x80000000\n7 mprotect(0x1000, 4096, PROT_ODD) = 0';
    expect(() => convertStrace(text)).toThrow('strace line 2: PROT_ODD is not a known flag');
  });
});

test('lackey lines become references, others are left out', () => {
  const text = '==5== Lackey\nI  0401ab70,3\n S 1fff000cf8,8\n L 4000,4\n M 7fff12345678,16\n==5== end';
  const refs = parseLackey(new TextEncoder().encode(text));
  expect([...refs.va]).toEqual([0x0401ab70, 0x1fff000cf8, 0x4000, 0x7fff12345678]);
  expect([...refs.kind]).toEqual([0, 2, 1, 3]);
  expect([...refs.size]).toEqual([3, 8, 4, 16]);
});
