// Scenario files: what is refused, with the place and the field; and that nothing else can happen, whatever the text.
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { InputError } from '../../base/assert.ts';
import { defineScenario, isScenario } from './define-scenario.ts';
import { loadScenario, parseScenario } from './file.ts';
import type { Scenario } from './scenario.ts';

const GOOD = `# A page goes while the device uses it.
name: munmap
summary: one page goes
setup:
  - { do: mmap, at: 0 }
  - do: store
    at: 0
threads:
  munmap:
    steps:
      - { do: munmap, at: 0 }
  device:
    on: device
    steps: [{ do: load, at: 0 }, { do: store, at: 0, mayFail: true }]
`;

const SCENARIO = {
  name: 'munmap',
  summary: 'one page goes',
  setup: [
    { do: 'mmap', at: 0 },
    { do: 'store', at: 0 },
  ],
  threads: {
    munmap: { steps: [{ do: 'munmap', at: 0 }] },
    device: {
      on: 'device',
      steps: [
        { do: 'load', at: 0 },
        { do: 'store', at: 0, mayFail: true },
      ],
    },
  },
};

test('YAML and JSON give the same scenario', () => {
  expect(parseScenario(GOOD, 'a.yaml')).toEqual(SCENARIO);
  const json = JSON.stringify({ $schema: './scenario.schema.json', ...SCENARIO }, null, '\t');
  expect(parseScenario(json, 'a.json')).toEqual(SCENARIO);
});

/** GOOD with a part replaced. */
function changed(from: string, to: string): string {
  expect(GOOD).toContain(from);
  return GOOD.replace(from, to);
}

const KINDS =
  'mmap, munmap, msync, mlock, mlock-onfault, munlock, mprotect, madvise, mremap, load, store, fork, exit, truncate, punch, zero, collapse, insert, fsync, reclaim, swapoff, uffd-register, uffd-copy, uffd-zeropage, uffd-unregister, uffd-protect, uffd-unprotect, kill, mrelease, move-pages, to-device, to-ram, exclusive, mbind, numa-scan, compact, ksm, soft-dirty, referenced, idle, poke, vm-write, damon, shmat, shmdt, io-setup, io-destroy, remap-file-pages, brk, exec, mlockall, pin, unpin, memory-max, migrate-pages, khugepaged, lru-gen, probe, unprobe, bind, unbind';

test.each([
  ['an unknown step', changed('do: store', 'do: stoer'), `a.yaml:6:9: setup[1].do: "stoer" is none of ${KINDS}`],
  [
    'a step without do',
    changed('do: munmap, ', ''),
    `a.yaml:11:9: threads.munmap.steps[0].do: is missing; expected one of ${KINDS}`,
  ],
  [
    'a field too many',
    changed('{ do: munmap, at: 0 }', '{ do: munmap, at: 0, prot: r }'),
    'a.yaml:11:30: threads.munmap.steps[0].prot: there is no such field here',
  ],
  [
    'a field missing',
    changed('{ do: mmap, at: 0 }', '{ do: mmap }'),
    'a.yaml:5:5: setup[0].at: is missing; expected a number',
  ],
  ['a text for a number', changed('at: 0 }', 'at: "0" }'), 'a.yaml:5:21: setup[0].at: "0" is not a number'],
  ['a part of a page', changed('at: 0 }', 'at: 0.5 }'), 'a.yaml:5:21: setup[0].at: 0.5 is not an integer'],
  ['a negative page', changed('at: 0 }', 'at: -1 }'), 'a.yaml:5:21: setup[0].at: -1 is less than 0'],
  ['a page far away', changed('at: 0 }', 'at: 5000 }'), 'a.yaml:5:21: setup[0].at: 5000 is more than 4096'],
  [
    'a word of a list',
    changed('on: device', 'on: devise'),
    'a.yaml:13:9: threads.device.on: "devise" is none of cpu, device, kernel',
  ],
  [
    'a device that unmaps',
    changed('{ do: load, at: 0 }', '{ do: munmap, at: 0 }'),
    'a.yaml:14:19: threads.device.steps[0].do: a device cannot do "munmap"; it can do load, store',
  ],
  [
    'a task that nobody made',
    changed('on: device', 'on: device\n    task: baby'),
    'a.yaml:14:11: threads.device.task: "baby" is none of main: a fork of the setup names a task',
  ],
  ['no threads', GOOD.slice(0, GOOD.indexOf('threads:')), 'a.yaml:2:1: threads: is missing; expected a map of names'],
  [
    'a list for a map',
    changed('  munmap:\n    steps:\n      - { do: munmap, at: 0 }\n', '  munmap: [1]\n'),
    'a.yaml:9:11: threads.munmap: a list is not a map of fields',
  ],
  [
    'a bad name',
    changed('  device:', '  "de/vice":'),
    'a.yaml:12:3: threads.de/vice: is not a name: expected a letter, then letters, digits, "_", "-", ".", "+" and spaces',
  ],
  [
    'two mistakes',
    changed('do: store', 'do: stoer').replace('{ do: munmap', '{ do: mumap'),
    `a.yaml:6:9: setup[1].do: "stoer" is none of ${KINDS} (and 1 more)`,
  ],
  ['a key twice', changed('name: munmap', 'name: munmap\nname: other'), 'a.yaml:3:1: Map keys must be unique'],
  ['a bracket open', changed('- { do: mmap, at: 0 }', '- { do: mmap, at: 0'), 'a.yaml:6:3: '],
  [
    'two documents',
    `${GOOD}---\n${GOOD}`,
    'a.yaml:15:1: Source contains multiple documents; please use YAML.parseAllDocuments()',
  ],
  ['an empty file', '', 'a.yaml:1:1: null is not a map of fields'],
  ['a text', 'hello', 'a.yaml:1:1: "hello" is not a map of fields'],
  [
    'aliases that grow',
    `a: &a [1,1,1,1,1,1,1,1,1]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c]`,
    'a.yaml: Excessive alias count',
  ],
])('%s: one line', (_what, text, expected) => {
  let message = 'it was accepted';
  try {
    parseScenario(text, 'a.yaml');
  } catch (error) {
    expect(error).toBeInstanceOf(InputError);
    message = (error as Error).message;
  }
  expect(message).not.toContain('\n');
  expect(expected.endsWith(': ') ? message.slice(0, expected.length) : message).toContain(expected);
});

