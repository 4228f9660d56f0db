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
import { pageAddAnonRmap, pageAddFileRmap, pageAddNewAnonRmap, pageRemoveRmap, pageTryShareAnonRmap } from './rmap.ts';

export const rmapFns = {
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
} as unknown as RmapFns;
