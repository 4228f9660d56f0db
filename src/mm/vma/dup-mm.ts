// dup_mm and dup_mmap (kernel/fork.c): the address space of a forked child. Parent and child mmapLock held for write
// throughout, so that no fault of another thread sees entries that are write-protected in one table only.

import { VM_ACCOUNT, VM_DONTCOPY, VM_HUGETLB, VM_LOCKED, VM_LOCKONFAULT, VM_WIPEONFORK } from '../../abi/mman.ts';
import { SITE_FORK } from '../../abi/notifier.ts';
import type { KernelPath } from '../../sched/path.ts';
import { khugepagedFork } from '../huge/khugepaged-mm.ts';
import { hugetlbDupVmaPrivate } from '../hugetlb/reserve.ts';
import type { Kernel } from '../kernel.ts';
import { memCgroupAttach } from '../reclaim/mem-cgroup.ts';
import { inheritedMdwe } from '../syscalls/prctl.ts';
import type { MmStruct, VmArea } from '../types.ts';
import { vmEnoughMemory, vmStatAccount, vmUnacctMemory } from './account.ts';
import { getFile, vmaDup } from './split.ts';

/** dup_mm. Null when out of memory: the half-made child is gone, the parent's entries stay write-protected (harmless). */
export function* dupMm(k: Kernel, parent: MmStruct): KernelPath<MmStruct | null> {
  const child = yield* k.mmAlloc();
  if (child !== null && parent.memcg !== 0) memCgroupAttach(k, child, k.reclaim.groups[parent.memcg]!);
  if (child === null) return null;
  copyLayout(child, parent);
  const lock = parent.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  if (k.sched.points || !child.mmapLock.tryWrite()) yield* child.mmapLock.writeLock();
  const isCopied = yield* dupMmap(k, child, parent);
  child.hiwaterRss = child.rss[0]! + child.rss[1]! + child.rss[3]!;
  child.mmapLock.writeUnlock();
  yield* k.fn.flushTlbMm(k, parent, SITE_FORK);
  lock.writeUnlock();
  if (isCopied) return child;
  yield* k.fn.mmPut(k, child);
  return null;
}

/** The fields that a new mm takes over; MCL_FUTURE (defFlags), locks and pins are not inherited. */
export function copyLayout(child: MmStruct, parent: MmStruct): void {
  child.limits = { ...parent.limits };
  child.mdwe = inheritedMdwe(parent.mdwe);
  child.pkeyMap = parent.pkeyMap;
  child.executeOnlyPkey = parent.executeOnlyPkey;
  child.startCode = parent.startCode;
  child.endCode = parent.endCode;
  child.startBrk = parent.startBrk;
  child.brk = parent.brk;
  child.startStack = parent.startStack;
  child.mmapBase = parent.mmapBase;
  child.legacyBase = parent.legacyBase;
  child.thpDisabled = parent.thpDisabled;
}

function* dupMmap(k: Kernel, child: MmStruct, parent: MmStruct): KernelPath<boolean> {
  khugepagedFork(k, child, parent);
  child.totalVm = parent.totalVm;
  child.dataVm = parent.dataVm;
  child.stackVm = parent.stackVm;
  child.execVm = parent.execVm;
  k.fn.ksmFork(k, child, parent);
  for (let v = parent.vmas.first(); v !== null; v = v.treeNext as VmArea | null) {
    const pages = (v.end - v.start) / 4096;
    if ((v.flags & VM_DONTCOPY) !== 0) {
      vmStatAccount(child, v.flags, -pages);
      continue;
    }
    const charge = (v.flags & VM_ACCOUNT) !== 0 ? pages : 0;
    if (charge > 0 && vmEnoughMemory(k, parent, charge) < 0) return false;
    const copy = vmaDup(k, child, v, v.start, v.end, v.pgoff);
    const isWiped = (v.flags & VM_WIPEONFORK) !== 0;
    if (!isWiped && v.anonVma !== null) {
      const r = yield* k.fn.anonVmaFork(k, copy, v);
      if (r < 0) {
        vmUnacctMemory(k, charge);
        return false;
      }
    }
    if (copy.uffd !== null) k.fn.dupUserfaultfd(k, copy);
    copy.flags &= ~(VM_LOCKED | VM_LOCKONFAULT);
    if ((copy.flags & VM_HUGETLB) !== 0) hugetlbDupVmaPrivate(k, copy);
    getFile(copy.file);
    k.fn.linkVma(k, child, copy);
    if (copy.file !== null) yield* k.fn.linkFileVma(k, copy, v);
    if (!isWiped && (yield* k.fn.copyPageRange(k, copy, v)) < 0) return false;
  }
  return true;
}
