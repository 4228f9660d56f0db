// The functions of rooms mm/migrate and mm/numa in the livepatch table.
import type { MigrateFns } from '../fns.ts';
import { doHugePmdNumaPage, doNumaPage } from '../numa/hinting.ts';
import { compactNode } from './compaction.ts';
import { memoryFailure, softOfflinePage } from './memory-failure.ts';
import { migratePages, unmapAndMove } from './migrate-pages.ts';
import { folioMigrateMapping } from './move-folio.ts';
import { removeMigrationPte, removeMigrationPtes } from './remove-entries.ts';
import { tryToMigrate, tryToMigrateOne } from './try-to-migrate.ts';

export const migrateFns: MigrateFns = {
  doNumaPage,
  doHugePmdNumaPage,
  tryToMigrate,
  tryToMigrateOne,
  removeMigrationPtes,
  removeMigrationPte,
  migratePages,
  unmapAndMove,
  folioMigrateMapping,
  memoryFailure,
  softOfflinePage,
  compactNode,
};
