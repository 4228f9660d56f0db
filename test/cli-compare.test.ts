// `shootdown compare` as scripts see it: the published JSON, exit statuses, Ctrl-C, the report.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { interrupted, LACKEY, PROGRAMS, shootdown } from './support/cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'shootdown-compare-'));
afterAll(() => rmSync(folder, { recursive: true }));

const QUEUE = `${LACKEY}/shm-queue.strace`;
const COPY = `${PROGRAMS}/mmap-copy.strace.gz`;

type Json = Record<string, unknown>;

interface Design extends Json {
  design: string;
  verdict: string;
  programState: string;
  seconds: number;
  steps: number;
  violations: Json[];
}

interface Comparison extends Json {
  seed: number;
  complete: boolean;
  designs: Design[];
}

/** Published fields of the result and their types. */
const RESULT: Record<string, string> = {
  program: 'string',
  device: 'string',
  seed: 'number',
  frames: 'number',
  complete: 'boolean',
  designs: 'object',
};
/** Figures of a design: integers, none below 0. */
const COUNTS = [
  'staleReads',
  'staleWrites',
  'permissionViolations',
  'windows',
  'pageRequests',
  'maxRefaults',
  'callbacks',
  'iotlbFlushes',
  'residentPeak',
  'pinnedPeak',
  'orphaned',
  'swappedPeak',
  'steps',
];
const VERDICTS = ['safe', 'unsafe', 'gap', 'not exercised'];
const PROGRAM_STATE = /^(?:running|done|failed at step \d+: \S.*)$/;

function expectComparison(c: Comparison): void {
  for (const [field, type] of Object.entries(RESULT)) expect([field, typeof c[field]]).toEqual([field, type]);
  for (const d of c.designs) {
    expect(VERDICTS).toContain(d.verdict);
    for (const field of COUNTS) {
      expect([field, Number.isInteger(d[field])]).toEqual([field, true]);
      expect(d[field]).toBeGreaterThanOrEqual(0);
    }
    expect(typeof d.design).toBe('string');
    expect(typeof d.deviceState).toBe('string');
    expect(d.programState).toMatch(PROGRAM_STATE);
    expect(d.seconds).toBeGreaterThanOrEqual(0);
    for (const v of d.violations) {
      expect(Object.keys(v)).toEqual(['property', 'step', 'gap', 'text']);
      expect(v.property).toMatch(/^[A-Z]\d+$/);
      expect(Number.isInteger(v.step)).toBe(true);
      expect(v.gap === null || Number.isInteger(v.gap)).toBe(true);
      expect(v.text).toMatch(/\S/);
    }
    // A verdict is a statement about findings.
    if (d.verdict === 'safe') expect([d.staleReads, d.staleWrites, d.permissionViolations]).toEqual([0, 0, 0]);
    if (d.verdict === 'unsafe') expect(d.violations.length).toBeGreaterThan(0);
  }
}

async function compareJson(...args: string[]): Promise<{ status: number | null; result: Comparison }> {
  const { status, stdout, stderr } = await shootdown('compare', '--json', ...args);
  expect(stderr).toBe('');
  const result = JSON.parse(stdout) as Comparison;
  expectComparison(result);
  return { status, result };
}

function withoutSeconds(c: Comparison): Comparison {
  return { ...c, designs: c.designs.map((d) => ({ ...d, seconds: 0 })) };
}

describe('the result', () => {
  test('has the published fields, for pinned too, which fails for want of memory', async () => {
    const { status, result } = await compareJson(
      '--no-price',
      '--memory',
      '0.4',
      '--designs',
      'pinned,linux-6.1',
      COPY,
    );
    expect(status).toBe(0);
    expect(result).toMatchObject({ program: COPY, seed: 1, complete: true });
    expect(result.designs.map((d) => d.design)).toEqual(['pinned', 'linux-6.1']);
    const [pinned, linux] = result.designs as [Design, Design];
    expect(pinned.programState).toMatch(/^failed at step \d+: /);
    expect(pinned.pinnedPeak).toBeGreaterThan(0);
    expect(linux).toMatchObject({ verdict: 'safe', programState: 'done', pinnedPeak: 0, orphaned: 0 });
    // The device did work, and the program took memory away from it.
    for (const field of ['windows', 'pageRequests', 'callbacks', 'iotlbFlushes', 'residentPeak', 'swappedPeak'])
      expect([field, linux[field] as number]).toEqual([field, expect.toSatisfy((n: number) => n > 0)]);
  });

  test('is the same each time, whatever the number of workers, and other under another seed', async () => {
    const args = ['--designs', 'linux-6.1,invalidate-range', QUEUE];
    const [one, two, other] = await Promise.all([
      compareJson('--workers', '1', ...args),
      compareJson('--workers', '2', ...args),
      compareJson('--seed', '2', ...args),
    ]);
    expect(withoutSeconds(two.result)).toEqual(withoutSeconds(one.result));
    expect(other.result.seed).toBe(2);
    expect(other.result.designs.map((d) => d.steps)).not.toEqual(one.result.designs.map((d) => d.steps));
  });
});

