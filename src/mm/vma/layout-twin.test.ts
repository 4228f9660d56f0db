// VMAs against a naive twin: an array with one entry for each page, from which the VMAs follow as maximal runs. That is a
// law for memory that was never touched (no anon_vma keeps areas apart), whatever the order of cuts and merges.

import { expect, test } from 'vitest';
import { EFAULT, ENOMEM } from '../../abi/errno.ts';
import {
  MADV_DODUMP,
  MADV_DONTDUMP,
  MADV_NORMAL,
  MADV_SEQUENTIAL,
  MAP_ANONYMOUS,
  MAP_FIXED,
  MAP_NORESERVE,
  MAP_PRIVATE,
  MAP_SHARED,
  MLOCK_ONFAULT,
  VM_ACCOUNT,
  VM_DONTDUMP,
  VM_EXEC,
  VM_LOCKED,
  VM_LOCKONFAULT,
  VM_MAYEXEC,
  VM_MAYREAD,
  VM_MAYSHARE,
  VM_MAYWRITE,
  VM_NORESERVE,
  VM_SEQ_READ,
  VM_SHARED,
  VM_SOFTDIRTY,
  VM_WRITE,
} from '../../abi/mman.ts';
import * as NR from '../../abi/syscalls.ts';
import { Rng } from '../../base/rng.ts';
import { openFile } from '../process/files.ts';
import type { VmArea } from '../types.ts';
import { World } from './test-world.ts';

const BASE = 0x100000000000;
const PAGES = 48;
const LOCK = VM_LOCKED | VM_LOCKONFAULT;
const MAY = VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC;

interface Page {
  flags: number;
  isFile: boolean;
  /** Page offset: of the file, or of the address. */
  pgoff: number;
}

class Twin {
  readonly pages: (Page | null)[] = new Array(PAGES).fill(null);
  readonly uncharges: boolean;

  constructor(uncharges: boolean) {
    this.uncharges = uncharges;
  }

  map(
    at: number,
    n: number,
    prot: number,
    isShared: boolean,
    isFile: boolean,
    noReserve: boolean,
    pgoff: number,
  ): void {
    let flags = prot | MAY | (isShared ? VM_SHARED | VM_MAYSHARE : 0) | (noReserve ? VM_NORESERVE : 0);
    if ((prot & VM_WRITE) !== 0 && !isShared && !noReserve) flags |= VM_ACCOUNT;
    for (let i = 0; i < n; i++)
      this.pages[at + i] = { flags, isFile, pgoff: isFile ? pgoff + i : BASE / 4096 + at + i };
  }

  /** Applies `change` page by page up to a hole. 0 or -ENOMEM. */
  untilHole(at: number, n: number, change: (p: Page) => void): number {
    for (let i = at; i < at + n; i++) {
      const p = this.pages[i];
      if (p == null) return -ENOMEM;
      change(p);
    }
    return 0;
  }

  protect(p: Page, prot: number): void {
    const old = p.flags;
    let flags = (old & ~7) | prot;
    if (flags === old) return;
    if ((prot & VM_WRITE) !== 0) {
      if ((old & (VM_ACCOUNT | VM_WRITE | VM_SHARED | VM_NORESERVE)) === 0) flags |= VM_ACCOUNT;
    } else if (this.uncharges && !p.isFile) {
      flags &= ~VM_ACCOUNT;
    }
    p.flags = flags;
  }

  /** Maximal runs as "start-end flags offset". */
  runs(): string[] {
    const out: string[] = [];
    for (let i = 0; i < PAGES; ) {
      const p = this.pages[i];
      if (p == null) {
        i++;
        continue;
      }
      let j = i + 1;
      for (let q = this.pages[j]; q != null && j < PAGES && this.continues(p, q, j - i); q = this.pages[j]) j++;
      out.push(`${i}-${j} ${p.flags.toString(16)} ${p.isFile ? 'file' : 'anon'} ${p.pgoff}`);
      i = j;
    }
    return out;
  }

  private continues(p: Page, q: Page, distance: number): boolean {
    return q.flags === p.flags && q.isFile === p.isFile && q.pgoff === p.pgoff + distance;
  }

  runOf(at: number): number {
    const p = this.pages[at]!;
    let j = at + 1;
    while (j < PAGES && this.pages[j] != null && this.continues(p, this.pages[j]!, j - at)) j++;
    return j - at;
  }
}

function actualRuns(w: World): string[] {
  const out: string[] = [];
  const { vmas } = w.task.mm!;
  for (let v = vmas.find(BASE); v !== null && v.start < BASE + PAGES * 4096; v = vmas.next(v)) {
    const flags = v.flags & ~VM_SOFTDIRTY;
    const at = `${(v.start - BASE) / 4096}-${(v.end - BASE) / 4096}`;
    out.push(`${at} ${flags.toString(16)} ${v.file === null ? 'anon' : 'file'} ${v.pgoff}`);
  }
  return out;
}

