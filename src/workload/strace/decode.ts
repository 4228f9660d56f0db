/** Call records to operations: one table of decoders, one rule for what cannot be read. */

import { ArgReader } from './arg-reader.ts';
import { FILE_DECODERS, resultFd } from './decode-file.ts';
import { type Decoder, MEMORY_DECODERS } from './decode-memory.ts';
import { TASK_DECODERS } from './decode-task.ts';
import type { CallRecord } from './record.ts';
import type { TraceOp } from './trace-op.ts';
import type { FdRef } from './values.ts';

const DECODERS: ReadonlyMap<string, Decoder> = new Map([
  ...Object.entries(MEMORY_DECODERS),
  ...Object.entries(FILE_DECODERS),
  ...Object.entries(TASK_DECODERS),
]);

/**
 * The operation that a recorded call asks for. Never throws: a call that matters but cannot be read (arguments before the
 * start of the text, cut, an unknown constant) is `undecodable` with the reason; a call without meaning here is `other`.
 */
export function decodeCall(call: CallRecord): TraceOp {
  const decoder = DECODERS.get(call.name);
  if (decoder === undefined) return { op: 'other', name: call.name };
  if (call.args === null)
    return { op: 'undecodable', name: call.name, reason: 'its arguments lie before the start of the text' };
  const reader = new ArgReader(call);
  const op = decoder(reader);
  return reader.reason === null ? op : { op: 'undecodable', name: call.name, reason: reader.reason };
}

/** Descriptor that the call returned (open, dup, memfd_create, ...) with the path that -y printed; null if it failed. */
export function returnedFd(call: CallRecord): FdRef | null {
  return resultFd(new ArgReader(call));
}
