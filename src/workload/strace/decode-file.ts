/** Decoders of the calls that make, use or drop descriptors and change files: they decide what a mapping of a file shows. */

import { add64, type Word64, word64FromNumber, ZERO64 } from '../word64.ts';
import { type ArgReader, CWD } from './arg-reader.ts';
import * as C from './constants.ts';
import type { Decoder } from './decode-memory.ts';
import { splitList } from './scan.ts';
import type { StatOp, TraceOp } from './trace-op.ts';
import { type FdRef, parseFd, parseFlags, parseIoVecs, parseStruct, parseText, parseWord } from './values.ts';

const O_CLOEXEC = 0x8_0000;
const NO_NAMES: C.ConstantTable = new Map();
const DUP_COMMANDS = new Set([0, 1030]);

/** Descriptor that a call returned, with the path that -y printed; null if it failed. */
export function resultFd(a: ArgReader): FdRef | null {
  return a.isOk && a.call.ret !== null
    ? parseFd(`${a.call.ret.lo | 0}${a.call.retExtra.startsWith('<') ? a.call.retExtra : ''}`)
    : null;
}

function fdopenOfResult(a: ArgReader): TraceOp {
  const fd = resultFd(a);
  return { op: 'fdopen', how: a.call.name, fds: fd === null ? [] : [fd] };
}

/** pipe, pipe2, socketpair: descriptors in `[3<..>, 4<..>]` at an argument. */
function fdopenOfArray(index: number): Decoder {
  return (a) => {
    const items = a.isOk ? splitList(a.raw(index)) : [];
    const fds: FdRef[] = [];
    for (const item of items ?? []) {
      const fd = parseFd(item);
      if (fd !== null) fds.push(fd);
    }
    if (a.isOk && fds.length !== 2) a.fail(index, 'not two descriptors');
    return { op: 'fdopen', how: a.call.name, fds };
  };
}

/** Descriptors may come in a message (SCM_RIGHTS). */
function recvmsg(a: ArgReader): TraceOp {
  const fds: FdRef[] = [];
  const start = a.args[1]?.indexOf('cmsg_type=SCM_RIGHTS, cmsg_data=[') ?? -1;
  if (start >= 0 && a.isOk) {
    for (const item of splitList(a.args[1]!.slice(a.args[1]!.indexOf('[', start))) ?? []) {
      const fd = parseFd(item);
      if (fd !== null) fds.push(fd);
    }
  }
  return fds.length === 0 ? { op: 'other', name: a.call.name } : { op: 'fdopen', how: a.call.name, fds };
}

function openat2(a: ArgReader): TraceOp {
  const fields = parseStruct(a.raw(2));
  return {
    op: 'open',
    how: 'openat2',
    dirFd: a.fd(0),
    path: a.text(1),
    flags: a.flagsOf(2, fields?.get('flags') ?? '?', C.OPEN),
    mode: parseFlags(fields?.get('mode') ?? '?', C.MODE),
  };
}

function fcntl(a: ArgReader): TraceOp {
  const cmd = a.flags(1, C.FCNTL).lo | 0;
  if (DUP_COMMANDS.has(cmd)) {
    // the least number prints like a descriptor, with a path if one is open there
    return { op: 'dup', fd: a.fd(0), newFd: null, minFd: parseFd(a.raw(2))?.fd ?? 0, isCloexec: cmd !== 0 };
  }
  const text = a.args[2];
  let arg: Word64 | null = null;
  if (text !== undefined && text[0] !== '{' && text[0] !== '[') {
    const table = cmd === 2 ? C.FD_FLAGS : cmd === 4 ? C.OPEN : cmd === 1033 ? C.SEALS : NO_NAMES;
    arg = table === NO_NAMES ? parseFlags(text, table) : a.flagsOf(2, text, table);
  }
  return { op: 'fcntl', fd: a.fd(0), cmd, arg };
}

