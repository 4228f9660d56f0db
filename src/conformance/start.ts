// The address space that a recorded program starts with, from the first `maps` and `pages` records: text, the scratch block shared
// with the controller, vvar, vdso, stack, and which of their pages are in place.

import { VM_WRITE } from '../abi/mman.ts';
import { touchPage } from '../mm/cpu-access.ts';
import { filemapGetPage } from '../mm/file/page-cache.ts';
import { PG_ANON } from '../mm/page/pages.ts';
import type { AreaLayout, ProgramLayout } from '../mm/process/layout.ts';
import { createProcess } from '../mm/process/task.ts';
import { lruDeactivate } from '../mm/reclaim/lru.ts';
import { memCgroupAttach } from '../mm/reclaim/mem-cgroup.ts';
import type { Inode, Task } from '../mm/types.ts';
import { openInode } from '../mm/vma/shmem-file.ts';
import { address, type TraceRecord } from './record.ts';
import { residencyOf } from './residency.ts';
import { CONTROLLER, type World } from './world.ts';

const DELETED = ' (deleted)';
/** Descriptors that the target has when a script begins. */
const FIRST_FREE_FD = 5;
/** Metadata of the file systems that are in use. */
const METADATA_PAGES = 32;

type Area = readonly [start: string, end: string, perms: string, offset: string, name: string, flags: string];

/** The file behind a name in maps. */
export function inodeOfName(world: World, name: string): Inode {
  const isDeleted = name.endsWith(DELETED);
  const path = isDeleted ? name.slice(0, -DELETED.length) : name;
  const inode = world.inode(path, isDeleted ? 'shmem' : 'regular', 0);
  if (isDeleted && !inode.isDeleted) {
    inode.isDeleted = true;
    inode.linkCount = 0;
    inode.isNoReserve = true;
  }
  return inode;
}

/** The layout of a `maps` record. Files are made as long as their mappings need. */
export function layoutOf(world: World, record: TraceRecord): ProgramLayout {
  const areas = (record['vmas'] as readonly Area[]).map(([start, end, perms, offset, name]) => {
    const area = { start: address(start), end: address(end), perms, offset: address(offset), path: name };
    if (name !== '' && !name.startsWith('[')) {
      const inode = inodeOfName(world, name);
      inode.size = Math.max(inode.size, area.offset + area.end - area.start);
      if (inode.kind === 'regular') inode.mapping.patternEnd = inode.size;
    }
    return area;
  });
  return { areas, inodeOf: (path) => inodeOfName(world, path) };
}

type Span = { readonly start: number; readonly end: number };

/** Where a `pages` record says that pages are present. */
function presentIn(record: TraceRecord): Span[] {
  const runs = record['d'] as readonly (readonly [string, number, string])[];
  return runs
    .filter(([, , letters]) => letters.includes('P'))
    .map(([at, count]) => ({ start: address(at), end: address(at) + count * 4096 }));
}

/** Brings the program to its start, with these pages in place: exec has written those of the stack; the rest is mapped by the program
 *  itself (its text by running, the scratch block by MAP_POPULATE: a fault for as many pages as are mapped around it), which then writes
 *  what it shares. */
function populate(world: World, task: Task, spans: readonly Span[]): void {
  const isAnon = ({ start }: Span): boolean => task.mm!.vmas.find(start)?.file === null;
  for (const { start, end } of spans.filter(isAnon)) touchAll(world, task, start, end, true);
  endExec(world, task);
  for (const isWrite of [false, true])
    for (const { start, end } of spans.filter((s) => !isAnon(s))) touchAll(world, task, start, end, isWrite);
}

/** The file systems were mounted: their bitmaps and inode tables are in the page cache, held and in use, so the machine has active file
 *  pages. That is what decides whether a page is activated that was evicted for the machine's sake and comes back at once. */
function mountFileSystem(world: World): void {
  const { kernel: k } = world;
  const { mapping } = k.newInode('regular', 'metadata', METADATA_PAGES * 4096);
  for (let index = 0; index < METADATA_PAGES; index++) {
    const page = world.run(filemapGetPage(k, mapping, index));
    for (let use = 0; use < 2; use++) k.fn.markPageAccessed(k, page);
  }
  k.reclaim.flushStatsNow();
}

