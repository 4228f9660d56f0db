import { describe, expect, test } from 'vitest';
import { ImportReport } from '../import-report.ts';
import { InputError } from '../input-error.ts';
import { word64, ZERO64 } from '../word64.ts';
import { StraceParser } from './parser.ts';
import { parseTime } from './prefix.ts';
import type { CallRecord, TraceRecord } from './record.ts';

function parse(text: string, defaultTid = 0, strict = false): { records: TraceRecord[]; report: ImportReport } {
  const report = new ImportReport('test.strace', strict);
  const records: TraceRecord[] = [];
  const parser = new StraceParser(report, (record) => records.push(record), { defaultTid });
  for (const [i, line] of text.split('\n').entries()) {
    report.lines++;
    parser.line(line, i + 1);
  }
  parser.end();
  report.checkInvariants();
  return { records, report };
}

function one(text: string): CallRecord {
  const { records, report } = parse(text);
  expect(report.problems()).toEqual([]);
  expect(records).toHaveLength(1);
  return records[0] as CallRecord;
}

/** A record in one line, for whole-value comparison of streams. */
function show(record: TraceRecord): string {
  if (record.kind === 'call') {
    const lines = record.lineStart === record.lineEnd ? `${record.lineEnd}` : `${record.lineStart}-${record.lineEnd}`;
    const ret = record.errno ?? record.restart ?? (record.ret === null ? record.end : String(record.ret.num));
    return `${lines} ${record.tid} ${record.name}(${record.args === null ? '?' : record.args.join('; ')}) = ${ret}`;
  }
  if (record.kind === 'note') return `${record.line} note ${record.note} ${record.subjectTid ?? record.text}`;
  if (record.kind === 'signal')
    return `${record.line} ${record.tid} ${record.signal} ${record.code} ${record.addr?.num}`;
  if (record.kind === 'exited') return `${record.line} ${record.tid} exited ${record.status}`;
  if (record.kind === 'killed')
    return `${record.line} ${record.tid} killed ${record.signal}${record.hasCore ? ' core' : ''}`;
  return `${record.line} ${record.tid} superseded by ${record.byTid}`;
}

describe('prefixes', () => {
  const cases: [string, number, string | null, string | null][] = [
    ['brk(NULL)                         = 0x55d8e08fd000', 0, null, null],
    ['12526 brk(NULL) = 0x55d8e08fd000', 12526, null, null],
    ['12542 09:36:37.922253 brk(NULL) = 0x55d8e08fd000 <0.000014>', 12542, '09:36:37.922253', null],
    ['12556 1795167398.980298 [00007f29c3c7e057] brk(NULL) = 0x55d8e08fd000', 12556, '1795167398.980298', null],
    ['12584<prog>      0.000027 brk(NULL) = 0x55d8e08fd000 <0.000012448>', 12584, '0.000027', 'prog'],
    ['12584<my (prog>      0.000027 brk(NULL) = 0x55d8e08fd000', 12584, '0.000027', 'my (prog'],
    ['09:36:37 brk(NULL) = 0x55d8e08fd000', 0, '09:36:37', null],
    ['     0.000027 brk(NULL) = 0x55d8e08fd000', 0, '0.000027', null],
    ['1795167398.980298 (+     0.000027) brk(NULL) = 0x55d8e08fd000', 0, '1795167398.980298 (+     0.000027)', null],
    ['1795167398 brk(NULL) = 0x55d8e08fd000', 0, '1795167398', null],
    ['7 1795167398 brk(NULL) = 0x55d8e08fd000', 7, '1795167398', null],
    ['[00007f29c3c7e057] brk(NULL) = 0x55d8e08fd000', 0, null, null],
    ['[  12] brk(NULL) = 0x55d8e08fd000', 0, null, null],
    ['12 [00007f29c3c7e057] [  12] brk(NULL) = 0x55d8e08fd000', 12, null, null],
  ];
  test.each(cases)('%s', (text, tid, time, comm) => {
    const call = one(text);
    expect([call.tid, call.time, call.comm, call.name, call.args]).toEqual([tid, time, comm, 'brk', ['NULL']]);
    expect(call.ret).toEqual(word64(0x55d8, 0xe08fd000));
  });

  test('times are read exactly', () => {
    expect(parseTime('09:36:37.922253')).toEqual({ seconds: 34597, nanoseconds: 922253000 });
    expect(parseTime('1795167398.980298')).toEqual({ seconds: 1795167398, nanoseconds: 980298000 });
    expect(parseTime('0.000000001')).toEqual({ seconds: 0, nanoseconds: 1 });
    expect(parseTime('x')).toBeNull();
  });
});

