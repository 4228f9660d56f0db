import { describe, expect, test } from 'vitest';
import { ImportReport } from '../import-report.ts';
import { word64FromNumber as n, word64, ZERO64 } from '../word64.ts';
import { MAP, PROT } from './constants.ts';
import { decodeCall, returnedFd } from './decode.ts';
import { StraceParser } from './parser.ts';
import type { CallRecord } from './record.ts';
import type { TraceOp } from './trace-op.ts';
import { parseFlags, parseText, parseWord, unescapeText } from './values.ts';

function call(text: string): CallRecord {
  const report = new ImportReport('test.strace');
  const calls: CallRecord[] = [];
  const parser = new StraceParser(report, (record) => {
    if (record.kind === 'call') calls.push(record);
  });
  report.lines++;
  parser.line(text, 1);
  parser.end();
  expect(calls, text).toHaveLength(1);
  return calls[0]!;
}

function decode(text: string): TraceOp {
  return decodeCall(call(text));
}

const fd = (number: number, path: string | null = null, isDeleted = false) => ({ fd: number, path, isDeleted });
const str = (text: string, isCut = false) => ({ text, isCut, addr: null });

describe('memory calls', () => {
  const cases: [string, TraceOp][] = [
    [
      'mmap(NULL, 12288, PROT_READ|PROT_WRITE, MAP_SHARED, 3</srv/a>, 0x1000) = 0x7fce81c8d000',
      { op: 'mmap', addr: ZERO64, length: n(12288), prot: n(3), flags: n(1), fd: fd(3, '/srv/a'), offset: n(4096) },
    ],
    [
      'mmap(0x1, 18446744073709547520, PROT_NONE, MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS|MAP_HUGETLB|21<<MAP_HUGE_SHIFT, -1, 0) = -1 EINVAL (Invalid argument)',
      {
        op: 'mmap',
        addr: n(1),
        length: word64(0xffffffff, 0xfffff000),
        prot: ZERO64,
        flags: n(0x54040032),
        fd: fd(-1),
        offset: ZERO64,
      },
    ],
    [
      'mmap(NULL, 8192, 0x3, 0x22, 4294967295, 0) = 0x1000',
      { op: 'mmap', addr: ZERO64, length: n(8192), prot: n(3), flags: n(0x22), fd: fd(-1), offset: ZERO64 },
    ],
    ['munmap(0x1234, 4096) = -1 EINVAL (Invalid argument)', { op: 'munmap', addr: n(0x1234), length: n(4096) }],
    [
      'mremap(0x7fce81a60000, 262144, 1048576, MREMAP_MAYMOVE) = 0x7fce81960000',
      {
        op: 'mremap',
        addr: n(0x7fce81a60000),
        oldLength: n(262144),
        newLength: n(1048576),
        flags: n(1),
        newAddr: null,
      },
    ],
    [
      'mremap(0x7fce81960000, 4096, 4096, MREMAP_MAYMOVE|MREMAP_FIXED, 0x7fce81a28000) = 0x7fce81a28000',
      {
        op: 'mremap',
        addr: n(0x7fce81960000),
        oldLength: n(4096),
        newLength: n(4096),
        flags: n(3),
        newAddr: n(0x7fce81a28000),
      },
    ],
    [
      'mprotect(0x1000, 4096, 0x3 /* PROT_READ|PROT_WRITE */) = 0',
      { op: 'mprotect', addr: n(4096), length: n(4096), prot: n(3) },
    ],
    [
      'pkey_mprotect(0x1000, 4096, PROT_READ, -1) = 0',
      { op: 'pkey_mprotect', addr: n(4096), length: n(4096), prot: n(1), pkey: -1 },
    ],
    [
      'pkey_alloc(0, PKEY_DISABLE_ACCESS) = -1 EINVAL (Invalid argument)',
      { op: 'pkey_alloc', flags: ZERO64, rights: n(1) },
    ],
    ['brk(NULL) = 0x555555576000', { op: 'brk', addr: ZERO64 }],
    [
      'madvise(0x1000, 4096, 0xc8 /* MADV_??? */) = -1 EINVAL (Invalid argument)',
      { op: 'madvise', addr: n(4096), length: n(4096), advice: 200 },
    ],
    ['madvise(0x1000, 4096, MADV_DONTNEED) = 0', { op: 'madvise', addr: n(4096), length: n(4096), advice: 4 }],
    [
      'process_madvise(99, NULL, 0, MADV_NORMAL, 0) = -1 EBADF (Bad file descriptor)',
      { op: 'process_madvise', pidfd: fd(99), ranges: null, count: ZERO64, advice: 0, flags: ZERO64 },
    ],
    ['msync(0x1000, 65536, MS_SYNC|MS_INVALIDATE) = 0', { op: 'msync', addr: n(4096), length: n(65536), flags: n(6) }],
    [
      'mincore(0x7fce8197e000, 16384, [1, 0, 0, 1]) = 0',
      { op: 'mincore', addr: n(0x7fce8197e000), length: n(16384), vec: null, resident: [1, 0, 0, 1] },
    ],
    [
      'mlock2(0x1000, 4096, MLOCK_ONFAULT|0xfffffffe) = -1 EINVAL (Invalid argument)',
      { op: 'mlock2', addr: n(4096), length: n(4096), flags: n(0xffffffff) },
    ],
    ['mlockall(MCL_CURRENT|MCL_FUTURE|MCL_ONFAULT) = 0', { op: 'mlockall', flags: n(7) }],
    ['munlockall() = 0', { op: 'munlockall' }],
    [
      'remap_file_pages(0x1000, 4096, 0, 3, MAP_NONBLOCK) = 0',
      { op: 'remap_file_pages', addr: n(4096), length: n(4096), prot: ZERO64, pgoff: n(3), flags: n(0x10000) },
    ],
    [
      'syscall_0x1ce(0x7ffff7fbb000, 0x1000, 0xffffffffffffffff, 0x1, 0x2, 0x3) = -1 EINVAL (Invalid argument)',
      { op: 'mseal', addr: n(0x7ffff7fbb000), length: n(4096), flags: word64(~0, ~0) },
    ],
    [
      'syscall_0x1c3(0x3, 0x7ffff7fbbff0, 0x7ffff7fbdfd8, 0, 0x5, 0x6) = 0',
      {
        op: 'cachestat',
        fd: fd(3),
        rangeAddr: n(0x7ffff7fbbff0),
        offset: null,
        length: null,
        answerAddr: n(0x7ffff7fbdfd8),
        flags: ZERO64,
      },
    ],
    [
      'shmget(IPC_PRIVATE, 18446744073692778495, IPC_CREAT|0777) = -1 EINVAL (Invalid argument)',
      { op: 'shmget', key: ZERO64, size: word64(0xffffffff, 0xff000fff), flags: n(0x3ff) },
    ],
    ['shmat(10, NULL, SHM_RND) = 0x7fce81c8b000', { op: 'shmat', shmid: 10, addr: ZERO64, flags: n(0x2000) }],
    ['shmctl(0, IPC_64|IPC_RMID, NULL) = 0', { op: 'shmctl', shmid: 0, cmd: 0, arg: 'NULL' }],
    [
      'memfd_create("hi, there", MFD_CLOEXEC|MFD_HUGETLB|21<<MFD_HUGE_SHIFT) = 4</memfd:hi, there>(deleted)',
      { op: 'memfd_create', name: str('hi, there'), flags: n(0x54000005) },
    ],
    [
      'mbind(0x1000, 4096, MPOL_PREFERRED, [0x00000000000001], 64, MPOL_MF_MOVE) = 0',
      {
        op: 'mbind',
        addr: n(4096),
        length: n(4096),
        mode: n(1),
        nodes: { words: [n(1)], addr: null },
        maxNode: n(64),
        flags: n(2),
      },
    ],
    [
      'get_mempolicy([MPOL_BIND], [0x3, 0000000000000000], 128, 0x1000, MPOL_F_ADDR) = 0',
      {
        op: 'get_mempolicy',
        mode: n(2),
        modeAddr: null,
        nodes: { words: [n(3), ZERO64], addr: null },
        maxNode: n(128),
        addr: n(4096),
        flags: n(2),
      },
    ],
    [
      'userfaultfd(UFFD_USER_MODE_ONLY|O_NONBLOCK|O_CLOEXEC) = 3<anon_inode:[userfaultfd]>',
      { op: 'userfaultfd', flags: n(0x80801) },
    ],
    [
      'process_vm_writev(15, [{iov_base="abc", iov_len=4096}], 1, [{iov_base=0xffffffffff600000, iov_len=7}, {iov_base=NULL, iov_len=0}], 2, 0) = 7',
      {
        op: 'process_vm',
        isWrite: true,
        pid: 15,
        local: [{ base: null, length: n(4096) }],
        localCount: n(1),
        remote: [
          { base: word64(0xffffffff, 0xff600000), length: n(7) },
          { base: ZERO64, length: ZERO64 },
        ],
        remoteCount: n(2),
        flags: ZERO64,
      },
    ],
    ['io_setup(128, [0x7ffff7fbd000]) = 0', { op: 'io_setup', events: n(128), context: n(0x7ffff7fbd000) }],
  ];
  test.each(cases)('%s', (text, op) => {
    expect(decode(`1 ${text}`)).toEqual(op);
  });

  const uffd = {
    op: 'uffd_ioctl',
    fd: fd(3, 'anon_inode:[userfaultfd]'),
    start: null,
    length: null,
    dst: null,
    src: null,
    mode: null,
    features: null,
    done: null,
  };
  const ioctls: [string, object][] = [
    [
      'UFFDIO_API, {api=0xaa, features=UFFD_FEATURE_MINOR_SHMEM => features=UFFD_FEATURE_EVENT_FORK|0x1e000, ioctls=1<<_UFFDIO_API}',
      { request: 'UFFDIO_API', features: n(0x400) },
    ],
    [
      'UFFDIO_REGISTER, {range={start=0x7ffff7fbe000, len=0x1000}, mode=UFFDIO_REGISTER_MODE_MISSING, ioctls=1<<_UFFDIO_WAKE}',
      { request: 'UFFDIO_REGISTER', start: n(0x7ffff7fbe000), length: n(4096), mode: n(1) },
    ],
    [
      'UFFDIO_COPY, {dst=0x2000, src=0x3000, len=0x1000, mode=0, copy=0x1000}',
      { request: 'UFFDIO_COPY', dst: n(0x2000), src: n(0x3000), length: n(4096), mode: ZERO64, done: n(4096) },
    ],
    ['UFFDIO_CONTINUE, 0x7ffff7dcdea0', { request: 'UFFDIO_CONTINUE' }],
    ['_IOC(_IOC_READ|_IOC_WRITE, 0xaa, 0x5, 0x28), 0x7ffff7dcdea0', { request: 'UFFDIO_MOVE' }],
    ['0xc018aa06, 0x7ffff7dcdea0', { request: 'UFFDIO_WRITEPROTECT' }],
  ];
  test.each(ioctls)('ioctl %s', (text, fields) => {
    expect(decode(`1 ioctl(3<anon_inode:[userfaultfd]>, ${text}) = 0`)).toEqual({ ...uffd, ...fields });
  });

  test('other ioctls are other', () => {
    expect(decode('1 ioctl(0</dev/null>, TCGETS, 0x7f) = -1 ENOTTY (Inappropriate ioctl for device)')).toEqual({
      op: 'other',
      name: 'ioctl',
    });
  });
});

