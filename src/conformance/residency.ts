// What is mapped where, in the letters of /proc/PID/pagemap: P present, S swap or migration entry, F page of a file or of shared
// memory, x mapped only here (fs/proc/task_mmu.c pte_to_pagemap_entry). Soft-dirty and uffd-wp letters of recordings are not
// compared. Areas above 256 MiB are left out, as the recorder does.

import { PTE_P, PTE_PS } from '../abi/pte.ts';
import { vpnHi, vpnLo } from '../hw/page-table.ts';
import { entryWord } from '../hw/pte.ts';
import { pmdFrame, pmdTransHuge } from '../mm/huge/pmd.ts';
import { isHugeZero } from '../mm/huge/zero-page.ts';
import type { Kernel } from '../mm/kernel.ts';
import { compoundHead } from '../mm/page/compound.ts';
import { PG_ANON } from '../mm/page/pages.ts';
import { isHwpoison, isMigration, isPfnSwap, swapPfn } from '../mm/page/pfn-swap.ts';
import { pteFrame, ptePresent } from '../mm/page/swapops.ts';
import type { MmStruct } from '../mm/types.ts';
import { pageName } from './capture.ts';
import { address, type TraceRecord } from './record.ts';

const AREA_BYTES_MAX = 256 << 20;
const PMD_SIZE = 0x200000;

/** One mapped page: its letters and its name ("" for what is not present). */
export interface PageState {
  readonly letters: string;
  readonly page: string;
}

/** Page address -> state. */
export type Residency = Map<number, PageState>;

/** Everything that is mapped in `mm`. */
export function residencyOf(k: Kernel, mm: MmStruct): Residency {
  const found: Residency = new Map();
  for (let v = mm.vmas.first(); v !== null; v = mm.vmas.next(v)) {
    if (v.end - v.start > AREA_BYTES_MAX) continue;
    for (let at = v.start; at < v.end; at = nextPmd(at)) readPmd(k, mm, at, Math.min(v.end, nextPmd(at)), found);
  }
  return found;
}

function nextPmd(at: number): number {
  return (Math.floor(at / PMD_SIZE) + 1) * PMD_SIZE;
}

/** The low word of the PMD entry of `at`; 0 when there is no table. */
function pmdEntry(k: Kernel, mm: MmStruct, at: number): { lo: number; hi: number } {
  const { words } = k.memory;
  const hi = vpnHi(at);
  const pgd = words[entryWord(mm.pgd, hi >>> 9)]!;
  if ((pgd & PTE_P) === 0) return { lo: 0, hi: 0 };
  const pud = words[entryWord(pgd >>> 12, hi & 511)]!;
  if ((pud & (PTE_P | PTE_PS)) !== PTE_P) return { lo: 0, hi: 0 };
  const word = entryWord(pud >>> 12, vpnLo(at) >>> 9);
  return { lo: words[word]!, hi: words[word + 1]! };
}

function readPmd(k: Kernel, mm: MmStruct, from: number, to: number, found: Residency): void {
  const { lo, hi } = pmdEntry(k, mm, from);
  if (lo === 0 && hi === 0) return;
  const isLeaf = (lo & PTE_P) === 0 || (lo & PTE_PS) !== 0;
  const { words } = k.memory;
  for (let at = from; at < to; at += 4096) {
    if (isLeaf) {
      if (pmdTransHuge(lo)) found.set(at, present(k, pmdFrame(lo) + (Math.floor(at / 4096) & 511)));
      else found.set(at, { letters: 'S', page: '' });
      continue;
    }
    const word = entryWord(lo >>> 12, vpnLo(at) & 511);
    const [l, h] = [words[word]!, words[word + 1]!];
    if (ptePresent(l)) found.set(at, present(k, pteFrame(l)));
    else if (l !== 0 || h !== 0) found.set(at, { letters: notPresent(k, l, h), page: '' });
  }
}

/** An entry that names a page counts as that page does. A page on its way is mapped nowhere. */
function notPresent(k: Kernel, lo: number, hi: number): string {
  if (!isPfnSwap(hi)) return 'S';
  const { pages } = k;
  const pfn = swapPfn(lo);
  const isFile = !isHwpoison(hi) && (pages.flags[compoundHead(pages, pfn)]! & PG_ANON) === 0;
  return `S${isFile ? 'F' : ''}${!isMigration(hi) && !isHwpoison(hi) && pages.mapcount[pfn] === 1 ? 'x' : ''}`;
}

function present(k: Kernel, pfn: number): PageState {
  const { pages } = k;
  const page = pageName(pfn, k.memory.generation[pfn]!);
  const head = compoundHead(pages, pfn);
  if (isHugeZero(k, head)) return { letters: 'PF', page };
  if (pfn === k.zeroPfn || pages.flags[head] === 0) return { letters: 'P', page };
  const isFile = (pages.flags[head]! & PG_ANON) === 0;
  const count = pages.mapcount[pfn]! + (pages.order[head]! > 0 ? pages.compoundMapcount[head]! : 0);
  const isExclusive = count === 1;
  return { letters: `P${isFile ? 'F' : ''}${isExclusive ? 'x' : ''}`, page };
}

/** The recorded state of one process, kept up to date from its `pages` records. */
export class RecordedResidency {
  readonly pages: Residency = new Map();

  apply(record: TraceRecord): void {
    for (const [at, count, letters, page] of record['d'] as readonly (readonly [string, number, string, string?])[]) {
      const start = address(at);
      for (let i = 0; i < count; i++) {
        if (letters === '') this.pages.delete(start + i * 4096);
        else this.pages.set(start + i * 4096, { letters: letters.replaceAll(/[dw]/g, ''), page: nth(page ?? '', i) });
      }
    }
  }
}

/** Page `i` of a run: "g7", "g7+1", ... */
function nth(page: string, i: number): string {
  if (i === 0 || page === '') return page;
  const [id, offset] = page.split('+');
  return `${id}+${Number(offset ?? 0) + i}`;
}
