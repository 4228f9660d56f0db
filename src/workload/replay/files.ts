// What the recorded calls say about files: which inode a descriptor stands for, and how large it is. The file system itself is
// not modelled: results of open, stat, read and write are input. Paths come from -y where strace printed them.

import type { Kernel } from '../../mm/kernel.ts';
import { type FileKind, type Inode, OpenFile, type Task } from '../../mm/types.ts';

const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;
const S_IFCHR = 0o020000;

const O_ACCMODE = 3;
const O_CREAT = 0o100;
const O_TRUNC = 0o1000;
const O_APPEND = 0o2000;
const O_PATH = 0o10000000;
const O_DIRECTORY = 0o200000;
/** Folders that every system has. */
const FOLDERS = new Set(['/', '/tmp', '/proc', '/sys', '/dev', '/etc', '/usr', '/dev/shm']);

const F_SEAL_SEAL = 1;

/** Joins a relative path to a directory and removes "." and "..". */
export function resolvePath(directory: string, path: string): string {
  const parts = (path.startsWith('/') ? path : `${directory}/${path}`).split('/');
  const out: string[] = [];
  for (const part of parts) {
    if (part === '' || part === '.') continue;
    if (part === '..') out.pop();
    else out.push(part);
  }
  return `/${out.join('/')}`;
}

function kindOfPath(path: string): FileKind {
  if (path.startsWith('/dev/shm/') || path.startsWith('/memfd:')) return 'shmem';
  if (path === '/dev/zero') return 'zero';
  if (FOLDERS.has(path) || path.startsWith('/proc/self/fd')) return 'directory';
  if (path.startsWith('/dev/')) return 'device';
  return 'regular';
}

/** What a descriptor stands for that no open made, by the name that strace gives it. */
export function kindOfDescriptor(name: string): FileKind {
  if (name.startsWith('pipe:')) return 'pipe';
  return /^(socket|UNIX|TCP|UDP|NETLINK|RAW)/.test(name) ? 'socket' : 'anon';
}

/** The files of a recording by path. */
export class ReplayFiles {
  readonly #kernel: Kernel;
  readonly #byPath = new Map<string, Inode>();
  /** Working directories, as far as calls told them; a child begins with its parent's. */
  readonly cwd = new WeakMap<Task, string>();
  /** Inodes whose size no call has told yet. */
  readonly #sizeUnknown = new Set<Inode>();

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** The inode that the path names now; made on first sight. */
  inode(path: string): Inode {
    let inode = this.#byPath.get(path);
    if (inode === undefined) {
      inode = this.#kernel.newInode(kindOfPath(path), path, 0);
      if (path.startsWith('/dev/shm/')) inode.mount = 'tmpfs';
      if (inode.kind === 'shmem') inode.seals = F_SEAL_SEAL;
      this.#byPath.set(path, inode);
      this.#sizeUnknown.add(inode);
    }
    return inode;
  }

  /** The inode that the path names, if the recording has named it before. */
  known(path: string): Inode | null {
    return this.#byPath.get(path) ?? null;
  }

  /** A successful open. */
  open(path: string, flags: number): OpenFile {
    return this.openInode(this.inode(path), flags);
  }

  openInode(inode: Inode, flags: number): OpenFile {
    const mode = flags & O_ACCMODE;
    if ((flags & O_DIRECTORY) !== 0) inode.kind = 'directory';
    if ((flags & O_TRUNC) !== 0 && mode !== 0) this.setSize(inode, 0);
    else if ((flags & O_CREAT) !== 0 && inode.size === 0 && !this.#sizeUnknown.has(inode)) inode.size = 0;
    if ((flags & O_PATH) !== 0) return new OpenFile(inode, false, false, false, true);
    return new OpenFile(inode, mode !== 1, mode !== 0, (flags & O_APPEND) !== 0);
  }

  setSize(inode: Inode, size: number): void {
    inode.size = size;
    this.#sizeUnknown.delete(inode);
  }

  /** A file is at least this long (a read, write or mapping reached there). */
  growTo(inode: Inode, size: number): void {
    if (inode.size < size) inode.size = size;
  }

  /** What stat said. Sizes of files that were mapped or written are only believed when they were unknown. */
  stat(inode: Inode, mode: number | null, size: number | null): void {
    if (mode !== null && (mode & S_IFMT) === S_IFDIR) inode.kind = 'directory';
    if (mode !== null && (mode & S_IFMT) === S_IFCHR && inode.kind !== 'zero') inode.kind = 'device';
    if (mode !== null && (mode & S_IFMT) === S_IFREG && size !== null && !Number.isNaN(size)) this.setSize(inode, size);
  }

  /** mmap of a file whose size nobody told: it reaches at least to the end of the mapping. */
  noteMapping(inode: Inode, end: number): void {
    if (this.#sizeUnknown.has(inode)) this.growTo(inode, end);
  }

  unlink(path: string): void {
    const inode = this.#byPath.get(path);
    if (inode === undefined) return;
    inode.isDeleted = true;
    inode.linkCount = 0;
    this.#byPath.delete(path);
  }

  rename(from: string, to: string): void {
    const inode = this.#byPath.get(from);
    this.unlink(to);
    if (inode === undefined) return;
    this.#byPath.delete(from);
    inode.path = to;
    this.#byPath.set(to, inode);
  }

  /** Open file of a descriptor, or null. */
  static of(task: Task, fd: number): OpenFile | null {
    return task.files.open.get(fd) ?? null;
  }
}
