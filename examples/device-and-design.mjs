// A machine, a device bound to an address space under a notifier design, a program beside it. Run: node examples/device-and-design.mjs

import * as shootdown from 'shootdown';
import { Judge } from 'shootdown/check';

const { createMachine, createProcess, NR_mmap, NR_munmap, touchPage } = shootdown;
const RW = shootdown.PROT_READ | shootdown.PROT_WRITE;
const ANONYMOUS = shootdown.MAP_PRIVATE | shootdown.MAP_ANONYMOUS;
const LENGTH = 1024 * 4096;

function run(design) {
  const machine = createMachine({ design, device: { device: 'rdma-odp' }, seed: 7 });
  const { kernel, device } = machine;
  const judge = new Judge();
  judge.attach(kernel.memory.log);
  const task = machine.run(createProcess(kernel, { areas: [] }));
  machine.run(device.bind(task.mm));
  function* program() {
    const at = yield* machine.call(task, NR_mmap, 0, LENGTH, RW, ANONYMOUS, -1, 0);
    for (let va = at; va < at + LENGTH; va += 4096) yield* touchPage(kernel, task.mm, task.cpu, va, true);
    yield* machine.call(task, NR_munmap, at, LENGTH);
  }
  machine.interleave({ program: program() });
  return judge.results();
}

for (const design of ['mmu-notifiers-andrea', 'linux-6.1']) {
  const { verdict, windows, windowsOpen, deviceReads, deviceWrites } = run(design);
  console.log(`${design}: ${verdict}; ${windowsOpen} of ${windows} windows open`);
  console.log(`  the device read ${deviceReads} times and wrote ${deviceWrites} times`);
}
