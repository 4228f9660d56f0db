import { describe, expect, test } from 'vitest';
import { FaultParser, type FaultRecord } from './faults.ts';
import { ImportReport } from './import-report.ts';
import { word64 } from './word64.ts';

function parse(text: string): { faults: FaultRecord[]; report: ImportReport } {
  const report = new ImportReport('test.faults');
  const faults: FaultRecord[] = [];
  const parser = new FaultParser(report, (fault) => faults.push(fault));
  for (const [i, line] of text.split('\n').entries()) {
    report.lines++;
    parser.line(line, i + 1);
  }
  report.checkInvariants();
  return { faults, report };
}

describe('perf script', () => {
  test('the recommended fields', () => {
    const { faults, report } = parse(
      `              sh     6/7      7544.952631: page-faults:     555555573240 ffffffff8175336a
              sh     6/6      7544.952692: page-faults:     7ffff7fe4b70     7ffff7fe4b70`,
    );
    expect(faults).toEqual([
      {
        line: 1,
        comm: 'sh',
        pid: 6,
        tid: 7,
        time: '7544.952631',
        event: 'page-faults',
        addr: word64(0x5555, 0x55573240),
        ip: word64(0xffffffff, 0x8175336a),
        isKernelIp: true,
        errorCode: null,
      },
      {
        line: 2,
        comm: 'sh',
        pid: 6,
        tid: 6,
        time: '7544.952692',
        event: 'page-faults',
        addr: word64(0x7fff, 0xf7fe4b70),
        ip: word64(0x7fff, 0xf7fe4b70),
        isKernelIp: false,
        errorCode: null,
      },
    ]);
    expect(report.isClean()).toBe(true);
  });

  test('symbols, cpus, periods, tracepoints, awkward names', () => {
    const { faults, report } = parse(
      `            tiny 14627/14627  1759.145866: page-faults:     7efd0c205e06 _rtld_global (/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2)     7efd0c1ed7ad _dl_start (/usr/lib/ld.so)
            tiny 14900/14900 [001]  1787.811776:          1 minor-faults:     5574d257d010 __TMC_END__+0x0 (/srv/tiny) ffffffff8175336a elf_load+0x28a ([kernel.kallsyms])
            tiny 14870 [001]  1785.060089:   exceptions:page_fault_user: address=0x7f50cd60fb70 ip=0x7f50cd60fb71 error_code=0x14
            tiny 14870 [001]  1785.060090:   exceptions:page_fault_kernel: address=0x7f50cd60fb70 ip=elf_load error_code=0x2
  my prog 12 a: 14 15/16  1.000001: page-faults: 1000 2000`,
    );
    expect(faults.map((f) => [f.comm, f.pid, f.tid, f.addr.num, f.isKernelIp, f.errorCode])).toEqual([
      ['tiny', 14627, 14627, 0x7efd0c205e06, false, null],
      ['tiny', 14900, 14900, 0x5574d257d010, true, null],
      ['tiny', 14870, 14870, 0x7f50cd60fb70, false, 0x14],
      ['tiny', 14870, 14870, 0x7f50cd60fb70, true, 2],
      ['my prog 12 a: 14', 15, 16, 0x1000, false, null],
    ]);
    expect(report.problems()).toEqual([]);
  });

  test('lost and sampled events are reported, other records are passed over', () => {
    const { faults, report } = parse(
      `            tiny 14627  1759.145766: PERF_RECORD_MMAP2 14627/14627: [0x56447a688000(0x5000) @ 0 fe:00 2418930 4048948000]: r--p /srv/tiny
            tiny 14627  1759.145766: PERF_RECORD_LOST lost 12
            tiny 14627  1759.145866:        100 page-faults:     1000     2000`,
    );
    expect(faults).toHaveLength(1);
    expect([report.lostEvents, report.sampledEvents]).toEqual([12, 1]);
    expect(report.isClean()).toBe(false);
  });

  test('a line with the instruction only is refused, not taken for the address', () => {
    const { faults, report } = parse(
      'tiny 14627  1759.145862:          1 page-faults:      7efd0c1ecb70 _start+0x0 (/usr/lib/ld.so)',
    );
    expect(faults).toEqual([]);
    expect(report.firstDamaged[0]!.why).toContain('-F comm,pid,tid,time,event,addr,ip');
  });

  test('anything else is unknown', () => {
    expect(parse('hello\n1 2 3').report.unknown).toBe(2);
  });
});
