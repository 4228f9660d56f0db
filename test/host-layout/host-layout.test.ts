// Return values, addresses, VMAs and VmFlags of random system calls, against those of a real kernel.
//
// The recordings in test/data were made with host-layout.c on Linux 6.18.44 (x86-64, 24 GiB, no swap, overcommit_memory 0,
// THP madvise, no pkeys, CONFIG_MEM_SOFT_DIRTY and CONFIG_MEMORY_FAILURE off, root), files on ext4, without address
// randomisation. New ones: build host-layout.c, then HOST_LAYOUT=path RECORD=1 npx vitest run test/host-layout
// Against the running kernel, nothing recorded: HOST_LAYOUT=path [SEED=n] [ROUNDS=n] npx vitest run test/host-layout

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { gunzipSync, gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { type Call, encodeCalls, type Mix, randomCalls } from './calls.ts';
import { compareWithHost, type HostStep, parseHost } from './model.ts';

const DATA = new URL('../data/host-layout-6.18.json.gz', import.meta.url);
const FILE = '/tmp/host-layout.file';
const program = process.env.HOST_LAYOUT;

interface Recording {
  readonly seed: number;
  readonly calls: readonly Call[];
  readonly host: readonly HostStep[];
}

/** Every other list forks and seals. */
function mixOf(seed: number, printEvery: number): Mix {
  return seed % 2 === 0 ? { printEvery, forks: 0, seals: 0 } : { printEvery, forks: 3, seals: 3 };
}

/** Runs the calls on this machine's kernel; a program that died in the middle gives a shorter list. */
function runOnHost(calls: readonly Call[]): HostStep[] {
  const args = ['-R', 'unshare', '-i', program!, FILE];
  try {
    return parseHost(execFileSync('setarch', args, { input: encodeCalls(calls), maxBuffer: 1 << 30 }).toString());
  } catch {
    return [];
  }
}

describe('address-space layout against a real kernel', () => {
  test('recorded lists of calls give the recorded results and maps', () => {
    const recordings = JSON.parse(gunzipSync(readFileSync(DATA)).toString()) as Recording[];
    const compared = { calls: 0, maps: 0 };
    for (const { seed, calls, host } of recordings) {
      const d = compareWithHost('6.18', calls, host, compared);
      expect(d === null ? '' : `seed ${seed}\n${d.before.join('\n')}\n${d.what}`).toBe('');
    }
    expect(compared.calls).toBeGreaterThan(10000);
    expect(compared.maps).toBeGreaterThan(100);
  });

  test.skipIf(program === undefined)('the running kernel agrees', { timeout: 3_600_000 }, () => {
    writeFileSync(FILE, Buffer.alloc(1 << 20));
    const isRecording = process.env.RECORD === '1';
    const first = Number(process.env.SEED ?? 1);
    const rounds = Number(process.env.ROUNDS ?? 12);
    const recordings: Recording[] = [];
    const compared = { calls: 0, maps: 0 };
    for (let seed = first; seed < first + rounds; seed++) {
      const calls = randomCalls(seed, 1200, mixOf(seed, isRecording ? 60 : 7));
      const host = runOnHost(calls);
      if (host.length < 2) continue;
      const d = compareWithHost('6.18', calls, host, compared);
      if (d?.isEnd) continue;
      expect(d === null ? '' : `seed ${seed}\n${d.before.join('\n')}\n${d.what}`).toBe('');
      recordings.push({ seed, calls, host });
    }
    console.log(`compared ${compared.calls} calls and ${compared.maps} maps from seed ${first} on`);
    if (isRecording) writeFileSync(DATA, gzipSync(JSON.stringify(recordings), { level: 9 }));
  });
});
