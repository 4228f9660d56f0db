// Bugs as users write them: the module of the guide works, and what is no bug is refused. The museum itself: bugs-1.test.ts and after.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { InputError } from '../src/base/assert.ts';
import { defineLivepatch, type Livepatch } from '../src/system/livepatch.ts';
import { type Bug, type BugDefinition, defineBug } from '../src/workload/museum/bug.ts';
import { runBug } from '../src/workload/museum/run-bug.ts';
import { EXECUTIONS, told } from './support/museum.ts';

test('the bug of docs/writing-a-bug.md is found, and its fixed form clean', async () => {
  const page = readFileSync(new URL('../docs/writing-a-bug.md', import.meta.url), 'utf8');
  const [, text] = /```ts\n(import [\s\S]*?)```/.exec(page)!;
  const file = fileURLToPath(new URL('../bugs/.of-the-page.ts', import.meta.url));
  writeFileSync(file, text!);
  try {
    const { default: bug } = (await import(/* @vite-ignore */ file)) as { default: Bug };
    const result = runBug(bug, { executions: 1000, soundExecutions: EXECUTIONS, minimiseExecutions: EXECUTIONS });
    expect([told(result.historic).slice(0, 18), told(result.fixed)]).toEqual(['historic: UAF-DATA', 'fixed: clean']);
  } finally {
    rmSync(file);
  }
});

test('what is no bug is refused by one line that names the field', () => {
  const good = {
    id: 'x',
    title: 't',
    year: 'y',
    summary: 's',
    evidence: 'e',
    tag: 'UAF-DATA',
    steps: '1',
    story: 's',
    scenario: { name: 'n', summary: 's', setup: [], threads: {} },
    historic: { what: 'w', design: 'linux-6.1', driver: 'iommu-v2' },
    fixed: { what: 'w', design: 'linux-6.1', driver: 'iommu-v2' },
  };
  const refusal = (change: object): string => {
    try {
      defineBug({ ...good, ...change } as BugDefinition);
    } catch (e) {
      expect(e).toBeInstanceOf(InputError);
      return (e as Error).message;
    }
    return 'accepted';
  };
  expect(refusal({})).toBe('accepted');
  expect(refusal({ id: 'No Good' })).toBe('bug: id "No Good" is not made of lower-case letters, digits and dashes');
  expect(refusal({ tag: 'BAD' })).toMatch(/^bug x: tag: "BAD" is not one of UAF-DATA, /);
  expect(refusal({ story: '' })).toBe('bug x: story: expected a text');
  expect(refusal({ fixed: undefined })).toBe('bug x: fixed: expected a revision');
  expect(refusal({ historic: { ...good.historic, design: 'linux-9' } })).toMatch(
    /^bug x: historic.design: "linux-9" is not/,
  );
  expect(refusal({ others: { again: { ...good.fixed, driver: 7, isBroken: true } } })).toMatch(
    /^bug x: again.driver: /,
  );
  expect(() => defineLivepatch({ noSuchFunction: () => () => 0 } as unknown as Livepatch)).toThrow(
    'livepatch: the kernel has no function "noSuchFunction"',
  );
});