test('a file that is not there', () => {
  expect(() => loadScenario('/nowhere/a.yaml')).toThrow(
    '/nowhere/a.yaml: there is no such file; expected a scenario in YAML or JSON',
  );
});

// --- any text

const SEED = Number(process.env['SEED'] ?? Date.now() % 1_000_000);

function isRefusedOrTaken(text: string): void {
  try {
    const scenario = parseScenario(text, 'a.yaml');
    expect(typeof scenario.name).toBe('string');
    expect(Object.keys(scenario.threads).length).toBeLessThanOrEqual(8);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    expect(error.message).toMatch(/^a\.yaml(:\d+:\d+)?: \S[^\n]*$/);
  }
}

test(`any text is a scenario or one line (SEED=${SEED})`, () => {
  const options = { seed: SEED, numRuns: 1500 };
  fc.assert(fc.property(fc.string({ unit: 'binary' }), isRefusedOrTaken), options);
  // Texts with the characters that mean something.
  const unit = fc.constantFrom(...'{}[]:,&*!|>-?#%@`"\'\n\t ', 'do', 'at', '0', '<<', '~', 'a', '---', '...', '\u2028');
  fc.assert(
    fc.property(
      fc.array(unit, { maxLength: 60 }).map((a) => a.join('')),
      isRefusedOrTaken,
    ),
    options,
  );
});

test(`a good text that was damaged is a scenario or one line (SEED=${SEED})`, () => {
  const damage = fc.tuple(fc.nat(GOOD.length), fc.nat(12), fc.string({ maxLength: 8 }));
  const texts = fc.array(damage, { minLength: 1, maxLength: 4 }).map((list) => {
    let text = GOOD;
    for (const [from, cut, put] of list) text = text.slice(0, from) + put + text.slice(from + cut);
    return text;
  });
  fc.assert(fc.property(texts, isRefusedOrTaken), { seed: SEED, numRuns: 3000 });
});

test(`any value at any field is a scenario or one line (SEED=${SEED})`, () => {
  const keys = fc.constantFrom(
    'name',
    'setup',
    'threads',
    'steps',
    'do',
    'at',
    'kernel',
    'files',
    'on',
    '__proto__',
    'constructor',
    'x',
  );
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { depthSize: 'small' },
      fc.constantFrom('mmap', 'load', 'device', 'main'),
      fc.integer(),
      fc.jsonValue(),
      tie('map'),
      tie('list'),
    ),
    map: fc.dictionary(keys, tie('tree'), { maxKeys: 6 }),
    list: fc.array(tie('tree'), { maxLength: 4 }),
  }));
  const grafted = fc
    .tuple(fc.constantFrom(...Object.keys(SCENARIO), 'kernel', 'files'), tree)
    .map(([key, value]) => ({ ...SCENARIO, [key]: value }));
  fc.assert(
    fc.property(fc.oneof(tree, grafted), (value) => isRefusedOrTaken(JSON.stringify(value) ?? '')),
    { seed: SEED, numRuns: 3000 },
  );
});

// --- scenarios from modules

test('a module may have kernel paths of its own, and is checked as a file is', () => {
  const path = function* () {};
  const scenario: Scenario = {
    ...(SCENARIO as Scenario),
    setup: [{ do: 'run', name: 'mine', path }],
    kernel: { shared: true },
  };
  expect(defineScenario(scenario)).toEqual(scenario);
  expect([isScenario(defineScenario(scenario)), isScenario(scenario)]).toEqual([true, false]);
  const refusal = (wrong: unknown): string => {
    try {
      defineScenario(wrong as Scenario);
    } catch (error) {
      if (error instanceof InputError) return error.message;
    }
    return 'it was accepted';
  };
  expect(refusal({ ...scenario, setup: [{ do: 'mumap' }] })).toContain(
    'scenario munmap: setup[0].do: "mumap" is none of mmap',
  );
  expect(refusal({ ...scenario, setup: [{ do: 'run', name: 'mine' }] })).toContain(
    'setup[0].do: "run without name or path" is',
  );
  expect(refusal({ ...scenario, threads: { a: null } })).toBe(
    'scenario munmap: threads.a: null is not a map of fields',
  );
  expect(refusal(null)).toBe('scenario: null is not a map of fields');
});
