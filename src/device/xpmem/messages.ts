// What partitions say to each other (XPMEM runs one kernel per partition; they share memory, not data structures). Messages to one
// partition arrive in the order in which they were sent: a reply that grants a page is installed before the recall that takes
// it back is looked at.

import type { Importer } from './importer.ts';

/** Reply codes. */
export const GRANTED = 0;
/** Not now: ask again. */
export const REFUSED = 1;
/** There is no such memory. */
export const NO_MEMORY = 2;

/** A page that a partition was granted, as the exporter keeps it. */
export interface Export {
  /** Address in the exporter's address space. */
  readonly page: number;
  readonly pfn: number;
  readonly importer: Importer;
}

/** importer -> exporter: a CPU of the partition misses a page. */
export interface FaultMessage {
  readonly kind: 'fault';
  readonly importer: Importer;
  readonly engine: number;
  readonly page: number;
  readonly isWrite: boolean;
}

/** exporter -> importer: the answer. */
export interface ReplyMessage {
  readonly kind: 'reply';
  readonly engine: number;
  readonly page: number;
  readonly code: number;
  readonly pfn: number;
  readonly generation: number;
  readonly isWritable: boolean;
}

/** exporter -> importer: give back [start, end). */
export interface RecallMessage {
  readonly kind: 'recall';
  readonly recall: Recall;
  readonly start: number;
  readonly end: number;
}

/** importer -> exporter: it is given back. `dirty`: pages that were stored to. */
export interface AckMessage {
  readonly kind: 'ack';
  readonly importer: Importer;
  readonly recall: Recall;
  readonly dirty: readonly number[];
}

export type ToImporter = ReplyMessage | RecallMessage;
export type ToExporter = FaultMessage | AckMessage;

/** A recall under way, at the exporter. */
export class Recall {
  readonly exports: readonly Export[];
  /** Acknowledgements that have not come. */
  outstanding = 0;
  /** Frames of which it holds a reference until then ("deferred free"). */
  readonly held: number[] = [];

  constructor(exports: readonly Export[]) {
    this.exports = exports;
  }
}
