// Rows of the soak that use userfaultfd: a program watches a range of its own with the feature SIGBUS, so that nobody has to answer,
// and lets go of it in one of three ways. What must be refused meanwhile, and what is there afterwards, the twin knows.
import { EAGAIN, EEXIST, EINVAL, ENOMEM } from '../../src/abi/errno.ts';
import { MADV_DONTNEED, VM_FAULT_OOM, VM_FAULT_SIGBUS } from '../../src/abi/mman.ts';
import { NR_madvise } from '../../src/abi/syscalls.ts';
import { userLoad, userStore } from '../../src/mm/cpu-access.ts';
import { closeFd } from '../../src/mm/process/files.ts';
import * as U from '../../src/mm/uffd/context.ts';
import {
  uffdioApi,
  uffdioCopy,
  uffdioRegister,
  uffdioUnregister,
  uffdioWriteprotect,
  uffdioZeropage,
  uffdOf,
  userfaultfd,
} from '../../src/mm/uffd/ioctl.ts';
import { expectEqual, PAGE, type Process, type RandomMemory } from './random-memory.ts';

/** A descriptor that watches the range, or null when there is nothing to watch. */
function watch(w: RandomMemory, p: Process, start: number, length: number, mode: number): number | null {
  const fd = userfaultfd(w.k, p.task, 0);
  const ctx = uffdOf(p.task, fd)!;
  expectEqual('UFFDIO_API', uffdioApi(w.k, ctx, U.UFFD_API, U.UFFD_FEATURE_SIGBUS), 0);
  const r = w.run(uffdioRegister(w.k, ctx, start, length, mode));
  if (r === 0) return fd;
  let hasPage = false;
  for (let a = start; a < start + length; a += PAGE) hasPage ||= p.twin.has(a);
  expectEqual('UFFDIO_REGISTER of nothing', r, hasPage ? 0 : -EINVAL);
  w.run(closeFd(w.k, p.task, fd));
  return null;
}

/** Pieces of the range that lie in one VMA each. */
function* pieces(p: Process, start: number, end: number): Generator<readonly [from: number, length: number]> {
  for (let at = start; at < end; ) {
    const vma = p.task.mm!.vmas.intersects(at, end);
    if (vma === null) return;
    const from = Math.max(at, vma.start);
    const to = Math.min(end, vma.end);
    yield [from, to - from];
    at = to;
  }
}

function letGo(w: RandomMemory, p: Process, fd: number, start: number, length: number): void {
  if (w.rng.chance(1, 2))
    expectEqual('UFFDIO_UNREGISTER', w.run(uffdioUnregister(w.k, uffdOf(p.task, fd)!, start, length)), 0);
  expectEqual('close', w.run(closeFd(w.k, p.task, fd)), 0);
}

/** Protected pages refuse stores and allow loads; unprotected ones allow both. Marks may be left behind, and then mean nothing. */
export function uffdProtect(w: RandomMemory, p: Process): void {
  const [start, length] = [w.address(), w.length()];
  const fd = watch(w, p, start, length, U.UFFDIO_REGISTER_MODE_WP);
  if (fd === null) return;
  const ctx = uffdOf(p.task, fd)!;
  const protect = (mode: number): void => {
    for (const [from, bytes] of pieces(p, start, start + length))
      expectEqual('UFFDIO_WRITEPROTECT', w.run(uffdioWriteprotect(w.k, ctx, from, bytes, mode)), 0);
  };
  protect(U.UFFDIO_WRITEPROTECT_MODE_WP);
  // Each page once: one that was none is not marked, and is there afterwards.
  const tried = new Set(Array.from({ length: 8 }, () => start + w.rng.below(length / PAGE) * PAGE));
  for (const a of tried) refusesStore(w, p, a);
  w.access(p, start, false, 8);
  if (w.rng.chance(2, 3)) {
    protect(0);
    w.access(p, start, true, Math.min(8, length / PAGE));
  }
  letGo(w, p, fd, start, length);
}

/** A page with something in it is mapped, marked by a marker, or swapped with its mark: the store is refused. */
function refusesStore(w: RandomMemory, p: Process, a: number): void {
  const page = p.twin.get(a);
  if (page?.writable !== true) return;
  const byte = w.rng.below(256);
  const r = w.run(userStore(w.k, p.task, a, byte));
  if (r === -VM_FAULT_OOM) return;
  const isThere = page.cell.byte !== 0 && !page.cell.lazy;
  if (isThere || r !== 0) expectEqual(`store to protected 0x${a.toString(16)}`, r, -VM_FAULT_SIGBUS);
  else page.cell.byte = byte;
  if (r === 0) page.cell.lazy = false;
}

/** Missing private pages refuse every access until they are filled; a filled one is not filled again. */
export function uffdFill(w: RandomMemory, p: Process): void {
  const [start, length] = [w.address(), 4 * PAGE];
  const source = w.address();
  const from = p.twin.get(source);
  if (from?.readable !== true || from.cell.lazy || (source >= start && source < start + length)) return;
  for (let a = start; a < start + length; a += PAGE) if (p.twin.get(a)?.shared !== false) return;
  w.call(p, NR_madvise, start, length, MADV_DONTNEED);
  for (let a = start; a < start + length; a += PAGE)
    p.twin.set(a, { ...p.twin.get(a)!, cell: { byte: 0, lazy: false } });
  const fd = watch(w, p, start, length, U.UFFDIO_REGISTER_MODE_MISSING)!;
  const ctx = uffdOf(p.task, fd)!;
  for (let a = start; a < start + length; a += PAGE) {
    const page = p.twin.get(a)!;
    if (page.readable) expectEqual('load of a missing page', w.run(userLoad(w.k, p.task, a)), -VM_FAULT_SIGBUS);
    const isCopy = w.rng.chance(1, 2);
    const fill = (): number =>
      w.run(isCopy ? uffdioCopy(w.k, p.task, ctx, a, source, PAGE, 0) : uffdioZeropage(w.k, ctx, a, PAGE, 0));
    const inOneVma = p.task.mm!.vmas.findExact(a) !== null;
    const r = fill();
    if (r === -ENOMEM || r === -EAGAIN || !inOneVma) continue;
    expectEqual('fill of a missing page', r, 0);
    if (isCopy) page.cell.byte = from.cell.byte;
    expectEqual('fill of a page that is there', fill(), -EEXIST);
    w.access(p, a, false, 1);
  }
  letGo(w, p, fd, start, length);
}