describe('file calls', () => {
  const cwd = fd(-100);
  const cases: [string, TraceOp][] = [
    [
      'openat(AT_FDCWD</tmp>, "/etc/ld.so.cache", O_RDONLY|O_CLOEXEC) = 3</etc/ld.so.cache>',
      {
        op: 'open',
        how: 'openat',
        dirFd: fd(-100, '/tmp'),
        path: str('/etc/ld.so.cache'),
        flags: n(0x80000),
        mode: null,
      },
    ],
    [
      'open("x"..., O_RDWR|O_CREAT|O_EXCL, 0600) = 3',
      { op: 'open', how: 'open', dirFd: cwd, path: str('x', true), flags: n(0xc2), mode: n(0o600) },
    ],
    [
      'openat2(AT_FDCWD, "x", {flags=O_RDONLY|O_PATH, mode=0, resolve=0}, 24) = 3',
      { op: 'open', how: 'openat2', dirFd: cwd, path: str('x'), flags: n(0x200000), mode: ZERO64 },
    ],
    ['creat("x", 0644) = 3', { op: 'open', how: 'creat', dirFd: cwd, path: str('x'), flags: n(0x241), mode: n(0o644) }],
    ['close(4</memfd:hi, there>(deleted)) = 0', { op: 'close', fd: fd(4, '/memfd:hi, there', true) }],
    [
      'close_range(3, 4294967295, CLOSE_RANGE_CLOEXEC) = 0',
      { op: 'close_range', first: n(3), last: n(0xffffffff), flags: n(4) },
    ],
    [
      'dup3(4<pipe:[1]>, 1</dev/null>, O_CLOEXEC) = 1<pipe:[1]>',
      { op: 'dup', fd: fd(4, 'pipe:[1]'), newFd: fd(1, '/dev/null'), minFd: null, isCloexec: true },
    ],
    [
      'fcntl(3</a>, F_DUPFD_CLOEXEC, 10) = 10</a>',
      { op: 'dup', fd: fd(3, '/a'), newFd: null, minFd: 10, isCloexec: true },
    ],
    [
      'fcntl(3</a>, F_DUPFD, 0</dev/null>) = 5</a>',
      { op: 'dup', fd: fd(3, '/a'), newFd: null, minFd: 0, isCloexec: false },
    ],
    ['fcntl(3, F_ADD_SEALS, F_SEAL_SHRINK|F_SEAL_WRITE) = 0', { op: 'fcntl', fd: fd(3), cmd: 1033, arg: n(10) }],
    [
      'fcntl(3, F_SETLK, {l_type=F_RDLCK, l_whence=SEEK_SET, l_start=0, l_len=1}) = 0',
      { op: 'fcntl', fd: fd(3), cmd: 6, arg: null },
    ],
    [
      'pipe2([3<pipe:[1]>, 4<pipe:[1]>], O_CLOEXEC) = 0',
      { op: 'fdopen', how: 'pipe2', fds: [fd(3, 'pipe:[1]'), fd(4, 'pipe:[1]')] },
    ],
    ['pipe2(0x7ffe, 0) = -1 EFAULT (Bad address)', { op: 'fdopen', how: 'pipe2', fds: [] }],
    ['memfd_secret(0) = 3</secretmem>(deleted)', { op: 'memfd_secret', flags: ZERO64 }],
    ['socket(AF_UNIX, SOCK_STREAM, 0) = -1 EMFILE (Too many open files)', { op: 'fdopen', how: 'socket', fds: [] }],
    [
      'read(3</a>, "\\177ELF\\2"..., 832) = 832',
      {
        op: 'read',
        how: 'read',
        fd: fd(3, '/a'),
        buffer: str('\x7fELF\x02', true),
        length: n(832),
        iov: null,
        offset: null,
      },
    ],
    [
      'pwrite64(3, 0x1000, 10, 4096) = -1 EFAULT (Bad address)',
      {
        op: 'write',
        how: 'pwrite64',
        fd: fd(3),
        buffer: { text: null, isCut: false, addr: n(4096) },
        length: n(10),
        iov: null,
        offset: n(4096),
      },
    ],
    [
      'preadv(4, [{iov_base="h", iov_len=10}, {iov_base=0x1000, iov_len=5}], 2, 11) = 1',
      {
        op: 'read',
        how: 'preadv',
        fd: fd(4),
        buffer: null,
        length: n(15),
        iov: [
          { base: null, length: n(10) },
          { base: n(4096), length: n(5) },
        ],
        offset: n(11),
      },
    ],
    ['lseek(3</a>, -8, SEEK_END) = 92', { op: 'lseek', fd: fd(3, '/a'), offset: n(-8), whence: 2 }],
    [
      'fallocate(4, FALLOC_FL_KEEP_SIZE|FALLOC_FL_PUNCH_HOLE, 4096, 8192) = 0',
      { op: 'fallocate', fd: fd(4), mode: n(3), offset: n(4096), length: n(8192) },
    ],
    [
      'copy_file_range(3, [4096], 4, NULL, 9223372035781033984, 0) = 137',
      {
        op: 'copy_file_range',
        inFd: fd(3),
        inOffset: n(4096),
        outFd: fd(4),
        outOffset: null,
        length: word64(0x7fffffff, 0xc0000000),
        flags: ZERO64,
      },
    ],
    [
      'fstat(3</a>, {st_dev=makedev(0xfe, 0), st_ino=5, st_mode=S_IFREG|0644, st_size=226, st_atime=0}) = 0',
      {
        op: 'stat',
        how: 'fstat',
        fd: fd(3, '/a'),
        path: null,
        size: n(226),
        inode: n(5),
        deviceMajor: 0xfe,
        deviceMinor: 0,
        mode: 0o100644,
      },
    ],
    [
      'newfstatat(AT_FDCWD, "x", 0x7f, 0) = -1 ENOENT (No such file or directory)',
      {
        op: 'stat',
        how: 'newfstatat',
        fd: cwd,
        path: str('x'),
        size: null,
        inode: null,
        deviceMajor: null,
        deviceMinor: null,
        mode: null,
      },
    ],
    [
      'statx(AT_FDCWD, "x", AT_STATX_SYNC_AS_STAT, STATX_ALL, {stx_mask=STATX_ALL, stx_mode=S_IFDIR|0755, stx_ino=7, stx_size=4096, stx_dev_major=254, stx_dev_minor=1}) = 0',
      {
        op: 'stat',
        how: 'statx',
        fd: cwd,
        path: str('x'),
        size: n(4096),
        inode: n(7),
        deviceMajor: 254,
        deviceMinor: 1,
        mode: 0o40755,
      },
    ],
    ['unlinkat(AT_FDCWD, "d", AT_REMOVEDIR) = 0', { op: 'unlink', dirFd: cwd, path: str('d'), flags: n(0x200) }],
    [
      'renameat2(3, "a", 4, "b", RENAME_NOREPLACE) = 0',
      { op: 'rename', oldDirFd: fd(3), oldPath: str('a'), newDirFd: fd(4), newPath: str('b'), flags: n(1) },
    ],
    [
      'link("a", "b") = 0',
      { op: 'link', oldDirFd: cwd, oldPath: str('a'), newDirFd: cwd, newPath: str('b'), flags: ZERO64 },
    ],
  ];
  test.each(cases)('%s', (text, op) => {
    expect(decode(`1 ${text}`)).toEqual(op);
  });

  test('the descriptor that a call returned, with its path', () => {
    expect(returnedFd(call('1 open("x", O_RDONLY) = 3</srv/a\\76b>(deleted)'))).toEqual(fd(3, '/srv/a>b', true));
    expect(returnedFd(call('1 dup(3) = 4'))).toEqual(fd(4));
    expect(returnedFd(call('1 dup(3) = -1 EBADF (Bad file descriptor)'))).toBeNull();
  });
});