/** Makes the first process and the controller, which maps the scratch block too. Recording is off meanwhile. */
export function startScript(world: World, prologue: readonly TraceRecord[]): void {
  const maps = prologue.find((r) => r.t === 'maps');
  const pages = prologue.find((r) => r.t === 'pages');
  if (maps === undefined) throw new Error('conformance: the recording has no first maps');
  mountFileSystem(world);
  const layout = layoutOf(world, maps);
  world.kernel.config.vsyscall = layout.areas.some((a) => a.path === '[vsyscall]');
  const text = layout.areas.find((a) => a.perms === 'r-xp' && !a.path.startsWith('['));
  if (text !== undefined) world.programs.set(text.path, layout);
  const shared = layout.areas.filter((a) => a.perms === 'rw-s');
  // The controller is a program with a C library, which has read the header of the kernel's image.
  const image = layout.areas.filter((a) => a.path === '[vdso]');
  const controller = world.run(createProcess(world.kernel, { ...layout, areas: [...shared, ...image] }));
  world.addProcess(CONTROLLER, controller);
  const p = world.addProcess(String(maps['p']), world.run(createProcess(world.kernel, layout)));
  memCgroupAttach(world.kernel, p.task.mm!, world.group);
  for (let fd = 0; fd < FIRST_FREE_FD; fd++) {
    p.task.files.open.set(fd, openInode(world.kernel.newInode('pipe', 'pipe:', 0), true, true));
  }
  world.switchTo(world.process(CONTROLLER));
  for (const a of shared) touchAll(world, controller, a.start, a.end, true);
  for (const a of image.map(firstPage)) touchAll(world, controller, a.start, a.end, false);
  world.switchTo(p);
  populate(world, p.task, pages === undefined ? touchedByDefault(layout.areas) : presentIn(pages));
  if (pages !== undefined)
    for (const { page } of residencyOf(world.kernel, p.task.mm!).values()) world.capture.see(page);
  world.capture.isOn = true;
}

/** exec copied the arguments string by string, so the stack's page has been used often (get_arg_page): it is active. Not so where
 *  generations tell: the stack was VM_STACK_INCOMPLETE_SETUP, so that its pages do not count as faulted in; and the counts of its faults
 *  are in mm_struct already (sync_mm_rss). */
function endExec(world: World, task: Task): void {
  const { pages, reclaim, fn } = world.kernel;
  const { lruGen } = reclaim;
  for (let pfn = 1; pfn < pages.count; pfn++) {
    if ((pages.flags[pfn]! & PG_ANON) === 0 || pages.memcg[pfn] !== task.mm!.memcg) continue;
    if (lruGen !== null) lruDeactivate(world.kernel, pfn);
    else for (let use = 0; use < 2; use++) fn.markPageAccessed(world.kernel, pfn);
  }
  lruGen?.used.delete(task.mm!);
  // exit_mmap of the address space before.
  reclaim.drainJoining();
}

/** What the target has touched before a script starts, when the recording does not say: its text, the scratch block and the page
 *  of the stack that holds its arguments. */
function touchedByDefault(areas: readonly AreaLayout[]): Span[] {
  return areas
    .filter((a) => !a.path.startsWith('[') || a.path === '[stack]')
    .map((a) => (a.path === '[stack]' ? { start: a.end - 4096, end: a.end } : a));
}

function firstPage(area: AreaLayout): Span {
  return { start: area.start, end: area.start + 4096 };
}

/** Reads the pages, or writes those that may be written. */
function touchAll(world: World, task: Task, start: number, end: number, isWrite: boolean): void {
  for (let va = start; va < end; va += 4096) {
    const isWritable = ((task.mm!.vmas.find(va)?.flags ?? 0) & VM_WRITE) !== 0;
    if (!isWrite || isWritable) world.run(touchPage(world.kernel, task.mm!, task.cpu, va, isWrite));
  }
}
