// Which address spaces khugepaged visits (mm/khugepaged.c khugepaged_enter_vma, __khugepaged_enter, __khugepaged_exit): those in which a
// VMA that may have huge pages was mapped, grew, was advised or faulted in, and children of such. Each has a slot in a list, in order
// of registration, and is referenced by it (mmgrab); khugepaged's cursor stands at one of them.
//
// An address space that ends leaves the list, unless the cursor stands there: then it waits until khugepaged has let go of mmapLock,
// and khugepaged takes the slot away itself (collect_mm_slot). The list is only changed between points, so khugepaged_mm_lock
// needs no object.

import { PMD_SIZE, VM_NOHUGEPAGE } from '../../abi/mman.ts';
import { OBJ_LIST } from '../../base/footprint.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { mmDrop } from '../vma/mm-drop.ts';
import { hugepageVmaCheck } from './policy.ts';
import type { KhugepagedSlot } from './state.ts';

/** In footprints: the list and the cursor. */
const LIST_KHUGEPAGED = 13;
/** MAX_PTE_MAPPED_THP. */
const PTE_MAPPED_MAX = 8;

export function noteKhugepaged(k: Kernel, isWrite: boolean): void {
  if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_LIST, LIST_KHUGEPAGED, isWrite);
}

/** khugepaged_enter_vma. */
export function khugepagedEnterVma(k: Kernel, vma: VmArea, vmFlags: number): void {
  if (k.huge.enabled === 'never' || vma.end - vma.start < PMD_SIZE || (vmFlags & VM_NOHUGEPAGE) !== 0) return;
  if (!k.huge.slots.has(vma.mm) && hugepageVmaCheck(k, vma, vmFlags, false, true)) khugepagedEnter(k, vma.mm);
}

/** __khugepaged_enter. */
export function khugepagedEnter(k: Kernel, mm: MmStruct): void {
  const { huge } = k;
  if (huge.slots.has(mm)) return;
  noteKhugepaged(k, true);
  const isFirst = huge.slots.size === 0;
  huge.slots.set(mm, { mm, pteMapped: [] });
  mm.count++;
  if (isFirst) huge.wait.wakeAll(k.sched);
}

/** khugepaged_fork. */
export function khugepagedFork(k: Kernel, child: MmStruct, parent: MmStruct): void {
  if (k.huge.slots.has(parent)) khugepagedEnter(k, child);
}

/** khugepaged_exit: nobody uses the address space any more. */
export function* khugepagedExit(k: Kernel, mm: MmStruct): KernelPath<void> {
  const { huge } = k;
  const slot = huge.slots.get(mm);
  if (slot === undefined) return;
  noteKhugepaged(k, true);
  if (huge.scanSlot !== slot) {
    huge.slots.delete(mm);
    mmDrop(k, mm);
    return;
  }
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  lock.writeUnlock();
}

/** The slot after `slot` in the list, or null. */
export function nextSlot(k: Kernel, slot: KhugepagedSlot): KhugepagedSlot | null {
  let isNext = false;
  for (const each of k.huge.slots.values()) {
    if (isNext) return each;
    isNext = each === slot;
  }
  return null;
}

/** khugepaged_add_pte_mapped_thp: khugepaged comes to the address again before its next look at the address space. */
export function khugepagedAddPteMappedThp(k: Kernel, mm: MmStruct, address: number): boolean {
  noteKhugepaged(k, true);
  const slot = k.huge.slots.get(mm);
  if (slot !== undefined && slot.pteMapped.length < PTE_MAPPED_MAX) slot.pteMapped.push(address);
  return true;
}
