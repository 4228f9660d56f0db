// What a munmap does, in order: the events of one call in words (locks and the like left out). Run: node examples/watch-events.mjs

import {
  createMachine,
  createProcess,
  E_CALLBACK_END,
  E_LOCK,
  E_RMAP_REMOVE,
  E_UNLOCK,
  EV_TYPE,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  NR_mmap,
  NR_munmap,
  PROT_READ,
  PROT_WRITE,
  touchPage,
} from 'shootdown';
import { Describer, laneOf } from 'shootdown/report';

const machine = createMachine({ kernel: { frames: 1024 }, design: 'linux-6.1', device: {}, seed: 1 });
const { kernel, device } = machine;
const task = machine.run(createProcess(kernel, { areas: [], startBrk: 0x600000 }));
machine.run(device.bind(task.mm));

const length = 2 * 4096;
const prot = PROT_READ | PROT_WRITE;
const at = machine.run(machine.call(task, NR_mmap, 0, length, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
for (let va = at; va < at + length; va += 4096) machine.run(touchPage(kernel, task.mm, task.cpu, va, true));

// One access of the device: the IOMMU and the device now hold a translation of the first page.
device.workload.isStopped = true;
machine.run(device.accessor.access(0, at, false, at + 4096));

const { log } = kernel.memory;
const names = { actor: () => ({ name: 'program', lane: 'program' }), device: () => 'device' };
const describer = new Describer(names);
const left = new Set([E_LOCK, E_UNLOCK, E_RMAP_REMOVE, E_CALLBACK_END]);
const sink = {
  onRecord(ring, start) {
    const record = ring.subarray(start, start + log.words);
    if (left.has(record[EV_TYPE])) return;
    console.log(`${laneOf(record, names).name.padEnd(8)} ${describer.describe(record)}`);
  },
};
log.attach(sink);
const result = machine.run(machine.call(task, NR_munmap, at, length));
log.detach(sink);
console.log(`munmap returned ${result}`);
