// What the controller does to a process from outside: merging, probes, debugging, the files that forget accesses, copies
// between address spaces.

import { ENOENT } from '../../abi/errno.ts';
import { PTE_P, PTE_PS } from '../../abi/pte.ts';
import { pmdWord, vpnHi, vpnLo } from '../../hw/page-table.ts';
import { entryLo } from '../../hw/pte.ts';
import { pteOffset, pteTable } from '../../mm/fault/page-tables.ts';
import { ksmRun } from '../../mm/ksm/scan.ts';
import { pteFrame, ptePresent } from '../../mm/page/swapops.ts';
import { processVm } from '../../mm/syscalls/process-vm.ts';
import { clearRefs } from '../../mm/track/clear-refs.ts';
import { pageIdleGet, pageIdleSet } from '../../mm/track/page-idle.ts';
import type { Inode } from '../../mm/types.ts';
import { uprobeRegister, uprobeUnregister } from '../../mm/uprobes/uprobes.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { World } from '../world.ts';
import { type Args, type Op, type Outcome, valueOutcome } from './outcome.ts';

/** The controller starts ksmd, waits for that many full scans, and stops it. */
const ksm: Op = function* (world, _p, args): KernelPath<Outcome> {
  const { ksm: state } = world.kernel;
  state.useZeroPages = world.settings.get('/sys/kernel/mm/ksm/use_zero_pages') === '1';
  yield* ksmRun(world.kernel, args.num('full_scans'));
  return { pages_shared: state.pagesShared, pages_sharing: state.pagesSharing };
};

const clearRefsOp: Op = function* (world, _p, args) {
  const mm = world.mmOf(world.process(args.text('of')));
  return valueOutcome(yield* clearRefs(world.kernel, mm, Number(args.text('value'))));
};

/** PTRACE_POKEDATA of the word that is there. */
const poke: Op = function* (world, _p, args) {
  const { kernel } = world;
  const mm = world.mmOf(world.process(args.text('of')));
  const bytes = new Uint8Array(8);
  const at = args.num('addr');
  const got = yield* kernel.fn.accessRemoteVm(kernel, mm, at, bytes, false, true);
  const put = got < 8 ? got : yield* kernel.fn.accessRemoteVm(kernel, mm, at, bytes, true, true);
  return valueOutcome(Math.min(put, 0));
};

function vmCopy(isWrite: boolean): Op {
  return function* (world, p, args) {
    const remote = { count: 1, pieces: [{ base: args.num('addr'), length: args.num('len') }] };
    const local = { count: 1, pieces: [{ base: Number.NaN, length: args.num('len') }] };
    const target = world.process(args.text('of')).task;
    return valueOutcome(yield* processVm(world.kernel, p.task, target, local, remote, 0, isWrite));
  };
}

/** "path:0xoffset". */
function probeOf(world: World, spec: string): { inode: Inode | undefined; offset: number } {
  const colon = spec.lastIndexOf(':');
  return { inode: world.files.get(spec.slice(0, colon)), offset: Number(spec.slice(colon + 1)) };
}

const uprobeAdd: Op = function* (world, _p, args) {
  const { inode, offset } = probeOf(world, args.text('spec'));
  return valueOutcome(inode === undefined ? -ENOENT : yield* uprobeRegister(world.kernel, inode, offset));
};

/** Every probe goes. */
const uprobeDel: Op = function* (world) {
  const { kernel } = world;
  let result = 0;
  for (const { inode, offset } of [...kernel.uprobes]) result = yield* uprobeUnregister(kernel, inode, offset);
  return valueOutcome(result);
};

/** /proc/PID/pagemap: the frame that an address maps, 0 for none. */
function frameAt(world: World, args: Args, address: number): number {
  const { memory } = world.kernel;
  const mm = world.mmOf(world.process(args.text('of')));
  const table = pteTable(world.kernel, mm, address);
  if (table !== 0) {
    const lo = entryLo(memory, pteOffset(table, address));
    return ptePresent(lo) ? pteFrame(lo) : 0;
  }
  const word = pmdWord(memory, mm.pgd, vpnHi(address), vpnLo(address));
  const pmd = word < 0 ? 0 : entryLo(memory, word);
  return (pmd & (PTE_P | PTE_PS)) === (PTE_P | PTE_PS) ? (pmd >>> 12) + (vpnLo(address) & 511) : 0;
}

const idleSet: Op = function* (world, _p, args) {
  let pages = '';
  for (let i = 0; i < args.num('pages'); i++) {
    const pfn = frameAt(world, args, args.num('addr') + i * 4096);
    if (pfn !== 0) yield* pageIdleSet(world.kernel, pfn);
    pages += pfn === 0 ? '-' : 's';
  }
  return { ret: 0, pages };
};

const idleGet: Op = function* (world, _p, args) {
  let pages = '';
  for (let i = 0; i < args.num('pages'); i++) {
    const pfn = frameAt(world, args, args.num('addr') + i * 4096);
    pages += pfn === 0 ? '-' : (yield* pageIdleGet(world.kernel, pfn)) ? '1' : '0';
  }
  return { ret: 0, pages };
};

export const trackingOps: Readonly<Record<string, Op>> = {
  ksm_run: ksm,
  clear_refs: clearRefsOp,
  ptrace_poke: poke,
  process_vm_readv: vmCopy(false),
  process_vm_writev: vmCopy(true),
  uprobe_add: uprobeAdd,
  uprobe_del: uprobeDel,
  page_idle_set: idleSet,
  page_idle_get: idleGet,
};
