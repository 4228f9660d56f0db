// The end of an mm_struct (kernel/fork.c mmdrop): when the last reference goes, that of a user or of somebody who only holds the struct.

import { E_MM_FREE } from '../../abi/events.ts';
import type { Kernel } from '../kernel.ts';
import { memCgroupDetach } from '../reclaim/mem-cgroup.ts';
import type { MmStruct } from '../types.ts';

/** mmdrop: the last reference frees the PGD and the struct. */
export function mmDrop(k: Kernel, mm: MmStruct): void {
  if (--mm.count > 0) return;
  if (mm.notifiers !== null && k.design !== null) k.design.destroy(mm);
  k.fn.putPage(k, mm.pgd);
  k.mms.delete(mm.id);
  if (mm.memcg !== 0) memCgroupDetach(k, mm);
  if (k.memory.log.on) k.memory.log.emit(E_MM_FREE, mm.id, 0, 0, mm.pgd, 0, 0, 0, 0, 0);
}
