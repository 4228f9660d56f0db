// The second law of the monitors' objects: over random small programs of events, all interleavings and the reduced exploration give
// the same findings, a finding being a property, a gap, an address space and a page. A step of these programs is one event of a
// thread, in every order that the events of two or three threads may have; no machine stands behind it, so that nothing but
// the monitors' own objects keeps two steps apart. (test/finding-footprints.test.ts tests objects of the machine and of the monitors together.)
//
// PROGRAMS is the number of programs; a failure names SEED and program.
import { expect, it } from 'vitest';
import * as E from '../src/abi/events.ts';
import { MADV_DONTNEED, PROT_READ } from '../src/abi/mman.ts';
import { SITE_COW, SITE_FORK, SITE_MREMAP, SITE_ZAP } from '../src/abi/notifier.ts';
import { NR_madvise, NR_mprotect, NR_munmap } from '../src/abi/syscalls.ts';
import type { Footprint } from '../src/base/footprint.ts';
import { Rng } from '../src/base/rng.ts';
import { EventScript, PAGE } from '../src/check/event-script.ts';
import { enumerate } from '../src/explore/enumerate.ts';
import { explore } from '../src/explore/explore.ts';
import type { Finding, Program, World } from '../src/explore/world.ts';

const seed = Number(process.env['SEED'] ?? 1);
const programs = Number(process.env['PROGRAMS'] ?? 500);
const END = PAGE + 2 * 4096;

/** One event of a thread, decided beforehand. */
type Op = (s: EventScript, actor: number) => void;

const pageOf = (rng: Rng): number => PAGE + rng.below(2) * 4096;
const frameOf = (rng: Rng): number => 10 + rng.below(2);
const agentOf = (rng: Rng): number => [E.AGENT_ATC, E.AGENT_IOTLB, E.AGENT_MIRROR][rng.below(3)]!;

/** A section of the thread around some ops, each one a step; its system call around that. */
function operation(rng: Rng, serial: number): Op[] {
  const [va, pfn] = [pageOf(rng), frameOf(rng)];
  const site = [SITE_ZAP, SITE_COW, SITE_FORK, SITE_MREMAP][rng.below(4)]!;
  const [call, isWritable, cpu] = [rng.below(4), rng.chance(1, 2), rng.below(2)];
  const id = (actor: number): number => actor * 100 + serial;
  const ops: Op[] = [];
  if (call === 0) ops.push((s) => s.call(NR_munmap, va, 4096));
  if (call === 1) ops.push((s) => s.call(NR_madvise, va, 4096, MADV_DONTNEED));
  if (call === 2) ops.push((s) => s.call(NR_mprotect, va, 4096, PROT_READ));
  ops.push((s, actor) => s.emit(E.E_SECTION_START, 1, va, va + 4096, 0, 0, 1, site, 1, id(actor)));
  if (rng.chance(3, 4)) ops.push((s) => s.unmap(va));
  if (rng.chance(1, 3)) ops.push((s) => s.map(va, pfn, isWritable));
  if (rng.chance(1, 3)) ops.push((s) => s.invalidateAll(va, va + 4096));
  if (rng.chance(1, 3)) ops.push((s) => s.cpuInvalidate(va, va + 4096, cpu));
  const closing: Op = (s, actor) => s.emit(E.E_SECTION_END, 1, va, va + 4096, 0, 0, 1, site, 0, id(actor));
  const flush: Op = (s) => s.flush(va, va + 4096);
  ops.push(...(rng.chance(1, 2) ? [closing, flush] : [flush, closing]));
  if (call === 0) ops.push((s) => s.returns(NR_munmap));
  if (call === 1) ops.push((s) => s.returns(NR_madvise));
  if (call === 2) ops.push((s) => s.returns(NR_mprotect));
  return ops;
}

/** An event of hardware or of another part of the kernel. */
function lone(rng: Rng): Op {
  const [va, pfn, agent, isStore, cpu] = [pageOf(rng), frameOf(rng), agentOf(rng), rng.chance(1, 2), rng.below(2)];
  const command = rng.below(4);
  switch (rng.below(27)) {
    case 0:
    case 1:
      return (s) => s.fill(va, pfn, isStore, agent);
    case 2:
    case 3:
    case 4:
      return (s) => s.access(va, pfn, isStore, 0, agent);
    case 5:
    case 6:
    case 7:
      return (s) => s.cpuUse(va, pfn, isStore, cpu);
    case 8:
      return (s) => s.cpuFill(va, pfn, cpu);
    case 9:
      return (s) => s.invalidate(va, va + 4096, agent);
    case 10:
      return (s) => s.cpuInvalidate(PAGE, END, cpu);
    case 11:
      return (s) => s.free(pfn);
    case 12:
      return (s) => s.free(pfn).alloc(pfn);
    case 13:
      return (s) => s.map(va, pfn, isStore);
    case 14:
      return (s) => s.emit(E.E_WRITE_OUT, 0, 0, 0, pfn, 0);
    case 15:
      return (s) => s.emit(E.E_DISCARD, 0, 0, 0, pfn, 0);
    case 16:
      return (s) => s.emit(E.E_DIRTY, 0, 0, 0, pfn, 0);
    case 17:
      return (s) => s.refault(va, isStore ? 3 : 5);
    case 18:
      return isStore ? (s) => s.release() : (s) => s.bind(cpu === 0);
    case 19:
      return (s) => s.ats(E.MSG_TRANSLATION_REQUEST, va, va + 4096);
    case 20:
      return (s) => s.ats(E.MSG_INVALIDATE_REQUEST, va, isStore ? va + 4096 : Number.POSITIVE_INFINITY, cpu);
    case 21:
      return (s) => s.ats(E.MSG_INVALIDATE_COMPLETION, va, va + 4096, cpu);
    case 22:
      return (s) => s.ats(E.MSG_PAGE_REQUEST, va, va + 4096, cpu, isStore ? E.PAGE_REQUEST_LAST : 0, 2);
    case 23:
      return (s) => s.ats(E.MSG_PRG_RESPONSE, va, va + 4096, cpu, isStore ? E.PRG_SUCCESS : E.PRG_FAILURE);
    case 24:
      return (s) =>
        s.ats(
          [E.MSG_QI_PIOTLB, E.MSG_QI_WAIT, E.MSG_QI_DEVICE_TLB, E.MSG_COMPLETION_WAIT_DONE][command]!,
          va,
          va + 4096,
          cpu,
        );
    case 25: {
      // Asked for, lost, and answered by hardware at once.
      const last = E.PAGE_REQUEST_LAST;
      return (s) =>
        s
          .ats(E.MSG_PAGE_REQUEST, va, END, 2, last)
          .ats(E.MSG_PAGE_REQUEST_LOST, va, END, 2)
          .ats(E.MSG_PRG_RESPONSE, 0, 0, 2);
    }
    default:
      return (s) => s.emit(E.E_CALLBACK, 1, va, va + 4096, 0, 0, E.CB_INVALIDATE_RANGE, 0, 0, 1 + cpu);
  }
}