describe('task calls', () => {
  const forked = {
    op: 'fork',
    sharesMm: false,
    isThread: false,
    isVfork: false,
    sharesFiles: false,
    stack: null,
    stackSize: null,
  };
  const cases: [string, object][] = [
    [
      'clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|CLONE_CHILD_SETTID|SIGCHLD, child_tidptr=0x7f) = 9',
      { ...forked, how: 'clone', flags: n(0x1200000), exitSignal: 17 },
    ],
    [
      'clone(child_stack=0x7ffff7dce000, flags=CLONE_VM|CLONE_VFORK|SIGCHLD) = 9',
      {
        ...forked,
        how: 'clone',
        flags: n(0x4100),
        exitSignal: 17,
        sharesMm: true,
        isVfork: true,
        stack: n(0x7ffff7dce000),
      },
    ],
    ['vfork() = 9', { ...forked, how: 'vfork', flags: n(0x4100), exitSignal: 17, sharesMm: true, isVfork: true }],
    ['fork() = 9', { ...forked, how: 'fork', flags: ZERO64, exitSignal: 17 }],
    [
      'clone3({flags=CLONE_VM|CLONE_FS|CLONE_FILES|CLONE_SIGHAND|CLONE_THREAD|CLONE_CLEAR_SIGHAND, child_tid=0x1, exit_signal=0, stack=0x7ffff75ce000, stack_size=0x7fff80} => {parent_tid=[11]}, 88) = 11',
      {
        ...forked,
        how: 'clone3',
        flags: word64(1, 0x10f00),
        exitSignal: 0,
        sharesMm: true,
        isThread: true,
        sharesFiles: true,
        stack: n(0x7ffff75ce000),
        stackSize: n(0x7fff80),
      },
    ],
    [
      'execve("/bin/true", ["true", "a b"], 0x7ffc8a31d868 /* 39 vars */) = 0',
      { op: 'execve', how: 'execve', dirFd: null, path: str('/bin/true'), argv: ['true', 'a b'] },
    ],
    [
      'execveat(3</bin>, "true", ["true"], NULL, 0) = 0',
      { op: 'execve', how: 'execveat', dirFd: fd(3, '/bin'), path: str('true'), argv: ['true'] },
    ],
    ['exit_group(3) = ?', { op: 'exit', isGroup: true, status: 3 }],
    [
      'wait4(-1, [{WIFEXITED(s) && WEXITSTATUS(s) == 0}], WNOHANG, NULL) = 9',
      { op: 'wait', how: 'wait4', pid: -1, statusText: '[{WIFEXITED(s) && WEXITSTATUS(s) == 0}]' },
    ],
    [
      'prlimit64(0, RLIMIT_STACK, NULL, {rlim_cur=8192*1024, rlim_max=RLIM64_INFINITY}) = 0',
      { op: 'prlimit', pid: 0, resource: 3, next: null, old: { cur: n(8192 * 1024), max: word64(~0, ~0) } },
    ],
    ['personality(PER_LINUX|ADDR_NO_RANDOMIZE) = 0 (PER_LINUX)', { op: 'personality', persona: n(0x40000) }],
    ['personality(0xffffffff) = 0x40000 (PER_LINUX|ADDR_NO_RANDOMIZE)', { op: 'personality', persona: n(0xffffffff) }],
    ['prctl(PR_SET_NAME, "GC Thread#0") = 0', { op: 'prctl', option: 15, args: [null], texts: ['"GC Thread#0"'] }],
    [
      'prctl(0x41 /* PR_??? */, 0x1, 0, 0, 0) = 0',
      { op: 'prctl', option: 65, args: [n(1), ZERO64, ZERO64, ZERO64], texts: ['0x1', '0', '0', '0'] },
    ],
    [
      'prctl(PR_SET_MM, PR_SET_MM_BRK, 0x1000, 0, 0) = 0',
      { op: 'prctl', option: 35, args: [n(7), n(4096), ZERO64, ZERO64], texts: ['PR_SET_MM_BRK', '0x1000', '0', '0'] },
    ],
    ['arch_prctl(ARCH_SET_FS, 0x7ffff7dcf740) = 0', { op: 'arch_prctl', option: 0x1002, addr: n(0x7ffff7dcf740) }],
  ];
  test.each(cases)('%s', (text, op) => {
    expect(decode(`1 ${text}`)).toEqual(op);
  });
});

