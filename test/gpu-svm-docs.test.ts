// The timeline in docs/devices/gpu-svm.md is what the program prints, and the page names every design and mistake. UPDATE=1 writes it.
import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { MADV_DONTNEED, MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../src/abi/mman.ts';
import { NR_madvise, NR_mmap } from '../src/abi/syscalls.ts';
import { Judge } from '../src/check/judge.ts';
import { deviceInfo } from '../src/device/devices.ts';
import { GPU_MISTAKES } from '../src/device/gpu-svm/mistakes.ts';
import { SVM_MISTAKES } from '../src/device/gpu-svm/svm-mistakes.ts';
import { userStore } from '../src/mm/cpu-access.ts';
import { createProcess } from '../src/mm/process/task.ts';
import { plainPaint } from '../src/report/lanes.ts';
import { formatTimeline, layoutTimeline } from '../src/report/timeline.ts';
import { createMachine } from '../src/system/machine.ts';

const page = fileURLToPath(new URL('../docs/devices/gpu-svm.md', import.meta.url));
const VA = 0x10000000;

/** The timeline of the first violation that a seed shows; '' when it shows none. */
function timeline(mistake: string, seed: number): string {
  const m = createMachine({
    kernel: { frames: 64 },
    design: 'linux-6.1',
    device: { device: 'gpu-svm', hasWorkload: false, gpuSvm: { mistake, engines: 1 } },
    seed,
  });
  const { sched, memory } = m.kernel;
  const actorName = (id: number): string => sched.threads[id]?.name ?? `thread ${id}`;
  const judge = new Judge({ timelines: 1, actorName });
  judge.attach(memory.log);
  const task = m.run(createProcess(m.kernel, { areas: [] }));
  m.run(m.device!.bind(task.mm!));
  const flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;
  m.run(m.call(task, NR_mmap, VA, 4096, PROT_READ | PROT_WRITE, flags, -1, 0));
  m.run(userStore(m.kernel, task, VA, 1, 4));
  m.interleave({
    madvise: m.call(task, NR_madvise, VA, 4096, MADV_DONTNEED),
    engine: m.device!.accessor.access(0, VA, false, VA + 4096),
  });
  judge.finish();
  const [first] = judge.results().timelines;
  if (first === undefined) return '';
  const names = {
    actor: (id: number) => ({
      name: actorName(id),
      lane: actorName(id) === 'engine' ? ('device' as const) : ('kernel' as const),
    }),
    device: () => 'GPU',
  };
  return formatTimeline(layoutTimeline(first, names), 110, plainPaint).trimEnd();
}

test('the timeline of a fault that does not look at the sequence again', () => {
  let drawn = '';
  for (let seed = 1; drawn === '' && seed < 200; seed++) drawn = timeline('no-retry-check', seed);
  expect(drawn).not.toBe('');
  const text = readFileSync(page, 'utf8');
  const block = `<!-- timeline -->\n\n\`\`\`text\n${drawn}\n\`\`\`\n\n<!-- /timeline -->`;
  const updated = text.replace(/<!-- timeline -->[\s\S]*<!-- \/timeline -->/, () => block);
  if (process.env['UPDATE'] === '1') writeFileSync(page, updated);
  else expect(updated).toBe(text);
});

test('the page names every design and every mistake', () => {
  const text = readFileSync(page, 'utf8');
  for (const name of ['gpu-svm', 'amdkfd-svm', 'amdkfd-svm-no-retry']) {
    expect(text).toContain(`\`${name}\``);
    for (const design of Object.keys(deviceInfo(name).designs)) expect(text).toContain(`\`${design}\``);
  }
  for (const mistake of [...GPU_MISTAKES, ...SVM_MISTAKES]) expect(text).toContain(`\`${mistake.name}\``);
});
