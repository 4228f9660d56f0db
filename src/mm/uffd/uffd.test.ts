// userfaultfd against what a monitor and its program see: messages, contents, VMA flags, errors. The recounts of check-world hold
// after every step.
import { describe, expect, test } from 'vitest';
import * as E from '../../abi/errno.ts';
import * as A from '../../abi/mman.ts';
import * as NR from '../../abi/syscalls.ts';
import { checkWorld } from '../check-world.ts';
import type { KernelConfig } from '../config.ts';
import { userLoad, userStore } from '../cpu-access.ts';
import { closeFd } from '../process/files.ts';
import { syscall } from '../syscalls/table.ts';
import { vmFlagNames } from '../vma/proc-maps.ts';
import { World } from '../vma/test-world.ts';
import * as U from './context.ts';
import {
  type UffdRead,
  uffdioApi,
  uffdioContinue,
  uffdioCopy,
  uffdioRegister,
  uffdioUnregister,
  uffdioWake,
  uffdioWriteprotect,
  uffdioZeropage,
  uffdOf,
  userfaultfd,
  userfaultfdRead,
} from './ioctl.ts';

const AT = 0x100000000;
const SOURCE = 0x200000000;
const PAGE = 4096;
const PRIVATE = A.MAP_PRIVATE | A.MAP_ANONYMOUS | A.MAP_FIXED;
const SHARED = A.MAP_SHARED | A.MAP_ANONYMOUS | A.MAP_FIXED;

class UffdWorld extends World {
  fd = -1;

  /** Four pages at AT, a source page with 7s, and a descriptor that watches in `mode`. */
  constructor(mode: number, features = 0, mapFlags = PRIVATE, register = true, parts: Partial<KernelConfig> = {}) {
    super('6.1', { swapPages: 64, ...parts });
    this.call(NR.NR_mmap, AT, 4 * PAGE, 3, mapFlags, -1, 0);
    this.call(NR.NR_mmap, SOURCE, PAGE, 3, PRIVATE, -1, 0);
    this.store(SOURCE, 7);
    this.fd = userfaultfd(this.k, this.task, 0);
    expect(uffdioApi(this.k, this.ctx, U.UFFD_API, features)).toBe(0);
    if (register) expect(this.register(AT, 4 * PAGE, mode)).toBe(0);
  }

  get ctx(): U.UserfaultfdCtx {
    return uffdOf(this.task, this.fd)!;
  }

  register(start: number, len: number, mode: number): number {
    return this.k.sched.run(uffdioRegister(this.k, this.ctx, start, len, mode));
  }

  copy(at: number, len = PAGE, mode = 0, from = SOURCE): number {
    return this.k.sched.run(uffdioCopy(this.k, this.task, this.ctx, at, from, len, mode));
  }

  protect(at: number, len: number, mode: number): number {
    return this.k.sched.run(uffdioWriteprotect(this.k, this.ctx, at, len, mode));
  }

  load(at: number): number {
    return this.k.sched.run(userLoad(this.k, this.task, at));
  }

  store(at: number, value: number): number {
    return this.k.sched.run(userStore(this.k, this.task, at, value));
  }

  /** A thread of the program that stores; it may wait for the monitor. */
  storing(at: number, value: number): { isDone: () => boolean } {
    const thread = this.k.sched.spawn('store', 'cpu', userStore(this.k, this.task, at, value));
    this.settle();
    return { isDone: () => thread.path === null };
  }

  /** Runs everybody until nobody can go on. */
  settle(): void {
    while (this.k.sched.step());
  }

  read(): UffdRead | number {
    const thread = this.k.sched.spawn('read', 'cpu', userfaultfdRead(this.k, this.task, this.ctx));
    this.settle();
    expect(thread.path).toBeNull();
    return thread.result as UffdRead | number;
  }

  flags(at = AT): string {
    return vmFlagNames(this.task.mm!.vmas.findExact(at)!);
  }

  check(): void {
    checkWorld(this.k);
  }
}

