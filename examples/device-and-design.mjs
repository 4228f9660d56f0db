// One device under two designs: the same program, the same seed. Run: node examples/device-and-design.mjs

import * as shootdown from 'shootdown';
import { Judge } from 'shootdown/check';

const { createMachine, createProcess, NR_mmap, NR_munmap, touchPage } = shootdown;
const RW = shootdown.PROT_READ | shootdown.PROT_WRITE;
const ANONYMOUS = shootdown.MAP_PRIVATE | shootdown.MAP_ANONYMOUS;

for (const design of ['mmu-notifiers-andrea', 'linux-6.1']) {
  const machine = createMachine({ kernel: { frames: 1024 }, design, device: { device: 'rdma-odp' }, seed: 7 });
  const judge = new Judge();
  judge.attach(machine.kernel.memory.log);
  const task = machine.run(createProcess(machine.kernel, { areas: [], startBrk: 0x600000 }));
  machine.run(machine.device.bind(task.mm));
  function* program() {
    for (let i = 0; i < 20; i++) {
      const at = yield* machine.call(task, NR_mmap, 0, 64 * 4096, RW, ANONYMOUS, -1, 0);
      for (let va = at; va < at + 64 * 4096; va += 4096) yield* touchPage(machine.kernel, task.mm, task.cpu, va, true);
      machine.device.workload.focus(at, at + 64 * 4096, true); // jobs that the program does not wait for
      yield* machine.call(task, NR_munmap, at, 64 * 4096);
    }
  }
  machine.interleave({ program: program() });
  const { verdict, byProperty } = judge.results();
  console.log(`${design}: ${verdict}`, byProperty);
}
