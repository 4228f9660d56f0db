// The schema of scenario files says what the types say, field for field; the published JSON schema is the one that it makes; and
// every step that a file may have is one that runs.
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import type * as z from 'zod';
import { Footprint } from '../../base/footprint.ts';
import { defineDriver } from '../../device/define-driver.ts';
import type { KernelConfig } from '../../mm/config.ts';
import { firstChooser } from '../../sched/scheduler.ts';
import { parseScenario } from './file.ts';
import type { RunStep, Scenario, Step, ThreadScript } from './scenario.ts';
import { scenarioProgram } from './scenario-world.ts';
import {
  type kernelSchema,
  scenarioJsonSchema,
  type scenarioSchema,
  type stepSchema,
  type threadSchema,
} from './schema.ts';
import { subjectOf } from './subject.ts';

// --- the types, compared by the compiler: what does not hold here is a type error

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
/** Fields without readonly, in one object. */
type Plain<T> = { -readonly [F in keyof T]: T[F] };
/** Fields of the steps of a kind. */
type FieldsOf<S, K> = S extends { readonly do: infer D } ? (K extends D ? Plain<Omit<S, 'do'>> : never) : never;
type ByKind<S extends { readonly do: string }> = { [K in S['do']]: FieldsOf<S, K> };
type FileStep = Exclude<Step, RunStep>;

const sameSteps: Same<ByKind<z.infer<typeof stepSchema>>, ByKind<FileStep>> = true;
const sameThread: Same<keyof z.infer<typeof threadSchema>, keyof ThreadScript> = true;
const sameScenario: Same<Exclude<keyof z.infer<typeof scenarioSchema>, '$schema'>, keyof Scenario> = true;
const kernelFields: keyof z.infer<typeof kernelSchema> extends keyof KernelConfig ? true : false = true;
/** And the other way: what the types allow but for kernel paths, the schema's type does. */
const fileStep = (step: FileStep): z.infer<typeof stepSchema> => step;

test('the compiler has compared the types of steps, threads and scenarios', () => {
  expect([sameSteps, sameThread, sameScenario, kernelFields]).toEqual([true, true, true, true]);
  expect(fileStep({ do: 'munmap', at: 0 })).toEqual({ do: 'munmap', at: 0 });
});

// --- the published schema

const published = fileURLToPath(new URL('../../../schema/scenario.schema.json', import.meta.url));

test('the published JSON schema is the one that is made; UPDATE=1 writes it', () => {
  const text = `${JSON.stringify(scenarioJsonSchema(), null, 2)}\n`;
  if (process.env['UPDATE'] === '1') writeFileSync(published, text);
  expect(existsSync(published)).toBe(true);
  expect(readFileSync(published, 'utf8')).toBe(text);
});

/** Kinds of steps that the published schema knows, read as an editor would. */
function publishedKinds(): string[] {
  const schema = JSON.parse(readFileSync(published, 'utf8')) as {
    properties: { setup: { items: { oneOf: { properties: { do: { const?: string; enum?: string[] } } }[] } } };
  };
  return schema.properties.setup.items.oneOf.flatMap(({ properties: { do: d } }) => d.enum ?? [d.const!]);
}

// --- every kind of step runs

const driver = defineDriver({
  name: 'walker',
  design: 'linux-6.1',
  device: 'walker',
  create: (hw) => ({
    *invalidateRange(start, end) {
      yield* hw.flushRange(start, end);
    },
    *release() {
      yield* hw.tearDown();
    },
  }),
});

