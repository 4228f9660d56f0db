// The timelines in docs/devices/gpu-svm.md are what the program prints, and the page names every design and mistake. UPDATE=1 writes it.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { MADV_DONTNEED } from '../src/abi/mman.ts';
import { NR_madvise } from '../src/abi/syscalls.ts';
import { GPU_MISTAKES } from '../src/device/gpu-svm/mistakes.ts';
import { GPU_ROWS } from '../src/device/gpu-svm/row.ts';
import { SVM_MISTAKES } from '../src/device/gpu-svm/svm-mistakes.ts';
import { userStore } from '../src/mm/cpu-access.ts';
import { Course, expectDrawing } from './support/drawn-course.ts';
import { expectTimeline } from './support/first-timeline.ts';
import { gpuDevice, gpuWorld, PAGE, V } from './support/gpu-world.ts';

const page = fileURLToPath(new URL('../docs/devices/gpu-svm.md', import.meta.url));

test('the timeline of a fault that does not look at the sequence again', () => {
  expectTimeline(page, {
    device: { device: 'gpu-svm', gpuSvm: { mistake: 'no-retry-check', engines: 1 } },
    deviceName: 'GPU',
    access: 'engine',
    call: 'madvise',
    path: (m, task, va) => m.call(task, NR_madvise, va, 4096, MADV_DONTNEED),
  });
});

/** The GPU stores to a page that the program has written, and the program touches it. */
function course(device: string): string {
  const w = gpuWorld(gpuDevice(device, { engines: 1 }), 1);
  const { m, task } = w;
  m.run(userStore(m.kernel, task, V, 1, 4));
  const seen = new Course(V);
  m.kernel.memory.log.attach(seen);
  expect(m.interleave({ GPU: w.device.accessor.access(0, V, true, V + PAGE) })).toBe('reached');
  expect(m.interleave({ program: userStore(m.kernel, task, V, 2, 4) })).toBe('reached');
  const actor = (id: number) => ({ name: m.kernel.sched.threads[id]?.name ?? '', lane: 'kernel' as const });
  return seen.draw(`${device}: a store of the GPU, then one of the program`, {
    actor: (id) => ({ ...actor(id), name: actor(id).name === 'GPU' ? 'driver' : actor(id).name }),
    device: () => 'GPU',
  });
}

test.each(['gpu-svm-memory', 'gpu-svm-atomic'])('the course of a page of %s', (name) => {
  expectDrawing(page, name, course(name));
});

test('the page names every design and every mistake', () => {
  const text = readFileSync(page, 'utf8');
  for (const { name, designs } of GPU_ROWS) {
    expect(text).toContain(`\`${name}\``);
    for (const design of Object.keys(designs)) expect(text).toContain(`\`${design}\``);
  }
  for (const mistake of [...GPU_MISTAKES, ...SVM_MISTAKES]) expect(text).toContain(`\`${mistake.name}\``);
});