function transfer(op: 'read' | 'write', offsetIndex: number | null): Decoder {
  return (a) => ({
    op,
    how: a.call.name,
    fd: a.fd(0),
    buffer: parseText(a.raw(1)),
    length: a.word(2),
    iov: null,
    offset: offsetIndex === null ? null : a.word(offsetIndex),
  });
}

function vectored(op: 'read' | 'write', offsetIndex: number | null): Decoder {
  return (a) => {
    const iov = parseIoVecs(a.raw(1));
    let length = ZERO64;
    for (const part of iov ?? []) length = add64(length, part.length);
    return {
      op,
      how: a.call.name,
      fd: a.fd(0),
      buffer: null,
      length,
      iov,
      offset: offsetIndex === null ? null : a.word(offsetIndex),
    };
  };
}

/** A position passed by pointer: `[4096]`, or NULL. */
function position(a: ArgReader, index: number): Word64 | null {
  const text = a.raw(index);
  const item = splitList(text)?.[0];
  if (item === undefined) return null;
  const word = parseWord(item.split(' => ')[0]!);
  if (word === null) a.fail(index, `'${text.slice(0, 60)}' is not a position`);
  return word;
}

function device(fields: ReadonlyMap<string, string> | null): {
  readonly major: number | null;
  readonly minor: number | null;
} {
  const match = /^makedev\((0x[0-9a-f]+|\d+), (0x[0-9a-f]+|\d+)\)$/.exec(fields?.get('st_dev') ?? '');
  if (match !== null) return { major: Number(match[1]), minor: Number(match[2]) };
  const major = parseWord(fields?.get('stx_dev_major') ?? '');
  const minor = parseWord(fields?.get('stx_dev_minor') ?? '');
  return { major: major?.lo ?? null, minor: minor?.lo ?? null };
}

function stat(fdIndex: number | null, pathIndex: number | null, bufIndex: number): Decoder {
  return (a) => {
    const fields = a.isOk ? parseStruct(a.raw(bufIndex)) : null;
    const field = (name: string): string => fields?.get(`st_${name}`) ?? fields?.get(`stx_${name}`) ?? '';
    const { major, minor } = device(fields);
    const modeText = field('mode');
    const op: StatOp = {
      op: 'stat',
      how: a.call.name,
      fd: fdIndex === null ? null : a.fd(fdIndex),
      path: pathIndex === null ? null : a.text(pathIndex),
      size: parseWord(field('size')),
      inode: parseWord(field('ino')),
      deviceMajor: major,
      deviceMinor: minor,
      mode: modeText === '' ? null : (parseFlags(modeText, C.MODE)?.lo ?? null),
    };
    return op;
  };
}

function namePair(op: 'rename' | 'link', isAt: boolean, flags: C.ConstantTable): Decoder {
  return (a) => ({
    op,
    oldDirFd: isAt ? a.fd(0) : CWD,
    oldPath: a.text(isAt ? 1 : 0),
    newDirFd: isAt ? a.fd(2) : CWD,
    newPath: a.text(isAt ? 3 : 1),
    flags: isAt && a.count > 4 ? a.flags(4, flags) : ZERO64,
  });
}

const FD_MAKERS =
  'socket accept accept4 eventfd eventfd2 epoll_create epoll_create1 signalfd signalfd4 timerfd_create inotify_init ' +
  'inotify_init1 fanotify_init perf_event_open io_uring_setup pidfd_open pidfd_getfd open_tree fsopen fsmount ' +
  'fspick mq_open open_by_handle_at bpf landlock_create_ruleset open_tree_attr';