/** One step of each kind, with every field that it has. */
const STEPS: Readonly<Record<FileStep['do'], string>> = {
  mmap: '{ do: mmap, at: 8, pages: 2, prot: r, shared: true, file: data, filePage: 1, populate: true, hugetlb: false, noReserve: true }',
  munmap: '{ do: munmap, at: 0, pages: 1 }',
  msync: '{ do: msync, at: 2, pages: 2 }',
  mlock: '{ do: mlock, at: 0, pages: 2 }',
  munlock: '{ do: munlock, at: 0, pages: 2 }',
  mprotect: '{ do: mprotect, at: 0, pages: 2, prot: r, key: false }',
  madvise: '{ do: madvise, at: 0, pages: 2, advice: cold, remote: true }',
  mremap: '{ do: mremap, at: 0, pages: 1, newPages: 1, to: 20, mayMove: true, dontUnmap: true }',
  load: '{ do: load, at: 0, by: device, offset: 4, mayFail: true }',
  store: '{ do: store, at: 1, by: cpu, offset: 8, value: 7, mayFail: false }',
  fork: '{ do: fork, as: baby }',
  exit: '{ do: exit, task: main }',
  truncate: '{ do: truncate, file: data, pages: 1 }',
  punch: '{ do: punch, file: data, page: 0, pages: 1 }',
  zero: '{ do: zero, file: data, page: 0, pages: 1 }',
  collapse: '{ do: collapse, file: data, page: 0, pages: 1 }',
  fsync: '{ do: fsync, file: data }',
  reclaim: '{ do: reclaim, pages: 1 }',
  swapoff: '{ do: swapoff }',
  'uffd-register': '{ do: uffd-register, at: 0, pages: 2, mode: missing }',
  'uffd-copy': '{ do: uffd-copy, at: 0, pages: 1, from: 1 }',
  'uffd-zeropage': '{ do: uffd-zeropage, at: 1, pages: 1 }',
  'uffd-unregister': '{ do: uffd-unregister, at: 0, pages: 2 }',
  'uffd-protect': '{ do: uffd-protect, at: 0, pages: 2 }',
  'uffd-unprotect': '{ do: uffd-unprotect, at: 0, pages: 2 }',
  kill: '{ do: kill, task: main }',
  mrelease: '{ do: mrelease, task: main }',
  'move-pages': '{ do: move-pages, at: 0, pages: 2 }',
  mbind: '{ do: mbind, at: 0, pages: 2 }',
  'numa-scan': '{ do: numa-scan, at: 0 }',
  'to-device': '{ do: to-device, at: 0, pages: 2 }',
  'to-ram': '{ do: to-ram, at: 0 }',
  exclusive: '{ do: exclusive, at: 0 }',
  compact: '{ do: compact }',
  ksm: '{ do: ksm, scans: 2 }',
  'soft-dirty': '{ do: soft-dirty }',
  idle: '{ do: idle, at: 0 }',
  poke: '{ do: poke, at: 0, value: 7 }',
  probe: '{ do: probe, file: data, page: 0 }',
  unprobe: '{ do: unprobe, file: data, page: 0 }',
  'mlock-onfault': '{ do: mlock-onfault, at: 0, pages: 2 }',
  insert: '{ do: insert, file: data, page: 0, pages: 1 }',
  referenced: '{ do: referenced }',
  'vm-write': '{ do: vm-write, at: 0, value: 7 }',
  damon: '{ do: damon, at: 0 }',
  shmat: '{ do: shmat, at: 8, pages: 2 }',
  shmdt: '{ do: shmdt, at: 0 }',
  'io-setup': '{ do: io-setup, at: 8 }',
  'io-destroy': '{ do: io-destroy, at: 0 }',
  'remap-file-pages': '{ do: remap-file-pages, at: 2, pages: 1, filePage: 2 }',
  brk: '{ do: brk, pages: 2 }',
  exec: '{ do: exec }',
  mlockall: '{ do: mlockall }',
  pin: '{ do: pin, at: 0, pages: 1 }',
  unpin: '{ do: unpin, at: 0, pages: 1 }',
  'memory-max': '{ do: memory-max, pages: 1 }',
  'migrate-pages': '{ do: migrate-pages }',
  khugepaged: '{ do: khugepaged }',
  'lru-gen': '{ do: lru-gen }',
  bind: '{ do: bind }',
  unbind: '{ do: unbind }',
};

test('the schema has each kind of step once, and these examples are all kinds', () => {
  expect(publishedKinds().sort()).toEqual(Object.keys(STEPS).sort());
});

test.each(Object.entries(STEPS))('%s: from a file to its end in a machine', (kind, step) => {
  const text = `
name: ${kind}
summary: one step of that kind
kernel: { frames: 64, swapPages: 16, numaNodes: 2, devicePrivatePages: 2 }
files: { data: 3 }
bound: ${kind !== 'bind'}
setup:
  - { do: mmap, at: 0, pages: 2 }
  - { do: store, at: 0 }
  - { do: mmap, at: 2, pages: 2, shared: true, file: data }
  - { do: store, at: 2 }
threads:
  one: { steps: [ ${step} ] }
`;
  const scenario = parseScenario(text, `${kind}.yaml`);
  expect(Object.keys(scenario.threads['one']!.steps[0]!).sort()).toEqual(
    [...step.matchAll(/(\w+):/g)].map((m) => m[1]!).sort(),
  );
  const footprint = new Footprint();
  const world = scenarioProgram(scenario, subjectOf(driver)).build(firstChooser, footprint);
  let steps = 0;
  for (let mask = world.enabled(); mask !== 0 && steps < 5000; mask = world.enabled(), steps++) {
    footprint.clear();
    world.step(31 - Math.clz32(mask & -mask));
  }
  expect(steps).toBeGreaterThan(0);
  expect(steps).toBeLessThan(5000);
  expect(world.end(false).filter((f) => f.gap === null)).toEqual([]);
});
