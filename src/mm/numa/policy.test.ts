// Memory policies against a naive twin: a table of pages that knows for each the policy of its place and the node where it must be.
// The twin decides by the manual pages (set_mempolicy(2), mbind(2), migrate_pages(2), move_pages(2)), page by page; it has no VMAs, no
// walk and no lists. Memory is plentiful, so that nothing goes to a second choice.
import { describe, expect, test } from 'vitest';
import { EFAULT, EINVAL, EIO, EPERM } from '../../abi/errno.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE } from '../../abi/mman.ts';
import { NR_fork, NR_mmap, NR_munmap } from '../../abi/syscalls.ts';
import { Rng } from '../../base/rng.ts';
import { checkWorld } from '../check-world.ts';
import { userLoad, userStore } from '../cpu-access.ts';
import { doPagesStat } from '../migrate/move-pages.ts';
import * as P from '../policy.ts';
import * as M from '../syscalls/mempolicy.ts';
import { World } from '../vma/test-world.ts';
import { MPOL_MF_MOVE, MPOL_MF_MOVE_ALL, MPOL_MF_STRICT } from './queue-pages.ts';

const PAGE = 4096;
const NODES = 3;
const PRIVATE = 0x10000000;
const SHARED = 0x20000000;
const PAGES = 48;

function mask(nodes: readonly number[]): M.NodeMask {
  return { isNull: false, isFault: false, nodes, maxNode: 64 };
}

interface Policy {
  readonly mode: number;
  readonly nodes: readonly number[];
}

interface TwinPage {
  policy: Policy | null;
  /** -1: no page yet. */
  node: number;
  byte: number;
}

class NumaWorld extends World {
  constructor(numaNodes = NODES) {
    super('6.1', { numaNodes, frames: 6000 });
    const flags = MAP_ANONYMOUS | MAP_FIXED;
    this.call(NR_mmap, PRIVATE, PAGES * PAGE, PROT_READ | PROT_WRITE, flags | MAP_PRIVATE, -1, 0);
    this.call(NR_mmap, SHARED, PAGES * PAGE, PROT_READ | PROT_WRITE, flags | MAP_SHARED, -1, 0);
  }

  store(address: number, byte = 1): void {
    expect(this.k.sched.run(userStore(this.k, this.task, address, byte))).toBe(0);
  }

  node(address: number): number {
    const status = new Int32Array(1);
    this.k.sched.run(doPagesStat(this.k, this.task.mm!, [address], status));
    return status[0]!;
  }

  mbind(start: number, pages: number, mode: number, nodes: readonly number[], flags = 0): number {
    return this.k.sched.run(M.mbind(this.k, this.task, start, pages * PAGE, mode, mask(nodes), flags));
  }

  get(address: number, flags: number): M.PolicyAnswer {
    return this.k.sched.run(M.getMempolicy(this.k, this.task, true, 64, address, flags));
  }

  /** What keeps shared memory of different files from beginning on one node. */
  bias(): number {
    return this.task.mm!.vmas.findExact(SHARED)!.file!.inode.id;
  }
}

/** The node on which a new page belongs. `index`: what an interleaving policy counts. */
function nodeFor(policy: Policy | null, index: number): number {
  if (policy === null || policy.mode === P.MPOL_LOCAL) return 0;
  return policy.mode === P.MPOL_INTERLEAVE ? policy.nodes[index % policy.nodes.length]! : policy.nodes[0]!;
}

class Twin {
  readonly pages = new Map<number, TwinPage>();
  task: Policy | null = null;
  readonly bias: number;

  constructor(bias: number) {
    this.bias = bias;
    for (const base of [PRIVATE, SHARED])
      for (let i = 0; i < PAGES; i++) this.pages.set(base + i * PAGE, { policy: null, node: -1, byte: 0 });
  }

  target(address: number): number {
    const index = address < SHARED ? address / PAGE : (address - SHARED) / PAGE + this.bias;
    return nodeFor(this.pages.get(address)!.policy ?? this.task, index);
  }

  store(address: number, byte: number): void {
    const page = this.pages.get(address)!;
    if (page.node < 0) page.node = this.target(address);
    page.byte = byte;
  }

  mbind(start: number, count: number, policy: Policy | null, asked: readonly number[], flags: number): number {
    const range = Array.from({ length: count }, (_, i) => start + i * PAGE);
    const wrong = range.filter((a) => this.pages.get(a)!.node >= 0 && !asked.includes(this.pages.get(a)!.node));
    const moves = (flags & MPOL_MF_MOVE) !== 0;
    if ((flags & MPOL_MF_STRICT) !== 0 && policy !== null && !moves && wrong.length > 0) return -EIO;
    for (const a of range) this.pages.get(a)!.policy = policy;
    if (moves) for (const a of wrong) this.pages.get(a)!.node = this.target(a);
    return 0;
  }

