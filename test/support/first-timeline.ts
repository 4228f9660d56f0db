// The timelines on pages of devices and designs: one page of a program goes while the device fetches it, with a mistake in its driver or
// under a design that leaves a window, and the first violation is drawn. The page's text between <!-- timeline --> and <!-- /timeline --> is what the program draws.

import { readFileSync, writeFileSync } from 'node:fs';
import { expect } from 'vitest';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../../src/abi/mman.ts';
import { NR_mmap } from '../../src/abi/syscalls.ts';
import { Judge } from '../../src/check/judge.ts';
import type { DeviceConfig } from '../../src/device/device.ts';
import { userStore } from '../../src/mm/cpu-access.ts';
import { createProcess } from '../../src/mm/process/task.ts';
import type { Task } from '../../src/mm/types.ts';
import { plainPaint } from '../../src/report/lanes.ts';
import { formatTimeline, layoutTimeline } from '../../src/report/timeline.ts';
import type { KernelPath } from '../../src/sched/path.ts';
import { createMachine, type Machine } from '../../src/system/machine.ts';

const VA = 0x10000000;
const SEEDS = 200;

export interface TimelineRun {
  readonly device: Partial<DeviceConfig>;
  /** linux-6.1 when left out. */
  readonly design?: string;
  /** The device stores; it loads when left out. */
  readonly isStore?: boolean;
  /** What the device and its thread are called in the drawing. */
  readonly deviceName: string;
  readonly access: string;
  /** The system call that takes the page away, and its thread's name. */
  readonly call: string;
  path(m: Machine, task: Task, va: number): KernelPath<number>;
}

/** The timeline of the first violation that a seed shows; '' when it shows none. */
function timeline(run: TimelineRun, seed: number): string {
  const device = { hasWorkload: false, ...run.device };
  const m = createMachine({ kernel: { frames: 64 }, design: run.design ?? 'linux-6.1', device, seed });
  const { sched, memory } = m.kernel;
  const actorName = (id: number): string => sched.threads[id]?.name ?? `thread ${id}`;
  const judge = new Judge({ timelines: 1, actorName });
  judge.attach(memory.log);
  const task = m.run(createProcess(m.kernel, { areas: [] }));
  m.run(m.device!.bind(task.mm!));
  const flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;
  m.run(m.call(task, NR_mmap, VA, 4096, PROT_READ | PROT_WRITE, flags, -1, 0));
  m.run(userStore(m.kernel, task, VA, 1, 4));
  const access = m.device!.accessor.access(0, VA, run.isStore === true, VA + 4096);
  m.interleave({ [run.call]: run.path(m, task, VA), [run.access]: access });
  judge.finish();
  const [first] = judge.results().timelines;
  if (first === undefined) return '';
  const names = {
    actor: (id: number) => {
      const name = actorName(id);
      return { name, lane: name === run.access ? ('device' as const) : ('kernel' as const) };
    },
    device: () => run.deviceName,
  };
  return formatTimeline(layoutTimeline(first, names), 110, plainPaint).trimEnd();
}

/** Holds the page against the drawing of the first seed that shows a violation; with UPDATE=1 writes it. */
export function expectTimeline(page: string, run: TimelineRun): void {
  let drawn = '';
  for (let seed = 1; drawn === '' && seed < SEEDS; seed++) drawn = timeline(run, seed);
  expect(drawn).not.toBe('');
  const text = readFileSync(page, 'utf8');
  const block = `<!-- timeline -->\n\n\`\`\`text\n${drawn}\n\`\`\`\n\n<!-- /timeline -->`;
  const updated = text.replace(/<!-- timeline -->[\s\S]*<!-- \/timeline -->/, () => block);
  if (process.env['UPDATE'] === '1') writeFileSync(page, updated);
  else expect(updated).toBe(text);
}
