// Reading recordings: both forms, damage, and mutations of real ones. SEED sets the start of the mutations.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { brotliDecompressSync, gzipSync } from 'node:zlib';
import { afterAll, expect, test } from 'vitest';
import { InputError } from '../base/assert.ts';
import { Rng } from '../base/rng.ts';
import { itemsOf } from './program/segments.ts';
import { BUNDLE_NAME, listCases, parseRecording, type ReadProblems, readRecording } from './read.ts';

const ORACLE = join(import.meta.dirname, '../../recordings/oracle');
const folder = mkdtempSync(join(tmpdir(), 'shootdown-recordings-'));
afterAll(() => rmSync(folder, { recursive: true }));

const seed = Number(process.env['SEED'] ?? 1);

function problems(): ReadProblems {
  return { damaged: [] };
}

/** The text of one bundled recording. */
function bundled(directory: string, name: string): string {
  const text = brotliDecompressSync(readFileSync(join(ORACLE, directory, BUNDLE_NAME))).toString('latin1');
  const head = `{"t":"file","name":"${name}.ndjson"}\n`;
  const from = text.indexOf(head) + head.length;
  const end = text.indexOf('{"t":"file"', from);
  return text.slice(from, end < 0 ? text.length : end);
}

const MUNMAP = bundled('linux-6.1', 'munmap-parts');

test('plain, gzip and bundled form give the same records', async () => {
  writeFileSync(join(folder, 'munmap-parts.ndjson'), MUNMAP, 'latin1');
  writeFileSync(join(folder, 'packed.ndjson.gz'), gzipSync(MUNMAP));
  const plain = await readRecording(folder, 'munmap-parts.ndjson', problems());
  const packed = await readRecording(folder, 'packed.ndjson.gz', problems());
  const inBundle = await readRecording(join(ORACLE, 'linux-6.1'), 'munmap-parts.ndjson', problems());
  expect(packed.records).toEqual(plain.records);
  expect(inBundle.records).toEqual(plain.records);
  expect(plain.steps.map((s) => s.call['op'])).toEqual([
    'mmu_notifier_register',
    'mmap',
    'write',
    'munmap',
    'munmap',
    'munmap',
    'munmap',
    'exit_group',
    'end of the recording',
  ]);
});

test('a second recording is another valid one of the same case', () => {
  const compact = listCases(join(ORACLE, 'linux-6.1')).find((c) => c.name === 'compact');
  expect(compact?.files).toEqual(['compact.ndjson', 'compact.second.ndjson']);
});

test('a cut last line is counted and left out', () => {
  const found = problems();
  const cut = MUNMAP.slice(0, MUNMAP.length - 40);
  const whole = parseRecording('x', 'x', MUNMAP, problems());
  const recording = parseRecording('x', 'x', cut, found);
  expect(recording.records.length).toBeLessThan(whole.records.length);
  expect(found.damaged).toHaveLength(1);
  expect(found.damaged[0]).toMatchObject({ file: 'x', lines: 1 });
});

test('what is no recording is refused by one clear line', () => {
  expect(() => parseRecording('x.ndjson', 'x', '{"a":1}\n', problems())).toThrow('x.ndjson:1: no head record');
  expect(() => parseRecording('x.ndjson', 'x', '', problems())).toThrow(InputError);
  expect(() => listCases(join(folder, 'nothing'))).toThrow(/does not exist; expected a directory with recordings/);
  writeFileSync(join(folder, BUNDLE_NAME), 'no bundle');
  expect(() => listCases(folder)).toThrow(/cannot be unpacked/);
  rmSync(join(folder, BUNDLE_NAME));
});

test(`mutated recordings are read or refused (SEED=${seed})`, () => {
  const rng = new Rng(seed);
  const texts = [MUNMAP.slice(0, 20_000), bundled('linux-6.1-programs', 'p-ls').slice(0, 20_000)];
  let refused = 0;
  for (let i = 0; i < 2000; i++) {
    const text = mutate(rng, texts[i % 2]!);
    const found = problems();
    try {
      const { records } = parseRecording('x', 'x', text, found);
      const lines = text.split('\n').filter((l) => l.trim() !== '').length;
      expect(records.length + (found.damaged[0]?.lines ?? 0)).toBe(lines);
      itemsOf(records);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      refused++;
    }
  }
  expect(refused).toBeLessThan(1000);
});

/** One or more bytes changed, inserted, taken out, or a line moved. */
function mutate(rng: Rng, text: string): string {
  let out = text;
  for (let n = 1 + rng.below(4); n > 0; n--) {
    const at = rng.below(out.length);
    const kind = rng.below(4);
    const end = kind === 3 ? out.indexOf('\n', at) + 1 : at + 1 + rng.below(30);
    if (kind === 0) out = `${out.slice(0, at)}${String.fromCharCode(32 + rng.below(95))}${out.slice(at + 1)}`;
    else if (kind === 1) out = out.slice(0, at) + out.slice(end);
    else if (kind === 2) out = out.slice(0, at) + out.slice(at, end) + out.slice(at);
    else out = out.slice(end) + out.slice(at, end);
  }
  return out;
}
