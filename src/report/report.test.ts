import { expect, test } from 'vitest';
import { MSG_CMD_INVALIDATE_IOTLB_PAGES } from '../abi/events.ts';
import { SITE_MUNMAP } from '../abi/notifier.ts';
import { NR_munmap } from '../abi/syscalls.ts';
import { Rng } from '../base/rng.ts';
import { EventScript, PAGE } from '../check/event-script.ts';
import type { Names } from './describe.ts';
import { htmlReport } from './html.ts';
import { jsonReport } from './json.ts';
import { type ComparisonRow, comparisonRow, comparisonTable } from './rows.ts';
import { escapeMarkup, niceCeiling, residencySvg, timelineSvg } from './svg.ts';
import { displayWidth, formatTable } from './table.ts';
import { formatTimeline, layoutTimeline } from './timeline.ts';

const END = PAGE + 4096;

const NAMES: Names = {
  actor: (actor) => (actor === 9 ? { name: 'NIC', lane: 'device' } : { name: 'program', lane: 'program' }),
  device: () => 'NIC',
};

/** munmap that frees a page before the device's TLB is flushed; the device writes to it. */
function freedTooEarly(): EventScript {
  const s = new EventScript({ actorName: (a) => NAMES.actor(a).name, deviceName: NAMES.device }).as(1);
  s.alloc(10).map(PAGE, 10).as(9).fill(PAGE, 10, true, 1).fill(PAGE, 10);
  for (let i = 0; i < 50; i++) s.access(PAGE, 10, true);
  s.as(1).syscall(NR_munmap, PAGE, 4096).open(PAGE, END, SITE_MUNMAP, 0).unmap(PAGE).flush(PAGE, END).free(10);
  s.as(9).access(PAGE, 10, true, 0);
  return s.as(1).message(MSG_CMD_INVALIDATE_IOTLB_PAGES, PAGE);
}

const layout = () => layoutTimeline(freedTooEarly().results().timelines[0]!, NAMES);

test('timeline: the whole story of a use after free', () => {
  expect(`\n${formatTimeline(layout(), 100)}`).toMatchInlineSnapshot(`
    "
    I1 at step 68
    step  program  IOMMU  NIC
       5  ●        │      │    address space created
       6  ●        │      │    PGD 0x7f0000000000 points to table 0x2
       7  ●        │      │    PUD 0x7f0000000000 points to table 0x3
       8  ●        │      │    PMD 0x7f0000000000 points to table 0x4
       9  ●        │      │    frame 0xa allocated (anon, gen 0)
      10  ●        │      │    PTE 0x7f0000000000 maps frame 0xa gen 0, writable
      11  │        ●      │    IOMMU TLB filled: 0x7f0000000000 → frame 0xa gen 0, writable
      12  │        │      ●    device TLB filled: 0x7f0000000000 → frame 0xa gen 0, writable
      61  │        │      ●    device TLB hit 0x7f0000000000 → frame 0xa gen 0: write
      62  │        │      ●    device TLB hit 0x7f0000000000 → frame 0xa gen 0: write
      63  ●        │      │    munmap(0x7f0000000000, 0x1000)
      64  ●        │      │    section 1 opens: munmap UNMAP 0x7f0000000000..0x7f0000001000
      65  ●        │      │    PTE 0x7f0000000000 cleared (frame 0xa gen 0)
      66  ●        │      │    CPU TLB flush of 0x7f0000000000..0x7f0000001000
      67  ●        │      │    frame 0xa freed (gen 0 ends)
      68  │        │      ✗    device TLB hit 0x7f0000000000 → frame 0xa gen 0, frame now gen 1: STALE
          │        │      │    WRITE
    The device TLB of NIC wrote frame 0xa through a translation of page 0x7f0000000000 made in
    generation 0; program freed it at step 67; it is free now.
    Violates I1 (UAF-DATA): A device never reaches a frame that was freed after its translation was
    made.
    "
  `);
});

test('timeline: no line is wider than asked, every event keeps its step', () => {
  for (const width of [60, 80, 132]) {
    const text = formatTimeline(layout(), width);
    for (const line of text.split('\n')) expect(displayWidth(line)).toBeLessThanOrEqual(width);
    for (const line of layout().lines) expect(text).toContain(String(line.step));
  }
});

function row(design: string): ComparisonRow {
  return comparisonRow(design, freedTooEarly().results(), { programState: 'exited', steps: 71, seconds: 0.125 });
}

test('comparison table: whole output', () => {
  expect(`\n${formatTable(comparisonTable([row('linux-6.1'), row('linux-2.6.27')]), 100)}`).toMatchInlineSnapshot(`
    "
                           stale   stale       perm.               page      max.
    design        verdict  reads  writes  violations  windows  requests  refaults  device   program
    ────────────  ───────  ─────  ──────  ──────────  ───────  ────────  ────────  ───────  ───────
    linux-6.1     unsafe       0       1           0        1         0         0  running  exited
    linux-2.6.27  unsafe       0       1           0        1         0         0  running  exited

                               IOTLB  resident  pinned            swapped
    design        callbacks  flushes      peak    peak  orphaned     peak  steps  seconds
    ────────────  ─────────  ───────  ────────  ──────  ────────  ───────  ─────  ───────
    linux-6.1             0        0         1       0         0        0     71     0.13
    linux-2.6.27          0        0         1       0         0        0     71     0.13
    "
  `);
});

