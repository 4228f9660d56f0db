// Where the files of recordings lie: on the disk, or wherever else somebody keeps them.

import type { ImportReport } from './import-report.ts';
import { findRecording, readChunks } from './input.ts';

/** Files by path. */
export interface RecordingFiles {
  /** The path itself, or that of its compressed form; null: there is no such file. */
  find(path: string): string | null;
  chunks(path: string, report: ImportReport): AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

export const DISK: RecordingFiles = { find: findRecording, chunks: readChunks };
