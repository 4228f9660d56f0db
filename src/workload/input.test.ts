import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { constants, gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, describe, expect, test } from 'vitest';
import { ImportReport } from './import-report.ts';
import { findRecording, readAll } from './input.ts';
import { InputError } from './input-error.ts';
import { decodeLatin1, encodeLatin1, LINE_BYTES_MAX, LineReader } from './line-reader.ts';

const folder = mkdtempSync(join(tmpdir(), 'importers-'));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

async function read(path: string, strict = false): Promise<{ text: string; report: ImportReport }> {
  const report = new ImportReport(path, strict);
  return { text: decodeLatin1(await readAll(path, report)), report };
}

// not compressible to nothing, and longer than several zlib pieces
const LONG = Array.from({ length: 20_000 }, (_, i) => `line ${(i * 2654435761) >>> 0}\n`).join('');

describe('readChunks', () => {
  test('every byte value survives, plain and gzip, whatever the name says', async () => {
    const all = Uint8Array.from({ length: 256 }, (_, i) => i);
    expect((await read(file('plain.gz', all))).text).toBe(decodeLatin1(all));
    expect((await read(file('packed.txt', gzipSync(all)))).text).toBe(decodeLatin1(all));
  });

  test('gzip members may follow one another', async () => {
    const path = file('two.gz', Buffer.concat([gzipSync('one\n'), gzipSync(''), gzipSync('two\n')]));
    const { text, report } = await read(path);
    expect(text).toBe('one\ntwo\n');
    expect(report.compressionDamage).toBeNull();
  });

  test('a truncated gzip file gives what there is and says so', async () => {
    const packed = gzipSync(LONG);
    const { text, report } = await read(file('cut.gz', packed.subarray(0, packed.length >> 1)));
    expect(text.length).toBeGreaterThan(LONG.length / 4);
    expect(LONG.startsWith(text)).toBe(true);
    expect(report.compressionDamage).toContain(`after ${text.length} bytes`);
    expect(report.isClean()).toBe(false);
  });

  test('corrupt gzip data gives the text before the damage', async () => {
    const packed = Buffer.from(gzipSync(LONG));
    packed.fill(0xff, packed.length >> 1, (packed.length >> 1) + 200);
    const { text, report } = await read(file('corrupt.gz', packed));
    const before = gunzipSync(packed.subarray(0, packed.length >> 1), { finishFlush: constants.Z_SYNC_FLUSH }).toString(
      'latin1',
    );
    expect(before.length).toBeGreaterThan(LONG.length / 4);
    expect(text.startsWith(before)).toBe(true);
    expect(report.compressionDamage).toContain('damaged gzip data');
    await expect(read(file('corrupt.gz', packed), true)).rejects.toThrow(InputError);
  });

  test('bytes after the end of the gzip data are reported', async () => {
    const padded = await read(file('zeros.gz', Buffer.concat([gzipSync('text\n'), new Uint8Array(7)])));
    expect(padded.text).toBe('text\n');
    expect(padded.report.compressionDamage).toBe('7 bytes after the end of the gzip data ignored');
    const { text, report } = await read(file('tail.gz', Buffer.concat([gzipSync('text\n'), Buffer.from('garbage')])));
    expect(text).toBe('text\n');
    expect(report.compressionDamage).toBe('damaged gzip data: incorrect header check after 5 bytes of text');
  });

  test('unusable files throw an InputError that names file, fault and expectation', async () => {
    const bad = Buffer.from(gzipSync('x'.repeat(100)));
    bad.fill(0xff, 10);
    const cases: [string, RegExp][] = [
      [file('nothing.gz', bad), /nothing\.gz at byte 0: damaged gzip data.*expected a gzip file/],
      [file('head.gz', Uint8Array.of(0x1f, 0x8b)), /damaged gzip data: unexpected end of file/],
      [
        file('a.xz', Uint8Array.of(0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 1, 2)),
        /xz compression is unsupported, run xz -dc/,
      ],
      [file('a.zst', Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3)), /zstd compression is unsupported, run zstd -dc/],
      [join(folder, 'missing'), /missing: cannot read: ENOENT/],
      [folder, /cannot read: EISDIR/],
    ];
    for (const [path, message] of cases) {
      const error = await read(path).then(
        () => null,
        (e: unknown) => e,
      );
      expect(error).toBeInstanceOf(InputError);
      expect((error as InputError).message).toMatch(message);
      expect((error as InputError).path).toBe(path);
    }
  });

  test('an empty file is an empty text', async () => {
    expect((await read(file('empty', new Uint8Array(0)))).text).toBe('');
  });

  test('readAll refuses a text over its limit', async () => {
    const path = file('long.gz', gzipSync(LONG));
    await expect(readAll(path, new ImportReport(path), 1000)).rejects.toThrow(
      /text too long; expected at most 1000 bytes/,
    );
  });

  test('findRecording takes the name with or without .gz', () => {
    const plain = file('r.maps0', new Uint8Array(1));
    file('s.maps0.gz', new Uint8Array(1));
    expect(findRecording(plain)).toBe(plain);
    expect(findRecording(join(folder, 's.maps0'))).toBe(join(folder, 's.maps0.gz'));
    expect(findRecording(join(folder, 't.maps0'))).toBeNull();
  });
});

function lines(
  text: string,
  cuts: readonly number[],
): { lines: string[]; unterminated: boolean; report: ImportReport } {
  const report = new ImportReport('text');
  const out: string[] = [];
  let unterminated = false;
  const reader = new LineReader(report, (line, number, isUnterminated) => {
    out.push(line);
    expect(number).toBe(out.length);
    unterminated = isUnterminated;
  });
  const bytes = encodeLatin1(text);
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    reader.push(bytes.subarray(from, cut));
    from = cut;
  }
  reader.end();
  return { lines: out, unterminated, report };
}

describe('LineReader', () => {
  test('both line ends, a byte order mark, blank lines, a last line without newline', () => {
    const { lines: out, unterminated } = lines('\xef\xbb\xbfa\r\nb\n\n\xffc\rd', []);
    expect(out).toEqual(['a', 'b', '', '\xffc\rd']);
    expect(unterminated).toBe(true);
    expect(lines('a\n', []).unterminated).toBe(false);
    expect(lines('', []).lines).toEqual([]);
  });

  test('wherever the text is cut into chunks, the lines are the same', () => {
    const text = '\xef\xbb\xbffirst\r\nsecond\n\r\nthird \xe4\nlast';
    const whole = lines(text, []).lines;
    for (let a = 0; a <= text.length; a++)
      for (let b = a; b <= text.length; b++) expect(lines(text, [a, b]).lines).toEqual(whole);
  });

  test('a line over the cap is cut, counted, and its end is dropped', () => {
    const long = 'x'.repeat(LINE_BYTES_MAX + 10);
    for (const cuts of [[], [5], [LINE_BYTES_MAX], [LINE_BYTES_MAX + 3]]) {
      const { lines: out, report } = lines(`${long}\nnext\n`, cuts);
      expect(out.map((line) => line.length)).toEqual([LINE_BYTES_MAX, 4]);
      expect(report.cutLines).toBe(1);
      expect(report.bytes).toBe(long.length + 6);
    }
  });
});