describe('results', () => {
  test('values, paths, decoded extras, durations', () => {
    expect(one('1 brk(NULL) = 0')).toMatchObject({ ret: ZERO64, isRetHex: false, end: 'returned', errno: null });
    expect(one('1 openat(AT_FDCWD, "x", O_RDONLY) = 3</lib/x y.so> <0.000012>')).toMatchObject({
      ret: word64(0, 3),
      retExtra: '</lib/x y.so>',
      duration: '0.000012',
    });
    expect(one('1 memfd_create("q", 0) = 4</memfd:q>(deleted)')).toMatchObject({ retExtra: '</memfd:q>(deleted)' });
    expect(one('1 openat(3, "a>b c.dat", 0) = 3</srv/a\\76b c.dat>')).toMatchObject({
      args: ['3', '"a>b c.dat"', '0'],
      retExtra: '</srv/a\\76b c.dat>',
    });
    expect(one('1 fcntl(3, F_GETFD) = 0x1 (flags FD_CLOEXEC)')).toMatchObject({
      ret: word64(0, 1),
      isRetHex: true,
      retExtra: '(flags FD_CLOEXEC)',
    });
    expect(one('1 poll([{fd=3, events=POLLIN}], 1, -1) = 1 ([{fd=3, revents=POLLIN}])')).toMatchObject({
      retExtra: '([{fd=3, revents=POLLIN}])',
    });
    expect(
      one('1 select(4, [3], NULL, NULL, {tv_sec=1, tv_usec=0}) = 1 (in [3], left {tv_sec=0, tv_usec=9})'),
    ).toMatchObject({ ret: word64(0, 1) });
    expect(one('12584<prog> getpid() = 12587<prog>')).toMatchObject({ ret: word64(0, 12587), args: [] });
    expect(one('1 mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, -1, 0) = 0xffffffffff600000').ret).toEqual(
      word64(0xffffffff, 0xff600000),
    );
  });

  test('errors, no results, restarts', () => {
    expect(one('1 munmap(0x1234, 4096) = -1 EINVAL (Invalid argument)')).toMatchObject({
      errno: 'EINVAL',
      ret: word64(~0, ~0),
      end: 'returned',
    });
    expect(one('1 foo(1) = -1 (errno 530)')).toMatchObject({ errno: 'errno 530' });
    expect(
      one('1 read(3, 0x1, 2) = -1 EILSEQ (Invalid or incomplete multibyte or wide character) <0.1>'),
    ).toMatchObject({ errno: 'EILSEQ' });
    expect(one('1 exit_group(3)                     = ?')).toMatchObject({ end: 'noResult', ret: null });
    expect(one('1 pause() = ? ERESTARTNOHAND (To be restarted if no handler)')).toMatchObject({
      end: 'restart',
      restart: 'ERESTARTNOHAND',
    });
    expect(one('1 exit(0 <unfinished ...>) = ?')).toMatchObject({ end: 'noResult', args: ['0'] });
    expect(one('1 rt_sigreturn({mask=[]}) = -1 EINTR (Interrupted system call)')).toMatchObject({
      errno: 'EINTR',
      args: ['{mask=[]}'],
    });
  });

  test('system calls newer than strace get their names', () => {
    expect(one('1 syscall_0x1ce(0x7fce819c4000, 0x1000, 0, 0, 0, 0) = 0').name).toBe('mseal');
    expect(one('1 syscall_0x1c3(0x3, 0x1, 0x2, 0, 0, 0) = 0').name).toBe('cachestat');
    expect(one('1 syscall_0xfff(0, 0, 0, 0, 0, 0) = -1 ENOSYS (Function not implemented)').name).toBe('syscall_0xfff');
  });
});

