// Probes in programs (kernel/events/uprobes.c): a breakpoint instruction at an offset of a file, in every address space that
// maps the file there privately and executable, now or later. The page of the page cache stays as it is: each address space gets a
// copy with the breakpoint in it, and, when the probe goes, nothing in its place (the next access finds the file's page again)
// or a copy without it, if the page was changed otherwise.
//
//   uprobe_write_opcode   get_user_pages; copy; S(CLEAR, x, x+PAGE) with x the address of the probe itself, not of its page;
//                         rmap+ of the copy; PT− F(x, x+PAGE) R(page); C; PT+; rmap− E
//
// Locks: uprobe->register_rwsem is not modelled (one registration at a time); mmapLock for write; page lock; ptl.
// Kernel names: register_for_each_vma, build_map_info, install_breakpoint, set_swbp, set_orig_insn, __replace_page, uprobe_mmap.

import { EAGAIN, EINVAL, ENOMEM } from '../../abi/errno.ts';
import { FRAME_ANON } from '../../abi/events.ts';
import { MM_ANONPAGES, VM_HUGETLB, VM_MAYEXEC, VM_MAYSHARE, VM_WRITE } from '../../abi/mman.ts';
import { MMU_NOTIFY_CLEAR, SITE_COW } from '../../abi/notifier.ts';
import type { AtomicPath, KernelPath } from '../../sched/path.ts';
import { filePages } from '../file/page-cache.ts';
import { FOLL_FORCE, FOLL_REMOTE } from '../gup/flags.ts';
import type { Kernel } from '../kernel.ts';
import { pagesIdentical } from '../ksm/content.ts';
import { lockPage, lockPageFast, unlockPage } from '../page/page-lock.ts';
import { GFP_KERNEL, PG_ANON, PG_UPTODATE } from '../page/pages.ts';
import { mkPteHi, mkPteLo } from '../page/swapops.ts';
import { mmCounterFile, updateHiwaterRss } from '../rmap/rmap.ts';
import { mappedWord, setEntry } from '../rmap/walk.ts';
import type { Inode, MmStruct, VmArea } from '../types.ts';
import { ptepClearFlush } from '../zap/clear-flush.ts';

/** UPROBE_SWBP_INSN of x86: int3. */
const BREAKPOINT = 0xcc;

/** A registered probe. */
export class Uprobe {
  readonly inode: Inode;
  /** Byte offset in the file. */
  readonly offset: number;
  /** The instruction's first byte. */
  original = 0;

  constructor(inode: Inode, offset: number) {
    this.inode = inode;
    this.offset = offset;
  }
}

/** valid_vma. A breakpoint is only put where the program cannot write. */
function isValidVma(vma: VmArea, isRegister: boolean): boolean {
  const flags = VM_HUGETLB | VM_MAYEXEC | VM_MAYSHARE | (isRegister ? VM_WRITE : 0);
  return vma.file !== null && (vma.flags & flags) === VM_MAYEXEC;
}

/** offset_to_vaddr. */
function probeAddress(vma: VmArea, probe: Uprobe): number {
  return vma.start + probe.offset - vma.pgoff * 4096;
}

/** Puts a breakpoint at byte `offset` of the file wherever it is mapped, and will be. 0, -EINVAL (beyond the end) or -ENOMEM. */
export function* uprobeRegister(k: Kernel, inode: Inode, offset: number): KernelPath<number> {
  if (offset < 0 || offset >= inode.size) return -EINVAL;
  const probe = new Uprobe(inode, offset);
  const pfn = yield* k.fn.filemapGetPage(k, inode.mapping, Math.floor(offset / 4096));
  if (pfn < 0) return pfn;
  k.memory.touch(pfn, false);
  probe.original = k.memory.bytes[pfn * 4096 + (offset % 4096)]!;
  k.fn.putPage(k, pfn);
  k.uprobes.push(probe);
  return yield* forEachVma(k, probe, true);
}