  migrate(from: readonly number[], to: readonly number[]): void {
    for (const page of this.pages.values()) {
      const at = from.indexOf(page.node);
      if (at < 0 || (from.length !== to.length && to.includes(page.node))) continue;
      page.node = to[at % to.length]!;
    }
  }
}

function someNodes(rng: Rng): number[] {
  const bits = 1 + rng.below(2 ** NODES - 1);
  return Array.from({ length: NODES }, (_, n) => n).filter((n) => (bits & (1 << n)) !== 0);
}

const MODES = [P.MPOL_DEFAULT, P.MPOL_PREFERRED, P.MPOL_BIND, P.MPOL_INTERLEAVE, P.MPOL_LOCAL, P.MPOL_PREFERRED_MANY];

function somePolicy(rng: Rng): { mode: number; asked: number[]; policy: Policy | null } {
  const mode = MODES[rng.below(MODES.length)]!;
  const isBare = mode === P.MPOL_DEFAULT || mode === P.MPOL_LOCAL;
  const asked = isBare ? [] : someNodes(rng);
  const nodes = mode === P.MPOL_PREFERRED ? asked.slice(0, 1) : asked;
  return { mode, asked, policy: mode === P.MPOL_DEFAULT ? null : { mode, nodes } };
}

function step(w: NumaWorld, twin: Twin, rng: Rng): string {
  const base = rng.chance(1, 2) ? PRIVATE : SHARED;
  const first = rng.below(PAGES);
  const at = base + first * PAGE;
  const count = 1 + rng.below(Math.min(12, PAGES - first));
  const what = rng.below(10);
  if (what < 4) {
    for (let i = 0; i < count; i++) {
      const byte = rng.below(256);
      w.store(at + i * PAGE, byte);
      twin.store(at + i * PAGE, byte);
    }
    return 'store';
  }
  if (what < 7) {
    const { mode, asked, policy } = somePolicy(rng);
    const flags = [0, MPOL_MF_STRICT, MPOL_MF_MOVE, MPOL_MF_MOVE | MPOL_MF_STRICT][rng.below(4)]!;
    expect(w.mbind(at, count, mode, asked, flags)).toBe(twin.mbind(at, count, policy, asked, flags));
    return `mbind ${mode} ${asked} ${flags}`;
  }
  if (what === 7) {
    const { mode, asked, policy } = somePolicy(rng);
    expect(M.setMempolicy(w.k, w.task, mode, mask(asked))).toBe(0);
    twin.task = policy;
    return 'set_mempolicy';
  }
  if (what === 8) {
    const from = someNodes(rng);
    const to = someNodes(rng);
    expect(w.k.sched.run(M.migratePages(w.k, w.task, w.task, mask(from), mask(to)))).toBe(0);
    twin.migrate(from, to);
    return `migrate_pages ${from} ${to}`;
  }
  const pages = Array.from({ length: count }, (_, i) => at + i * PAGE);
  const nodes = pages.map(() => rng.below(NODES));
  const args = { count, pages, nodes, isStatusFault: false, flags: MPOL_MF_MOVE };
  expect(w.k.sched.run(M.movePages(w.k, w.task, w.task, args))).toBe(0);
  for (let i = 0; i < count; i++) {
    const page = twin.pages.get(pages[i]!)!;
    if (page.node >= 0) page.node = nodes[i]!;
  }
  return 'move_pages';
}

function compare(w: NumaWorld, twin: Twin, done: string): void {
  checkWorld(w.k);
  for (const [address, page] of twin.pages) {
    const label = `${done}: 0x${address.toString(16)}`;
    if (page.node >= 0) {
      expect(w.node(address), label).toBe(page.node);
      expect(w.k.sched.run(userLoad(w.k, w.task, address)), label).toBe(page.byte);
    } else expect(w.node(address), label).toBeLessThan(0);
    const policy = page.policy ?? twin.task;
    const { mode, nodes } = w.get(address, M.MPOL_F_ADDR);
    expect({ mode, nodes }, label).toEqual(policy ?? { mode: P.MPOL_DEFAULT, nodes: [] });
  }
}

const SEED = Number(process.env.SEED ?? 20_261);

