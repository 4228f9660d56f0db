// The driver of a device with memory of its own that programs' pages can live in (lib/test_hmm.c dmirror_migrate_*, dmirror_devmem_fault): pages go
// there on request, and come back when a CPU touches them or the driver wants it.

import { VM_FAULT_SIGBUS, VM_WRITE } from '../abi/mman.ts';
import { allocDevicePage, type DevPagemap, memremapPages } from '../mm/hmm/device-memory.ts';
import {
  MIGRATE_PFN_MIGRATE,
  MIGRATE_PFN_WRITE,
  MIGRATE_VMA_SELECT_DEVICE_PRIVATE,
  MIGRATE_VMA_SELECT_SYSTEM,
  MigrateVma,
  migrateDeviceFinalize,
  migrateDevicePages,
  migrateDeviceRange,
  migratePage,
  migratePfn,
} from '../mm/hmm/migrate-vma.ts';
import type { Kernel } from '../mm/kernel.ts';
import { targetAnywhere } from '../mm/migrate/targets.ts';
import { tryLockPage } from '../mm/page/page-lock.ts';
import { notePage } from '../mm/rmap/rmap.ts';
import type { VmArea } from '../mm/types.ts';
import type { KernelPath } from '../sched/path.ts';

/** What the driver's own tables learn, between "pages" and "finalize" on the way out, before the copy on the way back. */
export interface Residents {
  arrived?(vpn: number, pfn: number, isWritable: boolean): void;
  leaves?(vpn: number): void;
  /** A CPU touched [start, end): `path` brings that back, or more around it in the same VMA. Negative: it failed. */
  aroundFault?(
    vma: VmArea,
    start: number,
    end: number,
    path: (start: number, end: number) => KernelPath<number>,
  ): KernelPath<number>;
}

export class PrivateMemory {
  readonly #k: Kernel;
  readonly #owner: object;
  readonly #residents: Residents | null;
  readonly #pagemap: DevPagemap;

  private constructor(k: Kernel, owner: object, residents: Residents | null, count: number) {
    this.#k = k;
    this.#owner = owner;
    this.#residents = residents;
    this.#pagemap = memremapPages(k, count, owner, {
      migrateToRam: (_k, vma, address, pfn) => this.#fault(vma, address, pfn),
    })!;
  }

  /** `count` pages for a driver that names its sections by `owner`; null when the kernel was not configured with so many. */
  static create(k: Kernel, owner: object, count: number, residents: Residents | null = null): PrivateMemory | null {
    const last = k.pagemaps.at(-1);
    const first = last === undefined ? k.pages.count : last.end;
    return first + count > k.pages.end ? null : new PrivateMemory(k, owner, residents, count);
  }

  /** Pages of [start, end) go to the device, as many as can. mmapLock held for read. 0 or -EINVAL. */
  *toDevice(vma: VmArea, start: number, end: number): KernelPath<number> {
    const k = this.#k;
    const args = new MigrateVma(vma, start, end, this.#owner, MIGRATE_VMA_SELECT_SYSTEM);
    const failed = yield* k.fn.migrateVmaSetup(k, args);
    if (failed < 0) return failed;
    for (let i = 0; i < args.npages; i++) this.#copyOut(args, i);
    yield* k.fn.migrateVmaPages(k, args);
    for (let i = 0; i < args.npages; i++) {
      const to = migratePage(args.dst[i]!);
      if ((args.src[i]! & MIGRATE_PFN_MIGRATE) === 0 || to === 0) continue;
      this.#residents?.arrived?.(start / 4096 + i, to, (args.dst[i]! & MIGRATE_PFN_WRITE) !== 0);
    }
    yield* k.fn.migrateVmaFinalize(k, args);
    return 0;
  }

  #copyOut(args: MigrateVma, i: number): void {
    const k = this.#k;
    const src = args.src[i]!;
    const to = (src & MIGRATE_PFN_MIGRATE) === 0 ? 0 : allocDevicePage(k, this.#pagemap);
    if (to === 0) return;
    const from = migratePage(src);
    if (from === 0) k.memory.zero(to);
    else k.memory.copy(to, from);
    const isWritable = (src & MIGRATE_PFN_WRITE) !== 0 || (from === 0 && (args.vma.flags & VM_WRITE) !== 0);
    args.dst[i] = migratePfn(to) | (isWritable ? MIGRATE_PFN_WRITE : 0);
  }

  /** Pages of [start, end) that the device has come back to RAM. mmapLock held for read. Pages that were tried, or -EINVAL. */
  *toRam(vma: VmArea, start: number, end: number, faultPage = 0): KernelPath<number> {
    const k = this.#k;
    const args = new MigrateVma(vma, start, end, this.#owner, MIGRATE_VMA_SELECT_DEVICE_PRIVATE, faultPage);
    const failed = yield* k.fn.migrateVmaSetup(k, args);
    if (failed < 0) return failed;
    for (let i = 0; i < args.npages; i++) {
      const from = migratePage(args.src[i]!);
      if ((args.src[i]! & MIGRATE_PFN_MIGRATE) === 0 || from === 0) continue;
      const to = yield* targetAnywhere(k, from);
      if (to === 0) continue;
      tryLockPage(k, to);
      this.#residents?.leaves?.(start / 4096 + i);
      k.memory.copy(to, from);
      args.dst[i] = migratePfn(to) | (args.src[i]! & MIGRATE_PFN_WRITE);
    }
    yield* k.fn.migrateVmaPages(k, args);
    yield* k.fn.migrateVmaFinalize(k, args);
    return args.cpages;
  }

  /** migrate_device_range of one page: it comes back to RAM, whoever maps it. False: it is not in use, or cannot be had. */
  *evict(pfn: number): KernelPath<boolean> {
    const k = this.#k;
    const src = new Int32Array(1);
    const dst = new Int32Array(1);
    notePage(k, pfn);
    yield* migrateDeviceRange(k, src, pfn, 1);
    const to = (src[0]! & MIGRATE_PFN_MIGRATE) === 0 ? 0 : yield* targetAnywhere(k, pfn);
    if (to !== 0) {
      tryLockPage(k, to);
      k.memory.copy(to, pfn);
      dst[0] = migratePfn(to);
    }
    migrateDevicePages(k, src, dst, 1);
    const isMoved = (src[0]! & MIGRATE_PFN_MIGRATE) !== 0;
    yield* migrateDeviceFinalize(k, src, dst, 1);
    return isMoved;
  }

  /** Its frames: [first, end). */
  get first(): number {
    return this.#pagemap.first;
  }

  get end(): number {
    return this.#pagemap.end;
  }

  get used(): number {
    return this.end - this.first - this.room;
  }

  /** Pages that it could take. */
  get room(): number {
    // The first frame stands for the list.
    notePage(this.#k, this.first);
    return this.#pagemap.free.length;
  }

  *#fault(vma: VmArea, address: number, pfn: number): KernelPath<number> {
    const path = (start: number, end: number): KernelPath<number> => this.toRam(vma, start, end, pfn);
    const [start, end] = [address, address + 4096];
    const residents = this.#residents;
    const around = residents?.aroundFault;
    const result = yield* around === undefined ? path(start, end) : around.call(residents, vma, start, end, path);
    return result < 0 ? VM_FAULT_SIGBUS : 0;
  }
}
