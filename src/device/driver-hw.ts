// hw: what an author's driver may ask of its device. The walker's steps are those of the AMD IOMMU's kernel side
// (amd-iommu.ts), the mirror's those of mirror.ts with get_user_pages in front.

import { EFAULT } from '../abi/errno.ts';
import { OBJ_MM } from '../base/footprint.ts';
import { setPageDirty } from '../mm/file/page-cache.ts';
import { FOLL_WRITE } from '../mm/gup/flags.ts';
import { notePage } from '../mm/rmap/rmap.ts';
import type { AtomicPath, KernelPath } from '../sched/path.ts';
import { P_UNLOCK } from '../sched/points.ts';
import type { AmdIommu } from './amd-iommu.ts';
import type { MapOptions, Mapping, MirrorHw, WalkerHw } from './driver-face.ts';
import { DriverHw, type DriverInstance } from './driver-run.ts';
import type { MirrorDevice } from './mirror.ts';
import type { PasidState } from './sva-iommu.ts';

const ALL = Number.POSITIVE_INFINITY;

export class WalkerDriverHw extends DriverHw implements WalkerHw {
  readonly #amd: AmdIommu;
  readonly #state: PasidState;

  constructor(instance: DriverInstance, amd: AmdIommu, state: PasidState) {
    super(instance);
    this.#amd = amd;
    this.#state = state;
  }