/** Takes the probe away again. 0 or -errno; -EINVAL when there is none. */
export function* uprobeUnregister(k: Kernel, inode: Inode, offset: number): KernelPath<number> {
  const at = k.uprobes.findIndex((p) => p.inode === inode && p.offset === offset);
  if (at < 0) return -EINVAL;
  return yield* forEachVma(k, k.uprobes.splice(at, 1)[0]!, false);
}

/** register_for_each_vma. build_map_info collects the places under the i_mmap lock, the last one found first. */
function* forEachVma(k: Kernel, probe: Uprobe, isRegister: boolean): KernelPath<number> {
  const { mapping } = probe.inode;
  const lock = mapping.iMmapRwsem;
  if (k.sched.points || !lock.tryRead()) yield* lock.readLock();
  const page = Math.floor(probe.offset / 4096);
  const places: { mm: MmStruct; address: number }[] = [];
  for (const vma of mapping.iMmap) {
    const holds = vma.pgoff <= page && page < vma.pgoff + (vma.end - vma.start) / 4096;
    if (!holds || !isValidVma(vma, isRegister) || vma.mm.users === 0) continue;
    vma.mm.users++;
    places.unshift({ mm: vma.mm, address: probeAddress(vma, probe) });
  }
  lock.readUnlock();
  let error = 0;
  for (const { mm, address } of places) {
    if (error === 0) {
      if (k.sched.points || !mm.mmapLock.tryWrite()) yield* mm.mmapLock.writeLock();
      const vma = mm.vmas.findExact(address);
      const isStill = vma !== null && isValidVma(vma, isRegister) && vma.file!.inode === probe.inode;
      if (isStill && probeAddress(vma, probe) === address)
        error = yield* k.fn.uprobeWriteOpcode(k, vma, address, isRegister ? BREAKPOINT : probe.original);
      mm.mmapLock.writeUnlock();
    }
    yield* k.fn.mmPut(k, mm);
  }
  return error;
}

/** uprobe_mmap: the breakpoints of a new mapping. Errors leave it without. mmapLock W. */
export function* uprobeMmap(k: Kernel, vma: VmArea): KernelPath<void> {
  if (!isValidVma(vma, true)) return;
  for (const probe of k.uprobes) {
    const address = probeAddress(vma, probe);
    if (probe.inode === vma.file!.inode && address >= vma.start && address < vma.end)
      yield* k.fn.uprobeWriteOpcode(k, vma, address, BREAKPOINT);
  }
}

const onePage = new Int32Array(1);

/** uprobe_write_opcode: 0 (also when the opcode is there already) or -errno. mmapLock W. */
export function* uprobeWriteOpcode(k: Kernel, vma: VmArea, address: number, opcode: number): KernelPath<number> {
  for (;;) {
    const got = yield* k.fn.getUserPages(k, vma.mm, address, 1, FOLL_FORCE | FOLL_REMOTE, onePage);
    if (got <= 0) return got;
    const old = onePage[0]!;
    const result = yield* writeOpcode(k, vma, address, old, opcode);
    k.fn.putPage(k, old);
    if (result !== -EAGAIN) return result;
  }
}

/** With the page that is mapped now. -EAGAIN: it is another by now. */
function* writeOpcode(k: Kernel, vma: VmArea, address: number, old: number, opcode: number): KernelPath<number> {
  const m = k.memory;
  const at = address % 4096;
  m.touch(old, false);
  const isRegister = opcode === BREAKPOINT;
  // verify_opcode.
  if ((m.bytes[old * 4096 + at] === BREAKPOINT) === isRegister) return 0;
  if (!isRegister && (k.pages.flags[old]! & PG_ANON) === 0) return 0;
  const prepared = yield* k.fn.anonVmaPrepare(k, vma);
  if (prepared < 0) return prepared;
  let page = k.fn.allocPage(k, GFP_KERNEL, FRAME_ANON);
  if (page === 0) page = yield* k.fn.allocPagesSlow(k, GFP_KERNEL, FRAME_ANON);
  if (page === 0) return -ENOMEM;
  m.copy(page, old);
  m.bytes[page * 4096 + at] = opcode;
  if (!isRegister && isFilePage(k, vma, address, page)) {
    k.fn.putPage(k, page);
    page = 0;
  }
  const result = yield* replacePage(k, vma, address, old, page);
  if (page !== 0) k.fn.putPage(k, page);
  return result;
}

