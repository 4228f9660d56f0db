// Files of a recorded program: which descriptor stands for which file, from the calls that open, copy and close them. What the
// calls do to contents is not followed; page caches are learned from what the recording maps.

import { PG_READAHEAD } from '../../mm/page/pages.ts';
import { closeFd, dup2Fd, placeFile } from '../../mm/process/files.ts';
import type { AddressSpace, Inode, MmStruct } from '../../mm/types.ts';
import { fput } from '../../mm/vma/adjust.ts';
import { openInode } from '../../mm/vma/shmem-file.ts';
import type { KernelPath } from '../../sched/path.ts';
import { address, type TraceRecord } from '../record.ts';
import type { Process, World } from '../world.ts';
import type { Learned } from './learned.ts';

const O_CLOEXEC = 0x80000;

function baseName(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

export class ProgramFiles {
  readonly #world: World;
  /** Full paths by last component: the first areas of a program are known by that alone. */
  readonly #paths = new Map<string, string>();
  /** Page indices that the recording has shown, by file. */
  readonly #indices = new Map<AddressSpace, Set<number>>();
  readonly #learned: Learned;

  constructor(world: World, learned: Learned) {
    this.#world = world;
    this.#learned = learned;
  }

  /** The file of a path, or of the last component of one. */
  inode(path: string): Inode {
    const base = baseName(path);
    const known = this.#paths.get(base);
    if (known === undefined) this.#paths.set(base, path);
    const isOther = known?.startsWith('/') === true && path.startsWith('/') && known !== path;
    return this.#world.inode(isOther ? path : base);
  }

  /** A system call of which nothing is judged has returned. */
  *sysret(p: Process, sys: TraceRecord, ret: TraceRecord): KernelPath<void> {
    const name = String(sys['name']);
    const args = sys['args'] as readonly string[];
    const result = typeof ret['ret'] === 'string' ? address(ret['ret']) : Number(ret['ret']);
    if (Number.isNaN(result) || result < 0) return;
    const { kernel } = this.#world;
    const { task } = p;
    if (name === 'open' || name === 'openat') {
      const flags = address(args[name === 'open' ? 1 : 2]);
      const file = openInode(this.inode(String(sys['path'] ?? `fd ${result}`)), true, (flags & 3) !== 0);
      yield* placeFile(kernel, task, result, file, (flags & O_CLOEXEC) !== 0);
      fput(kernel, file);
    } else if (name === 'close') yield* closeFd(kernel, task, address(args[0]));
    else if (name === 'dup2' || name === 'dup3') yield* dup2Fd(kernel, task, address(args[0]), result);
    else if (name === 'dup' || (name === 'fcntl' && (address(args[1]) === 0 || address(args[1]) === 0x406)))
      yield* dup2Fd(kernel, task, address(args[0]), result);
  }

  /** The file page that `mm` maps at `va`; null where no file is mapped. */
  #place(mm: MmStruct, va: number): { mapping: AddressSpace; index: number } | null {
    const vma = mm.vmas.findExact(va);
    if (vma === null || vma.file === null || vma.file.inode.kind !== 'regular') return null;
    return { mapping: vma.file.inode.mapping, index: vma.pgoff + Math.floor((va - vma.start) / 4096) };
  }

  /** Puts the file page that `mm` maps at `va` into the page cache. `isMarked`: as the one that starts the next read-ahead. */
  learn(mm: MmStruct, va: number, isMarked = false): void {
    const place = this.#place(mm, va);
    if (place === null) return;
    const { mapping, index } = place;
    this.#known(mapping).add(index);
    if (mapping.pages.has(index)) return;
    this.#learned.filePages++;
    const { kernel, capture } = this.#world;
    const wasOn = capture.isOn;
    capture.isOn = false;
    if (mapping.inode.size < (index + 1) * 4096) mapping.inode.size = (index + 1) * 4096;
    const pfn = this.#world.run(kernel.fn.filemapGetPage(kernel, mapping, index));
    if (pfn > 0) {
      if (isMarked) kernel.pages.flags[pfn] = kernel.pages.flags[pfn]! | PG_READAHEAD;
      kernel.fn.putPage(kernel, pfn);
    }
    capture.isOn = wasOn;
  }

  #known(mapping: AddressSpace): Set<number> {
    let known = this.#indices.get(mapping);
    if (known === undefined) this.#indices.set(mapping, (known = new Set()));
    return known;
  }

  /** After a fault at `va` that had to read: what was read ahead goes again, as the recorded cache may have had it or not. */
  forgetReadAhead(mm: MmStruct, va: number): void {
    const place = this.#place(mm, va);
    if (place === null) return;
    const { kernel } = this.#world;
    const known = this.#known(place.mapping);
    known.add(place.index);
    for (const [index, pfn] of [...place.mapping.pages]) {
      if (known.has(index) || kernel.pages.mapcount[pfn]! > 0) continue;
      kernel.fn.deleteFromPageCache(kernel, pfn);
    }
  }

  /** The length of a file is at least what a mapping of it shows. */
  noteMapping(inode: Inode, end: number): void {
    const size = Math.ceil(end / 4096) * 4096;
    if (inode.kind === 'regular' && inode.size < size) inode.size = size;
  }
}
