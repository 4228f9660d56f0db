// The address space that a recorded program starts with, from the first `maps` and `pages` records: text, the scratch block shared
// with the controller, vvar, vdso, stack, and which of their pages are in place.

import { VM_WRITE } from '../abi/mman.ts';
import { touchPage } from '../mm/cpu-access.ts';
import { filemapGetPage } from '../mm/file/page-cache.ts';
import { PG_ANON } from '../mm/page/pages.ts';
import type { AreaLayout, ProgramLayout } from '../mm/process/layout.ts';
import { createProcess } from '../mm/process/task.ts';
import { lruDeactivate } from '../mm/reclaim/lru.ts';
import { MmUse } from '../mm/reclaim/lru-gen-walk.ts';
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

/** Touches the pages that a `pages` record says are present. Written where that is allowed, so that they are the process's own. */
export function populate(world: World, task: Task, record: TraceRecord): void {
  for (const [at, count, letters] of record['d'] as readonly (readonly [string, number, string])[]) {
    if (!letters.includes('P')) continue;
    for (let i = 0; i < count; i++) {
      const va = address(at) + i * 4096;
      const vma = task.mm!.vmas.find(va);
      const isWrite = vma !== null && (vma.flags & VM_WRITE) !== 0;
      world.run(touchPage(world.kernel, task.mm!, task.cpu, va, isWrite));
    }
  }
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
  for (const task of [controller, p.task]) {
    world.switchTo(task === controller ? world.process(CONTROLLER) : p);
    if (pages !== undefined && task === p.task) populate(world, task, pages);
    else
      for (const a of task === controller ? [...shared, ...image.map(firstPage)] : touchedByDefault(layout.areas))
        touchAll(world, task, a.start, a.end);
  }
  activateStack(world, p.task);
  if (world.kernel.reclaim.lruGen !== null) beginUse(world, p.task);
  for (const { page } of residencyOf(world.kernel, p.task.mm!).values()) world.capture.see(page);
  world.capture.isOn = true;
}

/** exec copied the arguments string by string, so the stack's page has been used often (get_arg_page): it is active. */
function activateStack(world: World, task: Task): void {
  const { pages } = world.kernel;
  for (let pfn = 1; pfn < pages.count; pfn++) {
    const isAnon = (pages.flags[pfn]! & PG_ANON) !== 0;
    if (!isAnon || pages.memcg[pfn] !== task.mm!.memcg) continue;
    for (let use = 0; use < 2; use++) world.kernel.fn.markPageAccessed(world.kernel, pfn);
  }
}

/** What the address space of a program that has just begun looks like to the aging of pages: exec has counted the stack's page in
 *  mm_struct itself; two faults, with those around, mapped the text and the scratch block. Nothing of that was a hot page. */
function beginUse(world: World, task: Task): void {
  const { used } = world.kernel.reclaim.lruGen!;
  const use = new MmUse();
  use.events = 2;
  used.set(task.mm!, use);
  const { pages } = world.kernel;
  for (let pfn = 1; pfn < pages.count; pfn++) {
    if ((pages.flags[pfn]! & PG_ANON) === 0 || pages.memcg[pfn] !== task.mm!.memcg) continue;
    // The stack is VM_STACK_INCOMPLETE_SETUP while exec fills it, so its pages do not count as faulted in.
    lruDeactivate(world.kernel, pfn);
  }
}

/** What the target has touched before a script starts, when the recording does not say: its text, the scratch block and the page
 *  of the stack that holds its arguments. */
function touchedByDefault(areas: readonly AreaLayout[]): { start: number; end: number }[] {
  return areas
    .filter((a) => !a.path.startsWith('[') || a.path === '[stack]')
    .map((a) => (a.path === '[stack]' ? { start: a.end - 4096, end: a.end } : a));
}

function firstPage(area: AreaLayout): { start: number; end: number } {
  return { start: area.start, end: area.start + 4096 };
}

function touchAll(world: World, task: Task, start: number, end: number): void {
  for (let va = start; va < end; va += 4096) {
    const isWrite = ((task.mm!.vmas.find(va)?.flags ?? 0) & VM_WRITE) !== 0;
    world.run(touchPage(world.kernel, task.mm!, task.cpu, va, isWrite));
  }
}
