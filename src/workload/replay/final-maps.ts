// The address space at the end of a process against the recorded one: start, end, permissions, file offset and name of every
// VMA. Left out, because no system call decides them: inode numbers and device of names that the kernel invents, the start of
// [stack] (it grows by faults) and [vsyscall] (not a VMA).
//
// A recording without initial maps does not show what execve mapped: the program's segments below the heap, and what lies
// above the first mapping (vdso, dynamic linker, stack). Such lines of the recorded map are not compared, and counted
// (`splitKnown`); everything that a recorded call made still is.

import { formatMapsLine, type MapsVma } from '../maps.ts';

export interface MapsDifference {
  /** "-" recorded and missing here, "+" here and not recorded. */
  readonly sign: '-' | '+';
  readonly line: string;
}

/** Names of SysV segments are their keys, which the recordings' texts have renumbered, and their maps have not. */
function nameOf(vma: MapsVma): string {
  return vma.name.replace(/^\/SYSV[0-9a-f]{8}(?= \(deleted\)$)/, '/SYSV');
}

function keyOf(vma: MapsVma): string {
  const start = vma.name === '[stack]' ? '' : vma.start.toString(16);
  // Offsets of mappings without a file print as 0 in either.
  return `${start}-${vma.end.toString(16)} ${vma.perms} ${vma.offset.toString(16)} ${nameOf(vma)}`;
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

/** The lines of a recorded map that recorded calls can have made, and how many lines execve made, in a layout that was learned
 *  from its start of the heap and the top of its mappings. */
export function splitKnown(
  recorded: readonly MapsVma[],
  startBrk: number,
  mmapBase: number,
): { known: MapsVma[]; unknownLines: number } {
  // The program: the file next below the heap, and memory without a file that adjoins its segments (bss).
  const program = recorded.findLast((v) => v.end <= startBrk && v.name.startsWith('/'))?.name;
  let segmentsEnd = 0;
  let unknownLines = 0;
  const known: MapsVma[] = [];
  for (const v of recorded) {
    const isSegment = v.end <= startBrk && (v.name === program || (v.name === '' && v.start === segmentsEnd));
    if (isSegment) segmentsEnd = v.end;
    if (!isSegment && v.start < mmapBase) known.push(v);
    else if (v.name !== '[vsyscall]') unknownLines++;
  }
  return { known, unknownLines };
}