  flushRange(start: number, end: number): AtomicPath<void> {
    return this.instance.atomic('flushRange', this.#amd.flushRange(this.#state, start, end));
  }

  flushPage(address: number): AtomicPath<void> {
    return this.instance.atomic('flushPage', this.#amd.flushPage(this.#state, address));
  }

  flushAll(): AtomicPath<void> {
    return this.instance.atomic('flushAll', this.#amd.flushPasid(this.#state));
  }

  invalidateIommuTlb(start: number, end: number, options: { readonly leafOnly?: boolean } = {}): void {
    this.#amd.iommu.invalidateIommuPages(this.#state.pasid, start, end, options.leafOnly !== true);
  }

  invalidateDeviceTlb(start: number, end: number): void {
    const { iommu } = this.#amd;
    for (const id of iommu.endpoints.keys()) iommu.invalidateIotlbPages(id, this.#state.pasid, start, end);
  }

  completionWait(): AtomicPath<void> {
    return this.instance.atomic('completionWait', this.#amd.completionWait());
  }

  parkTable(): AtomicPath<void> {
    return this.instance.atomic('parkTable', this.#park());
  }

  /** A device that is just being bound is let in only when it is not parked (AmdIommu.bind). */
  *#park(): AtomicPath<void> {
    this.#state.sections = 1;
    yield* this.#amd.parkTable(this.#state);
  }

  restoreTable(): AtomicPath<void> {
    return this.instance.atomic('restoreTable', this.#restore());
  }

  *#restore(): AtomicPath<void> {
    this.#state.sections = 0;
    yield* this.#amd.restoreTable(this.#state);
  }

  tearDown(): KernelPath<void> {
    return this.instance.sleeping('tearDown', this.#amd.tearDown(this.#state));
  }

  tearDownAtomic(): AtomicPath<void> {
    return this.instance.atomic('tearDownAtomic', this.#amd.tearDownAtomic(this.#state));
  }
}

export class MirrorDriverHw extends DriverHw implements MirrorHw {
  readonly #device: MirrorDevice;
  /** References that the driver has from getUserPage and has not put, by page. */
  readonly references = new Map<number, number>();

  constructor(instance: DriverInstance, device: MirrorDevice) {
    super(instance);
    this.#device = device;
  }

  // --- pages

  getUserPage(va: number, isWrite: boolean): KernelPath<number> {
    return this.instance.sleeping('getUserPage', this.#getUserPage(va, isWrite));
  }

  /** mmget_not_zero, mmap_read_lock, get_user_pages. The last user of the address space may be this one. */
  *#getUserPage(va: number, isWrite: boolean): KernelPath<number> {
    const { k, mm } = this.instance;
    if (k.memory.footprint !== null) k.memory.footprint.note(OBJ_MM, mm.id, true);
    if (mm.users <= 0) return -EFAULT;
    mm.users++;
    const { mmapLock } = mm;
    if (k.sched.points || !mmapLock.tryRead()) yield* mmapLock.readLock();
    const out = new Int32Array(1);
    const got = yield* k.fn.getUserPages(k, mm, va, 1, isWrite ? FOLL_WRITE : 0, out);
    mmapLock.readUnlock();
    const page = out[0]!;
    if (got === 1) this.references.set(page, (this.references.get(page) ?? 0) + 1);
    yield* k.fn.mmPut(k, mm);
    // What was looked up may be out of date before the driver does anything with it.
    if (k.sched.points) yield P_UNLOCK;
    if (got === 1) return page;
    return got < 0 ? got : -EFAULT;
  }

  putPage(page: number): void {
    const count = this.references.get(page) ?? 0;
    if (count === 0) throw this.instance.error(`putPage(${page}): the driver has no reference of that page`);
    if (count === 1) this.references.delete(page);
    else this.references.set(page, count - 1);
    const { k } = this.instance;
    k.fn.putPage(k, page);
  }

  markDirty(page: number): void {
    const { k } = this.instance;
    notePage(k, page);
    setPageDirty(k, page);
  }

  // --- the table

  map(va: number, page: number, options: MapOptions): AtomicPath<void> {
    return this.instance.atomic('map', this.#map(va, page, options));
  }

  *#map(va: number, page: number, options: MapOptions): AtomicPath<void> {
    const { pages = 1, root = 0 } = options;
    const { memory } = this.instance.k;
    if (!(Number.isInteger(pages) && pages >= 1 && Number.isInteger(Math.log2(pages))))
      throw this.instance.error(`map: ${pages} pages is not a power of two`);
    const start = va - (va % 4096);
    if (start % (pages * 4096) !== 0)
      throw this.instance.error(`map: 0x${va.toString(16)} is not a multiple of the block of ${pages} pages`);
    if (!(Number.isInteger(page) && page > 0 && page + pages <= memory.frames))
      throw this.instance.error(`map: ${page} is not a page (getUserPage answers -errno when there is none)`);
    if (root < 0) throw this.instance.error(`map: root ${root}`);
    this.#root(root);
    yield* this.point();
    this.#device.map(root, start, page, pages, options.writable);
  }

  unmap(start: number, end: number): AtomicPath<readonly Mapping[]> {
    return this.instance.atomic('unmap', this.#unmap(start, end));
  }

  unmapAll(): AtomicPath<readonly Mapping[]> {
    return this.instance.atomic('unmapAll', this.#unmap(0, ALL));
  }

  *#unmap(start: number, end: number): AtomicPath<readonly Mapping[]> {
    const removed = yield* this.#remove(start, end);
    yield* this.#flush(start, end);
    return removed;
  }

  removeEntries(start: number, end: number, options: { readonly root?: number } = {}): AtomicPath<readonly Mapping[]> {
    return this.instance.atomic('removeEntries', this.#remove(start, end, this.#root(options.root ?? -1)));
  }

  /** Number of a table, or -1 for all. */
  #root(root: number): number {
    if (root === -1 || this.#device.tables[root] !== undefined) return root;
    throw this.instance.error(`root ${root} is not one of 0 to ${this.#device.tables.length - 1}`);
  }

  *#remove(start: number, end: number, root = -1): AtomicPath<readonly Mapping[]> {
    yield* this.point();
    return this.#device.removeEntries(start, end, root).map((t) => ({
      va: t.va,
      page: t.pfn,
      pages: t.pages,
      isWritable: t.isWritable,
      isDirty: t.isDirty,
    }));
  }

  flushTlb(start: number, end: number): AtomicPath<void> {
    return this.instance.atomic('flushTlb', this.#flush(start, end));
  }

  *#flush(start: number, end: number): AtomicPath<void> {
    yield* this.point();
    yield* this.#device.flushTlbs(start, end);
  }

  flushTlbNoWait(start: number, end: number): AtomicPath<void> {
    return this.instance.atomic('flushTlbNoWait', this.#drop(start, end));
  }

  *#drop(start: number, end: number): AtomicPath<void> {
    yield* this.point();
    this.#device.dropTlbs(start, end);
  }

  testYoung(start: number, end: number): boolean {
    return this.#device.testYoung(start, end, false);
  }

  clearYoung(start: number, end: number): boolean {
    return this.#device.testYoung(start, end, true);
  }
}