/** total, locked, data, exec pages and the charge, summed over the VMAs. */
function sums(w: World): number[] {
  const s = [0, 0, 0, 0, 0];
  const { vmas } = w.task.mm!;
  for (let v: VmArea | null = vmas.first(); v !== null; v = vmas.next(v)) {
    const pages = (v.end - v.start) / 4096;
    s[0]! += pages;
    if ((v.flags & VM_LOCKED) !== 0) s[1]! += pages;
    const isStack = v.startGap > 0;
    if (!isStack && (v.flags & (VM_WRITE | VM_SHARED)) === VM_WRITE) s[2]! += pages;
    if (!isStack && (v.flags & (VM_EXEC | VM_WRITE)) === VM_EXEC) s[3]! += pages;
    if ((v.flags & VM_ACCOUNT) !== 0) s[4]! += pages;
  }
  return s;
}

function step(w: World, twin: Twin, r: Rng, fd: number): void {
  const at = r.below(PAGES);
  const n = r.between(1, Math.min(PAGES - at, 10));
  const start = BASE + at * 4096;
  const len = n * 4096;
  const prot = [0, 1, 3, 3, 5][r.below(5)]!;
  let want = 0;
  let got = 0;
  switch (r.below(8)) {
    case 0:
    case 1: {
      const isFile = r.chance(1, 3);
      const isShared = isFile && r.chance(1, 2);
      const noReserve = r.chance(1, 8);
      const pgoff = at + r.below(2) * 3;
      const flags = MAP_FIXED | (isShared ? MAP_SHARED : MAP_PRIVATE) | (noReserve ? MAP_NORESERVE : 0);
      got = w.call(
        NR.NR_mmap,
        start,
        len,
        prot,
        flags | (isFile ? 0 : MAP_ANONYMOUS),
        isFile ? fd : -1,
        isFile ? pgoff * 4096 : 0,
      );
      want = start;
      twin.map(at, n, prot, isShared, isFile, noReserve, pgoff);
      break;
    }
    case 2:
      got = w.call(NR.NR_munmap, start, len);
      twin.pages.fill(null, at, at + n);
      break;
    case 3:
    case 4:
      got = w.call(NR.NR_mprotect, start, len, prot);
      want = twin.untilHole(at, n, (p) => twin.protect(p, prot));
      break;
    case 5:
      if (r.chance(1, 2)) {
        got = w.call(NR.NR_mlock2, start, len, MLOCK_ONFAULT);
        want = twin.untilHole(at, n, (p) => {
          p.flags |= LOCK;
        });
      } else {
        got = w.call(NR.NR_munlock, start, len);
        want = twin.untilHole(at, n, (p) => {
          p.flags &= ~LOCK;
        });
      }
      break;
    case 6: {
      const advice = [MADV_NORMAL, MADV_SEQUENTIAL, MADV_DONTDUMP, MADV_DODUMP][r.below(4)]!;
      got = w.call(NR.NR_madvise, start, len, advice);
      for (let i = at; i < at + n; i++) {
        const p = twin.pages[i];
        if (p == null) want = -ENOMEM;
        else if (advice === MADV_SEQUENTIAL) p.flags |= VM_SEQ_READ;
        else if (advice === MADV_NORMAL) p.flags &= ~VM_SEQ_READ;
        else if (advice === MADV_DONTDUMP) p.flags |= VM_DONTDUMP;
        else p.flags &= ~VM_DONTDUMP;
      }
      break;
    }
    default: {
      const to = r.below(PAGES - n + 1);
      if (to < at + n && at < to + n) return;
      got = w.call(NR.NR_mremap, start, len, len, 3, BASE + to * 4096);
      if (twin.pages[at] == null) {
        want = -EFAULT;
        break;
      }
      want = BASE + to * 4096;
      const moved = twin.pages.slice(at, at + n);
      const isWhole = twin.runOf(at) >= n;
      if (!isWhole) want = -EFAULT;
      if (isWhole) {
        twin.pages.fill(null, at, at + n);
        moved.forEach((p, i) => {
          twin.pages[to + i] = { ...p!, pgoff: p!.isFile ? p!.pgoff : BASE / 4096 + to + i };
        });
      } else twin.pages.fill(null, to, to + n); // 6.1 has unmapped the target by then
    }
  }
  expect(got).toBe(want);
}

test.each(['6.1', '6.6', '6.12'])(
  '%s: VMAs are the maximal runs of equal pages; accounts are their sums',
  (name) => {
    const seed = Number(process.env.SEED ?? 20261);
    console.log(`SEED=${seed}`);
    const r = new Rng(seed);
    for (let round = 0; round < 8; round++) {
      const w = new World(name);
      const inode = w.k.newInode('regular', '/data', 1 << 20);
      const fd = openFile(w.k, w.task, inode, true, true);
      const twin = new Twin(w.k.profile.mprotectUncharges);
      for (let i = 0; i < 4500; i++) {
        step(w, twin, r, fd);
        const actual = actualRuns(w);
        const expected = twin.runs();
        if (actual.join('\n') !== expected.join('\n')) expect(actual, `round ${round} step ${i}`).toEqual(expected);
        const mm = w.task.mm!;
        const accounts = [mm.totalVm, mm.lockedVm, mm.dataVm, mm.execVm, w.k.committed];
        if (accounts.join() !== sums(w).join()) expect(accounts, `round ${round} step ${i}`).toEqual(sums(w));
        if (i % 500 === 0) mm.vmas.checkInvariants();
      }
    }
  },
  60_000,
);
