// io_setup, io_destroy, as far as they map and unmap (fs/aio.c): the ring of a context is a shared mapping of a nameless file,
// and its address is the context. The ring may be moved; the context follows it (aio_ring_mremap).

import { EAGAIN, EINVAL, ENOMEM } from '../../abi/errno.ts';
import { MAP_SHARED, PROT_READ, PROT_WRITE, VM_DONTEXPAND } from '../../abi/mman.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import type { Task, VmArea } from '../types.ts';
import { fput } from '../vma/adjust.ts';
import { openInode } from '../vma/shmem-file.ts';
import { runTaskWork } from './edge.ts';

/** fs.aio-max-nr. */
const EVENTS_MAX = 65536;
const EVENT_BYTES = 32;
const RING_BYTES = 32;
export const AIO_PATH = '/[aio]';

/** Pages of the ring for that many events: at least four for each processor, twice, and two to tell full from empty. */
function ringPages(k: Kernel, events: number): number {
  const slots = Math.max(events, k.config.cpus * 4) * 2 + 2;
  return Math.ceil((RING_BYTES + EVENT_BYTES * slots) / 4096);
}

/** io_setup(nr_events, ctxp): the context (the ring's address), or -EINVAL, -EAGAIN (too many events), -ENOMEM. `old`: what
 *  ctxp pointed to. */
export function* ioSetup(k: Kernel, task: Task, events: number, old: number): KernelPath<number> {
  const mm = task.mm!;
  if (old !== 0 || events === 0) return -EINVAL;
  if (events > 0x10000000 / EVENT_BYTES) return -EINVAL;
  if (events > EVENTS_MAX) return -EAGAIN;
  const bytes = ringPages(k, events) * 4096;
  const inode = k.newInode('shmem', AIO_PATH, bytes);
  inode.mount = 'none';
  inode.isDeleted = true;
  inode.linkCount = 0;
  inode.isNoReserve = true;
  const file = openInode(inode, true, true);
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  const at = yield* k.fn.doMmap(k, task, file, 0, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, 0);
  if (at >= 0) mm.vmas.findExact(at)!.flags |= VM_DONTEXPAND;
  fput(k, file);
  lock.writeUnlock();
  if (k.delayedFput.length > 0) yield* runTaskWork(k);
  return at < 0 ? -ENOMEM : at;
}

function isRing(vma: VmArea | null, context: number): vma is VmArea {
  return vma !== null && vma.start === context && vma.file?.inode.path === AIO_PATH;
}

/** io_destroy(ctx). 0 or -EINVAL. */
export function* ioDestroy(k: Kernel, task: Task, context: number): KernelPath<number> {
  const mm = task.mm!;
  const lock = mm.mmapLock;
  if (k.sched.points || !lock.tryWrite()) yield* lock.writeLock();
  const vma = mm.vmas.findExact(context - (context % 4096));
  const result = isRing(vma, context) ? 0 : -EINVAL;
  if (isRing(vma, context)) yield* k.fn.doMunmap(k, mm, vma.start, vma.start + vma.file!.inode.size, false);
  lock.writeUnlock();
  if (k.delayedFput.length > 0) yield* runTaskWork(k);
  return result;
}
