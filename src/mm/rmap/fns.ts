// The functions of room mm/rmap in the livepatch table.
import type { RmapFns } from '../fns.ts';
import {
  afterVmaResize,
  anonVmaClone,
  anonVmaFork,
  anonVmaPrepare,
  beforeVmaResize,
  linkFileVma,
  unlinkAnonVmas,
  unlinkFileVma,
} from './anon-vma.ts';
import { flushTlbBatchedPending, tryToUnmapFlush, tryToUnmapFlushDirty } from './flush-batch.ts';
import { pageMkclean, pageMkcleanOne } from './mkclean.ts';
import { folioReferenced, folioReferencedOne } from './referenced.ts';
import { pageAddAnonRmap, pageAddFileRmap, pageAddNewAnonRmap, pageRemoveRmap, pageTryShareAnonRmap } from './rmap.ts';
import { tryToUnmap, tryToUnmapOne } from './unmap.ts';

export const rmapFns: RmapFns = {
  anonVmaPrepare,
  anonVmaClone,
  anonVmaFork,
  unlinkAnonVmas,
  linkFileVma,
  unlinkFileVma,
  beforeVmaResize,
  afterVmaResize,
  pageAddNewAnonRmap,
  pageAddAnonRmap,
  pageAddFileRmap,
  pageRemoveRmap,
  pageTryShareAnonRmap,
  tryToUnmap,
  tryToUnmapOne,
  tryToUnmapFlush,
  tryToUnmapFlushDirty,
  flushTlbBatchedPending,
  folioReferenced,
  folioReferencedOne,
  pageMkclean,
  pageMkcleanOne,
};