describe('missing faults', () => {
  test('a store waits, the monitor reads where and how, a copy lets it go on', () => {
    const w = new UffdWorld(U.UFFDIO_REGISTER_MODE_MISSING);
    const store = w.storing(AT + PAGE + 5, 9);
    expect(store.isDone()).toBe(false);
    const read = w.read() as UffdRead;
    expect(read.message).toMatchObject({
      event: U.UFFD_EVENT_PAGEFAULT,
      flags: U.UFFD_PAGEFAULT_FLAG_WRITE,
      address: AT + PAGE,
    });
    expect(w.copy(AT + PAGE)).toBe(0);
    w.settle();
    expect(store.isDone()).toBe(true);
    expect([w.load(AT + PAGE), w.load(AT + PAGE + 5)]).toEqual([7, 9]);
    expect(w.ctx.pending.length + w.ctx.fault.length).toBe(0);
    w.check();
  });

  test('zeropage, wake without an answer, exact address, a second fill', () => {
    const w = new UffdWorld(U.UFFDIO_REGISTER_MODE_MISSING, U.UFFD_FEATURE_EXACT_ADDRESS);
    const store = w.storing(AT + 3, 9);
    expect((w.read() as UffdRead).message.address).toBe(AT + 3);
    expect(uffdioWake(w.k, w.ctx, AT, PAGE)).toBe(0);
    w.settle();
    expect(store.isDone()).toBe(false);
    expect((w.read() as UffdRead).message.address).toBe(AT + 3);
    expect(w.k.sched.run(uffdioZeropage(w.k, w.ctx, AT, PAGE, 0))).toBe(0);
    w.settle();
    expect([store.isDone(), w.load(AT), w.load(AT + 3)]).toEqual([true, 0, 9]);
    expect(w.copy(AT)).toBe(-E.EEXIST);
    expect(w.copy(AT, 2 * PAGE)).toBe(-E.EEXIST);
    expect(w.copy(AT + PAGE, 3 * PAGE)).toBe(-E.EAGAIN);
    w.check();
  });

  test('the feature SIGBUS fails the access instead', () => {
    const w = new UffdWorld(U.UFFDIO_REGISTER_MODE_MISSING, U.UFFD_FEATURE_SIGBUS);
    expect(w.store(AT, 1)).toBe(-A.VM_FAULT_SIGBUS);
    expect(w.load(AT)).toBe(-A.VM_FAULT_SIGBUS);
    w.check();
  });

  test('shared memory: a missing page of the file asks, a page that is there does not; CONTINUE maps it', () => {
    const w = new UffdWorld(U.UFFDIO_REGISTER_MODE_MISSING, 0, SHARED);
    expect(w.k.sched.run(uffdioContinue(w.k, w.ctx, AT, PAGE, 0))).toBe(-E.EFAULT);
    expect(w.copy(AT, PAGE)).toBe(0);
    expect(w.load(AT)).toBe(7);
    w.call(NR.NR_madvise, AT, PAGE, A.MADV_DONTNEED);
    expect(w.load(AT)).toBe(7);
    w.call(NR.NR_madvise, AT, PAGE, A.MADV_DONTNEED);
    expect(w.k.sched.run(uffdioContinue(w.k, w.ctx, AT, PAGE, 0))).toBe(0);
    expect(w.copy(AT + PAGE)).toBe(0);
    w.check();
  });

  test('minor faults of shared memory wait for CONTINUE', () => {
    const w = new UffdWorld(0, U.UFFD_FEATURE_MINOR_SHMEM, SHARED, false);
    w.store(AT, 3);
    w.call(NR.NR_madvise, AT, PAGE, A.MADV_DONTNEED);
    expect(w.register(AT, 4 * PAGE, U.UFFDIO_REGISTER_MODE_MINOR)).toBe(0);
    const store = w.storing(AT + 1, 9);
    expect((w.read() as UffdRead).message.flags).toBe(U.UFFD_PAGEFAULT_FLAG_WRITE | U.UFFD_PAGEFAULT_FLAG_MINOR);
    expect(w.k.sched.run(uffdioContinue(w.k, w.ctx, AT, PAGE, 0))).toBe(0);
    w.settle();
    expect([store.isDone(), w.load(AT), w.load(AT + 1)]).toEqual([true, 3, 9]);
    w.check();
  });

  test('closing the descriptor lets everybody fault as if nothing were registered', () => {
    const w = new UffdWorld(U.UFFDIO_REGISTER_MODE_MISSING);
    const store = w.storing(AT, 9);
    w.k.sched.run(closeFd(w.k, w.task, w.fd));
    w.settle();
    expect([store.isDone(), w.load(AT)]).toEqual([true, 9]);
    expect(w.flags()).not.toContain('um');
    w.check();
  });
});

