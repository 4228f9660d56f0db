// Registering with the designs before 2.6.27, each in its own way, for drivers of this room and for authors' drivers. None of
// these designs pins the mm_struct, so its subscriber does; none runs release at unregister.

import type { Kernel } from '../mm/kernel.ts';
import type { MmStruct } from '../mm/types.ts';
import { mmDrop } from '../mm/vma/exit-mmap.ts';
import type { NotifierVma } from '../notifier/host.ts';
import type { AndreaOps, MmuNotifiersAndrea } from '../notifier/mmu-notifiers-andrea.ts';
import type { MmuNotifiersV4, MmuNotifiersV4Ops } from '../notifier/mmu-notifiers-v4.ts';
import { PteNotifier, type PteNotifierOps, type PteNotifiers } from '../notifier/pte-notifiers.ts';
import { MmuRmapNotifier, type MmuRmapNotifierOps } from '../notifier/rmap-notifiers.ts';
import { MmuNotifier } from '../notifier/subscriptions.ts';
import type { KernelPath } from '../sched/path.ts';

export interface EarlySubscription {
  /** 0 or -errno. On return the callbacks are in force. */
  register(): KernelPath<number>;
  /** On return no callback runs or will run. */
  unregister(): KernelPath<void>;
}

/** pte-notifiers: a notifier for each VMA there is, and for each that mmap makes later (the program tells its driver). */
export function everyVma(k: Kernel, design: PteNotifiers, mm: MmStruct, ops: PteNotifierOps): EarlySubscription {
  const linked: PteNotifier[] = [];
  let stop: (() => void) | null = null;
  const link = (vma: NotifierVma): void => {
    const pn = new PteNotifier(ops);
    design.register(pn, vma);
    linked.push(pn);
  };
  return {
    *register() {
      yield* mm.mmapLock.writeLock();
      mm.count++;
      for (const vma of design.host.vmasOf(mm)) link(vma);
      stop = design.followMmaps(mm, link);
      mm.mmapLock.writeUnlock();
      return 0;
    },
    *unregister() {
      if (stop === null) return;
      stop();
      stop = null;
      for (const pn of linked) design.unregister(pn);
      linked.length = 0;
      mmDrop(k, mm);
    },
  };
}

/** mmu-notifiers-andrea: heard from this moment on, whatever is under way. */
export function andrea(k: Kernel, design: MmuNotifiersAndrea, mm: MmStruct, ops: AndreaOps): EarlySubscription {
  const mn = new MmuNotifier<AndreaOps>(ops);
  return {
    *register() {
      mm.count++;
      design.register(mn, mm);
      return 0;
    },
    *unregister() {
      yield* design.unregister(mn, mm);
      mmDrop(k, mm);
    },
  };
}

/** mmu-notifiers-v4: others see the subscriber after a quiescent period, so this waits for one. */
export function v4(
  k: Kernel,
  design: MmuNotifiersV4,
  mm: MmStruct,
  ops: MmuNotifiersV4Ops,
  rmapOps: MmuRmapNotifierOps | null,
): EarlySubscription {
  const mn = new MmuNotifier<MmuNotifiersV4Ops>(ops);
  const mrn = rmapOps === null ? null : new MmuRmapNotifier(rmapOps);
  return {
    *register() {
      const result = yield* design.register(mn, mm);
      if (result < 0) return result;
      mm.count++;
      if (mrn !== null) design.registerRmap(mrn);
      yield* design.synchronizeRcu();
      return 0;
    },
    *unregister() {
      yield* design.unregister(mn, mm);
      if (mrn !== null) design.unregisterRmap(mrn);
      yield* design.synchronizeRcu();
      design.list.forget(mn, mm);
      mmDrop(k, mm);
    },
  };
}
