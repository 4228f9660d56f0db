// docs/devices/gru.md, xpmem.md, amd-iommu.md and pinned.md show runs as the program draws them. UPDATE=1 writes them there instead. And
// each page names every design and every mistake of its devices.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import {
  E_CALLBACK,
  E_CALLBACK_END,
  E_DEV_ACCESS,
  E_DEV_FILL,
  E_DEV_INVAL,
  E_EXIT_MMAP,
  E_FRAME_FREE,
  E_MSG,
  E_PTE,
  E_REFAULT,
  E_SECTION_END,
  E_SECTION_START,
  E_SYSCALL,
  EV_STEP,
  EV_TYPE,
  EV_WORDS,
} from '../src/abi/events.ts';
import { MADV_DONTNEED, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../src/abi/mman.ts';
import { NR_madvise, NR_mmap } from '../src/abi/syscalls.ts';
import { type DeviceConfig, SMALL_DEVICE } from '../src/device/device.ts';
import { deviceInfo } from '../src/device/devices.ts';
import { GRU_MISTAKES } from '../src/device/gru/mistakes.ts';
import { XPMEM_MISTAKES } from '../src/device/xpmem/mistakes.ts';
import { touchPage } from '../src/mm/cpu-access.ts';
import { createProcess, doExit } from '../src/mm/process/task.ts';
import { Describer, type LaneKind, laneOf, type Names } from '../src/report/describe.ts';
import { drawLanes, type LaneRow, plainPaint } from '../src/report/lanes.ts';
import { P_DEV_TRANSLATED } from '../src/sched/points.ts';
import { DONE, RUNNABLE } from '../src/sched/scheduler.ts';
import { createMachine } from '../src/system/machine.ts';

const BASE = 0x10000000;
const SHOWN = [
  E_CALLBACK,
  E_CALLBACK_END,
  E_DEV_ACCESS,
  E_DEV_FILL,
  E_DEV_INVAL,
  E_EXIT_MMAP,
  E_FRAME_FREE,
  E_MSG,
  E_PTE,
  E_REFAULT,
  E_SECTION_END,
  E_SECTION_START,
  E_SYSCALL,
];

interface Run {
  readonly design: string;
  readonly device: Partial<DeviceConfig>;
  readonly seed: number;
  readonly ends: 'madvise' | 'exit';
  /** Did the device use the page before? */
  readonly isHeld: boolean;
  /** The device has translated, and goes on when the program can go no further. */
  readonly isInFlight?: boolean;
}

/** Runs of the pages, by the line above each. */
const RUNS: Readonly<Record<string, Run>> = {
  'GRU, linux-6.1: madvise(MADV_DONTNEED) beside a miss': {
    design: 'linux-6.1',
    device: { device: 'gru', gru: { engines: 1, chiplets: 1 } },
    seed: 5,
    ends: 'madvise',
    isHeld: false,
  },
  'GRU, linux-6.1: exit': {
    design: 'linux-6.1',
    device: { device: 'gru', gru: { engines: 1, chiplets: 1 } },
    seed: 2,
    ends: 'exit',
    isHeld: true,
    isInFlight: true,
  },
  'XPMEM, linux-6.1: start waits for the acknowledgement': {
    design: 'linux-6.1',
    device: { device: 'xpmem', xpmem: { importers: 1, engines: 1, workers: 1, latencySteps: 0 } },
    seed: 12,
    ends: 'madvise',
    isHeld: true,
  },
  'XPMEM, mmu-notifiers-v4: begin may not wait, the page is held': {
    design: 'mmu-notifiers-v4',
    device: { device: 'xpmem', xpmem: { importers: 1, engines: 1, workers: 1, latencySteps: 0 } },
    seed: 3,
    ends: 'madvise',
    isHeld: true,
    isInFlight: true,
  },
  'AMD-IOMMU-v1, linux-2.6.27: madvise(MADV_DONTNEED) beside an access': {
    design: 'linux-2.6.27',
    device: { ...SMALL_DEVICE, device: 'amd-iommu-v1' },
    seed: 5,
    ends: 'madvise',
    isHeld: false,
  },
  'PINNED-DMA, pinned: madvise(MADV_DONTNEED) beside an access': {
    design: 'pinned',
    device: { device: 'pinned-dma', pinned: { engines: 1 } },
    seed: 1,
    ends: 'madvise',
    isHeld: true,
  },
};

/** Devices of each page, and their mistakes. */
const PAGES: Readonly<Record<string, readonly [readonly string[], readonly { readonly name: string }[]]>> = {
  gru: [['gru'], GRU_MISTAKES],
  xpmem: [['xpmem'], XPMEM_MISTAKES],
  'amd-iommu': [['iommu-flush-start-end', 'amd-iommu-v1', 'iommu-free-pages', 'amd-iommu-v2'], []],
  pinned: [['pinned-dma', 'rdma-pinned'], []],
};

/** The run, drawn. */
function draw({ design, device, seed, ends, isHeld, isInFlight = false }: Run): string {
  const m = createMachine({ kernel: { cpus: 1, frames: 64 }, design, device: { ...device, hasWorkload: false }, seed });
  const k = m.kernel;
  const task = m.run(createProcess(k, { areas: [] }));
  m.run(m.call(task, NR_mmap, BASE, 4096, PROT_READ | PROT_WRITE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  m.run(touchPage(k, task.mm!, 0, BASE, true));
  expect(m.run(m.device!.bind(task.mm!))).toBe(0);
  if (isHeld) m.run(m.device!.accessor.access(0, BASE, false, BASE + 4096));
  const records: Float64Array[] = [];
  let isOn = true;
  k.memory.log.attach({
    onRecord: (r, at) => {
      if (isOn && SHOWN.includes(r[at + EV_TYPE]!)) records.push(r.slice(at, at + EV_WORDS));
    },
  });
  const { sched } = k;
  sched.points = true;
  const access = sched.spawn('device', 'device', m.device!.accessor.access(0, BASE, false, BASE + 4096));
  const path = ends === 'exit' ? doExit(k, task) : m.call(task, NR_madvise, BASE, 4096, MADV_DONTNEED);
  const program = sched.spawn('program', 'cpu', path);
  if (isInFlight) {
    while (access.point !== P_DEV_TRANSLATED) sched.stepThread(access);
    while (program.state === RUNNABLE) sched.stepThread(program);
  }
  expect(sched.runUntil(() => access.state === DONE && program.state === DONE, 100_000)).toBe('reached');
  // What is still under way between partitions.
  sched.runUntil(() => false, 50);
  sched.points = false;
  isOn = false;
  m.run(m.device!.unbind());
  const names: Names = {
    actor: (id) => ({
      name: (k.sched.threads[id]?.name ?? `thread ${id}`).replace(/ \d+$/, ''),
      lane: (k.sched.threads[id]?.lane === 'device' ? 'device' : 'kernel') as LaneKind,
    }),
    device: () => ({ gru: 'chiplet', xpmem: 'partition' })[device.device ?? ''] ?? 'device',
  };
  const describer = new Describer(names);
  const lanes: string[] = [];
  const rows = records.map((r): LaneRow => {
    const { name } = laneOf(r, names);
    if (!lanes.includes(name)) lanes.push(name);
    return { label: String(r[EV_STEP]), lane: lanes.indexOf(name), text: describer.describe(r), tone: 'plain' };
  });
  return drawLanes(lanes, rows, 110, plainPaint)
    .map((line) => line.trimEnd())
    .join('\n');
}

describe.each(Object.keys(PAGES))('docs/devices/%s.md', (name) => {
  const page = fileURLToPath(new URL(`../docs/devices/${name}.md`, import.meta.url));

  it('shows runs as they are', () => {
    const shown: string[] = [];
    const now = readFileSync(page, 'utf8').replace(/^```\n(.*)\n\n[\s\S]*?^```$/gm, (block, title: string) => {
      if (RUNS[title] === undefined) return block;
      shown.push(title);
      return `\`\`\`\n${title}\n\n${draw(RUNS[title])}\n\`\`\``;
    });
    if (process.env['UPDATE'] === '1') writeFileSync(page, now);
    expect(readFileSync(page, 'utf8')).toBe(now);
    expect(shown).toEqual(Object.keys(RUNS).filter((title) => title.toLowerCase().startsWith(name)));
  });

  it('names every design and every mistake', () => {
    const text = readFileSync(page, 'utf8');
    const [devices, mistakes] = PAGES[name]!;
    for (const device of devices) {
      if (devices.length > 1) expect(text).toContain(`\`${device}\``);
      for (const design of Object.keys(deviceInfo(device).designs)) expect(text).toContain(`\`${design}\``);
    }
    for (const mistake of mistakes) expect(text).toContain(`\`${mistake.name}\``);
  });
});