describe('arguments are split at depth 0 only', () => {
  const cases: [string, string[]][] = [
    [
      'f("a, b)", [1, 2], {x={y=1, z=2}, w=3}, 0x1 /* A, B) */)',
      ['"a, b)"', '[1, 2]', '{x={y=1, z=2}, w=3}', '0x1 /* A, B) */'],
    ],
    [
      'f("we,ird \\"na me\\"\\n\\377.dat", 3<.../we,ird \\"na me\\"\\n\\377.dat>, 4)',
      ['"we,ird \\"na me\\"\\n\\377.dat"', '3<.../we,ird \\"na me\\"\\n\\377.dat>', '4'],
    ],
    [
      'f("\\177ELF\\2\\1"..., AT_FDCWD</srv/a, b)>, 1<<_X|21<<MAP_HUGE_SHIFT)',
      ['"\\177ELF\\2\\1"...', 'AT_FDCWD</srv/a, b)>', '1<<_X|21<<MAP_HUGE_SHIFT'],
    ],
    ['f(5<TCP:[127.0.0.1:80->127.0.0.1:9]>, ~[RT_1])', ['5<TCP:[127.0.0.1:80->127.0.0.1:9]>', '~[RT_1]']],
    ['f(3</usr/bin/[>, 1)', ['3</usr/bin/[>', '1']],
    ['f(<... resuming interrupted read ...>)', ['<... resuming interrupted read ...>']],
    ['f()', []],
  ];
  test.each(cases)('%s', (text, args) => {
    expect(one(`1 ${text} = 0`).args).toEqual(args);
  });
});

describe('calls split by other tasks', () => {
  test('halves are joined by task with no separator, at the line of the second', () => {
    const { records, report } = parse(
      [
        '12526 wait4(-1,  <unfinished ...>',
        '12529 munmap(0x7fce81988000, 4096 <unfinished ...>',
        '12529 <... munmap resumed>)             = 0',
        '12529 +++ exited with 3 +++',
        '12526 <... wait4 resumed>NULL, 0, NULL) = 12529',
        '12526 vfork( <unfinished ...>',
        '12526 <... vfork resumed> )  = 12530',
      ].join('\n'),
    );
    expect(records.map(show)).toEqual([
      '2-3 12529 munmap(0x7fce81988000; 4096) = 0',
      '4 12529 exited 3',
      '1-5 12526 wait4(-1; NULL; 0; NULL) = 12529',
      '6-7 12526 vfork() = 12530',
    ]);
    expect(report.isClean()).toBe(true);
    expect([report.lines, report.joined, report.parsed]).toEqual([7, 3, 4]);
  });

  test('a second half without a first keeps its result, its arguments are unknown', () => {
    const { records, report } = parse('5 <... wait4 resumed>[{WIFEXITED(s) && WEXITSTATUS(s) == 3}], 0, NULL) = 12529');
    expect(records.map(show)).toEqual(['1 5 wait4(?) = 12529']);
    expect(report.callsWithoutStart).toBe(1);
  });

  test('a call never resumed comes out open: at the end of its task, at its next call, at the end of the text', () => {
    const { records, report } = parse(
      [
        '5 munmap(0x1000, 4096 <unfinished ...>',
        '5 +++ killed by SIGKILL +++',
        '6 munmap(0x1000, <unfinished ...>',
        '6 getpid() = 6',
        '7 read(0,  <unfinished ...>',
      ].join('\n'),
    );
    expect(records.map(show)).toEqual([
      '1 5 munmap(0x1000; 4096) = open',
      '2 5 killed SIGKILL',
      '3 6 munmap(0x1000) = open',
      '4 6 getpid() = 6',
      '5 7 read(0) = open',
    ]);
    expect([report.callsOpenAtTaskEnd, report.callsNeverResumed]).toEqual([1, 2]);
  });

  test('an execve by another thread ends under the tid of the leader', () => {
    const { records, report } = parse(
      [
        '32021 pause( <unfinished ...>',
        '32024 execve("/bin/true", ["true"], 0x7ffc8a31d868 /* 39 vars */ <unfinished ...>',
        '32021 <... pause resumed>)              = ?',
        '32021 +++ superseded by execve in pid 32024 +++',
        '32021 <... execve resumed>)             = 0',
        '32021 brk(NULL) = 0x1000',
      ].join('\n'),
    );
    expect(records.map(show)).toEqual([
      '1-3 32021 pause() = noResult',
      '4 32021 superseded by 32024',
      '2-5 32021 execve("/bin/true"; ["true"]; 0x7ffc8a31d868 /* 39 vars */) = 0',
      '6 32021 brk(NULL) = 4096',
    ]);
    expect((records[2] as CallRecord).tidStart).toBe(32024);
    expect(report.isClean()).toBe(true);
  });
});

