// The functions of room mm/migrate in the livepatch table.
import type { MigrateFns } from '../fns.ts';
import { compactNode } from './compaction.ts';
import { memoryFailure, softOfflinePage } from './memory-failure.ts';
import { migratePages, unmapAndMove } from './migrate-pages.ts';
import { folioMigrateMapping } from './move-folio.ts';
import { removeMigrationPte, removeMigrationPtes } from './remove-entries.ts';
import { tryToMigrate, tryToMigrateOne } from './try-to-migrate.ts';

export const migrateFns: MigrateFns = {
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
