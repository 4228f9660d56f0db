// The drivers of drivers/wrong: each is caught by a property that it names. Beside each name stands what shows it: an operation,
// a pair of them, or a scenario of this file; explored, or searched with few preemptions or at random where what the exploration
// changes last is what matters.
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { expect, it } from 'vitest';
import { LockOrder } from '../src/check/lock-order.ts';
import { type Driver, isDriver } from '../src/device/define-driver.ts';
import { boundedSearch } from '../src/explore/bounded.ts';
import { explore } from '../src/explore/explore.ts';
import { randomWalk } from '../src/explore/random.ts';
import type { Finding } from '../src/explore/world.ts';
import { operationOf, pairScenario, scenarioOf } from '../src/workload/operations/operations.ts';
import type { Scenario } from '../src/workload/scenario/scenario.ts';
import { scenarioProgram } from '../src/workload/scenario/scenario-world.ts';
import { type Subject, subjectOf } from '../src/workload/scenario/subject.ts';

const EXECUTIONS = 4000;
const BOUNDED = 20_000;
const WALKS = 5000;

/** How it is shown; `gap`: the monitor takes it for that documented gap of the kernel. */
interface Shown {
  readonly by: string;
  /** Executions with at most so many preemptions, instead of all in order. */
  readonly preemptions?: number;
  /** The same, at random. */
  readonly isRandom?: boolean;
  readonly gap?: number;
}

const SHOWN: Readonly<Record<string, Shown>> = {
  'interval-late-begin': { by: 'munmap' },
  'interval-lock-across-lookup': { by: 'madv-dontneed' },
  'interval-no-retry': { by: 'munmap' },
  'interval-no-set-seq': { by: 'munmap' },
  'interval-no-unbind': { by: 'unregister' },
  'interval-retry-outside-lock': { by: 'munmap' },
  'interval-set-seq-outside-lock': { by: 'munmap' },
  'mirror-always-writable': { by: 'mprotect-ro' },
  'mirror-busy-retry': { by: 'madv-dontneed' },
  'mirror-check-outside-lock': { by: 'munmap' },
  'mirror-early-end': { by: 'madv-dontneed', preemptions: 2 },
  'mirror-first-page': { by: 'munmap-two' },
  'mirror-in-flight': { by: 'munmap' },
  'mirror-last-page': { by: 'munmap' },
  'mirror-late-sample': { by: 'munmap' },
  'mirror-lost-end': { by: 'long section', isRandom: true },
  'mirror-no-count': { by: 'munmap' },
  'mirror-no-dirty': { by: 'swap-out-again' },
  'mirror-no-release': { by: 'exit' },
  'mirror-no-retry': { by: 'munmap' },
  'mirror-no-sequence': { by: 'munmap' },
  'mirror-no-tlb-flush': { by: 'munmap' },
  'mirror-no-wake': { by: 'munmap' },
  'mirror-range-not-extended': { by: 'madv-dontneed-two', preemptions: 2 },
  'mirror-release-once': { by: 'exit' },
  'mirror-tlb-first': { by: 'munmap' },
  'mirror-unlock-before-map': { by: 'munmap' },
  'sva-flush-at-end': { by: 'munmap' },
  'v1-counted': { by: 'long section', isRandom: true },
  'v1-uncounted': { by: 'two sections', isRandom: true },
  'v2-no-invalidate-page': { by: 'swap-out' },
  // munmap calls twice before the page is free, which repairs a wrong order of flushes; what mremap left behind is flushed once.
  'walker-device-tlb-first': { by: 'mremap-move' },
  'walker-device-tlb-only': { by: 'munmap' },
  'walker-first-page': { by: 'munmap-two' },
  'walker-flush-at-end': { by: 'munmap' },
  'walker-flush-at-start': { by: 'munmap' },
  'walker-iommu-tlb-only': { by: 'munmap' },
  'walker-last-page': { by: 'munmap' },
  'walker-leaf-only': { by: 'munmap', gap: 3 },
  'walker-no-flush': { by: 'munmap' },
  'walker-no-release': { by: 'exit' },
  'walker-no-wait': { by: 'munmap' },
  'walker-one-wait': { by: 'mremap-move' },
  'walker-sleeps': { by: 'munmap' },
};

