import {
  defineBug,
  entryLo,
  FAULT_FLAG_REMOTE,
  FAULT_FLAG_WRITE,
  type KernelPath,
  PTE_D,
  PTE_P,
  PTE_RW,
  pteOffset,
  ptePfn,
  pteTable,
  type ScenarioContext,
} from 'shootdown';

const FORBIDDEN = 0xbad;

/** __get_user_pages with FOLL_WRITE | FOLL_FORCE, as ptrace and /proc/PID/mem use it, and a store through what it found. `dropsIntent`:
 *  once the copy was made, the retry asks for reading only. */
function* forcedWrite(c: ScenarioContext, dropsIntent: boolean): KernelPath<void> {
  const { kernel: k } = c;
  const { mm } = c.task('main');
  const va = c.va(0);
  yield* mm!.mmapLock.readLock();
  const vma = mm!.vmas.findExact(va)!;
  let write = true;
  let isCopied = false;
  let pfn = 0;
  for (let attempt = 0; attempt < 4 && pfn === 0; attempt++) {
    const table = pteTable(k, mm!, va);
    if (table !== 0) {
      yield* k.ptl.lock(table);
      const lo = entryLo(k.memory, pteOffset(table, va));
      // can_follow_write_pte: the private copy is known by its dirty bit.
      const mayWrite = (lo & PTE_RW) !== 0 || (isCopied && (lo & PTE_D) !== 0);
      if ((lo & PTE_P) !== 0 && (!write || mayWrite)) {
        pfn = ptePfn(lo);
        k.pages.refcount[pfn]!++;
      }
      k.ptl.unlock(table);
    }
    if (pfn !== 0) break;
    yield* k.fn.handleMmFault(k, vma, va, FAULT_FLAG_REMOTE | (write ? FAULT_FLAG_WRITE : 0));
    if (dropsIntent) write = false;
    else isCopied = true;
  }
  mm!.mmapLock.readUnlock();
  if (pfn === 0) return;
  k.memory.touch(pfn, true);
  k.memory.words[pfn * 1024] = FORBIDDEN;
  k.fn.putPage(k, pfn);
  const cached = c.inode('secret').mapping.pages.get(0);
  if (cached === undefined) return;
  k.memory.touch(cached, false);
  c.claim(
    k.memory.words[cached * 1024] !== FORBIDDEN,
    'STALE-PERM',
    'A forced write to a private mapping of a read-only file has changed the file: it was stored into the page cache.',
  );
}

function scenario(dropsIntent: boolean) {
  return {
    name: 'forced write beside DONTNEED',
    summary: 'a private mapping of a file is written by force while another thread throws the copy away',
    bound: false,
    files: { secret: 1 },
    setup: [{ do: 'mmap', at: 0, file: 'secret', prot: 'r' }],
    threads: {
      writer: {
        on: 'kernel',
        steps: [{ do: 'run', name: 'forced write', path: (c: ScenarioContext) => forcedWrite(c, dropsIntent) }],
      },
      madvise: { steps: [{ do: 'madvise', at: 0, advice: 'dontneed' }] },
    },
  } as const;
}

const revision = { design: 'linux-6.1', driver: 'iommu-v2' } as const;

export default defineBug({
  number: 27,
  id: 'dirty-cow',
  title: 'Dirty COW',
  year: '2016',
  summary:
    'A forced write forgets between its fault and its retry that it wants to write, and gets the page of the file itself.',
  evidence:
    'CVE-2016-5195, commit 19be0eaffa3a "mm: remove gup_flags FOLL_WRITE games from __get_user_pages()" (4.9); its sibling for huge ' +
    'pages, CVE-2017-1000405, a8f97366452e. Both checked.',
  tag: 'STALE-PERM',
  steps: '5',
  scenario: scenario(true),
  historic: { what: 'Linux 4.8: after the copy was made, the retry is a read', ...revision },
  fixed: {
    what: 'Linux 4.9: the retry is a write, and accepts the copy by its dirty bit',
    ...revision,
    scenario: scenario(false),
  },
  story: `
1. Thread 1 writes by force to a private mapping of a file that it may only read. The fault copies F1 to F2, and the retry is to be
   a read: the write bit would not be there anyhow.
2. Thread 2: MADV_DONTNEED throws F2 away.
3. Thread 1 retries, as a read: no entry; the fault maps F1, the page of the file.
4. The look-up succeeds, with F1.
5. Thread 1 stores into F1. Everybody who maps the file sees it.

No TLB is needed. What a retry relies on must be kept, not concluded from what the first attempt should have done.`,
});
