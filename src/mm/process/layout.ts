// An address space as execve leaves it, built from a list of areas such as /proc/PID/maps shows. Kernel: what
// load_elf_binary, setup_arg_pages, arch_setup_additional_pages and setup_new_exec make.

import {
  TASK_SIZE,
  VM_ACCOUNT,
  VM_DONTDUMP,
  VM_DONTEXPAND,
  VM_EXEC,
  VM_GROWSDOWN,
  VM_IO,
  VM_MAYEXEC,
  VM_MAYREAD,
  VM_MAYSHARE,
  VM_MAYWRITE,
  VM_PFNMAP,
  VM_READ,
  VM_SHARED,
  VM_SOFTDIRTY,
  VM_WRITE,
} from '../../abi/mman.ts';
import { InputError } from '../../base/assert.ts';
import type { KernelPath } from '../../sched/path.ts';
import type { Kernel } from '../kernel.ts';
import { inheritedMdwe } from '../syscalls/prctl.ts';
import type { Inode, MmStruct, OpenFile } from '../types.ts';
import { VmArea } from '../types.ts';
import { vmEnoughMemory, vmStatAccount } from '../vma/account.ts';
import { fput } from '../vma/adjust.ts';
import { isAccountable, setPageProt } from '../vma/flags.ts';
import { openInode } from '../vma/shmem-file.ts';
import { getFile, insertVma } from '../vma/split.ts';
import { LEGACY_BASE, mmapBase } from '../vma/unmapped-area.ts';

/** One area of a program. */
export interface AreaLayout {
  readonly start: number;
  readonly end: number;
  /** As in /proc/PID/maps: "r-xp". */
  readonly perms: string;
  /** Offset in the file, bytes. */
  readonly offset: number;
  /** Path of the file; "" for anonymous; "[stack]", "[heap]", "[vdso]", "[vvar]" ... */
  readonly path: string;
}

export interface ProgramLayout {
  /** Ascending. Areas outside of user space ([vsyscall]) are left out. */
  readonly areas: readonly AreaLayout[];
  /** start_brk; without it the end of the areas that follow the program's first one without a hole, or of [heap]'s start. */
  readonly startBrk?: number;
  readonly brk?: number;
  /** An address in [stack] (mm->start_stack); default: its last page. */
  readonly startStack?: number;
  /** mm->mmap_base; default: from RLIMIT_STACK. */
  readonly mmapBase?: number;
  /** The inode behind a path: default finds one with that path, or makes a regular file large enough. */
  readonly inodeOf?: (path: string) => Inode;
}

/** A new mm with that layout. `old`: the address space that it follows (its limits stay), null for the first one. Null when
 *  no frame is free. Throws InputError for areas that overlap or are not page aligned. */
export function* buildMm(k: Kernel, layout: ProgramLayout, old: MmStruct | null): KernelPath<MmStruct | null> {
  checkAreas(layout.areas);
  const mm = yield* k.mmAlloc();
  if (mm === null) return null;
  if (old !== null) {
    mm.limits = { ...old.limits };
    mm.mdwe = inheritedMdwe(old.mdwe);
  }
  mm.mmapBase = layout.mmapBase ?? mmapBase(mm.limits.stack, k.config.stackGuardGap);
  mm.legacyBase = LEGACY_BASE;
  const files = new Map<string, OpenFile>();
  let brk = 0;
  for (const area of layout.areas) {
    if (area.end > TASK_SIZE) continue;
    const vma = makeVma(k, mm, area, layout, files);
    yield* insertVma(k, mm, vma);
    if (k.uprobes.length > 0) yield* k.fn.uprobeMmap(k, vma);
    if (area.path === '[heap]') brk = area.start;
    if (area.path === '[stack]') mm.startStack = layout.startStack ?? area.end - 4096;
  }
  for (const file of files.values()) fput(k, file);
  mm.startBrk = layout.startBrk ?? (brk !== 0 ? brk : endOfProgram(mm));
  const heapEnd = layout.areas.find((a) => a.path === '[heap]')?.end ?? mm.startBrk;
  mm.brk = layout.brk ?? heapEnd;
  mm.startCode = mm.vmas.first()?.start ?? 0;
  return mm;
}

