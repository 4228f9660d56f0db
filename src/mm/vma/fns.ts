// The functions of room mm/vma in the livepatch table.
import type { VmaFns } from '../fns.ts';
import { dupMm } from './dup-mm.ts';
import { exitMmap, mmPut } from './exit-mmap.ts';
import { expandStack } from './expand-stack.ts';
import { doMmap, mmapRegion } from './mmap.ts';
import { moveVma } from './move-vma.ts';
import { mprotectFixup } from './mprotect.ts';
import { doMunmap, removeVma, unmapRegion } from './munmap.ts';
import { mmPopulate } from './populate.ts';
import { linkVma, splitVma } from './split.ts';
import { getUnmappedArea } from './unmapped-area.ts';

export const vmaFns: VmaFns = {
  doMmap,
  getUnmappedArea,
  mmapRegion,
  doMunmap,
  unmapRegion,
  splitVma,
  mprotectFixup,
  moveVma,
  expandStack,
  mmPopulate,
  dupMm,
  mmPut,
  exitMmap,
  linkVma,
  removeVma,
};
