// The functions of room mm/file in the livepatch table.
import type { FileFns } from '../fns.ts';
import { deleteFromPageCache, filemapGetPage, findGetPage } from './page-cache.ts';
import { filemapWriteAndWaitRange, fileRead, fileWrite, writepage } from './read-write.ts';
import { evictInode, punchHole, shiftRange, truncate, unmapMappingRange, zeroRange } from './truncate.ts';

export const fileFns: FileFns = {
  findGetPage,
  filemapGetPage,
  deleteFromPageCache,
  writepage,
  filemapWriteAndWaitRange,
  unmapMappingRange,
  truncate,
  punchHole,
  zeroRange,
  shiftRange,
  fileWrite,
  fileRead,
  evictInode,
};