function checkAreas(areas: readonly AreaLayout[]): void {
  let end = 0;
  for (const a of areas) {
    const at = `${a.start.toString(16)}-${a.end.toString(16)} ${a.path}`;
    if (a.start % 4096 !== 0 || a.end % 4096 !== 0 || a.start >= a.end)
      throw new InputError(`program layout: area ${at} is not a range of whole pages`);
    if (a.start < end) throw new InputError(`program layout: area ${at} overlaps the one before it`);
    if (!/^[r-][w-][x-][ps]$/.test(a.perms))
      throw new InputError(`program layout: area ${at}: "${a.perms}" are not permissions such as "r-xp"`);
    end = a.end;
  }
}

/** End of the run of areas without a hole that begins with the first one: where bss ends. */
function endOfProgram(mm: MmStruct): number {
  let v = mm.vmas.first();
  while (v !== null && v.treeNext !== null && v.treeNext.start === v.end) v = v.treeNext;
  return v === null ? 0 : v.end;
}

function makeVma(
  k: Kernel,
  mm: MmStruct,
  area: AreaLayout,
  layout: ProgramLayout,
  files: Map<string, OpenFile>,
): VmArea {
  const { start, end, perms, path } = area;
  let flags = VM_MAYREAD | VM_MAYWRITE | VM_MAYEXEC | VM_SOFTDIRTY;
  if (perms[0] === 'r') flags |= VM_READ;
  if (perms[1] === 'w') flags |= VM_WRITE;
  if (perms[2] === 'x') flags |= VM_EXEC;
  if (perms[3] === 's') flags |= VM_SHARED | VM_MAYSHARE;
  // setup_arg_pages gives the stack its flags anew, without VM_SOFTDIRTY.
  if (path === '[stack]') flags = (flags & ~VM_SOFTDIRTY) | VM_GROWSDOWN;
  const isSpecial = path === '[vdso]' || path.startsWith('[vvar');
  if (path.startsWith('[vvar')) flags = (flags & ~(VM_MAYWRITE | VM_MAYEXEC)) | VM_IO | VM_PFNMAP | VM_DONTDUMP;
  if (isSpecial) flags |= VM_DONTEXPAND;
  const pages = (end - start) / 4096;
  if (isAccountable(flags) && !isSpecial && vmEnoughMemory(k, mm, pages) === 0) flags |= VM_ACCOUNT;
  const isFile = path !== '' && !path.startsWith('[');
  const file = isFile ? fileOf(k, area, layout, files) : null;
  getFile(file);
  const pgoff = isFile ? area.offset / 4096 : isSpecial ? 0 : start / 4096;
  const vma = new VmArea(mm, start, end, flags, file, pgoff, k.config.stackGuardGap);
  if (isSpecial) vma.name = path;
  setPageProt(vma);
  vmStatAccount(mm, flags, pages);
  return vma;
}

/** One open file for each path; the reference in `files` goes when the list is done. */
function fileOf(k: Kernel, area: AreaLayout, layout: ProgramLayout, files: Map<string, OpenFile>): OpenFile {
  const known = files.get(area.path);
  const inode = known?.inode ?? layout.inodeOf?.(area.path) ?? findInode(k, area.path);
  const sizeNeeded = area.offset + (area.end - area.start);
  if (layout.inodeOf === undefined && inode.size < sizeNeeded) inode.size = sizeNeeded;
  if (known !== undefined) return known;
  const file = openInode(inode, true, area.perms[3] === 's' && area.perms[1] === 'w');
  files.set(area.path, file);
  return file;
}

function findInode(k: Kernel, path: string): Inode {
  for (const inode of k.inodes.values()) if (inode.path === path && !inode.isDeleted) return inode;
  return k.newInode('regular', path, 0);
}
