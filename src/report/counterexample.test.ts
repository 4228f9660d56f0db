// A shown run says what the events say: golden text of a small counterexample, and laws over many random runs.
import { expect, test } from 'vitest';
import { randomRun, testScenario, testSubject, violatingRun } from '../../test/support/recorded-runs.ts';
import { E_FRAME_FREE, EV_PFN, EV_TYPE } from '../abi/events.ts';
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
    munmap with no-callbacks (linux-6.1): I5 (STALE-MAP) at step 8
    8 steps, 3 in the story; 0 context switches, 0 preemptions

    step  munmap
          │       before: PTE 0x10200000 maps frame 0x9 gen 0, writable; held by CPU 0 TLB, IOMMU TLB,
          │       device TLB
       1  ●       munmap(0x10200000, 0x1000)
       2  ●       PTE 0x10200000 cleared (frame 0x9 gen 0)
       6  ●       CPU TLB flush of 0x10200000..0x10201000
          │       CPU 0 TLB dropped 0x10200000..0x10201000
       8  ✗       frame 0x9 freed (gen 0 ends)

    Also violated: I2 (UAF-TABLE) at step 8.
    What munmap changed outside any section in 0x10200000..0x10201000 is complete, but the IOMMU TLB
    still translates page 0x10200000 to frame 0x9 (made during the setup): the entry is not present.
    Violates I5 (STALE-MAP): When a section is complete, every device translation of a page that it
    changed agrees with the entry.
    "
  `);
});

test('golden: preemptions and hardware lanes', () => {
  expect(`\n${formatTimeline(layoutTrace(flushStartEndTrace), 100)}`).toMatchInlineSnapshot(`
    "
    munmap-batch with iommu-flush-start-end (linux-2.6.27): I1 (UAF-DATA) at step 48
    48 steps, 10 in the story; 15 context switches, 3 preemptions

          munmap-batch
          │ IOMMU walker 0
          │ │ IOMMU executor 0
          │ │ │ device 1 invalidations
    step  │ │ │ │ device
          │ │ │ │ │  before: PTE 0x10200000 maps frame 0x9 gen 0, writable; held by CPU 0 TLB, IOMMU
          │ │ │ │ │  TLB, device TLB
       1  ● │ │ │ │  munmap(0x10200000, 0x3000)
       2  ● │ │ │ │  section 1 opens: munmap UNMAP 0x10200000..0x10203000
       3  ● │ │ │ │  callback invalidate_range_start(0x10200000..0x10203000) of subscriber 1
          ╰─┼─╮ │ │  munmap-batch waits for COMPLETION_WAIT → IOMMU commands (preempted) → IOMMU
          │ │ │ │ │  executor 0
       7  │ │ ● │ │  IOMMU TLB dropped everything
          │ │ ╰─┼─╮  IOMMU executor 0 waits for command → IOMMU commands (preempted) → device
          │ │ │ │ │  (preempted) → … → device
      22  │ │ │ │ ●  device TLB hit 0x10200000 → frame 0x9 gen 0: read
          │ │ │ ╭─╯  device waits for Translation Completion → device 1 invalidations
      25  │ │ │ ● │  device TLB dropped everything
          │ ╭─┼─╯ │  device 1 invalidations waits for Invalidate Request → IOMMU commands → IOMMU walker
          │ │ │ │ │  0
      32  │ ● │ │ │  walk of 0x10200000 reads table 0x8 gen 0
      33  │ ● │ │ │  IOMMU TLB filled: 0x10200000 → frame 0x9 gen 0, writable
          ╭─╯ │ │ │  IOMMU walker 0 waits for translation request → munmap-batch
      37  ● │ │ │ │  PTE 0x10200000 cleared (frame 0x9 gen 0)
      40  ● │ │ │ │  CPU TLB flush of 0x10200000..0x10202000
          │ │ │ │ │  CPU 0 TLB dropped 0x10200000..0x10202000
      42  ● │ │ │ │  frame 0x9 freed (gen 0 ends)
      47  ● │ │ │ │  callback invalidate_range_end(0x10200000..0x10203000) of subscriber 1
          ╰─┼─┼─┼─╮  munmap-batch waits for COMPLETION_WAIT → device
      48  │ │ │ │ ✗  device TLB filled: 0x10200000 → frame 0x9 gen 0, writable

    The device TLB of device 1 took a translation of page 0x10200000 to frame 0x9, which is free.
    Violates I1 (UAF-DATA): A device never reaches a frame that was freed after its translation was
    made.
    "
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
