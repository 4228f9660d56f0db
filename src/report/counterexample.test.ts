// A shown run says what the events say: golden text of a small counterexample, and laws over many random runs.
import { expect, test } from 'vitest';
import { randomRun, testScenario, testSubject, violatingRun } from '../../test/support/recorded-runs.ts';
import {
  AGENT_ATC,
  AGENT_IOTLB,
  E_DEV_ACCESS,
  E_DEV_FILL,
  E_DEV_INVAL,
  E_FRAME_ALLOC,
  E_FRAME_FREE,
  E_MSG,
  E_PTE,
  E_SYSCALL,
  EV_PFN,
  EV_TYPE,
  EV_WORDS,
  FRAME_ANON,
  FRAME_FILE,
  MSG_CMD_INVALIDATE_IOMMU_PAGES,
} from '../abi/events.ts';
import { NR_munmap } from '../abi/syscalls.ts';
import type { RecordedRun, RecordedStep } from '../workload/scenario/recorded-run.ts';
import { shownTrace } from './counterexample.ts';
import { terminalPaint } from './lanes.ts';
import { displayWidth } from './table.ts';
import { formatTimeline } from './timeline.ts';
import { layoutTrace } from './trace-layout.ts';

const seed = Number(process.env['SEED'] ?? 1);

const noCallbacksTrace = shownTrace(violatingRun(testScenario('munmap'), testSubject('no-callbacks'), 'I5'));
const flushStartEndTrace = shownTrace(
  violatingRun(testScenario('munmap-batch'), testSubject('iommu-flush-start-end', 'linux-2.6.27'), 'I1'),
);

test('golden: the driver without callbacks under munmap', () => {
  expect(`\n${formatTimeline(layoutTrace(noCallbacksTrace), 100)}`).toMatchInlineSnapshot(`
    "
    munmap with no-callbacks (linux-6.1): I5 (STALE-MAP) at step 9
    9 steps, 3 in the story; 0 context switches, 0 preemptions

    step  munmap
          │       before: PTE 0x10200000 maps frame 0x9 gen 0, writable; held by CPU 0 TLB, IOMMU TLB,
          │       device TLB
       1  ●       munmap(0x10200000, 0x1000)
       3  ●       PTE 0x10200000 cleared (frame 0x9 gen 0)
       7  ●       CPU TLB flush of 0x10200000..0x10201000
          │       CPU 0 TLB dropped 0x10200000..0x10201000
       9  ✗       frame 0x9 freed (gen 0 ends)

    Also violated: I2 (UAF-TABLE) at step 9.
    What munmap changed outside any section in 0x10200000..0x10201000 is complete, but the IOMMU TLB
    still translates page 0x10200000 to frame 0x9 (made during the setup): the entry is not present.
    Violates I5 (STALE-MAP): When a section is complete, every device translation of a page that it
    changed agrees with the entry.
    "
  `);
});

/** One event; the numbers are those of abi/events from word 3 on. */
function record(actor: number, type: number, ...words: number[]): Float64Array {
  const r = new Float64Array(EV_WORDS);
  r.set([type, 0, actor, ...words]);
  return r;
}

const VA = 0x10200000;
const END = VA + 4096;
const NOWHERE = { name: 'access', observable: 'before a CPU load or store' };

function step(
  thread: number,
  isPreemption: boolean,
  waits: string,
  records: readonly Float64Array[] = [],
): RecordedStep {
  const all = ['', '', '', ''];
  all[thread] = waits;
  return { thread, from: NOWHERE, to: NOWHERE, isPreemption, isLast: false, records, waits: all };
}