/** Are these the bytes of the file's own page? */
function isFilePage(k: Kernel, vma: VmArea, address: number, page: number): boolean {
  const { mapping } = vma.file!.inode;
  const index = vma.pgoff + Math.floor((address - vma.start) / 4096);
  const cached = index < filePages(mapping) ? mapping.pages.get(index) : undefined;
  return cached !== undefined && (k.pages.flags[cached]! & PG_UPTODATE) !== 0 && pagesIdentical(k, page, cached);
}

/** __replace_page: `page` (0: none) where `old` is mapped. 0 or -EAGAIN. */
function* replacePage(k: Kernel, vma: VmArea, address: number, old: number, page: number): KernelPath<number> {
  const { mm } = vma;
  const pageStart = address - (address % 4096);
  const from = k.profile.uprobeWholePage ? pageStart : address;
  const range = mm.notifiers === null ? null : k.range(mm, from, from + 4096, MMU_NOTIFY_CLEAR, SITE_COW);
  if (k.sched.points || !lockPageFast(k, old)) yield* lockPage(k, old);
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeStart(k, range);
  let word = mappedWord(k, mm, pageStart, old);
  if (word >= 0) {
    const ptl = word >>> 10;
    if (k.sched.points || !k.ptl.tryLock(ptl)) yield* k.ptl.lock(ptl);
    word = mappedWord(k, mm, pageStart, old);
    if (word >= 0) yield* putInPlace(k, vma, k.profile.uprobeWholePage ? pageStart : address, word, old, page);
    k.ptl.unlock(ptl);
  }
  if (range !== null) yield* k.fn.mmuNotifierInvalidateRangeEnd(k, range, false);
  unlockPage(k, old);
  return word < 0 ? -EAGAIN : 0;
}

/** ptl held. */
function* putInPlace(
  k: Kernel,
  vma: VmArea,
  address: number,
  word: number,
  old: number,
  page: number,
): AtomicPath<void> {
  const { mm } = vma;
  const { flags, mapcount, refcount } = k.pages;
  const pageStart = address - (address % 4096);
  const isOldAnon = (flags[old]! & PG_ANON) !== 0;
  updateHiwaterRss(mm);
  if (page === 0) mm.rss[MM_ANONPAGES]!--;
  else {
    refcount[page]!++;
    k.fn.pageAddNewAnonRmap(k, page, vma, address);
    k.fn.lruAdd(k, page);
  }
  if (!isOldAnon) {
    mm.rss[mmCounterFile(k.pages, old)]!--;
    mm.rss[MM_ANONPAGES]!++;
  }
  yield* ptepClearFlush(k, vma, address, word, SITE_COW);
  if (mm.notifiers !== null) yield* k.fn.mmuNotifierPteCleared(k, mm, pageStart, pageStart + 4096, SITE_COW, false);
  if (page !== 0) {
    const lo = mkPteLo(page, vma.pageProtLo);
    const hi = mkPteHi(vma.pageProtLo, vma.pageProtHi);
    if (mm.notifiers !== null && k.profile.changePte) yield* k.fn.mmuNotifierChangePte(k, mm, address, lo, hi);
    setEntry(k, mm, word, lo, hi, pageStart);
  }
  k.fn.pageRemoveRmap(k, old, vma, pageStart);
  if (mapcount[old] === 0 && isOldAnon) k.fn.folioFreeSwap(k, old);
  k.fn.putPage(k, old);
}
