// Blocks of an Intel IOMMU, spans of an ARM SMMU: every range of a small space, against the definition. What is issued contains what was
// asked for, and the hardware can be told so.
import { expect, it } from 'vitest';
import { ARM_SMMU_DEFAULTS } from '../arm-smmu/config.ts';
import { atcSpan, tlbiSpans } from '../arm-smmu/ranges.ts';
import { type Block, coveringBlock, splitBlocks } from './blocks.ts';

const PAGE = 4096;
const SPACE = 70;
const ALL = Number.POSITIVE_INFINITY;

/** Calls `check` with every range of pages [first, end). */
function everyRange(check: (first: number, end: number) => void): void {
  for (let first = 0; first < SPACE; first++) for (let end = first + 1; end <= SPACE; end++) check(first, end);
}

/** Pages [first, end) that the block names. */
function pages(b: Block): [number, number] {
  return [b.start / PAGE, b.end / PAGE];
}

function isNatural(b: Block): boolean {
  const [first, end] = pages(b);
  return Number.isInteger(Math.log2(end - first)) && first % (end - first) === 0;
}

it('split: blocks of equal size side by side, at most two, which contain the range', () => {
  everyRange((first, end) => {
    const blocks = splitBlocks(first * PAGE, end * PAGE);
    expect(blocks.every(isNatural)).toBe(true);
    expect(blocks.length).toBeLessThanOrEqual(2);
    expect(blocks[0]!.start <= first * PAGE && blocks.at(-1)!.end >= end * PAGE).toBe(true);
    if (blocks.length === 2) expect(blocks[1]!.start).toBe(blocks[0]!.end);
    // Both are needed, and none could be smaller.
    expect(blocks[0]!.end > first * PAGE && blocks.at(-1)!.start < end * PAGE).toBe(true);
    const size = blocks[0]!.end - blocks[0]!.start;
    expect(size >= (end - first) * PAGE && size < 2 * (end - first) * PAGE).toBe(true);
  });
});

it('cover: the smallest block that contains the range, or the whole PASID', () => {
  everyRange((first, end) => {
    const block = coveringBlock(first * PAGE, end * PAGE, 18);
    expect(isNatural(block) && block.start <= first * PAGE && block.end >= end * PAGE).toBe(true);
    const half = (block.end - block.start) / 2;
    const fitsHalf = Math.floor((first * PAGE) / half) === Math.floor((end * PAGE - 1) / half);
    expect(half < PAGE || !fitsHalf).toBe(true);
    const small = coveringBlock(first * PAGE, end * PAGE, 2);
    const isTooLarge = block.end - block.start > 4 * PAGE;
    expect(small).toEqual(isTooLarge ? { start: 0, end: ALL } : block);
  });
});

it('TLBI: the range and nothing else; each command a number of pages that NUM and SCALE can name', () => {
  everyRange((first, end) => {
    const spans = tlbiSpans(first * PAGE, end * PAGE, ARM_SMMU_DEFAULTS);
    let at = first;
    for (const span of spans) {
      expect(pages(span)[0]).toBe(at);
      at = pages(span)[1];
      let count = at - pages(span)[0];
      while (count % 2 === 0) count /= 2;
      expect(count).toBeLessThanOrEqual(31);
    }
    expect(at).toBe(end);
  });
  expect(tlbiSpans(0, 77 * PAGE, ARM_SMMU_DEFAULTS).map(pages)).toEqual([
    [0, 13],
    [13, 77],
  ]);
});

it('TLBI without range commands: a page each, the ASID from the limit on', () => {
  const config = { ...ARM_SMMU_DEFAULTS, hasRangeInvalidation: false, tlbiOpsMax: 8 };
  everyRange((first, end) => {
    const spans = tlbiSpans(first * PAGE, end * PAGE, config);
    if (end - first >= 8) expect(spans).toEqual([{ start: 0, end: ALL }]);
    else expect(spans.map(pages)).toEqual(Array.from({ length: end - first }, (_, i) => [first + i, first + i + 1]));
  });
});

it('ATC_INV: the smallest block that contains the range', () => {
  everyRange((first, end) => {
    expect(atcSpan(first * PAGE, end * PAGE)).toEqual(coveringBlock(first * PAGE, end * PAGE, 30));
  });
  expect([atcSpan(8 * PAGE, 12 * PAGE), atcSpan(7 * PAGE, 9 * PAGE)].map(pages)).toEqual([
    [8, 12],
    [0, 16],
  ]);
});

it('the whole address space stays whole', () => {
  const whole = { start: 0, end: ALL };
  expect([
    splitBlocks(0, ALL),
    [coveringBlock(0, ALL, 18)],
    tlbiSpans(0, ALL, ARM_SMMU_DEFAULTS),
    [atcSpan(0, ALL)],
  ]).toEqual([[whole], [whole], [whole], [whole]]);
});
