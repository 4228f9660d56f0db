// Scripts in the recorder's own form, written by hand from what a kernel engineer knows; the real recordings are in
// test/conformance.test.ts.

import { expect, test } from 'vitest';
import { parseRecording } from './read.ts';
import { runScript } from './run-case.ts';

const START = [
  '{"i":0,"t":"head","script":"x.mm","kernel":"6.1.0-56-amd64","cpus":1}',
  '{"i":1,"t":"maps","p":"P","vmas":[["0x400000","0x402000","r-xp","0x0","/bin/t","rd ex mr mw me sd"],["0x600000000000","0x600000010000","rw-s","0x0","/memfd:scratch (deleted)","rd wr sh mr mw me ms sd"]]}',
  '{"i":2,"t":"pages","p":"P","d":[["0x400000",2,"PFxd","g1"]]}',
];

function run(...lines: string[]) {
  const numbered = lines.map((line, i) => `{"i":${START.length + i},${line.slice(1)}`);
  const problems = { damaged: [] };
  return runScript(parseRecording('x.ndjson', 'x', [...START, ...numbered].join('\n'), problems)).result;
}

const MMAP =
  '{"t":"call","p":"P","op":"mmap","n":1,"args":{"addr":"0x100000000","len":"0x1000","prot":"PROT_READ","flags":"MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS","fd":-1,"off":"0x0"}}';
const MMAP_RET = '{"t":"ret","p":"P","op":"mmap","n":1,"ret":"0x100000000"}';

test('a call with the recorded result agrees at every level', () => {
  expect(run(MMAP, MMAP_RET).divergences.filter((d) => d.level === 'calls')).toEqual([]);
});

test('another result is a difference of calls, with both sides', () => {
  const [d] = run(MMAP, MMAP_RET.replace('0x100000000', '0x200000000')).divergences;
  expect(d).toMatchObject({
    level: 'calls',
    record: 4,
    expected: 'ret ret=0x200000000',
    actual: 'ret ret=0x100000000',
  });
});

test('a callback that nobody makes is a difference of callbacks and of events', () => {
  const cb = '{"t":"cb","op":"invalidate_range","id":0,"mm":"P","start":"0x100000000","end":"0x100001000","by":"P"}';
  const levels = run(MMAP, cb, MMAP_RET).divergences.map((d) => d.level);
  expect(levels).toEqual(['callbacks', 'events']);
});

test('an operation that is not modelled counts at the level of calls', () => {
  const { divergences } = run('{"t":"call","p":"P","op":"frobnicate","n":1,"args":{}}');
  expect(divergences.map((d) => [d.level, d.actual])).toEqual([['calls', 'operation frobnicate is not modelled']]);
});
