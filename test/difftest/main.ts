// npm run difftest: see docs/difftest.md.

import { readFileSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { parseArgs } from 'node:util';
import { syscallName } from '../../src/abi/syscalls.ts';
import { InputError } from '../../src/base/assert.ts';
import { profile } from '../../src/mm/profile.ts';
import { confirm, difftest, type Failure, type Outcome, shrinkFailure } from './difftest.ts';
import { HostKernel, hostConfig, nearestProfile } from './host.ts';
import { KNOWN_DIFFERENCES } from './known-differences.ts';
import { type Op, opName } from './program.ts';

const USAGE =
  'usage: npm run difftest -- [--seed S] [--operations N] [--minutes M] [--profile NAME] [--program FILE] [--save FILE] [--json]';

/** Operations of a failing program that are printed. */
const STORY = 60;

interface ProgramFile {
  readonly kernel: string;
  readonly operations: readonly Op[];
}

function options() {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      operations: { type: 'string', default: '100000' },
      minutes: { type: 'string' },
      profile: { type: 'string' },
      program: { type: 'string' },
      save: { type: 'string', default: 'difftest-program.json' },
      json: { type: 'boolean', default: false },
    },
  });
  const number = (name: 'seed' | 'operations' | 'minutes', missing: number): number => {
    const n = values[name] === undefined ? missing : Number(values[name]);
    if (!(n >= 0)) throw new InputError(`--${name}: "${values[name]}" is not a number`);
    return n;
  };
  return {
    ...values,
    seed: number('seed', Math.floor(Date.now() / 1000)),
    operations: number('operations', 100_000),
    minutes: number('minutes', Number.POSITIVE_INFINITY),
  };
}

function printFailure(failure: Failure, file: string): void {
  const { difference: d } = failure;
  console.log(`seed ${failure.seed}, shrunk to ${failure.ops.length} operations (${file}):`);
  for (const line of d.story.slice(-STORY)) console.log(`  ${line}`);
  console.log(
    `operation ${d.index}, ${opName(d.op.nr) ?? syscallName(d.op.nr)}\n  here:\n${d.here}\n  running kernel:\n${d.host}`,
  );
}

function summary(outcome: Outcome, seconds: number): string {
  const { counts: c } = outcome;
  const known = [...outcome.known].map(([name, n]) => `${name}: ${n}`).join(', ');
  return (
    `${c.operations} operations in ${outcome.programs} programs (${c.calls} calls, ${c.accesses} accesses, ${c.maps} maps, ` +
    `${c.mincore} residency vectors; ${c.refused} refused), ${seconds.toFixed(0)} s; known differences: ${known || 'none'}; ` +
    `not seen again: ${outcome.unsteady}; unexplained: ${outcome.failure === null ? 0 : 1}`
  );
}

function main(): number {
  const o = options();
  const host = HostKernel.open(process.env['DIFFTEST_HOST_C'] ?? 'test/difftest/host.c');
  if (typeof host === 'string') {
    console.error(`difftest SKIPPED, nothing was compared: ${host}`);
    return 0;
  }
  try {
    const chosen = o.profile === undefined ? nearestProfile() : profile(o.profile);
    const config = hostConfig(chosen);
    console.error(`running kernel ${release()}, profile ${chosen.name}`);
    if (o.program !== undefined) {
      const { operations } = JSON.parse(readFileSync(o.program, 'utf8')) as ProgramFile;
      const d = confirm(host, config, operations);
      if (d === null) console.log('no difference');
      else printFailure({ seed: 0, ops: operations, difference: d }, o.program);
      return d === null ? 0 : 1;
    }
    const begin = Date.now();
    const seconds = (): number => (Date.now() - begin) / 1000;
    let shown = begin;
    const outcome = difftest(host, config, o.seed, {
      operations: o.operations,
      until: begin + o.minutes * 60_000,
      progress: (so, seed) => {
        if (Date.now() - shown < 5000) return;
        shown = Date.now();
        console.error(`${so.counts.operations}/${o.operations} operations, seed ${seed}, ${seconds().toFixed(0)} s`);
      },
    });
    console.error(`seed ${o.seed}: ${summary(outcome, seconds())}`);
    for (const row of KNOWN_DIFFERENCES) {
      const n = outcome.known.get(row.name);
      if (n !== undefined) console.error(`  ${n} x ${row.name}: ${row.reason}`);
    }
    if (o.json) {
      const { counts, programs, unsteady } = outcome;
      console.log(
        JSON.stringify({
          kernel: release(),
          profile: chosen.name,
          seed: o.seed,
          ...counts,
          programs,
          unsteady,
          known: Object.fromEntries(outcome.known),
          unexplained: outcome.failure === null ? 0 : 1,
          seconds: seconds(),
        }),
      );
    }
    if (outcome.failure === null) return 0;
    console.error('a difference; shrinking the program ...');
    const small = shrinkFailure(host, config, outcome.failure);
    writeFileSync(o.save!, `${JSON.stringify({ kernel: release(), operations: small.ops })}\n`);
    printFailure(small, o.save!);
    return 1;
  } finally {
    host.close();
  }
}

try {
  process.exitCode = main();
} catch (e) {
  if (!(e instanceof InputError || (e as { code?: string }).code?.startsWith('ERR_PARSE_ARGS'))) throw e;
  console.error(`${(e as Error).message}\n${USAGE}`);
  process.exitCode = 2;
}
