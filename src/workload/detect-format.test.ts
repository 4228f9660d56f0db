import { expect, test } from 'vitest';
import { detectFormat } from './detect-format.ts';

const cases: [string | null, string][] = [
  ['lackey', '==14537== Lackey, an example Valgrind tool'],
  ['lackey', 'I  0401ab70,3'],
  ['lackey', ' S 1fff000688,8'],
  ['lackey', 'S 1fff000198,8'],
  ['ftrace', '# tracer: nop'],
  ['chrome', '{"traceEvents":[]}'],
  ['chrome', '[{"name":"a","ph":"X"}]'],
  ['bpftrace', 'Attaching 1 probe...'],
  ['bpftrace', '{"type": "attached_probes", "data": {"probes": 1}}'],
  ['maps', '# task 8 after execve'],
  ['maps', '555555554000-555555555000 r--p 00000000 fe:00 1 '],
  ['perf-trace', '     0.226 ( 0.018 ms): tiny/14646 mmap(len: 8192, prot: READ|WRITE) = 0x7f4cd4368000'],
  ['perf', '            tiny 14627/14627  1759.145866: page-faults:     7efd0c205e06 7efd0c1ed7ad'],
  ['perf', '            tiny 14870 [001]  1785.060089:   exceptions:page_fault_user: address=0x7f'],
  ['strace-summary', '% time     seconds  usecs/call     calls    errors syscall'],
  ['strace', 'brk(NULL)                         = 0x55d8e08fd000'],
  ['strace', '12526 mmap(NULL, 8192, PROT_READ, MAP_PRIVATE, -1, 0) = 0x7fce81c90000'],
  ['strace', '12542 09:36:37.922253 mprotect(0x7f7fbade1000, 4096, PROT_READ) = 0 <0.000014>'],
  ['strace', '12556 1795167398.980298 [00007f29c3c7e057] ftruncate(3, 12288) = 0'],
  ['strace', '12584<prog>      0.000027 mprotect(0x7fe72c869000, 4096, PROT_READ) = 0 <0.000012448>'],
  ['strace', '[pid 13239] munmap(0x7f21b629f000, 1048576) = 0'],
  ['strace', '12526 <... wait4 resumed>NULL, 0, NULL) = 12529'],
  ['strace', '12526 --- SIGSEGV {si_signo=SIGSEGV, si_code=SEGV_MAPERR, si_addr=NULL} ---'],
  ['strace', 'strace: Process 13240 attached'],
  [null, 'hello world'],
  [null, ''],
];

test.each(cases)('%s: %s', (format, line) => {
  expect(detectFormat(['', `\xef\xbb\xbf${line}\r`])).toBe(format);
});

test('the first line that says something decides', () => {
  expect(detectFormat(['hello', 'I  0401ab70,3'])).toBe('lackey');
  expect(detectFormat([])).toBeNull();
});