describe('text written to stderr', () => {
  test('a note glued into a line is cut out and the line is joined with its rest', () => {
    const { records, report } = parse(
      [
        'clone(child_stack=NULL, flags=CLONE_CHILD_SETTID|SIGCHLDstrace: Process 13241 attached',
        ', child_tidptr=0x7f21b74e0a10) = 13241',
        '[pid 13238] munmap(0x7f21b629f000, 1048576) = 0',
        '[pid 13241] exit_group(0) = ?',
        '[pid 13241] +++ exited with 0 +++',
        'pause(strace: Process 13238 detached',
        ' <detached ...>',
      ].join('\n'),
    );
    expect(records.map(show)).toEqual([
      '1 note attached 13241',
      '1-2 0 clone(child_stack=NULL; flags=CLONE_CHILD_SETTID|SIGCHLD; child_tidptr=0x7f21b74e0a10) = 13241',
      '3 0 munmap(0x7f21b629f000; 1048576) = 0',
      '4 13241 exit_group(0) = noResult',
      '5 13241 exited 0',
      '6 note detached 13238',
      '6-7 0 pause() = detached',
    ]);
    expect(report.problems()).toEqual([]);
  });

  test('a line without a tid belongs to the last survivor; among several it is a guess and counted', () => {
    const { records, report } = parse(
      [
        'fork() = 8',
        '[pid 8] getpid() = 8',
        'getppid() = 1',
        '[pid 7] exit_group(0) = ?',
        '[pid 7] +++ exited with 0 +++',
        'getpid() = 8',
      ].join('\n'),
    );
    expect(records.map(show)).toEqual([
      '1 0 fork() = 8',
      '2 8 getpid() = 8',
      '3 0 getppid() = 1',
      '4 0 exit_group(0) = noResult',
      '5 0 exited 0',
      '6 8 getpid() = 8',
    ]);
    expect(report.ambiguousTids).toBe(1);
  });

  test('one file of -ff: the caller names the task', () => {
    expect(parse('brk(NULL) = 0x1000\n+++ exited with 0 +++', 12526).records.map(show)).toEqual([
      '1 12526 brk(NULL) = 4096',
      '2 12526 exited 0',
    ]);
  });
});

describe('lines that are no calls', () => {
  test('signals, exits, frames, messages', () => {
    const { records, report } = parse(
      [
        '5 --- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL} ---',
        '5 --- SIGBUS {si_signo=SIGBUS, si_code=BUS_ADRERR, si_addr=0x7ffff7fbe000} ---',
        '5 --- SIGCHLD {si_signo=SIGCHLD, si_code=CLD_EXITED, si_pid=9, si_uid=0, si_status=3} ---',
        '5 --- stopped by SIGSTOP ---',
        ' > /lib/libc.so.6(mmap+0x17) [0x1010a7]',
        '5 +++ killed by SIGSEGV (core dumped) +++',
        'strace: Process 13240 attached',
        '',
      ].join('\n'),
    );
    expect(records.map(show)).toEqual([
      '1 5 SIGSEGV SEGV_MAPERR 0',
      '2 5 SIGBUS BUS_ADRERR 140737353867264',
      '3 5 SIGCHLD CLD_EXITED undefined',
      '4 5 SIGSTOP null undefined',
      '5 note frame /lib/libc.so.6(mmap+0x17) [0x1010a7]',
      '6 5 killed SIGSEGV core',
      '7 note attached 13240',
    ]);
    expect(report.isClean()).toBe(true);
  });

  test('unknown and damaged lines are counted and quoted; strict refuses the first', () => {
    const text = ['hello world', '5 mmap(NULL, 8192', '5 munmap(0x1000, 4096) = zero', '5 brk(NULL) = 0x1000'].join(
      '\n',
    );
    const { records, report } = parse(text);
    expect(records.map(show)).toEqual(['4 5 brk(NULL) = 4096']);
    expect([report.unknown, report.damaged]).toEqual([1, 2]);
    expect(report.firstUnknown[0]).toMatchObject({ line: 1, text: 'hello world' });
    expect(report.firstDamaged.map((line) => line.line)).toEqual([2, 3]);
    expect(() => parse(text, 0, true)).toThrow(/^test\.strace:1: unknown line 'hello world'; expected strace text/);
  });

  test('nesting deeper than the limit is damage, not a crash', () => {
    expect(parse(`1 f(${'{'.repeat(100_000)}) = 0`).report.firstDamaged[0]!.why).toContain('tooDeep');
    expect(parse(`1 f(${'{'.repeat(60)}${'}'.repeat(60)}) = 0`).report.isClean()).toBe(true);
  });

  test('a -c table is no trace; after a trace it is remarks', () => {
    const table =
      '% time     seconds  usecs/call     calls    errors syscall\n100.00    0.000100          10        10           mmap';
    expect(() => parse(table)).toThrow(InputError);
    expect(parse(`1 brk(NULL) = 0x1000\n${table}`).report.isClean()).toBe(true);
  });
});