/** A hand-made run: the flush of the device's TLB is preempted, and comes too late. Threads are numbered from 0, actors from 1. */
const HAND_MADE: RecordedRun = {
  scenario: 'munmap',
  summary: 'one page goes',
  driver: 'hand-made',
  design: 'linux-6.1',
  threads: [
    { name: 'munmap', lane: 'cpu' },
    { name: 'kswapd', lane: 'kernel' },
    { name: 'IOMMU executor 0', lane: 'iommu' },
    { name: 'device engine 0', lane: 'device' },
  ],
  setup: [
    record(0, E_FRAME_ALLOC, 0, 0, 0, 7, 0, FRAME_ANON, 0, 0, 0),
    record(0, E_PTE, 1, VA, END, 6, 0, 0x7867, 0x80000000 | 0, 0, 0),
    record(0, E_DEV_FILL, 1, VA, END, 7, 0, 1, 0, AGENT_ATC, 1),
  ],
  waitsAtStart: ['', '', 'command', ''],
  steps: [
    step(0, false, '', [record(1, E_SYSCALL, 1, VA, 4096, 0, 0, NR_munmap, 0, 0, 0)]),
    step(0, false, '', [record(1, E_PTE, 1, VA, END, 6, 0, 0, 0, 0x7867, 0x80000000 | 0)]),
    step(0, false, 'COMPLETION_WAIT', [record(1, E_MSG, 1, VA, END, 0, 0, MSG_CMD_INVALIDATE_IOMMU_PAGES, 0, 0, 0)]),
    step(1, false, ''),
    step(2, true, '', [record(3, E_DEV_INVAL, 1, VA, END, 0, 0, 0, 0, AGENT_IOTLB, 0)]),
    step(0, true, '', [record(1, E_FRAME_FREE, 0, 0, 0, 7, 0, FRAME_ANON, 0, 0, 0)]),
    step(1, true, '', [record(2, E_FRAME_ALLOC, 0, 0, 0, 7, 1, FRAME_FILE, 0, 0, 0)]),
    step(3, true, '', [record(4, E_DEV_ACCESS, 1, VA + 8, VA + 16, 7, 0, 1, 1, AGENT_ATC, 1)]),
  ],
  lockNames: {},
  findings: [
    {
      property: 'I1',
      tag: 'UAF-DATA',
      kind: 'safety',
      sentence: 'The device wrote frame 0x7, which belongs to somebody else.',
      gap: null,
      step: 8,
      mm: 1,
      page: VA,
      pfn: 7,
    },
  ],
};

test('golden: preemptions, hardware lanes, reuse', () => {
  expect(`\n${formatTimeline(layoutTrace(shownTrace(HAND_MADE)), 100)}`).toMatchInlineSnapshot(`
    "
    munmap with hand-made (linux-6.1): I1 (UAF-DATA) at step 8
    8 steps, 5 in the story; 5 context switches, 4 preemptions

          munmap
          │ kswapd
          │ │ IOMMU executor 0
    step  │ │ │ device engine 0
          │ │ │ │  before: PTE 0x10200000 maps frame 0x7 gen 0, writable; held by device TLB
       1  ● │ │ │  munmap(0x10200000, 0x1000)
       2  ● │ │ │  PTE 0x10200000 cleared (frame 0x7 gen 0)
          ╰─┼─╮ │  munmap waits for COMPLETION_WAIT → kswapd (preempted) → IOMMU executor 0
       5  │ │ ● │  IOMMU TLB dropped 0x10200000..0x10201000
          ╭─┼─╯ │  preempted: IOMMU executor 0 → munmap
       6  ● │ │ │  frame 0x7 freed (gen 0 ends)
          ╰─╮ │ │  preempted: munmap → kswapd
       7  │ ● │ │  frame 0x7 reused (file, gen 1)
          │ ╰─┼─╮  preempted: kswapd → device engine 0
       8  │ │ │ ✗  device TLB hit 0x10200008 → frame 0x7 gen 0, frame now gen 1: STALE WRITE

    The device wrote frame 0x7, which belongs to somebody else.
    Violates I1 (UAF-DATA): A device never reaches a frame that was freed after its translation was
    made.
    "
  `);
});

