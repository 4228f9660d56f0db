/** Decoders of the calls that change or ask about an address space. */

import type { Word64 } from '../word64.ts';
import type { ArgReader } from './arg-reader.ts';
import * as C from './constants.ts';
import { splitList } from './scan.ts';
import type { MaskArg, TraceOp, UffdIoctl } from './trace-op.ts';
import { parseFlags, parseIoVecs, parseStruct, parseWord, parseWords } from './values.ts';

export type Decoder = (a: ArgReader) => TraceOp;

const NO_NAMES: C.ConstantTable = new Map();

function addressRange(a: ArgReader): { readonly addr: Word64; readonly length: Word64 } {
  return { addr: a.word(0), length: a.word(1) };
}

function mincore(a: ArgReader): TraceOp {
  const pages = a.isOk ? parseWords(a.raw(2)) : null;
  const resident = pages === null ? null : pages.map((word) => word.lo);
  return { op: 'mincore', ...addressRange(a), vec: a.wordOrNull(2), resident };
}

/** A mask of nodes: `[0x1, 0]`, or a pointer. */
function mask(a: ArgReader, index: number): MaskArg {
  return { words: parseWords(a.raw(index)), addr: a.wordOrNull(index) };
}

/** `[MPOL_BIND]`, the answer of get_mempolicy. */
function answeredMode(text: string): Word64 | null {
  const item = splitList(text)?.[0];
  return item === undefined ? null : parseFlags(item, C.MPOL_MODE);
}

function cachestat(a: ArgReader): TraceOp {
  const fields = parseStruct(a.raw(1));
  return {
    op: 'cachestat',
    fd: a.fd(0),
    rangeAddr: a.wordOrNull(1),
    offset: parseWord(fields?.get('off') ?? ''),
    length: parseWord(fields?.get('len') ?? ''),
    answerAddr: a.wordOrNull(2),
    flags: a.flags(3, NO_NAMES),
  };
}

function processVm(a: ArgReader): TraceOp {
  return {
    op: 'process_vm',
    isWrite: a.call.name === 'process_vm_writev',
    pid: a.pid(0),
    local: parseIoVecs(a.raw(1)),
    localCount: a.word(2),
    remote: parseIoVecs(a.raw(3)),
    remoteCount: a.word(4),
    flags: a.flags(5, NO_NAMES),
  };
}

const UFFD_REQUESTS = [
  'REGISTER',
  'UNREGISTER',
  'WAKE',
  'COPY',
  'ZEROPAGE',
  'MOVE',
  'WRITEPROTECT',
  'CONTINUE',
  'POISON',
];
const UFFD_TYPE = 0xaa;
const UFFD_NR_API = 0x3f;

/** Name of an ioctl request printed by name, as a number (-X raw), or in parts (a request newer than strace). */
function uffdRequest(text: string): string | null {
  if (text.startsWith('UFFDIO_')) return text;
  const parts = /^_IOC\([^,]*, 0xaa, (0x[0-9a-f]+|\d+), [^,]*\)$/.exec(text);
  const word = parts === null ? parseWord(text) : null;
  const number =
    parts === null ? (word !== null && ((word.lo >>> 8) & 0xff) === UFFD_TYPE ? word.lo & 0xff : -1) : Number(parts[1]);
  if (number === UFFD_NR_API) return 'UFFDIO_API';
  const name = UFFD_REQUESTS[number];
  return name === undefined ? null : `UFFDIO_${name}`;
}

function ioctl(a: ArgReader): TraceOp {
  const text = a.raw(1);
  if (text === 'USERFAULTFD_IOC_NEW') {
    const fd = a.isOk ? a.call.ret!.lo | 0 : -1;
    return { op: 'fdopen', how: text, fds: fd < 0 ? [] : [{ fd, path: null, isDeleted: false }] };
  }
  const request = uffdRequest(text);
  if (request === null) return { op: 'other', name: 'ioctl' };
  const fields = parseStruct(a.args[2] ?? '') ?? new Map<string, string>();
  const range = parseStruct(fields.get('range') ?? '') ?? fields;
  const word = (from: ReadonlyMap<string, string>, name: string): Word64 | null => parseWord(from.get(name) ?? '');
  const flags = (name: string, table: C.ConstantTable): Word64 | null => {
    const field = fields.get(name);
    return field === undefined ? null : a.flagsOf(2, field, table);
  };
  const done = fields.get('copy') ?? fields.get('zeropage') ?? fields.get('mapped') ?? fields.get('move');
  const op: UffdIoctl = {
    op: 'uffd_ioctl',
    fd: a.fd(0),
    request,
    start: word(range, 'start'),
    length: word(range, 'len'),
    dst: word(fields, 'dst'),
    src: word(fields, 'src'),
    mode: flags('mode', C.UFFDIO_MODE),
    features: request === 'UFFDIO_API' ? flags('features', C.UFFD_FEATURE) : null,
    done: done === undefined ? null : parseWord(done),
  };
  return op;
}

