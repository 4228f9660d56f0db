// /proc/PID/maps and the VmFlags line of /proc/PID/smaps, as fs/proc/task_mmu.c prints them. mmapLock held for read.

import {
  VM_ACCOUNT,
  VM_DONTCOPY,
  VM_DONTDUMP,
  VM_DONTEXPAND,
  VM_EXEC,
  VM_GROWSDOWN,
  VM_HUGEPAGE,
  VM_HUGETLB,
  VM_IO,
  VM_LOCKED,
  VM_LOCKONFAULT,
  VM_MAYEXEC,
  VM_MAYREAD,
  VM_MAYSHARE,
  VM_MAYWRITE,
  VM_MERGEABLE,
  VM_MIXEDMAP,
  VM_NOHUGEPAGE,
  VM_NORESERVE,
  VM_PFNMAP,
  VM_RAND_READ,
  VM_READ,
  VM_SEALED,
  VM_SEQ_READ,
  VM_SHARED,
  VM_SOFTDIRTY,
  VM_SYNC,
  VM_UFFD_MINOR,
  VM_UFFD_MISSING,
  VM_UFFD_WP,
  VM_WIPEONFORK,
  VM_WRITE,
} from '../../abi/mman.ts';
import type { MmStruct, VmArea } from '../types.ts';

const NAME_COLUMN = 73;

/** Mnemonics in the order of the bits, as the kernel loops over them. */
const VM_FLAG_NAMES: readonly (readonly [number, string])[] = [
  [VM_READ, 'rd'],
  [VM_WRITE, 'wr'],
  [VM_EXEC, 'ex'],
  [VM_SHARED, 'sh'],
  [VM_MAYREAD, 'mr'],
  [VM_MAYWRITE, 'mw'],
  [VM_MAYEXEC, 'me'],
  [VM_MAYSHARE, 'ms'],
  [VM_GROWSDOWN, 'gd'],
  [VM_UFFD_MISSING, 'um'],
  [VM_PFNMAP, 'pf'],
  [VM_UFFD_WP, 'uw'],
  [VM_LOCKED, 'lo'],
  [VM_IO, 'io'],
  [VM_SEQ_READ, 'sr'],
  [VM_RAND_READ, 'rr'],
  [VM_DONTCOPY, 'dc'],
  [VM_DONTEXPAND, 'de'],
  [VM_LOCKONFAULT, 'lf'],
  [VM_ACCOUNT, 'ac'],
  [VM_NORESERVE, 'nr'],
  [VM_HUGETLB, 'ht'],
  [VM_SYNC, 'sf'],
  [VM_WIPEONFORK, 'wf'],
  [VM_DONTDUMP, 'dd'],
  [VM_SOFTDIRTY, 'sd'],
  [VM_MIXEDMAP, 'mm'],
  [VM_HUGEPAGE, 'hg'],
  [VM_NOHUGEPAGE, 'nh'],
  [VM_MERGEABLE, 'mg'],
  [VM_UFFD_MINOR, 'ui'],
  [VM_SEALED, 'sl'],
];

function hex(value: number, width: number): string {
  return value.toString(16).padStart(width, '0');
}

/** "rw-p". */
export function vmaPerms(vma: VmArea): string {
  const f = vma.flags;
  return (
    ((f & VM_READ) !== 0 ? 'r' : '-') +
    ((f & VM_WRITE) !== 0 ? 'w' : '-') +
    ((f & VM_EXEC) !== 0 ? 'x' : '-') +
    ((f & VM_MAYSHARE) !== 0 ? 's' : 'p')
  );
}

/** What the last column names: a path, "[heap]", "[stack]", a special mapping, or "". `isHeapStrict`: Profile.heapNameStrict. */
export function vmaName(vma: VmArea, isHeapStrict = false): string {
  const file = vma.file ?? vma.shownFile;
  if (file !== null) {
    const { inode } = file;
    return inode.path.replaceAll('\n', '\\012') + (inode.isDeleted ? ' (deleted)' : '');
  }
  if (vma.name !== null) return vma.name;
  const mm = vma.mm;
  const isHeap = isHeapStrict
    ? vma.start < mm.brk && vma.end > mm.startBrk
    : vma.start <= mm.brk && vma.end >= mm.startBrk;
  if (isHeap) return '[heap]';
  if (vma.start <= mm.startStack && vma.end >= mm.startStack) return '[stack]';
  return '';
}

/** One line of /proc/PID/maps, without its newline. */
export function mapsLine(vma: VmArea, isHeapStrict = false): string {
  const inode = (vma.file ?? vma.shownFile)?.inode ?? null;
  const offset = inode === null ? 0 : vma.pgoff * 4096;
  const device = inode === null ? '00:00' : `${hex(inode.major, 2)}:${hex(inode.minor, 2)}`;
  const line = `${hex(vma.start, 8)}-${hex(vma.end, 8)} ${vmaPerms(vma)} ${hex(offset, 8)} ${device} ${inode?.id ?? 0} `;
  const name = vmaName(vma, isHeapStrict);
  return name === '' ? line : `${line.slice(0, -1).padEnd(NAME_COLUMN - 1)} ${name}`;
}

/** /proc/PID/maps: every line ends with a newline. */
export function procMaps(mm: MmStruct, isHeapStrict = false): string {
  let text = '';
  for (let v = mm.vmas.first(); v !== null; v = v.treeNext as VmArea | null) text += `${mapsLine(v, isHeapStrict)}\n`;
  return text;
}

/** The mnemonics of smaps' VmFlags line: "rd wr mr mw me ac sd". `namesLockOnFault`: Profile.smapsNamesLockOnFault. */
export function vmFlagNames(vma: VmArea, namesLockOnFault = true): string {
  const names: string[] = [];
  for (const [bit, name] of VM_FLAG_NAMES) {
    if (bit === VM_UFFD_WP && vma.maybeGuard) names.push('gu');
    if ((vma.flags & bit) !== 0) names.push(name === 'lf' && !namesLockOnFault ? '??' : name);
  }
  return names.join(' ');
}