test('JSON has the fields of a row, exactly', () => {
  const parsed = JSON.parse(jsonReport({ seed: 1 }, [row('linux-6.1')]));
  expect(Object.keys(parsed.designs[0])).toEqual([
    'design',
    'verdict',
    'staleReads',
    'staleWrites',
    'permissionViolations',
    'windows',
    'pageRequests',
    'maxRefaults',
    'deviceState',
    'programState',
    'callbacks',
    'iotlbFlushes',
    'residentPeak',
    'pinnedPeak',
    'orphaned',
    'swappedPeak',
    'steps',
    'seconds',
    'violations',
  ]);
  expect(Object.keys(parsed.designs[0].violations[0])).toEqual(['property', 'step', 'gap', 'text']);
});

const HOSTILE = `<script>alert("x")</script>'&\u0000\u001b]]>`;

test('markup: everything that comes from a run is escaped', () => {
  expect(escapeMarkup(HOSTILE)).toBe('&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&#39;&amp;]]&gt;');
  const rng = new Rng(3);
  for (let i = 0; i < 5000; i++) {
    const raw = String.fromCodePoint(...Array.from({ length: 8 }, () => rng.below(0x300)));
    const safe = escapeMarkup(raw);
    expect(safe).not.toMatch(/[<>"']/);
    expect(safe.replace(/&(amp|lt|gt|quot|#39);/g, '')).not.toContain('&');
  }
});

function hostileReport(): string {
  const names: Names = { actor: () => ({ name: HOSTILE, lane: 'program' }), device: () => HOSTILE };
  const s = freedTooEarly();
  const timeline = s.results().timelines[0]!;
  const violation = { ...timeline.violation, text: HOSTILE };
  const hostile = layoutTimeline({ ...timeline, violation }, names);
  const bad = {
    ...row(HOSTILE),
    programState: HOSTILE,
    violations: [{ property: HOSTILE, step: 1, gap: 3, text: HOSTILE }],
  };
  const design = { row: bad, timelines: [hostile], residency: s.results().residency };
  return htmlReport({ title: HOSTILE, facts: [HOSTILE], designs: [design] });
}

test('HTML: no script, no resource from outside, tags balanced, whatever the names are', () => {
  const html = hostileReport();
  expect(html).not.toMatch(/<script|javascript:|<link|<img|@import|url\(|\son[a-z]+=/i);
  expect(html.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:/);
  const open: string[] = [];
  for (const [, close, name, rest] of html.matchAll(/<(\/?)([a-z0-9]+)((?:"[^"]*"|[^">])*)>/g)) {
    if (close === '/') expect(open.pop()).toBe(name);
    else if (!rest!.endsWith('/') && name !== 'meta') open.push(name!);
  }
  expect(open).toEqual([]);
});

test('HTML: headings, captions and labels for everything that is not text', () => {
  const html = hostileReport();
  expect([...html.matchAll(/<h1>/g)].length).toBe(1);
  expect([...html.matchAll(/<table>/g)].length).toBe([...html.matchAll(/<caption>/g)].length);
  for (const [tag] of html.matchAll(/<svg[^>]*>/g)) expect(tag).toMatch(/role="img" aria-labelledby="\S+ \S+"/);
  const ids = [...html.matchAll(/ id="([^"]+)"/g)].map((m) => m[1]!);
  expect(new Set(ids).size).toBe(ids.length);
  for (const [, list] of html.matchAll(/aria-labelledby="([^"]+)"/g)) {
    for (const id of list!.split(' ')) expect(ids).toContain(id);
  }
});

test('residency chart: scale and points', () => {
  expect([1, 3, 17, 100, 101, 0.3].map(niceCeiling)).toEqual([1, 5, 20, 100, 200, 0.5]);
  const course = { step: [0, 10], event: [1, 9], resident: [0, 10], pinned: [0, 5], swapped: [0, 0], orphaned: [0, 0] };
  const svg = residencySvg(course, 'Memory', 'm');
  expect([...svg.matchAll(/points="([^"]+)"/g)].map((m) => m[1])).toEqual([
    '64,176 628,14',
    '64,176 628,95',
    '64,176 628,176',
  ]);
  expect(svg).toContain('10 steps');
  expect(residencySvg({ ...course, step: [4, 4] }, 'Memory', 'm')).toContain('9 events');
});

test('timeline drawing: a mark for each event in its lane', () => {
  const svg = timelineSvg(layout(), 't');
  expect([...svg.matchAll(/<circle/g)].length).toBe(layout().lines.length);
  expect(svg).toContain('STALE WRITE');
});
