// Every bundled recording, replayed. What counts as a memory call is counted here from the text alone.

import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { besideTrace, type LoadedTrace, loadTrace } from './load.ts';
import { type ReplayResult, runReplay } from './run.ts';
import type { TouchPolicy } from './touch.ts';

const RECORDINGS = fileURLToPath(new URL('../../../recordings', import.meta.url));
const MEMORY_CALL =
  /^(?:\d+ +)?(mmap|munmap|mremap|mprotect|pkey_mprotect|pkey_alloc|pkey_free|brk|madvise|msync|mincore|mlock2?|munlock|mlockall|munlockall|remap_file_pages|mseal|shmat|shmdt)\(/;
const EXECVE_DONE = /(?:^(?:\d+ +)?execve\(.* = 0$|<\.\.\. execve resumed>.* = 0$)/;
const UNKNOWN_MAPPING = 'concerns a mapping that execve made and the recording does not show';

interface Program {
  readonly name: string;
  readonly path: string;
  /** The row of cases.tsv by column name. */
  readonly row: Readonly<Record<string, string>>;
}

function programsOf(folder: string): Program[] {
  const [head, ...rows] = readFileSync(`${RECORDINGS}/${folder}/cases.tsv`, 'utf8').trimEnd().split('\n');
  const columns = head!.split('\t');
  const files = readdirSync(`${RECORDINGS}/${folder}`);
  return rows.map((text) => {
    const cells = text.split('\t');
    const row = Object.fromEntries(columns.map((column, i) => [column, cells[i]!]));
    const name = row.case!;
    const file = files.find((f) => f === `${name}.strace` || f === `${name}.strace.gz`);
    return { name, path: `${RECORDINGS}/${folder}/${file}`, row };
  });
}

function linesOf(path: string): string[] {
  const bytes = readFileSync(path);
  return (path.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('latin1').split('\n');
}

/** Memory calls of the text by name, and how many execves succeeded. */
function countText(lines: readonly string[]): { byName: Map<string, number>; total: number; execs: number } {
  const byName = new Map<string, number>();
  let total = 0;
  let execs = 0;
  for (const line of lines) {
    const name = MEMORY_CALL.exec(line)?.[1];
    if (name !== undefined) {
      byName.set(name, (byName.get(name) ?? 0) + 1);
      total++;
    }
    if (EXECVE_DONE.test(line)) execs++;
  }
  return { byName, total, execs };
}

function run(trace: LoadedTrace, touch: TouchPolicy): Promise<ReplayResult> {
  return runReplay(trace, { kernel: null, touch, frames: 1 << 19, lackey: null, strict: true }, () => 0);
}

/** The replayer's counts of the calls in `names`. */
function countsOf(r: ReplayResult, names: Iterable<string>): Map<string, number> {
  return new Map(
    [...names].map((name) => {
      const c = r.tally.byCall.get(name)!;
      return [name, c.verified + c.learned + c.diverged + c.skipped];
    }),
  );
}

function expectAllVerified(r: ReplayResult): void {
  expect(r.divergences).toEqual([]);
  expect(r.tally).toMatchObject({ verified: r.tally.calls, learned: 0, diverged: 0, skipped: 0 });
  expect(r.ended).toBeNull();
  expect(r.recordsDone).toBe(r.recordsTotal);
}

const ALL = ['programs', 'lackey'].flatMap((folder) => programsOf(folder).map((p) => ({ ...p, folder })));

describe.each(ALL)('$folder/$name', ({ folder, path, row }) => {
  const text = countText(linesOf(path));

  test('every memory call is verified, with the final maps of Linux', async () => {
    const trace = await loadTrace(path, { strict: true });
    const r = await run(trace, 'sample');
    // strace's class of memory calls, in which that column was counted, has not these two.
    const keyCalls = (text.byName.get('pkey_alloc') ?? 0) + (text.byName.get('pkey_free') ?? 0);
    expect(text.total - keyCalls).toBe(Number(row.mem));
    expect(countsOf(r, text.byName.keys())).toEqual(text.byName);
    expectAllVerified(r);
    // The order of results is the order in the kernel, but for one pair of a recording.
    expect(r.tally.reordered).toBe(folder === 'lackey' && row.case === 'malloc-threads' ? 1 : 0);
    expect(r.finalMaps).toBe('equal');
    const [equal, all] = row.verified!.split('/').map(Number);
    expect(equal).toBe(all);
    expect(r.finalMapsResults.length).toBe(all);
    expect(r.finalMapsResults.every((m) => m.notCompared === 0)).toBe(true);
    expect(r.touched).toBeGreaterThan(0);
  });

  test('without initial maps only the layout is learned', async () => {
    const trace = await loadTrace(path, { strict: true, initialMaps: null });
    expect(trace.initialMaps).toEqual([]);
    const r = await run({ ...trace, kernel: '6.18' }, 'sample');
    const { tally } = r;
    expect(countsOf(r, text.byName.keys())).toEqual(text.byName);
    expect(r.divergences).toEqual([]);
    if ('execs' in row) expect(text.execs).toBe(Number(row.execs));
    // The first brk and the first mapping of each program; its own protection calls (RELRO of program and linker) are skipped.
    expect(tally.learned).toBe(2 * text.execs);
    expect([...tally.byCall].filter(([, c]) => c.learned > 0).map(([name]) => name)).toEqual(['brk', 'mmap']);
    expect(tally.byCall.get('brk')!.learned).toBe(text.execs);
    expect([...tally.skips]).toEqual([[UNKNOWN_MAPPING, 2 * text.execs]]);
    expect(tally.byCall.get('mprotect')!.skipped).toBe(2 * text.execs);
    expect(tally.verified).toBe(tally.calls - 4 * text.execs);
    // What execve mapped is not compared; what calls mapped is, and is equal.
    expect(r.finalMaps).toBe('equal');
    expect(r.finalMapsResults.length).toBe(Number(row.verified!.split('/')[1]));
    const recorded = new Map(
      trace.finalMaps.map((s) => [s.task, s.vmas.filter((v) => v.name !== '[vsyscall]').length]),
    );
    for (const m of r.finalMapsResults) {
      // Four segments at least, two of vvar, vdso, four of the linker, the stack.
      expect(m.notCompared).toBeGreaterThanOrEqual(12);
      expect(m.notCompared).toBeLessThan(recorded.get(m.task)!);
    }
  });
});

describe.each(ALL.filter((p) => besideTrace(p.path, 'faults') !== null))('$folder/$name with other accesses', (p) => {
  test.each<TouchPolicy>(['none', 'populate', 'faults'])('--touch %s', async (touch) => {
    const faults = touch === 'faults' ? besideTrace(p.path, 'faults') : null;
    const r = await run(await loadTrace(p.path, { strict: true, faults }), touch);
    expectAllVerified(r);
    if (touch === 'none') expect(r.touched).toBe(0);
    else expect(r.touched).toBeGreaterThan(50);
    // Without accesses VMAs merge that owned different pages in truth.
    if (touch !== 'none') expect(r.finalMaps).toBe('equal');
    if (touch === 'faults') {
      const list = r.faultPlan!;
      const lines = linesOf(faults!).filter((line) => line.includes('page-faults'));
      expect(list.applied + list.redundant + list.unused).toBe(lines.length);
      // The threads of one recording ran in another order, on other heaps, than those of its fault list.
      const isThreaded = p.name === 'malloc-threads';
      expect(list.applied + list.redundant).toBeGreaterThan((isThreaded ? 0.5 : 0.95) * lines.length);
      // MAP_POPULATE makes faults of its own.
      expect(r.touched).toBe(list.applied);
      expect(r.faults).toBeGreaterThanOrEqual(list.applied);
    }
  });
});