test('golden: all steps, in 60 columns', () => {
  expect(`\n${formatTimeline(layoutTrace(shownTrace(HAND_MADE), { hasAllSteps: true }), 60)}`).toMatchInlineSnapshot(`
    "
    munmap with hand-made (linux-6.1): I1 (UAF-DATA) at step 8
    8 steps, 5 in the story; 5 context switches, 4 preemptions

          munmap
          │ kswapd
          │ │ IOMMU executor 0
    step  │ │ │ device engine 0
          │ │ │ │  before: PTE 0x10200000 maps frame 0x7 gen 0,
          │ │ │ │  writable; held by device TLB
       1  ● │ │ │  munmap(0x10200000, 0x1000)
       2  ● │ │ │  PTE 0x10200000 cleared (frame 0x7 gen 0)
          │ │ │ │  [0x8000000000007867 → 0x0]
       3  ● │ │ │  INVALIDATE_IOMMU_PAGES 0x10200000 (tag 0)
          │ │ │ │  waits for COMPLETION_WAIT
       4  │ ● │ │  goes on to "access"
          │ ╰─╮ │  preempted: kswapd → IOMMU executor 0
       5  │ │ ● │  IOMMU TLB dropped 0x10200000..0x10201000
          ╭─┼─╯ │  preempted: IOMMU executor 0 → munmap
       6  ● │ │ │  frame 0x7 freed (gen 0 ends)
          ╰─╮ │ │  preempted: munmap → kswapd
       7  │ ● │ │  frame 0x7 reused (file, gen 1)
          │ ╰─┼─╮  preempted: kswapd → device engine 0
       8  │ │ │ ✗  device TLB hit 0x10200008 → frame 0x7 gen 0,
          │ │ │ │  frame now gen 1: STALE WRITE

    The device wrote frame 0x7, which belongs to somebody else.
    Violates I1 (UAF-DATA): A device never reaches a frame that
    was freed after its translation was made.
    "
  `);
});

test('golden: the state after each step', () => {
  const { steps } = shownTrace(HAND_MADE);
  const told = steps.map(({ state: s }) => {
    const held = s.translations.map((t) => `${t.holder}${t.isStale ? ' stale' : ''}`).join(', ');
    const inside = s.inside.map((x) => `${x.thread} in ${x.what}`).join(', ');
    return `${s.entries[0]!.word} | ${held} | ${s.frames[0]!.owner} gen ${s.frames[0]!.generation} | ${inside}`;
  });
  expect(told).toMatchInlineSnapshot(`
    [
      "0x8000000000007867 | device TLB | anon gen 0 | munmap in munmap(0x10200000, 0x1000)",
      "0x0 | device TLB | anon gen 0 | munmap in munmap(0x10200000, 0x1000)",
      "0x0 | device TLB | anon gen 0 | munmap in munmap(0x10200000, 0x1000)",
      "0x0 | device TLB | anon gen 0 | munmap in munmap(0x10200000, 0x1000)",
      "0x0 | device TLB | anon gen 0 | munmap in munmap(0x10200000, 0x1000)",
      "0x0 | device TLB stale | free gen 1 | munmap in munmap(0x10200000, 0x1000)",
      "0x0 | device TLB stale | file gen 1 | munmap in munmap(0x10200000, 0x1000)",
      "0x0 | device TLB stale | file gen 1 | munmap in munmap(0x10200000, 0x1000)",
    ]
  `);
});

const OPERATIONS = ['munmap', 'munmap-batch', 'fork-write', 'swap-out', 'mremap-move', 'exit', 'truncate'];

test(`no line is over the width, every lane and step of the story is there (SEED=${seed})`, () => {
  OPERATIONS.forEach((operation, i) => {
    const driver = i % 2 === 0 ? 'no-callbacks' : 'iommu-v2';
    const trace = shownTrace(randomRun(testScenario(operation), testSubject(driver), seed + i, 3));
    for (const hasAllSteps of [false, true]) {
      const layout = layoutTrace(trace, { hasAllSteps });
      for (const width of [60, 80, 100, 140]) {
        const lines = formatTimeline(layout, width).split('\n');
        for (const line of lines) expect(displayWidth(line)).toBeLessThanOrEqual(width);
        for (const lane of layout.lanes)
          expect(
            lines.some((l) => l.includes(lane.name)),
            lane.name,
          ).toBe(true);
        const numbers = lines
          .filter((l) => /[●✗]/.test(l))
          .map((l) => /^ *([\d,]+) /.exec(l)?.[1])
          .filter((n) => n !== undefined);
        const steps = trace.steps.filter(
          (s) =>
            (hasAllSteps || s.isStory) && (hasAllSteps || trace.finding === null || s.number <= trace.finding.step),
        );
        expect([...new Set(numbers)]).toEqual(steps.map((s) => s.number.toLocaleString('en-US')));
      }
    }
  });
});