test('--newest: a device by name under the last design that it has a driver for; its data is compared', async () => {
  const { result } = await compareJson('--device', 'rdma-odp', '--newest', '--no-price', QUEUE);
  expect(result.designs.map((d) => d.design)).toEqual(['pinned', 'linux-6.12']);
  expect(result.designs[1]).toMatchObject({
    verdict: 'safe',
    deviceState: 'running',
    data: { wrong: 0, firstWrong: '' },
  });
  expect((result.designs[1]!['data'] as { compared: number }).compared).toBeGreaterThan(0);
  const text = await shootdown('compare', '--device', 'rdma-odp', '--newest', '--no-price', QUEUE);
  expect(text.stdout).toMatch(/^linux-6\.12: data intact, [\d,]+ words compared/m);
  expect(await shootdown('compare', '--newest', QUEUE)).toMatchObject({ status: 2 });
});

test('--fail-on: exit status 1 just when one of the named rows is unsafe', async () => {
  const designs = ['--designs', 'linux-2.6.27,linux-6.1'];
  // The bundled recording: page tables that linux-2.6.27 frees after the end of a section stay in the walk cache.
  const run = await compareJson('--seed', '1', '--fail-on', 'linux-2.6.27', '--no-price', ...designs);
  const [old, current] = run.result.designs as [Design, Design];
  expect(old.verdict).toBe('unsafe');
  expect(current.verdict).toBe('safe');
  expect(run.status).toBe(1);
  const other = await compareJson('--seed', '1', '--fail-on', 'linux-6.1', '--no-price', ...designs);
  expect(other.status).toBe(0);
});

test('--html: one well-formed file that needs nothing else', async () => {
  const path = join(folder, 'report.html');
  const { status, stdout } = await shootdown('compare', '--html', path, '--designs', 'linux-2.6.27,linux-6.1', QUEUE);
  expect(status).toBe(0);
  // The name of SVG's namespace is a name: nobody fetches it.
  const html = readFileSync(path, 'utf8').replaceAll(' xmlns="http://www.w3.org/2000/svg"', '');
  const external = /https?:|\bsrc=|\bhref=["'](?!#)|@import|url\(|<script|<link|<!--/i.exec(html);
  expect(external?.[0]).toBeUndefined();
  expect(unbalanced(html)).toEqual([]);
  for (const design of ['linux-2.6.27', 'linux-6.1']) {
    expect(html.includes(`">${design}: `)).toBe(true);
    expect(stdout).toContain(design);
  }
  const ids = [...html.matchAll(/\bid="([^"]*)"/g)].map((m) => m[1]);
  expect(new Set(ids).size).toBe(ids.length);
  for (const m of html.matchAll(/(?:aria-labelledby|href)="#?([^"]*)"/g))
    for (const id of m[1]!.split(' ')) expect(ids).toContain(id);
});

/** What a parser would complain about: tags that nobody closes, or that close what is not open. */
function unbalanced(html: string): string[] {
  const isVoid = new Set(['meta', 'br', 'hr', 'img', 'input', 'link']);
  const open: string[] = [];
  const wrong: string[] = [];
  const body = html.replace(/<style>[\s\S]*?<\/style>/g, '').replace(/<!DOCTYPE html>/, '');
  const tags = /<(\/?)([a-zA-Z][a-zA-Z0-9]*)((?:\s+[a-zA-Z0-9:-]+(?:="[^"<]*")?)*)\s*(\/?)>/g;
  for (const [, closing, name, , selfClosing] of body.matchAll(tags)) {
    if (closing === '/') {
      if (open.pop() !== name) wrong.push(`</${name}>`);
    } else if (selfClosing !== '/' && !isVoid.has(name!)) open.push(name!);
  }
  if (/[<>]/.test(body.replace(tags, ''))) wrong.push('a bare < or >');
  return [...wrong, ...open];
}

describe('Ctrl-C', () => {
  test.each([0, 2500])('%d ms into the run: what was done so far, exit status 130', async (delay) => {
    const { status, stdout, stderr } = await interrupted(delay, 'compare', '--json', `${PROGRAMS}/make-tree.strace.gz`);
    expect({ status, stderr }).toEqual({ status: 130, stderr: '' });
    const result = JSON.parse(stdout) as Comparison;
    expectComparison(result);
    expect(result.complete).toBe(false);
  });
});