export const FILE_DECODERS: Readonly<Record<string, Decoder>> = {
  open: (a) => ({
    op: 'open',
    how: 'open',
    dirFd: CWD,
    path: a.text(0),
    flags: a.flags(1, C.OPEN),
    mode: a.count > 2 ? a.flags(2, C.MODE) : null,
  }),
  openat: (a) => ({
    op: 'open',
    how: 'openat',
    dirFd: a.fd(0),
    path: a.text(1),
    flags: a.flags(2, C.OPEN),
    mode: a.count > 3 ? a.flags(3, C.MODE) : null,
  }),
  openat2,
  // creat is open with O_CREAT|O_WRONLY|O_TRUNC
  creat: (a) => ({
    op: 'open',
    how: 'creat',
    dirFd: CWD,
    path: a.text(0),
    flags: word64FromNumber(0x241),
    mode: a.flags(1, C.MODE),
  }),
  close: (a) => ({ op: 'close', fd: a.fd(0) }),
  close_range: (a) => ({ op: 'close_range', first: a.word(0), last: a.word(1), flags: a.flags(2, C.CLOSE_RANGE) }),
  dup: (a) => ({ op: 'dup', fd: a.fd(0), newFd: null, minFd: null, isCloexec: false }),
  dup2: (a) => ({ op: 'dup', fd: a.fd(0), newFd: a.fd(1), minFd: null, isCloexec: false }),
  dup3: (a) => ({
    op: 'dup',
    fd: a.fd(0),
    newFd: a.fd(1),
    minFd: null,
    isCloexec: (a.flags(2, C.OPEN).lo & O_CLOEXEC) !== 0,
  }),
  fcntl,
  pipe: fdopenOfArray(0),
  pipe2: fdopenOfArray(0),
  socketpair: fdopenOfArray(3),
  recvmsg,
  ...Object.fromEntries(FD_MAKERS.split(' ').map((name) => [name, fdopenOfResult])),
  pidfd_open: (a) => ({ ...(fdopenOfResult(a) as TraceOp & { op: 'fdopen' }), pid: a.pid(0) }),
  read: transfer('read', null),
  write: transfer('write', null),
  pread64: transfer('read', 3),
  pwrite64: transfer('write', 3),
  recvfrom: transfer('read', null),
  sendto: transfer('write', null),
  readv: vectored('read', null),
  writev: vectored('write', null),
  preadv: vectored('read', 3),
  pwritev: vectored('write', 3),
  preadv2: vectored('read', 3),
  pwritev2: vectored('write', 3),
  lseek: (a) => ({ op: 'lseek', fd: a.fd(0), offset: a.word(1), whence: a.flags(2, C.SEEK).lo | 0 }),
  ftruncate: (a) => ({ op: 'ftruncate', fd: a.fd(0), length: a.word(1) }),
  truncate: (a) => ({ op: 'truncate', path: a.text(0), length: a.word(1) }),
  fallocate: (a) => ({
    op: 'fallocate',
    fd: a.fd(0),
    mode: a.flags(1, C.FALLOC),
    offset: a.word(2),
    length: a.word(3),
  }),
  copy_file_range: (a) => ({
    op: 'copy_file_range',
    inFd: a.fd(0),
    inOffset: position(a, 1),
    outFd: a.fd(2),
    outOffset: position(a, 3),
    length: a.word(4),
    flags: a.flags(5, NO_NAMES),
  }),
  sendfile: (a) => ({ op: 'sendfile', outFd: a.fd(0), inFd: a.fd(1), offset: position(a, 2), length: a.word(3) }),
  stat: stat(null, 0, 1),
  lstat: stat(null, 0, 1),
  fstat: stat(0, null, 1),
  newfstatat: stat(0, 1, 2),
  statx: stat(0, 1, 4),
  unlink: (a) => ({ op: 'unlink', dirFd: CWD, path: a.text(0), flags: ZERO64 }),
  unlinkat: (a) => ({ op: 'unlink', dirFd: a.fd(0), path: a.text(1), flags: a.flags(2, C.AT) }),
  rename: namePair('rename', false, C.RENAME),
  renameat: namePair('rename', true, C.RENAME),
  renameat2: namePair('rename', true, C.RENAME),
  link: namePair('link', false, C.AT),
  linkat: namePair('link', true, C.AT),
  chdir: (a) => ({ op: 'chdir', path: a.text(0), fd: null }),
  fchdir: (a) => ({ op: 'chdir', path: null, fd: a.fd(0) }),
};
