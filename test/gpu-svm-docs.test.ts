// The timeline in docs/devices/gpu-svm.md is what the program prints, and the page names every design and mistake. UPDATE=1 writes it.
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { MADV_DONTNEED } from '../src/abi/mman.ts';
import { NR_madvise } from '../src/abi/syscalls.ts';
import { GPU_MISTAKES } from '../src/device/gpu-svm/mistakes.ts';
import { GPU_ROWS } from '../src/device/gpu-svm/row.ts';
import { SVM_MISTAKES } from '../src/device/gpu-svm/svm-mistakes.ts';
import { expectTimeline } from './support/first-timeline.ts';

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

test('the page names every design and every mistake', () => {
  const text = readFileSync(page, 'utf8');
  for (const { name, designs } of GPU_ROWS) {
    expect(text).toContain(`\`${name}\``);
    for (const design of Object.keys(designs)) expect(text).toContain(`\`${design}\``);
  }
  for (const mistake of [...GPU_MISTAKES, ...SVM_MISTAKES]) expect(text).toContain(`\`${mistake.name}\``);
});
