// @ts-check
/**
 * A miss of a vCPU's TLB: the walk in two dimensions (four levels of the guest's page tables, each entry reached through the host's
 * sptes, then the page itself), and the TLB entry. Against a miss without guest paging in the same run: the sptes alone. The walk
 * makes five look-ups in the sptes and reads four entries of the guest. Every page is mapped, A and D are set.
 */
import { elapsed, interleave, now, report, wanted } from './harness.mjs';
import { load } from './simulated.mjs';

/** @type {typeof import('../src/system/machine.ts')} */
const { createMachine } = await load('system/machine.js');
/** @type {typeof import('../src/mm/process/task.ts')} */
const { createProcess } = await load('mm/process/task.js');

const PAGES = 512;
const HVA = 0x40000000;
const BATCHES = 200;
const ROUNDS = 15;
const GVA = 0x7f1200000000;
/** P RW US A D */
const LEAF = 0x67;

/** A guest with tables for PAGES pages at GVA: frames 0 to 3 are tables, the pages are those after them. */
function guest() {
  const slots = [{ baseGfn: 0, pages: 1024, hva: HVA }];
  const m = createMachine({
    kernel: { frames: 8192 },
    design: 'linux-6.1',
    device: { device: 'kvm', hasWorkload: false, kvm: { vcpus: 1, slots, hasLargePages: false } },
  });
  const areas = [{ start: HVA, end: HVA + 1024 * 4096, perms: 'rw-p', offset: 0, path: '' }];
  const task = m.run(createProcess(m.kernel, { areas, startBrk: 0x600000 }));
  const device = /** @type {import('../src/device/kvm/device.ts').KvmDevice} */ (m.device);
  if (!task.mm || m.run(device.bind(task.mm)) !== 0) throw new Error('bind refuses');
  /** @param {number} table @param {number} index @param {number} gfn */
  const entry = (table, index, gfn) => {
    const what = { isWrite: true, offset: index * 8, value: (gfn << 12) | LEAF, hi: 0 };
    if (m.run(device.run(0, table * 4096, what)) !== 0) throw new Error('the guest cannot store');
  };
  const page = GVA / 4096;
  [27, 18, 9].forEach((shift, i) => {
    entry(i, Math.floor(page / 2 ** shift) % 512, i + 1);
  });
  for (let i = 0; i < PAGES; i++) entry(3, i, 4 + i);
  const v = device.kvm?.vcpus[0];
  if (!v) throw new Error('there is no vCPU');
  for (let gfn = 0; gfn < 4 + PAGES; gfn++) {
    const what = { isWrite: true, offset: 2048, value: 1, hi: 0 };
    if (gfn >= 4) m.run(device.run(0, gfn * 4096, what));
  }
  return v;
}

/** @param {import('../src/device/kvm/vcpu.ts').Vcpu} v @param {number} cr3 @param {number} base ns for a miss */
function misses(v, cr3, base) {
  v.cr3 = cr3;
  const start = now();
  for (let i = 0; i < BATCHES; i++) {
    v.tlb.flush();
    for (let p = 0; p < PAGES; p++) if (v.translate(base + p * 4096, true) !== 0) throw new Error('no translation');
  }
  return elapsed(start, now()) / (BATCHES * PAGES);
}

if (wanted('kvm-walk')) {
  const v = guest();
  for (let i = 0; i < 5; i++) misses(v, 0, GVA) + misses(v, -1, 4 * 4096);
  const { ours, reference } = interleave(
    ROUNDS,
    () => misses(v, 0, GVA),
    () => misses(v, -1, 4 * 4096),
  );
  const of = { name: 'one dimension', value: reference.min };
  report('kvm-walk', 'ns/miss', ours.min, of, null, { median: ours.median, medianOfReference: reference.median });
}
