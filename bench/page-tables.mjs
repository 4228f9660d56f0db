// @ts-check
/** A CPU with real page tables for a set of pages, without a kernel. */
import { load } from './simulated.mjs';

/** @type {typeof import('../src/hw/phys.ts')} */
const { PhysMemory } = await load('hw/phys.js');
/** @type {typeof import('../src/hw/cpu.ts')} */
const { Cpu } = await load('hw/cpu.js');
/** @type {typeof import('../src/hw/pte.ts')} */
const { entryWord, writeEntry } = await load('hw/pte.js');

/** P RW US A D: the walker has nothing left to set. */
const LEAF = 0x67;
const ASID = 1;
const ROOT = 1;

/**
 * A CPU that has the pages mapped, each to a frame of its own.
 * @param {Iterable<number>} pages virtual page numbers @param {number} sets @param {number} ways
 */
export function cpuWithPages(pages, sets, ways) {
  const memory = new PhysMemory(32768);
  let next = ROOT + 1;
  /** @param {number} word @param {number} flags */
  const frameAt = (word, flags) => {
    const lo = memory.words[word] ?? 0;
    if (lo !== 0) return lo >>> 12;
    writeEntry(memory, word, (next << 12) | flags, 0, ASID, 0, 0);
    return next++;
  };
  for (const page of pages) {
    let table = ROOT;
    for (let shift = 27; shift > 0; shift -= 9)
      table = frameAt(entryWord(table, Math.floor(page / 2 ** shift) % 512), LEAF);
    frameAt(entryWord(table, page % 512), LEAF);
  }
  const cpu = new Cpu(0, memory, sets, ways);
  cpu.load(ASID, ROOT);
  return cpu;
}
