// A program and a device in one address space, judged. Run: node examples/first-machine.mjs

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

const machine = createMachine({ kernel: { frames: 1024 }, design: 'linux-6.1', device: {}, seed: 7 });
const { kernel, device } = machine;
const judge = new Judge();
judge.attach(kernel.memory.log);

const task = machine.run(createProcess(kernel, { areas: [], startBrk: 0x600000 }));
machine.run(device.bind(task.mm));

function* program() {
  for (let i = 0; i < 20; i++) {
    const length = 64 * 4096;
    const at = yield* machine.call(
      task,
      NR_mmap,
      0,
      length,
      PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS,
      -1,
      0,
    );
    for (let va = at; va < at + length; va += 4096) yield* touchPage(kernel, task.mm, task.cpu, va, true);
    yield* kernel.sched.sleepSteps(2000, 'other work');
    yield* machine.call(task, NR_munmap, at, length);
  }
}

console.log('program:', machine.interleave({ program: program() }));
machine.run(device.unbind());
judge.finish();
const r = judge.results();
console.log(`verdict: ${r.verdict}; ${r.windows} windows, ${r.windowsOpen} open; ${r.callbacks} callbacks`);
console.log(`device:  ${r.deviceReads} reads, ${r.deviceWrites} writes, ${r.pageRequests} page requests`);
