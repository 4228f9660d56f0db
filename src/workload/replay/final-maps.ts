// The address space at the end of a process against the recorded one: start, end, permissions, file offset and name of every
// VMA. Left out, because no system call decides them: inode numbers and device of names that the kernel invents, the start of
// [stack] (it grows by faults) and [vsyscall] (not a VMA).

import { formatMapsLine, type MapsVma } from '../maps.ts';

export interface MapsDifference {
  /** "-" recorded and missing here, "+" here and not recorded. */
  readonly sign: '-' | '+';
  readonly line: string;
}

function keyOf(vma: MapsVma): string {
  const start = vma.name === '[stack]' ? '' : vma.start.toString(16);
  // Offsets of mappings without a file print as 0 in either.
  return `${start}-${vma.end.toString(16)} ${vma.perms} ${vma.offset.toString(16)} ${vma.name}`;
}

/** Differences in address order; empty when the maps are equal. */
export function compareMaps(recorded: readonly MapsVma[], actual: readonly MapsVma[]): MapsDifference[] {
  const isVma = (v: MapsVma): boolean => v.name !== '[vsyscall]';
  const want = new Map(recorded.filter(isVma).map((v) => [keyOf(v), v]));
  const have = new Map(actual.filter(isVma).map((v) => [keyOf(v), v]));
  const differences: { at: number; sign: '-' | '+'; line: string }[] = [];
  for (const [key, v] of want)
    if (!have.has(key)) differences.push({ at: v.start, sign: '-', line: formatMapsLine(v) });
  for (const [key, v] of have)
    if (!want.has(key)) differences.push({ at: v.start, sign: '+', line: formatMapsLine(v) });
  differences.sort((a, b) => a.at - b.at || (a.sign < b.sign ? 1 : -1));
  return differences.map(({ sign, line }) => ({ sign, line }));
}
