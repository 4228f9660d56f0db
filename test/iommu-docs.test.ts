// The timelines on the pages of walkers are what the program draws (UPDATE=1 writes them), and each page names every design and every
// mistake of its device.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { NR_munmap } from '../src/abi/syscalls.ts';
import { ARM_MISTAKES } from '../src/device/arm-smmu/mistakes.ts';
import { deviceInfo } from '../src/device/devices.ts';
import { INTEL_MISTAKES } from '../src/device/intel-svm/mistakes.ts';
import { doExit } from '../src/mm/process/task.ts';
import type { KernelPath } from '../src/sched/path.ts';
import type { Machine } from '../src/system/machine.ts';
import { expectTimeline, type TimelineRun } from './support/first-timeline.ts';

function pageOf(name: string): string {
  return fileURLToPath(new URL(`../docs/devices/${name}.md`, import.meta.url));
}

const MUNMAP: Pick<TimelineRun, 'deviceName' | 'access' | 'call' | 'path'> = {
  deviceName: 'device',
  access: 'engine',
  call: 'munmap',
  path: (m, task, va) => m.call(task, NR_munmap, va, 4096),
};

const RUNS: readonly (readonly [string, TimelineRun])[] = [
  ['amd-iommu', { ...MUNMAP, device: { device: 'iommu-flush-start-end', ats: { engines: 1 } } }],
  [
    'intel-svm',
    { ...MUNMAP, device: { device: 'intel-svm', ats: { engines: 1 }, intelSvm: { mistake: 'no-device-tlb' } } },
  ],
  [
    'arm-smmu-sva',
    {
      ...MUNMAP,
      device: { device: 'arm-smmu-sva', ats: { engines: 1 }, armSmmu: { mistake: 'leaf-only' } },
      call: 'exit',
      *path(m: Machine, task): KernelPath<number> {
        yield* doExit(m.kernel, task);
        return 0;
      },
    },
  ],
];

it.each(RUNS)('docs/devices/%s.md shows a run as it is', (name, run) => {
  expectTimeline(pageOf(name), run);
});

it.each([
  ['intel-svm', INTEL_MISTAKES],
  ['arm-smmu-sva', ARM_MISTAKES],
] as const)('docs/devices/%s.md names every design and every mistake', (name, mistakes) => {
  const text = readFileSync(pageOf(name), 'utf8');
  for (const design of Object.keys(deviceInfo(name).designs)) expect(text).toContain(`\`${design}\``);
  for (const mistake of mistakes) expect(text).toContain(`\`${mistake.name}\``);
});
