// The running kernel: whether a C compiler is there, and programs on it.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KernelConfig } from '../../src/mm/config.ts';
import { PROFILES, type Profile } from '../../src/mm/profile.ts';
import { encodePrograms, type Op } from './program.ts';
import { type HostRun, parseHost } from './results.ts';

const FLAGS = [
  '-O2',
  '-static',
  '-nostdlib',
  '-ffreestanding',
  '-fno-stack-protector',
  '-fcf-protection=none',
  '-no-pie',
];

export class HostKernel {
  readonly #directory: string;
  readonly #program: string;
  /** The file that programs map; as maps shows it. */
  readonly path: string;

  private constructor(directory: string, program: string) {
    this.#directory = directory;
    this.#program = program;
    this.path = join(directory, 'file');
  }

  /** Compiles host.c. A sentence instead when that cannot be done here. */
  static open(source: string): HostKernel | string {
    if (process.platform !== 'linux' || process.arch !== 'x64') return 'not Linux on x86-64';
    const directory = mkdtempSync(join(tmpdir(), 'difftest-'));
    const program = join(directory, 'host');
    try {
      execFileSync('gcc', [...FLAGS, '-o', program, source], { stdio: ['ignore', 'ignore', 'pipe'] });
    } catch (e) {
      rmSync(directory, { recursive: true });
      return `gcc: ${(e as Error).message.split('\n')[0]}`;
    }
    return new HostKernel(directory, program);
  }

  /** Performs the programs, one after the other, each in a fresh child. */
  run(programs: readonly (readonly Op[])[]): HostRun[] {
    const done = spawnSync(this.#program, [this.path], {
      input: encodePrograms(programs),
      maxBuffer: 1 << 30,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    if (done.status !== 0) throw new Error(`host: exit status ${done.status}, signal ${done.signal}`);
    return parseHost(done.stdout, programs);
  }

  close(): void {
    rmSync(this.#directory, { recursive: true });
  }
}

/** The profile nearest to a kernel release: the newest that is not newer. */
export function nearestProfile(version = release()): Profile {
  const number = (text: string): number => {
    const [major, minor] = text.split('.').map(Number);
    return major! * 1000 + minor!;
  };
  const older = PROFILES.filter((p) => number(p.name) <= number(version));
  return older.at(-1) ?? PROFILES[0]!;
}

/** Configuration of this kernel for the running machine. */
export function hostConfig(profile: Profile): Partial<KernelConfig> {
  const meminfo = readFileSync('/proc/meminfo', 'utf8');
  const kilobytes = Number(/MemTotal:\s+(\d+)/.exec(meminfo)?.[1] ?? 0);
  return { profile, frames: 16384, ramPages: kilobytes / 4, thpEnabled: thpEnabled() };
}

function thpEnabled(): 'always' | 'madvise' | 'never' {
  try {
    const text = readFileSync('/sys/kernel/mm/transparent_hugepage/enabled', 'utf8');
    return (/\[(\w+)\]/.exec(text)?.[1] ?? 'never') as 'always' | 'madvise' | 'never';
  } catch {
    return 'never';
  }
}