describe('write protection', () => {
  const WP = U.UFFDIO_WRITEPROTECT_MODE_WP;

  test.each([
    ['private', PRIVATE],
    ['shared', SHARED],
  ])('%s: a store waits until the mark is taken off, loads do not', (_, mapFlags) => {
    const w = new UffdWorld(0, 0, mapFlags, false);
    w.store(AT, 1);
    expect(w.register(AT, 4 * PAGE, U.UFFDIO_REGISTER_MODE_WP)).toBe(0);
    expect(w.protect(AT, 4 * PAGE, WP)).toBe(0);
    expect(w.load(AT)).toBe(1);
    const store = w.storing(AT, 2);
    expect((w.read() as UffdRead).message.flags).toBe(U.UFFD_PAGEFAULT_FLAG_WRITE | U.UFFD_PAGEFAULT_FLAG_WP);
    expect(w.protect(AT, PAGE, 0)).toBe(0);
    w.settle();
    expect([store.isDone(), w.load(AT)]).toEqual([true, 2]);
    w.check();
  });

  test('the mark survives swap, and fork only with a monitor for the child', () => {
    const w = new UffdWorld(0, 0, PRIVATE, false);
    w.store(AT, 1);
    w.register(AT, 4 * PAGE, U.UFFDIO_REGISTER_MODE_WP);
    w.protect(AT, 4 * PAGE, WP);
    w.call(NR.NR_madvise, AT, PAGE, A.MADV_PAGEOUT);
    expect(w.load(AT)).toBe(1);
    const store = w.storing(AT, 2);
    expect(store.isDone()).toBe(false);
    const child = w.k.tasks.get(w.call(NR.NR_fork))!;
    expect(vmFlagNames(child.mm!.vmas.findExact(AT)!)).not.toContain('uw');
    expect(w.k.sched.run(userStore(w.k, child, AT, 5))).toBe(0);
    w.protect(AT, PAGE, 0);
    w.settle();
    expect([store.isDone(), w.load(AT), w.k.sched.run(userLoad(w.k, child, AT))]).toEqual([true, 2, 5]);
    w.check();
  });

  test('shared memory: a marker keeps the mark of pages that are not mapped, until munmap or the mark goes', () => {
    const w = new UffdWorld(0, 0, SHARED, false);
    w.store(AT, 1);
    w.register(AT, 4 * PAGE, U.UFFDIO_REGISTER_MODE_WP);
    // Pages 1..3 are none: markers. Page 0 is dropped from the table and leaves one.
    w.protect(AT, 4 * PAGE, WP);
    w.call(NR.NR_madvise, AT, PAGE, A.MADV_DONTNEED);
    w.check();
    expect(w.load(AT)).toBe(1);
    const first = w.storing(AT, 2);
    const second = w.storing(AT + PAGE, 3);
    expect([first.isDone(), second.isDone()]).toEqual([false, false]);
    w.protect(AT, 4 * PAGE, 0);
    w.settle();
    expect([first.isDone(), second.isDone(), w.load(AT), w.load(AT + PAGE)]).toEqual([true, true, 2, 3]);
    w.protect(AT, 4 * PAGE, WP);
    expect(w.call(NR.NR_munmap, AT, 4 * PAGE)).toBe(0);
    w.check();
  });

  test('unregister takes the marks off; a range without VMA, an unregistered one, bad modes are refused', () => {
    const w = new UffdWorld(U.UFFDIO_REGISTER_MODE_WP);
    w.store(AT, 1);
    w.protect(AT, 4 * PAGE, WP);
    expect(w.flags()).toContain('uw');
    expect(w.protect(AT, 4 * PAGE, WP | U.UFFDIO_WRITEPROTECT_MODE_DONTWAKE)).toBe(-E.EINVAL);
    expect(w.protect(SOURCE, PAGE, WP)).toBe(-E.ENOENT);
    expect(w.protect(AT, 5 * PAGE, WP)).toBe(-E.ENOENT);
    expect(w.register(0x300000000, PAGE, U.UFFDIO_REGISTER_MODE_WP)).toBe(-E.EINVAL);
    expect(w.register(AT, PAGE, 8)).toBe(-E.EINVAL);
    expect(w.register(0x400000, PAGE, U.UFFDIO_REGISTER_MODE_WP)).toBe(-E.EINVAL);
    expect(w.register(SOURCE, PAGE, U.UFFDIO_REGISTER_MODE_MINOR)).toBe(-E.EINVAL);
    const other = userfaultfd(w.k, w.task, 0);
    expect(w.k.sched.run(uffdioRegister(w.k, uffdOf(w.task, other)!, AT, PAGE, 1))).toBe(-E.EINVAL);
    expect(uffdioApi(w.k, uffdOf(w.task, other)!, U.UFFD_API, 0)).toBe(0);
    expect(w.k.sched.run(uffdioRegister(w.k, uffdOf(w.task, other)!, AT, PAGE, 1))).toBe(-E.EBUSY);
    expect(w.k.sched.run(uffdioUnregister(w.k, w.ctx, AT, 4 * PAGE))).toBe(0);
    expect(w.store(AT, 4)).toBe(0);
    expect(w.flags()).not.toContain('uw');
    w.check();
  });
});