describe('what cannot be read says why', () => {
  const cases: [string, string, string][] = [
    [
      'mmap(NULL, 8192, PROT_READ|PROT_FUTURE, MAP_PRIVATE, -1, 0) = 0x1000',
      'mmap',
      "argument 3: unknown constant 'PROT_FUTURE'",
    ],
    ['munmap(0x1000) = 0', 'munmap', 'argument 2: missing'],
    ['munmap(0x1000, 99999999999999999999999) = 0', 'munmap', "argument 2: '99999999999999999999999' is not a number"],
    ['<... munmap resumed>) = 0', 'munmap', 'its arguments lie before the start of the text'],
    ['close(x) = 0', 'close', "argument 1: 'x' is not a descriptor"],
  ];
  test.each(cases)('%s', (text, name, reason) => {
    expect(decode(`1 ${text}`)).toEqual({ op: 'undecodable', name, reason });
  });
});

describe('values', () => {
  test('escapes of strings, from the shortest octal form to hex', () => {
    expect(unescapeText('\\0011\\19\\1')).toBe('\x011\x019\x01');
    expect(unescapeText('we,ird \\"na me\\"\\n\\377.dat')).toBe('we,ird "na me"\n\xff.dat');
    expect(unescapeText('\\x68\\x69\\x2c\\t\\\\')).toBe('hi,\t\\');
    expect(parseText('"\\177ELF"...')).toEqual({ text: '\x7fELF', isCut: true, addr: null });
  });

  test('flag words', () => {
    expect(parseFlags('0', PROT)).toEqual(ZERO64);
    expect(parseFlags('0x40 /* PROT_??? */', PROT)).toEqual(n(0x40));
    expect(parseFlags('MAP_SHARED|0x400000 /* MAP_??? */|1<<MAP_HUGE_SHIFT', MAP)).toEqual(n(0x4400001));
    expect(parseFlags('', PROT)).toBeNull();
    expect(parseFlags('PROT_READ|', PROT)).toBeNull();
  });

  test('words', () => {
    expect(parseWord('8192*1024')).toEqual(n(8388608));
    expect(parseWord('-1')).toEqual(word64(~0, ~0));
    expect(parseWord('0600')).toEqual(n(384));
    expect(parseWord('NULL')).toEqual(ZERO64);
    expect(parseWord('0x')).toBeNull();
    expect(parseWord('1e9')).toBeNull();
  });
});
