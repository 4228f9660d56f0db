import { describe, expect, test } from 'vitest';
import { ImportReport } from './import-report.ts';
import { LackeyReader, lackeyAddress } from './lackey.ts';
import { encodeLatin1, LINE_BYTES_MAX } from './line-reader.ts';

const seed = Number(process.env['SEED'] ?? 1);

function read(
  text: string,
  cuts: readonly number[] = [],
  blockAccesses = 4,
): { accesses: string[]; report: ImportReport } {
  const report = new ImportReport('test.lackey');
  const accesses: string[] = [];
  const reader = new LackeyReader(
    report,
    (block) => {
      for (let i = 0; i < block.count; i++) {
        accesses.push(`${'ILSM'[block.kind[i]!]} ${lackeyAddress(block, i).toString(16)},${block.sizeBytes[i]}`);
      }
    },
    blockAccesses,
  );
  const bytes = encodeLatin1(text);
  let from = 0;
  for (const cut of [...cuts, bytes.length]) {
    reader.push(bytes.subarray(from, cut));
    from = cut;
  }
  reader.end();
  report.checkInvariants();
  return { accesses, report };
}

/** The naive twin: one regular expression a line, addresses through BigInt. */
function readNaively(text: string): { accesses: string[]; other: number } {
  const accesses: string[] = [];
  let other = 0;
  for (const line of text.split('\n')) {
    const match = /^ *([ILSM]) +([0-9a-fA-F]{1,16}),(\d{1,9})\r?$/.exec(line);
    if (match !== null && BigInt(`0x${match[2]}`) < 1n << 48n)
      accesses.push(`${match[1]} ${BigInt(`0x${match[2]}`).toString(16)},${Number(match[3])}`);
    else if (line !== '') other++;
  }
  return { accesses, other };
}

const TEXT = `==14537== Lackey, an example Valgrind tool
==14537==
I  0401ab70,3
 S 1fff000688,8
 L 04033e06,1
 M 04033e06,1\r
S 1fff000198,8
SB 0401ab70
--14572-- WARNING: unhandled amd64-linux syscall: 462
 L 7fffffffffff,32
==14537== Exit code:       0
`;

describe('lackey', () => {
  test('accesses of every kind between remarks', () => {
    const { accesses, report } = read(TEXT);
    expect(accesses).toEqual([
      'I 401ab70,3',
      'S 1fff000688,8',
      'L 4033e06,1',
      'M 4033e06,1',
      'S 1fff000198,8',
      'L 7fffffffffff,32',
    ]);
    expect(report.problems()).toEqual([]);
    expect(report.lines).toBe(11);
  });

  test('wherever the text is cut into chunks, the accesses and counts are the same', () => {
    const whole = read(TEXT);
    for (let a = 0; a <= TEXT.length; a++) {
      for (const b of [a, a + 1, a + 17]) {
        const cut = read(TEXT, [a, Math.min(b, TEXT.length)]);
        expect(cut.accesses).toEqual(whole.accesses);
        expect({ ...cut.report }).toEqual({ ...whole.report });
      }
    }
  });

  test('addresses are exact up to 48 bits; beyond, the access is left out and counted', () => {
    const { accesses, report } = read(
      ' L ffffffffffff,8\n L 1000000000000,8\n L ffffffffff600000,8\n L 0000000000001000,8\n',
    );
    expect(accesses).toEqual(['L ffffffffffff,8', 'L 1000,8']);
    expect(report.addressesOutOfRange).toBe(2);
    expect(report.parsed).toBe(4);
  });

  test('a cut last line is truncation, a whole one without newline is taken', () => {
    const cut = read(' L 1000,8\n L 10');
    expect(cut.accesses).toEqual(['L 1000,8']);
    expect(cut.report.truncatedAtByte).toBe(15);
    const whole = read(' L 1000,8\n L 2000,8');
    expect(whole.accesses).toEqual(['L 1000,8', 'L 2000,8']);
    expect(whole.report.lastLineWithoutNewline).toBe(true);
    expect(whole.report.isClean()).toBe(true);
  });

  test('an endless line costs bounded memory and is cut', () => {
    const { accesses, report } = read(
      `${' L 1000,8\n'}${'x'.repeat(LINE_BYTES_MAX + 5000)}\n L 2000,8\n`,
      [100, 5000, 200_000],
    );
    expect(accesses).toEqual(['L 1000,8', 'L 2000,8']);
    expect([report.cutLines, report.unknown]).toEqual([1, 1]);
  });

  test(`against one expression a line, on mutated text, SEED=${seed}`, () => {
    let state = seed | 1;
    const random = (below: number): number => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return (state >>> 0) % below;
    };
    const alphabet = 'ILSM  ,0123456789abcdefABCDEFgx\n\n\r=-';
    for (let round = 0; round < 3000; round++) {
      const bytes = [...TEXT];
      for (let i = random(12); i >= 0; i--) bytes[random(bytes.length)] = alphabet[random(alphabet.length)]!;
      const text = bytes.join('');
      const a = random(text.length);
      const { accesses, report } = read(text, [a, a + random(text.length - a)]);
      const naive = readNaively(text);
      expect(accesses, text).toEqual(naive.accesses);
      expect(report.lines, text).toBe(text.split('\n').length - (text.endsWith('\n') ? 1 : 0));
    }
  });
});
