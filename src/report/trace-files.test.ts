// The files in which a run is shown: SVG is well-formed, HTML needs nothing from outside and its script runs, trace events
// keep the rules of their format, JSON is the model.
import { expect, test } from 'vitest';
import { randomRun, testScenario, testSubject, violatingRun } from '../../test/support/recorded-runs.ts';
import { shownTrace } from './counterexample.ts';
import { perfettoEvents, perfettoJson, type TraceEvent } from './perfetto.ts';
import { stepperHtml } from './stepper.ts';
import { STEPPER_SCRIPT } from './stepper-script.ts';
import { timelineSvgFile } from './svg.ts';
import { layoutTrace } from './trace-layout.ts';

const seed = Number(process.env['SEED'] ?? 1);

const run = violatingRun(testScenario('munmap-batch'), testSubject('iommu-flush-start-end', 'linux-2.6.27'), 'I1');
const trace = shownTrace(run, '1~munmap-batch~x');

const RUNS = ['munmap', 'fork-write', 'swap-out', 'exit', 'mremap-move', 'register'].map((operation, i) =>
  randomRun(testScenario(operation), testSubject(i % 2 === 0 ? 'iommu-v2' : 'no-callbacks'), seed + i, 3),
);

/** Every tag closes in order and attributes are quoted; gives the tags. Void elements of HTML may be named. */
function elements(markup: string, voids: readonly string[] = []): string[] {
  const open: string[] = [];
  const seen: string[] = [];
  const text = markup.replace(/^<[?!][^>]*>\n/, '').replace(/(<script[^>]*>)[\s\S]*?(<\/script>)/g, '$1$2');
  let at = 0;
  for (const m of text.matchAll(/<(\/?)([a-zA-Z][\w-]*)((?:\s+[\w:-]+(?:="[^"<]*")?)*)\s*(\/?)>/g)) {
    expect(text.slice(at, m.index)).not.toMatch(/[<>]/);
    at = m.index + m[0].length;
    const [, close, name, , isEmpty] = m;
    if (close === '/') expect(open.pop()).toBe(name);
    else {
      seen.push(name!);
      if (isEmpty !== '/' && !voids.includes(name!)) open.push(name!);
    }
  }
  expect(text.slice(at)).not.toMatch(/[<>]/);
  expect(open).toEqual([]);
  return seen;
}

test('SVG: well-formed, a mark for each line, an arrow for each switch', () => {
  const layout = layoutTrace(trace);
  const svg = timelineSvgFile(layout);
  const tags = elements(svg.replaceAll(/<style>[\s\S]*?<\/style>/g, ''));
  const events = layout.lines.filter((line) => line.to === undefined).length;
  expect(tags.filter((t) => t === 'circle').length).toBe(events);
  expect(tags.filter((t) => t === 'path').length).toBe(2 * (layout.lines.length - events));
  expect(svg.replaceAll('http://www.w3.org/2000/svg', '')).not.toMatch(/https?:|<script|href/);
  for (const match of svg.matchAll(/[&][^;]*;?/g)) expect(match[0]).toMatch(/^&(amp|lt|gt|quot|#39);$/);
});

const html = stepperHtml(trace);

test('HTML: well-formed, nothing from outside, labels for every control', () => {
  const tags = elements(html.replace(/<style>[\s\S]*?<\/style>/, ''), ['meta', 'input']);
  expect(tags.filter((t) => t === 'h1').length).toBe(1);
  expect(html).not.toMatch(/https?:|<link|<img|<iframe|@import|url\(|\ssrc=|\son[a-z]+=/i);
  expect(html).toContain(`default-src 'none'`);
  for (const [, attributes, label] of html.matchAll(/<button([^>]*)>([^<]*)<\/button>/g))
    expect(label!.trim() !== '' || attributes!.includes('aria-label'), attributes).toBe(true);
  expect(html).toMatch(/<label><input type="checkbox"[^>]*> All steps<\/label>/);
  const ids = [...html.matchAll(/ id="([^"]+)"/g)].map((m) => m[1]!);
  expect(new Set(ids).size).toBe(ids.length);
  for (const [, id] of html.matchAll(/aria-labelledby="([^"]+)"/g)) expect(ids).toContain(id);
  for (const [, id] of STEPPER_SCRIPT.matchAll(/byId\('([^']+)'\)/g)) expect(ids).toContain(id);
});

test('HTML: the script parses, and the data are the states of the model', () => {
  expect(() => new Function(STEPPER_SCRIPT)).not.toThrow();
  const text = /<script type="application\/json" id="data">([\s\S]*?)<\/script>/.exec(html)![1]!;
  const data = JSON.parse(text);
  expect(data.steps.length).toBe(trace.steps.length);
  expect(data.steps.map((s: { state: unknown }) => s.state)).toEqual(
    JSON.parse(JSON.stringify(trace.steps.map((s) => s.state))),
  );
  expect(data.story).toEqual(trace.steps.filter((s) => s.isStory).map((s) => s.number));
  expect(data.bad).toBe(trace.finding!.step);
});

test('HTML: hostile names stay text', () => {
  const hostile = '</script><script>alert(1)</script>\u2028"\'&';
  const lanes = trace.lanes.map((lane) => ({ ...lane, name: hostile }));
  const page = stepperHtml({ ...trace, scenario: hostile, driver: hostile, schedule: hostile, lanes });
  expect([...page.matchAll(/<script/g)].length).toBe(2);
  elements(page.replace(/<style>[\s\S]*?<\/style>/, ''), ['meta', 'input']);
});

/** Stack discipline of B and E, and of complete slices, on one track. Gives the slices as [start, end]. */
function checkTrack(events: readonly TraceEvent[]): [number, number][] {
  const slices: [number, number][] = [];
  const open: number[] = [];
  let now = 0;
  for (const e of events.filter((x) => x.ph === 'B' || x.ph === 'E')) {
    expect(e.ts).toBeGreaterThanOrEqual(now);
    now = e.ts;
    if (e.ph === 'B') open.push(e.ts);
    else {
      expect(open.length).toBeGreaterThan(0);
      slices.push([open.pop()!, e.ts]);
    }
  }
  expect(open).toEqual([]);
  for (const e of events) if (e.ph === 'X') slices.push([e.ts, Math.round((e.ts + e.dur!) * 1000) / 1000]);
  for (const [a, b] of slices)
    for (const [c, d] of slices)
      expect(b <= c || d <= a || (a <= c && d <= b) || (c <= a && b <= d), `${a}..${b} and ${c}..${d}`).toBe(true);
  return slices;
}

test(`trace events: slices nest, flows bind, every lane has a name (SEED=${seed})`, () => {
  let flows = 0;
  for (const r of [run, ...RUNS]) {
    const t = shownTrace(r);
    const events = perfettoEvents(t, r);
    const tracks = new Map<string, TraceEvent[]>();
    for (const e of events) tracks.set(`${e.pid} ${e.tid}`, [...(tracks.get(`${e.pid} ${e.tid}`) ?? []), e]);
    const slices = new Map([...tracks].map(([key, list]) => [key, checkTrack(list)]));
    const names = events.filter((e) => e.name === 'thread_name').map((e) => e.args!['name']);
    expect(names).toEqual(t.lanes.map((lane) => lane.name));
    for (const e of events) {
      expect(Number.isFinite(e.ts)).toBe(true);
      if (e.ph !== 's' && e.ph !== 't' && e.ph !== 'f') continue;
      flows++;
      expect(slices.get(`${e.pid} ${e.tid}`)!.some(([a, b]) => a <= e.ts && e.ts < b)).toBe(true);
      if (e.ph === 's') continue;
      const begun = events.find((x) => x.ph === 's' && x.id === e.id && x.name === e.name && x.cat === e.cat);
      expect(begun!.ts).toBeLessThanOrEqual(e.ts);
      if (e.ph === 'f') expect(e.bp).toBe('e');
    }
    for (const e of events.filter((x) => x.ph === 'b'))
      expect(events.filter((x) => x.ph === 'e' && x.id === e.id && x.pid === e.pid && x.ts >= e.ts).length).toBe(1);
  }
  expect(flows).toBeGreaterThan(10);
});

test('trace events: one step is one microsecond, in its lane', () => {
  const events = perfettoEvents(trace, run);
  for (const step of trace.steps) {
    const mine = events.filter((e) => e.ph === 'X' && e.args!['step'] === step.number);
    expect(mine.every((e) => e.tid === step.lane + 1)).toBe(true);
    const covered = mine.reduce((sum, e) => sum + e.dur!, 0);
    expect(covered).toBeCloseTo(1, 2);
  }
  const file = JSON.parse(perfettoJson(trace, run));
  expect(file.traceEvents.length).toBe(events.length);
  expect(file.otherData.schedule).toBe('1~munmap-batch~x');
  expect(events.filter((e) => e.cat === 'violation').length).toBe(1);
});

test('JSON: the model survives, but for infinities', () => {
  const copy = JSON.parse(JSON.stringify(trace));
  expect(copy.steps.length).toBe(trace.steps.length);
  expect(copy.finding).toEqual(trace.finding);
  expect(Object.keys(copy)).toEqual([
    'scenario',
    'summary',
    'driver',
    'design',
    'schedule',
    'verdict',
    'finding',
    'otherFindings',
    'lanes',
    'storySteps',
    'preemptions',
    'switches',
    'start',
    'steps',
  ]);
});