test.each([0, 1, 2, 3])(`every page is where the twin has it (seed ${SEED} + %i)`, (run) => {
  const rng = new Rng(SEED + run);
  const w = new NumaWorld();
  const twin = new Twin(w.bias());
  for (let i = 0; i < 60; i++) compare(w, twin, `step ${i} ${step(w, twin, rng)}`);
  w.call(NR_munmap, PRIVATE, PAGES * PAGE);
  w.call(NR_munmap, SHARED, PAGES * PAGE);
  checkWorld(w.k);
});

describe('mbind', () => {
  test('cuts and joins VMAs by their policies', () => {
    const w = new NumaWorld();
    const before = w.maps().length;
    w.mbind(PRIVATE + 4 * PAGE, 4, P.MPOL_BIND, [1]);
    expect(w.maps()).toHaveLength(before + 2);
    w.mbind(PRIVATE + 8 * PAGE, PAGES - 8, P.MPOL_BIND, [1]);
    expect(w.maps()).toHaveLength(before + 1);
    w.mbind(PRIVATE, PAGES, P.MPOL_DEFAULT, []);
    expect(w.maps()).toHaveLength(before);
  });

  test('pages that a child maps too move only with MPOL_MF_MOVE_ALL, for which one needs a capability', () => {
    const w = new NumaWorld();
    w.store(PRIVATE);
    w.call(NR_fork);
    expect(w.mbind(PRIVATE, 1, P.MPOL_BIND, [2], MPOL_MF_MOVE | MPOL_MF_STRICT)).toBe(0);
    expect(w.node(PRIVATE)).toBe(0);
    expect(w.mbind(PRIVATE, 1, P.MPOL_BIND, [2], MPOL_MF_MOVE_ALL)).toBe(0);
    expect(w.node(PRIVATE)).toBe(2);
    w.task.mm!.limits.cred = { ...w.task.mm!.limits.cred, effective: 0 };
    expect(w.mbind(PRIVATE, 1, P.MPOL_BIND, [1], MPOL_MF_MOVE_ALL)).toBe(-EPERM);
  });

  test('a hole is found on the way, and what was taken off its list before comes back', () => {
    const w = new NumaWorld();
    w.store(PRIVATE + (PAGES - 1) * PAGE);
    expect(w.mbind(PRIVATE, PAGES + 4, P.MPOL_BIND, [1], MPOL_MF_MOVE)).toBe(-EFAULT);
    expect(w.node(PRIVATE + (PAGES - 1) * PAGE)).toBe(0);
    checkWorld(w.k);
  });
});

test('get_mempolicy tells the node of a page, which it faults in, and the node of the next page in turn', () => {
  const w = new NumaWorld();
  w.mbind(PRIVATE, 1, P.MPOL_BIND, [2]);
  w.store(PRIVATE);
  expect(w.get(PRIVATE, M.MPOL_F_NODE | M.MPOL_F_ADDR)).toMatchObject({ result: 0, mode: 2 });
  expect(w.get(0, M.MPOL_F_NODE).result).toBe(-EINVAL);
  M.setMempolicy(w.k, w.task, P.MPOL_INTERLEAVE, mask([1, 2]));
  expect(w.get(0, M.MPOL_F_NODE).mode).toBe(1);
  // A page table takes a turn.
  w.call(NR_mmap, 0x30000000, PAGE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_FIXED | MAP_PRIVATE, -1, 0);
  w.store(0x30000000);
  expect(w.get(0, M.MPOL_F_NODE).mode).toBe(2);
});

test('a task bound to a full node reclaims, and takes no frame of another', () => {
  const w = new World('6.1', { numaNodes: 2, frames: 400, swapPages: 1000 });
  w.call(NR_mmap, PRIVATE, 300 * PAGE, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_FIXED | MAP_PRIVATE, -1, 0);
  const run = <T>(path: Parameters<typeof w.k.sched.run<T>>[0]): T => w.k.sched.run(path);
  expect(run(M.mbind(w.k, w.task, PRIVATE, 300 * PAGE, P.MPOL_BIND, mask([1]), 0))).toBe(0);
  for (let i = 0; i < 300; i++) expect(run(userStore(w.k, w.task, PRIVATE + i * PAGE, i & 255))).toBe(0);
  const addresses = Array.from({ length: 300 }, (_, i) => PRIVATE + i * PAGE);
  const status = new Int32Array(300);
  run(doPagesStat(w.k, w.task.mm!, addresses, status));
  expect(status.includes(0)).toBe(false);
  expect(status.includes(1)).toBe(true);
  for (let i = 0; i < 300; i++) expect(run(userLoad(w.k, w.task, addresses[i]!))).toBe(i & 255);
  checkWorld(w.k);
});
