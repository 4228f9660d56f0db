// `shootdown bugs`: the list, one entry for people and for machines, a bug of one's own, and what is refused.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { ROOT, shootdown } from './support/cli.ts';

const folder = mkdtempSync(join(tmpdir(), 'shootdown-bugs-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** The module of docs/writing-a-bug.md, with a change. */
function ownBug(name: string, change: (text: string) => string = (text) => text): string {
  const page = readFileSync(`${ROOT}docs/writing-a-bug.md`, 'utf8');
  const path = join(folder, name);
  writeFileSync(path, change(/```ts\n(import [\s\S]*?)```/.exec(page)![1]!));
  return path;
}

test('without arguments: the list', async () => {
  const { status, stdout } = await shootdown('bugs');
  expect(status).toBe(0);
  expect(stdout).toContain('  1  amd-iommuv2-flush-at-end\n');
});

test('one entry by id and by number: the same counterexample, which trace replays', async () => {
  const byId = await shootdown('bugs', 'mremap-flush-after-unlock', '--json', '--executions', '300');
  const byNumber = await shootdown('bugs', '14', '--json', '--executions', '300');
  expect([byId.status, byNumber.status]).toEqual([0, 0]);
  const [a, b] = [byId, byNumber].map((r) => JSON.parse(r.stdout).bugs[0]);
  expect({ ...a, seconds: 0 }).toEqual({ ...b, seconds: 0 });
  expect(a).toMatchObject({ found: true, property: 'UAF-DATA', expectedProperty: 'UAF-DATA', fixedVerdict: 'clean' });
  expect(a.storySteps).toBeLessThanOrEqual(a.steps);
  const traced = await shootdown('trace', a.schedule);
  expect([traced.status, new RegExp(`at step\\s+${a.steps}\\b`).test(traced.stdout)]).toEqual([1, true]);
});

test("a bug of one's own, in a folder of its own", async () => {
  const { status, stdout } = await shootdown('bugs', ownBug('my-bug.ts'), '--executions', '1000');
  expect([status, stdout.includes('Found: UAF-DATA (I1)'), stdout.includes('Fixed form: clean')]).toEqual([
    0,
    true,
    true,
  ]);
});

test('a fix that does not hold: status 1', async () => {
  const broken = ownBug('no-fix.ts', (text) => text.replace("driver: 'iommu-v2' },", "driver: 'no-callbacks' },"));
  const { status, stdout } = await shootdown('bugs', broken, '--json', '--executions', '300');
  expect([status, JSON.parse(stdout).bugs[0].fixedVerdict]).toEqual([1, 'violation']);
});

test('what cannot be used is one line and status 2', async () => {
  const none = join(folder, 'none.ts');
  writeFileSync(none, 'export default 7;\n');
  const cases: [string, RegExp][] = [
    ['no-such-bug', /^shootdown: bug: "no-such-bug" is not in the museum\n$/],
    ['./no/file.ts', /^shootdown: \.\/no\/file\.ts: there is no such file\n$/],
    [none, /^shootdown: .*none\.ts: exports no bug; expected one: export default defineBug\(\{ \.\.\. \}\)\n$/],
    [ownBug('bad.ts', (t) => t.replace('UAF-DATA', 'BAD')), /^shootdown: .*bug my-bug: tag: "BAD" is not one of .*\n$/],
  ];
  for (const [argument, line] of cases) {
    const { status, stderr } = await shootdown('bugs', argument);
    expect([status, stderr]).toEqual([2, expect.stringMatching(line)]);
  }
});