function randomThread(rng: Rng, length: number): Op[] {
  const ops: Op[] = [];
  for (let serial = 1; ops.length < length; serial++) {
    if (rng.chance(1, 2)) ops.push(...operation(rng, serial));
    else ops.push(lone(rng));
  }
  return ops.slice(0, length);
}

class EventWorld implements World {
  readonly #script = new EventScript({ timelines: 0 });
  readonly #threads: readonly (readonly Op[])[];
  readonly #at: number[];

  constructor(threads: readonly (readonly Op[])[], footprint: Footprint) {
    this.#threads = threads;
    this.#at = threads.map(() => 0);
    const s = this.#script
      .as(0)
      .bind(true)
      .alloc(10)
      .alloc(11)
      .map(PAGE, 10)
      .map(PAGE + 4096, 11, false);
    s.fill(PAGE, 10)
      .cpuFill(PAGE, 10, 0)
      .cpuFill(PAGE + 4096, 11, 1);
    s.emit(E.E_SUBSCRIBE, 1, 0, 0, 0, 0, 0, 0, 0, 1);
    s.judge.record(footprint);
  }

  enabled(): number {
    let mask = 0;
    for (let t = 0; t < this.#threads.length; t++) if (this.#at[t]! < this.#threads[t]!.length) mask |= 1 << t;
    return mask;
  }

  step(thread: number): boolean {
    this.#threads[thread]![this.#at[thread]!]!(this.#script.as(thread + 1), thread + 1);
    this.#at[thread]!++;
    return false;
  }

  findingCount(): number {
    return this.#script.judge.violationCount;
  }

  end(isCut: boolean): readonly Finding[] {
    if (!isCut) this.#script.judge.finish();
    return this.#script.judge.findingsSince(0).map((v) => ({ ...v, sentence: v.text, step: 1 }));
  }

  threadName(thread: number): string {
    return `thread ${thread}`;
  }
}

function randomProgram(programSeed: number): Program {
  const build = (footprint: Footprint): World => {
    const rng = new Rng(programSeed);
    const lengths = [
      [5, 4],
      [7, 2],
      [8, 1],
      [3, 2, 1],
      [4, 1, 1],
    ][rng.below(5)]!;
    return new EventWorld(
      lengths.map((n) => randomThread(rng, n)),
      footprint,
    );
  };
  return { name: `program ${programSeed}`, build: (_chooser, footprint) => build(footprint) };
}

const textOf = (f: Finding): string => `${f.property} gap ${f.gap} ${f.mm}:${f.page?.toString(16)}`;

it(`all interleavings and the reduced exploration find the same (SEED=${seed}, PROGRAMS=${programs})`, () => {
  const properties = new Set<string>();
  let all = 0;
  let reduced = 0;
  const wrong: string[] = [];
  for (let i = 0; i < programs; i++) {
    const program = randomProgram(seed * 1_000_000 + i);
    const naive = new Set<string>();
    const e = enumerate(program, (world) => {
      for (const f of world.end(false)) naive.add(textOf(f));
    });
    all += e.executions;
    const found = new Set<string>();
    const r = explore(program, {
      visit: ({ findings }) => {
        for (const f of findings) found.add(textOf(f));
      },
    });
    reduced += r.executions;
    const missing = [...naive].filter((f) => !found.has(f));
    const odd = [...found].filter((f) => !naive.has(f));
    if (missing.length + odd.length > 0) wrong.push(`program ${seed * 1_000_000 + i}: missing ${missing}; odd ${odd}`);
    for (const f of naive) properties.add(f.split(' ')[0]!);
  }
  expect(wrong).toEqual([]);
  expect(reduced).toBeLessThan(all / 2);
  for (const id of ['I1', 'I1c', 'I3', 'I3c', 'I4', 'I4c', 'I5', 'I7', 'I12', 'I20', 'I24'])
    expect([...properties]).toContain(id);
});
