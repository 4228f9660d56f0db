// What the pairing bugs of 2008 do to drivers that count sections (mmu-notifiers-v4-unpaired): a page that is reused in place ends the
// section of somebody else, who is in the middle of it; after a fork that failed no fault of the device is served again. Under
// mmu-notifiers-v4, where all pairs are whole, neither happens.
import { expect, it } from 'vitest';
import { search } from '../../test/support/named-device.ts';
import { ENOMEM } from '../abi/errno.ts';
import { MAP_ANONYMOUS, MAP_FIXED, MAP_PRIVATE, PROT_READ, PROT_WRITE } from '../abi/mman.ts';
import { NR_mmap } from '../abi/syscalls.ts';
import { userStore } from '../mm/cpu-access.ts';
import { createProcess, doClone } from '../mm/process/task.ts';
import { linuxFns } from '../mm/table.ts';
import type { MmuNotifiersV4 } from '../notifier/mmu-notifiers-v4.ts';
import type { KernelPath } from '../sched/path.ts';
import { createMachine } from '../system/machine.ts';
import type { Scenario } from '../workload/scenario/scenario.ts';
import { ACCESS_DONE } from './accessor.ts';

const AT = 0x10000000;
const PAGE = 4096;

/** One thread gives a page up while another stores to the next, whose entry is read-only and whose page is its alone. */
const REUSED: Scenario = {
  name: 'reused beside',
  summary: 'a page goes while its neighbour is made writable in place',
  setup: [{ do: 'mmap', at: 0, pages: 2 }, { do: 'store', at: 0 }, { do: 'store', at: 1 }, { do: 'soft-dirty' }],
  threads: {
    'madvise dontneed': { steps: [{ do: 'madvise', at: 0, advice: 'dontneed' }] },
    writer: { cpu: 1, steps: [{ do: 'store', at: 1 }] },
    device: { on: 'device', steps: [{ do: 'load', at: 0 }] },
  },
};

it.each(['kvm', 'gru'])(
  '%s: a page is loaded again in the middle of a section that a reused page has ended',
  (device) => {
    const find = (design: string): string | null =>
      search({ device }, design, { scenario: REUSED, walks: 200 }, (p, gap) => gap === null && /^I[1457]$/.test(p));
    expect(find('mmu-notifiers-v4-unpaired')).toMatch(/^I[1457]: /);
    expect(find('mmu-notifiers-v4')).toBeNull();
  },
);

it.each([
  ['kvm', 'mmu-notifiers-v4'],
  ['kvm', 'mmu-notifiers-v4-unpaired'],
  ['gru', 'mmu-notifiers-v4'],
  ['gru', 'mmu-notifiers-v4-unpaired'],
])('%s under %s, after a fork without memory for page tables', (device, design) => {
  let isFailing = false;
  const m = createMachine({
    kernel: { frames: 256 },
    design,
    device: { device, hasWorkload: false },
    patches: {
      *pteAlloc(k, mm, address) {
        return isFailing ? 0 : yield* linuxFns.pteAlloc(k, mm, address);
      },
    },
  });
  const { kernel: k } = m;
  const task = m.run(createProcess(k, { areas: [] }));
  const flags = MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS;
  m.run(m.call(task, NR_mmap, AT, PAGE, PROT_READ | PROT_WRITE, flags, -1, 0));
  m.run(userStore(k, task, AT, 7, 4));
  expect(m.run(m.device!.bind(task.mm!))).toBe(0);
  // A subscriber is told from the next quiescent period on.
  m.run((k.design as MmuNotifiersV4).synchronizeRcu());
  isFailing = true;
  expect(m.run(doClone(k, task, 0))).toBe(-ENOMEM);
  isFailing = false;
  let answer = -1;
  const access = function* (): KernelPath<void> {
    answer = yield* m.device!.accessor.access(0, AT, false, AT + PAGE);
  };
  const end = m.interleave({ device: access() }, 200_000);
  const isWhole = design === 'mmu-notifiers-v4';
  expect([end === 'reached', answer === ACCESS_DONE]).toEqual([isWhole, isWhole]);
});
