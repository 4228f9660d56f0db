// The end of an address space: mmput, exit_mmap (mm/mmap.c), mmdrop (kernel/fork.c).

import { E_EXIT_MMAP, E_VMA_REMOVE } from '../../abi/events.ts';
import { ULONG_MAX, USER_PGTABLES_CEILING, VM_ACCOUNT } from '../../abi/mman.ts';
import { SITE_EXIT } from '../../abi/notifier.ts';
import { OBJ_MM } from '../../base/footprint.ts';
import type { KernelPath } from '../../sched/path.ts';
import { khugepagedExit } from '../huge/khugepaged-mm.ts';
import { mmPutHugeZeroPage } from '../huge/zero-page.ts';
import type { Kernel } from '../kernel.ts';
import { lruAddDrain } from '../reclaim/lru-add-batch.ts';
import { updateHiwaterRss } from '../rmap/rmap.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { vmUnacctMemory } from './account.ts';
import { noteVma } from './adjust.ts';
import { mmDrop } from './mm-drop.ts';

export { mmDrop };

/** mmput: drops a user; the last one tears the address space down. */
export function* mmPut(k: Kernel, mm: MmStruct): KernelPath<void> {
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_MM, mm.id, true);
  if (--mm.users > 0) return;
  mm.isExiting = true;
  if (k.ksm.slotOf.size > 0) yield* k.fn.ksmExit(k, mm);
  const { log } = k.memory;
  if (log.on) log.emit(E_EXIT_MMAP, mm.id, 0, 0, 0, 0, 1, 0, 0, 0);
  if (k.huge.slots.size > 0) yield* khugepagedExit(k, mm);
  yield* k.fn.exitMmap(k, mm);
  mmPutHugeZeroPage(k, mm);
  if (log.on) log.emit(E_EXIT_MMAP, mm.id, 0, 0, 0, 0, 0, 0, 0, 0);
  mmDrop(k, mm);
}

/** MMF_OOM_SKIP: no lock guards it. */
export function giveUp(k: Kernel, mm: MmStruct): void {
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_MM, mm.id, true);
  mm.isOomSkip = true;
}

/** exit_mmap: nobody uses the address space any more. Subscribers hear of it before anything is unmapped. */
export function* exitMmap(k: Kernel, mm: MmStruct): KernelPath<void> {
  if (mm.notifiers !== null) yield* k.fn.mmuNotifierRelease(k, mm);
  const lock = mm.mmapLock;
  if (mm.vmas.count === 0) {
    if (mm.closes.length > 0) yield* closeMappings(mm);
    if (mm.notifiers !== null) yield* k.fn.mmuNotifierExitFinished(k, mm);
    return;
  }
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  const vmas: VmArea[] = [];
  for (let v = mm.vmas.first(); v !== null; v = v.treeNext as VmArea | null) vmas.push(v);
  if (k.reclaim.addBatch.length > 0) lruAddDrain(k);
  const tlb = k.fn.tlbGatherMmu(k, mm, true, SITE_EXIT);
  updateHiwaterRss(mm);
  yield* k.fn.unmapVmas(k, tlb, vmas, 0, ULONG_MAX);
  lock.readUnlock();
  giveUp(k, mm);
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  yield* k.fn.freePgtables(k, tlb, vmas, 0, USER_PGTABLES_CEILING);
  yield* k.fn.tlbFinishMmu(k, tlb);
  let charged = 0;
  for (let i = 0; i < vmas.length; i++) {
    const v = vmas[i]!;
    if (k.memory.log.on) noteVma(k, E_VMA_REMOVE, v);
    if ((v.flags & VM_ACCOUNT) !== 0) charged += (v.end - v.start) / 4096;
    if (mm.notifiers !== null) yield* k.fn.mmuNotifierVmaClosed(k, v);
    k.fn.removeVma(k, v);
  }
  if (mm.closes.length > 0) yield* closeMappings(mm);
  mm.vmas.clear();
  lock.writeUnlock();
  vmUnacctMemory(k, charged);
  if (mm.notifiers !== null) yield* k.fn.mmuNotifierExitFinished(k, mm);
}

/** The close operations of devices' mappings: after the pages were freed, as for any VMA at exit. */
function* closeMappings(mm: MmStruct): KernelPath<void> {
  for (const close of mm.closes.splice(0)) yield* close();
}
