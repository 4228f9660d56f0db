// A kernel with one mistake: the notifier is not told when an mmu_gather is flushed. The judge finds what comes of it.
// Run: node examples/break-a-flush.mjs

import {
  createMachine,
  createProcess,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  NR_mmap,
  NR_munmap,
  PROT_READ,
  PROT_WRITE,
  touchPage,
} from 'shootdown';
import { Judge } from 'shootdown/check';
import { formatTimeline, layoutTimeline } from 'shootdown/report';

/** Functions that take the place of the kernel's own, in this machine only. */
const mistake = { *mmuNotifierGatherFlushed() {} };

function run(patches) {
  // A small kernel: a gather is full after 8 pages, so pages are freed while the section is still open.
  const small = { frames: 1024, gatherBatchesMax: 0 };
  const machine = createMachine({ kernel: small, design: 'linux-6.1', device: {}, seed: 3, patches });
  const { kernel, device } = machine;
  const { threads } = kernel.sched;
  const judge = new Judge({ actorName: (id) => threads[id].name });
  judge.attach(kernel.memory.log);
  const task = machine.run(createProcess(kernel, { areas: [], startBrk: 0x600000 }));
  machine.run(device.bind(task.mm));

  function* program() {
    const length = 64 * 4096;
    const prot = PROT_READ | PROT_WRITE;
    for (let i = 0; i < 10; i++) {
      const at = yield* machine.call(task, NR_mmap, 0, length, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
      for (let va = at; va < at + length; va += 4096) yield* touchPage(kernel, task.mm, task.cpu, va, true);
      yield* kernel.sched.sleepSteps(2000, 'other work');
      // The device has jobs under way on the very memory that goes.
      device.workload.focus(at, at + length, true);
      yield* machine.call(task, NR_munmap, at, length);
      device.workload.unfocus();
    }
  }

  machine.interleave({ program: program() });
  judge.finish();
  const lane = (id) => ({ name: threads[id].name, lane: threads[id].lane === 'iommu' ? 'IOMMU' : 'kernel' });
  return { results: judge.results(), names: { actor: lane, device: () => 'device' } };
}

const sound = run({}).results;
console.log(`as shipped:   ${sound.verdict}, ${sound.windows} windows, ${sound.windowsOpen} open`);
const { results, names } = run(mistake);
console.log(`with mistake: ${results.verdict}, ${results.windows} windows, ${results.windowsOpen} open`);
for (const [property, count] of Object.entries(results.byProperty)) console.log(`  ${property}: ${count}`);
const [first] = results.timelines;
console.log(formatTimeline(layoutTimeline(first, names), 110));
