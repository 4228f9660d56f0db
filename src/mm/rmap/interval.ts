// Interval trees of VMAs by page offset (mm/interval_tree.c), as sorted arrays: ordered by first page offset, ties in order
// of insertion, a forked copy right after its parent: the order in which Linux's tree visits equal starts. One for each anon_vma (chains) and each file
// (i_mmap). Key is the VMA's own pgoff, so a VMA leaves the array before its pgoff changes. Guarded by the rmap lock.

import { assert } from '../../base/assert.ts';
import type { AnonVmaChain, VmArea } from '../types.ts';

/** Last page offset of the VMA. */
function lastOffset(vma: VmArea): number {
  return vma.pgoff + (vma.end - vma.start) / 4096 - 1;
}

/** First position whose start is above `pgoff`. */
function upperBound(list: readonly VmArea[], pgoff: number): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const mid = (low + high) >>> 1;
    if (list[mid]!.pgoff <= pgoff) low = mid + 1;
    else high = mid;
  }
  return low;
}

function chainUpperBound(list: readonly AnonVmaChain[], pgoff: number): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const mid = (low + high) >>> 1;
    if (list[mid]!.vma.pgoff <= pgoff) low = mid + 1;
    else high = mid;
  }
  return low;
}

/** vma_interval_tree_insert. */
export function intervalInsert(list: VmArea[], vma: VmArea): void {
  const at = upperBound(list, vma.pgoff);
  if (at === list.length) list.push(vma);
  else list.splice(at, 0, vma);
}

/** vma_interval_tree_insert_after: a copy with the bounds of `prev`, which is in the tree. */
export function intervalInsertAfter(list: VmArea[], vma: VmArea, prev: VmArea): void {
  const at = list.lastIndexOf(prev, upperBound(list, prev.pgoff) - 1);
  assert(at >= 0 && vma.pgoff === prev.pgoff, 'intervalInsertAfter: prev is in the tree');
  list.splice(at + 1, 0, vma);
}

/** vma_interval_tree_remove. The VMA's pgoff is the one that it was inserted with. */
export function intervalRemove(list: VmArea[], vma: VmArea): void {
  let at = upperBound(list, vma.pgoff) - 1;
  while (at >= 0 && list[at] !== vma && list[at]!.pgoff === vma.pgoff) at--;
  assert(at >= 0 && list[at] === vma, 'intervalRemove: VMA is in the tree');
  if (at === list.length - 1) list.pop();
  else list.splice(at, 1);
}

/** Position of the next VMA from `from` on that holds any page of [first, last], or -1. */
export function intervalNext(list: readonly VmArea[], from: number, first: number, last: number): number {
  for (let i = from; i < list.length; i++) {
    const vma = list[i]!;
    if (vma.pgoff > last) return -1;
    if (lastOffset(vma) >= first) return i;
  }
  return -1;
}

/** anon_vma_interval_tree_insert. */
export function chainInsert(list: AnonVmaChain[], chain: AnonVmaChain): void {
  const at = chainUpperBound(list, chain.vma.pgoff);
  if (at === list.length) list.push(chain);
  else list.splice(at, 0, chain);
}

/** anon_vma_interval_tree_remove. */
export function chainRemove(list: AnonVmaChain[], chain: AnonVmaChain): void {
  let at = chainUpperBound(list, chain.vma.pgoff) - 1;
  while (at >= 0 && list[at] !== chain && list[at]!.vma.pgoff === chain.vma.pgoff) at--;
  assert(at >= 0 && list[at] === chain, 'chainRemove: chain is in the tree');
  if (at === list.length - 1) list.pop();
  else list.splice(at, 1);
}

/** Position of the next chain from `from` on whose VMA holds any page of [first, last], or -1. */
export function chainNext(list: readonly AnonVmaChain[], from: number, first: number, last: number): number {
  for (let i = from; i < list.length; i++) {
    const vma = list[i]!.vma;
    if (vma.pgoff > last) return -1;
    if (lastOffset(vma) >= first) return i;
  }
  return -1;
}