describe('huge pages', () => {
  const HUGE = 0x40000000;

  function hugeWorld(): UffdWorld {
    const w = new UffdWorld(0, 0, PRIVATE, false, { frames: 16384 });
    w.call(NR.NR_mmap, HUGE, A.PMD_SIZE, 3, PRIVATE, -1, 0);
    w.call(NR.NR_madvise, HUGE, A.PMD_SIZE, A.MADV_HUGEPAGE);
    return w;
  }

  test('a missing block asks as small pages do, and is filled with them', () => {
    const w = hugeWorld();
    expect(w.register(HUGE, A.PMD_SIZE, U.UFFDIO_REGISTER_MODE_MISSING)).toBe(0);
    const load = w.k.sched.spawn('load', 'cpu', userLoad(w.k, w.task, HUGE + 5 * PAGE));
    w.settle();
    expect((w.read() as UffdRead).message).toMatchObject({ flags: 0, address: HUGE + 5 * PAGE });
    expect(w.copy(HUGE + 5 * PAGE)).toBe(0);
    w.settle();
    expect(load.result).toBe(7);
    const store = w.storing(HUGE, 9);
    expect((w.read() as UffdRead).message).toMatchObject({ flags: U.UFFD_PAGEFAULT_FLAG_WRITE, address: HUGE });
    expect(w.k.sched.run(uffdioZeropage(w.k, w.ctx, HUGE, PAGE, 0))).toBe(0);
    w.settle();
    expect([store.isDone(), w.load(HUGE)]).toEqual([true, 9]);
    w.check();
  });

  test('a whole huge page is marked by its PMD; moved without a monitor it loses the mark', () => {
    const w = hugeWorld();
    w.store(HUGE, 1);
    expect(w.task.mm!.rss[A.MM_ANONPAGES]).toBe(512 + 1);
    w.register(HUGE, A.PMD_SIZE, U.UFFDIO_REGISTER_MODE_WP);
    expect(w.protect(HUGE, A.PMD_SIZE, U.UFFDIO_WRITEPROTECT_MODE_WP)).toBe(0);
    const store = w.storing(HUGE + 3 * PAGE, 2);
    expect((w.read() as UffdRead).message).toMatchObject({ address: HUGE + 3 * PAGE });
    expect(w.protect(HUGE, A.PMD_SIZE, 0)).toBe(0);
    w.settle();
    expect([store.isDone(), w.load(HUGE), w.load(HUGE + 3 * PAGE)]).toEqual([true, 1, 2]);
    w.protect(HUGE, A.PMD_SIZE, U.UFFDIO_WRITEPROTECT_MODE_WP);
    const to = 2 * HUGE;
    const flags = A.MREMAP_MAYMOVE | A.MREMAP_FIXED;
    expect(w.call(NR.NR_mremap, HUGE, A.PMD_SIZE, A.PMD_SIZE, flags, to)).toBe(to);
    expect([w.store(to, 4), w.load(to), w.load(to + 3 * PAGE)]).toEqual([0, 4, 2]);
    w.check();
  });

  test('marking a part of a huge page splits its entry', () => {
    const w = hugeWorld();
    w.store(HUGE, 1);
    w.register(HUGE, A.PMD_SIZE, U.UFFDIO_REGISTER_MODE_WP);
    expect(w.protect(HUGE + PAGE, PAGE, U.UFFDIO_WRITEPROTECT_MODE_WP)).toBe(0);
    expect(w.store(HUGE, 2)).toBe(0);
    const store = w.storing(HUGE + PAGE, 3);
    expect(store.isDone()).toBe(false);
    w.protect(HUGE + PAGE, PAGE, 0);
    w.settle();
    expect(store.isDone()).toBe(true);
    w.check();
  });
});

