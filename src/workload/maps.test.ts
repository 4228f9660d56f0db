import { describe, expect, test } from 'vitest';
import { ImportReport } from './import-report.ts';
import { formatMapsHeader, formatMapsLine, MapsParser, type MapsSection, mapsFile, parseMapsLine } from './maps.ts';

function parse(text: string): { sections: MapsSection[]; report: ImportReport } {
  const report = new ImportReport('test.maps');
  const sections: MapsSection[] = [];
  const parser = new MapsParser(report, (section) => sections.push(section));
  for (const [i, line] of text.split('\n').entries()) {
    report.lines++;
    parser.line(line, i + 1);
  }
  parser.end();
  report.checkInvariants();
  return { sections, report };
}

// written out by hand: the numeric part ends in a blank, is padded to column 72, and one more blank follows
const LINES = [
  '555555554000-555555555000 r--p 00000000 fe:00 15360014                   /build/mmap-copy',
  '7ffff7fc1000-7ffff7fc5000 r--p 00000000 00:00 0                          [vvar]',
  '7ffff7fc0000-7ffff7fc1000 rw-p 00000000 00:00 0 ',
  'ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]',
  '7ffff7800000-7ffff7a00000 rw-s 7fffffe00000 00:01 1024                   /memfd:a b (deleted)',
  '7ffff7800000-7ffff7a00000 rw-s 7ffffffffffff000 103:fffff 18446744073709551615  /srv/long',
  '00400000-00401000 r-xp 00000000 08:02 173521                             /bin/a\\012b',
];

describe('/proc/PID/maps', () => {
  test('each line prints as it was read', () => {
    for (const line of LINES) expect(formatMapsLine(parseMapsLine(line)!)).toBe(line);
  });

  test('the name starts at column 73, or one blank after a longer numeric part', () => {
    const vma = parseMapsLine(LINES[0]!)!;
    expect(formatMapsLine(vma).indexOf('/build')).toBe(73);
    const long = formatMapsLine({
      ...vma,
      start: 2 ** 63,
      end: 2 ** 63 + 4096,
      offset: 2 ** 62,
      inode: '18446744073709551615',
    });
    expect(long).toBe(
      '8000000000000000-8000000000001000 r--p 4000000000000000 fe:00 18446744073709551615  /build/mmap-copy',
    );
  });

  test('fields', () => {
    expect(parseMapsLine(LINES[4]!)).toEqual({
      start: 0x7ffff7800000,
      end: 0x7ffff7a00000,
      perms: 'rw-s',
      offset: 0x7fffffe00000,
      major: 0,
      minor: 1,
      inode: '1024',
      name: '/memfd:a b (deleted)',
    });
    expect(parseMapsLine(LINES[3]!)!.start).toBe(0xffffffff * 2 ** 32 + 0xff600000);
    expect(mapsFile(parseMapsLine(LINES[4]!)!)).toEqual({ path: '/memfd:a b', isDeleted: true });
    expect(mapsFile(parseMapsLine(LINES[6]!)!)).toEqual({ path: '/bin/a\nb', isDeleted: false });
  });

  test('sections, and their headers', () => {
    const { sections, report } = parse(
      `# task 8 after execve\n${LINES[0]}\n${LINES[2]}\n# task 9 at exit, wait status 0x8b\n${LINES[1]}`,
    );
    expect(sections.map((s) => [s.task, s.kind, s.status, s.line, s.vmas.length])).toEqual([
      [8, 'execve', null, 1, 2],
      [9, 'exit', 0x8b, 4, 1],
    ]);
    expect(sections.map(formatMapsHeader)).toEqual(['# task 8 after execve', '# task 9 at exit, wait status 0x8b']);
    expect(report.isClean()).toBe(true);
    expect(parse(LINES[0]!).sections).toMatchObject([{ task: 0, kind: 'plain', status: null }]);
  });

  test('lines that are no VMA are damaged or unknown', () => {
    const { sections, report } = parse(
      [
        '555555555000-555555554000 r--p 00000000 fe:00 1 ',
        '555555554000-555555555001 r--p',
        'ffffffffffffff01-ffffffffffffff02 r--p 00000000 00:00 0 ',
        'Size:   4 kB',
      ].join('\n'),
    );
    expect(sections).toEqual([]);
    expect([report.damaged, report.unknown]).toEqual([3, 1]);
  });
});
