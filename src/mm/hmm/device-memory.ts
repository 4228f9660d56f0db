// Memory of a device as pages of the kernel (include/linux/memremap.h, mm/memremap.c; MEMORY_DEVICE_PRIVATE). The frames stand behind those
// of RAM: they have a struct page, and bytes that only the device and kernel copies reach, but no entry that a CPU can use names
// one. They are on no LRU list and in no cache; a page that loses its last reference goes back to its driver.
//
// Kernel names: memremap_pages, struct dev_pagemap, zone_device_page_init, free_zone_device_page.

import { assert } from '../../base/assert.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { tryLockPage } from '../page/page-lock.ts';
import { notePage } from '../rmap/rmap.ts';
import type { VmArea } from '../types.ts';

/** dev_pagemap_ops: what the driver does. */
export interface DevPagemapOps {
  /** A CPU touched a page of device memory: the driver migrates it to RAM (migrateVmaSetup ...). mmapLock held for read. VM_FAULT_*. */
  migrateToRam(k: Kernel, vma: VmArea, address: number, pfn: number, flags: number): KernelPath<number>;
}

/** struct dev_pagemap: frames [first, end) of one driver. */
export class DevPagemap {
  readonly first: number;
  readonly end: number;
  /** Compared by identity: whose pages a migration or an hmm_range_fault is about. */
  readonly owner: object;
  readonly ops: DevPagemapOps;
  /** Frames that hold nothing, the next one to be used at the end. */
  readonly free: number[] = [];

  constructor(first: number, end: number, owner: object, ops: DevPagemapOps) {
    this.first = first;
    this.end = end;
    this.owner = owner;
    this.ops = ops;
    for (let pfn = end - 1; pfn >= first; pfn--) this.free.push(pfn);
  }
}

/** Frames of device memory that no driver has yet. */
export function devicePagesLeft(k: Kernel): number {
  return k.pages.end - firstLeft(k);
}

function firstLeft(k: Kernel): number {
  const last = k.pagemaps.at(-1);
  return last === undefined ? k.pages.count : last.end;
}

/** memremap_pages: `count` frames of device memory for a driver; null when the configuration has not so many left
 *  (devicePrivatePages). */
export function memremapPages(k: Kernel, count: number, owner: object, ops: DevPagemapOps): DevPagemap | null {
  const first = firstLeft(k);
  if (count > devicePagesLeft(k)) return null;
  const pagemap = new DevPagemap(first, first + count, owner, ops);
  k.pagemaps.push(pagemap);
  return pagemap;
}

/** page->pgmap. */
export function pagemapOf(k: Kernel, pfn: number): DevPagemap {
  const pagemap = k.pagemaps.find((p) => pfn >= p.first && pfn < p.end);
  assert(pagemap !== undefined, 'pagemapOf: the frame belongs to a device');
  return pagemap;
}

/** zone_device_page_init: a free frame of the device, locked, with one reference; 0 when none is left. */
export function allocDevicePage(k: Kernel, pagemap: DevPagemap): number {
  // The first frame stands for the list.
  notePage(k, pagemap.first);
  const pfn = pagemap.free.pop();
  if (pfn === undefined) return 0;
  notePage(k, pfn);
  k.pages.refcount[pfn] = 1;
  tryLockPage(k, pfn);
  return pfn;
}

/** free_zone_device_page: the last reference is gone. */
export function freeZoneDevicePage(k: Kernel, pfn: number): void {
  const { pages } = k;
  assert(pages.mapcount[pfn] === 0, 'freeZoneDevicePage: nobody maps the page');
  pages.mapping[pfn] = null;
  pages.flags[pfn] = 0;
  k.memory.generation[pfn] = k.memory.generation[pfn]! + 1;
  const pagemap = pagemapOf(k, pfn);
  notePage(k, pagemap.first);
  pagemap.free.push(pfn);
}