describe('VMAs and events', () => {
  const MISSING = U.UFFDIO_REGISTER_MODE_MISSING;

  test('registering a piece cuts the VMA, unregistering it joins the pieces', () => {
    const w = new UffdWorld(0, 0, PRIVATE, false);
    w.register(AT + PAGE, PAGE, MISSING);
    expect(w.maps().length).toBe(4);
    expect(w.register(AT, 4 * PAGE, MISSING)).toBe(0);
    expect(w.maps()).toEqual(['100000000-100004000 rw-p', '200000000-200001000 rw-p']);
    w.k.sched.run(uffdioUnregister(w.k, w.ctx, AT + PAGE, PAGE));
    expect(w.maps().length).toBe(4);
    w.k.sched.run(uffdioUnregister(w.k, w.ctx, AT, 4 * PAGE));
    expect(w.maps().length).toBe(2);
    w.check();
  });

  test('mremap drops the registration unless the monitor hears of moves', () => {
    const w = new UffdWorld(MISSING);
    w.copy(AT);
    const flags = A.MREMAP_MAYMOVE | A.MREMAP_FIXED;
    w.call(NR.NR_mremap, AT, 4 * PAGE, 4 * PAGE, flags, 0x300000000);
    expect(w.flags(0x300000000)).not.toContain('um');
    expect(w.load(0x300000000 + PAGE)).toBe(0);
    w.check();
  });

  test('remap, unmap, remove and fork wait until the monitor has read of them; fills are refused meanwhile', () => {
    const all =
      U.UFFD_FEATURE_EVENT_FORK | U.UFFD_FEATURE_EVENT_REMAP | U.UFFD_FEATURE_EVENT_REMOVE | U.UFFD_FEATURE_EVENT_UNMAP;
    const w = new UffdWorld(MISSING, all);
    w.copy(AT);
    const to = 0x300000000;
    const step = (path: ReturnType<typeof syscallPath>, event: object): UffdRead => {
      const thread = w.k.sched.spawn('call', 'cpu', path);
      w.settle();
      expect(thread.path).not.toBeNull();
      expect(w.copy(to + PAGE)).toBe(-E.EAGAIN);
      const read = w.read() as UffdRead;
      expect(read.message).toMatchObject(event);
      w.settle();
      expect(thread.path).toBeNull();
      w.check();
      return read;
    };
    const flags = A.MREMAP_MAYMOVE | A.MREMAP_FIXED;
    const moved = w.k.sched.spawn('call', 'cpu', syscallPath(w, NR.NR_mremap, AT, 4 * PAGE, 4 * PAGE, flags, to));
    w.settle();
    // The move is announced before the unmapping of the old place.
    expect((w.read() as UffdRead).message).toMatchObject({
      event: U.UFFD_EVENT_REMAP,
      address: AT,
      end: to,
      length: 4 * PAGE,
    });
    expect(moved.path).not.toBeNull();
    expect((w.read() as UffdRead).message).toMatchObject({ event: U.UFFD_EVENT_UNMAP, address: AT });
    expect(moved.path).toBeNull();
    expect(w.flags(to)).toContain('um');
    step(syscallPath(w, NR.NR_madvise, to, PAGE, A.MADV_DONTNEED), {
      event: U.UFFD_EVENT_REMOVE,
      address: to,
      end: to + PAGE,
    });
    const fork = step(syscallPath(w, NR.NR_fork), { event: U.UFFD_EVENT_FORK });
    expect(uffdOf(w.task, fork.fd)).toBe(fork.message.child);
    step(syscallPath(w, NR.NR_munmap, to, PAGE), { event: U.UFFD_EVENT_UNMAP, address: to, end: to + PAGE });
  });
});

function syscallPath(w: World, nr: number, ...args: number[]) {
  const [a, b, c, d, e, f] = args;
  return syscall(w.k, w.task, nr, w.args.of(a, b, c, d, e, f));
}