/** Many pages go, batch by batch, each freed inside the section; beside it a section somewhere else begins and ends. */
const TWO_SECTIONS: Scenario = {
  name: 'two sections',
  summary: 'one thread drops twelve pages, another thread one more',
  setup: [
    { do: 'mmap', at: 0, pages: 14, populate: true },
    { do: 'load', at: 8, by: 'device' },
  ],
  threads: {
    batch: { steps: [{ do: 'madvise', at: 0, pages: 12, advice: 'dontneed' }] },
    other: { cpu: 1, steps: [{ do: 'madvise', at: 13, advice: 'dontneed' }] },
    device: {
      on: 'device',
      steps: [
        { do: 'load', at: 8 },
        { do: 'load', at: 8 },
      ],
    },
  },
};

/** The device wants the last of many pages that go. */
const LONG_SECTION: Scenario = {
  name: 'long section',
  summary: 'one thread drops forty pages',
  setup: [{ do: 'mmap', at: 0, pages: 40, populate: true }],
  threads: {
    batch: { steps: [{ do: 'madvise', at: 0, pages: 40, advice: 'dontneed' }] },
    device: { on: 'device', steps: [{ do: 'load', at: 39 }] },
  },
};

function scenarioNamed(name: string): Scenario {
  const own = [TWO_SECTIONS, LONG_SECTION].find((s) => s.name === name);
  if (own !== undefined) return own;
  const [a, b] = name.split('+').map((n) => operationOf(n)!);
  return b === undefined ? scenarioOf(a!) : pairScenario(a!, b);
}

const directory = fileURLToPath(new URL('../drivers/wrong', import.meta.url));

async function load(name: string): Promise<Driver> {
  const module: { default?: unknown } = await import(pathToFileURL(join(directory, `${name}.ts`)).href);
  if (!isDriver(module.default)) throw new Error(`${name}: no driver`);
  return module.default;
}

/** The subject with a lock-order monitor on its kernel. */
function withLockOrder(subject: Subject, locks: LockOrder): Subject {
  return {
    ...subject,
    create(k) {
      locks.attach(k.memory.log, { lockName: (c) => k.sched.lockClasses.name(c) });
      return subject.create(k);
    },
  };
}

/** What catches the driver: the first finding of a property that it names; null when there is none. */
function caught(driver: Driver, shown: Shown): string | null {
  const locks = new LockOrder();
  const subject = withLockOrder(subjectOf(driver, { engines: 1 }), locks);
  const program = scenarioProgram(scenarioNamed(shown.by), subject);
  let found: string | null = null;
  const look = (findings: readonly { property: string; gap: number | null; sentence: string }[]): boolean => {
    const f = findings.find((x) => x.gap === (shown.gap ?? null) && driver.breaks.includes(x.property));
    if (f !== undefined) found = `${f.property}: ${f.sentence}`;
    return found === null;
  };
  if (shown.preemptions !== undefined) {
    const { preemptions: bound } = shown;
    const { witnesses } = boundedSearch(program, { bound, executions: BOUNDED, stopsAt: 'any' });
    look(witnesses.map((w): Finding => w.finding));
  } else if (shown.isRandom === true) {
    for (let from = 0; from < WALKS && found === null; from += 20) {
      look(randomWalk(program, { seed: 1, from, executions: 20 }).witnesses.map((w): Finding => w.finding));
    }
  } else {
    explore(program, { executionsMax: EXECUTIONS, visit: (e) => look(e.findings) && look(locks.findings) });
  }
  return found;
}

const NAMES = readdirSync(directory).map((f) => f.replace('.ts', ''));

it('each file is listed, and says what is wrong with it', async () => {
  expect(Object.keys(SHOWN).sort()).toEqual(NAMES.sort());
  for (const name of NAMES) {
    const driver = await load(name);
    expect([driver.name, driver.mistake === '', driver.breaks.length > 0]).toEqual([name, false, true]);
  }
});

it.each(Object.entries(SHOWN))(`%s is caught`, async (name, shown) => {
  expect(caught(await load(name), shown)).not.toBeNull();
});