export const MEMORY_DECODERS: Readonly<Record<string, Decoder>> = {
  mmap: (a) => ({
    op: 'mmap',
    ...addressRange(a),
    prot: a.flags(2, C.PROT),
    flags: a.flags(3, C.MAP),
    fd: a.fd(4),
    offset: a.word(5),
  }),
  munmap: (a) => ({ op: 'munmap', ...addressRange(a) }),
  mremap: (a) => ({
    op: 'mremap',
    addr: a.word(0),
    oldLength: a.word(1),
    newLength: a.word(2),
    flags: a.flags(3, C.MREMAP),
    newAddr: a.count > 4 ? a.word(4) : null,
  }),
  mprotect: (a) => ({ op: 'mprotect', ...addressRange(a), prot: a.flags(2, C.PROT) }),
  pkey_mprotect: (a) => ({ op: 'pkey_mprotect', ...addressRange(a), prot: a.flags(2, C.PROT), pkey: a.int(3) }),
  pkey_alloc: (a) => ({ op: 'pkey_alloc', flags: a.flags(0, NO_NAMES), rights: a.flags(1, C.PKEY) }),
  pkey_free: (a) => ({ op: 'pkey_free', pkey: a.int(0) }),
  brk: (a) => ({ op: 'brk', addr: a.word(0) }),
  madvise: (a) => ({ op: 'madvise', ...addressRange(a), advice: a.flags(2, C.MADV).lo | 0 }),
  process_madvise: (a) => ({
    op: 'process_madvise',
    pidfd: a.fd(0),
    ranges: parseIoVecs(a.raw(1)),
    count: a.word(2),
    advice: a.flags(3, C.MADV).lo | 0,
    flags: a.flags(4, NO_NAMES),
  }),
  msync: (a) => ({ op: 'msync', ...addressRange(a), flags: a.flags(2, C.MS) }),
  mincore,
  mlock: (a) => ({ op: 'mlock', ...addressRange(a) }),
  mlock2: (a) => ({ op: 'mlock2', ...addressRange(a), flags: a.flags(2, C.MLOCK2) }),
  munlock: (a) => ({ op: 'munlock', ...addressRange(a) }),
  mlockall: (a) => ({ op: 'mlockall', flags: a.flags(0, C.MCL) }),
  munlockall: () => ({ op: 'munlockall' }),
  remap_file_pages: (a) => ({
    op: 'remap_file_pages',
    ...addressRange(a),
    prot: a.flags(2, C.PROT),
    pgoff: a.word(3),
    flags: a.flags(4, C.MAP),
  }),
  mseal: (a) => ({ op: 'mseal', ...addressRange(a), flags: a.flags(2, NO_NAMES) }),
  map_shadow_stack: (a) => ({
    op: 'map_shadow_stack',
    ...addressRange(a),
    flags: a.flags(2, new Map([['SHADOW_STACK_SET_TOKEN', 1]])),
  }),
  cachestat,
  shmget: (a) => ({ op: 'shmget', key: a.flags(0, C.IPC_KEY), size: a.word(1), flags: a.flags(2, C.SHMGET) }),
  shmat: (a) => ({ op: 'shmat', shmid: a.int(0), addr: a.word(1), flags: a.flags(2, C.SHMAT) }),
  shmdt: (a) => ({ op: 'shmdt', addr: a.word(0) }),
  shmctl: (a) => ({ op: 'shmctl', shmid: a.int(0), cmd: (a.flags(1, C.SHMCTL).lo | 0) & ~0x100, arg: a.raw(2) }),
  memfd_secret: (a) => ({ op: 'memfd_secret', flags: a.flags(0, C.OPEN) }),
  memfd_create: (a) => ({ op: 'memfd_create', name: a.text(0), flags: a.flags(1, C.MFD) }),
  mbind: (a) => ({
    op: 'mbind',
    ...addressRange(a),
    mode: a.flags(2, C.MPOL_MODE),
    nodes: mask(a, 3),
    maxNode: a.word(4),
    flags: a.flags(5, C.MPOL_MF),
  }),
  set_mempolicy: (a) => ({
    op: 'set_mempolicy',
    mode: a.flags(0, C.MPOL_MODE),
    nodes: mask(a, 1),
    maxNode: a.word(2),
  }),
  get_mempolicy: (a) => ({
    op: 'get_mempolicy',
    mode: answeredMode(a.raw(0)),
    modeAddr: a.wordOrNull(0),
    nodes: mask(a, 1),
    maxNode: a.word(2),
    addr: a.word(3),
    flags: a.flags(4, C.MPOL_GET),
  }),
  set_mempolicy_home_node: (a) => ({
    op: 'set_mempolicy_home_node',
    ...addressRange(a),
    node: a.word(2),
    flags: a.flags(3, NO_NAMES),
  }),
  migrate_pages: (a) => ({
    op: 'migrate_pages',
    pid: a.pid(0),
    maxNode: a.word(1),
    from: mask(a, 2),
    to: mask(a, 3),
  }),
  move_pages: (a) => ({
    op: 'move_pages',
    pid: a.pid(0),
    count: a.word(1),
    pages: parseWords(a.raw(2)),
    nodes: parseWords(a.raw(3)),
    pagesAddr: a.wordOrNull(2),
    nodesAddr: a.wordOrNull(3),
    statusAddr: a.wordOrNull(4),
    flags: a.flags(5, C.MPOL_MF),
  }),
  userfaultfd: (a) => ({ op: 'userfaultfd', flags: a.flags(0, C.UFFD_OPEN) }),
  ioctl,
  process_vm_readv: processVm,
  process_vm_writev: processVm,
  io_setup: (a) => ({ op: 'io_setup', events: a.word(0), context: parseWords(a.raw(1))?.[0] ?? null }),
  io_destroy: (a) => ({ op: 'io_destroy', context: a.word(0) }),
};