test('many lanes: a lane takes one column, and the words stay', () => {
  const trace = flushStartEndTrace;
  const lanes = Array.from({ length: 31 }, (_, i) => ({
    name: `a thread with the number ${i}`,
    kind: 'kernel' as const,
  }));
  const layout = { ...layoutTrace(trace), lanes };
  for (const width of [60, 80, 100]) {
    const text = formatTimeline(layout, width);
    for (const line of text.split('\n')) expect(displayWidth(line)).toBeLessThanOrEqual(width);
    expect(text.replace(/[│╰╯╭╮┼─●✗\s]+/g, ' ')).toContain('frame 0x9 freed');
  }
});

test('colour codes only where they are asked for, and they change nothing else', () => {
  const layout = layoutTrace(flushStartEndTrace);
  const plain = formatTimeline(layout, 90);
  const painted = formatTimeline(layout, 90, terminalPaint);
  expect(plain).not.toContain('\x1b');
  expect(painted).toContain('\x1b[');
  const pieces = painted.split('\x1b[').map((piece, i) => (i === 0 ? piece : piece.slice(piece.indexOf('m') + 1)));
  expect(pieces.join('').replaceAll(/ +$/gm, '')).toBe(plain);
});

test('the state of a frame agrees with the events, whatever the order', () => {
  for (let s = 0; s < 5; s++) {
    const run = randomRun(testScenario('munmap-batch'), testSubject('no-callbacks'), seed + s);
    const trace = shownTrace(run);
    const freed = new Set<number>();
    run.steps.forEach((step, i) => {
      for (const r of step.records) if (r[EV_TYPE] === E_FRAME_FREE) freed.add(r[EV_PFN]!);
      for (const frame of trace.steps[i]!.state.frames) {
        if (freed.has(frame.pfn)) expect(frame.generation).toBeGreaterThan(0);
        else expect(frame.owner).not.toBe('free');
      }
    });
  }
});

test('the last event of the story is the one that violates, and the state shows it', () => {
  const trace = noCallbacksTrace;
  const bad = trace.steps.find((s) => s.isBad)!;
  expect(bad.number).toBe(trace.finding!.step);
  expect(bad.changes.filter((c) => c.isBad).length).toBe(1);
  const [entry] = bad.state.entries;
  expect(entry).toMatchObject({ page: trace.finding!.page, isPresent: false, word: '0x0', pfn: null });
  const stale = bad.state.translations.filter((t) => t.isStale);
  expect(stale.map((t) => t.holder)).toEqual(['IOMMU walk cache', 'IOMMU TLB', 'device TLB']);
});

test('preemptions and switches are those of the schedule', () => {
  const run = randomRun(testScenario('munmap'), testSubject('iommu-v2'), seed, 2);
  const trace = shownTrace(run);
  let switches = 0;
  let preemptions = 0;
  for (let i = 1; i < run.steps.length; i++) {
    const [a, b] = [run.steps[i - 1]!, run.steps[i]!];
    if (a.thread === b.thread) continue;
    switches++;
    if (!a.isLast && a.waits[a.thread] === '') preemptions++;
  }
  expect([trace.switches, trace.preemptions]).toEqual([switches, preemptions]);
  expect(switches).toBeGreaterThan(5);
});

test('of several findings the one from which the others follow is shown, an explained one last', () => {
  const run = violatingRun(testScenario('munmap'), testSubject('no-callbacks'), 'I5');
  const at = run.steps.length;
  const base = { sentence: '', kind: 'safety' as const, gap: null, step: at };
  const gap = { ...base, property: 'I2', tag: 'UAF-TABLE', gap: 3 };
  const unpaired = { ...base, property: 'I40', tag: 'UNPAIRED' };
  const deadlock = { ...base, property: 'I60', tag: 'DEADLOCK' };
  const earlier = { ...base, property: 'I1', tag: 'UAF-DATA', step: 1 };
  const shown = (...findings: (typeof gap | typeof base)[]): string | undefined =>
    shownTrace({ ...run, findings: findings as typeof run.findings }).finding?.property;
  expect(shown(gap, unpaired, deadlock)).toBe('I60');
  expect(shown(gap, unpaired)).toBe('I40');
  expect(shown(earlier, unpaired)).toBe('I40');
  expect(shown(gap, earlier)).toBe('I1');
  expect(shown(gap)).toBe('I2');
  expect(shown()).toBe(undefined);
});
